//! REST, GraphQL and the live feed say the same: what is told as it is committed is what is answered when it is asked for,
//! and both are what stood in the file.

use std::collections::BTreeMap;

use futures_util::{SinkExt, StreamExt};
use nexus_common::domain::Timestamp;
use nexus_common::servers::free_port;
use nexus_common::testing::eventually;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::process::Process;
use crate::world::{PATIENCE, World};

/// By host, GPU and time: the values by metric.
type Samples = BTreeMap<(String, String, String), Value>;

const TIMES: i64 = 6;
const STEP_SECONDS: i64 = 10;

/// Three hosts of four GPUs, of which host-c lacks GPU 2; host-b's GPU 1 fell off the bus half-way. The newest row is of now.
fn fixture() -> (String, Samples) {
    let mut text =
        "timestamp,hostname,gpu_id,uuid,utilization,memory_used,temperature,power_draw,xid_error\n".to_owned();
    let mut samples = Samples::new();
    let now = Timestamp::now().as_millis() / 1_000;
    for turn in 0..TIMES {
        let seconds = now - (TIMES - 1 - turn) * STEP_SECONDS;
        for (host, name) in ["host-a", "host-b", "host-c"].into_iter().enumerate() {
            for gpu in (0..4).filter(|gpu| (host, *gpu) != (2, 2)) {
                let number = i64::try_from(host).unwrap() * 4 + gpu;
                let (busy, held) = (if gpu == 3 { 0 } else { 10 + number }, 2_000 + turn);
                let (celsius, watts) = (60 + number, 100.5 + (turn * 12 + number) as f64);
                let xid = if (host, gpu) == (1, 1) && turn >= TIMES / 2 { 79 } else { 0 };
                text += &format!("{seconds},{name},{gpu},GPU-{number},{busy},{held},{celsius},{watts},{xid}\n");
                let at = Timestamp(seconds * 1_000_000).to_string();
                samples.insert(
                    (name.to_owned(), gpu.to_string(), at),
                    json!({"gpu_utilization": busy, "memory_used_mib": held, "temperature_celsius": celsius,
                           "power_watts": watts, "xid": xid}),
                );
            }
        }
    }
    (text, samples)
}

/// A gateway that is ready.
pub(crate) struct Gateway {
    _process: Process,
    pub(crate) port: u16,
}

impl Gateway {
    pub(crate) async fn start(world: &World) -> Gateway {
        Gateway::start_with(world, &[]).await
    }

    pub(crate) async fn start_with(world: &World, environment: &[(&str, &str)]) -> Gateway {
        let port = free_port().unwrap().to_string();
        // A slow machine is no wrong answer.
        let patient = ("QUERY_TIMEOUT", "5m");
        let usual = [("PORT", port.as_str()), ("BIND_ADDRESS", "127.0.0.1"), ("AUDIT_INTERVAL", "100ms"), patient];
        let process = world.start("gateway", &[&usual, environment].concat());
        let ready = format!("http://127.0.0.1:{port}/ready");
        eventually("the gateway is ready", PATIENCE, async || {
            reqwest::get(&ready).await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        Gateway { _process: process, port: port.parse().unwrap() }
    }

    pub(crate) async fn rest(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("http://127.0.0.1:{}{path}", self.port)).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    /// How many answers were kept ones.
    pub(crate) async fn kept_answers_given(&self) -> u64 {
        let told = reqwest::get(format!("http://127.0.0.1:{}/metrics", self.port)).await.unwrap().text().await.unwrap();
        let line = told.lines().find(|line| line.starts_with("nexus_gateway_kept_answers_given_total{"));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{told}"))
    }

    async fn items(&self, path: &str) -> Vec<Value> {
        self.rest(path).await["items"].as_array().unwrap_or_else(|| panic!("{path}: no list")).clone()
    }

    async fn graphql(&self, query: &str) -> Value {
        let url = format!("http://127.0.0.1:{}/graphql", self.port);
        let answer = reqwest::Client::new().post(url).json(&json!({"query": query})).send().await.unwrap();
        let mut body: Value = answer.json().await.unwrap();
        assert_eq!(body["errors"], Value::Null, "{query}: {body}");
        body["data"].take()
    }

    async fn live(&self, query: &str) -> Live {
        let url = format!("ws://127.0.0.1:{}/ws?{query}", self.port);
        Live::of(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    /// A GraphQL subscription, whose frames are those of the live feed.
    async fn subscribe(&self, query: &str) -> Live {
        let mut request = format!("ws://127.0.0.1:{}/graphql", self.port).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
        let mut live = Live::of(tokio_tungstenite::connect_async(request).await.unwrap().0);
        let say = |message: Value| Message::text(message.to_string());
        live.socket.send(say(json!({"type": "connection_init"}))).await.unwrap();
        assert_eq!(live.next().await["type"], "connection_ack");
        live.socket.send(say(json!({"type": "subscribe", "id": "1", "payload": {"query": query}}))).await.unwrap();
        live
    }
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// A client of the live feed.
struct Live {
    socket: Socket,
    /// What it was told of GPUs, whatever it was waiting for.
    events: Vec<Value>,
}

impl Live {
    fn of(socket: Socket) -> Live {
        Live { socket, events: Vec::new() }
    }

    /// Waits until it is told where it begins: what is committed from then on comes as a frame.
    async fn begun(mut self) -> Live {
        while self.next().await["type"] != "position" {}
        self
    }

    async fn next(&mut self) -> Value {
        loop {
            let message =
                tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a frame in time").unwrap().unwrap();
            if let Message::Text(text) = message {
                let mut message: Value = serde_json::from_str(&text).unwrap();
                // A subscription wraps the frame.
                return match message.pointer_mut("/payload/data/telemetry") {
                    Some(frame) => frame.take(),
                    None => message,
                };
            }
        }
    }

    /// Reads on until so many samples came.
    async fn samples(&mut self, count: usize) -> Samples {
        tokio::time::timeout(PATIENCE, self.so_many(count)).await.expect("all samples in time")
    }

    async fn so_many(&mut self, count: usize) -> Samples {
        let mut samples = Samples::new();
        while samples.len() < count {
            let frame = self.next().await;
            assert!(frame["type"] != "gap" && frame["type"] != "error", "{frame}");
            samples.extend(by_place(frame["samples"].as_array().unwrap_or(&Vec::new())));
            self.events.extend(frame["events"].as_array().unwrap_or(&Vec::new()).clone());
        }
        samples
    }

    /// Reads on until so many events came, those among them that came between the samples.
    async fn events(&mut self, count: usize) -> Vec<Value> {
        while self.events.len() < count {
            let frame = self.next().await;
            self.events.extend(frame["events"].as_array().unwrap_or(&Vec::new()).clone());
        }
        self.events.clone()
    }
}

fn by_place(samples: &[Value]) -> Samples {
    let text = |sample: &Value, name: &str| sample[name].as_str().unwrap_or_else(|| panic!("{sample}")).to_owned();
    let place = |sample: &Value| (text(sample, "host_id"), text(sample, "gpu_id"), text(sample, "timestamp"));
    samples.iter().map(|sample| (place(sample), sample["data"].clone())).collect()
}

/// Of each GPU the newest sample.
fn newest(samples: &Samples) -> Samples {
    let mut newest = BTreeMap::new();
    for ((host, gpu, at), data) in samples {
        newest.insert((host.clone(), gpu.clone()), (at.clone(), data.clone()));
    }
    newest.into_iter().map(|((host, gpu), (at, data))| ((host, gpu, at), data)).collect()
}

#[tokio::test]
async fn rest_graphql_and_the_live_feed_say_the_same() {
    let world = World::new().await;
    let (text, file) = fixture();
    // And a row that nobody understands.
    let path = world.file("fixture.csv", text + "yesterday,host-a,0,GPU-0,1,1,1,1,0\n");
    let collector = world.start("collector", &[("CONDITIONS_INTERVAL", "100ms")]);
    let gateway = Gateway::start(&world).await;
    let mut told = gateway.live("mode=all").await.begun().await;
    let asked = "subscription { telemetry(mode: \"all\") { type samples { host_id gpu_id timestamp data } } }";
    let mut subscribed = gateway.subscribe(asked).await.begun().await;
    let mut of_one = gateway.live("mode=all&host_id=host-b&gpu_id=1&metrics=xid,power_draw").await.begun().await;
    let stream = reqwest::get(format!("http://127.0.0.1:{}/api/v1/stream?mode=all", gateway.port)).await.unwrap();
    let mut streamer = world.start("streamer", &[("CSV_FILE", path.to_str().unwrap()), ("BATCH_SIZE", "7")]);
    streamer.succeeds().await;

    // Everything that was committed was told, once and with the file's values.
    assert_eq!(told.samples(file.len()).await, file);
    let only = |data: &Value| json!({"power_watts": data["power_watts"], "xid": data["xid"]});
    let wanted = |(host, gpu, _): &(String, String, String)| host == "host-b" && gpu == "1";
    let part: Samples =
        file.iter().filter(|(place, _)| wanted(place)).map(|(place, data)| (place.clone(), only(data))).collect();
    assert_eq!(of_one.samples(part.len()).await, part);
    assert_eq!(events_of(stream, file.len()).await, file);
    assert_eq!(subscribed.samples(file.len()).await, file);

    // It is what is answered, once the gateway has looked up who these GPUs are: the feed told of some that it did not know
    // yet, and what it finds in PostgreSQL meanwhile may be of a moment before.
    eventually("the newest values of all GPUs are known", PATIENCE, async || {
        by_place(&gateway.items("/api/v1/telemetry/latest").await) == newest(&file)
    })
    .await;
    assert_eq!(by_place(&gateway.items("/api/v1/telemetry?limit=1000").await), file);
    let asked = gateway.graphql("{ telemetry(limit: 1000) { host_id gpu_id timestamp data } }").await;
    assert_eq!(by_place(asked["telemetry"].as_array().unwrap()), file);
    let of_gpu = "host_id=host-b&gpu_id=1&metrics=xid,power_draw";
    assert_eq!(by_place(&gateway.items(&format!("/api/v1/telemetry?{of_gpu}")).await), part);

    // What is so now, asked for and told to whoever comes.
    let latest = gateway.items("/api/v1/telemetry/latest").await;
    assert_eq!(by_place(&latest), newest(&file));
    let asked = gateway.graphql("{ latest { host_id gpu_id timestamp data } }").await;
    assert_eq!(by_place(asked["latest"].as_array().unwrap()), newest(&file));
    assert_eq!(gateway.live("").await.samples(latest.len()).await, newest(&file));
    let of_one = by_place(&gateway.items(&format!("/api/v1/telemetry/latest?{of_gpu}")).await);
    assert_eq!(gateway.live(of_gpu).await.samples(1).await, of_one);

    // What is the matter, and what was told of it.
    let places = |gpus: &[Value]| {
        gpus.iter().map(|gpu| format!("{}/{}", gpu["host_id"], gpu["gpu_id"]).replace('"', "")).collect::<Vec<_>>()
    };
    for (condition, expected) in [
        ("sick", vec!["host-b/1"]),
        ("idle_allocated", vec!["host-a/3", "host-b/3", "host-c/3"]),
        ("missing", vec!["host-c/2"]),
        ("hot", vec![]),
        ("stale", vec![]),
    ] {
        // What a host lacks is known a moment after its GPUs are: when a look into PostgreSQL has come to its end.
        let found = async || places(&gateway.items(&format!("/api/v1/gpus?condition={condition}")).await);
        eventually(format!("{condition}: {expected:?}"), PATIENCE, async || found().await == expected).await;
        let asked = gateway.graphql(&format!("{{ gpus(condition: {condition}) {{ host_id gpu_id }} }}")).await;
        assert_eq!(places(asked["gpus"].as_array().unwrap()), expected, "{condition}");
    }
    // Host-b may have been seen without its last GPU, which then was missing for a moment: these two come after that.
    let is = |event: &Value, kind: &str, gpu: &str| event["kind"] == kind && event["gpu_id"] == gpu;
    let wanted = [("xid", "1"), ("missing", "2")];
    eventually("both events are stored", PATIENCE, async || {
        let stored = gateway.items("/api/v1/events").await;
        wanted.iter().all(|(kind, gpu)| stored.iter().any(|event| is(event, kind, gpu)))
    })
    .await;
    let stored = gateway.items("/api/v1/events?order=asc").await;
    let live = told.events(stored.len()).await;
    // When it was noticed is PostgreSQL's to say, after the feed has told.
    let plain = |events: &[Value]| {
        let mut events = events.to_vec();
        events.iter_mut().for_each(|event| _ = event.as_object_mut().unwrap().remove("noted_at"));
        events.sort_by_key(|event| event["id"].as_i64());
        events
    };
    assert_eq!(plain(&live), plain(&stored));
    every_route_has_a_field(&gateway).await;
    every_act_has_a_mutation(&gateway).await;
    collector.stop().await;
}

/// What is done rather than asked (mutations, see below), and what only operators see (operator/keys.rs).
const ACTS: [&str; 4] = ["redrive", "purge", "tickets", "actions"];
const LETTER: &str = "id state reason file pass line byte rows batch key raw_bytes sha256 created_at redrive purged_at";
const CLUSTER: &str = "cluster_id cluster_name status host_count gpu_count last_seen";
const HOST: &str = "cluster_id host_id status gpu_count expected_gpu_count missing_gpus last_seen";
const GPU: &str = "cluster_id host_id gpu_id uuid model device labels status conditions { condition severity since evidence } last_seen latest";
const SAMPLE: &str = "cluster_id host_id gpu_id uuid timestamp data";
const FIGURES: &str =
    "read stored dead queued in_flight expired residue batches read_again redriven purged republished";
const EVENT: &str = "id cluster_id host_id gpu_id uuid timestamp noted_at kind condition severity since code detail";

/// Each route that the gateway lists has a field that answers the same, whole.
async fn every_route_has_a_field(gateway: &Gateway) {
    let (c, h, g) = ("cluster_id: \"local-cluster\"", "host_id: \"host-b\"", "gpu_id: \"1\"");
    let counts = "total ok degraded stale empty";
    let stats = format!(
        "{CLUSTER} hosts {{ {counts} }} gpus {{ total expected missing ok stale empty }}
         conditions {{ sick hot throttled idle_allocated missing stale }}
         freshness {{ newest oldest age_seconds stale_after_seconds }} distributions"
    );
    // The route's name in `/`; the field; where its answer is in GraphQL's.
    let fields = [
        ("clusters", format!("clusters {{ {CLUSTER} }}"), "/clusters"),
        ("cluster", format!("cluster({c}) {{ {CLUSTER} }}"), "/cluster"),
        ("stats", format!("stats({c}) {{ {stats} }}"), "/stats"),
        ("hosts", format!("hosts {{ {HOST} }}"), "/hosts"),
        ("hosts_of_cluster", format!("cluster({c}) {{ hosts {{ {HOST} }} }}"), "/cluster/hosts"),
        ("host", format!("host({c}, {h}) {{ {HOST} }}"), "/host"),
        ("gpus", format!("gpus {{ {GPU} }}"), "/gpus"),
        ("gpus_of_host", format!("host({c}, {h}) {{ gpus {{ {GPU} }} }}"), "/host/gpus"),
        ("gpu", format!("gpu({c}, {h}, {g}) {{ {GPU} }}"), "/gpu"),
        ("gpu_metrics", format!("gpu({c}, {h}, {g}) {{ telemetry {{ {SAMPLE} }} }}"), "/gpu/telemetry"),
        ("telemetry", format!("telemetry {{ {SAMPLE} }}"), "/telemetry"),
        ("latest", "latest { cluster_id host_id gpu_id uuid status timestamp data readings }".to_owned(), "/latest"),
        ("events", format!("events {{ {EVENT} }}"), "/events"),
        (
            "audit",
            format!(
                "audit {{ cluster_id as_of revision balanced total {{ {FIGURES} }} lane_count lanes {{ lane kind file {FIGURES} known holes notes }} unreadable }}"
            ),
            "/audit",
        ),
        ("dead_letters", format!("dead_letters {{ {LETTER} }}"), "/dead_letters"),
        ("metrics", "metrics { name dcgm unit kind aliases range { min max } help }".to_owned(), "/metrics"),
    ];
    let routes = gateway.rest("/").await["routes"].clone();
    for (name, route) in routes.as_object().unwrap() {
        let route = route.as_str().unwrap();
        if !route.starts_with("/api/v1/") || route == "/api/v1/stream" || ACTS.contains(&name.as_str()) {
            continue;
        }
        let (_, field, place) =
            fields.iter().find(|(known, ..)| known == name).unwrap_or_else(|| panic!("{route}: no field"));
        let path =
            route.replace("{cluster_id}", "local-cluster").replace("{host_id}", "host-b").replace("{gpu_id}", "1");
        let (mut rest, mut graphql) = both(gateway, &path, field, place).await;
        // What is looked up anew between the two questions is in the second answer alone: then both are asked once more.
        for _ in 0..5 {
            if graphql == rest {
                break;
            }
            (rest, graphql) = both(gateway, &path, field, place).await;
        }
        assert_ne!(rest, json!([]), "{path}");
        assert_eq!(graphql, rest, "{path}");
    }
}

/// What a route answers, and a field.
async fn both(gateway: &Gateway, path: &str, field: &str, place: &str) -> (Value, Value) {
    let mut rest = gateway.rest(path).await;
    let mut graphql = gateway.graphql(&format!("{{ {field} }}")).await.pointer(place).unwrap().clone();
    if let Some(items) = rest.get_mut("items") {
        rest = items.take();
    }
    for answer in [&mut rest, &mut graphql] {
        // What moves on by itself.
        if let Some(age) = answer.pointer_mut("/freshness/age_seconds") {
            *age = json!(age.is_f64());
        }
        if let Some(at) = answer.get_mut("as_of") {
            *at = json!(at.is_string());
        }
    }
    (by_value(rest), by_value(graphql))
}

/// What is done by a route is done by a mutation: the same words go in, and the same come back. Who may, and what it does, is
/// tried in operator/acts.rs.
async fn every_act_has_a_mutation(gateway: &Gateway) {
    let described = gateway.rest("/openapi.json").await;
    let schema = gateway
        .graphql(
            "{ __schema { types { name fields { name } inputFields { name } }
               mutationType { fields { name args { name } type { name } } } } }",
        )
        .await;
    let names = |list: &Value| -> Vec<String> {
        let mut names: Vec<_> = match list {
            Value::Array(items) => items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect(),
            fields => fields.as_object().unwrap().keys().cloned().collect(),
        };
        names.sort_unstable();
        names
    };
    let component = |name: &str| names(&described["components"]["schemas"][name]["properties"]);
    let of_type = |name: &str, part: &str| {
        let mut types = schema["__schema"]["types"].as_array().unwrap().iter();
        names(&types.find(|known| known["name"] == name).unwrap_or_else(|| panic!("no {name}"))[part])
    };
    let acts = schema["__schema"]["mutationType"]["fields"].as_array().unwrap();
    for (route, act, body, answer) in [
        ("/api/v1/dead-letters/redrive", "redrive_dead_letters", "Redrive", "RedriveAnswer"),
        ("/api/v1/dead-letters/purge", "purge_dead_letters", "Purge", "PurgeAnswer"),
    ] {
        assert!(described["paths"][route]["post"].is_object(), "{route}");
        let field = acts.iter().find(|field| field["name"] == act).unwrap_or_else(|| panic!("{route}: no mutation"));
        assert_eq!(names(&field["args"]), component(body), "{act}");
        assert_eq!(field["type"]["name"], answer, "{act}");
        assert_eq!(of_type(answer, "fields"), component(answer), "{act}");
    }
    assert_eq!(acts.len(), 2, "each has a route");
    assert_eq!(of_type("WhichLetters", "inputFields"), component("Which"));
    for part in ["Returned", "Left"] {
        assert_eq!(of_type(part, "fields"), component(part));
    }
}

/// 100 and 100.0 are one number.
fn by_value(answer: Value) -> Value {
    match answer {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(by_value).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, by_value(value))).collect(),
        other => other,
    }
}

/// Reads Server-Sent Events until so many samples came.
async fn events_of(mut stream: reqwest::Response, count: usize) -> Samples {
    let (mut text, mut samples) = (String::new(), Samples::new());
    while samples.len() < count {
        let chunk = tokio::time::timeout(PATIENCE, stream.chunk()).await.expect("an event in time").unwrap().unwrap();
        text += std::str::from_utf8(&chunk).unwrap();
        while let Some((event, rest)) = text.split_once("\n\n") {
            let data = event.lines().filter_map(|line| line.strip_prefix("data:")).collect::<String>();
            if let Ok(frame) = serde_json::from_str::<Value>(data.trim()) {
                samples.extend(by_place(frame["samples"].as_array().unwrap_or(&Vec::new())));
            }
            text = rest.to_owned();
        }
    }
    samples
}
