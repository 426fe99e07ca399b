//! Identities at the gateway, as they are used: keys made by `nexus keys`, a gateway that tells everything it does, every
//! way to it, and nothing of a key in anything that was written down.

use std::collections::BTreeSet;

use futures_util::{SinkExt, StreamExt};
use nexus_common::servers::free_port;
use nexus_common::testing::eventually;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::process::Process;
use crate::rows::{expected, file};
use crate::world::{PATIENCE, World, until_ready};

pub(crate) const REFUSE: &str = "ALTER TABLE samples ADD CONSTRAINT not_evil CHECK (energy_millijoules < 0)";
pub(crate) const RELENT: &str = "ALTER TABLE samples DROP CONSTRAINT not_evil";

pub(crate) type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// A gateway that knows these people, and what became of their keys.
pub(crate) struct Gate {
    pub(crate) process: Process,
    port: u16,
    /// Where the keys are.
    file: String,
    pub(crate) rita: String,
    pub(crate) olga: String,
    /// Keys that never were good, or are not any more.
    pub(crate) wrong: Vec<String>,
    client: reqwest::Client,
}

impl Gate {
    pub(crate) async fn open(world: &World, environment: &[(&str, &str)]) -> Gate {
        let file = world.folder.path().join("keys").to_str().unwrap().to_owned();
        let new = async |name: &str, role: &str, more: &[&str]| {
            let arguments = [&["keys", "new", "--name", name, "--role", role, "--file", &file], more].concat();
            let answer = world.nexus(&arguments).await;
            assert_eq!(answer.status, 0, "{}", answer.err);
            answer.out.trim().to_owned()
        };
        let (rita, olga) = (new("rita", "reader", &[]).await, new("olga", "operator", &[]).await);
        let otto = new("otto", "operator", &["--expires", "2020-01-01"]).await;
        let nobody = world.nexus(&["keys", "new", "--name", "nobody", "--role", "operator"]).await;
        let nobody = nobody.out.lines().next().unwrap().to_owned();
        // A letter of the secret is another one.
        let mut mistyped = rita.clone().into_bytes();
        mistyped[20] = if mistyped[20] == b'A' { b'B' } else { b'A' };
        let wrong = vec![
            otto,
            nobody,
            String::from_utf8(mistyped).unwrap(),
            olga[..40].to_owned(),
            olga.replace("nxk_operator_", "nxk_root_"),
        ];
        let (process, port) = Gate::start(world, &file, environment).await;
        Gate { process, port, file, rita, olga, wrong, client: reqwest::Client::new() }
    }

    /// Another gateway with the same keys; this one stops.
    pub(crate) async fn again(self, world: &World, environment: &[(&str, &str)]) -> Gate {
        self.process.stop().await;
        let (process, port) = Gate::start(world, &self.file, environment).await;
        Gate { process, port, ..self }
    }

    async fn start(world: &World, file: &str, environment: &[(&str, &str)]) -> (Process, u16) {
        let port = free_port().unwrap();
        let usual = [
            ("PORT", port.to_string()),
            ("API_KEYS_FILE", file.to_owned()),
            ("ENABLE_OPERATOR_ROUTES", "true".to_owned()),
            ("METRICS_OPEN", "false".to_owned()),
            ("LOG_LEVEL", "trace".to_owned()),
        ];
        let usual: Vec<_> = usual.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let process = world.start("gateway", &[&usual[..], environment].concat());
        until_ready(&port.to_string()).await;
        (process, port)
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> reqwest::Response {
        let method: Method = method.to_uppercase().parse().unwrap();
        let mut request = self.client.request(method, format!("http://127.0.0.1:{}{path}", self.port));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let answer = self.ask("post", path, Some(key), Some(body)).await;
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// A WebSocket with these headers; or the status of the refusal.
    async fn socket(&self, path: &str, headers: &[(&'static str, String)]) -> Result<(Socket, Option<String>), u16> {
        let mut request = format!("ws://127.0.0.1:{}{path}", self.port).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((socket, answer)) => {
                let chosen = answer.headers().get("sec-websocket-protocol").map(|one| one.to_str().unwrap().to_owned());
                Ok((socket, chosen))
            }
            Err(tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// What a GraphQL client is told that says this in its first message: the type, or the code it is closed with.
    pub(crate) async fn greets(
        &self,
        headers: &[(&'static str, String)],
        payload: Value,
    ) -> Result<(Socket, String), u16> {
        let spoken = [("sec-websocket-protocol", "graphql-transport-ws".to_owned())];
        let (mut socket, _) = self.socket("/graphql", &[&spoken, headers].concat()).await?;
        let greeting = json!({"type": "connection_init", "payload": payload}).to_string();
        socket.send(Message::text(greeting)).await.unwrap();
        match next(&mut socket).await {
            Message::Text(text) => {
                let said: Value = serde_json::from_str(&text).unwrap();
                Ok((socket, said["type"].as_str().unwrap().to_owned()))
            }
            Message::Close(Some(close)) => Err(close.code.into()),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn next(socket: &mut Socket) -> Message {
    tokio::time::timeout(PATIENCE, socket.next()).await.expect("a message in time").unwrap().unwrap()
}

/// An operation of the description.
struct Operation {
    method: String,
    path: String,
    is_open: bool,
    is_for_operators: bool,
    body: Option<Value>,
}

/// Every one, as the gateway describes itself: a route that is added is among them.
async fn operations(gate: &Gate) -> Vec<Operation> {
    let document: Value = gate.ask("get", "/openapi.json", None, None).await.json().await.unwrap();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let path = path.replace("{cluster_id}", "local-cluster").replace("{host_id}", "h").replace("{gpu_id}", "0");
            let path = if path == "/graphql" && method == "get" {
                format!("{path}?query={{clusters{{status}}}}")
            } else {
                path
            };
            let body = match (method.as_str(), path.as_str()) {
                ("post", "/graphql") => Some(json!({"query": "{ clusters { status } }"})),
                ("post", "/api/v1/tickets") | ("get", _) => None,
                _ => Some(json!({"which": {"ids": [4_000_000]}, "dry_run": true})),
            };
            all.push(Operation {
                is_open: operation["security"] == json!([]),
                is_for_operators: operation["tags"].as_array().unwrap().contains(&json!("operators")),
                method: method.clone(),
                path,
                body,
            });
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_key_reads_nothing_and_who_reads_does_not_act() {
    let world = World::new().await;
    let gate = Gate::open(&world, &[]).await;
    let operations = operations(&gate).await;
    let open: BTreeSet<_> = operations.iter().filter(|one| one.is_open).map(|one| one.path.as_str()).collect();
    assert_eq!(open, BTreeSet::from(["/", "/health", "/live", "/openapi.json", "/ready"]));
    let acts: Vec<_> = operations.iter().filter(|one| one.is_for_operators).map(|one| one.path.as_str()).collect();
    assert!(acts.len() == 3 && operations.len() > 20, "{acts:?}");
    for Operation { method, path, is_open, is_for_operators, body } in &operations {
        let ask = async |key: Option<&str>| gate.ask(method, path, key, body.as_ref()).await;
        let mut strangers = vec![None];
        strangers.extend(gate.wrong.iter().map(|key| Some(key.as_str())));
        for key in strangers {
            let answer = ask(key).await;
            let unauthorized = answer.status() == StatusCode::UNAUTHORIZED;
            assert_eq!(unauthorized, !is_open, "{method} {path}: {}", answer.status());
            assert_eq!(answer.headers().contains_key("www-authenticate"), !is_open, "{method} {path}");
        }
        let reads = ask(Some(&gate.rita)).await.status();
        assert_eq!(reads == StatusCode::FORBIDDEN, *is_for_operators, "{method} {path}: {reads}");
        let acts = ask(Some(&gate.olga)).await.status();
        for status in [reads, acts] {
            assert!(status != StatusCode::UNAUTHORIZED && !status.is_server_error(), "{method} {path}: {status}");
        }
        assert_ne!(acts, StatusCode::FORBIDDEN, "{method} {path}");
    }
    // What nobody described tells nobody whether it is there; pages do not hold anything.
    assert_eq!(gate.ask("get", "/nothing", None, None).await.status(), 401);
    assert_eq!(gate.ask("get", "/nothing", Some(&gate.rita), None).await.status(), 404);
    assert_eq!(gate.ask("get", "/swagger/index.html", None, None).await.status(), 200);
    let page = gate.client.get(format!("http://127.0.0.1:{}/graphql", gate.port)).header("accept", "text/html");
    assert_eq!(page.send().await.unwrap().status(), 200);
    // A page does not let a question in, nor does a WebSocket that is none.
    for (method, headers) in [("POST", ("upgrade", "websocket")), ("POST", ("accept", "text/html"))] {
        let url = format!("http://127.0.0.1:{}/graphql", gate.port);
        let request = gate.client.request(method.parse().unwrap(), url).header(headers.0, headers.1);
        let answer = request.json(&json!({"query": "{ clusters { status } }"})).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{headers:?}");
    }
    gate.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_connections_need_a_key_and_end_with_it() {
    let world = World::new().await;
    let gate = Gate::open(&world, &[]).await;
    let bearer = |key: &str| ("authorization", format!("Bearer {key}"));
    let among = |key: &str| ("sec-websocket-protocol", format!("nexus, nexus.key.{key}"));

    // WebSocket: by header, as a page does it, by ticket once.
    assert_eq!(gate.socket("/ws", &[]).await.unwrap_err(), 401);
    for key in &gate.wrong {
        assert_eq!(gate.socket("/ws", &[bearer(key)]).await.unwrap_err(), 401);
        assert_eq!(gate.socket("/ws", &[among(key)]).await.unwrap_err(), 401);
    }
    let (mut by_header, chosen) = gate.socket("/ws", &[bearer(&gate.rita)]).await.unwrap();
    assert_eq!(chosen, None);
    let (_by_protocol, chosen) = gate.socket("/ws", &[among(&gate.rita)]).await.unwrap();
    assert_eq!(chosen.as_deref(), Some("nexus"));
    let ticket = async || {
        let (status, answer) = gate.post("/api/v1/tickets", &gate.rita, &json!({})).await;
        assert_eq!(status, 200, "{answer}");
        answer["ticket"].as_str().unwrap().to_owned()
    };
    let once = ticket().await;
    let path = format!("/ws?ticket={once}");
    assert!(gate.socket(&path, &[]).await.is_ok());
    assert_eq!(gate.socket(&path, &[]).await.unwrap_err(), 401);

    // Server-Sent Events: what an EventSource can do is write a URL.
    let events = format!("/api/v1/stream?ticket={}", ticket().await);
    let mut stream = gate.ask("get", &events, None, None).await;
    assert_eq!(stream.status(), 200);
    assert_eq!(gate.ask("get", &events, None, None).await.status(), 401);
    // A ticket is for the feed alone.
    let elsewhere = format!("/api/v1/clusters?ticket={}", ticket().await);
    assert_eq!(gate.ask("get", &elsewhere, None, None).await.status(), 401);

    // GraphQL: by header or in the first message.
    assert_eq!(gate.greets(&[], json!({})).await.unwrap_err(), 4401);
    for key in &gate.wrong {
        let said = json!({"authorization": format!("Bearer {key}")});
        assert_eq!(gate.greets(&[], said).await.unwrap_err(), 4401);
        assert_eq!(gate.greets(&[bearer(key)], json!({})).await.unwrap_err(), 401);
    }
    assert_eq!(gate.greets(&[bearer(&gate.rita)], json!({})).await.unwrap().1, "connection_ack");
    let said = json!({"Authorization": format!("Bearer {}", gate.rita)});
    let (mut greeted, ack) = gate.greets(&[], said).await.unwrap();
    assert_eq!(ack, "connection_ack");
    let actions = json!({"type": "subscribe", "id": "1", "payload": {"query": "{ actions { id } }"}}).to_string();
    greeted.send(Message::text(actions)).await.unwrap();
    let Message::Text(text) = next(&mut greeted).await else { panic!() };
    assert!(text.contains("FORBIDDEN"), "{text}");

    // Our own commands.
    let (place, file) = (format!("http://127.0.0.1:{}", gate.port), world.file("rita", format!("{}\n", gate.rita)));
    let gpus = ["gpus", "--gateway", place.as_str()];
    let refused = world.nexus(&gpus).await;
    assert!(refused.status == 1 && refused.err.contains("needs an API key"), "{}", refused.err);
    let shown = world.nexus_with(&gpus, &[("NEXUS_API_KEY_FILE", file.to_str().unwrap())]).await;
    assert!(shown.status == 0 && shown.err.contains("0 GPUs"), "{}", shown.err);

    // She is let go: what she opened ends.
    let revoked = world.nexus(&["keys", "revoke", "rita", "--file", &gate.file]).await;
    assert_eq!(revoked.status, 0, "{}", revoked.err);
    let farewell = async |socket: &mut Socket| loop {
        match next(socket).await {
            Message::Close(close) => break close.map(|close| u16::from(close.code)),
            _ => continue,
        }
    };
    assert_eq!(farewell(&mut by_header).await, Some(1008));
    assert_eq!(farewell(&mut greeted).await, Some(4403));
    let ended = async { while let Ok(Some(_)) = stream.chunk().await {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("the events end");
    assert_eq!(gate.ask("get", "/api/v1/clusters", Some(&gate.rita), None).await.status(), 401);
    assert_eq!(gate.ask("get", "/api/v1/clusters", Some(&gate.olga), None).await.status(), 200);
    // A file that is wrong locks nobody in or out.
    std::fs::write(&gate.file, "nonsense").unwrap();
    eventually("it says so", PATIENCE, async || gate.process.log().contains("the API keys cannot be read")).await;
    assert_eq!(gate.ask("get", "/api/v1/clusters", Some(&gate.olga), None).await.status(), 200);
    nothing_tells_a_key(&world, &gate).await;
    gate.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_redrive_and_purge_and_it_is_known_who() {
    let world = World::new().await;
    let gate = Gate::open(&world, &[]).await;
    let collector = world.ready_collector().await;
    world.alter(REFUSE).await;
    let path = world.file("a.csv", file(300));
    world.publish(&path, &[]).await;
    world.until_accounted(300).await;
    assert_eq!(world.sums().await, [300, 0, 300, 0]);
    let (redrive, purge) = ("/api/v1/dead-letters/redrive", "/api/v1/dead-letters/purge");

    let listed = async |query: &str| -> Value {
        let answer = gate.ask("get", &format!("/api/v1/dead-letters{query}"), Some(&gate.rita), None).await;
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    };
    let page = listed("?limit=299&reason=NOT_EVIL&file=a.csv&state=dead").await;
    let (items, cursor) = (page["items"].as_array().unwrap(), page["next_cursor"].as_str().unwrap());
    assert_eq!((items.len(), &items[0]["state"]), (299, &json!("dead")));
    let rest = listed(&format!("?limit=299&reason=NOT_EVIL&file=a.csv&state=dead&cursor={cursor}")).await;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
    assert!(rest["items"][0]["id"].as_i64() < items[298]["id"].as_i64());

    // A dry run tells, and does nothing; a reader does neither.
    let all = json!({"which": {"all": true}, "dry_run": true});
    assert_eq!(gate.post(redrive, &gate.rita, &all).await.0, 403);
    let (status, told) = gate.post(redrive, &gate.olga, &all).await;
    assert_eq!(
        (status, &told["letters"], &told["rows"], &told["returns"]),
        (200, &json!(300), &json!(300), &json!([]))
    );
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM returns").await, Some(0));
    for (body, words) in [
        (json!({"which": {}}), "ids, reason, file or before"),
        (json!({"which": {"all": true, "ids": [1]}}), "ids, reason, file or before"),
        (json!({"which": {"all": true}, "limit": 0}), "limit"),
        (json!({"which": {"all": true}, "dryrun": true}), "dryrun"),
        (json!({"which": {"before": "soon"}}), "which.before"),
    ] {
        let (status, problem) = gate.post(redrive, &gate.olga, &body).await;
        assert!((400..500).contains(&status), "{body}: {status} {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{body}: {problem}");
    }

    // Two hundred of them, then the rest; each once.
    world.alter(RELENT).await;
    let (status, done) = gate.post(redrive, &gate.olga, &json!({"which": {"all": true}, "limit": 200})).await;
    assert_eq!((status, &done["letters"], &done["more"]), (200, &json!(200), &json!(true)), "{done}");
    assert_eq!((&done["returns"][0]["lane"], &done["returns"][0]["finished"]), (&json!("redrive-1"), &json!(true)));
    let (_, done) = gate.post(redrive, &gate.olga, &json!({"which": {"reason": "not_evil"}})).await;
    assert_eq!((&done["letters"], &done["more"]), (&json!(100), &json!(false)), "{done}");
    let (_, done) = gate.post(redrive, &gate.olga, &json!({"which": {"all": true}})).await;
    assert_eq!((&done["letters"], &done["returns"]), (&json!(0), &json!([])), "{done}");
    world.until_accounted(600).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 300)).await;
    assert_eq!(world.sums().await, [600, 300, 300, 0], "nothing twice");

    // What is given up has to be what somebody saw.
    let some = json!({"which": {"reason": "not_evil"}});
    assert_eq!(gate.post(purge, &gate.rita, &some).await.0, 403);
    assert_eq!(gate.post(purge, &gate.olga, &some).await.0, 400, "how many?");
    let with = |name: &str, value: Value| {
        let mut body = some.clone();
        body[name] = value;
        body
    };
    let (status, told) = gate.post(purge, &gate.olga, &with("dry_run", json!(true))).await;
    assert_eq!((status, told), (200, json!({"dry_run": true, "letters": 300, "rows": 300})));
    let (status, problem) = gate.post(purge, &gate.olga, &with("expect", json!(299))).await;
    assert_eq!(status, 409, "{problem}");
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM dead_letters WHERE purged_at IS NOT NULL").await, Some(0));
    let (status, told) = gate.post(purge, &gate.olga, &with("expect", json!(300))).await;
    assert_eq!((status, told), (200, json!({"dry_run": false, "letters": 300, "rows": 300})));
    let (_, told) = gate.post(purge, &gate.olga, &with("expect", json!(0))).await;
    assert_eq!(told["letters"], 0, "safe to repeat");

    // From the command line, too; and all of it is known.
    assert_eq!(world.nexus(&["dlq", "purge", "--all", "--yes"]).await.status, 0);
    let (status, _) = gate.post(redrive, &gate.olga, &json!({"which": {"ids": [4_000_000]}})).await;
    assert_eq!(status, 404);
    let answer = gate.ask("get", "/api/v1/actions", Some(&gate.olga), None).await;
    let actions: Value = answer.json().await.unwrap();
    let actions = actions["items"].as_array().unwrap();
    let told: Vec<_> =
        actions.iter().map(|act| (act["actor"].clone(), act["action"].clone(), act["letters"].clone())).collect();
    let act = |what: &str, letters: i64| (json!("key:olga"), json!(what), json!(letters));
    assert_eq!(told, [act("purge", 300), act("redrive", 100), act("redrive", 200)]);
    assert_eq!(actions[1]["asked"]["reason"], "not_evil");
    assert!(actions.iter().all(|act| act["request_id"].as_str().is_some_and(|id| id.len() == 32)), "{actions:?}");
    let (_, answer) =
        gate.post("/graphql", &gate.olga, &json!({"query": "{ actions { id actor action asked } }"})).await;
    assert_eq!(answer["data"]["actions"][0]["action"], "purge", "{answer}");
    let table = world.nexus(&["actions"]).await;
    assert!(table.out.contains("key:olga") && table.out.contains("redrive 2"), "{}", table.out);
    let logged = gate.process.log();
    for words in ["an operator acted", "refused: that is for operators", "key:rita"] {
        assert!(logged.contains(words), "{words}");
    }
    nothing_tells_a_key(&world, &gate).await;
    collector.stop().await;
    gate.process.stop().await;
}

/// Asks in ways that would tempt a log, and then looks into everything that was written: output and database.
async fn nothing_tells_a_key(world: &World, gate: &Gate) {
    let mut keys = vec![gate.rita.clone(), gate.olga.clone()];
    keys.extend(gate.wrong.clone());
    for key in &keys {
        let base = format!("http://127.0.0.1:{}", gate.port);
        let olga = |request: reqwest::RequestBuilder| request.header("authorization", format!("Bearer {}", gate.olga));
        for url in [format!("{base}/{key}"), format!("{base}/api/v1/gpus?host_id={key}"), format!("{base}/live?{key}")]
        {
            gate.client.get(&url).send().await.unwrap();
            olga(gate.client.get(&url)).send().await.unwrap();
        }
        let named = olga(gate.client.get(format!("{base}/api/v1/clusters"))).header("x-request-id", key);
        named.send().await.unwrap();
        let letters = json!({"which": {"ids": [4_000_001]}});
        olga(gate.client.post(format!("{base}/api/v1/dead-letters/purge")))
            .header("x-request-id", key)
            .json(&letters)
            .send()
            .await
            .unwrap();
        let query = json!({"query": format!("{{ gpus(host_id: \"{key}\") {{ gpu_id }} }}")});
        olga(gate.client.post(format!("{base}/graphql"))).json(&query).send().await.unwrap();
    }
    let log = gate.process.log();
    assert!(log.contains("TRACE"), "everything is told");
    let mut written = vec![("the log", log)];
    let tables =
        world.rows("SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace");
    for table in tables.await.unwrap() {
        let table: String = table.get(0);
        let dump =
            world.ask::<Option<String>>(&format!("SELECT string_agg(t::text, ' ') FROM {table} t")).await.unwrap();
        written.push(("the database", dump.unwrap_or_default()));
    }
    assert!(written.len() > 10);
    written.push(("the keys", std::fs::read_to_string(&gate.file).unwrap()));
    for key in &keys {
        let secret = key.splitn(3, '_').nth(2).unwrap();
        let secret = &secret[..secret.len().min(20)];
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        for (place, text) in &written {
            assert!(!text.contains(secret) && !text.contains(&hex), "a key is in {place}: {}", around(text, secret));
        }
    }
}

fn around(text: &str, secret: &str) -> String {
    let line = text.lines().find(|line| line.contains(secret));
    line.map(|line| line.replace(secret, "THE KEY").chars().take(400).collect()).unwrap_or_default()
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let world = World::new().await;
    let file = world.folder.path().join("keys");
    let path = file.to_str().unwrap();
    let run = async |arguments: &[&str]| world.nexus(&[&["keys"], arguments].concat()).await;
    let made = run(&["new", "--name", "alice", "--role", "reader", "--expires", "90days", "--file", path]).await;
    assert!(made.out.starts_with("nxk_reader_") && made.out.lines().count() == 1, "{}", made.out);
    assert!(!made.err.contains(made.out.trim()));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&made.out.trim()[11..]));
    // A remark and a mode of somebody's own stay.
    std::fs::write(&file, format!("# ours\n{}", std::fs::read_to_string(&file).unwrap())).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(run(&["new", "--name", "bob", "--role", "operator", "--file", path]).await.status, 0);
    let twice = run(&["new", "--name", "bob", "--role", "reader", "--file", path]).await;
    assert!(twice.status == 2 && twice.err.contains("bob has a key already"), "{}", twice.err);
    assert_eq!(run(&["new", "--name", "b/b", "--role", "reader", "--file", path]).await.status, 2);
    let list = run(&["list", "--file", path, "--json"]).await;
    let names: Vec<_> =
        list.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].clone()).collect();
    assert_eq!(names, ["alice", "bob"]);
    assert_eq!(run(&["revoke", "alice", "--file", path]).await.status, 0);
    assert_eq!(run(&["revoke", "alice", "--file", path]).await.status, 2);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# ours\nbob operator ") && text.lines().count() == 2, "{text}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    let printed = run(&["new", "--name", "carol", "--role", "reader"]).await;
    let [key, line] = printed.out.lines().collect::<Vec<_>>()[..] else { panic!("{}", printed.out) };
    assert!(key.starts_with("nxk_reader_") && line.starts_with("carol reader ") && !line.contains(&key[11..]));
}
