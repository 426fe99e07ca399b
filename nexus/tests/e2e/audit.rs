//! The books over HTTP and as metrics: the same figures, as long as nothing is missing and when something is.

use std::collections::BTreeMap;

use nexus_common::testing::eventually;
use serde_json::{Value, json};

use crate::parity::Gateway;
use crate::rows::file;
use crate::world::{PATIENCE, World};

const STATES: [&str; 6] = ["read", "stored", "dead", "queued", "in_flight", "expired"];

/// What Prometheus is told, by name and labels.
async fn scrape(gateway: &Gateway) -> BTreeMap<String, f64> {
    let answer = reqwest::get(format!("http://127.0.0.1:{}/metrics", gateway.port)).await.unwrap();
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap());
    samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// The books as REST tells them; every answer is of its own moment.
async fn told(gateway: &Gateway) -> Value {
    let mut books = gateway.rest("/api/v1/audit").await;
    assert!(books.as_object_mut().unwrap().remove("as_of").is_some_and(|at| at.is_string()), "{books}");
    books
}

/// The figures of the books, told both ways once both tell of the same moment.
async fn books(gateway: &Gateway, expected: impl Fn(&Value) -> bool) -> (Value, BTreeMap<String, f64>) {
    let told = std::cell::RefCell::new(None);
    eventually("both tell what is expected", PATIENCE, async || {
        let (told_first, metrics) = (self::told(gateway).await, scrape(gateway).await);
        let same = told_first == self::told(gateway).await;
        let metric = |name: &str| metrics.get(name).copied();
        let read = metric(r#"nexus_audit_rows{cluster="local-cluster",state="read"}"#);
        let residue = metric(r#"nexus_audit_residue_rows{cluster="local-cluster"}"#);
        let total = &told_first["total"];
        let same = same && read == total["read"].as_f64() && residue == total["residue"].as_f64();
        let found = same && expected(&told_first);
        told.replace(Some((told_first, metrics)));
        found
    })
    .await;
    told.into_inner().unwrap()
}

fn assert_same(books: &Value, metrics: &BTreeMap<String, f64>) {
    let metric = |name: &str| metrics.get(name).copied().unwrap_or_else(|| panic!("{name}: {metrics:?}"));
    for state in STATES {
        let told = metric(&format!(r#"nexus_audit_rows{{cluster="local-cluster",state="{state}"}}"#));
        assert_eq!(Some(told), books["total"][state].as_f64(), "{state}: {books}");
    }
    let of = |name: &str| metric(&format!(r#"nexus_audit_{name}{{cluster="local-cluster"}}"#));
    assert_eq!(Some(of("residue_rows")), books["total"]["residue"].as_f64(), "{books}");
    assert_eq!(Some(of("read_again_rows")), books["total"]["read_again"].as_f64(), "{books}");
    assert_eq!(Some(of("lanes")), books["lane_count"].as_f64(), "{books}");
    assert_eq!(of("balanced") == 1.0, books["balanced"].as_bool().unwrap(), "{books}");
    let lanes = books["lanes"].as_array().unwrap();
    let unbalanced = lanes.iter().filter(|lane| lane["residue"] != 0 || lane["known"] == false).count();
    assert_eq!(of("unbalanced_lanes"), unbalanced as f64, "{books}");
    // However many lanes there are.
    assert!(metrics.keys().all(|name| !name.contains("lane=") && !name.contains("file=")), "{metrics:?}");
}

#[tokio::test]
async fn rest_and_metrics_tell_the_same_books() {
    let world = World::new().await;
    let gateway = Gateway::start(&world).await;
    let path = world.file("a.csv", format!("{}broken\n,,,\n", file(1_000)));
    let collector = world.collector();
    world.start("streamer", &[("CSV_FILE", path.to_str().unwrap()), ("BATCH_SIZE", "100")]).succeeds().await;
    world.until_accounted(1_002).await;
    world.is_drained().await;
    collector.stop().await;

    let (told, metrics) = books(&gateway, |told| told["total"]["read"] == 1_002).await;
    assert_same(&told, &metrics);
    assert_eq!(
        (&told["balanced"], &told["total"]["residue"], &told["lane_count"]),
        (&json!(true), &json!(0), &json!(1))
    );
    assert_eq!((&told["total"]["stored"], &told["total"]["dead"]), (&json!(1_000), &json!(2)), "{told}");
    assert_eq!(told["lanes"][0]["holes"], json!([]), "{told}");

    world.rows("DELETE FROM ledger WHERE rows_before IN (300, 400, 900)").await.unwrap();
    let (told, metrics) = books(&gateway, |told| told["balanced"] == false).await;
    assert_same(&told, &metrics);
    assert!(metrics[r#"nexus_audit_residue_rows{cluster="local-cluster"}"#] > 0.0, "{metrics:?}");
    let holes = told["lanes"][0]["holes"].as_array().unwrap();
    let hole = holes[0].as_str().unwrap();
    assert!(hole.contains("rows 300 to 499 are LOST (200 rows): after line 301"), "{hole}");
    assert_eq!(holes.len(), 2, "{told}");
}
