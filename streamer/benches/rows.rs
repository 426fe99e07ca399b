//! From the bytes of a CSV file to records: framing, parsing, places and checksums, as the streamer does it.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nexus_streamer::source::{Next, Options, Source};

/// What `nexus generate` writes: DCGM's long form, labels and all.
const SAMPLE: &[u8] = include_bytes!("../../data/gpu_telemetry_sample.csv");

fn rows(bytes: &'static [u8]) -> u64 {
    let mut source = Source::from_reader("sample", bytes, &Options::default()).unwrap();
    let mut rows = 0;
    while let Next::Row(row) = source.next().unwrap() {
        black_box(row);
        rows += 1;
    }
    rows
}

fn reading(criterion: &mut Criterion) {
    let count = rows(SAMPLE);
    assert!(count > 1_000, "{count} rows");
    let mut group = criterion.benchmark_group("rows");
    group.throughput(Throughput::Elements(count));
    group.bench_function("DCGM, a metric a row", |bencher| bencher.iter(|| rows(black_box(SAMPLE))));
    group.finish();
}

criterion_group!(benches, reading);
criterion_main!(benches);
