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
    /// Every row that was read is accounted for, and nothing was unreadable.
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
    /// Rows its cursor counts; `None` where etcd has no cursor.
    pub(super) cursor_rows: Option<u64>,
    /// What the ledger has.
    pub(super) islands: Vec<Island>,
    /// What waits: rows from and to, and whether a collector holds it.
    pub(super) waiting: Vec<(u64, u64, bool)>,
    /// Dead rows by the ledger, later ones too.
    pub(super) dead_ever: u64,
    /// Dead letters there are, of later batches too.
    pub(super) letters: Letters,
    pub(super) republished: u64,
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
    pub const HOLES: usize = 100;

    /// Balances a lane.
    pub(super) fn balance(lane: &str, file: String, evidence: &Evidence) -> LaneAccount {
        let mut figures = Figures {
            redriven: evidence.letters.redriven,
            purged: evidence.letters.purged,
            republished: evidence.republished,
            ..Figures::default()
        };
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        for island in &evidence.islands {
            figures.stored += island.stored;
            figures.dead += island.dead;
            figures.expired += island.expired;
            figures.batches += island.batches;
            stretches.push((island.from, island.to));
        }
        for &(from, to, claimed) in &evidence.waiting {
            *if claimed { &mut figures.in_flight } else { &mut figures.queued } += to - from;
            stretches.push((from, to));
        }
        let tiling = tile(stretches, evidence.cursor_rows.unwrap_or(0));
        figures.read = tiling.end + tiling.again;
        figures.read_again = tiling.again;
        let mut notes = Vec::new();
        let letters_gone = evidence.dead_ever.saturating_sub(evidence.letters.rows).min(figures.dead);
        if letters_gone > 0 {
            figures.dead -= letters_gone;
            notes.push(format!("{letters_gone} rows are dead by the ledger, and their dead letters are gone"));
        }
        if tiling.again > 0 {
            notes.push(format!("{} rows were read again: etcd had gone back in time", tiling.again));
        }
        match evidence.cursor_rows {
            None => notes.push("etcd has no cursor of this lane: it was rebuilt, or restored from before".to_owned()),
            Some(rows) if rows < tiling.end => notes.push(format!(
                "the cursor in etcd stands at row {rows}, behind what PostgreSQL has: etcd went back in time"
            )),
            Some(_) => {}
        }
        figures.settle();
        let hole = |rows: [u64; 2]| Hole { rows, after: None, before: None };
        let holes = tiling.holes.into_iter().take(Self::HOLES).map(hole).collect();
        LaneAccount { lane: lane.to_owned(), kind: LaneKind::of(lane), file, figures, holes, notes }
    }
}

impl Audit {
    /// All accounts together.
    pub(super) fn of(cluster_id: &str, revision: i64, mut lanes: Vec<LaneAccount>, unreadable: Vec<String>) -> Audit {
        let mut total = Figures::default();
        lanes.iter().for_each(|lane| total += lane.figures);
        lanes.sort_by(|a, b| {
            let order = |lane: &LaneAccount| (lane.figures.residue == 0, lane.file.clone(), lane.lane.clone());
            order(a).cmp(&order(b))
        });
        // One lane's surplus must not pay another one's debt.
        let balanced = unreadable.is_empty() && lanes.iter().all(|lane| lane.figures.residue == 0);
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

/// How stretches of rows cover a lane.
struct Tiling {
    /// Behind the last row: of the cursor, or of the last stretch.
    end: u64,
    /// Rows in a second stretch, counted each time.
    again: u64,
    holes: Vec<[u64; 2]>,
}

fn tile(mut stretches: Vec<(u64, u64)>, end: u64) -> Tiling {
    stretches.sort_unstable();
    let mut tiling = Tiling { end, again: 0, holes: Vec::new() };
    let mut covered = 0;
    for (from, to) in stretches {
        if from > covered {
            tiling.holes.push([covered, from]);
        }
        tiling.again += to.min(covered).saturating_sub(from);
        covered = covered.max(to);
    }
    if covered < end {
        tiling.holes.push([covered, end]);
    }
    tiling.end = end.max(covered);
    tiling
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

    #[test]
    fn a_lane_whose_rows_are_all_somewhere_balances() {
        let dead = Island { from: 70, to: 80, batches: 1, dead: 4, expired: 6, stored: 0 };
        let lane = account(&Evidence {
            cursor_rows: Some(100),
            islands: vec![island(0, 70), dead],
            waiting: vec![(80, 95, false), (95, 100, true)],
            dead_ever: 4,
            letters: Letters { rows: 4, ..Letters::default() },
            republished: 0,
        });
        let Figures { read, stored, dead, queued, in_flight, expired, residue, .. } = lane.figures;
        assert_eq!([read, stored, dead, queued, in_flight, expired], [100, 70, 4, 15, 5, 6]);
        assert_eq!((residue, lane.holes.len(), lane.notes.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_nowhere_is_a_hole() {
        let evidence = Evidence {
            cursor_rows: Some(100),
            islands: vec![island(0, 30), island(50, 60)],
            waiting: vec![(70, 90, false)],
            ..Evidence::default()
        };
        let lane = account(&evidence);
        assert_eq!(lane.figures.residue, 40);
        assert_eq!(lane.holes.iter().map(|hole| hole.rows).collect::<Vec<_>>(), [[30, 50], [60, 70], [90, 100]]);
    }

    #[test]
    fn rows_that_were_read_twice_hide_no_hole() {
        let lane = account(&Evidence {
            cursor_rows: Some(100),
            islands: vec![island(0, 60), island(20, 60), island(80, 100)],
            ..Evidence::default()
        });
        assert_eq!((lane.figures.read, lane.figures.read_again, lane.figures.residue), (140, 40, 20));
    }

    #[test]
    fn an_etcd_that_forgot_is_noted_and_balances() {
        let evidence = Evidence { islands: vec![island(0, 60)], ..Evidence::default() };
        assert_eq!(account(&evidence).figures.residue, 0);
        assert!(account(&evidence).notes[0].contains("no cursor"));
        let behind = Evidence { cursor_rows: Some(40), ..evidence };
        assert_eq!((account(&behind).figures.read, account(&behind).figures.residue), (60, 0));
        assert!(account(&behind).notes[0].contains("stands at row 40"));
    }

    #[test]
    fn a_dead_letter_that_is_gone_is_missing() {
        let lane = account(&Evidence {
            cursor_rows: Some(10),
            islands: vec![Island { dead: 3, stored: 7, ..island(0, 10) }],
            dead_ever: 3,
            letters: Letters { rows: 2, ..Letters::default() },
            ..Evidence::default()
        });
        assert_eq!((lane.figures.dead, lane.figures.residue), (2, 1));
    }

    #[test]
    fn one_lane_does_not_pay_for_another() {
        let lane = |stored| {
            let islands = vec![Island { stored, ..island(0, 10) }];
            account(&Evidence { cursor_rows: Some(10), islands, ..Evidence::default() })
        };
        let audit = Audit::of("c", 1, vec![lane(9), lane(11)], Vec::new());
        assert_eq!((audit.total.residue, audit.balanced), (0, false));
    }

    proptest! {
        /// However rows are cut into batches and wherever those are: what is taken away is the residue.
        #[test]
        fn the_residue_is_what_was_taken_away(
            batches in prop::collection::vec((1u64..50, 0u8..5), 1..60),
        ) {
            let (mut evidence, mut at, mut lost) = (Evidence::default(), 0, 0);
            for (rows, fate) in batches {
                match fate {
                    0 => evidence.islands.push(island(at, at + rows)),
                    1 => evidence.waiting.push((at, at + rows, false)),
                    2 => evidence.waiting.push((at, at + rows, true)),
                    3 => {
                        evidence.islands.push(Island { stored: 0, expired: rows, ..island(at, at + rows) });
                    }
                    _ => lost += rows,
                }
                at += rows;
            }
            evidence.cursor_rows = Some(at);
            let lane = account(&evidence);
            prop_assert_eq!(lane.figures.read, at);
            prop_assert_eq!(lane.figures.residue, lost.cast_signed());
            prop_assert_eq!(lane.holes.iter().map(|hole| hole.rows[1] - hole.rows[0]).sum::<u64>(), lost);
        }
    }
}
