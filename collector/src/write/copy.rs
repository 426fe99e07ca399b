//! Rows in PostgreSQL's binary COPY format (pure): fewer bytes and calls than one parameter at a time.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use nexus_common::domain::{Sample, Timestamp};

use crate::merge::Latest;

/// Microseconds from 1970 to 2000, where PostgreSQL counts from.
const EPOCH_2000_US: i64 = 946_684_800_000_000;
/// What one message to the server holds.
const CHUNK_BYTES: usize = 256 << 10;

/// Encodes rows into chunks of about 256 KiB.
pub(crate) struct Encoder {
    buffer: BytesMut,
    chunks: Vec<Bytes>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES + 4096);
        buffer.put_slice(b"PGCOPY\n\xff\r\n\0");
        buffer.put_i32(0); // no flags
        buffer.put_i32(0); // no header extension
        Encoder { buffer, chunks: Vec::new() }
    }

    /// A row of the staging table for samples.
    pub(crate) fn sample(&mut self, gpu_id: i32, sample: &Sample, conflicts: i32) {
        self.row(4 + sample.values.len());
        self.int(gpu_id);
        self.time(sample.timestamp);
        self.int(conflicts);
        for value in sample.values {
            self.float(value);
        }
        if sample.ext.is_empty() {
            self.null();
        } else {
            self.json(&sample.ext);
        }
        self.cut();
    }

    /// A row of the staging table for latest values.
    pub(crate) fn latest(&mut self, gpu_id: i32, latest: &Latest) {
        #[derive(serde::Serialize)]
        struct At {
            at: i64,
            value: f64,
        }
        self.row(3 + 2 * latest.values.len());
        self.int(gpu_id);
        self.time(latest.timestamp);
        for value in latest.values {
            self.float(value.map(|(value, _)| value));
            match value {
                Some((_, at)) => self.time(at),
                None => self.null(),
            }
        }
        let ext: BTreeMap<_, _> =
            latest.ext.iter().map(|(name, (value, at))| (name, At { at: at.0, value: *value })).collect();
        self.json(&ext);
        self.cut();
    }

    /// The chunks, with the trailer.
    pub(crate) fn finish(mut self) -> Vec<Bytes> {
        self.buffer.put_i16(-1);
        self.chunks.push(self.buffer.freeze());
        self.chunks
    }

    pub(super) fn row(&mut self, columns: usize) {
        self.buffer.put_i16(i16::try_from(columns).unwrap_or(i16::MAX));
    }

    pub(super) fn int(&mut self, value: i32) {
        self.buffer.put_i32(4);
        self.buffer.put_i32(value);
    }

    pub(super) fn switch(&mut self, value: bool) {
        self.buffer.put_i32(1);
        self.buffer.put_u8(u8::from(value));
    }

    pub(super) fn time(&mut self, value: Timestamp) {
        self.buffer.put_i32(8);
        self.buffer.put_i64(value.0.saturating_sub(EPOCH_2000_US));
    }

    pub(super) fn float(&mut self, value: Option<f64>) {
        match value {
            Some(value) => {
                self.buffer.put_i32(8);
                self.buffer.put_f64(value);
            }
            None => self.null(),
        }
    }

    pub(super) fn json(&mut self, value: &impl serde::Serialize) {
        const JSONB_VERSION: u8 = 1;
        let text = serde_json::to_vec(value).unwrap_or_else(|_| b"{}".to_vec());
        self.buffer.put_i32(i32::try_from(text.len() + 1).unwrap_or(i32::MAX));
        self.buffer.put_u8(JSONB_VERSION);
        self.buffer.put_slice(&text);
    }

    pub(super) fn null(&mut self) {
        self.buffer.put_i32(-1);
    }

    pub(super) fn cut(&mut self) {
        if self.buffer.len() >= CHUNK_BYTES {
            self.chunks.push(self.buffer.split().freeze());
            self.buffer.reserve(CHUNK_BYTES + 4096);
        }
    }
}
