//! From CSV to rows: files, folders, globs and standard input become [`Row`](nexus_common::domain::Row)s with their
//! exact place, one at a time.
//!
//! What holds for every source:
//!
//! - **No row is dropped.** A row that cannot be understood is a [`Reject`](nexus_common::domain::Reject) with a reason.
//! - **Rows tile the file.** A row starts where the one before it ended, the first one where the header ended. Blank
//!   lines and repeated headers are no rows: their bytes belong to the row that follows.
//! - **The same bytes give the same rows**, however they arrive: in what chunks, zipped or not, from the start or after
//!   [`Source::resume`].
//! - **Memory is bounded** by [`Options::max_row_bytes`], whatever the file holds.
//!
//! Everything here is synchronous: it runs on a thread that may block.

mod discovery;
mod error;
mod locate;
mod options;
mod reader;
mod stripe;

mod fingerprint;
mod form;
mod frames;
mod framing;
mod header;
mod input;
mod labels;
mod line;
mod tail;
mod time;
mod value;
mod window;

#[cfg(test)]
mod tests;

pub use discovery::{Discovery, Found};
pub use error::Error;
pub use header::Form;
pub use locate::{Location, locate};
pub use options::{DEFAULT_MAX_FUTURE, DEFAULT_MAX_ROW_BYTES, Options};
pub use reader::{Checkpoint, End, Next, Source};
pub use stripe::Stripe;
pub use time::utc_offset;
