//! What a round does, by its seed (pure).

use std::fmt;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

/// One round.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Members of etcd.
    pub(crate) members: usize,
    /// Rows of each file; a streamer each.
    pub(crate) files: Vec<u64>,
    pub(crate) collectors: usize,
    pub(crate) batch_rows: u64,
    pub(crate) faults: Vec<Fault>,
}

/// What strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    KillStreamer,
    KillCollector,
    /// Dies at a failpoint, after it was passed so often.
    StreamerDiesAt(&'static str, u32),
    CollectorDiesAt(&'static str, u32),
    /// SIGSTOP for so long, in milliseconds. Eleven seconds are longer than a session lives.
    FreezeCollector(u64),
    FreezeStreamer(u64),
    CutEtcd,
    CutPostgres,
    /// So many milliseconds late, each way.
    SlowEtcd(u64),
    SlowPostgres(u64),
    /// Requests arrive, answers do not, for so long in milliseconds.
    WithholdEtcd(u64),
    /// `kill -9` of a member, the leader where there are several; then it is started again.
    RestartEtcd,
    /// SIGSTOP of a member that is one of several.
    FreezeMember(u64),
    RestartPostgres,
    /// SIGTERM and another one.
    ReplaceCollector,
    /// Another streamer on the same file: it fences the first.
    FenceStreamer,
    Compact,
    EndSessions,
    /// What is queued expires, with all collectors frozen.
    Expire,
}

use Fault::{
    CollectorDiesAt, Compact, CutEtcd, CutPostgres, EndSessions, Expire, FenceStreamer, FreezeCollector, FreezeMember,
    FreezeStreamer, KillCollector, KillStreamer, ReplaceCollector, RestartEtcd, RestartPostgres, SlowEtcd,
    SlowPostgres, StreamerDiesAt, WithholdEtcd,
};

const STREAMER_STEPS: [&str; 5] =
    ["open.begin", "open.committed", "bucket.granted", "publish.begin", "publish.committed"];
const COLLECTOR_STEPS: [&str; 13] = [
    "session.granted",
    "session.opened",
    "claim.begin",
    "claim.committed",
    "store.registered",
    "store.begin",
    "store.copying",
    "store.staged",
    "store.entered",
    "store.before_commit",
    "store.committed",
    "ack.begin",
    "ack.committed",
];

impl Plan {
    /// The same seed, the same plan.
    pub(crate) fn of(seed: u64) -> Plan {
        let mut random = StdRng::seed_from_u64(seed);
        let members = if random.random_ratio(1, 3) { 3 } else { 1 };
        let files = (0..random.random_range(1..=2)).map(|_| random.random_range(3_000..9_000)).collect();
        let collectors = random.random_range(1..=3);
        let batch_rows = *[20, 50, 100].choose(&mut random).unwrap();
        let mut faults = vec![
            kill(&mut random),
            pause(&mut random),
            cut(&mut random),
            restart(&mut random),
            Compact,
            EndSessions,
            Expire,
        ];
        for _ in 0..random.random_range(1..=6) {
            let family = [kill, pause, cut, restart, other].choose(&mut random).copied().unwrap();
            faults.push(family(&mut random));
        }
        if members == 1 {
            // Frozen alone it would only be slow.
            let frozen = faults.iter_mut().filter(|fault| matches!(fault, FreezeMember(_)));
            frozen.for_each(|fault| *fault = RestartEtcd);
        }
        faults.shuffle(&mut random);
        Plan { seed, members, files, collectors, batch_rows, faults }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.files.iter().sum()
    }
}

fn kill(random: &mut StdRng) -> Fault {
    let passed = random.random_range(0..6);
    match random.random_range(0..4) {
        0 => KillStreamer,
        1 => KillCollector,
        2 => StreamerDiesAt(STREAMER_STEPS.choose(random).unwrap(), passed),
        _ => CollectorDiesAt(COLLECTOR_STEPS.choose(random).unwrap(), passed),
    }
}

fn pause(random: &mut StdRng) -> Fault {
    match random.random_range(0..4) {
        0 => FreezeCollector(11_000),
        1 => FreezeStreamer(random.random_range(100..1_500)),
        _ => FreezeCollector(random.random_range(100..1_500)),
    }
}

fn cut(random: &mut StdRng) -> Fault {
    match random.random_range(0..6) {
        0 | 1 => CutEtcd,
        2 => CutPostgres,
        3 => SlowEtcd(random.random_range(5..60)),
        4 => SlowPostgres(random.random_range(5..60)),
        _ => WithholdEtcd(random.random_range(100..2_000)),
    }
}

fn restart(random: &mut StdRng) -> Fault {
    match random.random_range(0..4) {
        0 => RestartPostgres,
        1 => FreezeMember(random.random_range(500..3_000)),
        2 => ReplaceCollector,
        _ => RestartEtcd,
    }
}

fn other(random: &mut StdRng) -> Fault {
    *[Compact, EndSessions, Expire, FenceStreamer, ReplaceCollector].choose(random).unwrap()
}

impl Fault {
    /// What it is counted as.
    pub(crate) fn family(self) -> &'static str {
        match self {
            KillStreamer | KillCollector | StreamerDiesAt(..) | CollectorDiesAt(..) => "kills",
            FreezeCollector(_) | FreezeStreamer(_) | FreezeMember(_) => "freezes",
            CutEtcd | CutPostgres | SlowEtcd(_) | SlowPostgres(_) | WithholdEtcd(_) => "broken lines",
            RestartEtcd | RestartPostgres | ReplaceCollector => "restarts",
            FenceStreamer => "fencings",
            Compact => "compactions",
            EndSessions => "lost sessions",
            Expire => "expiries",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { seed, members, files, collectors, batch_rows, faults } = self;
        write!(
            f,
            "SEED={seed}: {members} etcd, {} streamers, {collectors} collectors, {} rows by {batch_rows}: {faults:?}",
            files.len(),
            self.rows()
        )
    }
}

#[test]
fn every_round_has_each_family_and_a_seed_makes_one_plan() {
    for seed in 0..200 {
        let plan = Plan::of(seed);
        assert_eq!(format!("{plan}"), format!("{}", Plan::of(seed)));
        let families = ["kills", "freezes", "broken lines", "compactions", "lost sessions", "expiries"];
        for family in families {
            assert!(plan.faults.iter().any(|fault| fault.family() == family), "{family} in {plan}");
        }
    }
}
