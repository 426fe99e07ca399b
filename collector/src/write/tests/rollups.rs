//! Hours that are rolled up say what their samples say, and every other hour is noted or listed.

use std::time::Duration;

use nexus_common::db;
use nexus_common::domain::Timestamp;
use nexus_common::testing::eventually;
use serde_json::{Value, json};

use super::{NOON, SECOND, SOON, Store, batch, gpu, message, store};
use crate::rollup::hour_of;
use crate::write::Roller;
use crate::write::rollup::Turn;

/// What samples say of every hour, in the columns of its rollup; and of minutes likewise.
const COMPUTED: &str = "SELECT jsonb_agg(x ORDER BY x.gpu_id, x.start)::text FROM (
    SELECT gpu_id, date_bin('1 hour', ts, 'epoch'::timestamptz) AS start, count(*) AS samples,
        count(power_watts) AS power_watts_count, sum(power_watts) AS power_watts_sum, min(power_watts) AS power_watts_min,
        max(power_watts) AS power_watts_max,
        (array_agg(power_watts ORDER BY ts DESC) FILTER (WHERE power_watts IS NOT NULL))[1] AS power_watts_last,
        count(energy_millijoules) AS energy_millijoules_count,
        min(ts) FILTER (WHERE energy_millijoules IS NOT NULL) AS energy_millijoules_first_at,
        max(ts) FILTER (WHERE energy_millijoules IS NOT NULL) AS energy_millijoules_last_at,
        sum((ext->>'odd')::double precision) AS odd
    FROM samples GROUP BY 1, 2) x";

const ROLLED: &str = "SELECT jsonb_agg(x ORDER BY x.gpu_id, x.start)::text FROM (
    SELECT gpu_id, start, samples, COALESCE(power_watts_count, 0) AS power_watts_count, power_watts_sum,
        power_watts_min, power_watts_max, power_watts_last,
        COALESCE(energy_millijoules_count, 0) AS energy_millijoules_count, energy_millijoules_first_at,
        energy_millijoules_last_at, (ext->'odd'->>'sum')::double precision AS odd
    FROM rollup_hours) x";

impl Store {
    fn roller(&self, settle: Duration) -> Roller {
        Roller::new(db::pool(&self.server.config(), 2).unwrap(), settle)
    }

    /// Stores these samples of GPU 0, each a batch by its number: seconds from the start of the hour, and power.
    async fn stores(&self, first: u64, samples: &[(i64, f64)]) {
        let bodies: Vec<_> = samples
            .iter()
            .map(|(seconds, power)| {
                let values = [("power_watts", *power), ("energy_millijoules", power * 10.0), ("odd", 1.5)];
                message(gpu("h", "0"), hour_of(NOON).shifted(seconds * SECOND), 2, &values)
            })
            .collect();
        self.writer().store(&mut [batch(first, &bodies)]).await.unwrap();
    }

    /// Rolls up whatever is due now.
    async fn rolls(&self) -> usize {
        let turn = self.roller(Duration::ZERO).turn().await.unwrap();
        assert!(!turn.behind);
        turn.hours
    }

    /// Notes, hours on the list, and whether every rollup says what its samples say.
    async fn standing(&self) -> (i64, i64, bool) {
        let parsed =
            |text: Option<String>| serde_json::from_str::<Value>(&text.unwrap_or_default()).unwrap_or(json!(null));
        let (computed, rolled) = (parsed(self.one(COMPUTED).await), parsed(self.one(ROLLED).await));
        (self.count("rollup_notes").await, self.count("rollup_todo").await, computed == rolled)
    }
}

#[tokio::test]
async fn what_is_stored_is_noted_listed_and_rolled_up() {
    let store = store().await;
    store.stores(1, &[(1, 5.0), (2, 3.5), (3_599, 4.0), (3_600, 7.0), (-1, 1.0)]).await;
    assert_eq!(store.standing().await, (1, 0, false), "one note for three hours");
    let patient = store.roller(Duration::from_secs(600));
    assert_eq!(patient.turn().await.unwrap(), Turn::default(), "what was just stored may go on");
    assert_eq!(store.standing().await, (0, 3, false));
    assert_eq!(store.rolls().await, 3);
    assert_eq!(store.standing().await, (0, 0, true));
    let row = store
        .client()
        .await
        .query_one(
            "SELECT samples, minutes, energy_millijoules_first, energy_millijoules_last, energy_millijoules_growth,
                 xid_count, ext FROM rollup_hours WHERE start = $1",
            &[&hour_of(NOON)],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, bool>(1), row.get::<_, Option<i32>>(5)), (3, false, None));
    // From 50 anew to 35, and 5 more.
    assert_eq!([2, 3, 4].map(|column| row.get::<_, f64>(column)), [50.0, 40.0, 40.0]);
    assert_eq!(row.get::<_, Value>(6), json!({"odd": {"count": 3, "sum": 4.5, "min": 1.5, "max": 1.5, "last": 1.5}}));
    assert_eq!(store.rolls().await, 0, "nothing is left to do");
}

#[tokio::test]
async fn late_rows_and_other_values_bring_an_hour_back() {
    let store = store().await;
    store.stores(1, &[(1, 5.0), (3_600, 7.0)]).await;
    assert_eq!(store.rolls().await, 2);
    store.stores(2, &[(30, 9.0)]).await;
    assert_eq!(store.standing().await, (1, 0, false));
    assert_eq!(store.rolls().await, 1, "the other hour stays as it is");
    assert_eq!(store.standing().await, (0, 0, true));
    store.stores(3, &[(30, 2.0)]).await;
    assert_eq!((store.rolls().await, store.standing().await), (1, (0, 0, true)), "a conflict changes the value");
    // A redelivery changes no sample: nothing is noted.
    store.stores(3, &[(30, 2.0)]).await;
    assert_eq!(store.standing().await, (0, 0, true));
}

#[tokio::test]
async fn parts_are_kept_of_hours_with_many_samples() {
    let store = store().await;
    store.stores(1, &(0..360).map(|n| (n * 10, n as f64)).collect::<Vec<_>>()).await;
    store.stores(2, &(0..60).map(|n| (3_600 + n * 60, 1.0)).collect::<Vec<_>>()).await;
    store.stores(9, &(0..59).map(|n| (7_200 + n * 60, 1.0)).collect::<Vec<_>>()).await;
    assert_eq!(store.rolls().await, 3);
    assert_eq!(store.standing().await, (0, 0, true));
    assert_eq!(store.column::<bool>("SELECT minutes FROM rollup_hours ORDER BY start").await, [true, false, false]);
    assert_eq!(store.column::<bool>("SELECT fives FROM rollup_hours ORDER BY start").await, [true, true, false]);
    let sums: Vec<f64> = store.column("SELECT power_watts_sum FROM rollup_minutes ORDER BY start").await;
    assert_eq!(sums, (0..60).map(|minute| f64::from(minute * 36 + 15)).collect::<Vec<_>>());
    let fives: Vec<f64> = store.column("SELECT power_watts_max FROM rollup_fives ORDER BY start").await;
    assert_eq!(fives, (0..24).map(|n| if n < 12 { f64::from(n * 30 + 29) } else { 1.0 }).collect::<Vec<_>>());
    store.stores(3, &[(3_599, 0.5)]).await;
    assert_eq!(store.rolls().await, 1);
    assert_eq!(store.count("rollup_fives").await, 24);
    let last: Vec<f64> = store.column("SELECT power_watts_last FROM rollup_minutes ORDER BY start DESC LIMIT 1").await;
    assert_eq!((last, store.count("rollup_minutes").await), (vec![0.5], 60), "minutes are made anew, not twice");
}

/// A transaction that stores may take its time: its note is read by nobody before it ends, and is there afterwards.
#[tokio::test]
async fn a_note_that_is_under_way_is_not_lost() {
    let store = store().await;
    store.stores(1, &[(1, 5.0)]).await;
    let mut client = store.client().await;
    let transaction = client.transaction().await.unwrap();
    store_late(&transaction).await;
    assert_eq!(store.rolls().await, 1, "the hour as it is without it; a writer is not waited for");
    assert_eq!(store.standing().await, (0, 0, true));
    transaction.commit().await.unwrap();
    assert_eq!(store.standing().await, (1, 0, false));
    assert_eq!((store.rolls().await, store.standing().await), (1, (0, 0, true)));
}

/// Samples that are committed after a roller has read the hour, and before it commits.
#[tokio::test]
async fn what_is_stored_while_an_hour_is_rolled_up_brings_it_back() {
    let store = store().await;
    store.stores(1, &[(1, 5.0)]).await;
    assert_eq!(store.rolls().await, 1, "its partitions are there");
    store.stores(2, &[(1, 6.0)]).await;
    let (mut client, mut other) = (store.client().await, store.client().await);
    // The roller has read the samples when it waits for this.
    let gate = client.transaction().await.unwrap();
    gate.batch_execute("LOCK TABLE rollup_hours IN SHARE MODE").await.unwrap();
    let roller = store.roller(Duration::ZERO);
    let stored_meanwhile = async {
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'rollup_hours'::regclass";
        eventually("the roller waits", SOON, async || store.one::<i64>(waits).await == 1).await;
        let transaction = other.transaction().await.unwrap();
        store_late(&transaction).await;
        transaction.commit().await.unwrap();
        // Neither can another roller take the note meanwhile.
        assert_eq!(store.roller(Duration::ZERO).turn().await.unwrap(), Turn::default());
        gate.rollback().await.unwrap();
    };
    let (turn, ()) = tokio::join!(roller.turn(), stored_meanwhile);
    assert_eq!(turn.unwrap().hours, 1);
    assert_eq!(store.standing().await, (1, 0, false), "the rollup is old, and the note says so");
    assert_eq!((store.rolls().await, store.standing().await), (1, (0, 0, true)));
}

/// What a writer does: the sample, and in the same transaction the note.
async fn store_late(transaction: &deadpool_postgres::Transaction<'_>) {
    let (hour, at) = (hour_of(NOON), hour_of(NOON).shifted(77 * SECOND));
    let gpu_id: i32 = transaction.query_one("SELECT id FROM gpus", &[]).await.unwrap().get(0);
    let sample = "INSERT INTO samples (gpu_id, ts, power_watts) VALUES ($1, $2, 300)";
    transaction.execute(sample, &[&gpu_id, &at]).await.unwrap();
    let note = "INSERT INTO rollup_notes (gpu_ids, hours) VALUES ($1, $2)";
    transaction.execute(note, &[&vec![gpu_id], &vec![hour]]).await.unwrap();
}

#[tokio::test]
async fn an_hour_that_is_always_written_to_is_rolled_up_once_an_hour() {
    let store = store().await;
    store.stores(1, &[(1, 5.0)]).await;
    let patient = store.roller(Duration::from_secs(600));
    assert_eq!(patient.turn().await.unwrap().hours, 0);
    store.run("UPDATE rollup_todo SET since = now() - interval '59 minutes'").await;
    assert_eq!(patient.turn().await.unwrap().hours, 0);
    store.run("UPDATE rollup_todo SET since = now() - interval '61 minutes'").await;
    assert_eq!(patient.turn().await.unwrap().hours, 1);
}

#[tokio::test]
async fn an_hour_that_cannot_be_summed_up_stays_on_the_list_and_holds_nobody_up() {
    let store = store().await;
    let at = |n: u64, index: &str, seconds: i64, value: f64| {
        let at = hour_of(NOON).shifted(seconds * SECOND);
        batch(n, &[message(gpu("h", index), at, 2, &[("odd", value)])])
    };
    let mut works = [at(1, "0", 1, f64::MAX), at(2, "0", 2, f64::MAX), at(3, "1", 1, 1.0)];
    store.writer().store(&mut works).await.unwrap();
    let turn = store.roller(Duration::ZERO).turn().await.unwrap();
    assert_eq!((turn.hours, turn.refused), (1, 1));
    assert_eq!(store.column::<String>("SELECT refused FROM rollup_todo").await, ["odd"]);
    assert_eq!(store.roller(Duration::ZERO).turn().await.unwrap(), Turn::default(), "it is not tried again and again");
    store.writer().store(&mut [at(4, "0", 2, 0.0)]).await.unwrap();
    assert_eq!(store.rolls().await, 1, "once something else is stored, it is");
    assert_eq!(store.count("rollup_todo").await, 0);
}

/// Many hours at once are some turns, and a partition that was dropped is made again.
#[tokio::test]
async fn turns_are_bounded_and_partitions_made_on_demand() {
    let store = store().await;
    store.stores(1, &(0..40).map(|n| (n * 3_600, 1.0)).collect::<Vec<_>>()).await;
    let roller = store.roller(Duration::ZERO);
    let first = roller.turn().await.unwrap();
    assert_eq!((first.hours, first.behind), (32, true));
    let newest: Timestamp = store.one("SELECT max(hour) FROM rollup_todo").await;
    assert_eq!(newest, hour_of(NOON).shifted(7 * 3_600 * SECOND), "the newest were first");
    let second = roller.turn().await.unwrap();
    assert_eq!((second.hours, second.behind), (8, false));
    assert_eq!(store.standing().await, (0, 0, true));
    store.run("DROP TABLE rollup_hours_20250701").await;
    store.stores(2, &[(5, 2.0)]).await;
    roller.turn().await.unwrap_err();
    assert_eq!(roller.turn().await.unwrap().hours, 1);
}

/// As the migration lists hours that were stored before there were rollups.
#[tokio::test]
async fn what_was_stored_long_ago_need_not_settle() {
    let store = store().await;
    store.stores(1, &[(1, 5.0), (3_600, 2.0)]).await;
    store
        .run(
            "DELETE FROM rollup_notes;
             INSERT INTO rollup_todo (gpu_id, hour, since, touched)
                 SELECT gpu_id, date_trunc('hour', ts, 'UTC'), now(), '-infinity' FROM samples",
        )
        .await;
    assert_eq!(store.roller(Duration::from_secs(600)).turn().await.unwrap().hours, 2);
    assert_eq!(store.standing().await, (0, 0, true));
}
