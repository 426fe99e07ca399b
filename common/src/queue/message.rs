//! What a message holds: the rows of one GPU at one time from one batch, or one row nobody understands.
//!
//! ```json
//! {"v":1,"host":"host-001","gpu":"0","uuid":"GPU-…","model":"NVIDIA H100","ts":1692712345000000,
//!  "rows":[[2,99,{"gpu_utilization":97.0}]]}
//! {"v":1,"dead":{"line":7,"byte":512,"reason":"no timestamp","raw":"…","raw_bytes":40,"sha256":"…"}}
//! ```
//! `ts` is in microseconds since 1970. A row is its line, its byte offset and its values; `null` is "not reported".

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::domain::{Described, Descriptions, GpuIdentity, Metric, Record, Reject, Timestamp};

/// The version of every value this build writes. A newer one is left for a newer collector.
pub const VERSION: u32 = 1;

/// The content of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Rows of one GPU at one time.
    Rows {
        /// The GPU.
        described: Arc<Described>,
        /// When it was read.
        timestamp: Timestamp,
        /// The rows, in source order.
        rows: Vec<MessageRow>,
    },
    /// A row that could not be understood.
    Dead {
        /// Line in the source.
        line: u64,
        /// Offset in the source.
        byte: u64,
        /// Why, and the row itself.
        reject: Reject,
    },
}

/// One row inside a message.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageRow {
    /// Line in the source.
    pub line: u64,
    /// Offset in the source.
    pub byte: u64,
    /// The values; `None` is "not reported".
    pub values: Vec<(Metric, Option<f64>)>,
}

/// What became of reading a message.
#[derive(Debug)]
pub enum Decoded {
    /// Understood.
    Body(Body),
    /// Written by a newer version: not ours to touch.
    Newer(u32),
    /// Not a message: why.
    Garbage(String),
}

impl Body {
    /// The first row of a message: later rows of the same GPU and time join it.
    pub fn of(record: Record, line: u64, byte: u64) -> Self {
        let Record { described, timestamp, values } = record;
        Body::Rows { described, timestamp, rows: vec![MessageRow { line, byte, values }] }
    }

    /// How many source rows the message stands for.
    pub fn rows(&self) -> usize {
        match self {
            Body::Rows { rows, .. } => rows.len(),
            Body::Dead { .. } => 1,
        }
    }

    /// The value to put into etcd.
    pub fn encode(&self) -> Vec<u8> {
        let encoded = match self {
            Body::Rows { described, timestamp, rows } => {
                let Described { gpu, model, device, labels } = &**described;
                serde_json::to_vec(&RowsOut {
                    v: VERSION,
                    host: &gpu.host,
                    gpu: &gpu.gpu,
                    uuid: gpu.uuid.as_deref(),
                    mig: gpu.mig.as_deref(),
                    model: model.as_deref(),
                    device: device.as_deref(),
                    labels,
                    ts: timestamp.0,
                    rows,
                })
            }
            Body::Dead { line, byte, reject } => {
                serde_json::to_vec(&DeadOut { v: VERSION, dead: WireDead::of(*line, *byte, reject) })
            }
        };
        // Strings and finite numbers only: there is nothing here that JSON cannot hold.
        encoded.unwrap_or_default()
    }
}

/// Reads a message's value. Who reads many keeps a [`Decoder`].
pub fn decode(value: &[u8]) -> Decoded {
    Decoder::default().decode(value)
}

/// Reads messages: those of one GPU share what is said of it.
#[derive(Debug, Default)]
pub struct Decoder(Descriptions);

impl Decoder {
    /// Reads a message's value.
    pub fn decode(&mut self, value: &[u8]) -> Decoded {
        /// However much newer: nothing else of the value needs to be known.
        #[derive(Deserialize)]
        struct Version {
            v: u64,
        }
        match serde_json::from_slice::<Wire<'_>>(value) {
            Ok(wire) if wire.v <= VERSION => self.body(wire).map_or_else(Decoded::Garbage, Decoded::Body),
            Ok(wire) => Decoded::Newer(wire.v),
            Err(error) => match serde_json::from_slice::<Version>(value) {
                Ok(Version { v }) if v > u64::from(VERSION) => Decoded::Newer(u32::try_from(v).unwrap_or(u32::MAX)),
                _ => Decoded::Garbage(not_a_message(&error)),
            },
        }
    }

    fn body(&mut self, wire: Wire<'_>) -> Result<Body, String> {
        if let Some(dead) = wire.dead {
            let (line, byte, reject) = dead.into_reject()?;
            return Ok(Body::Dead { line, byte, reject });
        }
        if wire.host.is_empty() || wire.gpu.is_empty() {
            return Err("a message without host or gpu".into());
        }
        if wire.rows.is_empty() {
            return Err("a message without rows".into());
        }
        let described = self.0.of(wire.texts(), || wire.described()).map_err(|error| not_a_message(&error))?;
        let mut rows = wire.rows;
        // A list grows by fours; where a row travels alone, three places of it would wait for PostgreSQL with it.
        rows.shrink_to_fit();
        Ok(Body::Rows { described, timestamp: Timestamp(wire.ts), rows })
    }
}

fn not_a_message(error: &serde_json::Error) -> String {
    short(format!("not a message: {error}"))
}

/// One line for a person: an error may quote all of what it does not understand.
fn short(reason: String) -> String {
    const LONGEST: usize = 200;
    match reason.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &reason[..cut]),
        None => reason,
    }
}

#[derive(Serialize)]
struct RowsOut<'a> {
    v: u32,
    host: &'a str,
    gpu: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mig: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    ts: i64,
    rows: &'a [MessageRow],
}

#[derive(Serialize)]
struct DeadOut {
    v: u32,
    dead: WireDead,
}

#[derive(Deserialize)]
struct Wire<'a> {
    v: u32,
    #[serde(default, borrow)]
    host: Cow<'a, str>,
    #[serde(default, borrow)]
    gpu: Cow<'a, str>,
    #[serde(borrow)]
    uuid: Option<Text<'a>>,
    #[serde(borrow)]
    mig: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    device: Option<Text<'a>>,
    /// As written: read only where such labels were not read before.
    #[serde(borrow)]
    labels: Option<&'a RawValue>,
    #[serde(default)]
    ts: i64,
    #[serde(default)]
    rows: Vec<MessageRow>,
    dead: Option<WireDead>,
}

/// Borrowed where it can be, inside an option too.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Wire<'_> {
    /// All that [`Wire::described`] is made of.
    fn texts(&self) -> [Option<&str>; 7] {
        fn text<'a>(text: &'a Option<Text<'_>>) -> Option<&'a str> {
            text.as_ref().map(|text| &*text.0)
        }
        let (uuid, mig, model, device) = (text(&self.uuid), text(&self.mig), text(&self.model), text(&self.device));
        [Some(&self.host), Some(&self.gpu), uuid, mig, model, device, self.labels.map(RawValue::get)]
    }

    fn described(&self) -> serde_json::Result<Described> {
        let [host, gpu, uuid, mig, model, device, labels] = self.texts().map(|text| text.map(str::to_owned));
        Ok(Described {
            gpu: GpuIdentity { host: host.unwrap_or_default(), gpu: gpu.unwrap_or_default(), uuid, mig },
            model,
            device,
            labels: labels.map_or_else(|| Ok(BTreeMap::new()), |labels| serde_json::from_str(&labels))?,
        })
    }
}

/// `raw` where the bytes are text JSON can hold, else `raw_base64`.
#[derive(Serialize, Deserialize)]
struct WireDead {
    line: u64,
    byte: u64,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
    raw_bytes: u64,
    sha256: String,
}

impl WireDead {
    fn of(line: u64, byte: u64, reject: &Reject) -> Self {
        let text = std::str::from_utf8(&reject.raw).ok().map(str::to_owned);
        WireDead {
            line,
            byte,
            reason: reject.reason.clone(),
            raw_base64: text.is_none().then(|| BASE64_STANDARD.encode(&reject.raw)),
            raw: text,
            raw_bytes: reject.raw_bytes,
            sha256: reject.sha256.clone(),
        }
    }

    fn into_reject(self) -> Result<(u64, u64, Reject), String> {
        let raw = match (self.raw, self.raw_base64) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(encoded)) => {
                BASE64_STANDARD.decode(encoded).map_err(|error| format!("a dead row's raw_base64: {error}"))?
            }
            (None, None) => Vec::new(),
        };
        let reject = Reject { reason: self.reason, raw, raw_bytes: self.raw_bytes, sha256: self.sha256 };
        Ok((self.line, self.byte, reject))
    }
}

impl Serialize for MessageRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.line, self.byte, Values(&self.values)).serialize(serializer)
    }
}

struct Values<'a>(&'a [(Metric, Option<f64>)]);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (metric, value) in self.0 {
            map.serialize_entry(metric.name(), value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for MessageRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (line, byte, OwnedValues(values)) = Deserialize::deserialize(deserializer)?;
        Ok(MessageRow { line, byte, values })
    }
}

struct OwnedValues(Vec<(Metric, Option<f64>)>);

impl<'de> Deserialize<'de> for OwnedValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = OwnedValues;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("metric names with numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OwnedValues, A::Error> {
                // Most rows have one value, and a collector holds a hundred thousand of them while it drains a queue.
                let mut values = Vec::with_capacity(1);
                while let Some((name, value)) = map.next_entry::<std::borrow::Cow<'de, str>, Option<f64>>()? {
                    values.push((Metric::named(&name), value));
                }
                Ok(OwnedValues(values))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bodies() -> impl Strategy<Value = Body> {
        let values = prop::collection::vec(
            (
                prop_oneof![Just("gpu_utilization".to_owned()), "[A-Z_]{1,20}"].prop_map(|name| Metric::named(&name)),
                prop::option::of(prop::num::f64::NORMAL | prop::num::f64::ZERO),
            ),
            0..4,
        );
        let rows = prop::collection::vec((any::<u32>(), any::<u32>(), values), 1..4);
        let names = prop::collection::btree_map("[a-z]{1,8}", any::<String>(), 0..3);
        let alive = (".{1,20}", ".{1,5}", prop::option::of(any::<String>()), names, any::<i64>(), rows).prop_map(
            |(host, gpu, uuid, labels, ts, rows)| Body::Rows {
                described: Arc::new(Described {
                    gpu: GpuIdentity { host, gpu, uuid, mig: None },
                    model: None,
                    device: Some("nvidia0".to_owned()),
                    labels,
                }),
                timestamp: Timestamp(ts),
                rows: rows
                    .into_iter()
                    .map(|(line, byte, values)| MessageRow { line: line.into(), byte: byte.into(), values })
                    .collect(),
            },
        );
        let dead = (any::<u32>(), any::<String>(), any::<Vec<u8>>()).prop_map(|(line, reason, raw)| Body::Dead {
            line: line.into(),
            byte: 1,
            reject: Reject::new(reason, &raw),
        });
        prop_oneof![alive, dead]
    }

    proptest! {
        #[test]
        fn a_message_reads_as_it_was_written(body in bodies()) {
            match decode(&body.encode()) {
                Decoded::Body(read) => prop_assert_eq!(read, body),
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn nothing_makes_decoding_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_newer_version_is_not_garbage() {
        assert!(matches!(decode(br#"{"v":2,"rows":"in another shape"}"#), Decoded::Newer(2)));
        assert!(matches!(decode(br#"{"v":4294967296}"#), Decoded::Newer(u32::MAX)));
        assert!(matches!(decode(br#"{"v":1,"rows":"in another shape"}"#), Decoded::Garbage(_)));
        assert!(matches!(decode(b"\xff"), Decoded::Garbage(_)));
    }

    #[test]
    fn a_reason_stays_one_line_for_a_person() {
        let value = format!(r#"{{"v":1,"ts":"{}"}}"#, "ü".repeat(1_000));
        let Decoded::Garbage(reason) = decode(value.as_bytes()) else { panic!("a time is a number") };
        assert!(
            reason.starts_with("not a message: invalid type: string \"ü") && reason.chars().count() <= 201,
            "{reason}"
        );
    }
}
