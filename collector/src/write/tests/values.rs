//! What is stored is what was sent, merged by GPU and time.

use std::collections::BTreeMap;

use nexus_common::domain::CATALOGUE;
use nexus_common::queue::Decoder;
use serde_json::Value;
use tokio_postgres::types::Json;

use super::{NOON, SECOND, Stored, batch, gpu, message, store, stored};

/// Numbers that suffer where somebody rounds.
const DELICATE: [f64; 8] =
    [0.1, 1.0 / 3.0, 5e-324, f64::MAX, -273.15, 9_007_199_254_740_993.0, 123_456_789.123_456_79, 0.0];

#[tokio::test]
async fn every_value_is_stored_to_the_last_bit() {
    let store = store().await;
    let names: Vec<String> =
        CATALOGUE.iter().map(|metric| metric.name.to_owned()).chain(["odd_one".into(), "odd_two".into()]).collect();
    let value = |time: usize, metric: usize| DELICATE[(time + metric) % DELICATE.len()];
    let bodies: Vec<_> = (0..DELICATE.len())
        .map(|time| {
            let values: Vec<_> = names.iter().enumerate().map(|(at, name)| (name.as_str(), value(time, at))).collect();
            message(gpu("h", "0"), NOON.shifted(time as i64), 2 + time as u64, &values)
        })
        .collect();
    let outcome = store.writer().store(&mut [batch(1, &bodies)]).await.unwrap();
    assert_eq!(outcome, stored(1, DELICATE.len() as u64));
    let rows = store.client().await.query("SELECT * FROM samples ORDER BY ts", &[]).await.unwrap();
    assert_eq!(rows.len(), DELICATE.len());
    for (time, row) in rows.iter().enumerate() {
        let Json(ext): Json<BTreeMap<String, f64>> = row.get("ext");
        for (at, name) in names.iter().enumerate() {
            let found = ext.get(name).copied().unwrap_or_else(|| row.get(name.as_str()));
            assert_eq!(found.to_bits(), value(time, at).to_bits(), "{name} at {time}: {found}");
        }
    }
}

#[tokio::test]
async fn rows_that_arrive_apart_become_one_sample_and_conflicts_are_counted() {
    let store = store().await;
    let writer = store.writer();
    let at = |line, values: &[(&str, f64)]| message(gpu("h", "0"), NOON, line, values);
    let first = at(2, &[("gpu_utilization", 50.0), ("power_watts", 300.0), ("odd", 1.0), ("odder", 1.0)]);
    let second = at(3, &[("temperature_celsius", 70.0), ("power_watts", 301.0), ("odd", 2.0), ("oddest", 3.0)]);
    let third = at(4, &[("temperature_celsius", 70.0), ("odd", 2.0)]);
    for (n, body) in [first, second, third].into_iter().enumerate() {
        writer.store(&mut [batch(n as u64 + 1, &[body])]).await.unwrap();
    }
    let row = store
        .client()
        .await
        .query_one("SELECT gpu_utilization, power_watts, temperature_celsius, xid, ext, conflicts FROM samples", &[])
        .await
        .unwrap();
    let known: Vec<Option<f64>> = (0..4).map(|column| row.get(column)).collect();
    assert_eq!(known, [Some(50.0), Some(301.0), Some(70.0), None], "the later value stands, absence never overwrites");
    let ext: Value = row.get(4);
    assert_eq!(ext, serde_json::json!({"odd": 2.0, "odder": 1.0, "oddest": 3.0}));
    assert_eq!(row.get::<_, i32>(5), 2, "power_watts and odd had other values before");
}

#[tokio::test]
async fn the_latest_value_of_each_metric_never_goes_back() {
    let store = store().await;
    let writer = store.writer();
    let at = |seconds: i64, values: &[(&str, f64)]| message(gpu("h", "0"), NOON.shifted(seconds * SECOND), 2, values);
    let steps = [
        at(10, &[("power_watts", 10.0), ("odd", 10.0)]),
        at(5, &[("power_watts", 5.0), ("xid", 79.0), ("odd", 5.0), ("odder", 5.0)]),
        at(20, &[("temperature_celsius", 20.0)]),
    ];
    for (n, body) in steps.into_iter().enumerate() {
        writer.store(&mut [batch(n as u64 + 1, &[body])]).await.unwrap();
    }
    let row = store
        .client()
        .await
        .query_one(
            "SELECT power_watts, xid, temperature_celsius,
                 (extract(epoch FROM power_watts_at) * 1000000)::bigint, (extract(epoch FROM xid_at) * 1000000)::bigint,
                 (extract(epoch FROM ts) * 1000000)::bigint, ext
             FROM gpu_latest",
            &[],
        )
        .await
        .unwrap();
    let values: Vec<f64> = (0..3).map(|column| row.get(column)).collect();
    assert_eq!(values, [10.0, 79.0, 20.0]);
    let times: Vec<i64> = (3..6).map(|column| row.get(column)).collect();
    assert_eq!(times, [10, 5, 20].map(|seconds| NOON.0 + seconds * SECOND), "each metric has its own time");
    let ext: Value = row.get(6);
    assert_eq!(ext["odd"], serde_json::json!({"at": NOON.0 + 10 * SECOND, "value": 10.0}));
    assert_eq!(ext["odder"]["value"], 5.0);
}

/// Redelivered samples are no news, however the batches travel together.
#[tokio::test]
async fn a_flight_is_merged_before_it_is_stored() {
    let store = store().await;
    let of = |n: u64, value: f64| batch(n, &[message(gpu("h", "0"), NOON, 2, &[("power_watts", value)])]);
    // Given out of order: the batch published last has the last word.
    let outcome = store.writer().store(&mut [of(3, 3.0), of(1, 1.0), of(2, 2.0)]).await.unwrap();
    assert_eq!(outcome, stored(3, 3));
    assert_eq!(store.one::<f64>("SELECT power_watts FROM samples").await, 3.0);
    assert_eq!(store.one::<i32>("SELECT conflicts FROM samples").await, 2);
}

#[tokio::test]
async fn rows_that_expired_are_recorded_with_their_source() {
    let store = store().await;
    let bodies: Vec<_> =
        (2..7).map(|line| message(gpu("h", "0"), NOON.shifted(line as i64), line, &[("xid", 1.0)])).collect();
    let (mut half, mut empty) = (super::claimed(1, &bodies), super::claimed(2, &bodies));
    half.messages.truncate(3);
    empty.messages.clear();
    let mut works = [half, empty].map(|claimed| crate::work::Work::decode(claimed, &mut Decoder::default()).unwrap());
    let outcome = store.writer().store(&mut works).await.unwrap();
    assert_eq!(outcome, Stored { batches: 2, rows: 3, expired: 7, ..Stored::default() });
    assert_eq!(store.ledger().await, (2, 3, 0, 7));
    let row = store
        .client()
        .await
        .query_one("SELECT row_count, file, first_line, last_line, collector FROM ledger WHERE expired = 5", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 5);
    let (file, first, last, collector): (String, i64, i64, String) = (row.get(1), row.get(2), row.get(3), row.get(4));
    assert_eq!((file.as_str(), first, last, collector.as_str()), ("f.csv", 2, 6, "collector-1"));
}
