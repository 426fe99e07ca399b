//! A history that reaches further and further back: what questions cost that are about a part of it, or about all.

use std::path::Path;

use nexus_common::domain::Timestamp;

use super::Point;
use crate::bench::asking::{Crowd, Route, ask};
use crate::bench::history::{Fleet, METRICS, collector, fill, samples};
use crate::bench::profile::Profiler;
use crate::bench::stack::Stack;
use crate::bench::{Options, say};

/// How many answers there were, as the table calls it.
pub(super) const ANSWERED: &str = "answers/s";
/// GPUs and values where they are not told: a reading of each about every minute, over a year.
const GPUS: u32 = 24;
const VALUES: u64 = 100_000_000;
/// Few clients: what is measured is the question, not the line before it.
const CLIENTS: u32 = 4;
/// Seconds of a year.
const YEAR: u64 = 365 * 86_400;
/// Microseconds of an hour.
const HOUR: i64 = 3_600_000_000;

/// Adds days to one stack, and asks after each step.
pub(super) async fn measure(dir: Option<&Path>, days: &[u64], options: &Options) -> anyhow::Result<Vec<Point>> {
    let mut stack = Stack::start_to(dir, options.profile).await?;
    collector(&mut stack).await?;
    let fleet = Fleet::of(options.gpus.unwrap_or(GPUS));
    fleet.register(&mut stack).await?;
    let interval = interval(options.rows.unwrap_or(VALUES), fleet);
    let gateway = stack.gateway().await?;
    let (mut points, mut filled) = (Vec::new(), 0);
    for step in days {
        let until = u32::try_from(*step)?;
        fill(&stack, filled + 1..=until, interval).await?;
        filled = until;
        let values = samples(&stack).await? * METRICS;
        let crowd = Crowd { clients: options.clients.unwrap_or(CLIENTS), ..options.crowd(CLIENTS) };
        say(&format!("{} clients for {} s over {values} values of {step} days", crowd.clients, crowd.seconds));
        let profiler = Profiler::start(&stack, options.profile);
        let answers = ask(gateway, fleet, crowd, routes(until)).await?;
        let parts = Profiler::end(profiler).await?;
        let of_routes = answers.routes.iter().flat_map(|(name, spread)| {
            [(format!("{name}, p50 ms"), spread.p50_ms), (format!("{name}, p99 ms"), spread.p99_ms)]
        });
        let all = [("values, millions", values as f64 / 1e6), (ANSWERED, answers.requests_per_second)];
        let all = all.map(|(name, figure)| (name.to_owned(), figure));
        points.push(Point::new(*step, all.into_iter().chain(of_routes)).seen(parts));
    }
    Ok(points)
}

/// Seconds between two readings that make about so many values in a year.
fn interval(values: u64, fleet: Fleet) -> u32 {
    let readings = (values / (METRICS * u64::from(fleet.gpus()))).max(1);
    u32::try_from(YEAR / readings).unwrap_or(u32::MAX).clamp(1, 86_400)
}

/// What is asked of so many days: the newest, a day, a month and all there is, as charts have it.
fn routes(days: u32) -> Vec<Route> {
    let now = Timestamp::now();
    let midnight = Timestamp::of_day(i32::try_from(now.as_millis().div_euclid(86_400_000)).unwrap_or_default());
    let chart = |from: Timestamp, until: Timestamp, step: &str| {
        let range = format!("start={from}&end={until}&step={step}&metrics=power_watts");
        format!("/api/v1/telemetry?host_id={{host}}&gpu_id={{gpu}}&{range}&limit=1000")
    };
    // Yesterday at noon: today has next to nothing.
    let hour = chart(midnight.shifted(-12 * HOUR), midnight.shifted(-11 * HOUR), "1m");
    let chart = |days: u32, step: &str| chart(now.shifted(-24 * HOUR * i64::from(days)), now, step);
    let mut routes = vec![
        ("latest of a host", "/api/v1/telemetry/latest?host_id={host}".to_owned()),
        ("newest 100 of a GPU", "/api/v1/telemetry?host_id={host}&gpu_id={gpu}&limit=100".to_owned()),
        ("first 100 of a GPU", "/api/v1/telemetry?host_id={host}&gpu_id={gpu}&limit=100&order=asc".to_owned()),
        ("an hour by 1 min", hour),
        ("a day by 5 min", chart(1, "5m")),
    ];
    if days >= 30 {
        routes.push(("a month by 1 h", chart(30, "1h")));
    }
    if days >= 90 {
        routes.push(("all by 1 day", chart(days, "1d")));
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_has_the_values_that_were_asked_for() {
        let interval = interval(VALUES, Fleet::of(GPUS));
        let stored = YEAR / u64::from(interval) * METRICS * u64::from(Fleet::of(GPUS).gpus());
        assert!((VALUES..VALUES * 11 / 10).contains(&stored), "{interval} s: {stored}");
    }
}
