//! The same answers by GraphQL.

use nexus_common::testing::eventually;
use serde_json::{Value, json};

use crate::events::EVENTS;
use crate::http::{Answer, request, send};
use crate::world::{PATIENCE, World};

/// How the statement that answers for many GPUs begins.
const EACH: &str = "The newest samples of each GPU";

/// Posts a query with variables.
pub(crate) async fn post(world: &World, query: &str, variables: Value) -> Answer {
    let body = json!({"query": query, "variables": variables}).to_string();
    send(world.address, "POST", "/graphql", &[("content-type", "application/json")], &body).await
}

/// The data of an answer without errors.
pub(crate) async fn data(world: &World, query: &str) -> Value {
    let answer = post(world, query, Value::Null).await;
    assert_eq!(answer.status, 200, "{query}: {answer:?}");
    let mut body = answer.json();
    assert_eq!(body.get("errors"), None, "{query}");
    body["data"].take()
}

/// The first error of an answer, and the answer's data.
pub(crate) async fn error(world: &World, query: &str) -> (Value, Value) {
    let mut body = post(world, query, Value::Null).await.json();
    let data = body["data"].take();
    (body["errors"][0].take(), data)
}

#[tokio::test]
async fn the_samples_of_the_request_work_as_written() {
    let world = World::new().await;
    let clusters = data(&world, "{ clusters { cluster_id cluster_name status } }").await;
    assert_eq!(
        clusters["clusters"],
        json!([
            {"cluster_id": "alpha", "cluster_name": "alpha", "status": "degraded"},
            {"cluster_id": "beta", "cluster_name": "beta", "status": "stale"},
            {"cluster_id": "empty", "cluster_name": "empty", "status": "empty"},
            {"cluster_id": "gamma", "cluster_name": "gamma", "status": "empty"},
        ])
    );
    let telemetry = data(&world, "{ telemetry { cluster_id timestamp data } }").await;
    let samples = telemetry["telemetry"].as_array().unwrap();
    assert_eq!(samples.len(), 100, "a hundred where nothing is said");
    assert_eq!(
        samples[0],
        json!({
            "cluster_id": "beta", "timestamp": "2025-07-18T20:09:50Z",
            "data": {"power_watts": 159, "energy_millijoules": 59029.5, "xid": 48, "job_slots": 59},
        })
    );
}

/// Every list and every thing, with all fields that REST writes.
#[tokio::test]
async fn rest_and_graphql_say_the_same() {
    let world = World::new().await;
    world.sql(EVENTS).await;
    const CLUSTER: &str = "cluster_id cluster_name status host_count gpu_count last_seen";
    const HOST: &str = "cluster_id host_id status gpu_count expected_gpu_count missing_gpus last_seen";
    const GPU: &str = "cluster_id host_id gpu_id uuid model device labels status \
                       conditions { condition severity since evidence } last_seen latest";
    const SAMPLE: &str = "cluster_id host_id gpu_id uuid timestamp data";
    const EVENT: &str =
        "id cluster_id host_id gpu_id uuid timestamp noted_at kind condition severity since code detail";
    const LATEST: &str = "cluster_id host_id gpu_id uuid status timestamp data readings";
    let lists = [
        ("clusters", "", CLUSTER, "/api/v1/clusters"),
        ("hosts", "", HOST, "/api/v1/hosts"),
        ("hosts", "(cluster_id: \"alpha\", limit: 2)", HOST, "/api/v1/hosts?cluster_id=alpha&limit=2"),
        ("gpus", "", GPU, "/api/v1/gpus"),
        ("gpus", "(condition: missing)", GPU, "/api/v1/gpus?condition=missing"),
        ("gpus", "(min_severity: warning)", GPU, "/api/v1/gpus?min_severity=warning"),
        ("gpus", "(host_id: \"a-001\", gpu_id: \"GPU-a-001-3\")", GPU, "/api/v1/gpus?host_id=a-001&gpu_id=GPU-a-001-3"),
        (
            "latest",
            "(metrics: [\"power_watts\", \"job_slots\"])",
            LATEST,
            "/api/v1/telemetry/latest?metrics=power_watts,job_slots",
        ),
        ("telemetry", "(limit: 7)", SAMPLE, "/api/v1/telemetry?limit=7"),
        (
            "telemetry",
            "(cluster_id: \"beta\", gpu_id: \"1\", start: \"2025-07-18T20:01:00Z\", end: \"2025-07-18T20:05:00Z\", order: asc, metrics: [\"xid\", \"DCGM_FI_DEV_POWER_USAGE\"])",
            SAMPLE,
            "/api/v1/telemetry?cluster_id=beta&gpu_id=1&start=2025-07-18T20:01:00Z&end=2025-07-18T20:05:00Z&order=asc&metrics=xid,power_watts",
        ),
        (
            "telemetry",
            "(cluster_id: \"beta\", step: \"1m\", agg: \"p95\")",
            SAMPLE,
            "/api/v1/telemetry?cluster_id=beta&step=1m&agg=p95",
        ),
        (
            "telemetry",
            "(cluster_id: \"beta\", step: \"auto\", limit: 3)",
            SAMPLE,
            "/api/v1/telemetry?cluster_id=beta&step=auto&limit=3",
        ),
        (
            "telemetry",
            "(cluster_id: \"beta\", step: \"1m\", agg: \"rate\")",
            SAMPLE,
            "/api/v1/telemetry?cluster_id=beta&step=1m&agg=rate",
        ),
        ("events", "", EVENT, "/api/v1/events"),
        (
            "events",
            "(kind: \"xid\", min_severity: critical, order: asc)",
            EVENT,
            "/api/v1/events?kind=xid&min_severity=critical&order=asc",
        ),
        (
            "telemetry",
            "(cluster_id: \"beta\", step: \"90s\", start: \"1752868800\")",
            SAMPLE,
            "/api/v1/telemetry?cluster_id=beta&step=90s&start=1752868800",
        ),
    ];
    for (field, arguments, fields, path) in lists {
        let items = world.items(path).await;
        assert!(!items.is_empty(), "{path}");
        let answer = data(&world, &format!("{{ {field}{arguments} {{ {fields} }} }}")).await;
        assert_eq!(answer[field], Value::Array(items), "{field}{arguments}");
    }
    let place = "cluster_id: \"alpha\", host_id: \"a-000\"";
    let of_gpu = format!("gpu({place}, gpu_id: \"2\") {{ {GPU} }}");
    let things = [
        ("cluster", format!("cluster(cluster_id: \"alpha\") {{ {CLUSTER} }}"), "/api/v1/clusters/alpha"),
        ("host", format!("host({place}) {{ {HOST} }}"), "/api/v1/clusters/alpha/hosts/a-000"),
        ("gpu", of_gpu, "/api/v1/clusters/alpha/hosts/a-000/gpus/2"),
    ];
    for (field, query, path) in things {
        assert_eq!(data(&world, &format!("{{ {query} }}")).await[field], world.json(path).await, "{path}");
    }
    // `cluster_id` and the like stand beside the counts; only the age moves on meanwhile.
    let counts = "total ok degraded stale empty";
    let query = format!(
        "{{ stats(cluster_id: \"beta\") {{ {CLUSTER} hosts {{ {counts} }} gpus {{ total expected missing ok stale empty }}
            conditions {{ sick hot throttled idle_allocated missing stale }}
            freshness {{ newest oldest age_seconds stale_after_seconds }} distributions }} }}"
    );
    let (mut ours, mut theirs) =
        (data(&world, &query).await["stats"].take(), world.json("/api/v1/clusters/beta/stats").await);
    let age = |stats: &mut Value| stats["freshness"]["age_seconds"].take().as_f64().unwrap();
    assert!((age(&mut ours) - age(&mut theirs)).abs() < 10.0);
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn things_nest_both_ways() {
    let world = World::new().await;
    let query = "{ cluster(cluster_id: \"beta\") { hosts { host_id gpus { gpu_id conditions { condition }
        telemetry(limit: 2, metrics: [\"power_watts\"]) { timestamp data }
        summed: telemetry(step: \"5m\", agg: \"max\", metrics: [\"power_watts\"], order: asc) { timestamp data }
        host { host_id gpu_count cluster { cluster_id stats { gpus { stale } } } } } } } }";
    let answer = data(&world, query).await;
    let gpus = answer["cluster"]["hosts"][0]["gpus"].as_array().unwrap();
    assert_eq!(gpus.len(), 2);
    for (index, gpu) in gpus.iter().enumerate() {
        assert_eq!(
            gpu,
            &json!({
                "gpu_id": index.to_string(),
                "conditions": [{"condition": "stale"}],
                "telemetry": [
                    {"timestamp": "2025-07-18T20:09:50Z", "data": {"power_watts": 159}},
                    {"timestamp": "2025-07-18T20:09:40Z", "data": {"power_watts": 158}},
                ],
                "summed": [
                    {"timestamp": "2025-07-18T20:00:00Z", "data": {"power_watts": 129}},
                    {"timestamp": "2025-07-18T20:05:00Z", "data": {"power_watts": 159}},
                ],
                "host": {
                    "host_id": "b-000", "gpu_count": 2,
                    "cluster": {"cluster_id": "beta", "stats": {"gpus": {"stale": 2}}},
                },
            })
        );
    }
    let missing = data(&world, "{ gpus(condition: missing) { gpu_id telemetry { data } } }").await;
    assert_eq!(missing["gpus"], json!([{"gpu_id": "6", "telemetry": []}]), "a GPU that never reported");
}

/// However many GPUs a query lists and however deep, a question nested under them is one statement.
#[tokio::test]
async fn depth_does_not_multiply_statements() {
    let world = World::new().await;
    world.log_statements().await;
    let count = async |query: &str| {
        let before = world.statements(EACH);
        data(&world, query).await;
        world.statements(EACH) - before
    };
    // The server takes its new setting up in its own time.
    eventually("statements are logged", PATIENCE, async || {
        count("{ gpus(limit: 1) { telemetry { data } } }").await > 0
    })
    .await;
    // Where every GPU has enough in the last two days one will do; of some there is nothing, and they are looked for in all.
    let reporting = "{ cluster(cluster_id: \"beta\") { hosts { gpus { telemetry(limit: 1) { data } } } } }";
    assert_eq!(count(reporting).await, 1);
    let flat = count("{ gpus { telemetry(limit: 1) { data } } }").await;
    assert!((1..=4).contains(&flat), "{flat}");
    let nested = "clusters { hosts { gpus { telemetry(limit: 1) { data } } } }";
    assert_eq!(count(&format!("{{ {nested} }}")).await, flat, "27 GPUs of 5 hosts of 4 clusters");
    let again = "gpus { host { gpus { telemetry(limit: 1) { timestamp } } } }";
    assert_eq!(count(&format!("{{ {nested} {again} }}")).await, flat, "the same question once more");
    let other = "gpus { telemetry(limit: 2) { data } }";
    assert_eq!(count(&format!("{{ {nested} {other} }}")).await, 2 * flat, "another question");
}

#[tokio::test]
async fn metrics_are_described() {
    let world = World::new().await;
    let answer = data(&world, "{ metrics { name dcgm unit kind aliases range { min max } help } }").await;
    let metrics = answer["metrics"].as_array().unwrap();
    let power = metrics.iter().find(|metric| metric["name"] == "power_watts").unwrap();
    assert_eq!(
        (&power["unit"], &power["kind"], &power["dcgm"]),
        (&json!("W"), &json!("gauge"), &json!("DCGM_FI_DEV_POWER_USAGE"))
    );
    assert!(metrics.len() > 20);
}

#[tokio::test]
async fn a_query_can_stand_in_the_path() {
    let world = World::new().await;
    let answer = world
        .get("/graphql?query=query(%24n:Int)%7Bclusters(limit:%24n)%7Bcluster_id%7D%7D&variables=%7B%22n%22:1%7D")
        .await;
    assert_eq!(answer.json(), json!({"data": {"clusters": [{"cluster_id": "alpha"}]}}));
    let page =
        request(world.address, "GET", "/graphql", &[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")]).await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")), "{page:?}");
    let none = world.get("/graphql").await;
    assert_eq!((none.status, none.json()["errors"][0]["extensions"]["code"].as_str()), (400, Some("INVALID_REQUEST")));
}

#[tokio::test]
async fn graphql_can_be_switched_off() {
    let world = World::with(|config| config.enable_graphql = false).await;
    let answer = post(&world, "{ clusters { cluster_id } }", Value::Null).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["detail"], "GraphQL is switched off on this gateway (ENABLE_GRAPHQL=false)");
    assert_eq!(world.get("/graphql").await.status, 404);
}
