//! What retention drops stays counted: the audit says the same before and after, whatever is in the books, and what is
//! delivered once more is known.

use std::time::Duration;

use nexus_common::books::{Audit, Scope, audit};
use nexus_common::db;
use nexus_common::domain::Timestamp;
use nexus_common::etcd::{Client, Txn, TxnOp};
use nexus_common::queue::{BatchId, Cursor, Keys, Manifest, Source};
use nexus_common::testing::{self, TestEtcd, eventually};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{NOON, SOON, Store, Stored, batch, gpu, message, store, stored};
use crate::rollup::hour_of;
use crate::work::Work;
use crate::write::partitions::{Partitions, Table};
use crate::write::{Dropper, Roller};

const DAY: i64 = 86_400_000_000;
/// July 1st of 2025, in milliseconds.
const JULY: i64 = 1_751_328_000_000;

/// Books with everything in them that can be: `batch(lane, run, n, rows_before, day of July, stored, dead, expired)`.
///
/// a: three days, dead and expired rows, published again and redriven, some of today; b: two runs; c: batches that were
/// lost, and a dead letter that is gone; d: rows that were read again; e: no cursor; republish-1: what came back.
const BOOKS: &str = "
    INSERT INTO clusters (name) VALUES ('other'), ('bench');
    CREATE TABLE ledger_20250701 PARTITION OF ledger FOR VALUES FROM ('2025-07-01') TO ('2025-07-02');
    CREATE TABLE ledger_20250702 PARTITION OF ledger FOR VALUES FROM ('2025-07-02') TO ('2025-07-03');
    CREATE TABLE ledger_20250703 PARTITION OF ledger FOR VALUES FROM ('2025-07-03') TO ('2025-07-04');
    CREATE TABLE ledger_now PARTITION OF ledger FOR VALUES FROM ('2026-01-01') TO ('2200-01-01');
    CREATE FUNCTION batch(lane text, run text, n bigint, rows_before bigint, at timestamptz, stored int, dead int, expired int)
    RETURNS void LANGUAGE sql AS $$
        INSERT INTO ledger (day, cluster_id, lane, run, n, published_at, rows_before, row_count, stored, dead, expired,
            file, pass, first_line, last_line, first_byte, end_byte, collector)
        SELECT (at AT TIME ZONE 'UTC')::date, id, lane, run, n, at, rows_before, stored + dead + expired, stored, dead,
            expired, lane || '.csv', 0, 0, 0, 0, 0, 'c' FROM clusters WHERE name = 'bench' $$;
    CREATE FUNCTION july(day int, n bigint) RETURNS timestamptz LANGUAGE sql AS
        $$ SELECT '2025-06-30T00:00:00Z'::timestamptz + day * interval '1 day' + n * interval '1 second' $$;

    SELECT batch('a', 'r1', n, (n - 1) * 10, july(1 + (n - 1)::int / 10, n), 10 - dead - expired, dead, expired)
    FROM (SELECT n, CASE n WHEN 3 THEN 2 ELSE 0 END AS dead, CASE n WHEN 12 THEN 4 ELSE 0 END AS expired
        FROM generate_series(1, 30) n) x;
    SELECT batch('a', 'r1', n, (n - 1) * 10, now() - interval '1 hour' + n * interval '1 second', 10, 0, 0)
    FROM generate_series(31, 40) n;
    SELECT batch('b', 'r1', n, (n - 1) * 10, july(1 + n::int / 8, n), 10, 0, 0) FROM generate_series(1, 15) n;
    SELECT batch('b', 'r2', n, 150 + (n - 1) * 10, july(2 + n::int / 8, 100 + n), 10, 0, 0) FROM generate_series(1, 15) n;
    SELECT batch('c', 'r1', n, (n - 1) * 10, july(1 + n::int / 10, n), 10 - CASE n WHEN 1 THEN 1 ELSE 0 END,
        CASE n WHEN 1 THEN 1 ELSE 0 END, 0) FROM generate_series(1, 20) n WHERE n NOT IN (5, 10, 12);
    SELECT batch('d', 'r1', n, (n - 1) * 10, july(1, n), 10, 0, 0) FROM generate_series(1, 20) n;
    SELECT batch('d', 'r2', n, 100 + (n - 1) * 10, july(2, n), 10, 0, 0) FROM generate_series(1, 10) n;
    SELECT batch('e', 'r1', n, (n - 1) * 10, july(1, n), 10, 0, 0) FROM generate_series(1, 10) n;

    INSERT INTO returns (cluster_id, kind, row_count, finished_at) SELECT id, 'republish', 4, now() FROM clusters WHERE name = 'bench';
    INSERT INTO expired_returns (cluster_id, lane, run, n, return_id) SELECT c.id, 'a', 'r1', 12, r.id FROM clusters c, returns r
        WHERE c.name = 'bench';
    SELECT batch('republish-1', 'r1', 1, 0, july(3, 1), 4, 0, 0);
    INSERT INTO dead_letters (cluster_id, batch, key, row_count, file, pass, reason, raw, raw_bytes)
        SELECT id, '1751328003000_a.r1.3', 'k' || n, 1, 'a.csv', 0, 'why', '', 0 FROM clusters, generate_series(1, 2) n
        WHERE name = 'bench'";

struct World {
    store: Store,
    _etcd: TestEtcd,
    client: Client,
    keys: Keys,
}

impl World {
    /// The books of [`BOOKS`] with their cursors, and a batch that is stored and not acknowledged.
    async fn new() -> World {
        let (store, etcd) = (store().await, testing::etcd().await);
        store.run(BOOKS).await;
        let client = Client::connect(&etcd.endpoints()).await.unwrap();
        let keys = Keys::new("/telemetry/queue", "bench");
        let world = World { store, _etcd: etcd, client, keys };
        for (lane, run, epoch, n, rows, opened) in [
            ("a", "r1", 1, 40, 400, 0),
            ("b", "r2", 2, 15, 300, 150),
            ("c", "r1", 1, 20, 200, 0),
            ("d", "r2", 2, 10, 200, 100),
        ] {
            let position = json!({"file": format!("{lane}.csv")});
            let (run, opened_rows) = (run.to_owned(), Some(opened));
            let cursor = Cursor { v: 1, run, epoch, n, rows, opened_rows, last_ms: JULY, position };
            world.put(&world.keys.lane(lane), &serde_json::to_vec(&cursor).unwrap()).await;
        }
        let batch = BatchId { published_ms: JULY + 2 * 86_400_000 + 30_000, lane: "a".into(), run: "r1".into(), n: 30 };
        let source = Source { file: "a.csv".into(), pass: 0, lines: [2, 11], bytes: [0, 9], shift_us: 0 };
        let (first, last) = (String::new(), String::new());
        let manifest = Manifest {
            v: 1,
            first,
            last,
            messages: 10,
            rows: 10,
            rows_before: 290,
            lease: 1,
            source,
            traceparent: None,
        };
        world.put(&world.keys.manifest(&batch), &manifest.encode()).await;
        world
    }

    async fn put(&self, key: &str, value: &[u8]) {
        self.client.txn(Txn::new().and_then([TxnOp::put(key, value, None)])).await.unwrap();
    }

    async fn audit(&self) -> Audit {
        audit(&self.client, &self.keys, &self.store.pool, &Scope::All).await.unwrap()
    }

    /// All that the audit says but for the neighbours of holes.
    async fn books(&self) -> Value {
        let mut books = serde_json::to_value(self.audit().await).unwrap();
        for lane in books["lanes"].as_array_mut().unwrap() {
            for hole in lane["holes"].as_array_mut().unwrap() {
                *hole = hole["rows"].take();
            }
        }
        books
    }
}

impl Store {
    fn dropper(&self) -> Dropper {
        Dropper::new(db::pool(&self.server.config(), 1).unwrap(), Duration::from_secs(90 * 86_400))
    }

    async fn partitions(&self) -> Vec<String> {
        let sql = "SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
            WHERE relkind = 'r' ORDER BY 1";
        self.column(sql).await
    }
}

#[tokio::test]
async fn the_audit_says_the_same_after_each_day_that_is_dropped() {
    let world = World::new().await;
    let before = world.books().await;
    let total = &before["total"];
    // The books have everything in them: else they would prove little.
    assert_eq!(
        (&total["read_again"], &total["republished"], &total["expired"], &total["dead"]),
        (&json!(100), &json!(4), &json!(4), &json!(2))
    );
    assert_eq!(before["lanes"].as_array().unwrap().len(), 6, "{before}");
    assert_eq!(total["residue"], 31, "three batches of c, and its dead letter: {before}");

    // One day after the other, as it is over time: what was dropped grows.
    for (days, gone) in [(1, "20250701"), (2, "20250702"), (3, "20250703")] {
        let then = Timestamp(JULY * 1000 + (90 + days) * DAY);
        let dropped = world.store.dropper().turn(then).await.unwrap();
        assert_eq!(dropped.partitions, [format!("ledger_{gone}")]);
        assert_eq!(world.books().await, before, "{days} days are gone");
    }
    assert_eq!(world.store.partitions().await, ["ledger_now"]);
    assert_eq!(world.store.one::<i64>("SELECT count(*) FROM ledger WHERE lane <> 'a' OR n <= 30").await, 0);
    let stretches: Vec<String> =
        world.store.column("SELECT run || ' ' || first_n || '-' || last_n FROM ledger_dropped WHERE lane IN ('a', 'c') ORDER BY lane, first_n").await;
    assert_eq!(stretches, ["r1 1-30", "r1 1-4", "r1 6-9", "r1 11-11", "r1 13-20"], "a stretch grows with its days");
}

/// Batch `n` of July 1st, which stores a sample of today.
fn late(n: u64) -> Work {
    let now = Timestamp::now().shifted(n.cast_signed());
    let mut work = batch(n, &[message(gpu("h", "0"), now, 2, &[("power_watts", 1.0)])]);
    work.claimed.batch.published_ms = JULY + n.cast_signed();
    work
}

#[tokio::test]
async fn a_batch_whose_day_was_dropped_is_known_and_a_new_one_of_that_day_is_not() {
    let store = store().await;
    store.writer().store(&mut [late(1), late(2)]).await.unwrap();
    assert_eq!(store.dropper().turn(Timestamp::now()).await.unwrap().partitions, ["ledger_20250701"]);
    let samples = "SELECT count(*) FROM samples";
    let before: i64 = store.one(samples).await;
    let writer = store.writer();
    let replay = Stored { batches: 2, replays: 2, ..Stored::default() };
    assert_eq!(writer.store(&mut [late(1), late(2)]).await.unwrap(), replay);
    assert_eq!((store.one::<i64>(samples).await, store.count("ledger").await), (before, 0));
    // One that waited for longer, and was never stored.
    let outcome = writer.store(&mut [late(2), late(3)]).await.unwrap();
    assert_eq!(outcome, Stored { batches: 2, replays: 1, rows: 1, ..Stored::default() });
    assert_eq!(store.dropper().turn(Timestamp::now()).await.unwrap().partitions, ["ledger_20250701"]);
    let totals = "SELECT batches || ' ' || row_count || ' ' || stored FROM ledger_totals";
    assert_eq!(store.one::<String>(totals).await, "3 3 3");
    // A collector that believes in the partition that is gone.
    let lost = writer.store(&mut [late(4)]).await.unwrap_err();
    assert!(lost.is_transient(), "{lost}");
    assert_eq!(writer.store(&mut [late(4)]).await.unwrap(), stored(1, 1));
}

/// Holds whoever notes dropped batches, after the sums and before the drop, until it is killed.
const HOLD: &str = "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(600); RETURN NULL; END $$;
    CREATE TRIGGER hold AFTER INSERT ON ledger_dropped FOR EACH STATEMENT EXECUTE FUNCTION hold()";

#[tokio::test]
async fn a_kill_between_the_sums_and_the_drop_changes_nothing() {
    let world = World::new().await;
    let before = world.books().await;
    world.store.run(HOLD).await;
    let mut turns = JoinSet::new();
    let dropper = world.store.dropper();
    turns.spawn(async move { dropper.turn(Timestamp::now()).await });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    eventually("it stands between the two", SOON, async || world.store.one::<i64>(waiting).await == 1).await;
    assert_eq!(world.books().await, before, "nobody sees half of it");
    // However long it takes: a batch of a day that has no partition yet is stored.
    let today = [Table::Samples.place(Timestamp::now()), Table::Ledger.place(NOON)].into();
    Partitions::default().ensure(&world.store.client().await, today).await.unwrap();
    world.store.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").await;
    turns.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(world.books().await, before);
    assert_eq!((world.store.count("ledger_totals").await, world.store.count("ledger_dropped").await), (0, 0));
    assert_eq!(world.store.partitions().await.len(), 6);

    world.store.run("DROP TRIGGER hold ON ledger_dropped").await;
    assert_eq!(world.store.dropper().turn(Timestamp::now()).await.unwrap().partitions.len(), 4);
    assert_eq!(world.books().await, before);
}

#[tokio::test]
async fn a_day_may_take_longer_than_a_statement_usually_may() {
    let world = World::new().await;
    let before = world.books().await;
    world.store.run(&HOLD.replace("600", "3.5")).await;
    let session = db::Session { statement_timeout: Duration::from_secs(3), ..db::Session::default() };
    let pool = db::pool_with(&world.store.server.config(), 1, &session).unwrap();
    let dropper = Dropper::new(pool.clone(), Duration::from_secs(90 * 86_400));
    let dropped = dropper.turn(Timestamp(JULY * 1000 + 91 * DAY)).await.unwrap();
    assert_eq!(dropped.partitions, ["ledger_20250701"]);
    assert_eq!(world.books().await, before);
    // The next who is given the connection is bounded as ever.
    let timeout: String = pool.get().await.unwrap().query_one("SHOW statement_timeout", &[]).await.unwrap().get(0);
    assert_eq!(timeout, "3s");
}

#[tokio::test]
async fn what_is_in_use_is_left_for_the_next_turn() {
    let world = World::new().await;
    let before = world.books().await;
    let mut reader = world.store.client().await;
    let reading = reader.transaction().await.unwrap();
    reading.execute("SELECT count(*) FROM ledger", &[]).await.unwrap();
    let dropped = world.store.dropper().turn(Timestamp::now()).await.unwrap();
    assert_eq!((dropped.partitions.len(), dropped.busy), (0, 3));
    assert_eq!(world.books().await, before);
    reading.commit().await.unwrap();
    assert_eq!(world.store.dropper().turn(Timestamp::now()).await.unwrap().busy, 0);
    assert_eq!(world.books().await, before);
}

/// Somebody's view stands on one day: that one cannot go, and says so; the others go.
#[tokio::test]
async fn a_day_that_cannot_go_keeps_no_other() {
    let world = World::new().await;
    let before = world.books().await;
    world.store.run("CREATE VIEW somebodys AS SELECT * FROM ledger_20250701").await;
    let refused = world.store.dropper().turn(Timestamp::now()).await.unwrap_err();
    assert!(refused.to_string().contains("ledger_20250701"), "{refused}");
    let mut left = world.store.partitions().await;
    left.retain(|name| name.starts_with("ledger_2025"));
    assert_eq!(left, ["ledger_20250701"]);
    assert_eq!(world.books().await, before, "what could not go is counted where it is");
    world.store.run("DROP VIEW somebodys").await;
    assert_eq!(world.store.dropper().turn(Timestamp::now()).await.unwrap().partitions, ["ledger_20250701"]);
    assert_eq!(world.books().await, before);
}

#[tokio::test]
async fn a_day_that_an_unfinished_republish_reads_is_kept() {
    let world = World::new().await;
    world.store.run("UPDATE returns SET finished_at = NULL").await;
    let dropped = world.store.dropper().turn(Timestamp::now()).await.unwrap();
    assert_eq!(
        (dropped.partitions, dropped.busy),
        (vec!["ledger_20250701".to_owned(), "ledger_20250703".to_owned()], 1)
    );
    world.store.run("UPDATE returns SET finished_at = now()").await;
    assert_eq!(world.store.dropper().turn(Timestamp::now()).await.unwrap().partitions, ["ledger_20250702"]);
}

#[tokio::test]
async fn samples_go_with_their_rollups_and_younger_ones_stay() {
    let store = store().await;
    // So many a minute that minutes are rolled up too; of July, and of now.
    let now = Timestamp::now();
    let times = (0..300).flat_map(|n| [NOON, hour_of(now.shifted(-7_200_000_000))].map(|at| at.shifted(n * 2_000_000)));
    let bodies: Vec<_> = times.map(|at| message(gpu("h", "0"), at, 2, &[("power_watts", 1.0)])).collect();
    store.writer().store(&mut [batch(1, &bodies)]).await.unwrap();
    store
        .run("CREATE TABLE samples_by_hand PARTITION OF samples FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')")
        .await;
    let pool = db::pool(&store.server.config(), 2).unwrap();
    Roller::new(pool.clone(), Duration::ZERO).turn().await.unwrap();
    let old =
        |table: &str, column: &str| format!("SELECT count(*) FROM {table} WHERE {column} < now() - interval '90 days'");
    for parts in ["rollup_fives", "rollup_minutes"] {
        assert!(store.one::<i64>(&old(parts, "start")).await > 0);
    }
    store.run("INSERT INTO rollup_todo SELECT gpu_id, start, now(), now() FROM rollup_hours").await;
    let young = |table: &str, column: &str| {
        format!("SELECT count(*) FROM {table} WHERE {column} >= now() - interval '90 days'")
    };
    let kept = [
        ("samples", "ts"),
        ("rollup_hours", "start"),
        ("rollup_fives", "start"),
        ("rollup_minutes", "start"),
        ("rollup_todo", "hour"),
    ];
    let mut counts = Vec::new();
    for (table, column) in kept {
        counts.push(store.one::<i64>(&young(table, column)).await);
    }

    let dropped = store.dropper().turn(now).await.unwrap();
    assert_eq!(dropped.busy, 0);
    for name in [
        "samples_20250718",
        "rollup_fives_20250718",
        "rollup_minutes_20250718",
        "rollup_hours_20250701",
        "ledger_20250718",
    ] {
        assert!(dropped.partitions.iter().any(|gone| gone == name), "{name}: {dropped:?}");
    }
    for ((table, column), count) in kept.into_iter().zip(counts) {
        assert_eq!(store.one::<i64>(&old(table, column)).await, 0, "{table}");
        assert_eq!(store.one::<i64>(&young(table, column)).await, count, "{table}");
        assert!(count > 0, "{table}");
    }
    assert!(store.partitions().await.contains(&"samples_by_hand".to_owned()), "nobody but its maker drops it");
}

/// Rollups that go before their samples would be an answer that samples contradict.
#[tokio::test]
async fn rollups_wait_for_samples_that_are_in_use() {
    let store = store().await;
    let bodies: Vec<_> =
        (0..300).map(|n| message(gpu("h", "0"), NOON.shifted(n * 2_000_000), 2, &[("power_watts", 1.0)])).collect();
    store.writer().store(&mut [batch(1, &bodies)]).await.unwrap();
    Roller::new(db::pool(&store.server.config(), 2).unwrap(), Duration::ZERO).turn().await.unwrap();
    let rolled = async || (store.count("rollup_hours").await, store.count("rollup_minutes").await);
    let before = rolled().await;
    let mut reader = store.client().await;
    let reading = reader.transaction().await.unwrap();
    reading.execute("SELECT count(*) FROM samples", &[]).await.unwrap();
    let dropped = store.dropper().turn(Timestamp::now()).await.unwrap();
    assert_eq!((dropped.partitions, dropped.busy), (vec!["ledger_20250718".to_owned()], 4));
    assert_eq!(rolled().await, before);
    reading.commit().await.unwrap();
    store.dropper().turn(Timestamp::now()).await.unwrap();
    assert_eq!(rolled().await, (0, 0));
}

#[tokio::test]
async fn a_clock_that_runs_ahead_drops_nothing_that_is_not_old() {
    let store = store().await;
    let now = Timestamp::now();
    store.writer().store(&mut [batch(1, &[message(gpu("h", "0"), now, 2, &[("power_watts", 1.0)])])]).await.unwrap();
    let dropped = store.dropper().turn(now.shifted(10 * 365 * DAY)).await.unwrap();
    assert_eq!(dropped.partitions, ["ledger_20250718"]);
    assert_eq!(store.count("samples").await, 1);
}

/// An audit has one moment for the ledger and for the sums of what was dropped from it.
#[tokio::test]
async fn an_audit_that_has_begun_finds_its_days() {
    let world = World::new().await;
    let before = world.books().await;
    // It stops at its first look into a table, when its moment is fixed.
    let mut holder = world.store.client().await;
    let holding = holder.transaction().await.unwrap();
    holding.batch_execute("LOCK TABLE clusters IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let (books, dropped) = tokio::join!(world.books(), async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'clusters'::regclass";
        eventually("the audit waits", SOON, async || world.store.one::<i64>(waiting).await == 1).await;
        let dropped = world.store.dropper().turn(Timestamp::now()).await.unwrap();
        holding.commit().await.unwrap();
        dropped
    });
    assert_eq!(books, before);
    assert_eq!((dropped.partitions.len(), dropped.busy), (0, 3));
    assert_eq!(world.store.dropper().turn(Timestamp::now()).await.unwrap().partitions.len(), 3);
}
