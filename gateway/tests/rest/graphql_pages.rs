//! Pages with a cursor behind every item, which is REST's cursor.

use serde_json::Value;

use crate::graphql::data;
use crate::world::World;

async fn page(world: &World, field: &str, arguments: &str, node: &str, after: Option<&str>) -> Value {
    let after = after.map(|after| format!(", after: \"{after}\"")).unwrap_or_default();
    let query = format!(
        "{{ {field}({arguments}{after}) {{ edges {{ cursor node {{ {node} }} }} page_info {{ has_next_page end_cursor }} }} }}"
    );
    data(world, &query).await[field].take()
}

#[tokio::test]
async fn pages_make_up_the_list() {
    let world = World::new().await;
    let lists = [
        ("clusters_page", "first: 3", "cluster_id", "/api/v1/clusters", 3),
        ("hosts_page", "first: 2", "host_id", "/api/v1/hosts", 2),
        ("gpus_page", "first: 10", "host_id gpu_id", "/api/v1/gpus", 10),
        ("gpus_page", "first: 1, min_severity: warning", "host_id gpu_id", "/api/v1/gpus?min_severity=warning", 1),
        ("latest_page", "first: 10", "host_id gpu_id", "/api/v1/telemetry/latest", 10),
        ("telemetry_page", "first: 50, order: asc", "gpu_id timestamp", "/api/v1/telemetry?order=asc&limit=1000", 50),
        (
            "telemetry_page",
            "first: 7, step: \"1m\", cluster_id: \"beta\"",
            "gpu_id timestamp",
            "/api/v1/telemetry?step=1m&cluster_id=beta",
            7,
        ),
    ];
    for (field, arguments, node, path, most) in lists {
        let whole = world.items(path).await;
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = page(&world, field, arguments, node, after.as_deref()).await;
            let edges = page["edges"].as_array().unwrap();
            assert!(edges.len() <= most);
            assert_eq!(
                page["page_info"]["end_cursor"],
                edges.last().map_or(Value::Null, |edge| edge["cursor"].clone())
            );
            all.extend(edges.iter().map(|edge| edge["node"].clone()));
            if page["page_info"]["has_next_page"] == false {
                break;
            }
            assert_eq!(edges.len(), most, "a page in the middle is full");
            after = page["page_info"]["end_cursor"].as_str().map(str::to_owned);
        }
        assert_eq!(all.len(), whole.len(), "{field}({arguments})");
        for (ours, theirs) in all.iter().zip(&whole) {
            for (name, value) in ours.as_object().unwrap() {
                assert_eq!(value, &theirs[name], "{field}({arguments})");
            }
        }
    }
}

#[tokio::test]
async fn cursors_go_from_one_protocol_to_the_other() {
    let world = World::new().await;
    let of_rest = world.json("/api/v1/gpus?limit=5").await;
    let ours = page(&world, "gpus_page", "first: 3", "host_id gpu_id", of_rest["next_cursor"].as_str()).await;
    let theirs = world.items("/api/v1/gpus?limit=8").await;
    assert_eq!(ours["edges"][0]["node"]["gpu_id"], theirs[5]["gpu_id"]);
    // Behind an item in the middle of our page REST goes on with the next one.
    let cursor = ours["edges"][1]["cursor"].as_str().unwrap();
    let next = world.items(&format!("/api/v1/gpus?limit=1&cursor={cursor}")).await;
    assert_eq!((&next[0]["host_id"], &next[0]["gpu_id"]), (&theirs[7]["host_id"], &theirs[7]["gpu_id"]));
    let list = data(&world, &format!("{{ gpus(limit: 1, cursor: \"{cursor}\") {{ gpu_id }} }}")).await;
    assert_eq!(list["gpus"][0]["gpu_id"], theirs[7]["gpu_id"]);

    let samples = page(&world, "telemetry_page", "first: 3, cluster_id: \"beta\"", "timestamp gpu_id", None).await;
    let cursor = samples["edges"][0]["cursor"].as_str().unwrap();
    let next = world.items(&format!("/api/v1/telemetry?cluster_id=beta&limit=1&cursor={cursor}")).await;
    assert_eq!(next[0]["gpu_id"], samples["edges"][1]["node"]["gpu_id"]);
    assert_eq!(next[0]["timestamp"], samples["edges"][1]["node"]["timestamp"]);
}
