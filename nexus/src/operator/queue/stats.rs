//! `nexus queue stats`: two looks at the queue, and what changed in between.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use nexus_common::config::duration;
use nexus_common::domain::Timestamp;
use nexus_common::etcd::{Alarm, Result as EtcdResult};
use nexus_common::queue::{Standee, Standing};
use serde::Serialize;

use crate::operator::quota::{self, Endpoint};
use crate::operator::servers::Servers;
use crate::operator::table::{self, Align, count};
use crate::operator::words::{Time, bytes, json, piped, span};

/// Show how much waits, since when, who holds it, how fast it moves, and how full etcd is
///
/// Works while every component is down, and disturbs none: it reads the manifests, one percent of the data, twice.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  nexus queue stats
  nexus queue stats --seconds 10
  nexus queue stats --json | jq .depth.rows")]
pub(crate) struct Options {
    /// Time between the two looks that the rates are worked out from, such as 2 or 500ms
    #[arg(long, default_value = "2", value_parser = pause, value_name = "SECONDS")]
    seconds: Duration,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten, next_help_heading = "Servers")]
    servers: Servers,
}

/// Seconds, or a duration with its unit.
fn pause(text: &str) -> Result<Duration, String> {
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => duration(text)?,
    };
    let sensible = Duration::from_millis(100)..=Duration::from_secs(3_600);
    if sensible.contains(&pause) { Ok(pause) } else { Err("must be between 100ms and 3600".to_owned()) }
}

/// So many batches.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
struct Amount {
    batches: u64,
    rows: u64,
    messages: u64,
}

/// What one collector holds.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Hold {
    collector: String,
    /// Whether its session stands.
    alive: bool,
    #[serde(flatten)]
    amount: Amount,
}

#[derive(Debug, PartialEq, Serialize)]
struct Rate {
    seconds: f64,
    rows_in_per_second: f64,
    rows_out_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Member {
    endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    version: Option<String>,
    leads: bool,
    file_bytes: u64,
    used_bytes: u64,
    quota_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Etcd {
    members: Vec<Member>,
    /// `None` where etcd does not tell.
    alarms: Option<Vec<&'static str>>,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Stats {
    cluster_id: String,
    at: Time,
    revision: i64,
    /// Everything that is not acknowledged: what waits and what is in flight.
    depth: Amount,
    waiting: Amount,
    in_flight: Amount,
    oldest_published_at: Option<Time>,
    oldest_age_ms: Option<i64>,
    /// Messages promised and gone: they have expired, which the next claim records.
    expired_messages: u64,
    /// Batches claimed more than once.
    retried_batches: u64,
    most_attempts: u32,
    /// Manifests that this version cannot read.
    unreadable_batches: u64,
    collectors: Vec<Hold>,
    rate: Rate,
    etcd: Etcd,
}

/// Looks twice, and prints.
///
/// # Errors
/// Where etcd does not answer, or refuses.
pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let failed = |error| options.servers.etcd_failed(error);
    let inspector = options.servers.inspector().await?;
    let before = inspector.standing().await.map_err(failed)?;
    let first_look = Instant::now();
    tokio::time::sleep(options.seconds).await;
    let after = inspector.standing().await.map_err(failed)?;
    let elapsed = first_look.elapsed();
    // Once, and at the revision of the second look: the difference to what the manifests promise has expired.
    let messages = inspector.count_messages(after.revision).await.map_err(failed)?;
    let alive = inspector.members().await.map_err(failed)?.into_iter().map(|member| member.id).collect();
    let (endpoints, alarms) = quota::members(inspector.client(), &options.servers.common.etcd).await;

    let now = Timestamp::now();
    let stats = Stats {
        cluster_id: inspector.keys().cluster_id().to_owned(),
        etcd: etcd(endpoints, alarms),
        ..stats(&before, &after, elapsed, messages, &alive, now)
    };
    let mut out = std::io::stdout().lock();
    piped(|| if options.json { json(&mut out, &stats) } else { write(&mut out, &stats) }).map(drop)
}

/// What two looks say (pure).
fn stats(
    before: &Standing,
    after: &Standing,
    elapsed: Duration,
    messages: u64,
    alive: &HashSet<String>,
    now: Timestamp,
) -> Stats {
    let mut collectors: BTreeMap<&str, Amount> = BTreeMap::new();
    let (mut waiting, mut in_flight) = (Amount::default(), Amount::default());
    for standee in &after.batches {
        match &standee.holder {
            None => waiting.add(standee),
            Some(holder) => {
                in_flight.add(standee);
                collectors.entry(holder).or_default().add(standee);
            }
        }
    }
    let depth = Amount {
        batches: waiting.batches + in_flight.batches,
        rows: waiting.rows + in_flight.rows,
        messages: waiting.messages + in_flight.messages,
    };
    let oldest = after.batches.first().map(|standee| standee.batch.published_ms);
    let hold = |(collector, amount): (&str, Amount)| Hold {
        collector: collector.to_owned(),
        alive: alive.contains(collector),
        amount,
    };
    Stats {
        cluster_id: String::new(),
        at: Time(now),
        revision: after.revision,
        depth,
        waiting,
        in_flight,
        oldest_published_at: oldest.map(|ms| Time(Timestamp::from_millis(ms))),
        oldest_age_ms: oldest.map(|ms| (now.as_millis() - ms).max(0)),
        expired_messages: depth.messages.saturating_sub(messages),
        retried_batches: after.batches.iter().filter(|standee| standee.attempts > 1).count() as u64,
        most_attempts: after.batches.iter().map(|standee| standee.attempts).max().unwrap_or(0),
        unreadable_batches: after.batches.iter().filter(|standee| standee.manifest.is_none()).count() as u64,
        collectors: collectors.into_iter().map(hold).collect(),
        rate: rate(before, after, elapsed),
        etcd: Etcd { members: Vec::new(), alarms: None },
    }
}

impl Amount {
    fn add(&mut self, standee: &Standee) {
        self.batches += 1;
        if let Some(manifest) = &standee.manifest {
            self.rows += manifest.rows;
            self.messages += manifest.messages as u64;
        }
    }
}

/// In: what the lanes' cursors moved by. Out: that, less what the queue grew by; so a batch that came and went between
/// the looks counts in both.
fn rate(before: &Standing, after: &Standing, elapsed: Duration) -> Rate {
    let read = |standing: &Standing, lane: &str| {
        standing.lanes.get(lane).and_then(Option::as_ref).map_or(0, |cursor| cursor.rows)
    };
    let rows_in: u64 = after.lanes.keys().map(|lane| read(after, lane).saturating_sub(read(before, lane))).sum();
    let depth = |standing: &Standing| -> u64 {
        standing.batches.iter().filter_map(|standee| standee.manifest.as_ref()).map(|manifest| manifest.rows).sum()
    };
    let rows_out = (rows_in + depth(before)).saturating_sub(depth(after));
    let seconds = elapsed.as_secs_f64();
    let per_second = |rows: u64| (rows as f64 / seconds * 10.0).round() / 10.0;
    Rate {
        seconds: (seconds * 1000.0).round() / 1000.0,
        rows_in_per_second: per_second(rows_in),
        rows_out_per_second: per_second(rows_out),
    }
}

fn etcd(endpoints: Vec<Endpoint>, alarms: EtcdResult<Vec<Alarm>>) -> Etcd {
    let member = |Endpoint { address, status }: Endpoint| match status {
        Ok(status) => Member {
            endpoint: address,
            error: None,
            leads: status.leader == status.member,
            version: Some(status.version),
            file_bytes: status.file_bytes,
            used_bytes: status.used_bytes,
            quota_bytes: status.quota_bytes,
        },
        Err(error) => Member {
            endpoint: address,
            error: Some(error.to_string()),
            version: None,
            leads: false,
            file_bytes: 0,
            used_bytes: 0,
            quota_bytes: None,
        },
    };
    let names = |alarms: Vec<Alarm>| alarms.into_iter().map(|alarm| alarm.name).collect();
    Etcd { members: endpoints.into_iter().map(member).collect(), alarms: alarms.ok().map(names) }
}

fn write(out: &mut impl Write, stats: &Stats) -> std::io::Result<()> {
    let amount = |name: &str, amount: &Amount, oldest: String| {
        [name.to_owned(), count(amount.batches), count(amount.rows), count(amount.messages), oldest]
    };
    let oldest = stats.oldest_age_ms.map_or_else(|| "-".to_owned(), span);
    table::write(
        out,
        [
            ("QUEUE", Align::Left),
            ("BATCHES", Align::Right),
            ("ROWS", Align::Right),
            ("MESSAGES", Align::Right),
            ("OLDEST", Align::Right),
        ],
        &[
            amount("depth", &stats.depth, oldest),
            amount("  waiting", &stats.waiting, String::new()),
            amount("  in flight", &stats.in_flight, String::new()),
        ],
    )?;
    let Rate { seconds, rows_in_per_second, rows_out_per_second } = stats.rate;
    writeln!(out, "rate over {seconds:.1} s: {rows_in_per_second} rows/s in, {rows_out_per_second} rows/s out")?;
    if stats.retried_batches > 0 {
        writeln!(
            out,
            "claimed more than once: {} (at most {} times): nexus queue peek shows what is in them",
            count(stats.retried_batches),
            stats.most_attempts
        )?;
    }
    if stats.expired_messages > 0 {
        writeln!(
            out,
            "expired unread: {} messages; the next claim of their batches records them",
            count(stats.expired_messages)
        )?;
    }
    if stats.unreadable_batches > 0 {
        writeln!(out, "unreadable manifests: {}; a newer version wrote them", count(stats.unreadable_batches))?;
    }
    writeln!(out)?;
    let hold = |hold: &Hold| {
        let state = if hold.alive { "alive" } else { "gone: its claims go with its session, within 10 s" };
        let Amount { batches, rows, .. } = hold.amount;
        [hold.collector.clone(), count(batches), count(rows), state.to_owned()]
    };
    if stats.collectors.is_empty() {
        writeln!(out, "no collector holds anything")?;
    } else {
        table::write(
            out,
            [("COLLECTOR", Align::Left), ("BATCHES", Align::Right), ("ROWS", Align::Right), ("SESSION", Align::Left)],
            &stats.collectors.iter().map(hold).collect::<Vec<_>>(),
        )?;
    }
    writeln!(out)?;
    write_etcd(out, &stats.etcd)
}

fn write_etcd(out: &mut impl Write, etcd: &Etcd) -> std::io::Result<()> {
    let row = |member: &Member| {
        let Some(version) = &member.version else {
            let error = member.error.clone().unwrap_or_default();
            return [&member.endpoint, "-", "-", "-", "-", "-", &error].map(str::to_owned);
        };
        #[expect(clippy::cast_precision_loss, reason = "a share in percent")]
        let share = |quota: u64| format!("{:.0} %", member.file_bytes as f64 * 100.0 / quota as f64);
        [
            member.endpoint.clone(),
            version.clone(),
            bytes(member.file_bytes),
            bytes(member.used_bytes),
            member.quota_bytes.map_or_else(|| "unknown".to_owned(), bytes),
            member.quota_bytes.map_or_else(|| "-".to_owned(), share),
            if member.leads { "leader" } else { "follower" }.to_owned(),
        ]
    };
    table::write(
        out,
        [
            ("ETCD", Align::Left),
            ("VERSION", Align::Left),
            ("FILE", Align::Right),
            ("IN USE", Align::Right),
            ("QUOTA", Align::Right),
            ("FULL", Align::Right),
            ("ROLE", Align::Left),
        ],
        &etcd.members.iter().map(row).collect::<Vec<_>>(),
    )?;
    match etcd.alarms.as_deref() {
        None => writeln!(out, "alarms: unknown"),
        Some([]) => writeln!(out, "no alarm"),
        Some(names) => writeln!(out, "ALARM: {}; nexus doctor says what to do", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_common::queue::{BatchId, Cursor, Manifest, Source};

    fn standee(n: u64, rows: u64, holder: Option<&str>, attempts: u32) -> Standee {
        let batch = BatchId { published_ms: 1_000 * i64::try_from(n).unwrap(), lane: "l".into(), run: "r".into(), n };
        let source = Source { file: "f".into(), pass: 0, lines: [2, 3], bytes: [0, 9], shift_us: 0 };
        let keys = || String::new();
        let manifest = Manifest {
            v: 1,
            first: keys(),
            last: keys(),
            messages: 2,
            rows,
            rows_before: 0,
            lease: 1,
            source,
            traceparent: None,
        };
        Standee { batch, manifest: Some(manifest), revision: 1, holder: holder.map(str::to_owned), attempts }
    }

    fn standing(batches: Vec<Standee>, rows: u64) -> Standing {
        let cursor = Cursor {
            v: 1,
            run: "r".into(),
            epoch: 1,
            n: 9,
            rows,
            opened_rows: None,
            last_ms: 0,
            position: serde_json::Value::Null,
        };
        Standing { revision: 7, batches, lanes: [("l".to_owned(), Some(cursor))].into() }
    }

    #[test]
    fn two_looks_give_depth_and_rates() {
        let before = standing(vec![standee(1, 100, None, 0), standee(2, 100, None, 0)], 200);
        // 300 rows came; one batch of them came and went unseen, and so did batch 1.
        let after = standing(vec![standee(2, 100, Some("c1"), 3), standee(4, 100, None, 0)], 500);
        let alive = ["c1".to_owned()].into();
        let stats = stats(&before, &after, Duration::from_secs(2), 3, &alive, Timestamp::from_millis(5_000));
        assert_eq!(stats.depth, Amount { batches: 2, rows: 200, messages: 4 });
        assert_eq!((stats.waiting.rows, stats.in_flight.rows), (100, 100));
        assert_eq!(stats.rate, Rate { seconds: 2.0, rows_in_per_second: 150.0, rows_out_per_second: 150.0 });
        assert_eq!((stats.oldest_age_ms, stats.expired_messages), (Some(3_000), 1));
        assert_eq!((stats.retried_batches, stats.most_attempts), (1, 3));
        let amount = Amount { batches: 1, rows: 100, messages: 2 };
        assert_eq!(stats.collectors, [Hold { collector: "c1".into(), alive: true, amount }]);
    }

    #[test]
    fn a_pause_is_seconds_or_a_duration() {
        assert_eq!(pause("2"), Ok(Duration::from_secs(2)));
        assert_eq!(pause("500ms"), Ok(Duration::from_millis(500)));
        assert!(pause("0").is_err() && pause("x").is_err());
    }
}
