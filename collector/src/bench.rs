//! The pure steps between a message and PostgreSQL, for `benches/storing.rs` alone: no part of what this library offers.

use std::collections::HashMap;

use nexus_common::domain::GpuIdentity;
use nexus_common::queue::{Body, Decoded, Decoder};

use crate::merge::Harvest;
use crate::work::Reading;
use crate::write::copy::Encoder;

/// Messages as they are decoded.
#[derive(Debug)]
pub struct Readings(Vec<(i32, Reading)>);

impl Readings {
    /// Of these values; each GPU gets the next id.
    pub fn decode(values: &[Vec<u8>]) -> Readings {
        let (mut decoder, mut ids) = (Decoder::default(), HashMap::<GpuIdentity, i32>::new());
        let readings = values.iter().filter_map(|value| match decoder.decode(value) {
            Decoded::Body(Body::Rows { described, timestamp, rows }) => {
                let next = i32::try_from(ids.len()).unwrap_or(i32::MAX);
                let id = *ids.entry(described.gpu.clone()).or_insert(next);
                Some((id, Reading { message: 0, described, timestamp, rows }))
            }
            _ => None,
        });
        Readings(readings.collect())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// One sample for each GPU and time, and the newest value of each metric.
    pub fn merge(&self) -> Merged {
        let mut harvest = Harvest::default();
        self.0.iter().for_each(|(id, reading)| harvest.add(*id, reading));
        Merged(harvest)
    }
}

/// What is stored.
#[derive(Debug)]
pub struct Merged(Harvest);

impl Merged {
    /// Samples and latest values as COPY has them; how many bytes these are.
    pub fn copy(&self) -> usize {
        let (mut samples, mut latest) = (Encoder::new(), Encoder::new());
        self.0.samples.iter().for_each(|((id, _), (sample, conflicts))| samples.sample(*id, sample, *conflicts));
        self.0.latest.iter().for_each(|(id, newest)| latest.latest(*id, newest));
        [samples, latest].map(|encoder| encoder.finish().iter().map(|chunk| chunk.len()).sum::<usize>()).iter().sum()
    }
}
