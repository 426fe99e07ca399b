//! `nexus queue peek`: messages as they lie in the queue.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::time::Duration;

use clap::Args;
use nexus_common::config::duration;
use nexus_common::domain::{Metric, Timestamp};
use nexus_common::queue::{Body, Decoded, Inspector, MessageKey, MessageRow, Messages, Standee, decode};
use serde::Serialize;

use crate::operator::servers::Servers;
use crate::operator::table::{self, Align, count};
use crate::operator::words::{Time, age_ms, counted, json, piped, span};

/// Show messages, oldest first, with what is in them and where it came from
///
/// Nothing is claimed, renewed or counted: no collector notices. Rows that nobody understands and messages that cannot
/// be decoded are shown as what they are.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  nexus queue peek
  nexus queue peek --host host-004 --gpu 0 --metric temperature
  nexus queue peek --older-than 10m --limit 5
  nexus queue peek --json | jq -r .key        (each can be given to nexus trace)")]
pub(crate) struct Options {
    #[command(flatten)]
    wanted: Wanted,

    /// Only messages published at least so long ago, such as 10m
    #[arg(long, value_parser = duration, value_name = "TIME")]
    older_than: Option<Duration>,

    /// Show at most so many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000_000), value_name = "N")]
    limit: u64,

    /// Print one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten, next_help_heading = "Servers")]
    servers: Servers,
}

/// Which messages.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
struct Wanted {
    /// Of this host only
    #[arg(long)]
    host: Option<String>,

    /// Of this GPU only: an index on its host, or a UUID
    #[arg(long)]
    gpu: Option<String>,

    /// With this metric only, by name, DCGM field or alias; other values are not shown
    #[arg(long)]
    metric: Option<String>,
}

/// What a message turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Rows of one GPU at one time.
    Rows,
    /// A row that nobody understands: it will be a dead letter.
    DeadRow,
    /// Not a message: it will be a dead letter, whole.
    Undecodable,
    /// Written by a newer version: left for a newer collector.
    Newer,
    /// Messages of the batch that are gone: they have expired, which the next claim records.
    Expired,
}

#[derive(Debug, PartialEq, Serialize)]
struct Row {
    line: u64,
    byte: u64,
    values: BTreeMap<String, Option<f64>>,
}

/// One message, as it is printed.
#[derive(Debug, PartialEq, Serialize)]
struct Entry {
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    batch: String,
    published_at: Time,
    age_ms: i64,
    /// How long the message still lives unless its batch is stored before; 0 when it has expired.
    expires_in_ms: i64,
    claimed_by: Option<String>,
    attempts: u32,
    host: Option<String>,
    gpu: Option<String>,
    uuid: Option<String>,
    model: Option<String>,
    timestamp: Option<Time>,
    file: String,
    lines: Option<[u64; 2]>,
    row_count: u64,
    rows: Vec<Row>,
    /// Why it cannot be understood, or what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What it holds instead, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
}

/// Batches looked at between two looks at the limit.
const STRIDE: usize = 64;

/// Looks, and prints.
///
/// # Errors
/// Where etcd does not answer, or refuses.
pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let failed = |error| options.servers.etcd_failed(error);
    let inspector = options.servers.inspector().await?;
    let standing = inspector.standing().await.map_err(failed)?;
    let youngest = options.older_than.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    let old_enough = |standee: &Standee| youngest.is_none_or(|least| age_ms(standee.batch.published_ms) >= least);
    let total = standing.batches.len();
    let batches: Vec<Standee> = standing.batches.into_iter().filter(old_enough).collect();
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let (entries, more) = look(&inspector, &batches, &options.wanted, limit).await.map_err(failed)?;

    let mut out = std::io::stdout().lock();
    let open = match options.json {
        true => piped(|| entries.iter().try_for_each(|entry| json(&mut out, entry)))?,
        false if entries.is_empty() => true,
        false => piped(|| write(&mut out, &entries))?,
    };
    if open && !options.json {
        // Not in the table, so that it can be piped on.
        let shown = counted(entries.len() as u64, "message");
        let more = if more { "; there may be more, --limit says how many to show" } else { "" };
        eprintln!("{shown} shown, of {} in the queue{more}", counted(total as u64, "batch"));
    }
    Ok(())
}

/// At most `limit` messages, and whether not everything was looked at.
async fn look(
    inspector: &Inspector,
    batches: &[Standee],
    wanted: &Wanted,
    limit: usize,
) -> nexus_common::etcd::Result<(Vec<Entry>, bool)> {
    let mut entries = Vec::new();
    let mut leases: HashMap<i64, Option<Duration>> = HashMap::new();
    for stride in batches.chunks(STRIDE) {
        // Keys name host and GPU: what is not wanted is not read.
        let places: Vec<usize> = match wanted.by_key() {
            true => inspector.holding(stride, |key| wanted.has_key(key)).await?,
            false => (0..stride.len()).collect(),
        };
        for standee in places.into_iter().map(|place| &stride[place]) {
            if entries.len() >= limit {
                entries.truncate(limit);
                return Ok((entries, true));
            }
            let Messages::There(messages) = inspector.messages(standee).await? else { continue };
            let lease = standee.manifest.as_ref().map_or(0, |manifest| manifest.lease);
            let left = match leases.get(&lease) {
                Some(left) => *left,
                None => *leases.entry(lease).or_insert(inspector.client().time_left(lease).await?),
            };
            entries.extend(shown(standee, &messages, left, wanted));
        }
    }
    let more = entries.len() > limit;
    entries.truncate(limit);
    Ok((entries, more))
}

/// The wanted messages of a batch, as they are printed (pure).
fn shown(standee: &Standee, messages: &[(String, Vec<u8>)], left: Option<Duration>, wanted: &Wanted) -> Vec<Entry> {
    let metric = wanted.metric.as_deref().map(Metric::named);
    let mut entries: Vec<Entry> = messages
        .iter()
        .filter_map(|(key, value)| {
            let name: Option<MessageKey> = key.parse().ok();
            let entry = Entry { key: Some(key.clone()), ..Entry::of(standee, left) };
            let entry = entry.with(decode(value), value, metric.as_ref());
            // A message without a readable key is shown unless something else was asked for.
            let by_key = !wanted.by_key() || name.is_some_and(|name| wanted.has_key(&name));
            (by_key && wanted.has(&entry)).then_some(entry)
        })
        .collect();
    let promised = standee.manifest.as_ref().map_or(0, |manifest| manifest.messages);
    if promised > messages.len() && !wanted.is_any() {
        let reason = format!("{} of {promised} messages have expired", promised - messages.len());
        entries.push(Entry { kind: Kind::Expired, reason: Some(reason), ..Entry::of(standee, left) });
    }
    if standee.manifest.is_none() && !wanted.is_any() {
        let reason = "this version cannot read the manifest".to_owned();
        entries.push(Entry { kind: Kind::Newer, reason: Some(reason), ..Entry::of(standee, left) });
    }
    entries
}

impl Wanted {
    /// A GPU that is not named by its UUID is in the key, and so is the host.
    fn by_key(&self) -> bool {
        self.host.is_some() || self.index().is_some()
    }

    fn index(&self) -> Option<&str> {
        self.gpu.as_deref().filter(|gpu| !is_uuid(gpu))
    }

    fn has_key(&self, key: &MessageKey) -> bool {
        self.host.as_ref().is_none_or(|host| *host == key.host) && self.index().is_none_or(|gpu| gpu == key.gpu)
    }

    fn has(&self, entry: &Entry) -> bool {
        let uuid = self.gpu.as_deref().filter(|gpu| is_uuid(gpu));
        let with_metric = self.metric.is_none() || entry.rows.iter().any(|row| !row.values.is_empty());
        with_metric && uuid.is_none_or(|uuid| entry.uuid.as_deref() == Some(uuid))
    }

    fn is_any(&self) -> bool {
        self.host.is_some() || self.gpu.is_some() || self.metric.is_some()
    }
}

fn is_uuid(gpu: &str) -> bool {
    gpu.starts_with("GPU-") || gpu.starts_with("MIG-")
}

impl Entry {
    /// What the batch says of each of its messages.
    fn of(standee: &Standee, left: Option<Duration>) -> Entry {
        let manifest = standee.manifest.as_ref();
        Entry {
            kind: Kind::Rows,
            key: None,
            batch: standee.batch.to_string(),
            published_at: Time(Timestamp::from_millis(standee.batch.published_ms)),
            age_ms: age_ms(standee.batch.published_ms),
            expires_in_ms: left.map_or(0, |left| i64::try_from(left.as_millis()).unwrap_or(i64::MAX)),
            claimed_by: standee.holder.clone(),
            attempts: standee.attempts,
            host: None,
            gpu: None,
            uuid: None,
            model: None,
            timestamp: None,
            file: manifest.map_or_else(String::new, |manifest| manifest.source.file.clone()),
            lines: manifest.map(|manifest| manifest.source.lines),
            row_count: 0,
            rows: Vec::new(),
            reason: None,
            raw: None,
        }
    }

    fn with(self, decoded: Decoded, value: &[u8], metric: Option<&Metric>) -> Entry {
        let raw = || Some(String::from_utf8_lossy(value).into_owned());
        match decoded {
            Decoded::Body(Body::Rows { described, timestamp, rows }) => Entry {
                host: Some(described.gpu.host.clone()),
                gpu: Some(described.gpu.gpu.clone()),
                uuid: described.gpu.uuid.clone(),
                model: described.model.clone(),
                timestamp: Some(Time(timestamp)),
                lines: lines_of(&rows),
                row_count: rows.len() as u64,
                rows: rows.into_iter().map(|row| Row::of(row, metric)).collect(),
                ..self
            },
            Decoded::Body(Body::Dead { line, reject, .. }) => Entry {
                kind: Kind::DeadRow,
                lines: Some([line, line]),
                row_count: 1,
                reason: Some(reject.reason),
                raw: Some(String::from_utf8_lossy(&reject.raw).into_owned()),
                ..self
            },
            Decoded::Newer(version) => {
                let reason = Some(format!("version {version}: a newer collector has to take it"));
                Entry { kind: Kind::Newer, reason, raw: raw(), ..self }
            }
            Decoded::Garbage(reason) => Entry { kind: Kind::Undecodable, reason: Some(reason), raw: raw(), ..self },
        }
    }
}

impl Row {
    fn of(row: MessageRow, metric: Option<&Metric>) -> Row {
        let MessageRow { line, byte, values } = row;
        let wanted = values.into_iter().filter(|(name, _)| metric.is_none_or(|metric| metric == name));
        Row { line, byte, values: wanted.map(|(name, value)| (name.name().to_owned(), value)).collect() }
    }
}

fn lines_of(rows: &[MessageRow]) -> Option<[u64; 2]> {
    let lines = || rows.iter().map(|row| row.line);
    Some([lines().min()?, lines().max()?])
}

fn write(out: &mut impl Write, entries: &[Entry]) -> std::io::Result<()> {
    let row = |entry: &Entry| {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let key = entry.key.as_deref().and_then(|key| key.rsplit('/').next());
        [
            span(entry.age_ms),
            if entry.expires_in_ms > 0 { span(entry.expires_in_ms) } else { "expired".to_owned() },
            match (&entry.claimed_by, entry.attempts) {
                (None, 0) => "-".to_owned(),
                (None, attempts) => format!("- (try {attempts} failed)"),
                (Some(holder), 1) => holder.clone(),
                (Some(holder), attempts) => format!("{holder} (try {attempts})"),
            },
            text(&entry.host),
            text(&entry.gpu),
            entry.timestamp.map_or_else(|| "-".to_owned(), |Time(time)| time.to_string()),
            source(entry),
            content(entry),
            key.unwrap_or(&entry.batch).to_owned(),
        ]
    };
    table::write(
        out,
        [
            ("AGE", Align::Right),
            ("EXPIRES IN", Align::Right),
            ("CLAIMED BY", Align::Left),
            ("HOST", Align::Left),
            ("GPU", Align::Left),
            ("TIME", Align::Left),
            ("FILE:LINES", Align::Left),
            ("VALUES", Align::Left),
            ("KEY", Align::Left),
        ],
        &entries.iter().map(row).collect::<Vec<_>>(),
    )
}

fn source(entry: &Entry) -> String {
    match entry.lines {
        None => "-".to_owned(),
        Some([first, last]) if first == last => format!("{}:{first}", entry.file),
        Some([first, last]) => format!("{}:{first}-{last}", entry.file),
    }
}

/// Values shown in a table; the others are counted.
const VALUES: usize = 3;

fn content(entry: &Entry) -> String {
    let what = match entry.kind {
        Kind::Rows => {
            let values: Vec<_> = entry.rows.iter().flat_map(|row| &row.values).collect();
            let number =
                |value: &Option<f64>| value.map_or_else(|| "not reported".to_owned(), |value| value.to_string());
            let mut text: Vec<_> =
                values.iter().take(VALUES).map(|(name, value)| format!("{name}={}", number(value))).collect();
            if values.len() > VALUES {
                text.push(format!("{} more", count((values.len() - VALUES) as u64)));
            }
            return text.join(", ");
        }
        Kind::DeadRow => "DEAD ROW",
        Kind::Undecodable => "UNDECODABLE",
        Kind::Newer => "NEWER",
        Kind::Expired => "EXPIRED",
    };
    format!("{what}: {}", entry.reason.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use nexus_common::domain::{GpuIdentity, Reject};
    use nexus_common::queue::{BatchId, Manifest, Source};

    fn standee(messages: usize) -> Standee {
        let batch = BatchId { published_ms: 1_000, lane: "l".into(), run: "r".into(), n: 1 };
        let source = Source { file: "x.csv".into(), pass: 0, lines: [2, 4], bytes: [0, 9], shift_us: 0 };
        let (first, last) = (String::new(), String::new());
        let manifest =
            Manifest { v: 1, first, last, messages, rows: 3, rows_before: 0, lease: 1, source, traceparent: None };
        Standee { batch, manifest: Some(manifest), revision: 1, holder: None, attempts: 0 }
    }

    fn key(host: &str) -> String {
        let (host, gpu) = (host.to_owned(), if host.is_empty() { "" } else { "0" }.to_owned());
        format!("/telemetry/queue/c/{}", MessageKey { published_ms: 1_000, host, gpu, sequence: 7 })
    }

    fn messages() -> Vec<(String, Vec<u8>)> {
        let gpu =
            GpuIdentity { host: "h1".into(), gpu: "0".into(), uuid: Some("GPU-1".into()), ..GpuIdentity::default() };
        let values = vec![(Metric::named("gpu_utilization"), Some(97.0)), (Metric::named("xid"), None)];
        let rows = vec![MessageRow { line: 2, byte: 40, values }];
        let timestamp = Timestamp(5);
        let rows = Body::Rows { described: Arc::new(gpu.into()), timestamp, rows }.encode();
        let dead = Body::Dead { line: 3, byte: 60, reject: Reject::new("no timestamp", b"a,b") }.encode();
        vec![(key("h1"), rows), (key(""), dead), (key("h2"), b"?".to_vec()), (key("h3"), br#"{"v":9}"#.to_vec())]
    }

    #[test]
    fn each_message_is_shown_as_what_it_is() {
        let entries = shown(&standee(5), &messages(), Some(Duration::from_secs(60)), &Wanted::default());
        let kinds: Vec<_> = entries.iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [Kind::Rows, Kind::DeadRow, Kind::Undecodable, Kind::Newer, Kind::Expired]);
        assert_eq!(content(&entries[0]), "gpu_utilization=97, xid=not reported");
        assert_eq!((source(&entries[0]), source(&entries[1])), ("x.csv:2".into(), "x.csv:3".into()));
        assert_eq!(entries[1].raw.as_deref(), Some("a,b"));
        assert_eq!(content(&entries[4]), "EXPIRED: 1 of 5 messages have expired");
    }

    #[test]
    fn what_is_not_wanted_is_not_shown() {
        let find = |host: Option<&str>, gpu: Option<&str>, metric: Option<&str>| {
            let [host, gpu, metric] = [host, gpu, metric].map(|part| part.map(str::to_owned));
            shown(&standee(5), &messages(), None, &Wanted { host, gpu, metric }).len()
        };
        assert_eq!(find(Some("h1"), None, None), 1);
        assert_eq!(find(None, Some("0"), None), 3);
        assert_eq!(find(None, Some("GPU-1"), None), 1);
        assert_eq!(find(None, None, Some("DCGM_FI_DEV_GPU_UTIL")), 1);
        assert_eq!(find(None, None, Some("temperature")), 0);
        assert_eq!(find(Some("h1"), Some("1"), None), 0);
    }
}
