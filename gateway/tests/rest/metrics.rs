//! What Prometheus is told: every line in its text format, and no figure where nobody could look.

use std::collections::{BTreeMap, BTreeSet};

use nexus_common::domain::Timestamp;
use nexus_common::testing::eventually;
use tokio_postgres::NoTls;

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
const TIMESTAMP: &str = r#"nexus_audit_timestamp_seconds{cluster="alpha"}"#;

/// What is told once the last look has succeeded, or failed.
async fn once(world: &World, success: f64) -> BTreeMap<String, f64> {
    eventually(format!("{SUCCESS} is {success}"), PATIENCE, async || books(world).await[SUCCESS] == success).await;
    books(world).await
}

#[tokio::test]
async fn the_books_are_told_with_their_cluster() {
    let world = World::new().await;
    let samples = once(&world, 1.0).await;
    let expected = [
        (r#"nexus_audit_balanced{cluster="alpha"}"#, 1.0),
        (r#"nexus_audit_interval_seconds{cluster="alpha"}"#, 0.05),
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
    expected.extend([DURATION, TIMESTAMP].map(|name| (name.to_owned(), samples[name])));
    assert_eq!(samples, expected);
    let age = Timestamp::now().0 as f64 / 1e6 - samples[TIMESTAMP];
    assert!(samples[DURATION] > 0.0 && (0.0..600.0).contains(&age), "{age}: {samples:?}");
}

#[tokio::test]
async fn a_look_that_failed_is_said_and_what_was_found_before_stands() {
    let mut world = World::new().await;
    once(&world, 1.0).await;
    world.postgres.stop().await.unwrap();
    let blind = once(&world, 0.0).await;
    assert_eq!(blind[r#"nexus_audit_balanced{cluster="alpha"}"#], 1.0, "{blind:?}");
    assert_eq!(blind[TIMESTAMP], books(&world).await[TIMESTAMP], "it grows old");
    world.postgres.restart().await.unwrap();
    assert!(once(&world, 1.0).await[TIMESTAMP] > blind[TIMESTAMP]);
    world.etcd.stop().await.unwrap();
    once(&world, 0.0).await;
}

#[tokio::test]
async fn a_gateway_that_nobody_scrapes_leaves_the_books_alone() {
    let world = World::new().await;
    world.log_statements().await;
    // The gateway's memory is compared with PostgreSQL, as often as the books would be looked into.
    world.sql("SELECT 1").await;
    world.sql("SELECT 1").await;
    const LOOK: &str = "pg_is_in_recovery";
    assert_eq!(world.statements(LOOK), 0);
    once(&world, 1.0).await;
    eventually("it looks while it is scraped", PATIENCE, async || {
        scrape(&world).await;
        world.statements(LOOK) > 2
    })
    .await;
}

#[tokio::test]
async fn a_look_that_takes_long_keeps_no_scrape_waiting_and_is_the_only_one() {
    let world = World::new().await;
    once(&world, 1.0).await;
    let (client, connection) = world.postgres.owner_config().connect(NoTls).await.unwrap();
    let tried = async {
        client.batch_execute("BEGIN; LOCK TABLE dead_letters").await.unwrap();
        let waiting = async || {
            let waiting = "SELECT pid::text || ' since ' || waitstart FROM pg_locks
                WHERE NOT granted AND relation = 'dead_letters'::regclass AND waitstart IS NOT NULL";
            let waiting = client.query(waiting, &[]).await.unwrap();
            waiting.iter().map(|row| row.get(0)).collect::<Vec<String>>()
        };
        eventually("scrapes are answered while one look waits", PATIENCE, async || {
            let before = waiting().await;
            for _ in 0..3 {
                scrape(&world).await;
            }
            before.len() == 1 && before == waiting().await
        })
        .await;
    };
    tokio::select! {
        () = tried => {}
        ended = connection => panic!("{ended:?}"),
    }
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
    let told = [
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
    ];
    let mut samples = scrape(&world).await;
    // What a server did not answer in time is asked again; the counts stay as they are.
    eventually("what it depends on answers", PATIENCE, async || {
        samples = scrape(&world).await;
        samples[&told[told.len() - 1].0] == 1.0
    })
    .await;
    for (series, count) in &told {
        assert_eq!(samples.get(series), Some(count), "{series}: {samples:#?}");
    }
    assert!(samples[r#"nexus_gateway_connections{cluster="alpha"}"#] >= 1.0);
}

#[tokio::test]
async fn gpus_are_counted_as_the_api_counts_them_and_named_where_something_is_the_matter() {
    const COLLECTORS: &str = r#"nexus_gateway_collectors{cluster="alpha"}"#;
    let world = World::told(SICK, |_| ()).await;
    // Who is a member is etcd's to say, and a gateway is ready without it.
    eventually("members are counted", PATIENCE, async || scrape(&world).await.contains_key(COLLECTORS)).await;
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
    assert_eq!(samples[COLLECTORS], 0.0);

    let bounded = World::told(SICK, |config| config.bounds.metrics_conditions = 0).await;
    let bounded = scrape(&bounded).await;
    assert!(bounded.keys().all(|series| !series.starts_with("nexus_gpu_condition{")), "{bounded:?}");
    assert!(bounded[r#"nexus_gpu_conditions_left_out{cluster="alpha"}"#] >= 1.0, "{bounded:?}");
}

/// One GPU of the fleet has fallen off the bus a moment ago.
const SICK: &str = "UPDATE gpu_latest SET xid = 79, xid_at = ts
    WHERE gpu_id = (SELECT min(g.id) FROM gpus g JOIN clusters c ON c.id = g.cluster_id
        JOIN gpu_latest l ON l.gpu_id = g.id WHERE c.name = 'alpha')";
