//! The queue on etcd: lanes publish batches of messages, consumers claim, store and acknowledge them.
//!
//! # What holds, whatever fails
//!
//! - **I1** a (lane, run, n) commits at most once: every publish compares the lane's mod revision, or its value where the batch
//!   before it has no answer yet ([`Lane::publish`], [`Lane::send`]).
//! - **I2** a message leaves etcd only after its rows are committed in PostgreSQL, or by an expiry that is recorded: the
//!   manifest has no lease and outlives its messages, and only [`Consumer::ack`] deletes it.
//! - **I4** a batch held by a live collector is not worked on by another: [`Consumer::claim`] creates the claim key under
//!   the session's lease, which a dead collector loses within its TTL of 10 s.
//! - **I6** draining needs deletes and keep-alives only: [`Consumer::read`] takes no claim, [`Consumer::ack`] without a
//!   feed puts nothing.
//! - **I7** no transaction deletes and puts one key, and none deletes a range.
//!
//! The claim only avoids double work. That an effect happens once (I3) is the ledger's doing, in PostgreSQL.
//!
//! # Deliberately absent
//!
//! No offsets, no consumer groups, no order between lanes. Within a lane batches are published in order; they may be
//! stored in any.

mod attempt;
mod bucket;
mod claim;
mod consumer;
mod cut;
mod depth;
mod feed;
mod inspect;
mod keys;
mod lane;
mod manifest;
mod message;
mod publish;
mod rewind;
mod session;
mod traced;

pub use claim::{Claimed, Outcome};
pub use consumer::Consumer;
pub use cut::{Bounds, Cutter, Draft};
pub use depth::Depth;
pub use feed::{FEED_LIMIT_BYTES, Feed, FeedEntry, FeedSample};
pub use inspect::{Alive, Inspector, Messages, Standee, Standing, attempts_in};
pub use keys::{BatchId, Keys, MessageKey};
pub use lane::{Cursor, Lane};
pub use manifest::{Manifest, Source};
pub use message::{Body, Decoded, Decoder, MessageRow, VERSION, decode};
pub use publish::{Fate, Settled};
pub use session::{Member, Role, SESSION_TTL, Session};
