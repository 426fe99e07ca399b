//! What Prometheus is told: every line in its text format, and no figure where nobody could look.

use std::collections::{BTreeMap, BTreeSet};

use nexus_common::testing::eventually;

use crate::world::{PATIENCE, World};

/// The samples of a scrape by name and labels as they are written; panics where a line is no Prometheus text.
fn parsed(text: &str) -> BTreeMap<String, f64> {
    let (mut helped, mut typed, mut samples) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    assert!(text.ends_with('\n') && !text.contains("# EOF"), "{text}");
    for line in text.lines() {
        let name = |rest: &str| rest.split_once(' ').map(|(name, said)| (name.to_owned(), said.to_owned())).unwrap();
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = name(rest);
            assert!(!help.is_empty() && helped.insert(name), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = name(rest);
            assert!(["gauge", "counter", "histogram"].contains(&kind.as_str()) && typed.insert(name), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let name = series.split('{').next().unwrap();
            let ours = series.starts_with("nexus_") && series.contains("{cluster=\"");
            assert!(ours || name.starts_with("process_"), "{line}");
            assert!(name.chars().all(|c| c == '_' || c.is_ascii_lowercase()), "{line}");
            let whole = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let is_described = |name: &str| helped.contains(name) && typed.contains(name);
            assert!(is_described(name) || whole.is_some_and(is_described), "{line} has no HELP or TYPE before it");
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{line} is there twice");
        }
    }
    samples
}

async fn scrape(world: &World) -> BTreeMap<String, f64> {
    let answer = world.get("/metrics").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    parsed(&answer.body)
}

/// What is told of the books.
async fn books(world: &World) -> BTreeMap<String, f64> {
    let mut samples = scrape(world).await;
    let of_books = ["nexus_audit_", "nexus_dead_letters_"];
    samples.retain(|name, _| of_books.iter().any(|prefix| name.starts_with(prefix)));
    samples
}

const SUCCESS: &str = r#"nexus_audit_success{cluster="alpha"}"#;
const DURATION: &str = r#"nexus_audit_duration_seconds{cluster="alpha"}"#;

#[tokio::test]
async fn the_books_are_told_with_their_cluster() {
    let world = World::new().await;
    let samples = books(&world).await;
    let expected = [
        (r#"nexus_audit_balanced{cluster="alpha"}"#, 1.0),
        (r#"nexus_audit_lanes{cluster="alpha"}"#, 0.0),
        (r#"nexus_audit_read_again_rows{cluster="alpha"}"#, 0.0),
        (r#"nexus_audit_residue_rows{cluster="alpha"}"#, 0.0),
        (r#"nexus_audit_rows{cluster="alpha",state="dead"}"#, 0.0),
        (r#"nexus_audit_rows{cluster="alpha",state="expired"}"#, 0.0),
        (r#"nexus_audit_rows{cluster="alpha",state="in_flight"}"#, 0.0),
        (r#"nexus_audit_rows{cluster="alpha",state="queued"}"#, 0.0),
        (r#"nexus_audit_rows{cluster="alpha",state="read"}"#, 0.0),
        (r#"nexus_audit_rows{cluster="alpha",state="stored"}"#, 0.0),
        (SUCCESS, 1.0),
        (r#"nexus_audit_unbalanced_lanes{cluster="alpha"}"#, 0.0),
        (r#"nexus_audit_unreadable_keys{cluster="alpha"}"#, 0.0),
        (r#"nexus_dead_letters_open{cluster="alpha"}"#, 0.0),
    ];
    let mut expected: BTreeMap<_, _> = expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    expected.insert(DURATION.to_owned(), samples[DURATION]);
    assert_eq!(samples, expected);
    assert!(samples[DURATION] > 0.0);
}

#[tokio::test]
async fn without_a_server_the_books_are_left_out() {
    let mut world = World::new().await;
    let blind = BTreeSet::from([SUCCESS.to_owned(), DURATION.to_owned()]);
    let is_blind = |samples: &BTreeMap<String, f64>| {
        let names: BTreeSet<String> = samples.keys().cloned().collect();
        assert_eq!(names == blind, samples[SUCCESS] == 0.0, "{samples:?}");
        names == blind
    };
    world.postgres.stop().await.unwrap();
    eventually("the books cannot be read", PATIENCE, async || is_blind(&books(&world).await)).await;
    world.postgres.restart().await.unwrap();
    eventually("PostgreSQL is back", PATIENCE, async || !is_blind(&books(&world).await)).await;
    // What was seen a moment ago may still be told.
    world.etcd.stop().await.unwrap();
    eventually("the books cannot be read", PATIENCE, async || is_blind(&books(&world).await)).await;
}

#[tokio::test]
async fn requests_are_told_by_the_template_of_their_route() {
    let world = World::new().await;
    let begun = |route: &str, protocol: &str, status: &str| {
        let labels = format!(r#"{{cluster="alpha",protocol="{protocol}",route="{route}",status="{status}"}}"#);
        format!("nexus_gateway_request_duration_seconds_count{labels}")
    };
    for host in ["one", "two"] {
        world.get(&format!("/api/v1/clusters/alpha/hosts/{host}")).await;
    }
    for path in ["/nowhere", "/api/v1/telemetry?limit=none", "/api/v1/gpus", "/graphql?query={clusters{cluster_id}}"] {
        world.get(path).await;
    }
    let samples = scrape(&world).await;
    for (series, count) in [
        (begun("/api/v1/clusters/{cluster_id}/hosts/{host_id}", "rest", "4xx"), 2.0),
        (begun("none", "rest", "4xx"), 1.0),
        (begun("/api/v1/telemetry", "rest", "4xx"), 1.0),
        (begun("/api/v1/gpus", "rest", "2xx"), 1.0),
        (begun("/graphql", "graphql", "2xx"), 1.0),
        (r#"nexus_gateway_refused_total{cluster="alpha",reason="not_found"}"#.to_owned(), 3.0),
        (r#"nexus_gateway_refused_total{cluster="alpha",reason="invalid_parameter"}"#.to_owned(), 1.0),
        (r#"nexus_gateway_refused_total{cluster="alpha",reason="busy"}"#.to_owned(), 0.0),
        // This very scrape, and what it came over.
        (r#"nexus_gateway_requests_in_flight{cluster="alpha"}"#.to_owned(), 1.0),
        (r#"nexus_ready{cluster="alpha"}"#.to_owned(), 1.0),
        (r#"nexus_dependency_up{cluster="alpha",dependency="etcd"}"#.to_owned(), 1.0),
    ] {
        assert_eq!(samples.get(&series), Some(&count), "{series}: {samples:#?}");
    }
    assert!(samples[r#"nexus_gateway_connections{cluster="alpha"}"#] >= 1.0);
}

#[tokio::test]
async fn gpus_are_counted_as_the_api_counts_them_and_named_where_something_is_the_matter() {
    let world = World::told(SICK, |_| ()).await;
    let samples = scrape(&world).await;
    let gpus = &world.json("/api/v1/clusters/alpha/stats").await["gpus"];
    for status in ["ok", "stale", "missing", "empty"] {
        let counted = samples[&format!(r#"nexus_gpus{{cluster="alpha",status="{status}"}}"#)];
        assert_eq!(Some(counted), gpus[status].as_f64(), "{status}: {samples:?}");
    }
    let named = r#"condition="sick",severity="critical",reason="xid_79"}"#;
    let named: Vec<_> = samples.keys().filter(|series| series.ends_with(named)).collect();
    assert!(
        matches!(&named[..], [one] if one.starts_with(r#"nexus_gpu_condition{cluster="alpha",host=""#)),
        "{samples:?}"
    );
    assert_eq!(samples[r#"nexus_gpu_conditions{cluster="alpha",condition="sick",severity="critical"}"#], 1.0);
    assert_eq!(samples[r#"nexus_gpu_conditions_left_out{cluster="alpha"}"#], 0.0);
    assert_eq!(samples[r#"nexus_gateway_collectors{cluster="alpha"}"#], 0.0);

    let bounded = World::told(SICK, |config| config.bounds.metrics_conditions = 0).await;
    let bounded = scrape(&bounded).await;
    assert!(bounded.keys().all(|series| !series.starts_with("nexus_gpu_condition{")), "{bounded:?}");
    assert!(bounded[r#"nexus_gpu_conditions_left_out{cluster="alpha"}"#] >= 1.0, "{bounded:?}");
}

/// One GPU of the fleet has fallen off the bus a moment ago.
const SICK: &str = "UPDATE gpu_latest SET xid = 79, xid_at = ts
    WHERE gpu_id = (SELECT min(g.id) FROM gpus g JOIN clusters c ON c.id = g.cluster_id
        JOIN gpu_latest l ON l.gpu_id = g.id WHERE c.name = 'alpha')";
