//! The API under many clients at once: every client asks one route after another, while rows come in.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use nexus_common::domain::Timestamp;
use serde::Serialize;

use super::asking::{Answers, Crowd, Route, ask};
use super::figures::HEADING;
use super::history::{Fleet, METRICS, NOW, collector, fill, samples};
use super::process::Usage;
use super::profile::{Profiler, Where};
use super::say;
use super::stack::Stack;

/// Seconds of a day, and the fewest between two readings of a GPU.
const DAY: u32 = 86_400;
const INTERVAL: u32 = 10;

/// The share of the time that is told by itself: two hundred clients never come at one moment.
const OPENING: u32 = 10;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    mode: &'static str,
    clients: u32,
    seconds: u32,
    pause_ms: u128,
    /// At the beginning, told by itself.
    opening_ms: u128,
    /// Rows that a streamer is asked for meanwhile; fewer come, because it pauses between two batches.
    rows_per_second: u32,
    gpus: u32,
    stored_values: u64,
    /// Without a pause: as much as the machine gives.
    answers: Answers,
    /// With a pause between two questions of a client, where there is to be one.
    paced: Option<Answers>,
    /// As without a pause, of a gateway that keeps no answers; where there is to be a pause.
    anew: Option<Answers>,
    gateway: Usage,
    /// Where it was looked, without a pause.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    parts: Option<Where>,
}

/// Measures this crowd over so many values of so many GPUs.
pub(super) async fn measure(
    dir: Option<&Path>,
    crowd: Crowd,
    gpus: u32,
    values: u64,
    rate: u32,
    profile: bool,
) -> anyhow::Result<Figures> {
    let crowd = Crowd { opening: Duration::from_secs(crowd.seconds.into()) / OPENING, ..crowd };
    let mut stack = Stack::start_to(dir, profile).await?;
    collector(&mut stack).await?;
    let fleet = Fleet::of(gpus);
    fleet.register(&mut stack).await?;
    let (days, interval) = days(values, fleet);
    fill(&stack, 1..=days, interval).await?;
    let stored_values = samples(&stack).await? * METRICS;
    let address = stack.gateway().await?;
    let batch = (rate / 20).clamp(10, 1_000);
    let every = Duration::from_secs_f64(f64::from(batch) / f64::from(rate));
    let streamer = [
        ("CSV_FILE", stack.file(NOW).display().to_string()),
        ("LOOP_MODE", "true".to_owned()),
        ("BATCH_SIZE", batch.to_string()),
        ("STREAM_INTERVAL", format!("{}us", every.as_micros())),
    ];
    stack.spawn("streamer", &streamer)?;
    say(&format!(
        "{} clients for {} s over {stored_values} values, while a streamer is asked for {rate} rows a second",
        crowd.clients, crowd.seconds
    ));
    let profiler = Profiler::start(&stack, profile);
    let answers = ask(address, fleet, Crowd { pause: Duration::ZERO, ..crowd }, routes()).await?;
    let parts = Profiler::end(profiler).await?;
    let paced = if crowd.pause.is_zero() { None } else { Some(ask(address, fleet, crowd, routes()).await?) };
    let gateway = stack.usage("gateway").context("the gateway's memory")?;
    let anew = if crowd.pause.is_zero() {
        None
    } else {
        let keeps_none = stack.gateway_with(&[("KEPT_ANSWERS_BYTES", "0".to_owned())]).await?;
        Some(ask(keeps_none, fleet, Crowd { pause: Duration::ZERO, ..crowd }, routes()).await?)
    };
    stack.look()?;
    let Crowd { clients, seconds, pause, opening } = crowd;
    Ok(Figures {
        mode: "api",
        clients,
        seconds,
        pause_ms: pause.as_millis(),
        opening_ms: opening.as_millis(),
        rows_per_second: rate,
        gpus: fleet.gpus(),
        stored_values,
        answers,
        paced,
        anew,
        gateway,
        parts,
    })
}

/// What is asked. Ranges lie in yesterday, which is full.
fn routes() -> Vec<Route> {
    let midnight = Timestamp::now().as_millis().div_euclid(86_400_000) * 86_400_000;
    let at = |hour: i64| Timestamp((midnight - (24 - hour) * 3_600_000) * 1_000).to_string();
    let gpu = "/api/v1/telemetry?host_id={host}&gpu_id={gpu}";
    let whole = "/api/v1";
    vec![
        ("clusters", format!("{whole}/clusters")),
        ("hosts", format!("{whole}/clusters/local-cluster/hosts?limit=100")),
        ("gpus of a host", format!("{whole}/clusters/local-cluster/hosts/{{host}}/gpus")),
        ("gpus hot", format!("{whole}/gpus?condition=hot")),
        ("latest of a host", format!("{whole}/telemetry/latest?host_id={{host}}")),
        ("latest of 100", format!("{whole}/telemetry/latest?limit=100")),
        ("stats", format!("{whole}/clusters/local-cluster/stats")),
        ("newest 100 of a gpu", format!("{gpu}&limit=100")),
        ("an hour of a gpu", format!("{gpu}&start={}&end={}&limit=1000", at(11), at(12))),
        ("an hour in minutes", format!("{gpu}&start={}&end={}&step=1m&metrics=power_watts", at(11), at(12))),
        ("a day in quarters", format!("{gpu}&start={}&end={}&step=15m&metrics=power_watts", at(0), at(24))),
    ]
}

/// How many days, and how many seconds between two readings, make at least so many values: ten seconds or more.
fn days(values: u64, fleet: Fleet) -> (u32, u32) {
    let readings = values.div_ceil(METRICS * u64::from(fleet.gpus())).max(1);
    let days = readings.div_ceil(u64::from(DAY / INTERVAL));
    let interval = (days * u64::from(DAY) / readings).max(1);
    (u32::try_from(days).unwrap_or(u32::MAX), u32::try_from(interval).unwrap_or(DAY))
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { clients, seconds, pause_ms, opening_ms, rows_per_second, .. } = self;
        let Figures { gpus, stored_values, answers, paced, anew, gateway, .. } = self;
        writeln!(f, "{clients} clients for {seconds} s over {stored_values} stored values of {gpus} GPUs,")?;
        writeln!(
            f,
            "while a streamer is asked for {rows_per_second} rows/s; the first {opening_ms} ms are told by themselves"
        )?;
        let measured = [(0, "", Some(answers)), (*pause_ms, "", paced.as_ref()), (0, ", none kept", anew.as_ref())];
        for (pause_ms, kept, answers) in measured {
            let Some(Answers { requests, requests_per_second, turned_away, opening, routes }) = answers else {
                continue;
            };
            writeln!(
                f,
                "{pause_ms} ms between two questions of one{kept}: {requests} answers, {requests_per_second} a second, {turned_away} turned away"
            )?;
            writeln!(f, "                    {HEADING}")?;
            let opening = opening.iter().map(|spread| ("the opening, all", spread));
            for (name, spread) in routes.iter().map(|(name, spread)| (*name, spread)).chain(opening) {
                writeln!(f, "{name:<20}{spread}")?;
            }
        }
        writeln!(f, "the clients share this machine")?;
        write!(f, "gateway: {:.1} MiB at most, {:.1} s of processor time", gateway.peak_mib, gateway.cpu_seconds)?;
        self.parts.iter().try_for_each(|parts| write!(f, "{parts}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_hold_the_values_that_were_asked_for() {
        for (gpus, values) in [(1_000, 100_000_000), (1_000, 1_000_000), (16, 1_000)] {
            let fleet = Fleet::of(gpus);
            let (days, interval) = days(values, fleet);
            let stored = u64::from(days) * u64::from(DAY / interval) * u64::from(fleet.gpus()) * METRICS;
            assert!(stored >= values && stored < values + values / 10 && interval >= INTERVAL, "{days} {interval}");
        }
    }
}
