//! Both sides held against each other (pure).

use std::fmt;
use std::ops::AddAssign;

use serde::Serialize;

use super::ledger::{Island, Letters};

/// The state of the books.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Audit {
    /// The telemetry cluster.
    pub cluster_id: String,
    /// The revision of etcd they are true for.
    pub revision: i64,
    /// Every row that was read is accounted for: no residue, no lane whose cursor is lost, nothing unreadable.
    pub balanced: bool,
    /// All lanes together.
    pub total: Figures,
    /// Each lane, those with a residue first.
    pub lanes: Vec<LaneAccount>,
    /// Keys in etcd that this version cannot read: what they hold is not accounted for.
    pub unreadable: Vec<String>,
}

/// What became of rows. `read = stored + dead + queued + in_flight + expired + residue`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Rows that were read from the source and published.
    pub read: u64,
    /// Rows in PostgreSQL.
    pub stored: u64,
    /// Rows that are dead letters.
    pub dead: u64,
    /// Rows that wait in etcd.
    pub queued: u64,
    /// Rows in a collector's hands.
    pub in_flight: u64,
    /// Rows whose message expired before anybody claimed it.
    pub expired: u64,
    /// Rows nobody can account for. Below zero: more became of them than were read.
    pub residue: i64,
    /// Batches of the ledger.
    pub batches: u64,
    /// Of `read`: rows that were read more than once, because etcd had gone back in time.
    pub read_again: u64,
    /// Of `dead`: rows that were sent through the queue again.
    pub redriven: u64,
    /// Of `dead`: rows whose payload was given up.
    pub purged: u64,
    /// Of `expired`: rows that were published again.
    pub republished: u64,
}

/// Where a lane's rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneKind {
    /// A streamer's source.
    Source,
    /// Dead letters that were sent again.
    Redrive,
    /// Expired rows that were published again.
    Republish,
}

/// One lane's account.
#[derive(Debug, Clone, Serialize)]
pub struct LaneAccount {
    /// Its name: the fingerprint of its source, and which part of it.
    pub lane: String,
    /// Where its rows come from.
    pub kind: LaneKind,
    /// The file, as it was called last.
    pub file: String,
    /// What became of its rows.
    #[serde(flatten)]
    pub figures: Figures,
    /// How far the source was read is known: false where etcd has lost the lane's cursor.
    pub known: bool,
    /// Rows that were published and are nowhere: at most [`LaneAccount::HOLES`] are named.
    pub holes: Vec<Hole>,
    /// What a person should know besides.
    pub notes: Vec<String>,
}

/// Rows of a lane that are in no batch of ledger or queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hole {
    /// The first of them, counted from the lane's row 0, and the one behind the last.
    pub rows: [u64; 2],
    /// The batch before it; absent at the lane's beginning.
    pub after: Option<Place>,
    /// The batch behind it; absent at the lane's end.
    pub before: Option<Place>,
}

/// The side of a batch that looks at a hole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The batch.
    pub batch: String,
    /// Its source.
    pub file: String,
    /// Its last line before the hole, its first line behind it.
    pub line: u64,
    /// The offset behind its last row, or of its first.
    pub byte: u64,
}

/// What is known of a lane.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// How many rows it was read with: what its cursor counts; `None` where nobody knows.
    pub(super) read_rows: Option<u64>,
    /// The lane's runs, the oldest first; the last one is the cursor's.
    pub(super) runs: Vec<Run>,
    /// What retention has dropped of them, in sums: their islands are empty.
    pub(super) dropped: Island,
    /// Dead rows by the ledger, later ones too.
    pub(super) dead_ever: u64,
    /// Dead letters there are, of later batches too.
    pub(super) letters: Letters,
    pub(super) republished: u64,
}

/// What one run published, as far as it is still known.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// The row at which it was opened; `None` where only its batches could tell.
    pub(super) opened: Option<u64>,
    /// The lowest n of its batches.
    pub(super) first_n: u64,
    /// What the ledger has.
    pub(super) islands: Vec<Island>,
    /// What waits: rows from and to, and whether a collector holds it.
    pub(super) waiting: Vec<(u64, u64, bool)>,
}

impl Run {
    fn stretches(&self) -> Vec<Stretch> {
        let stored = self.islands.iter().map(|island| (island.from, island.to));
        stored.chain(self.waiting.iter().map(|&(from, to, _)| (from, to))).collect()
    }

    /// The rows it was read with, up to `end` where that is known.
    fn range(&self, end: Option<u64>) -> Stretch {
        let stretches = self.stretches();
        let first = stretches.iter().map(|stretch| stretch.0).min().or(end).unwrap_or(0);
        // Each batch that is missing before the first one held a row at least.
        let missing = self.first_n.saturating_sub(1);
        let from = self.opened.unwrap_or_else(|| first.saturating_sub(missing)).min(first);
        (from, stretches.iter().map(|stretch| stretch.1).chain(end).max().unwrap_or(from))
    }
}

impl Figures {
    /// What became of the rows, all in all.
    pub fn accounted(&self) -> u64 {
        self.stored + self.dead + self.queued + self.in_flight + self.expired
    }

    fn settle(&mut self) {
        self.residue = self.read.cast_signed() - self.accounted().cast_signed();
    }
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Figures) {
        self.read += other.read;
        self.stored += other.stored;
        self.dead += other.dead;
        self.queued += other.queued;
        self.in_flight += other.in_flight;
        self.expired += other.expired;
        self.residue += other.residue;
        self.batches += other.batches;
        self.read_again += other.read_again;
        self.redriven += other.redriven;
        self.purged += other.purged;
        self.republished += other.republished;
    }
}

impl LaneKind {
    /// As programs know it.
    pub fn as_str(self) -> &'static str {
        match self {
            LaneKind::Source => "source",
            LaneKind::Redrive => "redrive",
            LaneKind::Republish => "republish",
        }
    }

    /// By the lane's name.
    pub fn of(lane: &str) -> LaneKind {
        match lane.split('-').next() {
            Some("redrive") => LaneKind::Redrive,
            Some("republish") => LaneKind::Republish,
            _ => LaneKind::Source,
        }
    }
}

impl LaneAccount {
    /// Holes an account names at most; its residue counts all.
    pub const HOLES: usize = 10;

    /// Balances a lane.
    pub(super) fn balance(lane: &str, file: String, evidence: &Evidence) -> LaneAccount {
        let mut figures = Figures {
            redriven: evidence.letters.redriven,
            purged: evidence.letters.purged,
            republished: evidence.republished,
            ..Figures::default()
        };
        for island in evidence.runs.iter().flat_map(|run| &run.islands).chain([&evidence.dropped]) {
            figures.stored += island.stored;
            figures.dead += island.dead;
            figures.expired += island.expired;
            figures.batches += island.batches;
        }
        for &(from, to, claimed) in evidence.runs.iter().flat_map(|run| &run.waiting) {
            *if claimed { &mut figures.in_flight } else { &mut figures.queued } += to - from;
        }
        let tiling = tile(&evidence.runs, evidence.read_rows.unwrap_or(0));
        figures.read = tiling.end + tiling.again;
        figures.read_again = tiling.again;
        let mut notes = Vec::new();
        let letters_gone = evidence.dead_ever.saturating_sub(evidence.letters.rows).min(figures.dead);
        if letters_gone > 0 {
            figures.dead -= letters_gone;
            notes.push(format!("{letters_gone} rows are dead by the ledger, and their dead letters are gone"));
        }
        if tiling.again > 0 {
            notes.push(format!(
                "{} rows were read again: etcd had gone back in time, or the lane was rewound",
                tiling.again
            ));
        }
        match evidence.read_rows {
            None => notes.push(
                "etcd has no cursor of this lane: it was rebuilt, or restored from before; how far the source was read \
                 nobody can tell until it is streamed again"
                    .to_owned(),
            ),
            Some(rows) if rows < tiling.end => notes.push(format!(
                "the cursor in etcd stands at row {rows}, behind what PostgreSQL has: etcd went back in time"
            )),
            Some(_) => {}
        }
        figures.settle();
        let hole = |rows: [u64; 2]| Hole { rows, after: None, before: None };
        let holes = tiling.holes.into_iter().take(Self::HOLES).map(hole).collect();
        let known = evidence.read_rows.is_some();
        LaneAccount { lane: lane.to_owned(), kind: LaneKind::of(lane), file, figures, known, holes, notes }
    }
}

impl Audit {
    /// All accounts together.
    pub(super) fn of(cluster_id: &str, revision: i64, mut lanes: Vec<LaneAccount>, unreadable: Vec<String>) -> Audit {
        let mut total = Figures::default();
        lanes.iter().for_each(|lane| total += lane.figures);
        lanes.sort_by(|a, b| {
            let order =
                |lane: &LaneAccount| (lane.known && lane.figures.residue == 0, lane.file.clone(), lane.lane.clone());
            order(a).cmp(&order(b))
        });
        // One lane's surplus must not pay another one's debt.
        let balanced = unreadable.is_empty() && lanes.iter().all(|lane| lane.known && lane.figures.residue == 0);
        Audit { cluster_id: cluster_id.to_owned(), revision, balanced, total, lanes, unreadable }
    }
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, to] = self.rows;
        write!(f, "rows {from} to {} are LOST ({} rows)", to - 1, to - from)?;
        match &self.after {
            Some(Place { batch, file, line, byte }) => {
                write!(f, ": after line {line} of {file} (byte {byte}, batch {batch})")?;
            }
            None => write!(f, ": from the lane's beginning")?,
        }
        match &self.before {
            Some(Place { batch, line, byte, .. }) => write!(f, ", before line {line} (byte {byte}, batch {batch})"),
            None => write!(f, ", to where the lane stands"),
        }
    }
}

/// Rows from and to, the latter not included.
type Stretch = (u64, u64);

/// How a lane's runs cover it.
struct Tiling {
    /// Behind the last row: of the cursor, or of the last stretch.
    end: u64,
    /// Rows that a later run read again.
    again: u64,
    holes: Vec<[u64; 2]>,
}

/// Every row has to be in a batch of the **latest** run that read it: what an older run stored of it is another reading,
/// of before etcd went back in time, and must not hide that the later one is lost.
fn tile(runs: &[Run], read_rows: u64) -> Tiling {
    let (mut decided, mut holes): (Vec<Stretch>, Vec<Stretch>) = Default::default();
    let (mut again, mut end) = (0, read_rows);
    for (place, run) in runs.iter().enumerate().rev() {
        let is_current = place + 1 == runs.len();
        let range = run.range(is_current.then_some(read_rows));
        let stretches = run.stretches();
        let total: u64 = stretches.iter().map(length).sum();
        let there = merged(stretches);
        let mut counted = 0;
        for part in without(range, &decided) {
            let missing = without(part, &there);
            counted += length(&part) - missing.iter().map(length).sum::<u64>();
            holes.extend(missing);
        }
        again += total - counted.min(total);
        decided.push(range);
        decided = merged(decided);
        end = end.max(range.1);
    }
    // Rows of no run's range: between two runs.
    holes.extend(without((0, end), &decided));
    Tiling { end, again, holes: merged(holes).into_iter().map(|(from, to)| [from, to]).collect() }
}

fn length(stretch: &Stretch) -> u64 {
    stretch.1.saturating_sub(stretch.0)
}

/// The same rows as stretches that neither touch nor overlap, in order.
fn merged(mut stretches: Vec<Stretch>) -> Vec<Stretch> {
    stretches.retain(|stretch| length(stretch) > 0);
    stretches.sort_unstable();
    let mut merged: Vec<Stretch> = Vec::new();
    for (from, to) in stretches {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// What of a stretch lies in none of these, which are merged.
fn without(whole: Stretch, taken: &[Stretch]) -> Vec<Stretch> {
    let (mut left, mut at) = (Vec::new(), whole.0);
    for &(from, to) in taken.iter().filter(|taken| taken.1 > whole.0 && taken.0 < whole.1) {
        left.push((at, from.max(at)));
        at = at.max(to);
    }
    left.push((at, whole.1.max(at)));
    left.retain(|stretch| length(stretch) > 0);
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn island(from: u64, to: u64) -> Island {
        Island { from, to, batches: 1, stored: to - from, ..Island::default() }
    }

    fn account(evidence: &Evidence) -> LaneAccount {
        LaneAccount::balance("l-0of1", "f.csv".to_owned(), evidence)
    }

    /// One run from row 0.
    fn run(islands: Vec<Island>, waiting: Vec<(u64, u64, bool)>) -> Run {
        Run { opened: Some(0), first_n: 1, islands, waiting }
    }

    fn evidence(read_rows: u64, runs: Vec<Run>) -> Evidence {
        Evidence { read_rows: Some(read_rows), runs, ..Evidence::default() }
    }

    fn holes(lane: &LaneAccount) -> Vec<[u64; 2]> {
        lane.holes.iter().map(|hole| hole.rows).collect()
    }

    #[test]
    fn a_lane_whose_rows_are_all_somewhere_balances() {
        let dead = Island { from: 70, to: 80, batches: 1, dead: 4, expired: 6, stored: 0 };
        let lane = account(&Evidence {
            dead_ever: 4,
            letters: Letters { rows: 4, ..Letters::default() },
            ..evidence(100, vec![run(vec![island(0, 70), dead], vec![(80, 95, false), (95, 100, true)])])
        });
        let Figures { read, stored, dead, queued, in_flight, expired, residue, .. } = lane.figures;
        assert_eq!([read, stored, dead, queued, in_flight, expired], [100, 70, 4, 15, 5, 6]);
        assert_eq!((residue, lane.holes.len(), lane.notes.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_nowhere_is_a_hole() {
        let lane = account(&evidence(100, vec![run(vec![island(0, 30), island(50, 60)], vec![(70, 90, false)])]));
        assert_eq!(lane.figures.residue, 40);
        assert_eq!(holes(&lane), [[30, 50], [60, 70], [90, 100]]);
    }

    #[test]
    fn runs_that_follow_each_other_are_one_lane() {
        let second = |from| Run { opened: Some(50), first_n: 1, islands: vec![island(from, 80)], waiting: Vec::new() };
        let first = || run(vec![island(0, 50)], Vec::new());
        assert_eq!(account(&evidence(80, vec![first(), second(50)])).figures.residue, 0);
        // The end of the first run, or the beginning of the second.
        let torn = run(vec![island(0, 45)], Vec::new());
        assert_eq!(holes(&account(&evidence(80, vec![torn, second(50)]))), [[45, 50]]);
        assert_eq!(holes(&account(&evidence(80, vec![first(), second(60)]))), [[50, 60]]);
    }

    #[test]
    fn what_an_older_run_stored_hides_nothing_that_a_later_one_lost() {
        let old = || run(vec![island(0, 60)], Vec::new());
        let again = account(&evidence(60, vec![old(), run(vec![island(0, 60)], Vec::new())]));
        assert_eq!((again.figures.read, again.figures.read_again, again.figures.residue), (120, 60, 0));
        let lost = account(&evidence(60, vec![old(), run(vec![island(0, 20), island(50, 60)], Vec::new())]));
        assert_eq!((lost.figures.read, lost.figures.read_again, lost.figures.residue), (120, 60, 30));
        assert_eq!(holes(&lost), [[20, 50]]);
        // Nor where the later one has lost its beginning.
        let headless = || Run { first_n: 6, ..run(vec![island(50, 60)], Vec::new()) };
        assert_eq!(holes(&account(&evidence(60, vec![old(), headless()]))), [[0, 50]]);
        let unknown = Run { opened: None, ..headless() };
        assert_eq!(account(&evidence(60, vec![old(), unknown])).figures.residue, 5);
    }

    #[test]
    fn what_was_queued_when_etcd_was_lost_is_forgiven_once_it_is_read_again() {
        let torn = || run(vec![island(0, 20), island(40, 60)], Vec::new());
        let whole = run(vec![island(0, 50)], vec![(50, 60, false)]);
        assert_eq!(account(&evidence(60, vec![torn(), whole])).figures.residue, 0);
        let begun = run(vec![island(0, 30)], Vec::new());
        assert_eq!(holes(&account(&evidence(30, vec![torn(), begun]))), [[30, 40]]);
    }

    #[test]
    fn a_lane_without_a_cursor_is_no_balance() {
        let lost = Evidence { read_rows: None, ..evidence(0, vec![run(vec![island(0, 60)], Vec::new())]) };
        let lane = account(&lost);
        assert_eq!((lane.figures.residue, lane.known), (0, false));
        assert!(lane.notes[0].contains("no cursor"));
        assert!(!Audit::of("c", 1, vec![lane], Vec::new()).balanced);
    }

    #[test]
    fn a_cursor_behind_postgresql_is_noted() {
        let lane = account(&evidence(40, vec![run(vec![island(0, 60)], Vec::new())]));
        assert_eq!((lane.figures.read, lane.figures.residue), (60, 0));
        assert!(lane.notes[0].contains("stands at row 40"));
    }

    #[test]
    fn a_dead_letter_that_is_gone_is_missing() {
        let lane = account(&Evidence {
            dead_ever: 3,
            letters: Letters { rows: 2, ..Letters::default() },
            ..evidence(10, vec![run(vec![Island { dead: 3, stored: 7, ..island(0, 10) }], Vec::new())])
        });
        assert_eq!((lane.figures.dead, lane.figures.residue), (2, 1));
    }

    #[test]
    fn one_lane_does_not_pay_for_another() {
        let lane = |stored| account(&evidence(10, vec![run(vec![Island { stored, ..island(0, 10) }], Vec::new())]));
        let audit = Audit::of("c", 1, vec![lane(9), lane(11)], Vec::new());
        assert_eq!((audit.total.residue, audit.balanced), (0, false));
    }

    proptest! {
        /// However rows are cut into batches and runs, and wherever those are: what is taken away is the residue.
        #[test]
        fn the_residue_is_what_was_taken_away(
            batches in prop::collection::vec((1u64..50, 0u8..5, prop::bool::weighted(0.1)), 1..60),
        ) {
            let (mut runs, mut at, mut lost) = (vec![run(Vec::new(), Vec::new())], 0, 0);
            for (rows, fate, reopened) in batches {
                if reopened {
                    runs.push(Run { opened: Some(at), ..run(Vec::new(), Vec::new()) });
                }
                let run = runs.last_mut().unwrap();
                match fate {
                    0 => run.islands.push(island(at, at + rows)),
                    1 => run.waiting.push((at, at + rows, false)),
                    2 => run.waiting.push((at, at + rows, true)),
                    3 => run.islands.push(Island { stored: 0, expired: rows, ..island(at, at + rows) }),
                    _ => lost += rows,
                }
                at += rows;
            }
            let lane = account(&evidence(at, runs));
            prop_assert_eq!(lane.figures.read, at);
            prop_assert_eq!(lane.figures.residue, lost.cast_signed());
        }
    }
}
