//! What GraphQL refuses, and how it says so.

use std::time::Instant;

use serde_json::{Value, json};

use crate::graphql::{data, error, post};
use crate::http::{exchange, request, send};
use crate::world::{QUICK, World};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn errors_have_codes_and_the_id_of_the_request() {
    let world = World::new().await;
    for (query, code, parameter, says) in [
        ("{ cluster(cluster_id: \"nowhere\") { status } }", "NOT_FOUND", None, "no cluster \"nowhere\" is known"),
        ("{ host(cluster_id: \"beta\", host_id: \"x\") { status } }", "NOT_FOUND", None, "no host \"x\""),
        ("{ telemetry(limit: 0) { data } }", "INVALID_ARGUMENT", Some("limit"), "must be from 1 to 10000"),
        ("{ telemetry(limit: -1) { data } }", "INVALID_ARGUMENT", Some("limit"), "must be from 1 to 10000"),
        ("{ clusters(limit: 1000000000) { status } }", "INVALID_ARGUMENT", Some("limit"), "must be from 1 to 10000"),
        (
            "{ clusters_page(after: \"nonsense\") { page_info { end_cursor } } }",
            "INVALID_ARGUMENT",
            Some("after"),
            "given out",
        ),
        ("{ telemetry(start: \"yesterday\") { data } }", "INVALID_ARGUMENT", Some("start"), "no time"),
        (
            "{ telemetry(metrics: [\"temprature\"]) { data } }",
            "INVALID_ARGUMENT",
            Some("metrics"),
            "temperature_celsius",
        ),
        ("{ telemetry(step: \"1m\", agg: \"mode\") { data } }", "INVALID_ARGUMENT", Some("agg"), "is none of avg"),
        (
            "{ telemetry(start: \"2015-01-01\", end: \"2025-01-01\", step: \"1s\") { data } }",
            "INVALID_ARGUMENT",
            Some("step"),
            "would work",
        ),
        (
            "{ gpus { telemetry(start: \"2015-01-01\", end: \"2025-01-01\", step: \"1s\") { data } } }",
            "INVALID_ARGUMENT",
            Some("step"),
            "would work",
        ),
        ("{ clusters { nonsense } }", "INVALID_QUERY", None, "Unknown field \"nonsense\""),
        ("{ clusters ", "INVALID_QUERY", None, "expected"),
        ("{ gpus(condition: warm) { status } }", "INVALID_QUERY", None, "Condition"),
    ] {
        let (error, _) = error(&world, query).await;
        let message = error["message"].as_str().unwrap_or_else(|| panic!("{query}: {error}"));
        assert!(message.contains(says), "{query}: {message}");
        assert_eq!(error["extensions"]["code"], code, "{query}: {error}");
        assert_eq!(error["extensions"]["parameter"].as_str(), parameter, "{query}: {error}");
        assert_eq!(error["extensions"]["request_id"].as_str().unwrap().len(), 32, "{error}");
    }
    let body = json!({"query": "{ cluster(cluster_id: \"x\") { status } }"}).to_string();
    let answer = send(world.address, "POST", "/graphql", &[JSON, ("x-request-id", "mine")], &body).await;
    assert_eq!(answer.json()["errors"][0]["extensions"]["request_id"], "mine");
    assert_eq!(answer.header("x-request-id"), Some("mine"));
}

#[tokio::test]
async fn a_field_that_fails_leaves_the_others() {
    let world = World::new().await;
    let query = "{ clusters { cluster_id } cluster(cluster_id: \"x\") { status } telemetry(limit: 0) { data } }";
    let answer = post(&world, query, Value::Null).await.json();
    assert_eq!(answer["data"]["clusters"].as_array().unwrap().len(), 4);
    assert_eq!((&answer["data"]["cluster"], &answer["data"]["telemetry"]), (&Value::Null, &Value::Null));
    let mut paths: Vec<_> = answer["errors"].as_array().unwrap().iter().map(|error| error["path"].clone()).collect();
    paths.sort_by_key(Value::to_string);
    assert_eq!(paths, [json!(["cluster"]), json!(["telemetry"])]);
}

#[tokio::test]
async fn a_database_that_is_gone_is_told_without_details() {
    let mut world = World::new().await;
    world.postgres.stop().await.unwrap();
    let (error, data) =
        error(&world, "{ clusters { cluster_id } telemetry { data } gpus(limit: 1) { telemetry { data } } }").await;
    assert_eq!(error["message"], "the database does not answer now; try again");
    assert_eq!(error["extensions"]["code"], "UNAVAILABLE");
    assert_eq!(data["clusters"].as_array().unwrap().len(), 4, "what is in memory is answered");
    assert_eq!((&data["telemetry"], &data["gpus"][0]["telemetry"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn queries_that_ask_for_too_much_are_refused_at_once() {
    let world = World::new().await;
    let aliases: String = (0..10_000).map(|n| format!("a{n}: clusters {{ status }} ")).collect();
    let few: String = (0..700).map(|n| format!("a{n}: clusters {{ status }} ")).collect();
    let doubling: String =
        (0..60).map(|n| format!("fragment f{n} on Query {{ ...f{m} ...f{m} }} ", m = n + 1)).collect();
    let deep = |depth: usize| {
        let (open, close) = ("cluster { hosts { ".repeat(depth / 2), " } }".repeat(depth / 2));
        format!("{{ hosts {{ {open}host_id{close} }} }}")
    };
    for (query, says) in [
        (format!("{{ {aliases} }}"), "at most 65536"),
        (format!("{{ {few} }}"), "at most 4000 tokens").clone(),
        (deep(50), "at most 12 (GRAPHQL_MAX_DEPTH)"),
        (deep(1_000), "60 deep"),
        (format!("{{ ...f0 }} {doubling} fragment f60 on Query {{ metrics {{ name }} }}"), "at most 2000"),
        ("{ a { ...f } } fragment f on Query { ...f }".to_owned(), "holds itself"),
        ("{ a: telemetry(limit: 10000) { timestamp data uuid gpu_id host_id cluster_id }
            b: telemetry(limit: 10000) { timestamp data uuid gpu_id host_id cluster_id }
            c: telemetry(limit: 10000) { timestamp data uuid gpu_id host_id cluster_id }
            d: telemetry(limit: 10000) { timestamp data uuid gpu_id host_id cluster_id } }".to_owned(), "at most 200000 (GRAPHQL_MAX_COMPLEXITY)"),
        ("{ gpus { telemetry(limit: 10000) { data } } }".to_owned(), "GRAPHQL_MAX_COMPLEXITY"),
        ((0..21).fold("{".to_owned(), |all, n| format!("{all} a{n}: telemetry(limit: 1) {{ data }}")) + "}", "at most 20"),
        ("{ clusters @include(if: true) @include(if: true) @include(if: true) @include(if: true) @include(if: true) @include(if: true) { status } }".to_owned(), "directives"),
    ] {
        let began = Instant::now();
        let (error, data) = error(&world, &query).await;
        let message = error["message"].as_str().unwrap_or_else(|| panic!("{says}: {data}"));
        let says = says.replace("at most 4000 tokens", "more than 4000 tokens");
        assert!(message.contains(&says), "{says}: {message}");
        assert!(began.elapsed() < QUICK, "{says}: took {:?}", began.elapsed());
        assert_eq!(data, Value::Null);
    }
}

#[tokio::test]
async fn samples_of_many_gpus_are_bounded_together() {
    let world = World::with(|config| config.bounds.graphql_complexity = 100_000_000).await;
    let (error, _) = error(&world, "{ gpus { telemetry(limit: 10000) { data } } }").await;
    assert_eq!(error["extensions"]["parameter"], "limit", "{error}");
    let message = error["message"].as_str().unwrap();
    assert_eq!(message, "10000 of each of 27 GPUs are 270000 samples; at most 100000: limit=3703 would work");
    let answer = data(&world, "{ gpus { telemetry(limit: 3703) { data } } }").await;
    assert_eq!(answer["gpus"].as_array().unwrap().len(), 27);
}

#[tokio::test]
async fn what_is_no_query_is_refused_as_graphql() {
    let world = World::new().await;
    for (method, headers, body, status, says) in [
        ("POST", &[JSON][..], "{\"query\": ", 400, "no query in JSON"),
        ("POST", &[JSON][..], "{\"queri\": \"{ clusters { status } }\"}", 400, "no query"),
        ("POST", &[JSON][..], "[{\"query\": \"{ clusters { status } }\"}]", 400, "one query at a time"),
        ("POST", &[][..], "{\"query\": \"{ clusters { status } }\"}", 415, "application/json"),
        ("PUT", &[JSON][..], "{}", 405, "GET or POST"),
    ] {
        let answer = send(world.address, method, "/graphql", headers, body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let error = &answer.json()["errors"][0];
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
        assert_eq!(error["extensions"]["code"], "INVALID_REQUEST");
        assert_eq!(error["extensions"]["request_id"].as_str(), answer.header("x-request-id"));
    }
    // Nothing of it is read: the bound is that of all routes.
    let huge = format!(
        "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        100 << 20
    );
    let began = Instant::now();
    let answer = String::from_utf8(exchange(world.address, huge.as_bytes()).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("1048576"), "{answer}");
    assert!(began.elapsed() < QUICK, "{:?}", began.elapsed());
}

#[tokio::test]
async fn who_knows_the_media_type_is_told_by_the_status() {
    let world = World::new().await;
    let accept = ("accept", "application/graphql-response+json, application/json;q=0.9");
    let ask = async |query: &str| {
        let body = json!({ "query": query }).to_string();
        send(world.address, "POST", "/graphql", &[JSON, accept], &body).await
    };
    let good = ask("{ clusters { status } }").await;
    assert_eq!((good.status, good.header("content-type")), (200, Some("application/graphql-response+json")));
    let bad = ask("{ nonsense }").await;
    assert_eq!((bad.status, bad.json().get("data")), (400, None), "nothing was answered");
    let partly = ask("{ cluster(cluster_id: \"x\") { status } }").await;
    assert_eq!((partly.status, partly.json()["data"].clone()), (200, json!({"cluster": null})));
}

#[tokio::test]
async fn the_schema_is_told_unless_switched_off() {
    let query = "{ __schema { queryType { fields { name args { name type { name kind ofType { name } } } } } } }";
    let world = World::new().await;
    let answer = data(&world, query).await;
    let fields = answer["__schema"]["queryType"]["fields"].as_array().unwrap();
    assert!(fields.iter().any(|field| field["name"] == "telemetry_page"), "{fields:?}");
    let closed = World::with(|config| config.enable_introspection = false).await;
    let (error, _) = error(&closed, query).await;
    assert!(error["message"].as_str().unwrap().contains("ENABLE_INTROSPECTION=false"), "{error}");
    assert_eq!(data(&closed, "{ clusters(limit: 1) { __typename } }").await["clusters"][0]["__typename"], "Cluster");
}

/// The one a playground asks.
#[tokio::test]
async fn the_usual_question_about_the_schema_is_within_bounds() {
    let world = World::new().await;
    let of_type = (0..9).fold("kind name".to_owned(), |inside, _| format!("kind name ofType {{ {inside} }}"));
    let query = format!(
        "query IntrospectionQuery {{ __schema {{ description queryType {{ name kind }} mutationType {{ name kind }}
            subscriptionType {{ name kind }} types {{ ...FullType }}
            directives {{ name description isRepeatable locations args(includeDeprecated: true) {{ ...InputValue }} }} }} }}
        fragment FullType on __Type {{ kind name description specifiedByURL isOneOf
            fields(includeDeprecated: true) {{ name description args(includeDeprecated: true) {{ ...InputValue }}
                type {{ ...TypeRef }} isDeprecated deprecationReason }}
            inputFields(includeDeprecated: true) {{ ...InputValue }} interfaces {{ ...TypeRef }}
            enumValues(includeDeprecated: true) {{ name description isDeprecated deprecationReason }}
            possibleTypes {{ ...TypeRef }} }}
        fragment InputValue on __InputValue {{ name description type {{ ...TypeRef }} defaultValue isDeprecated deprecationReason }}
        fragment TypeRef on __Type {{ {of_type} }}"
    );
    let answer = data(&world, &query).await;
    assert!(answer["__schema"]["types"].as_array().unwrap().len() > 20);
    let loops = format!("{{ __schema {{ types {{ {} name {} }} }} }}", "fields { type { ".repeat(8), "} }".repeat(8));
    let (error, _) = error(&world, &loops).await;
    assert_eq!(error["extensions"]["code"], "TOO_COMPLEX", "{error}");
}

#[tokio::test]
async fn pages_of_other_origins_may_ask() {
    let world = World::new().await;
    let asked = [
        ("origin", "https://example.org"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let answer = request(world.address, "OPTIONS", "/graphql", &asked).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
}
