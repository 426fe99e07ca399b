//! The API under many clients at once: every client asks one route after another.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nexus_common::domain::Timestamp;
use serde::Serialize;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::figures::{HEADING, Spread};
use super::stack::{Stack, Usage};
use super::{Options, say};

/// Values of one GPU and time.
const METRICS: u64 = 10;
/// Seconds between two readings of a GPU.
const INTERVAL: u64 = 10;
/// How long loading may take without any progress.
const STUCK: Duration = Duration::from_secs(60);

/// What is asked, and what is put in place of `{host}`, `{gpu}` and `{start}`.
const ROUTES: [(&str, &str); 9] = [
    ("clusters", "/api/v1/clusters"),
    ("hosts", "/api/v1/clusters/bench/hosts?limit=100"),
    ("gpus of a host", "/api/v1/clusters/bench/hosts/{host}/gpus"),
    ("gpus hot", "/api/v1/gpus?condition=hot"),
    ("latest of a host", "/api/v1/telemetry/latest?host_id={host}"),
    ("latest of 100", "/api/v1/telemetry/latest?limit=100"),
    ("stats", "/api/v1/clusters/bench/stats"),
    ("telemetry of a gpu", "/api/v1/telemetry?host_id={host}&gpu_id={gpu}&limit=100"),
    ("telemetry in steps", "/api/v1/telemetry?host_id={host}&gpu_id={gpu}&start={start}&step=1m&metrics=power_watts"),
];

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    mode: &'static str,
    clients: u32,
    seconds: u32,
    pause_ms: u128,
    gpus: u32,
    stored_values: u64,
    requests: usize,
    requests_per_second: f64,
    routes: Vec<(&'static str, Spread)>,
    gateway: Usage,
}

/// Measures so many clients for so many seconds over so much history.
pub(super) async fn measure(dir: Option<&Path>, clients: u32, options: &Options) -> anyhow::Result<Figures> {
    let Options { seconds, gpus, rows, pause, .. } = *options;
    let mut stack = Stack::start(dir).await?;
    let cluster = ("CLUSTER_ID", "bench".to_owned());
    stack.spawn("collector", std::slice::from_ref(&cluster))?;
    let hosts = gpus.div_ceil(8);
    let readings = (rows / METRICS / u64::from(hosts * 8)).max(2);
    let start = Timestamp::now().shifted(-i64::try_from(readings * INTERVAL)? * 1_000_000);
    let samples = load(&mut stack, cluster, hosts, readings, start).await?;
    let address = stack.gateway().await?;

    say(&format!("{clients} clients for {seconds} s"));
    let client = reqwest::Client::builder().pool_max_idle_per_host(clients as usize).build()?;
    let begin = Instant::now();
    let until = begin + Duration::from_secs(seconds.into());
    let base: Arc<str> = format!("http://{address}").into();
    let mut asking = JoinSet::new();
    for number in 0..clients {
        let (client, base) = (client.clone(), base.clone());
        // Not all in step.
        let first = pause * number / clients;
        asking.spawn(async move {
            sleep(first).await;
            let mut latencies = vec![Vec::new(); ROUTES.len()];
            for turn in 0.. {
                if Instant::now() >= until {
                    break;
                }
                let which = (number as usize + turn) % ROUTES.len();
                let seed = u64::from(number).wrapping_mul(31).wrapping_add(turn as u64 * 7);
                let path = ROUTES[which]
                    .1
                    .replace("{host}", &format!("host-{:03}", 1 + seed % u64::from(hosts)))
                    .replace("{gpu}", &(seed % 7).to_string())
                    .replace("{start}", &start.to_string());
                let asked = Instant::now();
                let answer = client.get(format!("{base}{path}")).send().await?;
                let status = answer.status();
                let body = answer.bytes().await?;
                ensure!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&body));
                latencies[which].push(i64::try_from(asked.elapsed().as_micros())?);
                if !pause.is_zero() {
                    sleep(pause).await;
                }
            }
            anyhow::Ok(latencies)
        });
    }
    let mut all = vec![Vec::new(); ROUTES.len()];
    while let Some(asked) = asking.join_next().await {
        for (all, one) in all.iter_mut().zip(asked??) {
            all.extend(one);
        }
    }
    let took = begin.elapsed().as_secs_f64();
    let gateway = stack.usage("gateway").context("the gateway's memory")?;
    let requests = all.iter().map(Vec::len).sum();
    let routes = ROUTES.iter().zip(all).filter_map(|((name, _), all)| Some((*name, Spread::of(all)?))).collect();
    #[allow(clippy::cast_precision_loss)] // a count of requests
    let requests_per_second = (requests as f64 / took).round();
    Ok(Figures {
        mode: "api",
        clients,
        seconds,
        pause_ms: pause.as_millis(),
        gpus: hosts * 8 - 1,
        stored_values: samples * METRICS,
        requests,
        requests_per_second,
        routes,
        gateway,
    })
}

/// Loads a history through the pipeline; returns how many samples there are.
async fn load(
    stack: &mut Stack,
    cluster: (&'static str, String),
    hosts: u32,
    readings: u64,
    start: Timestamp,
) -> anyhow::Result<u64> {
    let csv = stack.file("history.csv");
    let seconds = readings * INTERVAL;
    say(&format!("loading {readings} readings of {} GPUs", hosts * 8 - 1));
    let made = Command::new(std::env::current_exe()?)
        .args(["generate", "--hosts", &hosts.to_string(), "--seconds", &seconds.to_string()])
        .args(["--interval", &INTERVAL.to_string(), "--start", &start.to_string(), "--out"])
        .arg(&csv)
        .status()
        .await?;
    ensure!(made.success(), "no history was made: {made}");
    let variables = [
        ("CSV_FILE", csv.display().to_string()),
        ("BATCH_SIZE", "10000".to_owned()),
        ("STREAM_INTERVAL", "0s".to_owned()),
        cluster,
    ];
    stack.stream(&variables).await?;
    let expected = readings * u64::from(hosts * 8 - 1);
    let (mut known, mut since) = (0, Instant::now());
    loop {
        let rows = stack.ask(include_str!("count.sql")).await?;
        let samples = u64::try_from(rows.first().context("no count")?.get::<_, i64>(0))?;
        if samples >= expected {
            ensure!(samples == expected, "{samples} samples of {expected}");
            return Ok(samples);
        }
        if samples > known {
            (known, since) = (samples, Instant::now());
        } else if since.elapsed() > STUCK {
            bail!("{samples} of {expected} samples were stored, and no more came for {STUCK:?}");
        }
        sleep(Duration::from_millis(200)).await;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { clients, seconds, pause_ms, gpus, stored_values, requests, requests_per_second, gateway, .. } =
            self;
        writeln!(
            f,
            "{clients} clients for {seconds} s, {pause_ms} ms between two questions of one, over {stored_values} stored values of {gpus} GPUs"
        )?;
        writeln!(f, "{requests} answers, {requests_per_second} a second, no error; the clients share this machine")?;
        writeln!(f, "                    {HEADING}")?;
        for (name, spread) in &self.routes {
            writeln!(f, "{name:<20}{spread}")?;
        }
        write!(f, "gateway: {:.1} MiB, {:.1} s of processor time", gateway.rss_mib, gateway.cpu_seconds)
    }
}
