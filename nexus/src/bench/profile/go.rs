//! What etcd says of itself: Go's profiler, whose answer is a gzipped message of pprof's `profile.proto`.

use std::collections::HashMap;
use std::io::Read;
use std::time::Duration;

use anyhow::Context;
use flate2::read::GzDecoder;
use prost::Message;

use super::Counts;

/// The part of a stack, told by a function that is in it: the first line that fits.
const PARTS: [(&str, &str); 15] = [
    ("runtime.gcBgMarkWorker", "garbage collection"),
    ("runtime.gcAssistAlloc", "garbage collection"),
    ("runtime.bgsweep", "garbage collection"),
    ("runtime.mallocgc", "allocation"),
    ("runtime.growslice", "allocation"),
    ("bbolt", "bbolt: pages of the database file"),
    ("mvcc.(*treeIndex)", "index of keys"),
    ("mvcc", "mvcc: puts, deletes, ranges"),
    ("wal.", "log (WAL)"),
    ("raft", "raft"),
    ("v3rpc.checkTxnRequest", "checking a transaction's operations"),
    ("v3rpc.checkIntervals", "checking a transaction's operations"),
    ("grpc", "gRPC"),
    ("http2", "gRPC"),
    ("etcdserver", "etcdserver: applying, watching"),
];

/// Looks for so long.
pub(super) async fn look(endpoint: &str, long: Duration) -> anyhow::Result<Counts> {
    let address = format!("http://{endpoint}/debug/pprof/profile?seconds={}", long.as_secs());
    let answer = reqwest::get(address).await?.error_for_status().context("etcd's profile (--enable-pprof)")?;
    counts(&answer.bytes().await?)
}

fn counts(gzipped: &[u8]) -> anyhow::Result<Counts> {
    let mut bytes = Vec::new();
    GzDecoder::new(gzipped).read_to_end(&mut bytes)?;
    let profile = Profile::decode(bytes.as_slice())?;
    let text = |place: i64| usize::try_from(place).ok().and_then(|place| profile.strings.get(place));
    let functions: HashMap<u64, &str> =
        profile.functions.iter().filter_map(|function| Some((function.id, text(function.name)?.as_str()))).collect();
    let locations: HashMap<u64, Vec<&str>> = profile
        .locations
        .iter()
        .map(|location| {
            let names = location.lines.iter().filter_map(|line| functions.get(&line.function).copied());
            (location.id, names.collect())
        })
        .collect();
    let mut counts = Counts::new();
    for sample in &profile.samples {
        let stack: Vec<&str> = sample.locations.iter().filter_map(|id| locations.get(id)).flatten().copied().collect();
        let times = sample.values.first().copied().unwrap_or_default();
        *counts.entry(part(&stack)).or_default() += times.unsigned_abs();
    }
    Ok(counts)
}

/// Which part a stack is of, its innermost function first.
fn part(stack: &[&str]) -> String {
    let known = PARTS.iter().find(|(within, _)| stack.iter().any(|function| function.contains(within)));
    known.map_or("Go's scheduler and system calls", |(_, part)| part).to_owned()
}

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    locations: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    functions: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    strings: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    locations: Vec<u64>,
    /// How often it was seen, then nanoseconds.
    #[prost(int64, repeated, tag = "2")]
    values: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    lines: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    /// A place among the strings.
    #[prost(int64, tag = "2")]
    name: i64,
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn stacks_are_counted_by_what_is_in_them() {
        let names = ["", "runtime.mallocgc", "go.etcd.io/etcd/mvcc.(*store).put", "runtime.futex"];
        let profile = Profile {
            strings: names.map(str::to_owned).to_vec(),
            functions: (1..=3).map(|id| Function { id, name: i64::try_from(id).unwrap_or_default() }).collect(),
            locations: (1..=3).map(|id| Location { id, lines: vec![Line { function: id }] }).collect(),
            samples: vec![
                Sample { locations: vec![1, 2], values: vec![3, 30] },
                Sample { locations: vec![2], values: vec![4, 40] },
                Sample { locations: vec![3], values: vec![1, 10] },
            ],
        };
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&profile.encode_to_vec()).unwrap();
        let counts = counts(&gzip.finish().unwrap()).unwrap();
        let told: Vec<_> = counts.iter().map(|(part, count)| (part.as_str(), *count)).collect();
        assert_eq!(
            told,
            [("Go's scheduler and system calls", 1), ("allocation", 3), ("mvcc: puts, deletes, ranges", 4)]
        );
    }
}
