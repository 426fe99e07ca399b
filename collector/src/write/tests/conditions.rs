//! What is told of GPUs: once, whatever happens between two looks.

use nexus_common::db;
use nexus_common::domain::{EventKind, Thresholds, Timestamp};
use tokio::task::JoinSet;

use super::{NOON, SECOND, Store, batch, gpu, gpu_with, message, store};
use crate::write::{Recorder, Told, Writer};

/// A fleet that reports and is looked at.
struct Fleet {
    store: Store,
    writer: Writer,
    recorder: Recorder,
    batches: u64,
}

async fn fleet() -> Fleet {
    let store = store().await;
    let (writer, recorder) = (store.writer(), recorder(&store));
    Fleet { store, writer, recorder, batches: 0 }
}

/// With a connection of its own, as each collector has.
fn recorder(store: &Store) -> Recorder {
    Recorder::new(db::pool(&store.server.config(), 2).unwrap(), "bench", Thresholds::default())
}

fn at(seconds: i64) -> Timestamp {
    NOON.shifted(seconds * SECOND)
}

impl Fleet {
    /// GPUs of host `h` report, `seconds` after noon; then somebody looks, at the same time by the clock.
    async fn look(&mut self, seconds: i64, gpus: &[(&str, &[(&str, f64)])]) -> Vec<(String, EventKind)> {
        let bodies: Vec<_> =
            gpus.iter().map(|(index, values)| message(gpu("h", index), at(seconds), 2, values)).collect();
        if !bodies.is_empty() {
            self.batches += 1;
            self.writer.store(&mut [batch(self.batches, &bodies)]).await.unwrap();
        }
        let told = self.recorder.record(at(seconds)).await.unwrap().unwrap();
        told.events.into_iter().map(|event| (event.gpu_id, event.kind)).collect()
    }

    /// Everything that is stored, in order of its number.
    async fn events(&self) -> Vec<String> {
        let sql = "SELECT concat_ws(' ', host, gpu, kind, severity, code, at) FROM events ORDER BY id";
        self.store.column(sql).await
    }
}

fn told(gpu: &str, kind: EventKind) -> (String, EventKind) {
    (gpu.to_owned(), kind)
}

#[tokio::test]
async fn a_code_is_told_when_it_comes_and_when_it_comes_again() {
    let mut fleet = fleet().await;
    assert_eq!(fleet.look(0, &[("0", &[("xid", 79.0)])]).await, [told("0", EventKind::Xid)]);
    assert_eq!(fleet.look(30, &[("0", &[("xid", 79.0)])]).await, []);
    assert_eq!(fleet.look(60, &[("0", &[("xid", 0.0)])]).await, [told("0", EventKind::Recovered)]);
    assert_eq!(fleet.look(90, &[("0", &[("xid", 79.0)])]).await, [told("0", EventKind::Xid)]);
    let stored = [
        "h 0 xid critical 79 2025-07-18 20:42:34+00",
        "h 0 recovered notice 79 2025-07-18 20:43:34+00",
        "h 0 xid critical 79 2025-07-18 20:44:04+00",
    ];
    assert_eq!(fleet.events().await, stored);
    let signs: Vec<String> =
        fleet.store.column("SELECT concat_ws(' ', gpu_index, kind, value, announced) FROM gpu_signs").await;
    assert_eq!(signs, ["0 xid 79 t"]);
}

#[tokio::test]
async fn heat_is_told_once_it_lasts_whoever_looks() {
    let mut fleet = fleet().await;
    let hot = |celsius| [("temperature_celsius", celsius)];
    assert_eq!(fleet.look(0, &[("0", &hot(82.0))]).await, []);
    // Another collector takes over: since when it is hot is remembered.
    fleet.recorder = recorder(&fleet.store);
    assert_eq!(fleet.look(299, &[("0", &hot(84.0))]).await, []);
    assert_eq!(fleet.look(300, &[("0", &hot(83.0))]).await, [told("0", EventKind::Hot)]);
    assert_eq!(fleet.look(330, &[("0", &hot(83.0))]).await, []);
    assert_eq!(fleet.look(360, &[("0", &hot(79.0))]).await, [told("0", EventKind::Recovered)]);
    assert_eq!(fleet.store.count("gpu_signs").await, 0);
    let words: Vec<String> = fleet.store.column("SELECT detail FROM events ORDER BY id").await;
    assert_eq!(words, ["83 °C, above 80 °C for 5m", "79 °C, no longer above 80 °C"]);
}

#[tokio::test]
async fn a_gpu_that_its_host_goes_on_without_is_missing_until_it_is_back() {
    let mut fleet = fleet().await;
    let power: &[(&str, f64)] = &[("power_watts", 100.0)];
    assert_eq!(fleet.look(0, &[("0", power), ("1", power)]).await, []);
    assert_eq!(fleet.look(301, &[("0", power)]).await, [told("1", EventKind::Missing), told("1", EventKind::Stale)]);
    assert_eq!(fleet.look(330, &[("0", power)]).await, []);
    let back = fleet.look(360, &[("1", power)]).await;
    assert_eq!(back, [told("1", EventKind::Recovered), told("1", EventKind::Recovered)]);
    // GPU 3 shows that there should be a GPU 2.
    assert_eq!(fleet.look(390, &[("3", power)]).await, [told("2", EventKind::Missing)]);
    assert_eq!(fleet.look(400, &[]).await, []);
    assert_eq!(fleet.look(420, &[("2", power)]).await, [told("2", EventKind::Recovered)]);
}

#[tokio::test]
async fn a_gpu_that_was_replaced_is_not_missed() {
    let mut fleet = fleet().await;
    let report = async |fleet: &mut Fleet, uuid: &str, seconds: i64, xid: f64| {
        fleet.batches += 1;
        let body = message(gpu_with(uuid, "h", "0"), at(seconds), 2, &[("xid", xid)]);
        fleet.writer.store(&mut [batch(fleet.batches, &[body])]).await.unwrap();
        fleet.look(seconds, &[]).await
    };
    assert_eq!(report(&mut fleet, "GPU-a", 0, 79.0).await, [told("0", EventKind::Xid)]);
    assert_eq!(report(&mut fleet, "GPU-b", 1000, 0.0).await, [told("0", EventKind::Recovered)]);
    assert_eq!(fleet.look(1100, &[]).await, []);
    let uuids: Vec<String> = fleet.store.column("SELECT uuid FROM events ORDER BY id").await;
    assert_eq!(uuids, ["GPU-a", "GPU-b"]);
}

/// Two collectors that both take themselves for the oldest, with many looks at the same changes.
#[tokio::test]
async fn collectors_that_look_at_once_tell_each_event_once() {
    let mut fleet = fleet().await;
    let all: Vec<String> = (0..40).map(|index| index.to_string()).collect();
    for round in 0..5 {
        let xid = [("xid", f64::from(48 + round))];
        let bodies: Vec<_> = all.iter().map(|index| message(gpu("h", index), at(i64::from(round)), 2, &xid)).collect();
        fleet.batches += 1;
        fleet.writer.store(&mut [batch(fleet.batches, &bodies)]).await.unwrap();
        let mut looks = JoinSet::new();
        for _ in 0..4 {
            let recorder = recorder(&fleet.store);
            looks.spawn(async move { recorder.record(at(i64::from(round))).await });
        }
        let told: Vec<Option<Told>> = looks.join_all().await.into_iter().map(Result::unwrap).collect();
        let events: usize = told.iter().flatten().map(|told| told.events.len()).sum();
        assert!(events >= 40, "{told:?}");
    }
    let of_codes: Vec<i64> =
        fleet.store.column("SELECT count(*) FROM events WHERE kind = 'xid' GROUP BY gpu, code").await;
    assert_eq!(of_codes, vec![1; 200]);
}

/// Whoever does not get the lock leaves the look to the other, and does not wait for it.
#[tokio::test]
async fn a_look_that_goes_on_elsewhere_is_not_waited_for() {
    let mut fleet = fleet().await;
    fleet.look(0, &[("0", &[("xid", 0.0)])]).await;
    let mut other = fleet.store.client().await;
    let transaction = other.transaction().await.unwrap();
    let lock = "SELECT pg_advisory_xact_lock(1668247140, id) FROM clusters";
    transaction.execute(lock, &[]).await.unwrap();
    // Whoever waits for a lock is told after five seconds that it is not to be had: that is an error.
    assert_eq!(fleet.recorder.record(at(0)).await.unwrap(), None);
    transaction.rollback().await.unwrap();
    assert_eq!(fleet.recorder.record(at(0)).await.unwrap(), Some(Told::default()));
}

/// More hosts than are read at a time, and a cluster that is none of ours.
#[tokio::test]
async fn every_host_of_the_cluster_is_looked_at_and_no_other() {
    let fleet = fleet().await;
    assert_eq!(fleet.recorder.record(at(0)).await.unwrap(), None, "no such cluster yet");
    fleet.store.run(MANY).await;
    let told = fleet.recorder.record(at(0)).await.unwrap().unwrap();
    assert_eq!((told.events.len(), told.left_out), (1_200, 0));
    assert_eq!(fleet.store.one::<i64>("SELECT count(DISTINCT host) FROM events WHERE host LIKE 'bench-%'").await, 600);
    assert_eq!(fleet.store.one::<i64>("SELECT count(*) FROM events WHERE host NOT LIKE 'bench-%'").await, 0);
    assert_eq!(fleet.recorder.record(at(1)).await.unwrap(), Some(Told::default()));
}

/// Two clusters with 600 hosts each, two GPUs on each host, and an XID on each GPU.
const MANY: &str = "
    INSERT INTO clusters (name) VALUES ('other'), ('bench');
    INSERT INTO hosts (cluster_id, name) SELECT c.id, c.name || '-' || n FROM clusters c, generate_series(1, 600) n;
    INSERT INTO gpus (host_id, cluster_id, gpu_index) SELECT h.id, h.cluster_id, n FROM hosts h, generate_series(0, 1) n;
    INSERT INTO gpu_latest (gpu_id, ts, xid, xid_at)
        SELECT id, '2025-07-18T20:42:34Z', 79, '2025-07-18T20:42:34Z' FROM gpus";
