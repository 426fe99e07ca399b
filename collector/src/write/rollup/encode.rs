//! Rollups as rows of their tables (pure).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use nexus_common::domain::{CATALOGUE, Kind, METRICS, Timestamp};
use serde::Serialize;

use super::super::copy::Encoder;
use crate::rollup::{Rollup, Summary};

pub(super) static COPY_HOURS: LazyLock<String> = LazyLock::new(|| copy("rollup_hours", ", minutes, fives"));
pub(super) static COPY_FIVES: LazyLock<String> = LazyLock::new(|| copy("rollup_fives", ""));
pub(super) static COPY_MINUTES: LazyLock<String> = LazyLock::new(|| copy("rollup_minutes", ""));

/// The columns in the order of [`encode`].
fn copy(table: &str, own: &str) -> String {
    let counts = CATALOGUE.iter().map(|metric| format!("{}_count", metric.name));
    let values = CATALOGUE.iter().flat_map(|metric| {
        let counter: &[&str] = match metric.kind {
            Kind::Counter => &["first", "first_at", "last_at", "growth"],
            _ => &[],
        };
        let parts = ["sum", "min", "max", "last"].iter().chain(counter);
        parts.map(|part| format!("{}_{part}", metric.name))
    });
    let columns = counts.chain(values).collect::<Vec<_>>().join(", ");
    format!("COPY {table} (gpu_id, samples, start{own}, {columns}, ext) FROM STDIN BINARY")
}

/// One row; an hour's says which `parts` of it are kept, too.
pub(super) fn encode(encoder: &mut Encoder, gpu_id: i32, start: Timestamp, rollup: &Rollup, parts: &[bool]) {
    let counters = CATALOGUE.iter().filter(|metric| metric.kind == Kind::Counter).count();
    encoder.row(4 + parts.len() + 5 * METRICS + 4 * counters);
    encoder.int(gpu_id);
    encoder.int(rollup.samples);
    encoder.time(start);
    for is_kept in parts {
        encoder.switch(*is_kept);
    }
    for summary in &rollup.metrics {
        match summary {
            Some(summary) => encoder.int(summary.count),
            None => encoder.null(),
        }
    }
    for (metric, summary) in CATALOGUE.iter().zip(&rollup.metrics) {
        let summary = summary.as_ref();
        for part in [|s: &Summary| s.sum, |s: &Summary| s.min, |s: &Summary| s.max, |s: &Summary| s.last.0] {
            encoder.float(summary.map(part));
        }
        if metric.kind == Kind::Counter {
            encoder.float(summary.map(|summary| summary.first.0));
            for at in [summary.map(|summary| summary.first.1), summary.map(|summary| summary.last.1)] {
                match at {
                    Some(at) => encoder.time(at),
                    None => encoder.null(),
                }
            }
            encoder.float(summary.map(|summary| summary.growth));
        }
    }
    if rollup.ext.is_empty() {
        encoder.null();
    } else {
        let ext: BTreeMap<_, _> = rollup.ext.iter().map(|(name, summary)| (name, Parts::of(summary))).collect();
        encoder.json(&ext);
    }
    encoder.cut();
}

/// A metric outside the catalogue: nothing is known of its kind, so it has no rate.
#[derive(Serialize)]
struct Parts {
    count: i32,
    sum: f64,
    min: f64,
    max: f64,
    last: f64,
}

impl Parts {
    fn of(summary: &Summary) -> Self {
        let Summary { count, sum, min, max, last, .. } = *summary;
        Parts { count, sum, min, max, last: last.0 }
    }
}
