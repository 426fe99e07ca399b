//! Every list as JSON, NDJSON and CSV.

use serde_json::Value;

use crate::http::request;
use crate::world::World;

const LISTS: [&str; 9] = [
    "/api/v1/clusters",
    "/api/v1/clusters/alpha/hosts",
    "/api/v1/clusters/alpha/hosts/a-001/gpus",
    "/api/v1/clusters/beta/hosts/b-000/gpus/1/metrics",
    "/api/v1/hosts",
    "/api/v1/gpus",
    "/api/v1/telemetry",
    "/api/v1/telemetry/latest",
    "/api/v1/metrics",
];

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn table(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let owned = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect::<Vec<_>>();
    let header = owned(reader.headers().unwrap());
    (header, reader.records().map(|record| owned(&record.unwrap())).collect())
}

#[tokio::test]
async fn every_list_has_three_forms_of_the_same() {
    let world = World::new().await;
    for path in LISTS {
        let json = world.items(path).await;
        for (how, accept, query) in [("Accept", "application/x-ndjson", ""), ("format", "*/*", "?format=ndjson")] {
            let answer = request(world.address, "GET", &format!("{path}{query}"), &[("Accept", accept)]).await;
            assert_eq!(answer.header("content-type"), Some("application/x-ndjson"), "{path} by {how}");
            // What is as old as now differs between two answers.
            assert_eq!(lines(&answer.body).len(), json.len(), "{path} by {how}");
            if !path.contains("latest") {
                assert_eq!(lines(&answer.body), json, "{path} by {how}");
            }
        }
        let answer = request(world.address, "GET", path, &[("Accept", "text/csv")]).await;
        assert!(answer.header("content-type").unwrap().starts_with("text/csv"), "{path}: {answer:?}");
        let (header, rows) = table(&answer.body);
        assert_eq!(rows.len(), json.len(), "{path}");
        // Every plain field is a column of its name, in every row.
        for (name, value) in json[0].as_object().unwrap().iter().filter(|(_, value)| !value.is_object()) {
            let at = header.iter().position(|column| column == name);
            let at = at.unwrap_or_else(|| panic!("{path}: no column {name} in {header:?}"));
            for (row, item) in rows.iter().zip(&json) {
                if item[name].is_array() {
                    assert_eq!(
                        serde_json::from_str::<Value>(&row[at]).unwrap_or_default(),
                        item[name],
                        "{path} {name}"
                    );
                    continue;
                }
                let wanted = match &item[name] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                assert_eq!(row[at], wanted, "{path} {name} {value}");
            }
        }
    }
}

#[tokio::test]
async fn a_table_has_a_column_for_each_metric() {
    let world = World::new().await;
    let csv = async |path: &str| {
        let answer = world.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    };
    let of_gpu = "/api/v1/telemetry?cluster_id=beta&gpu_id=0&format=csv";
    assert_eq!(
        csv(&format!("{of_gpu}&limit=2")).await,
        "cluster_id,host_id,gpu_id,uuid,timestamp,power_watts,energy_millijoules,xid,job_slots\n\
         beta,b-000,0,GPU-b-0,2025-07-18T20:09:50Z,159,59029.5,48,59\n\
         beta,b-000,0,GPU-b-0,2025-07-18T20:09:40Z,158,58029,,58\n"
    );
    assert_eq!(
        csv(&format!("{of_gpu}&limit=1&order=asc&metrics=job_slots,xid,power")).await,
        "cluster_id,host_id,gpu_id,uuid,timestamp,power_watts,xid,job_slots\n\
         beta,b-000,0,GPU-b-0,2025-07-18T20:00:00Z,100,,0\n",
        "what was asked for, in the catalogue's order"
    );
    assert_eq!(
        csv(&format!("{of_gpu}&start=now-1s&metrics=xid")).await,
        "cluster_id,host_id,gpu_id,uuid,timestamp,xid\n",
        "names without rows"
    );
    let gpus = csv("/api/v1/clusters/beta/hosts/b-000/gpus?format=csv").await;
    assert_eq!(
        gpus.lines().next().unwrap(),
        "cluster_id,host_id,gpu_id,uuid,model,device,labels,status,conditions,last_seen,latest.power_watts,\
         latest.power_watts.unit,latest.power_watts.timestamp,latest.power_watts.stale"
    );
    assert!(gpus.contains("159,W,2025-07-18T20:09:50Z,true"), "{gpus}");
}

#[tokio::test]
async fn a_name_is_never_a_formula() {
    let world = World::new().await;
    world.sql("UPDATE hosts SET name = '=HYPERLINK(\"x\")' WHERE name = 'c-000'").await;
    let (_, rows) = table(&world.get("/api/v1/hosts?cluster_id=gamma&format=csv").await.body);
    assert_eq!(rows[0][1], "'=HYPERLINK(\"x\")");
    world.sql("UPDATE samples SET power_watts = -1 WHERE xid IS NOT NULL").await;
    let (_, rows) = table(&world.get("/api/v1/telemetry?metrics=power&limit=1&format=csv").await.body);
    assert_eq!(rows[0][5], "-1", "a number is one");
}

#[tokio::test]
async fn what_nobody_serves_is_not_acceptable() {
    let world = World::new().await;
    let answer = request(world.address, "GET", "/api/v1/clusters", &[("Accept", "image/png, text/csv;q=0")]).await;
    let problem = answer.json();
    assert_eq!((answer.status, problem["type"].as_str()), (406, Some("urn:nexus:problem:not-acceptable")));
    for known in ["application/json", "application/x-ndjson", "text/csv"] {
        assert!(problem["detail"].as_str().unwrap().contains(known), "{problem}");
    }
    let answer = request(world.address, "GET", "/api/v1/clusters?format=json", &[("Accept", "image/png")]).await;
    assert_eq!(answer.status, 200, "the parameter wins");
}

#[tokio::test]
async fn links_lead_through_every_form() {
    let world = World::new().await;
    for format in ["json", "ndjson", "csv"] {
        let query = format!("/api/v1/telemetry?format={format}&limit=25&step=10s&cluster_id=beta&agg=max");
        let (mut path, mut count, mut pages) = (query, 0, 0);
        loop {
            let answer = world.get(&path).await;
            assert_eq!((answer.status, answer.header("x-step")), (200, Some("10s")), "{path}: {answer:?}");
            count += match format {
                "json" => answer.json()["items"].as_array().unwrap().len(),
                "ndjson" => lines(&answer.body).len(),
                _ => table(&answer.body).1.len(),
            };
            pages += 1;
            let Some(link) = answer.header("link") else {
                assert_eq!(answer.header("x-next-cursor"), None);
                break;
            };
            path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
            assert!(path.ends_with(&format!("cursor={}", answer.header("x-next-cursor").unwrap())), "{path}");
        }
        assert_eq!((count, pages), (120, 5), "{format}");
    }
}

#[tokio::test]
async fn the_catalogue_is_a_list() {
    let world = World::new().await;
    let metrics = world.items("/api/v1/metrics").await;
    assert_eq!(metrics.len(), nexus_common::domain::METRICS);
    let energy = metrics.iter().find(|metric| metric["name"] == "energy_millijoules").unwrap();
    assert_eq!(
        (&energy["dcgm"], &energy["unit"], &energy["kind"]),
        (&"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION".into(), &"mJ".into(), &"counter".into())
    );
    assert_eq!(energy["range"], serde_json::json!({"min": 0, "max": 9_007_199_254_740_992_i64}));
    assert!(energy["aliases"].as_array().unwrap().contains(&"energy".into()) && energy["help"].is_string());
}
