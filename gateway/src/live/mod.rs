//! The live feed: what collectors committed, as they commit it, for any number of clients.
//!
//! One etcd watch per gateway ([`follow()`]) gives frames to the [`Hub`], which keeps the last of them. A client is a
//! [`Subscription`]: a position and a filter, nothing that grows. `/ws`, `/api/v1/stream` and GraphQL show what it
//! delivers, and add nothing.
//!
//! - **A position is `store.revision`.** It means the same to every gateway: whoever comes back with the last one it saw
//!   misses nothing and sees nothing twice, as long as the frames behind it are held (LIVE_RING_TIME, LIVE_RING_BYTES).
//! - **Nothing is lost in silence.** What cannot be told any more is told as a gap, what was merged for a slow client is
//!   counted.
//! - **A slow client costs nothing.** It holds no frames but the one it is being sent.

mod counts;
mod delivery;
mod filter;
mod follow;
mod frame;
mod hub;
mod merge;
mod options;
mod parts;
mod position;
mod ring;
mod serving;
mod showing;
mod subscription;
mod traced;

pub use delivery::{Delivery, Gap};
pub use filter::{Filter, Filters, Passed};
pub use follow::follow;
pub use frame::{Content, Frame, Sample};
pub use hub::{Full, Hub};
pub use options::{Mode, Options, interval, metrics};
pub use position::{NoPosition, Position, Store};
pub use serving::Live;
pub use subscription::Subscription;
