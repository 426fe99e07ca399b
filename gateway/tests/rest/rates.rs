//! Steps that choose themselves, and counters as rates.

use std::collections::BTreeMap;

use nexus_common::domain::Timestamp;
use serde_json::{Value, json};

use crate::world::World;

const GPU: &str = "/api/v1/telemetry?cluster_id=beta&host_id=b-000&gpu_id=0";

#[tokio::test]
async fn a_step_chooses_itself_and_is_kept() {
    let world = World::new().await;
    let range = "start=2025-07-18T20:00:00Z&end=2025-07-18T20:10:00Z";
    for (query, step, seconds) in [
        (format!("{range}&step=auto"), "2s", json!(2)),
        (format!("{range}&agg=max"), "2s", json!(2)),
        ("step=auto".to_owned(), "10s", json!(10)),
        ("start=2025-07-01&end=2025-07-31&step=auto&agg=min".to_owned(), "2h", json!(7_200)),
        (format!("{range}&step=1500ms"), "1500ms", json!(1.5)),
    ] {
        let page = world.json(&format!("{GPU}&{query}&limit=1")).await;
        assert_eq!((page["step"].as_str(), &page["step_seconds"]), (Some(step), &seconds), "{query}");
        let next = page["next_cursor"].as_str();
        if let Some(next) = next.filter(|_| query.contains("auto")) {
            // Another range would give another step; the cursor keeps the first page's.
            let later = world.json(&format!("{GPU}&start=2016-01-01&step=auto&limit=1&cursor={next}")).await;
            assert_eq!(later["step"], step, "{query}");
            let other = world.get(&format!("{GPU}&step=7m&cursor={next}")).await;
            assert_eq!((other.status, other.json()["parameter"].as_str()), (400, Some("cursor")));
            assert!(other.body.contains(&format!("step={step}")), "{other:?}");
        }
    }
    let raw = world.json(&format!("{GPU}&{range}")).await;
    assert!(raw.get("step").is_none(), "without a step samples stay as they are");
    assert_eq!(raw["items"].as_array().unwrap().len(), 60);
}

/// Seconds from `T` and the counter's value, by GPU: three GPUs with gaps, resets and a second counter.
fn seeded() -> Vec<(u32, i64, Option<f64>, Option<f64>)> {
    let mut samples = Vec::new();
    for gpu in 0..3_u32 {
        let (mut at, mut energy, mut state) = (0_i64, 1_000.0 * f64::from(gpu), 7_u64 + u64::from(gpu));
        for n in 0..150 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let chance = state >> 33;
            at += 1 + i64::try_from(chance % 23).unwrap();
            energy = if chance % 17 == 0 {
                f64::from(u32::try_from(chance % 5).unwrap())
            } else {
                energy + f64::from(n) * 1.5
            };
            let replays = (chance % 3 == 0).then_some(f64::from(n));
            samples.push((gpu, at, (chance % 7 != 0).then_some(energy), replays));
        }
    }
    samples
}

/// The start of the range and of what is stored.
const T: i64 = 1_752_868_800;

/// What is asked for: from 300 s on, in steps of 60 s, of what was stored; the plain definition, sample by sample.
fn computed(start: i64, end: i64, step: i64) -> BTreeMap<(i64, u32), BTreeMap<&'static str, f64>> {
    let mut grown = BTreeMap::<(i64, u32, &str), (f64, f64)>::new();
    for gpu in 0..3 {
        for metric in ["energy_millijoules", "pcie_replays"] {
            let mut before: Option<(i64, f64)> = None;
            for (_, at, energy, replays) in seeded().into_iter().filter(|sample| sample.0 == gpu) {
                let Some(value) = (if metric == "pcie_replays" { replays } else { energy }) else { continue };
                let known = before.replace((at, value));
                let (Some((since, base)), true) = (known, (start..end).contains(&at)) else { continue };
                let bucket = (T + at).div_euclid(step) * step;
                let sum = grown.entry((bucket, gpu, metric)).or_default();
                sum.0 += if value >= base { value - base } else { value };
                #[allow(clippy::cast_precision_loss)]
                let took = (at - since) as f64;
                sum.1 += took;
            }
        }
    }
    let mut rates = BTreeMap::<_, BTreeMap<_, _>>::new();
    for ((bucket, gpu, metric), (increase, took)) in grown {
        rates.entry((bucket, gpu)).or_default().insert(metric, increase / took);
    }
    rates
}

#[tokio::test]
async fn rates_are_what_the_samples_say() {
    let world = World::new().await;
    world
        .sql(
            "INSERT INTO gpus (host_id, cluster_id, gpu_index)
                 SELECT h.id, h.cluster_id, n::text FROM hosts h, generate_series(20, 22) n WHERE h.name = 'c-000'",
        )
        .await;
    let text = |value: Option<f64>| value.map_or("NULL".to_owned(), |value| value.to_string());
    let rows: Vec<_> = seeded()
        .into_iter()
        .map(|(gpu, at, energy, replays)| {
            let (index, at) = (gpu + 20, T + at);
            format!("('{index}', to_timestamp({at}), {}::float8, {}::float8)", text(energy), text(replays))
        })
        .collect();
    world
        .sql(&format!(
            "INSERT INTO samples (gpu_id, ts, energy_millijoules, pcie_replays)
                 SELECT g.id, x.ts, x.energy, x.replays FROM gpus g
                 JOIN hosts h ON h.id = g.host_id AND h.name = 'c-000'
                 JOIN (VALUES {}) AS x (index, ts, energy, replays) ON x.index = g.gpu_index",
            rows.join(", ")
        ))
        .await;
    for (start, end, step) in [(0, 2_000, 60), (300, 1_200, 60), (301, 999, 10), (0, 2_000, 3_600), (500, 700, 1)] {
        let wanted = computed(start, end, step);
        assert!(!wanted.is_empty());
        let (from, until) = (T + start, T + end);
        for order in ["desc", "asc"] {
            let path = format!(
                "/api/v1/telemetry?cluster_id=gamma&agg=rate&start={from}&end={until}&step={step}s&order={order}"
            );
            let whole = all(&world, &path, 10_000).await;
            let found: BTreeMap<_, _> = whole.iter().map(|item| (place(item), item["data"].clone())).collect();
            assert_eq!(found.len(), whole.len(), "{path}: no bucket comes twice");
            let keys: Vec<_> = found.keys().copied().collect();
            assert_eq!(keys, wanted.keys().copied().collect::<Vec<_>>(), "{path}");
            for (place, rates) in &wanted {
                let data = found[place].as_object().unwrap();
                assert_eq!(data.keys().collect::<Vec<_>>(), rates.keys().collect::<Vec<_>>(), "{path} {place:?}");
                for (metric, rate) in rates {
                    let given = data[*metric].as_f64().unwrap();
                    let close = (given - rate).abs() <= 1e-9 * rate.abs().max(1.0);
                    assert!(close, "{path} {place:?} {metric}: {given}, not {rate}");
                }
            }
            if step >= 60 {
                assert_eq!(all(&world, &path, 7).await, whole, "{path}: the same by sevens");
            }
        }
    }
}

/// Every page of a list.
async fn all(world: &World, path: &str, limit: usize) -> Vec<Value> {
    let (mut items, mut at) = (Vec::new(), String::new());
    loop {
        let page = world.json(&format!("{path}&limit={limit}{at}")).await;
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            None => return items,
            Some(next) => at = format!("&cursor={next}"),
        }
    }
}

fn place(item: &Value) -> (i64, u32) {
    let at: Timestamp = item["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().into();
    (at.0 / 1_000_000, item["gpu_id"].as_str().unwrap().parse::<u32>().unwrap() - 20)
}

#[tokio::test]
async fn only_counters_have_rates() {
    let world = World::new().await;
    let answer = world.get(&format!("{GPU}&step=1m&agg=rate&metrics=power_watts,job_slots,energy")).await;
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(answer.status, 400, "{detail}");
    assert!(detail.starts_with("power_watts, job_slots: no counter"), "{detail}");
    assert!(detail.contains("energy_millijoules"), "{detail}");
    // 1000.5 mJ every 10 s; the first bucket's first sample has no base, the others' base is the sample before them.
    let rates = world.items(&format!("{GPU}&step=1m&agg=rate")).await;
    assert_eq!(rates.len(), 10);
    for item in rates {
        assert_eq!(item["data"], json!({"energy_millijoules": 100.05}));
    }
}

#[tokio::test]
async fn a_rate_begins_with_the_value_of_the_day_before() {
    let world = World::new().await;
    world
        .sql(
            "INSERT INTO samples (gpu_id, ts, energy_millijoules)
                 SELECT id, ts, value FROM gpus,
                     (VALUES ('2025-07-16T23:59:50Z'::timestamptz, 1000), ('2025-07-17T00:00:05Z', 16000)) AS reading (ts, value)
                 WHERE uuid = 'GPU-b-0'",
        )
        .await;
    for step in ["10s", "1m", "1h"] {
        let range = format!("start=2025-07-17T00:00:00Z&end=2025-07-17T01:00:00Z&step={step}&agg=rate");
        let items = world.items(&format!("{GPU}&{range}")).await;
        assert_eq!(items.len(), 1, "{step}: {items:?}");
        assert_eq!(items[0]["data"], json!({"energy_millijoules": 1000}), "{step}: 15,000 in 15 s");
    }
}
