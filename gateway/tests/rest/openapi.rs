//! The description says what is so: every route, every parameter, every field.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::http::request;
use crate::schema::Document;
use crate::world::World;

/// Names as the description's examples have them, and something that happened.
const EXAMPLES: &str = "
    UPDATE clusters SET name = 'local-cluster' WHERE name = 'beta';
    UPDATE hosts SET name = 'host-001' WHERE name = 'b-000';
    INSERT INTO events (cluster_id, host, gpu, uuid, at, kind, condition, severity, since, code, detail)
    SELECT id, 'host-001', '0', 'GPU-b-0', '2025-07-18T20:00:00Z', 'xid', 'sick', 'critical', '2025-07-18T20:00:00Z', 79, ''
    FROM clusters WHERE name = 'local-cluster'";

async fn world() -> (World, Document) {
    let world = World::keyed(EXAMPLES, |_| ()).await;
    let document = Document(world.json("/openapi.json").await);
    (world, document)
}

/// A route as it is described.
struct Described {
    path: String,
    operation: Value,
}

impl Described {
    /// Those that are read, but for GraphQL, which has a schema of its own.
    fn all(document: &Document) -> Vec<Described> {
        let paths = document.0["paths"].as_object().unwrap();
        let read = paths.iter().filter(|(path, item)| item["get"].is_object() && *path != "/graphql");
        read.map(|(path, item)| Described { path: path.clone(), operation: item["get"].clone() }).collect()
    }

    /// Those of them whose answer ends.
    fn ending(document: &Document) -> impl Iterator<Item = Described> {
        Described::all(document).into_iter().filter(|route| !route.never_ends())
    }

    /// Its parameters of one place, each with its example.
    fn parameters(&self, document: &Document, place: &str) -> BTreeMap<String, Value> {
        let all = self.operation["parameters"].as_array().into_iter().flatten().map(|it| document.resolved(it));
        let here = all.filter(|parameter| parameter["in"] == place);
        here.map(|parameter| (parameter["name"].as_str().unwrap().to_owned(), parameter["example"].clone())).collect()
    }

    /// The live feed.
    fn never_ends(&self) -> bool {
        let responses = &self.operation["responses"];
        responses["101"].is_object() || responses["200"]["content"]["text/event-stream"].is_object()
    }

    /// With the examples for the names in it.
    fn url(&self, document: &Document) -> String {
        let names = self.parameters(document, "path");
        names.iter().fold(self.path.clone(), |path, (name, example)| {
            path.replace(&format!("{{{name}}}"), example.as_str().unwrap_or_else(|| panic!("{}: {name}", self.path)))
        })
    }
}

fn written(example: &Value) -> String {
    match example {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(written).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn the_document_holds_together() {
    let (_world, document) = world().await;
    assert_eq!(document.0["openapi"], "3.1.0");
    document.assert_that_references_lead_somewhere();
    let mut ids = BTreeSet::new();
    for Described { path, operation } in Described::all(&document) {
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path}: {operation}");
        assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{path}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = document.resolved(response);
            assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{path} {status}");
            assert!(response["headers"]["x-request-id"].is_object(), "{path} {status}");
        }
        for parameter in operation["parameters"].as_array().unwrap() {
            let parameter = document.resolved(parameter);
            assert!(parameter["description"].as_str().is_some_and(|text| !text.is_empty()), "{path}: {parameter}");
        }
    }
}

#[tokio::test]
async fn what_is_described_is_there_and_the_other_way_round() {
    let (world, document) = world().await;
    let described: BTreeSet<String> = document.0["paths"].as_object().unwrap().keys().cloned().collect();
    let index = world.json("/").await;
    let routes = index["routes"].as_object().unwrap().values().map(|path| path.as_str().unwrap().to_owned());
    // The root does not name itself, and the page is no part of the API.
    let mut routes: BTreeSet<String> = routes.filter(|path| path != "/swagger/index.html").collect();
    routes.insert("/".to_owned());
    assert_eq!(described, routes);
    for route in Described::ending(&document) {
        let url = route.url(&document);
        assert_eq!(world.get(&url).await.status, 200, "{url}");
    }
}

#[tokio::test]
async fn what_a_route_takes_is_described() {
    let (world, document) = world().await;
    for route in Described::all(&document) {
        let described: BTreeSet<String> = route.parameters(&document, "query").into_keys().collect();
        let url = route.url(&document);
        let answer = world.get(&format!("{url}?unheard-of=1")).await;
        if answer.status == 200 {
            assert!(!url.starts_with("/api/") && described.is_empty(), "{url} looks at no parameter");
            continue;
        }
        let problem = answer.json();
        assert_eq!((answer.status, &problem["parameter"]), (400, &json!("unheard-of")), "{url}: {problem}");
        let (_, taken) = problem["detail"].as_str().unwrap().split_once("there are: ").unwrap();
        let taken: BTreeSet<String> = taken.split(", ").filter(|name| *name != "none").map(str::to_owned).collect();
        assert_eq!(taken, described, "{url}");
    }
}

#[tokio::test]
async fn examples_are_answered_as_described() {
    let (world, document) = world().await;
    for route in Described::ending(&document) {
        let (url, examples) = (route.url(&document), route.parameters(&document, "query"));
        let pairs: Vec<_> = examples
            .iter()
            .filter(|(_, example)| !example.is_null())
            .map(|(name, example)| format!("{name}={}", written(example)))
            .collect();
        assert!(examples.iter().all(|(name, example)| !example.is_null() || name == "cursor"), "{url}: {examples:?}");
        let mut queries = pairs.clone();
        queries.extend([String::new(), pairs.join("&")]);
        for query in queries {
            let answer = world.get(&format!("{url}?{query}")).await;
            assert_eq!(answer.status, 200, "{url}?{query}: {answer:?}");
            let Some(described) = route.operation["responses"]["200"]["content"].get("application/json") else {
                continue;
            };
            let described = &described["schema"];
            document.assert_exactly(described, &answer.json(), &format!("{url}?{query}"));
        }
        let described = &route.operation["responses"]["200"];
        for (name, value) in [("x-request-id", true), ("etag", described["headers"]["etag"].is_object())] {
            assert_eq!(world.get(&url).await.header(name).is_some(), value, "{url}: {name}");
        }
    }
}

#[tokio::test]
async fn the_forms_of_a_list_are_described() {
    let (world, document) = world().await;
    for route in Described::ending(&document) {
        let url = route.url(&document);
        let forms = route.operation["responses"]["200"]["content"].as_object().unwrap();
        for kind in forms.keys() {
            let answer = world.ask("GET", &url, &[("Accept", kind)]).await;
            let given = answer.header("content-type").unwrap().split(';').next().unwrap().to_owned();
            assert_eq!((answer.status, &given), (200, kind), "{url}");
        }
        let other = world.ask("GET", &url, &[("Accept", "image/png")]).await;
        let refused = route.operation["responses"]["406"].is_object();
        assert_eq!(other.status == 406, refused, "{url}: {other:?}");
        assert_eq!(forms.len() > 1, refused, "{url}");
    }
}

#[tokio::test]
async fn refusals_are_as_described() {
    let (world, document) = world().await;
    let long = format!("/live?{}", "x".repeat(20 << 10));
    for (path, status, response) in [
        ("/api/v1/clusters?limit=0", 400, "Invalid"),
        ("/api/v1/clusters/%ff", 400, "Invalid"),
        ("/api/v1/clusters/nobody", 404, "NotFound"),
        (long.as_str(), 414, "TooLong"),
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        let described = &document.0["components"]["responses"][response];
        let schema = &described["content"][answer.header("content-type").unwrap()]["schema"];
        document.assert_exactly(schema, &answer.json(), path);
        for name in described["headers"].as_object().unwrap().keys() {
            assert!(answer.header(name).is_some(), "{path}: {name}");
        }
    }
}

#[tokio::test]
async fn what_is_known_is_not_sent_again() {
    let (world, _) = world().await;
    for path in ["/openapi.json", "/swagger/swagger-ui-bundle.js", "/api/v1/metrics"] {
        let tag = world.get(path).await.header("etag").unwrap().to_owned();
        let again = world.ask("GET", path, &[("If-None-Match", &tag)]).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
    }
}

#[tokio::test]
async fn swagger_needs_nothing_from_elsewhere() {
    let world = World::new().await;
    for path in ["/swagger", "/swagger/"] {
        let answer = world.get(path).await;
        assert_eq!((answer.status, answer.header("location")), (308, Some("/swagger/index.html")), "{path}");
    }
    let page = world.get("/swagger/index.html").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'; script-src 'self';"), "{policy}");
    let mut files = Vec::new();
    for tag in page.body.split('<').filter(|tag| tag.starts_with("script") || tag.starts_with("link")) {
        let (tag, inside) = tag.split_once('>').unwrap();
        assert!(inside.trim().is_empty(), "the policy runs no script of the page: {inside}");
        let source = tag.split(['"', '\'']).find(|text| text.contains('.')).unwrap();
        let source = source.trim_start_matches("./");
        assert!(!source.contains("//"), "{source} is elsewhere");
        files.push(source.to_owned());
    }
    assert!(files.len() >= 4, "{files:?}");
    for file in &files {
        let answer = request(world.address, "HEAD", &format!("/swagger/{file}"), &[]).await;
        assert_eq!(answer.status, 200, "{file}");
    }
    let start = world.get("/swagger/swagger-initializer.js").await.body;
    assert!(start.contains("\"/openapi.json\"") && start.contains("\"validatorUrl\": \"none\""), "{start}");
    assert!(!start.contains("http"), "{start}");
    assert_eq!(world.get("/swagger/nothing.js").await.status, 404);
}
