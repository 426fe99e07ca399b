//! One framed row becomes a record, or a reject that says why it cannot.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::Offset;
use nexus_common::domain::{Content, Described, Descriptions, GpuIdentity, Metric, Record, Reject, Timestamp};

use super::header::{Form, Header, Role};
use super::{Options, labels, time, value};

/// Bytes a name may have: with it a row's queue key stays short.
pub(crate) const MAX_NAME_BYTES: usize = 255;

/// Bytes all labels of a row may have together: with it a row fits into a message.
const MAX_LABEL_BYTES: usize = 32 * 1024;

/// Metric names that are remembered; a file has a few dozen.
const MAX_METRICS: usize = 4096;

/// Reads the rows under one header.
pub(crate) struct Parser {
    header: Header,
    source_host: Option<String>,
    offset: Offset,
    max_future: Duration,
    splitter: Splitter,
    memory: Memory,
}

impl Parser {
    pub(crate) fn new(header: Header, options: &Options) -> Self {
        Parser {
            source_host: options.source_host.clone().filter(|_| header.form == Form::Smi),
            header,
            offset: options.utc_offset,
            max_future: options.max_future,
            splitter: Splitter::new(),
            memory: Memory::default(),
        }
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// What a row says, given without its line end.
    pub(crate) fn parse(&mut self, row: &[u8], now: Timestamp) -> Content {
        match self.record(row, now) {
            Ok(record) => Content::Record(record),
            Err(reason) => Content::Reject(Reject::new(reason, row)),
        }
    }

    fn record(&mut self, row: &[u8], now: Timestamp) -> Result<Record, String> {
        if memchr::memchr(0, row).is_some() {
            return Err("a NUL byte in the row".to_owned());
        }
        let fields = self.splitter.split(row, &self.header.names)?;
        if fields.len() != self.header.roles.len() {
            return Err(format!("{} fields where the header has {}", fields.len(), self.header.roles.len()));
        }
        let mut reading = Reading::default();
        for ((text, role), column) in fields.iter().zip(&self.header.roles).zip(&self.header.names) {
            reading.take(text.trim_ascii(), role, column)?;
        }
        let source_host = self.source_host.as_deref();
        let described = if self.header.form == Form::Long && reading.metric.is_empty() {
            // The labels may have it, other ones in each row.
            let draft = Draft::read(fields, &self.header, source_host)?;
            reading.metric = draft.metric.clone();
            self.memory.described.unique(draft.finish()?)
        } else {
            let texts = fields.iter().zip(&self.header.roles).map(|(text, role)| role.describes(text));
            let made = || Draft::read(fields, &self.header, source_host)?.finish();
            self.memory.described.of(texts, made)?
        };
        let timestamp = self.memory.time(reading.timestamp, self.offset)?;
        if let Some(reason) = time::refusal(timestamp, now, self.max_future) {
            return Err(format!("timestamp: {reason}"));
        }
        if self.header.form == Form::Long {
            let metric = self.memory.metric(&reading.metric)?;
            let number = value::read(reading.value, &metric, None)?;
            reading.values.push((metric, number));
        }
        Ok(Record { described, timestamp, values: reading.values })
    }
}

impl Role {
    /// The text where it says something of the GPU, and not of this reading alone.
    fn describes<'a>(&self, text: &'a str) -> Option<&'a str> {
        let text = text.trim_ascii();
        match self {
            Role::Timestamp | Role::MetricName | Role::Value | Role::Reading(..) => None,
            Role::Either(_) => value::number(text).is_none().then_some(text),
            Role::Host | Role::Gpu | Role::Uuid | Role::Model | Role::Device | Role::Mig => Some(text),
            Role::Labels | Role::Label(_) => Some(text),
        }
    }
}

/// What the columns said of this reading.
#[derive(Default)]
struct Reading<'a> {
    timestamp: &'a str,
    metric: Cow<'a, str>,
    value: &'a str,
    values: Vec<(Metric, Option<f64>)>,
}

impl<'a> Reading<'a> {
    fn take(&mut self, text: &'a str, role: &Role, column: &str) -> Result<(), String> {
        match role {
            Role::Timestamp => self.timestamp = text,
            Role::MetricName => self.metric = name(text),
            Role::Value => self.value = text,
            Role::Reading(metric, unit) => {
                let number = value::read(text, metric, unit.as_deref());
                let number = number.map_err(|reason| format!("column {column}: {reason}"))?;
                self.values.push((metric.clone(), number));
            }
            Role::Either(name) if value::number(text).is_some() => {
                let metric = Metric::Other(Arc::clone(name));
                let number = value::read(text, &metric, None)?;
                self.values.push((metric, number));
            }
            _ => {}
        }
        Ok(())
    }
}

/// A cell that holds a name, if it does.
fn name(text: &str) -> Cow<'_, str> {
    if value::is_nameless(text) { Cow::default() } else { Cow::Borrowed(text) }
}

/// What the columns said of the GPU so far.
#[derive(Default)]
struct Draft<'a> {
    host: Cow<'a, str>,
    gpu: Cow<'a, str>,
    uuid: Cow<'a, str>,
    model: Cow<'a, str>,
    device: Cow<'a, str>,
    mig: Cow<'a, str>,
    /// Only in the labels of a source whose columns name no metric.
    metric: Cow<'a, str>,
    list: &'a str,
    labels: BTreeMap<String, String>,
}

impl<'a> Draft<'a> {
    fn read(fields: &'a csv::StringRecord, header: &Header, source_host: Option<&'a str>) -> Result<Self, String> {
        let mut draft = Draft::default();
        for (text, role) in fields.iter().zip(&header.roles) {
            draft.take(text.trim_ascii(), role);
        }
        draft.take_labels()?;
        if draft.host.is_empty() {
            draft.host = source_host.unwrap_or_default().into();
        }
        Ok(draft)
    }

    fn take(&mut self, text: &'a str, role: &Role) {
        match role {
            Role::Timestamp | Role::MetricName | Role::Value | Role::Reading(..) => {}
            Role::Host => self.host = name(text),
            Role::Gpu => self.gpu = name(text),
            Role::Uuid => self.uuid = name(text),
            Role::Model => self.model = name(text),
            Role::Device => self.device = name(text),
            Role::Mig => self.mig = name(text),
            Role::Labels => self.list = text,
            Role::Label(name) => self.label(name, text),
            Role::Either(name) => {
                if value::number(text).is_none() {
                    self.label(name, text);
                }
            }
        }
    }

    fn label(&mut self, name: &str, text: &str) {
        if !value::is_nameless(text) {
            self.labels.insert(name.to_owned(), text.to_owned());
        }
    }

    /// Takes the label list in: what has a place of its own goes there if a column did not fill it.
    fn take_labels(&mut self) -> Result<(), String> {
        let list = std::mem::take(&mut self.list);
        labels::each(list, |name, value| {
            let place = match name {
                "Hostname" | "hostname" => &mut self.host,
                "UUID" | "uuid" => &mut self.uuid,
                "gpu" => &mut self.gpu,
                "device" => &mut self.device,
                "modelName" | "modelname" => &mut self.model,
                "__name__" => &mut self.metric,
                "GPU_I_ID" => &mut self.mig,
                _ => {
                    if !value.is_empty() {
                        self.labels.entry(name.to_owned()).or_insert_with(|| value.into_owned());
                    }
                    return;
                }
            };
            if place.is_empty() {
                *place = value;
            }
        })
    }

    fn finish(self) -> Result<Described, String> {
        let host = required("host", &self.host)?;
        let mut gpu = required("GPU index", &self.gpu)?;
        let mut mig = optional("MIG instance", &self.mig)?;
        match (gpu.split_once(':'), &mig) {
            (Some((_, instance)), None) => mig = Some(instance.to_owned()).filter(|mig| !mig.is_empty()),
            (None, Some(instance)) => gpu = format!("{gpu}:{instance}"),
            _ => {}
        }
        let label_bytes: usize = self.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        if label_bytes > MAX_LABEL_BYTES {
            return Err(format!("labels: {label_bytes} bytes, more than {MAX_LABEL_BYTES}"));
        }
        Ok(Described {
            gpu: GpuIdentity { host, gpu, uuid: optional("UUID", &self.uuid)?, mig },
            model: optional("model name", &self.model)?,
            device: optional("device", &self.device)?,
            labels: self.labels,
        })
    }
}

fn required(what: &str, name: &str) -> Result<String, String> {
    optional(what, name)?.ok_or_else(|| format!("no {what}"))
}

fn optional(what: &str, name: &str) -> Result<Option<String>, String> {
    if name.len() > MAX_NAME_BYTES {
        return Err(format!("{what}: {} bytes, more than {MAX_NAME_BYTES}", name.len()));
    }
    match is_printable(name) {
        true => Ok((!name.is_empty()).then(|| name.to_owned())),
        false => Err(format!("{what}: a control character in {}", value::quote(name))),
    }
}

/// Names are plain ASCII nearly always, and that is told without a branch for each byte.
pub(crate) fn is_printable(name: &str) -> bool {
    name.bytes().fold(true, |plain, byte| plain & (0x20..0x7f).contains(&byte)) || !name.contains(char::is_control)
}

/// What the rows before had: neighbours share times, and all rows the metrics and GPUs.
#[derive(Default)]
struct Memory {
    described: Descriptions,
    time: Option<(String, Timestamp)>,
    metrics: HashMap<String, Metric>,
}

impl Memory {
    fn time(&mut self, text: &str, offset: Offset) -> Result<Timestamp, String> {
        match &self.time {
            Some((known, time)) if known == text => Ok(*time),
            _ if value::is_nameless(text) => Err("no timestamp".to_owned()),
            _ => {
                let time = time::parse(text, offset);
                let time = time.ok_or_else(|| format!("timestamp: {} is not a time", value::quote(text)))?;
                self.time = Some((text.to_owned(), time));
                Ok(time)
            }
        }
    }

    fn metric(&mut self, name: &str) -> Result<Metric, String> {
        if let Some(metric) = self.metrics.get(name) {
            return Ok(metric.clone());
        }
        let metric = Metric::named(&required("metric name", name)?);
        if self.metrics.len() < MAX_METRICS {
            self.metrics.insert(name.to_owned(), metric.clone());
        }
        Ok(metric)
    }
}

/// The `csv` crate's reader, handed one framed row at a time.
struct Splitter {
    reader: csv::Reader<Feed>,
    record: csv::StringRecord,
}

impl Splitter {
    fn new() -> Self {
        let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(Feed::default());
        let mut splitter = Splitter { reader, record: csv::StringRecord::new() };
        // The reader drops a byte order mark before its first record: that must not be a row of ours, or the row would
        // read otherwise after a resume.
        let _ = splitter.split(b"-", &[]);
        splitter
    }

    fn split(&mut self, row: &[u8], names: &[String]) -> Result<&csv::StringRecord, String> {
        let feed = self.reader.get_mut();
        feed.bytes.clear();
        feed.bytes.extend_from_slice(row);
        feed.bytes.push(b'\n');
        feed.at = 0;
        match self.reader.read_record(&mut self.record) {
            Ok(true) => Ok(&self.record),
            Ok(false) => Err("an empty row".to_owned()),
            Err(error) => Err(match error.kind() {
                csv::ErrorKind::Utf8 { err, .. } => match names.get(err.field()) {
                    Some(name) => format!("column {name}: not UTF-8"),
                    None => "not UTF-8".to_owned(),
                },
                _ => error.to_string(),
            }),
        }
    }
}

#[derive(Default)]
struct Feed {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.bytes[self.at..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at += length;
        Ok(length)
    }
}
