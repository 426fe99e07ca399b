//! Every SQL statement of the dashboards runs over the migrated schema, and finds what is there.

use nexus_common::testing::TestPostgres;
use nexus_common::{db, testing};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use super::dashboards::{Asked, asked, dashboard};
use super::read;

/// Two hosts with a GPU 3 each: an hour of samples until now, a week of rolled up hours, an event, newest values; host-002's
/// is idle and holds memory.
const FLEET: &str = "
    INSERT INTO clusters (name) VALUES ('alpha');
    INSERT INTO hosts (cluster_id, name) SELECT id, 'host-00' || n FROM clusters, generate_series(1, 2) n;
    INSERT INTO gpus (host_id, cluster_id, gpu_index, uuid, model)
        SELECT id, cluster_id, '3', 'GPU-' || name, 'NVIDIA H100' FROM hosts;
    CREATE TABLE samples_all PARTITION OF samples FOR VALUES FROM ('2020-01-01') TO ('2200-01-01');
    INSERT INTO samples (gpu_id, ts, gpu_utilization, temperature_celsius, power_watts, memory_used_mib, sm_active,
            sm_clock_mhz, xid, ecc_dbe_volatile)
        SELECT id, now() - n * interval '1 minute', 50, 60, 300, 2048, 0.5, 1980, 79, 1 FROM gpus, generate_series(0, 59) n;
    INSERT INTO gpu_latest (gpu_id, ts, gpu_utilization, temperature_celsius, power_watts, memory_used_mib)
        SELECT id, now(), 0, 60, 70, 2048 FROM gpus;
    CREATE TABLE rollup_hours_all PARTITION OF rollup_hours FOR VALUES FROM ('2020-01-01') TO ('2200-01-01');
    INSERT INTO rollup_hours (gpu_id, samples, start, minutes, gpu_utilization_count, gpu_utilization_sum,
            temperature_celsius_count, temperature_celsius_sum, power_watts_count, power_watts_sum, memory_used_mib_count,
            memory_used_mib_sum, sm_active_count, sm_active_sum, sm_clock_mhz_count, sm_clock_mhz_sum)
        SELECT id, 60, date_trunc('hour', now()) - n * interval '1 hour', false, 60, 3000, 60, 3600, 60, 18000, 60, 122880, 60,
            30, 60, 118800 FROM gpus, generate_series(0, 167) n;
    INSERT INTO events (cluster_id, host, gpu, uuid, at, kind, condition, severity, since, code, detail)
        SELECT cluster_id, 'host-001', '3', 'GPU-host-001', now(), 'xid', 'sick', 'critical', now(), 79, 'XID 79' FROM hosts
        WHERE name = 'host-001'";

/// What Grafana makes of a statement: its macros, and its variables as lists.
fn made(text: &str, hours: u32, variables: &[(String, String)]) -> String {
    let from = format!("(now() - interval '{hours} hours')");
    let mut text = text.replace("$__timeFrom()", &from).replace("$__timeTo()", "now()");
    while let Some(start) = text.find("$__timeFilter(") {
        let end = start + text[start..].find(')').unwrap();
        let column = text[start + "$__timeFilter(".len()..end].to_owned();
        text.replace_range(start..=end, &format!("{column} BETWEEN {from} AND now()"));
    }
    while let Some(start) = text.find("$__timeGroup(") {
        let end = start + text[start..].find(')').unwrap();
        let inside = text[start + "$__timeGroup(".len()..end].to_owned();
        let column = inside.strip_suffix(", '$__interval'").unwrap();
        text.replace_range(start..=end, &format!("floor(extract(epoch FROM {column}) / 60) * 60"));
    }
    for (name, list) in variables {
        text = text.replace(&format!("${name}"), list);
    }
    assert!(!text.contains('$'), "nobody fills this in: {text}");
    text
}

/// The variables that are asked of PostgreSQL, all values of each: one may ask by those before it.
async fn variables(client: &Client) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for variable in dashboard("fleet")["templating"]["list"].as_array().unwrap() {
        let query = made(variable["query"].as_str().unwrap(), 1, &variables);
        let rows = client.query(&query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        assert!(!rows.is_empty(), "{query}");
        let values: Vec<_> = rows.iter().map(|row| format!("'{}'", row.get::<_, String>(row.len() - 1))).collect();
        variables.push((variable["name"].as_str().unwrap().to_owned(), values.join(",")));
    }
    variables
}

/// Grafana's role, as its README has it made.
async fn is_made(server: &TestPostgres) {
    let (client, connection) = server.superuser_config().connect(NoTls).await.unwrap();
    let role = read("deployments/grafana/role.sql") + "; ALTER ROLE grafana PASSWORD 'gr'";
    tokio::select! {
        made = client.batch_execute(&role) => made.unwrap(),
        ended = connection => panic!("{ended:?}"),
    }
}

#[tokio::test]
async fn every_panel_is_answered_with_rows() {
    let server = testing::postgres().await;
    db::migrate(&server.config()).await.unwrap();
    // Before some of the tables are made, and once more.
    is_made(&server).await;
    let owner = db::pool(&server.config(), 1).unwrap().get().await.unwrap();
    owner.batch_execute(FLEET).await.unwrap();
    is_made(&server).await;
    let config = db::Config { user: "grafana".to_owned(), password: "gr".to_owned().into(), ..server.config() };
    let client = db::pool(&config, 1).unwrap().get().await.unwrap();
    client.batch_execute("SET default_transaction_read_only = off").await.unwrap();
    let written = client.batch_execute("DELETE FROM events").await;
    assert_eq!(written.unwrap_err().code().map(SqlState::code), Some("42501"), "who may only read has deleted");
    let variables = variables(&client).await;
    assert_eq!(variables.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["cluster", "host", "gpu"]);
    assert_eq!(variables[1].1, "'host-001','host-002'");
    let statements = asked("fleet", "rawSql");
    assert!(statements.len() > 15, "{}", statements.len());
    for Asked { place, text, .. } in &statements {
        let mut found = Vec::new();
        for hours in [1, 7 * 24] {
            let statement = made(text, hours, &variables);
            let rows = client.query(&statement, &[]).await;
            found.push(rows.unwrap_or_else(|error| panic!("{place}: {statement}: {error:?}")).len());
        }
        assert!(found.iter().any(|rows| *rows > 0), "{place} finds nothing: {text}");
        // Of the two that a chart over time has, each answers its own ranges: points are never doubled.
        if text.contains("interval '1 day'") {
            assert_eq!(found[0] > 0, found[1] == 0, "{place}: {found:?}");
            assert_eq!(found[0] > 0, text.contains("FROM samples"), "{place}");
        }
        for row in client.query(&made(text, 1, &variables), &[]).await.unwrap() {
            if let Some(column) = row.columns().iter().position(|column| column.name() == "metric") {
                let name: String = row.get(column);
                assert!(name.starts_with("host-00") && name.contains(" GPU 3"), "{place}: {name}");
            }
        }
    }
}
