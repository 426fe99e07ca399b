//! The read model: every question the gateway can answer, as typed requests and typed views. The only SQL of the
//! gateway, the long statements in `.sql` files beside their callers.
//!
//! - **Every question is bounded**: rows ([`MAX_LIMIT`]), points ([`MAX_POINTS`]), time (the server ends a statement).
//! - **Every order is total**, and a page ends in a [`Cursor`] that names its last item: rows that arrive while somebody
//!   pages neither repeat nor hide others.
//! - **Absence is honest**: a metric nobody reported is not in the answer; `last_seen` and each latest value carry their
//!   own time; a status is derived ([`nexus_common::domain::Status`]).
//! - **No question multiplies queries**: one or two per request, however deep the answer; and none at all where it is
//!   about now ([`crate::memory`]).

mod audit;
mod buckets;
mod cursor;
mod days;
pub(crate) mod described;
mod each;
mod edition;
mod error;
mod events;
mod fleet;
mod gpus;
mod json;
mod letters;
mod loader;
mod metrics;
mod model;
mod narrow;
mod page;
mod plan;
mod rates;
mod rolled;
mod running;
mod samples;
mod seen;
mod selection;
mod size;
mod stats;
mod step;
mod texts;
mod time;
mod together;
mod values;
mod window;

pub use audit::{Audit, Figures, Lane};
pub use buckets::Aggregate;
pub use cursor::Cursor;
pub use each::{Each, MAX_SAMPLES, Steps};
pub(crate) use edition::{Edition, hours_touched};
pub use error::Error;
pub use events::{Event, EventQuestion};
pub use fleet::{Cluster, Host};
pub use gpus::{GpuQuestion, GpuView, Latest, Reading, Readings};
pub use letters::{Action, DeadLetter, LetterQuestion, State};
pub use loader::Loader;
pub(crate) use loader::Part;
pub use metrics::{Described, Metrics, Span, catalogue};
pub use model::{Model, session};
pub use page::{DEFAULT_LIMIT, MAX_LIMIT, Page, Paging};
pub use samples::{Order, Range, Sample};
pub use selection::{Selection, Source};
pub use size::Size;
pub use stats::{ConditionCounts, Freshness, GpuCounts, HostCounts, Stats};
pub use step::Step;
pub use time::{Time, moment};
pub use values::Values;
pub use window::{MAX_POINTS, Window};

/// What a question gives.
pub type Result<T> = std::result::Result<T, Error>;
