//! Answers about ranges that are given again: nobody can tell but by how often the database is asked.

use nexus_common::testing::eventually;
use tokio::task::JoinSet;

use crate::http::{Answer, request};
use crate::world::{PATIENCE, World};

const GPU: &str = "/api/v1/telemetry?cluster_id=beta&host_id=b-000&gpu_id=0";
const HOUR: &str = "start=2025-07-18T20:00:00Z&end=2025-07-18T21:00:00Z";

/// The hour of [`HOUR`] is rolled up, as are the two before: a collector has been there.
const ROLLED: &str = "
    CREATE TABLE hours_2025 PARTITION OF rollup_hours FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    INSERT INTO rollup_hours (gpu_id, start, samples, minutes)
        SELECT g.id, '2025-07-18T20:00:00Z'::timestamptz - n * interval '1 hour', 1, false
        FROM gpus g JOIN hosts h ON h.id = g.host_id, generate_series(0, 2) n WHERE h.name = 'b-000';
";

/// What belongs to GPU 0 of b-000.
const OF_GPU: &str = "FROM gpus WHERE uuid = 'GPU-b-0'";

/// A reading in the middle of the hour, as the end of a transaction.
fn stored_and_noted() -> String {
    format!(
        "INSERT INTO samples (gpu_id, ts, power_watts) SELECT id, '2025-07-18T20:30:00Z', 200 {OF_GPU};
         INSERT INTO rollup_notes (gpu_ids, hours) SELECT ARRAY[id], ARRAY['2025-07-18T20:00Z']::timestamptz[] {OF_GPU};
         COMMIT"
    )
}

/// A world whose statements are counted.
async fn world() -> World {
    let world = World::told(ROLLED, |_| ()).await;
    world.log_statements().await;
    world
}

/// Asks, and tells whether samples or rollups were read for it: all that is asked of the database but the edition.
async fn asked(world: &World, path: &str) -> (Answer, bool) {
    let asked = || {
        ["-- The samples of one GPU", "-- What a page", "-- Samples summed up", "-- How fast counters"]
            .map(|text| world.statements(text))
    };
    let before = asked();
    let answer = world.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    (answer, asked() != before)
}

/// Whether samples were read for each of so many times.
async fn reads(world: &World, path: &str, times: usize) -> Vec<bool> {
    let mut reads = Vec::new();
    for _ in 0..times {
        reads.push(asked(world, path).await.1);
    }
    reads
}

#[tokio::test]
async fn who_asks_the_same_gets_the_same() {
    let world = world().await;
    for query in ["limit=7", "step=7m", "step=10m&agg=max&metrics=power_watts", "format=ndjson&limit=5", "format=csv"] {
        let path = format!("{GPU}&{HOUR}&{query}");
        let (first, read) = asked(&world, &path).await;
        assert!(read, "{path}");
        for _ in 0..2 {
            let (again, read) = asked(&world, &path).await;
            assert!(!read, "{path}: it is kept");
            assert_eq!(again.body, first.body);
            for header in ["content-type", "etag", "link", "x-next-cursor", "x-step"] {
                assert_eq!(again.header(header), first.header(header), "{path}: {header}");
            }
        }
    }
    let told = world.get("/metrics").await.body;
    assert!(told.contains("nexus_gateway_kept_answers_given_total{cluster=\"alpha\"} 10\n"), "{told}");
    assert!(!told.contains("nexus_gateway_kept_answers_bytes{cluster=\"alpha\"} 0\n"), "{told}");
}

#[tokio::test]
async fn questions_are_told_apart() {
    let world = world().await;
    let path = format!("{GPU}&{HOUR}&limit=3");
    assert_eq!(reads(&world, &path, 3).await, [true, false, false]);
    let named = world.ask("GET", &path, &[("Accept", "text/csv")]).await;
    assert!(named.body.starts_with("cluster_id,"), "{named:?}");
    for other in [
        format!("{GPU}&{HOUR}&limit=4"),
        format!("{GPU}&{HOUR}&limit=3&order=asc"),
        path.replace("gpu_id=0", "gpu_id=1"),
        path.replace("21:00", "20:30"),
    ] {
        assert!(asked(&world, &other).await.1, "{other}");
    }
    // Answers that more than the hours of the range is in: open ranges, later pages, rates.
    let next = world.json(&path).await["next_cursor"].as_str().unwrap().to_owned();
    for other in [
        format!("{GPU}&limit=3"),
        format!("{GPU}&start=2025-07-18T20:00:00Z"),
        format!("{path}&cursor={next}"),
        format!("{GPU}&{HOUR}&step=10m&agg=rate"),
    ] {
        assert_eq!(reads(&world, &other, 4).await, [true; 4], "{other}");
    }
}

#[tokio::test]
async fn times_are_those_of_the_question() {
    let world = world().await;
    // The same words mean another time each time.
    let path = format!("{GPU}&start=now-2h&end=now");
    assert_eq!(reads(&world, &path, 4).await, [true; 4]);
}

#[tokio::test]
async fn a_gpu_has_the_name_that_it_has_now() {
    let world = world().await;
    let path = format!("{GPU}&{HOUR}&limit=1");
    assert_eq!(reads(&world, &path, 3).await, [true, false, false]);
    world.sql("UPDATE gpus SET uuid = 'GPU-new' WHERE uuid = 'GPU-b-0'").await;
    eventually("the gateway knows", PATIENCE, async || world.items(&path).await[0]["uuid"] == "GPU-new").await;
}

/// Every stage between a late row and its rollup.
#[tokio::test]
async fn what_is_stored_is_seen_at_once() {
    let world = world().await;
    let path = format!("{GPU}&{HOUR}&limit=1");
    let newest = async || {
        let (answer, read) = asked(&world, &path).await;
        (answer.json()["items"][0]["data"]["power_watts"].as_f64(), read)
    };
    let kept = async |value: f64| {
        for _ in 0..3 {
            assert_eq!(newest().await.0, Some(value));
        }
        assert_eq!(newest().await, (Some(value), false), "it is kept");
    };
    let hour = "'2025-07-18T20:00:00Z'::timestamptz";
    kept(159.0).await;
    // Stored and noted, in one transaction.
    world
        .execute(&format!(
            "BEGIN;
             INSERT INTO samples (gpu_id, ts, power_watts) SELECT id, '2025-07-18T20:30:00Z', 200 {OF_GPU};
             INSERT INTO rollup_notes (gpu_ids, hours) SELECT ARRAY[id], ARRAY[{hour}] {OF_GPU};
             COMMIT"
        ))
        .await;
    assert_eq!([newest().await, newest().await], [(Some(200.0), true); 2]);
    // Listed.
    world
        .execute(&format!(
            "BEGIN;
             DELETE FROM rollup_notes;
             INSERT INTO rollup_todo (gpu_id, hour, since, touched) SELECT id, {hour}, now(), now() {OF_GPU};
             COMMIT"
        ))
        .await;
    assert_eq!([newest().await, newest().await], [(Some(200.0), true); 2]);
    // Rolled up anew, to the same rollup.
    world
        .execute(&format!(
            "BEGIN;
             DELETE FROM rollup_todo;
             DELETE FROM rollup_hours WHERE start = {hour} AND gpu_id = (SELECT id {OF_GPU});
             INSERT INTO rollup_hours (gpu_id, start, samples, minutes) SELECT id, {hour}, 1, false {OF_GPU};
             COMMIT"
        ))
        .await;
    kept(200.0).await;
    // Retention: samples go together with their rollups.
    world.execute("BEGIN; DELETE FROM rollup_hours; DELETE FROM rollup_todo; TRUNCATE samples; COMMIT").await;
    assert_eq!(newest().await, (None, true));
}

/// Between two questions an hour can be stored, noted, listed and rolled up, to the very same rollup.
#[tokio::test]
async fn what_was_rolled_up_meanwhile_is_seen() {
    let world = world().await;
    let path = format!("{GPU}&{HOUR}&limit=1");
    assert_eq!(reads(&world, &path, 3).await, [true, false, false]);
    world
        .execute(&format!(
            "BEGIN;
             INSERT INTO samples (gpu_id, ts, power_watts) SELECT id, '2025-07-18T20:30:00Z', 200 {OF_GPU};
             DELETE FROM rollup_hours WHERE start = '2025-07-18T20:00:00Z' AND gpu_id = (SELECT id {OF_GPU});
             INSERT INTO rollup_hours (gpu_id, start, samples, minutes)
                 SELECT id, '2025-07-18T20:00:00Z', 1, false {OF_GPU};
             COMMIT"
        ))
        .await;
    assert_eq!(world.items(&path).await[0]["data"]["power_watts"], 200);
}

/// Another GPU's rows, and another hour's, change nothing.
#[tokio::test]
async fn what_others_store_does_not_matter() {
    let world = world().await;
    let path = format!("{GPU}&{HOUR}&limit=1");
    assert_eq!(reads(&world, &path, 3).await, [true, false, false]);
    world.execute(&format!(
            "INSERT INTO rollup_notes (gpu_ids, hours) SELECT ARRAY[id, id], ARRAY['2025-07-18T21:00Z', '2025-07-18T19:00Z']::timestamptz[] {OF_GPU};
             INSERT INTO rollup_notes (gpu_ids, hours) SELECT ARRAY[id], ARRAY['2025-07-18T20:00Z']::timestamptz[] FROM gpus WHERE uuid = 'GPU-b-1'"
        ),
    )
    .await;
    assert_eq!(reads(&world, &path, 2).await, [false, false]);
    // An hour that the range only begins in is its hour, too.
    let early = path.replace("start=2025-07-18T20:00", "start=2025-07-18T19:59");
    assert_eq!(reads(&world, &early, 4).await, [true; 4]);
}

/// A row that comes while an answer is made, and is gone again with its day: the answer that had it is not kept.
#[tokio::test]
async fn what_changes_while_it_is_answered_is_not_kept() {
    let world = world().await;
    let path = format!("{GPU}&{HOUR}&limit=1");
    let mut tasks = JoinSet::new();
    let [lock, watch] = [world.connected(&mut tasks).await, world.connected(&mut tasks).await];
    lock.batch_execute("BEGIN; LOCK TABLE samples IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut first = JoinSet::new();
    {
        let (address, path) = (world.address, path.clone());
        first.spawn(async move { request(address, "GET", &path, &[]).await });
    }
    let waits = "SELECT count(*) FROM pg_stat_activity
                 WHERE application_name = 'nexus-gateway' AND wait_event_type = 'Lock' AND query LIKE '-- The samples of one GPU%'";
    eventually("the answer is being made", PATIENCE, async || {
        watch.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    lock.batch_execute(&stored_and_noted()).await.unwrap();
    let answer = first.join_next().await.unwrap().unwrap();
    assert_eq!(answer.json()["items"][0]["data"]["power_watts"], 200, "it waited for the row");
    world.execute("BEGIN; DELETE FROM rollup_notes; DELETE FROM samples WHERE power_watts = 200; COMMIT").await;
    assert_eq!(world.items(&path).await[0]["data"]["power_watts"], 159);
}

#[tokio::test]
async fn without_room_nothing_is_kept() {
    let world = World::told(ROLLED, |config| config.bounds.kept_bytes = 0).await;
    world.log_statements().await;
    assert_eq!(reads(&world, &format!("{GPU}&{HOUR}"), 4).await, [true; 4]);
}

/// GPUs 0 and 1 of b-000, kept; the only turn is held until the lock's transaction ends.
struct Held {
    world: World,
    paths: [String; 2],
    lock: tokio_postgres::Client,
    _holder: JoinSet<Answer>,
    _tasks: JoinSet<()>,
}

impl Held {
    async fn new() -> Self {
        let world = World::told(ROLLED, |config| config.bounds.heavy_queries = 1).await;
        world.log_statements().await;
        let paths = [0, 1].map(|gpu| format!("{}&{HOUR}&limit=1", GPU.replace("gpu_id=0", &format!("gpu_id={gpu}"))));
        for path in &paths {
            assert_eq!(reads(&world, path, 3).await, [true, false, false], "{path}");
        }
        let mut tasks = JoinSet::new();
        let lock = world.connected(&mut tasks).await;
        lock.batch_execute("BEGIN; LOCK TABLE samples IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let mut held = Held { world, paths, lock, _holder: JoinSet::new(), _tasks: tasks };
        held._holder = held.ask(&format!("{GPU}&limit=2"), 1);
        held.waiting(1).await;
        held
    }

    /// So many who ask for it.
    fn ask(&self, path: &str, many: usize) -> JoinSet<Answer> {
        let (address, path) = (self.world.address, path.to_owned());
        std::iter::repeat_n(path, many).map(|path| async move { request(address, "GET", &path, &[]).await }).collect()
    }

    /// So many questions wait for their answer.
    async fn waiting(&self, many: usize) {
        // And the one that asks.
        let line = format!("nexus_gateway_requests_in_flight{{cluster=\"alpha\"}} {}\n", many + 1);
        eventually("they wait", PATIENCE, async || {
            request(self.world.address, "GET", "/metrics", &[]).await.body.contains(&line)
        })
        .await;
    }

    /// How often editions were asked for, and samples read.
    fn statements(&self) -> [usize; 2] {
        ["-- The editions of several", "-- The samples of one GPU"].map(|text| self.world.statements(text))
    }
}

fn watts(answers: &[Answer]) -> Vec<Option<f64>> {
    answers.iter().map(|answer| answer.json()["items"][0]["data"]["power_watts"].as_f64()).collect()
}

/// Who waits for a turn is asked for together with others, and told of his own hours.
#[tokio::test]
async fn who_waits_together_is_told_of_his_own_hours() {
    let held = Held::new().await;
    let [changed, same] = &held.paths;
    let [of_changed, of_same] = [held.ask(changed, 4), held.ask(same, 4)];
    held.waiting(9).await;
    let told = held.statements();
    held.lock.batch_execute(&stored_and_noted()).await.unwrap();
    assert_eq!(watts(&of_changed.join_all().await), [Some(200.0); 4], "none is older than its question");
    assert_eq!(watts(&of_same.join_all().await), [Some(159.0); 4]);
    let [editions, samples] = held.statements();
    assert!(editions - told[0] <= 2, "together: {}", editions - told[0]);
    assert_eq!(samples - told[1], 4 + 1, "what holds is given again, and the turn's holder was answered");
}

/// Who hangs up takes nobody along, and leaves no turn behind.
#[tokio::test]
async fn who_hangs_up_takes_nobody_along() {
    let held = Held::new().await;
    let first = held.ask(&held.paths[0], 1);
    held.waiting(2).await;
    let others = held.ask(&held.paths[1], 3);
    held.waiting(5).await;
    drop(first);
    held.waiting(4).await;
    let told = held.statements();
    held.lock.batch_execute("COMMIT").await.unwrap();
    assert_eq!(others.join_all().await.iter().filter(|answer| answer.status == 200).count(), 3);
    assert_eq!(held.statements()[1] - told[1], 1, "they were given again, and the turn's holder was answered");
    assert_eq!(asked(&held.world, &held.paths[0]).await.0.status, 200);
}
