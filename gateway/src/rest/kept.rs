//! Answers about ranges of time, kept for who asks the same again: many look at the hour in which something broke, and at a
//! day that is over.
//!
//! - **Nobody can tell.** A kept answer is given where the hours it was made of have the edition they had
//!   ([`crate::read::Edition`]), which PostgreSQL is asked for every time; else the question is answered anew.
//! - **It waits for its turn** like every question over a range, so that many of them leave the processors to the others.
//! - **Only what is asked twice is kept**, so that whoever walks through a year once puts out nothing: the first time the
//!   question alone is. What was not asked for longest goes first.

use std::mem::size_of;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Uri;
use lru::LruCache;
use nexus_common::domain::Timestamp;
use nexus_common::observe::{Counter, Registry, looked_at};

use super::format::Format;
use super::list::Written;
use super::problem::Problem;
use crate::read::{Cursor, Edition, Model, Source, Step, hours};

/// The most hours of GPUs that an edition is asked for: a month of one, a day of forty.
const MOST_HOURS: usize = 1_000;

/// The part of the room that one answer may have.
const PART: usize = 8;

/// PostgreSQL numbers its transactions anew after four billion: no answer is kept for that long.
const LONGEST: Duration = Duration::from_secs(3_600);

/// What is kept; cheap to clone.
#[derive(Debug, Clone)]
pub struct Kept(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    shelf: Mutex<Shelf>,
    given: Counter,
}

/// Questions, with their answers from the second time on.
#[derive(Debug)]
struct Shelf {
    answers: LruCache<Arc<Asked>, Option<Arc<Answer>>>,
    bytes: usize,
    room: usize,
}

/// All that the answer to a question about a range depends on, but what is stored of its GPUs in its hours.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    uri: Uri,
    format: Format,
    start: Timestamp,
    end: Timestamp,
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Answer {
    edition: Edition,
    made: Instant,
    kind: &'static str,
    /// Compressed.
    body: Vec<u8>,
    next: Option<Cursor>,
    step: Option<Step>,
}

impl Asked {
    /// `None`: about more hours than are worth it. The path names what is asked for, but times that are told from now on; the
    /// GPUs have the names that they have now.
    pub(super) fn new(uri: &Uri, format: Format, start: Timestamp, end: Timestamp, sources: &[Source]) -> Option<Self> {
        let few = hours(start, end).saturating_mul(sources.len()) <= MOST_HOURS;
        let sources = || sources.iter().map(Source::at_any_time).collect();
        few.then(|| Asked { uri: uri.clone(), format, start, end, sources: sources() })
    }

    /// About its bytes.
    fn size(&self) -> usize {
        let sources = self.sources.iter().map(Source::size).sum::<usize>();
        size_of::<Self>() + self.uri.to_string().len() + sources
    }
}

impl Answer {
    fn of(written: &Written, edition: Edition) -> Self {
        let Written { kind, body, next, step, .. } = written;
        let (body, next) = (lz4_flex::compress_prepend_size(body), next.clone());
        Answer { edition, made: Instant::now(), kind, body, next, step: *step }
    }

    /// Whether it is what would be answered anew.
    fn holds(&self, edition: &Edition) -> bool {
        self.edition == *edition && self.made.elapsed() < LONGEST
    }

    fn written(&self, uri: Uri) -> Option<Written> {
        let body = lz4_flex::decompress_size_prepended(&self.body).ok()?;
        Some(Written { uri, kind: self.kind, body, next: self.next.clone(), step: self.step })
    }
}

impl Kept {
    /// With so many bytes of room; without any nothing is kept.
    pub fn new(room: usize) -> Self {
        let shelf = Shelf { answers: LruCache::unbounded(), bytes: 0, room };
        Kept(Arc::new(Inside { shelf: Mutex::new(shelf), given: Counter::default() }))
    }

    /// Has Prometheus told how much is kept, and what for.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "nexus_gateway_kept_answers_given",
            "Answers about ranges of time that were given again, because nothing had changed",
            self.0.given.clone(),
        );
        let kept = self.clone();
        registry.register_collector(looked_at(move |scrape| {
            let help = "Bytes of answers about ranges of time that are kept, compressed, and of their questions.";
            scrape.gauge("nexus_gateway_kept_answers_bytes", help, kept.shelf().bytes)
        }));
    }

    /// The answer that is kept, where it still holds; else one that is made `anew`. `None`: a question that cannot be asked again.
    pub(super) async fn or(
        &self,
        asked: Option<Asked>,
        read: &Model,
        anew: impl AsyncFnOnce(&Model) -> Result<Written, Problem>,
    ) -> Result<Written, Problem> {
        let Some(asked) = asked.map(Arc::new) else { return anew(read).await };
        let Known::Before(answer) = self.shelf().ask(&asked) else { return anew(read).await };
        let read = &read.in_turn().await?;
        let edition = || read.edition(&asked.sources, asked.start, asked.end);
        let Some(before) = edition().await? else { return anew(read).await };
        let written =
            answer.filter(|answer| answer.holds(&before)).and_then(|answer| answer.written(asked.uri.clone()));
        if let Some(written) = written {
            self.0.given.inc();
            return Ok(written);
        }
        let written = anew(read).await?;
        // What was stored while it was made may be in it, or not.
        if edition().await.is_ok_and(|after| after.as_ref() == Some(&before)) {
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

/// What is known of a question.
enum Known {
    New,
    /// It was asked before; and answered, where that is kept.
    Before(Option<Arc<Answer>>),
}

impl Shelf {
    fn ask(&mut self, asked: &Arc<Asked>) -> Known {
        if let Some(answer) = self.answers.get(asked) {
            return Known::Before(answer.clone());
        }
        self.put(Arc::clone(asked), None);
        Known::New
    }

    fn keep(&mut self, asked: Arc<Asked>, answer: Answer) {
        if size(&asked, Some(&answer)) <= self.room / PART {
            self.put(asked, Some(Arc::new(answer)));
        }
    }

    fn put(&mut self, asked: Arc<Asked>, answer: Option<Arc<Answer>>) {
        self.bytes += size(&asked, answer.as_deref());
        if let Some(before) = self.answers.put(Arc::clone(&asked), answer) {
            self.bytes -= size(&asked, before.as_deref());
        }
        while self.bytes > self.room {
            let Some((asked, answer)) = self.answers.pop_lru() else { break };
            self.bytes -= size(&asked, answer.as_deref());
        }
    }
}

/// Of an entry, in bytes.
fn size(asked: &Asked, answer: Option<&Answer>) -> usize {
    asked.size() + answer.map_or(0, |answer| size_of::<Answer>() + answer.body.len() + answer.edition.size())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn asked(number: usize) -> Arc<Asked> {
        let uri = format!("/api/v1/telemetry?limit={number}").parse().unwrap();
        let source = Source::named("c", "h", "0");
        Arc::new(Asked::new(&uri, Format::Json, Timestamp(0), Timestamp(HOUR), &[source]).unwrap())
    }

    fn written(body: &[u8]) -> Written {
        Written { uri: Uri::default(), kind: "text/csv", body: body.to_owned(), next: None, step: None }
    }

    fn answer(body: &[u8], edition: u8) -> Answer {
        Answer::of(&written(body), Edition::numbered(edition))
    }

    fn shelf(room: usize) -> Shelf {
        Shelf { answers: LruCache::unbounded(), bytes: 0, room }
    }

    /// What a question is known by, and the bytes of its answer.
    fn known(shelf: &mut Shelf, number: usize) -> Option<Option<usize>> {
        match shelf.ask(&asked(number)) {
            Known::New => None,
            Known::Before(answer) => Some(answer.map(|answer| answer.body.len())),
        }
    }

    #[test]
    fn what_is_asked_again_is_known() {
        let mut shelf = shelf(1 << 20);
        assert_eq!(known(&mut shelf, 1), None);
        assert_eq!(known(&mut shelf, 1), Some(None));
        let answer = answer(b"body", 1);
        let length = answer.body.len();
        shelf.keep(asked(1), answer);
        assert_eq!(known(&mut shelf, 1), Some(Some(length)));
        assert_eq!(known(&mut shelf, 2), None);
    }

    #[test]
    fn an_answer_is_what_was_written_while_its_edition_holds() {
        let body = b"{\"power_watts\":71.5},".repeat(1_000);
        let answer = answer(&body, 1);
        assert!(answer.body.len() < body.len() / 10, "{}", answer.body.len());
        assert_eq!(answer.written(Uri::default()).unwrap().body, body);
        assert!(answer.holds(&Edition::numbered(1)) && !answer.holds(&Edition::numbered(2)));
        let old = Answer { made: Instant::now().checked_sub(LONGEST).unwrap(), ..answer };
        assert!(!old.holds(&Edition::numbered(1)));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let room = 20_000;
        let mut shelf = shelf(room);
        let incompressible: Vec<u8> =
            (0..1_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for number in 0..500 {
            drop(shelf.ask(&asked(number)));
            shelf.keep(asked(number), answer(&incompressible[..number % 1_500], 1));
            // Often enough to stay.
            assert!(known(&mut shelf, 0).is_some());
            let sizes = shelf.answers.iter().map(|(asked, answer)| size(asked, answer.as_deref())).sum::<usize>();
            assert_eq!(shelf.bytes, sizes);
            assert!(sizes <= room);
        }
        assert!(known(&mut shelf, 499).is_some() && known(&mut shelf, 1).is_none());
        let kept = shelf.answers.len();
        shelf.keep(asked(0), answer(&incompressible, 1));
        assert_eq!(known(&mut shelf, 0), Some(Some(answer(b"", 1).body.len())), "the long one is not kept");
        assert_eq!(shelf.answers.len(), kept, "and puts nothing out");
    }

    #[test]
    fn without_room_nothing_is_known() {
        let mut shelf = shelf(0);
        assert_eq!([known(&mut shelf, 1), known(&mut shelf, 1)], [None, None]);
        shelf.keep(asked(1), answer(b"body", 1));
        assert_eq!((shelf.answers.len(), shelf.bytes), (0, 0));
    }

    #[test]
    fn questions_differ_in_all_that_answers_depend_on() {
        let uri: Uri = "/api/v1/telemetry".parse().unwrap();
        let of = |uri: &Uri, format, start, end, hosts: &[&str]| {
            let sources: Vec<_> = hosts.iter().map(|host| Source::named("c", host, "0")).collect();
            Asked::new(uri, format, Timestamp(start), Timestamp(end), &sources)
        };
        let one = of(&uri, Format::Json, 0, HOUR, &["h"]).unwrap();
        assert_eq!(one, of(&uri, Format::Json, 0, HOUR, &["h"]).unwrap());
        for other in [
            of(&"/api/v1/telemetry?step=1m".parse().unwrap(), Format::Json, 0, HOUR, &["h"]),
            of(&uri, Format::Csv, 0, HOUR, &["h"]),
            of(&uri, Format::Json, 1, HOUR, &["h"]),
            of(&uri, Format::Json, 0, HOUR + 1, &["h"]),
            of(&uri, Format::Json, 0, HOUR, &["another"]),
            of(&uri, Format::Json, 0, HOUR, &["h", "another"]),
        ] {
            assert_ne!(one, other.unwrap());
        }
        assert!(of(&uri, Format::Json, 1, 1_000 * HOUR - 1, &["h"]).is_some());
        assert!(of(&uri, Format::Json, 1, 1_000 * HOUR + 1, &["h"]).is_none(), "too many hours");
        assert!(of(&uri, Format::Json, 0, 501 * HOUR, &["h", "another"]).is_none(), "of two GPUs");
    }
}
