//! `nexus gpus`: which GPUs there are and what is the matter with them, asked of a gateway.

use std::io::Write;

use anyhow::{Context, bail};
use clap::Args;
use nexus_common::config::Invalid;
use nexus_common::domain::{Condition, Severity};
use nexus_common::tls::{ClientConfig, Reloaded};
use reqwest::Url;
use serde_json::Value;

use crate::keys::Shown;
use crate::web;

/// Lists GPUs with their newest values and what is the matter with them.
///
/// Examples: `nexus gpus --condition hot`, `nexus gpus --host host-004 --json`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Where the gateway is
    #[arg(long, env = "NEXUS_GATEWAY", default_value = "http://localhost:8080")]
    gateway: String,

    #[command(flatten)]
    trust: web::Trust,

    #[command(flatten)]
    shown: Shown,

    /// Only those with this condition: sick, hot, throttled, idle_allocated, missing or stale
    #[arg(long)]
    condition: Option<Condition>,

    /// Only those with a condition of at least this severity: notice, warning or critical
    #[arg(long)]
    min_severity: Option<Severity>,

    /// Of this cluster
    #[arg(long)]
    cluster: Option<String>,

    /// On this host
    #[arg(long)]
    host: Option<String>,

    /// With this index or UUID
    #[arg(long)]
    gpu: Option<String>,

    /// Print one JSON object a line, as the API answers them
    #[arg(long)]
    json: bool,
}

/// Asks page after page, and prints each as it comes.
///
/// # Errors
/// Where the gateway cannot be reached or refuses, in its words.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let base = options.gateway.trim_end_matches('/');
    let url = format!("{base}/api/v1/gpus");
    let url = Url::parse(&url).ok().filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or_else(|| {
        Invalid(format!("NEXUS_GATEWAY={:?}: write it as http://localhost:8080 or https://…", options.gateway))
    })?;
    let tls = options.trust.keep(&url)?;
    let authorization = options.shown.authorization()?;
    let mut question: Vec<(&str, String)> = vec![("limit", "1000".to_owned())];
    let parts = [
        ("condition", options.condition.map(|condition| condition.to_string())),
        ("min_severity", options.min_severity.map(|severity| severity.to_string())),
        ("cluster_id", options.cluster.clone()),
        ("host_id", options.host.clone()),
        ("gpu_id", options.gpu.clone()),
    ];
    question.extend(parts.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let (mut out, mut count) = (std::io::stdout().lock(), 0);
    loop {
        let page = ask(&url, tls.as_ref(), &question, authorization.as_deref()).await?;
        let gpus = page["items"].as_array().context("the gateway answers something else than a list")?;
        let written = write(&mut out, gpus, options.json, count == 0);
        if written.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
            return Ok(());
        }
        written?;
        count += gpus.len();
        let Some(next) = page["next_cursor"].as_str() else { break };
        question.retain(|(name, _)| *name != "cursor");
        question.push(("cursor", next.to_owned()));
    }
    if !options.json {
        // Not in the table, so that it can be piped on.
        eprintln!("{count} GPU{}", if count == 1 { "" } else { "s" });
    }
    Ok(())
}

async fn ask(
    url: &Url,
    tls: Option<&Reloaded<ClientConfig>>,
    question: &[(&str, String)],
    authorization: Option<&str>,
) -> anyhow::Result<Value> {
    let mut asked = url.clone();
    asked.query_pairs_mut().extend_pairs(question);
    let answer = web::get(&asked, tls.map(|tls| tls.present().value), authorization).await;
    let (status, body) = answer.map_err(|error| {
        anyhow::anyhow!("no gateway at {url}: {error:#}; is it running? NEXUS_GATEWAY or --gateway says where")
    })?;
    let body: Value = serde_json::from_slice(&body).with_context(|| format!("{url} answers {status}, and no JSON"))?;
    if !status.is_success() {
        bail!("the gateway refuses: {}", body["detail"].as_str().unwrap_or(status.as_str()));
    }
    Ok(body)
}

fn write(out: &mut impl Write, gpus: &[Value], json: bool, first: bool) -> std::io::Result<()> {
    if json {
        return gpus.iter().try_for_each(|gpu| writeln!(out, "{gpu}"));
    }
    if first {
        writeln!(
            out,
            "{}",
            line(
                ["HOST", "GPU", "STATUS", "UTIL", "MEMORY", "TEMP", "POWER", "LAST SEEN", "CONDITIONS"]
                    .map(str::to_owned)
            )
        )?;
    }
    gpus.iter().try_for_each(|gpu| writeln!(out, "{}", line(columns(gpu))))
}

/// What a person reads first: how it is, what it does, and what is the matter.
fn columns(gpu: &Value) -> [String; 9] {
    let text = |name: &str| gpu[name].as_str().unwrap_or("-").to_owned();
    let value = |name: &str, unit: &str| match gpu["latest"][name]["value"].as_f64() {
        None => "-".to_owned(),
        // A value that grew old is marked: it is not what is so now.
        Some(value) => {
            let old = if gpu["latest"][name]["stale"] == true { "~" } else { "" };
            format!("{old}{value:.0}{unit}")
        }
    };
    let conditions = gpu["conditions"].as_array().into_iter().flatten().map(|finding| {
        let part = |name: &str| finding[name].as_str().unwrap_or_default();
        format!("{} {} since {}: {}", part("severity"), part("condition"), part("since"), part("evidence"))
    });
    [
        text("host_id"),
        text("gpu_id"),
        text("status"),
        value("gpu_utilization", " %"),
        value("memory_used_mib", " MiB"),
        value("temperature_celsius", " °C"),
        value("power_watts", " W"),
        text("last_seen"),
        conditions.collect::<Vec<_>>().join("; "),
    ]
}

fn line([host, gpu, status, util, memory, temperature, power, seen, conditions]: [String; 9]) -> String {
    let line = format!(
        "{host:<28} {gpu:<4} {status:<9} {util:>6} {memory:>10} {temperature:>7} {power:>7}  {seen:<27} {conditions}"
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_gpu_is_one_line() {
        let gpu = json!({
            "host_id": "host-001", "gpu_id": "0", "status": "degraded", "last_seen": "2025-07-18T20:42:34Z",
            "latest": {"power_watts": {"value": 71.6, "stale": false}, "gpu_utilization": {"value": 0, "stale": true}},
            "conditions": [{"condition": "sick", "severity": "critical", "since": "2025-07-18T20:40:00Z", "evidence": "XID 79"}],
        });
        let mut out = Vec::new();
        write(&mut out, &[gpu], false, true).unwrap();
        let text = String::from_utf8(out).unwrap();
        let line = text.lines().nth(1).unwrap();
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>().join(" "),
            "host-001 0 degraded ~0 % - - 72 W 2025-07-18T20:42:34Z critical sick since 2025-07-18T20:40:00Z: XID 79"
        );
    }
}
