//! A batch's manifest: the promise of what its transaction published, which outlives the messages.

use serde::{Deserialize, Serialize};

use super::VERSION;

/// The value of a manifest key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this value.
    pub v: u32,
    /// First message key in byte order.
    pub first: String,
    /// Last message key in byte order. Other lanes' keys may lie between.
    pub last: String,
    /// How many messages were published.
    pub messages: usize,
    /// How many source rows they stand for.
    pub rows: u64,
    /// Rows the lane had published before, over all its runs.
    pub rows_before: u64,
    /// The lease the messages live under, so that it can be kept alive while PostgreSQL is away.
    pub lease: i64,
    /// Where the rows came from.
    pub source: Source,
    /// The step that published it, as W3C trace context; of a batch that is traced only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// A contiguous part of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file's name, for people.
    pub file: String,
    /// Pass of a loop, from 0.
    #[serde(default)]
    pub pass: u64,
    /// First and last line.
    pub lines: [u64; 2],
    /// Offset of the first byte, and the one behind the last.
    pub bytes: [u64; 2],
    /// What LOOP_MODE added to the rows' time stamps, in microseconds; 0 where they kept their own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shift_us: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_zero(shift_us: &i64) -> bool {
    *shift_us == 0
}

impl Manifest {
    /// The value to put into etcd.
    pub fn encode(&self) -> Vec<u8> {
        // Strings and integers only: there is nothing here that JSON cannot hold.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the value; `None` for what a newer version wrote, or what is no manifest.
    pub fn decode(value: &[u8]) -> Option<Manifest> {
        serde_json::from_slice::<Manifest>(value).ok().filter(|manifest| manifest.v <= VERSION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_traced_batch_has_a_trace_and_whoever_knows_none_reads_it() {
        let before = r#"{"v":1,"first":"a","last":"b","messages":2,"rows":3,"rows_before":4,"lease":5,"source":{"file":"f","pass":0,"lines":[2,4],"bytes":[9,30]}}"#;
        let untraced = Manifest::decode(before.as_bytes()).unwrap();
        assert_eq!(untraced.traceparent, None);
        assert_eq!(String::from_utf8(untraced.encode()).unwrap(), before, "not a byte more");
        let traced = Manifest { traceparent: Some("00-a-b-01".into()), ..untraced.clone() };
        assert_eq!(Manifest::decode(&traced.encode()), Some(traced));
        let later = before.replace(r#""lease""#, r#""of a later version":{"any":[1]},"lease""#);
        assert_eq!(Manifest::decode(later.as_bytes()), Some(untraced));
    }
}
