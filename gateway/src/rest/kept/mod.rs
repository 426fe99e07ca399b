//! Answers about ranges of time, kept for who asks the same again: many look at the hour in which something broke, and at a
//! day that is over.
//!
//! - **Nobody can tell.** A kept answer is given where the hours it was made of have the edition they had
//!   ([`crate::read::Edition`]), which PostgreSQL is asked for every time; else the question is answered anew.
//! - **It waits for its turn** like every question over a range, so that many of them leave the processors to the others; for
//!   a turn that several have together ([`Model::edition_with_others`]), and for one of its own where it was not given.
//! - **Only what is asked twice puts others out** ([`shelf`]), so that whoever walks through a year once does not.

mod shelf;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::Uri;
use nexus_common::observe::{Counter, Registry, looked_at};

use self::shelf::{Answer, Known, Shelf};
use super::list::Written;
use super::problem::Problem;
use crate::read::Model;

pub(super) use shelf::Asked;

/// What is kept; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Kept(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    shelf: Mutex<Shelf>,
    given: Counter,
}

impl Kept {
    /// With so many bytes of room; without any nothing is kept.
    pub(super) fn new(room: usize) -> Self {
        Kept(Arc::new(Inside { shelf: Mutex::new(Shelf::new(room)), given: Counter::default() }))
    }

    /// Has Prometheus told how much is kept, and what for.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "nexus_gateway_kept_answers_given",
            "Answers about ranges of time that were given again, because nothing had changed",
            self.0.given.clone(),
        );
        let kept = self.clone();
        registry.register_collector(looked_at(move |scrape| {
            let help = "Bytes of answers about ranges of time that are kept, compressed, with their questions.";
            scrape.gauge("nexus_gateway_kept_answers_bytes", help, kept.shelf().bytes())
        }));
    }

    /// The answer to a question from `uri`: the kept one, where it holds; else one that is made `anew`. `None`: a question whose
    /// answer depends on more than [`Asked`] and the edition of its hours.
    pub(super) async fn answer(
        &self,
        asked: Option<Asked>,
        uri: &Uri,
        read: &Model,
        anew: impl AsyncFnOnce(&Model) -> Result<Written, Problem>,
    ) -> Result<Written, Problem> {
        let Some(asked) = asked.map(Arc::new) else { return anew(read).await };
        let Known::Worthwhile(answer) = self.shelf().ask(&asked) else { return anew(read).await };
        let edition =
            async |read: &Model| read.edition(asked.sources(), asked.start(), asked.end()).await.ok().flatten();
        let (read, before) = if answer.is_some() {
            (read.clone(), read.edition_with_others(asked.sources(), asked.start(), asked.end()).await?)
        } else {
            let read = read.in_turn().await?;
            let before = edition(&read).await;
            (read, before)
        };
        let Some(before) = before else {
            // It will have another one.
            self.shelf().forget(&asked);
            return anew(&read).await;
        };
        if let Some(written) = answer.filter(|answer| answer.holds(&before)).and_then(|answer| answer.written(uri)) {
            self.0.given.inc();
            return Ok(written);
        }
        let read = read.in_turn().await?;
        let written = anew(&read).await?;
        // What was stored while it was made may be in it, or not.
        if edition(&read).await.as_ref() == Some(&before) {
            let answer = Answer::of(&written, before);
            self.shelf().keep(asked, answer);
        }
        Ok(written)
    }

    /// Held for a moment only.
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
