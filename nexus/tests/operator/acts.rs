//! What operators do by GraphQL: as by REST, for operators alone, and noted with who did it.

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::keys::{Gate, REFUSE, RELENT, next};
use crate::rows::{expected, file};
use crate::world::World;

/// All that GraphQL lets anybody do, as its schema names it: what is added is among it.
async fn mutations(gate: &Gate) -> Vec<String> {
    let query = "{ __schema { mutationType { fields { name } } } }";
    let (_, answer) = gate.post("/graphql", &gate.rita, &json!({ "query": query })).await;
    let fields = answer["data"]["__schema"]["mutationType"]["fields"].as_array().unwrap_or_else(|| panic!("{answer}"));
    fields.iter().map(|field| field["name"].as_str().unwrap().to_owned()).collect()
}

/// One of them, about a letter that there is not.
fn harmless(name: &str) -> String {
    format!("mutation {{ {name}(which: {{ ids: [4000000] }}, dry_run: true) {{ letters }} }}")
}

/// Over HTTP and over a WebSocket: the code of what is refused.
async fn codes(gate: &Gate, key: &str, query: &str) -> [Value; 2] {
    let (status, answer) = gate.post("/graphql", key, &json!({ "query": query })).await;
    assert_eq!(status, 200, "{answer}");
    let greeting = json!({ "authorization": format!("Bearer {key}") });
    let (mut socket, _) = gate.greets(&[], greeting).await.unwrap();
    let asked = json!({"type": "subscribe", "id": "1", "payload": { "query": query }});
    socket.send(Message::text(asked.to_string())).await.unwrap();
    let Message::Text(text) = next(&mut socket).await else { panic!("no answer") };
    let told: Value = serde_json::from_str(&text).unwrap();
    [&answer, &told["payload"]].map(|answer| answer["errors"][0]["extensions"]["code"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_does_nothing_by_graphql_either() {
    let world = World::new().await;
    let gate = Gate::open(&world, &[]).await;
    let mutations = mutations(&gate).await;
    assert_eq!(mutations, ["redrive_dead_letters", "purge_dead_letters"]);
    for name in &mutations {
        let query = harmless(name);
        assert_eq!(codes(&gate, &gate.rita, &query).await, ["FORBIDDEN", "FORBIDDEN"], "{name}");
        // An operator is let in; nothing of this cluster was ever stored.
        assert_eq!(codes(&gate, &gate.olga, &query).await, ["NOT_FOUND", "NOT_FOUND"], "{name}");
        for key in [None].into_iter().chain(gate.wrong.iter().map(|key| Some(key.as_str()))) {
            let answer = gate.ask("post", "/graphql", key, Some(&json!({ "query": query }))).await;
            assert_eq!(answer.status(), 401, "{name}");
        }
        // A GET may be repeated, fetched in advance and kept by whoever lies in between: it changes nothing.
        let path = reqwest::Url::parse_with_params("http://gateway/graphql", [("query", &query)]).unwrap();
        let path = format!("/graphql?{}", path.query().unwrap());
        let answer = gate.ask("get", &path, Some(&gate.olga), None).await.text().await.unwrap();
        assert!(answer.contains("sent with POST") && answer.contains("INVALID_REQUEST"), "{answer}");
    }
    let refused = "refused: that is for operators";
    let log = gate.process.log();
    let noted = log.lines().filter(|line| line.contains(refused) && line.contains("key:rita"));
    assert_eq!(noted.count(), 2 * mutations.len(), "each is in the audit log");

    // Switched off: for nobody. That a reader may not is said first, as by REST.
    let gate = gate.again(&world, &[("ENABLE_OPERATOR_ROUTES", "false")]).await;
    for name in &mutations {
        let query = harmless(name);
        assert_eq!(codes(&gate, &gate.olga, &query).await, ["SWITCHED_OFF", "SWITCHED_OFF"], "{name}");
        assert_eq!(codes(&gate, &gate.rita, &query).await, ["FORBIDDEN", "FORBIDDEN"], "{name}");
    }
    gate.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_redrive_and_purge_by_graphql() {
    let world = World::new().await;
    let gate = Gate::open(&world, &[]).await;
    let collector = world.ready_collector().await;
    world.alter(REFUSE).await;
    // A path that is longer than what is kept of it in the list of actions.
    let folder = world.folder.path().join("a".repeat(200)).join("b".repeat(200));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("a.csv");
    std::fs::write(&path, file(100)).unwrap();
    world.publish(&path, &[]).await;
    world.until_accounted(100).await;
    world.alter(RELENT).await;
    let place = path.to_str().unwrap();
    let ask = async |query: String, variables: Value| -> Value {
        let question = json!({"query": query, "variables": variables});
        gate.post("/graphql", &gate.olga, &question).await.1
    };

    // A dry run tells and does nothing; what is wrong is told by the parameter's name.
    let told = ask(
        "mutation { redrive_dead_letters(which: {all: true}, dry_run: true) { letters rows returns { id } } }"
            .to_owned(),
        json!({}),
    )
    .await;
    assert_eq!(told["data"]["redrive_dead_letters"], json!({"letters": 100, "rows": 100, "returns": []}), "{told}");
    assert_eq!(world.ask::<i64>("SELECT count(*) FROM returns").await, Some(0));
    for (field, parameter) in [
        ("redrive_dead_letters(which: {}) { letters }", "which"),
        ("redrive_dead_letters(which: {all: true, ids: [1]}) { letters }", "which"),
        ("redrive_dead_letters(which: {all: true}, limit: 0) { letters }", "limit"),
        ("redrive_dead_letters(which: {before: \"soon\"}) { letters }", "which.before"),
        ("purge_dead_letters(which: {all: true}) { letters }", "expect"),
    ] {
        let told = ask(format!("mutation {{ {field} }}"), json!({})).await;
        let said = &told["errors"][0]["extensions"];
        assert_eq!((&said["code"], &said["parameter"]), (&json!("INVALID_ARGUMENT"), &json!(parameter)), "{told}");
    }
    let two = "mutation { a: redrive_dead_letters(which: {all: true}) { letters } b: purge_dead_letters(which: {all: true}, expect: 100) { letters } }";
    assert!(ask(two.to_owned(), json!({})).await.to_string().contains("one at a time"));

    // Sixty of them, then the rest; each once.
    let redrive = "mutation($which: WhichLetters!, $limit: Int) { redrive_dead_letters(which: $which, limit: $limit) {
        dry_run letters rows more returns { id lane rows resumed finished why } left { letters code why settled } } }";
    let sent = async |which: Value, limit: i64| {
        let mut told = ask(redrive.to_owned(), json!({"which": which, "limit": limit})).await;
        assert_eq!(told["errors"], Value::Null, "{told}");
        told["data"]["redrive_dead_letters"].take()
    };
    let done = sent(json!({ "file": place }), 60).await;
    assert_eq!(
        done["returns"],
        json!([{"id": 1, "lane": "redrive-1", "rows": 60, "resumed": false, "finished": true, "why": null}]),
        "{done}"
    );
    assert_eq!((&done["letters"], &done["more"], &done["dry_run"]), (&json!(60), &json!(true), &json!(false)));
    assert_eq!(sent(json!({"reason": "not_evil"}), 1_000).await["letters"], 40);
    assert_eq!(sent(json!({"all": true}), 1_000).await["returns"], json!([]), "each once");
    world.until_accounted(200).await;
    world.books_are_balanced().await;
    world.values_are(&expected(0, 100)).await;

    let purge = |expect: u32| {
        format!("mutation {{ purge_dead_letters(which: {{all: true}}, expect: {expect}) {{ dry_run letters rows }} }}")
    };
    let told = ask(purge(99), json!({})).await;
    assert_eq!(told["errors"][0]["extensions"]["code"], "CONFLICT", "{told}");
    let told = ask(purge(100), json!({})).await;
    assert_eq!(told["data"]["purge_dead_letters"], json!({"dry_run": false, "letters": 100, "rows": 100}), "{told}");

    // The same table, the same names.
    let told = ask("{ actions { actor action letters asked request_id } }".to_owned(), json!({})).await;
    let actions = told["data"]["actions"].as_array().unwrap();
    let done: Vec<_> = actions.iter().map(|act| (act["action"].clone(), act["letters"].clone())).collect();
    assert_eq!(done, [("purge", 100), ("redrive", 40), ("redrive", 60)].map(|(act, n)| (json!(act), json!(n))));
    for act in actions {
        assert_eq!((&act["actor"], act["request_id"].as_str().map(str::len)), (&json!("key:olga"), Some(32)), "{act}");
    }
    let kept = actions[2]["asked"]["file"].as_str().unwrap();
    assert!(place.len() > 400 && kept.len() < 300 && kept.ends_with(" bytes)"), "{kept}");
    assert!(place.starts_with(&kept[..200]), "{kept}");
    collector.stop().await;
    gate.process.stop().await;
}
