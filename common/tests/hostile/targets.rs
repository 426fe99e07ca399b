//! What holds of any bytes found in etcd. Panics where it does not: for `testing::fuzz`, and for `fuzz/`.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use nexus_common::queue::{BatchId, Cursor, Decoded, Feed, Keys, Manifest, MessageKey, VERSION, decode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The longest reason a person is shown for bytes that are no message.
const MAX_REASON_BYTES: usize = 1_000;

/// A message is understood, of a newer version, or garbage; what is understood is written as it was read.
pub(crate) fn message(bytes: &[u8]) {
    let newer = version(bytes).filter(|v| *v > u64::from(VERSION));
    match decode(bytes) {
        Decoded::Body(body) => {
            assert_eq!(newer, None);
            assert!(body.rows() > 0);
            match decode(&body.encode()) {
                Decoded::Body(again) => assert_eq!(again, body),
                other => panic!("it was understood once: {other:?}"),
            }
        }
        Decoded::Newer(v) => assert!(v > VERSION),
        Decoded::Garbage(reason) => {
            assert!(newer.is_none() || says_twice(bytes), "v {newer:?} is garbage: {reason}");
            assert!(!reason.is_empty() && reason.len() <= MAX_REASON_BYTES, "{} bytes of reason", reason.len());
            assert!(!reason.contains('\0'));
        }
    }
}

/// Keys are read without a panic, what is read is written so that it reads the same, and names stay within their part.
pub(crate) fn key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    reads_as_written::<MessageKey>(text);
    reads_as_written::<BatchId>(text);
    assert_eq!(Keys::batch_of(text), text.rsplit('/').next().and_then(|last| last.parse().ok()));
    let known = Keys::new("/telemetry/queue", "c");
    let _ = known.cluster_of_feed(text);

    let (host, gpu) = text.split_once('_').unwrap_or((text, ""));
    let keys = Keys::new("/telemetry/queue", text);
    assert_eq!(keys.cluster_of_feed(&keys.feed()).as_deref(), Some(text));
    let key = MessageKey { published_ms: 1, host: host.to_owned(), gpu: gpu.to_owned(), sequence: 1 };
    let written = keys.message(&key);
    let part = written.strip_prefix(&keys.messages()).unwrap();
    assert!(!part.contains('/') && part.matches('_').count() == 3, "{written}");
    assert_eq!(written.parse::<MessageKey>(), Ok(key));
}

/// A manifest of ours is written as it was read; one of a newer version is none.
pub(crate) fn manifest(bytes: &[u8]) {
    if let Some(manifest) = Manifest::decode(bytes) {
        assert!(manifest.v <= VERSION);
        assert_eq!(Manifest::decode(&manifest.encode()), Some(manifest));
    }
}

/// A cursor is written as it was read.
pub(crate) fn cursor(bytes: &[u8]) {
    is_written_as_read::<Cursor>(bytes);
}

/// A feed is written as it was read.
pub(crate) fn feed(bytes: &[u8]) {
    is_written_as_read::<Feed>(bytes);
}

fn reads_as_written<T: FromStr<Err = ()> + Display + Debug + PartialEq>(text: &str) {
    if let Ok(read) = text.parse::<T>() {
        assert_eq!(read.to_string().parse::<T>(), Ok(read));
    }
}

fn is_written_as_read<T: DeserializeOwned + Serialize + Debug + PartialEq>(bytes: &[u8]) {
    if let Ok(read) = serde_json::from_slice::<T>(bytes) {
        let written = serde_json::to_vec(&read).unwrap();
        assert_eq!(serde_json::from_slice::<T>(&written).unwrap(), read);
    }
}

/// Whether the version may be there more than once: then it is none.
fn says_twice(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.matches("\"v\"").count() > 1 || text.contains("\\u")
}

/// The version these bytes name, if they are JSON.
fn version(bytes: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(bytes).ok()?.as_object()?.get("v")?.as_u64()
}
