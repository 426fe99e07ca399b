//! What a source is told from outside.

use std::time::Duration;

use jiff::tz::Offset;

use super::Stripe;

/// The longest record that is taken for one, in bytes, unless told otherwise.
pub const DEFAULT_MAX_ROW_BYTES: usize = 1024 * 1024;

/// How far past the clock a row's time may lie, unless told otherwise.
pub const DEFAULT_MAX_FUTURE: Duration = Duration::from_secs(24 * 60 * 60);

/// How to read a source.
#[derive(Debug, Clone)]
pub struct Options {
    /// The longest record that is taken for one, in bytes, without its line end (MAX_ROW_BYTES).
    pub max_row_bytes: usize,
    /// How far past the clock a row's time may lie before the row is refused (MAX_FUTURE).
    pub max_future: Duration,
    /// The host of rows in a form that names none, `nvidia-smi`'s (SOURCE_HOST).
    pub source_host: Option<String>,
    /// What times without a zone are relative to.
    pub utc_offset: Offset,
    /// Wait for more at the end of a file instead of ending (FOLLOW). Never for gzip and standard input.
    pub follow: bool,
    /// The part of the file to read.
    pub stripe: Stripe,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_row_bytes: DEFAULT_MAX_ROW_BYTES,
            max_future: DEFAULT_MAX_FUTURE,
            source_host: None,
            utc_offset: Offset::UTC,
            follow: false,
            stripe: Stripe::default(),
        }
    }
}
