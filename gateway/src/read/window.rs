//! Which buckets a question is about: their length, the bounds of the range, and a page's part of it.

use std::time::Duration;

use nexus_common::domain::Timestamp;

use super::cursor::Place;
use super::selection::Source;
use super::time::FIRST;
use super::{Aggregate, Cursor, Error, Order, Paging, Range, Result, Step};

/// The most points of one question over all its pages: GPUs times steps.
pub const MAX_POINTS: usize = 100_000;

/// Steps that are answered where the question names a step and no start.
const USUAL_STEPS: i64 = 1_000;

/// The most steps of an automatic one: as many as a chart is wide.
const AUTO_STEPS: i64 = 500;

/// What an automatic step covers where the question names no start: an hour, in microseconds.
const AUTO_RANGE: i64 = 3_600_000_000;

/// How samples are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The length of a bucket.
    step: Step,
    /// For all metrics; without it what suits each.
    aggregate: Option<Aggregate>,
    /// How many steps are answered where the question names no start.
    open: i64,
}

/// The part of a window that a page's buckets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// The bounds of the whole.
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    /// Nothing of the buckets before the cursor's is read again.
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// The last page's last bucket.
    pub(super) at: Option<Timestamp>,
    pub(super) id: Option<i32>,
}

impl Part {
    /// Whether so many items hold all its buckets of so many GPUs.
    pub(super) fn fits(&self, step: Step, gpus: usize, items: usize) -> bool {
        let steps = usize::try_from(step.count(self.from, self.until)).unwrap_or(usize::MAX);
        steps.saturating_mul(gpus) <= items
    }
}

impl Window {
    /// Buckets of this length.
    ///
    /// # Errors
    /// Where the step is shorter than a millisecond or longer than ten years.
    pub fn new(step: Duration, aggregate: Option<Aggregate>) -> Result<Self> {
        Ok(Window { step: Step::new(step)?, aggregate, open: USUAL_STEPS })
    }

    /// Buckets of a round length, so that a chart of the range has up to 500 points per GPU and the whole no more than
    /// [`MAX_POINTS`]; without a start it is about the last hour. A later page keeps the first one's step.
    ///
    /// # Errors
    /// Where no step is long enough for so many GPUs.
    pub fn auto(aggregate: Option<Aggregate>, sources: &[Source], range: Range, paging: &Paging) -> Result<Self> {
        let window = |step, open| Window { step, aggregate, open };
        if let Some(Place::Bucket(_, _, _, _, _, step)) = paging.cursor.as_ref().map(Cursor::place) {
            return Ok(window(*step, USUAL_STEPS));
        }
        let gpus = count(sources);
        let most = steps_for(gpus)?.min(AUTO_STEPS);
        // Where there is nothing, any step will do.
        let end = range.end.or(newest(sources).map(|newest| newest.shifted(1))).unwrap_or(Timestamp(AUTO_RANGE));
        let start = range.start.unwrap_or_else(|| end.shifted(-AUTO_RANGE)).min(end);
        let step = Step::round(start, end, most).ok_or_else(|| {
            let reason =
                format!("no step is long enough for {gpus} GPUs over this range: choose fewer GPUs or a shorter range");
            Error::invalid("step", reason)
        })?;
        Ok(window(step, step.count(start, end).max(1)))
    }

    /// The length of a bucket.
    pub fn step(self) -> Step {
        self.step
    }

    /// For all metrics; without it what suits each.
    pub(super) fn aggregate(self) -> Option<Aggregate> {
        self.aggregate
    }

    /// What a page is about; `None` where there is nothing.
    pub(super) fn part(self, sources: &[Source], range: Range, order: Order, paging: &Paging) -> Result<Option<Part>> {
        let (range, place) = match paging.cursor.as_ref().map(Cursor::place) {
            None => (range, None),
            Some(Place::Bucket(made_for, at, id, start, end, step)) if *made_for == order => {
                if *step != self.step {
                    return Err(Error::invalid("cursor", format!("was made for step={step}; keep it or start again")));
                }
                (Range::new(Some(*start), Some(*end))?, Some((*at, *id)))
            }
            Some(_) => return Err(Cursor::foreign()),
        };
        let Some((start, end)) = self.bounds(range, newest(sources), count(sources))? else { return Ok(None) };
        let (from, until) = match (place, order) {
            (None, _) => (start, end),
            (Some((at, _)), Order::Newest) => (start, at.shifted(self.step.micros()).min(end)),
            (Some((at, _)), Order::Oldest) => (at.max(start), end),
        };
        let (at, id) = place.unzip();
        Ok(Some(Part { start, end, from, until, at, id }))
    }

    /// The moments that are asked about: what the question leaves open is set by the newest value, so that old rows are
    /// found too. `None` where there is nothing.
    fn bounds(self, range: Range, newest: Option<Timestamp>, gpus: i64) -> Result<Option<(Timestamp, Timestamp)>> {
        let Some(end) = range.end.or(newest.map(|newest| newest.shifted(1))) else { return Ok(None) };
        let most = steps_for(gpus)?;
        let Some(start) = range.start else {
            let before = self.step.micros().saturating_mul(most.min(self.open) - 1);
            let start = self.step.floor(end.shifted(-1)).shifted(before.saturating_neg());
            return Ok(Some((start.max(Timestamp(FIRST)), end)));
        };
        if start >= end {
            return Ok(None);
        }
        let steps = self.step.count(start, end);
        if steps > most {
            let points = steps.saturating_mul(gpus);
            let works = works(end.0.saturating_sub(start.0), most);
            let reason = format!("{points} points ({steps} steps of {gpus} GPUs); at most {MAX_POINTS}: {works}");
            return Err(Error::invalid("step", reason));
        }
        Ok(Some((start, end)))
    }
}

fn newest(sources: &[Source]) -> Option<Timestamp> {
    sources.iter().filter_map(|source| source.newest).max()
}

fn count(sources: &[Source]) -> i64 {
    i64::try_from(sources.len()).unwrap_or(i64::MAX)
}

/// How many steps of so many GPUs may be asked for at once.
fn steps_for(gpus: i64) -> Result<i64> {
    match i64::try_from(MAX_POINTS).unwrap_or(i64::MAX) / gpus.max(1) {
        0 => {
            let reason = format!("{gpus} GPUs; at most {MAX_POINTS} points: choose a cluster or a host");
            Err(Error::invalid("step", reason))
        }
        most => Ok(most),
    }
}

/// The step that stays within `most` steps over a range of so many microseconds.
fn works(range: i64, most: i64) -> String {
    // A range whose start lies inside a bucket touches one more.
    let micros = range.div_euclid((most - 1).max(1)).saturating_add(1);
    let milliseconds = micros.max(0).unsigned_abs().div_ceil(1_000);
    let length = match milliseconds {
        0..1_000 => Duration::from_millis(milliseconds),
        _ => Duration::from_secs(milliseconds.div_ceil(1_000)),
    };
    match Step::new(length) {
        Ok(step) if most > 1 => format!("step={step} would work, and so would step=auto"),
        _ => "choose fewer GPUs or a shorter range".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(micros: i64) -> Window {
        Window::new(Duration::from_micros(micros.unsigned_abs()), None).unwrap()
    }

    fn sources(count: usize, newest: Timestamp) -> Vec<Source> {
        let source = Source {
            id: 1,
            cluster_id: String::new(),
            host_id: String::new(),
            gpu_id: String::new(),
            uuid: None,
            newest: Some(newest),
        };
        vec![source; count]
    }

    #[test]
    fn a_part_fits_where_every_step_it_touches_does() {
        let minute = Step::new(Duration::from_secs(60)).unwrap();
        let part = |from, until| Part {
            start: Timestamp(0),
            end: Timestamp(i64::MAX),
            from: Timestamp(from),
            until: Timestamp(until),
            at: None,
            id: None,
        };
        assert!(part(0, 600_000_000).fits(minute, 1, 10) && !part(0, 600_000_000).fits(minute, 1, 9));
        assert!(!part(1, 600_000_001).fits(minute, 1, 10), "eleven minutes are touched");
        assert!(part(0, 600_000_000).fits(minute, 3, 30) && !part(0, 600_000_000).fits(minute, 3, 29));
        assert!(!part(0, i64::MAX).fits(minute, usize::MAX, 1_000));
    }

    #[test]
    fn an_open_range_ends_with_the_newest_value() {
        let newest = Some(Timestamp(10_000_000));
        let (start, end) = window(1_000_000).bounds(Range::default(), newest, 1).unwrap().unwrap();
        assert_eq!((start, end), (Timestamp(10_000_000 - 999_000_000), Timestamp(10_000_001)));
        assert_eq!(window(1_000_000).bounds(Range::default(), None, 1).unwrap(), None);
    }

    #[test]
    fn an_automatic_step_is_round_and_kept() {
        let auto = |gpus, start: i64, end: i64, cursor| {
            let range = Range { start: Some(Timestamp(start)), end: Some(Timestamp(end)) };
            let sources = sources(gpus, Timestamp(end));
            Window::auto(None, &sources, range, &Paging { limit: 1, cursor }).map(|window| window.step().to_string())
        };
        const DAY: i64 = 86_400_000_000;
        assert_eq!(auto(1, 0, 60_000_000, None).unwrap(), "1s");
        assert_eq!(auto(1, 0, DAY, None).unwrap(), "5m");
        assert_eq!(auto(1, 0, 30 * DAY, None).unwrap(), "2h");
        assert_eq!(auto(10_000, 0, DAY, None).unwrap(), "3h", "10,000 GPUs may have 10 steps");
        assert!(auto(60_000, 1, 40_000 * DAY, None).is_err());
        let step = Step::new(Duration::from_secs(60)).unwrap();
        let place = Place::Bucket(Order::Newest, Timestamp(1), 1, Timestamp(0), Timestamp(2), step);
        assert_eq!(auto(1, 0, 30 * DAY, Some(Cursor::at(place))).unwrap(), "1m", "as the first page's");
    }

    proptest! {
        #[test]
        fn an_automatic_step_is_never_refused(
            start in 0..4_000_000_000_000_000_i64, length in 1..4_000_000_000_000_000_i64, gpus in 1..3_000_usize,
            open in any::<bool>(),
        ) {
            let (start, end) = (Timestamp(start), Timestamp(start + length));
            let range = Range { start: (!open).then_some(start), end: Some(end) };
            let sources = sources(gpus, end);
            let window = Window::auto(None, &sources, range, &Paging::default()).unwrap();
            let (start, end) = window.bounds(range, Some(end), gpus.try_into().unwrap()).unwrap().unwrap();
            prop_assert!(window.step().count(start, end) <= AUTO_STEPS, "{:?}", window);
        }

        #[test]
        fn the_step_that_is_offered_works(
            start in 0..4_000_000_000_000_000_i64, length in 1..4_000_000_000_000_000_i64, gpus in 1..40_000_i64,
        ) {
            let range = Range { start: Some(Timestamp(start)), end: Some(Timestamp(start + length)) };
            if let Err(refused) = window(1_000).bounds(range, None, gpus) {
                let text = refused.to_string();
                let offer = text.split("step=").nth(1).and_then(|rest| rest.split(' ').next());
                if let Some(offer) = offer {
                    let step = nexus_common::config::duration(offer).unwrap();
                    let window = Window::new(step, None).unwrap();
                    prop_assert!(window.bounds(range, None, gpus).is_ok(), "{}", text);
                }
            }
        }

        #[test]
        fn an_open_start_never_asks_for_too_much(step in 1_000..=315_360_000_000_000_i64, gpus in 1..100_000_i64) {
            let newest = Some(Timestamp(1_752_871_354_000_000));
            let (start, end) = window(step).bounds(Range::default(), newest, gpus).unwrap().unwrap();
            prop_assert!(start.0 >= FIRST);
            prop_assert!(window(step).step().count(start, end) * gpus <= i64::try_from(MAX_POINTS).unwrap());
        }
    }
}
