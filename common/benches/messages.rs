//! Messages of the queue: what one costs to write and to read, with one row in it and with ten.

#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nexus_common::domain::{Described, GpuIdentity, Metric, Timestamp};
use nexus_common::queue::{Body, Decoder, MessageRow};

fn body(rows: u64) -> Body {
    let gpu = GpuIdentity {
        host: "host-001".to_owned(),
        gpu: "3".to_owned(),
        uuid: Some("GPU-6c5795e1-4b3b-7e33-1cf3-8a51a82265f3".to_owned()),
        mig: None,
    };
    let labels = [("driver", "535.129.03"), ("pod", "train-48-0"), ("namespace", "training"), ("job", "dcgm-exporter")];
    let labels: BTreeMap<_, _> = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let model = Some("NVIDIA H100 80GB HBM3".to_owned());
    let described = Described { gpu, model, device: Some("nvidia3".to_owned()), labels };
    let row = |line: u64| MessageRow {
        line,
        byte: line * 400,
        values: vec![(Metric::named(["power_watts", "gpu_utilization"][line as usize % 2]), Some(line as f64 * 97.5))],
    };
    let rows = (0..rows).map(row).collect();
    Body::Rows { described: Arc::new(described), timestamp: Timestamp(1_767_600_000_000_000), rows }
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("messages");
    for rows in [1, 10] {
        let body = body(rows);
        let value = body.encode();
        group.throughput(Throughput::Elements(rows));
        group.bench_with_input(BenchmarkId::new("encode", rows), &body, |bencher, body| bencher.iter(|| body.encode()));
        let mut decoder = Decoder::default();
        group.bench_with_input(BenchmarkId::new("decode", rows), &value, |bencher, value| {
            bencher.iter(|| decoder.decode(black_box(value)));
        });
    }
    group.finish();
}

criterion_group!(benches, messages);
criterion_main!(benches);
