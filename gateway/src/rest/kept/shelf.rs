//! What is kept, and for how long: an answer from the first time on that its question is asked, while it finds room, else from
//! the second; until there is no room for it. What was not asked for longest goes first.

use std::hash::{BuildHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Uri;
use foldhash::fast::FixedState;
use lru::LruCache;
use nexus_common::domain::Timestamp;

use super::super::format::Format;
use super::super::list::Written;
use crate::read::{Cursor, Edition, Source, Step, hours_touched};

/// The most hours of GPUs that an edition is asked for: a month of one, a day of forty.
const MOST_HOURS: usize = 1_000;

/// The part of the room that one answer may have; and that is free for what was asked before.
const PART: usize = 8;

/// How many questions are remembered, with or without an answer.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// PostgreSQL numbers its transactions anew after four billion: no answer is kept for that long.
const LONGEST: Duration = Duration::from_secs(3_600);

/// All that the answer to a question about a range depends on, but what is stored of its GPUs in its hours.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rest) struct Asked {
    /// Of all the rest.
    hash: u64,
    /// A text of its own: a [`Uri`] holds on to all that was read with it.
    path: Box<str>,
    format: Format,
    start: Timestamp,
    end: Timestamp,
    sources: Vec<Source>,
}

impl Asked {
    /// The path says what is asked for, these times when, however the path says that; the GPUs have the names that they have
    /// now. `None`: about more hours than are worth it.
    pub(in crate::rest) fn new(
        uri: &Uri,
        format: Format,
        start: Timestamp,
        end: Timestamp,
        sources: &[Source],
    ) -> Option<Self> {
        if hours_touched(start, end).saturating_mul(sources.len()) > MOST_HOURS {
            return None;
        }
        let path = uri.path_and_query()?.as_str().into();
        let sources: Vec<_> = sources.iter().map(Source::at_any_time).collect();
        let hash = FixedState::default().hash_one((&path, format, start, end, &sources));
        Some(Asked { hash, path, format, start, end, sources })
    }

    pub(super) fn start(&self) -> Timestamp {
        self.start
    }

    pub(super) fn end(&self) -> Timestamp {
        self.end
    }

    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.path.len() + self.sources.iter().map(Source::size).sum::<usize>()
    }
}

impl Hash for Asked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// An answer, and what it was made of.
#[derive(Debug)]
pub(super) struct Answer {
    edition: Edition,
    made: Instant,
    kind: &'static str,
    /// Compressed; in a box, because it was made with room for what does not compress.
    body: Box<[u8]>,
    next: Option<Cursor>,
    step: Option<Step>,
}

impl Answer {
    pub(super) fn of(written: &Written, edition: Edition) -> Self {
        let Written { kind, body, next, step, .. } = written;
        let (body, next) = (lz4_flex::compress_prepend_size(body).into(), next.clone());
        Answer { edition, made: Instant::now(), kind, body, next, step: *step }
    }

    /// Whether it is what would be answered anew.
    pub(super) fn holds(&self, edition: &Edition) -> bool {
        self.edition == *edition && self.made.elapsed() < LONGEST
    }

    /// As it was written, to who asked by this path.
    pub(super) fn written(&self, uri: &Uri) -> Option<Written> {
        let body = lz4_flex::decompress_size_prepended(&self.body).ok()?;
        Some(Written { uri: uri.clone(), kind: self.kind, body, next: self.next.clone(), step: self.step })
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.body.len() + self.edition.size()
    }
}

/// What is to be done about a question.
pub(super) enum Known {
    /// Its answer is not worth what it would put out: nobody asked before.
    Passing,
    /// It is worth its room; and was answered, where that is kept.
    Worthwhile(Option<Arc<Answer>>),
}

#[derive(Debug)]
pub(super) struct Shelf {
    answers: LruCache<Arc<Asked>, Arc<Answer>>,
    /// What was asked, by its hash alone: two that are taken for one are kept too early.
    remembered: LruCache<u64, ()>,
    bytes: usize,
    room: usize,
}

impl Shelf {
    /// With so many bytes of room.
    pub(super) fn new(room: usize) -> Self {
        Shelf { answers: LruCache::unbounded(), remembered: LruCache::new(REMEMBERED), bytes: 0, room }
    }

    /// Of all answers and their questions.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn ask(&mut self, asked: &Arc<Asked>) -> Known {
        if self.room == 0 {
            return Known::Passing;
        }
        let finds_room = self.bytes + self.room / PART < self.room;
        let answer = self.answers.get(asked).cloned();
        match self.remembered.put(asked.hash, ()) {
            None if answer.is_none() && !finds_room => Known::Passing,
            _ => Known::Worthwhile(answer),
        }
    }

    /// In the place of what was answered before.
    pub(super) fn keep(&mut self, asked: Arc<Asked>, answer: Answer) {
        self.forget(&asked);
        let size = asked.size() + answer.size();
        if size > self.room / PART {
            return;
        }
        self.bytes += size;
        self.answers.put(asked, Arc::new(answer));
        while self.bytes > self.room {
            let Some((asked, answer)) = self.answers.pop_lru() else { break };
            self.bytes -= asked.size() + answer.size();
        }
    }

    /// The answer; that it was asked is remembered.
    pub(super) fn forget(&mut self, asked: &Arc<Asked>) {
        if let Some((asked, answer)) = self.answers.pop_entry(asked) {
            self.bytes -= asked.size() + answer.size();
        }
    }
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

    fn answer(body: &[u8], edition: u8) -> Answer {
        let written = Written { uri: Uri::default(), kind: "text/csv", body: body.to_owned(), next: None, step: None };
        Answer::of(&written, Edition::numbered(edition))
    }

    /// What a question is known by, and the bytes of its answer.
    fn known(shelf: &mut Shelf, number: usize) -> Option<Option<usize>> {
        match shelf.ask(&asked(number)) {
            Known::Passing => None,
            Known::Worthwhile(answer) => Some(answer.map(|answer| answer.body.len())),
        }
    }

    #[test]
    fn what_is_asked_again_is_known() {
        let mut shelf = Shelf::new(1 << 20);
        assert_eq!(known(&mut shelf, 1), Some(None));
        let answer = answer(b"body", 1);
        let length = answer.body.len();
        shelf.keep(asked(1), answer);
        assert_eq!(known(&mut shelf, 1), Some(Some(length)));
        assert_eq!(known(&mut shelf, 2), Some(None));
        shelf.forget(&asked(1));
        assert_eq!((known(&mut shelf, 1), shelf.bytes), (Some(None), 0));
    }

    #[test]
    fn an_answer_is_what_was_written_while_its_edition_holds() {
        let body = b"{\"power_watts\":71.5},".repeat(1_000);
        let answer = answer(&body, 1);
        assert!(answer.body.len() < body.len() / 10, "{}", answer.body.len());
        assert_eq!(answer.written(&Uri::default()).unwrap().body, body);
        assert!(answer.holds(&Edition::numbered(1)) && !answer.holds(&Edition::numbered(2)));
        let old = Answer { made: Instant::now().checked_sub(LONGEST).unwrap(), ..answer };
        assert!(!old.holds(&Edition::numbered(1)));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let room = 20_000;
        let mut shelf = Shelf::new(room);
        let incompressible: Vec<u8> =
            (0..1_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for number in 0..500 {
            shelf.keep(asked(number), answer(&incompressible[..number % 1_500], 1));
            // Often enough to stay.
            assert!(matches!(known(&mut shelf, 0), Some(Some(_))));
            let sizes = shelf.answers.iter().map(|(asked, answer)| asked.size() + answer.size()).sum::<usize>();
            assert_eq!(shelf.bytes, sizes);
            assert!(sizes <= room);
        }
        assert!(shelf.answers.len() > 5, "{}", shelf.answers.len());
        let [newest, old] = [499, 1].map(|number| shelf.answers.contains(&asked(number)));
        assert!(newest && !old);
        let before = shelf.answers.len();
        shelf.keep(asked(500), answer(&incompressible, 1));
        assert_eq!(shelf.answers.len(), before, "the long one is not kept, and puts nothing out");
        shelf.keep(asked(499), answer(&incompressible, 1));
        assert_eq!(shelf.answers.len(), before - 1, "nor is what it stood for");
    }

    #[test]
    fn whoever_asks_once_puts_nothing_out() {
        let room = 20_000;
        let mut shelf = Shelf::new(room);
        for number in 0..10_000 {
            if known(&mut shelf, number) == Some(None) {
                shelf.keep(asked(number), answer(b"body", 1));
            }
        }
        let kept = shelf.answers.len();
        assert!(
            (0..kept).all(|number| matches!(known(&mut shelf, number), Some(Some(_)))),
            "those for which there was room"
        );
        assert!(shelf.bytes >= room - room / PART && shelf.bytes < room, "{}", shelf.bytes);
        assert_eq!(known(&mut shelf, 10_000), None);
        assert_eq!(known(&mut shelf, 10_000), Some(None), "who asks again has it kept");
    }

    #[test]
    fn without_room_nothing_is_known() {
        let mut shelf = Shelf::new(0);
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
