//! From messages to the bytes of a COPY: decoding, merging, encoding, each a thousand messages at a time.

#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nexus_collector::bench::Readings;
use nexus_common::domain::{Described, GpuIdentity, METRICS, Metric, Timestamp};
use nexus_common::queue::{Body, MessageRow};

/// Messages, a GPU each.
const MESSAGES: u32 = 1_000;
/// Rows of a message, a metric each.
const ROWS: u64 = 10;

fn values() -> Vec<Vec<u8>> {
    let value = |number: u32| {
        let gpu = GpuIdentity {
            host: format!("host-{:03}", number / 8),
            gpu: (number % 8).to_string(),
            ..GpuIdentity::default()
        };
        let row = |line: u64| {
            let metric = Metric::Known(u8::try_from(line as usize % METRICS).unwrap_or(0));
            MessageRow { line, byte: line * 400, values: vec![(metric, Some(line as f64 * 1.5))] }
        };
        let described = Arc::new(Described::from(gpu));
        Body::Rows { described, timestamp: Timestamp(1_767_600_000_000_000), rows: (0..ROWS).map(row).collect() }
            .encode()
    };
    (0..MESSAGES).map(value).collect()
}

fn storing(criterion: &mut Criterion) {
    let values = values();
    let readings = Readings::decode(&values);
    assert_eq!(readings.count(), MESSAGES as usize);
    let merged = readings.merge();
    let mut group = criterion.benchmark_group("storing");
    group.throughput(Throughput::Elements(u64::from(MESSAGES) * ROWS));
    group.bench_function("decode", |bencher| bencher.iter(|| Readings::decode(black_box(&values))));
    group.bench_function("merge", |bencher| bencher.iter(|| black_box(&readings).merge()));
    group.bench_function("COPY", |bencher| bencher.iter(|| black_box(&merged).copy()));
    group.finish();
}

criterion_group!(benches, storing);
criterion_main!(benches);
