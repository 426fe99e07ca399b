//! I3: a batch takes effect once, whoever stores it, however often, and whatever dies meanwhile.

use nexus_common::db;
use nexus_common::testing::{Proxy, eventually};
use tokio::task::JoinSet;

use super::{NOON, SOON, Store, Stored, batch, gpu, message, store, stored};
use crate::work::Work;
use crate::write::Writer;

/// The same batch every time: storing it again may change nothing, not even a conflict count.
fn same(n: u64, value: f64) -> Work {
    batch(n, &[message(gpu("h", "0"), NOON.shifted(n as i64), 2, &[("power_watts", value)])])
}

/// Holds every transaction that writes latest values right before its commit, while `pg_advisory_lock(42)` is held.
async fn hold_commits(store: &Store) {
    store
        .run(
            "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER hold AFTER INSERT OR UPDATE ON gpu_latest
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold()",
        )
        .await;
}

async fn until_waiting(store: &Store, how_many: i64) {
    let sql = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    eventually(format!("{how_many} transactions wait"), SOON, async || store.one::<i64>(sql).await == how_many).await;
}

#[tokio::test]
async fn a_batch_stored_twice_changes_nothing() {
    let store = store().await;
    let writer = store.writer();
    let snapshot = async || {
        let all = "SELECT (SELECT json_agg(s) FROM samples s)::text || (SELECT json_agg(l) FROM gpu_latest l)::text
                       || (SELECT json_agg(l) FROM ledger l)::text || (SELECT json_agg(g) FROM gpus g)::text";
        store.one::<String>(all).await
    };
    assert_eq!(writer.store(&mut [same(1, 1.0)]).await.unwrap(), stored(1, 1));
    let before = snapshot().await;
    let replay = Stored { batches: 1, replays: 1, ..Stored::default() };
    assert_eq!(writer.store(&mut [same(1, 2.0)]).await.unwrap(), replay);
    assert_eq!(store.writer().store(&mut [same(1, 3.0)]).await.unwrap(), replay, "another collector");
    assert_eq!(snapshot().await, before);
}

#[tokio::test]
async fn a_flight_stores_only_what_is_fresh() {
    let store = store().await;
    let writer = store.writer();
    writer.store(&mut [same(2, 2.0), same(4, 4.0)]).await.unwrap();
    let outcome = writer.store(&mut [1, 2, 3, 4, 5].map(|n| same(n, 10.0))).await.unwrap();
    assert_eq!(outcome, Stored { batches: 5, replays: 2, rows: 3, ..Stored::default() });
    let values: Vec<f64> = store.column("SELECT power_watts FROM samples ORDER BY ts").await;
    assert_eq!(values, [10.0, 2.0, 10.0, 4.0, 10.0]);
    assert_eq!(store.ledger().await, (5, 5, 0, 0));
}

#[tokio::test]
async fn of_two_writers_with_the_same_batch_one_stores() {
    let store = store().await;
    store.writer().store(&mut [same(9, 9.0)]).await.unwrap();
    hold_commits(&store).await;
    let holder = store.client().await;
    holder.execute("SELECT pg_advisory_lock(42)", &[]).await.unwrap();
    let (a, b) = (store.writer(), store.writer());
    let (mut of_a, mut of_b) = ([same(1, 1.0), same(2, 1.0)], [same(2, 2.0), same(1, 2.0)]);
    let (first, second, ()) = tokio::join!(a.store(&mut of_a), b.store(&mut of_b), async {
        until_waiting(&store, 2).await;
        holder.execute("SELECT pg_advisory_unlock(42)", &[]).await.unwrap();
    });
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.rows + second.rows, first.replays + second.replays), (2, 2), "{first:?} {second:?}");
    assert_eq!(store.one::<i64>("SELECT sum(conflicts) FROM samples").await, 0);
    assert_eq!(store.ledger().await, (3, 3, 0, 0));
}

#[tokio::test]
async fn when_the_first_of_two_writers_dies_the_second_stores() {
    let store = store().await;
    store.writer().store(&mut [same(9, 9.0)]).await.unwrap();
    hold_commits(&store).await;
    let holder = store.client().await;
    holder.execute("SELECT pg_advisory_lock(42)", &[]).await.unwrap();
    let (a, b) = (store.writer(), store.writer());
    let (mut of_a, mut of_b) = ([same(1, 1.0)], [same(1, 1.0)]);
    let (first, second, ()) = tokio::join!(a.store(&mut of_a), b.store(&mut of_b), async {
        until_waiting(&store, 2).await;
        let victim = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        holder.execute(victim, &[]).await.unwrap();
        until_waiting(&store, 1).await;
        holder.execute("SELECT pg_advisory_unlock(42)", &[]).await.unwrap();
    });
    let mut outcomes = [first, second];
    outcomes.sort_by_key(Result::is_err);
    let [survivor, victim] = outcomes;
    assert_eq!(survivor.unwrap(), stored(1, 1));
    assert!(victim.unwrap_err().is_transient());
    assert_eq!(store.ledger().await, (2, 2, 0, 0));
}

/// The commit is carried out and the answer is lost: the retry finds its own work and leaves it.
#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_a_replay() {
    let store = store().await;
    hold_commits(&store).await;
    let proxy = Proxy::to(format!("127.0.0.1:{}", store.server.port())).await;
    let far = db::Config { port: proxy.port(), ..store.server.config() };
    let writer = Writer::new(db::pool(&far, 2).unwrap(), "bench", "collector-1", true);
    let holder = store.client().await;
    holder.execute("SELECT pg_advisory_lock(42)", &[]).await.unwrap();
    let mut works = [same(1, 1.0)];
    let (lost, ()) = tokio::join!(writer.store(&mut works), async {
        until_waiting(&store, 1).await;
        proxy.withhold_answers();
        holder.execute("SELECT pg_advisory_unlock(42)", &[]).await.unwrap();
        eventually("it is committed", SOON, async || store.count("ledger").await == 1).await;
        proxy.cut();
        proxy.heal();
    });
    assert!(lost.unwrap_err().is_transient());
    let again = writer.store(&mut works).await.unwrap();
    assert_eq!(again, Stored { batches: 1, replays: 1, ..Stored::default() });
    assert_eq!((store.count("samples").await, store.ledger().await), (1, (1, 1, 0, 0)));
}

#[tokio::test]
async fn a_postgres_killed_at_the_commit_has_stored_nothing_and_the_retry_stores_once() {
    let mut store = store().await;
    hold_commits(&store).await;
    let holder = store.client().await;
    holder.execute("SELECT pg_advisory_lock(42)", &[]).await.unwrap();
    let writer = store.writer();
    let mut works = [same(1, 1.0), same(2, 2.0)];
    let mut storing = JoinSet::new();
    storing.spawn(async move {
        let lost = writer.store(&mut works).await;
        (lost, writer, works)
    });
    until_waiting(&store, 1).await;
    store.server.kill().await.unwrap();
    let (lost, writer, mut works) = storing.join_next().await.unwrap().unwrap();
    assert!(lost.unwrap_err().is_transient());
    store.server.restart().await.unwrap();
    drop(holder);
    store.pool.retain(|_, _| false);
    assert_eq!(store.count("ledger").await, 0);
    assert_eq!(writer.store(&mut works).await.unwrap(), stored(2, 2));
    assert_eq!((store.count("samples").await, store.ledger().await), (2, (2, 2, 0, 0)));
}

#[tokio::test]
async fn a_postgres_restarted_between_two_stores_is_found_again() {
    let mut store = store().await;
    let writer = store.writer();
    writer.store(&mut [same(1, 1.0)]).await.unwrap();
    store.server.restart().await.unwrap();
    // What is in the pool died with the server; how many tries that costs is the pool's affair.
    let mut works = [same(2, 2.0)];
    eventually("the writer stores again", SOON, async || match writer.store(&mut works).await {
        Ok(outcome) => {
            assert_eq!(outcome, stored(1, 1));
            true
        }
        Err(error) => {
            assert!(error.is_transient(), "{error}");
            false
        }
    })
    .await;
    assert_eq!((store.count("samples").await, store.ledger().await), (2, (2, 2, 0, 0)));
}

/// Ids and partitions that were known of another database are found out anew.
#[tokio::test]
async fn a_database_that_was_emptied_under_the_writer_is_filled_again() {
    let store = store().await;
    let writer = store.writer();
    writer.store(&mut [same(1, 1.0)]).await.unwrap();
    store.run("TRUNCATE clusters, hosts, gpus, gpu_latest, samples, ledger RESTART IDENTITY CASCADE").await;
    let outcome = writer.store(&mut [same(2, 2.0)]).await;
    assert_eq!(outcome.unwrap(), stored(1, 1));
    let named = "SELECT h.name FROM samples s JOIN gpus g ON g.id = s.gpu_id JOIN hosts h ON h.id = g.host_id";
    assert_eq!(store.column::<String>(named).await, ["h"]);
}

/// What is newer than all that was stored of its GPU is copied without a merge. Another writer was quicker: nothing is
/// lost, and the values meet.
#[tokio::test]
async fn a_sample_taken_for_new_that_is_there_already_is_merged() {
    let store = store().await;
    let (one, other) = (store.writer(), store.writer());
    let of = |n: u64, second: i64, metric: &str, value: f64| {
        batch(n, &[message(gpu("h", "0"), NOON.shifted(second * 1_000_000), 2, &[(metric, value)])])
    };
    one.store(&mut [of(1, 1, "power_watts", 1.0)]).await.unwrap();
    one.store(&mut [of(2, 2, "power_watts", 2.0)]).await.unwrap();
    // The other writer has stored the next two already when the first one takes them for new.
    other.store(&mut [of(3, 3, "gpu_utilization", 30.0)]).await.unwrap();
    other.store(&mut [of(4, 4, "gpu_utilization", 40.0)]).await.unwrap();
    let mut late = [of(5, 3, "power_watts", 3.0), of(6, 4, "power_watts", 4.0)];
    assert_eq!(one.store(&mut late).await.unwrap(), stored(2, 2));
    let values: Vec<(Option<f64>, Option<f64>)> = store
        .client()
        .await
        .query("SELECT power_watts, gpu_utilization FROM samples ORDER BY ts", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let expected = [(Some(1.0), None), (Some(2.0), None), (Some(3.0), Some(30.0)), (Some(4.0), Some(40.0))];
    assert_eq!(values, expected);
    assert_eq!(store.ledger().await, (6, 6, 0, 0));
}
