//! What a claim brings.

use super::{BatchId, Manifest};

/// A batch in this process's hands.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Its name.
    pub batch: BatchId,
    /// What it promised.
    pub manifest: Manifest,
    /// Mod revision of the manifest: the guard of the acknowledgement.
    pub revision: i64,
    /// The messages that are still there, key and value. Fewer than promised means that the rest has expired.
    pub messages: Vec<(String, Vec<u8>)>,
    /// The how-manieth claim this is, from 1; 0 for a batch read without a claim.
    pub attempt: u32,
}

/// What became of trying to claim a batch.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "moved once, from the claim into the flight")]
pub enum Outcome {
    /// It is ours.
    Claimed(Claimed),
    /// Another collector holds it.
    Taken,
    /// It was acknowledged already.
    Gone,
}
