//! A question has one answer, whatever is rolled up: a gateway that reads rollups and one that does not say the same, about
//! whole hours and cut ones, while late rows come in and before they are rolled up again. Nor does it matter whether an answer
//! is kept or made anew.

use nexus_common::domain::Timestamp;
use nexus_common::testing::eventually;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::parity::Gateway;
use crate::world::{PATIENCE, World};

/// 2025-07-18T20:00:00Z.
const START: i64 = 1_752_868_800;
const HOUR: i64 = 3_600;
/// What is stored lies in so many hours.
const HOURS: i64 = 30;

/// Metrics of all kinds; `odd` is in no catalogue.
const METRICS: [(&str, &str); 6] = [
    ("DCGM_FI_DEV_POWER_USAGE", "power_watts"),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "energy_millijoules"),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "pcie_replays"),
    ("DCGM_FI_DEV_XID_ERRORS", "xid"),
    ("odd", "odd"),
    ("odder", "odder"),
];

/// Rows of three GPUs: hours with many samples, with few and with none; counters that begin anew; metrics that come and go.
fn rows(random: &mut StdRng, samples: usize) -> (String, u64) {
    let mut text =
        "timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,value,labels_raw\n"
            .to_owned();
    let mut rows = 0;
    let mut energy = 0.0;
    for n in 0..samples {
        let gpu = random.random_range(0..3);
        // GPU 0's hour 7 is full, so that it has minutes; hours 10 to 13 are empty.
        let hour = if n % 3 == 0 { 7 } else { [1, 2, 3, 7, 8, 9, 14, 15, 16, 28][random.random_range(0..10)] };
        let gpu = if n % 3 == 0 { 0 } else { gpu };
        let at = START + hour * HOUR + random.random_range(0..HOUR);
        energy = if random.random_bool(0.05) { 1.0 } else { energy + random.random_range(0.0..1e6) };
        for (dcgm, _) in METRICS {
            if random.random_bool(0.4) {
                continue;
            }
            let value = if dcgm.contains("ENERGY") { energy } else { random.random_range(0.0_f64..500.0).floor() };
            let at = Timestamp(at * 1_000_000);
            text += &format!("{at},{dcgm},{gpu},nvidia{gpu},GPU-{gpu},H100,host-a,,,,{value},\n");
            rows += 1;
        }
    }
    (text, rows)
}

/// A question as people ask it, and as nobody would.
fn question(random: &mut StdRng) -> String {
    fn one<'a>(random: &mut StdRng, of: &[&'a str]) -> &'a str {
        of[random.random_range(0..of.len())]
    }
    let step = one(random, &["1m", "3m", "5m", "7m", "45m", "1h", "2h", "5h", "1d", "7d", "90s"]);
    let agg =
        one(random, &["", "", "&agg=avg", "&agg=min", "&agg=max", "&agg=sum", "&agg=last", "&agg=p95", "&agg=rate"]);
    let metrics = match agg {
        "&agg=rate" => one(random, &["", "&metrics=energy_millijoules", "&metrics=pcie_replays,energy_millijoules"]),
        _ => one(random, &["", "&metrics=power_watts", "&metrics=odd", "&metrics=xid,odder,energy_millijoules"]),
    };
    let gpu = one(random, &["", "&gpu_id=0", "&gpu_id=2"]);
    let order = one(random, &["asc", "desc"]);
    let mut moment = |from: i64, until: i64| {
        let at = START * 1_000 + random.random_range(from * HOUR * 1_000..until * HOUR * 1_000);
        // On the hour, on the minute, anywhere.
        let to = [1_000 * HOUR, 60_000, 1][random.random_range(0..3)];
        Timestamp((at - at.rem_euclid(to)) * 1_000).to_string()
    };
    let (start, end) = (moment(-2, HOURS / 2), moment(HOURS / 2 + 1, HOURS + 2));
    let range = match random.random_range(0..6) {
        0 => String::new(),
        1 => format!("&start={start}"),
        2 => format!("&end={end}"),
        _ => format!("&start={start}&end={end}"),
    };
    let limit = [3, 50, 10_000][random.random_range(0..3)];
    format!("/api/v1/telemetry?host_id=host-a&step={step}{agg}{metrics}{gpu}{range}&order={order}&limit={limit}")
}

/// The first pages.
async fn asked(gateway: &Gateway, path: &str) -> Vec<Value> {
    let (mut items, mut next) = (Vec::new(), String::new());
    for _ in 0..6 {
        let page = gateway.rest(&format!("{path}{next}")).await;
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            None => break,
            Some(cursor) => next = format!("&cursor={cursor}"),
        }
    }
    items
}

/// Values may differ in their last bits: sums are added up in another order.
fn differs(one: &[Value], other: &[Value]) -> Option<String> {
    if one.len() != other.len() {
        return Some(format!("{} items, not {}", one.len(), other.len()));
    }
    one.iter().zip(other).find_map(|(one, other)| {
        let place = |item: &Value| [&item["timestamp"], &item["gpu_id"]].map(Value::to_string);
        let (data, others) = (one["data"].as_object().unwrap(), other["data"].as_object().unwrap());
        let close = |(name, value): (&String, &Value)| {
            let (a, b) = (value.as_f64().unwrap(), others.get(name).and_then(Value::as_f64)?);
            ((a - b).abs() <= 1e-9 * a.abs().max(1.0)).then_some(())
        };
        let same =
            place(one) == place(other) && data.len() == others.len() && data.iter().all(|it| close(it).is_some());
        (!same).then(|| format!("{one}, not {other}"))
    })
}

struct Scene {
    world: World,
    random: StdRng,
    /// Rows that were published.
    rows: u64,
    /// What was asked before.
    questions: Vec<String>,
}

impl Scene {
    async fn streams(&mut self, samples: usize) {
        let (text, rows) = rows(&mut self.random, samples);
        let path = self.world.file(&format!("{}.csv", self.rows), text);
        let path = path.to_str().unwrap();
        self.world.start("streamer", &[("CSV_FILE", path), ("BATCH_SIZE", "500")]).succeeds().await;
        self.rows += rows;
        self.world.until_accounted(self.rows).await;
    }

    async fn until_rolled_up(&self) {
        let left = "SELECT (SELECT count(*) FROM rollup_notes) + (SELECT count(*) FROM rollup_todo)";
        eventually("all is rolled up", PATIENCE, async || self.world.ask::<i64>(left).await == Some(0)).await;
    }

    /// Asks both; returns how many items there were.
    async fn compares(&mut self, with: &Gateway, without: &Gateway, questions: usize) -> usize {
        let mut items = 0;
        for _ in 0..questions {
            let path = question(&mut self.random);
            let (found, wanted) = (asked(with, &path).await, asked(without, &path).await);
            if let Some(difference) = differs(&found, &wanted) {
                panic!("{path}: {difference}");
            }
            // Twice more: from then on an answer is kept, and given.
            for _ in 0..2 {
                assert_eq!(differs(&asked(with, &path).await, &wanted), None, "{path}, again");
            }
            self.questions.push(path.clone());
            // A page that holds all is read in another way than one that does not.
            if let Some(path) = path.strip_suffix("&limit=10000") {
                for gateway in [with, without] {
                    let paged = asked(gateway, &format!("{path}&limit=37")).await;
                    let whole = &wanted[..paged.len().min(wanted.len())];
                    assert_eq!(differs(&paged, whole), None, "{path}, by pages");
                }
            }
            items += found.len();
        }
        items
    }

    /// Asks what was asked before, twice; how many answers were kept ones.
    async fn compares_again(&mut self, with: &Gateway, without: &Gateway, questions: usize) -> u64 {
        let before = with.kept_answers_given().await;
        for _ in 0..questions {
            let path = &self.questions[self.random.random_range(0..self.questions.len())];
            let wanted = asked(without, path).await;
            for _ in 0..2 {
                assert_eq!(differs(&asked(with, path).await, &wanted), None, "{path}, asked before");
            }
        }
        with.kept_answers_given().await - before
    }
}

#[tokio::test]
async fn rollups_answer_as_samples_do() {
    const POWER: &str = "/api/v1/telemetry?host_id=host-a&step=1d&metrics=power_watts&agg=max";
    let mut scene =
        Scene { world: World::new().await, random: StdRng::seed_from_u64(20_250_718), rows: 0, questions: Vec::new() };
    let quick = [("ROLLUP_SETTLE", "0s"), ("ROLLUP_INTERVAL", "100ms")];
    let collector = scene.world.start("collector", &quick);
    scene.streams(2_000).await;
    scene.until_rolled_up().await;
    let minutes = scene.world.ask::<i64>("SELECT count(*) FROM rollup_hours WHERE minutes").await;
    assert!(minutes > Some(0), "there is an hour that has minutes");
    let with = Gateway::start(&scene.world).await;
    let without = Gateway::start_with(&scene.world, &[("ENABLE_ROLLUPS", "off")]).await;
    let items = scene.compares(&with, &without, 150).await;
    assert!(items > 1_000, "{items}: nothing was compared");
    assert!(scene.compares_again(&with, &without, 50).await > 10, "nothing was kept");
    // Late rows and other values, asked about while they are rolled up.
    for _ in 0..4 {
        scene.streams(30).await;
        scene.compares_again(&with, &without, 15).await;
        scene.compares(&with, &without, 15).await;
        scene.until_rolled_up().await;
        assert!(scene.compares_again(&with, &without, 30).await > 5, "nothing was kept");
    }
    // And while nobody rolls up.
    collector.stop().await;
    let collector = scene.world.start("collector", &[("ROLLUP_INTERVAL", "1h")]);
    scene.streams(60).await;
    assert!(scene.world.ask::<i64>("SELECT count(*) FROM rollup_notes").await > Some(0));
    scene.compares(&with, &without, 60).await;
    scene.compares_again(&with, &without, 60).await;
    collector.stop().await;

    // It was rollups that answered: a wrong one is seen, and is right again once its hours are noted.
    let collector = scene.world.start("collector", &quick);
    scene.until_rolled_up().await;
    scene.world.rows("UPDATE rollup_hours SET power_watts_max = 999").await.unwrap();
    let (found, wanted) = (asked(&with, POWER).await, asked(&without, POWER).await);
    assert!(differs(&found, &wanted).is_some(), "no rollup was read");
    let again = "INSERT INTO rollup_notes (gpu_ids, hours) SELECT array_agg(g.id), array_agg(hour)
         FROM gpus g, generate_series('2025-07-18T00:00:00Z'::timestamptz, '2025-07-21T00:00:00Z', '1 hour') AS hour";
    scene.world.rows(again).await.unwrap();
    assert_eq!(differs(&asked(&with, POWER).await, &wanted), None, "what is noted is read from samples at once");
    scene.until_rolled_up().await;
    assert_eq!(differs(&asked(&with, POWER).await, &wanted), None);
    collector.stop().await;
}
