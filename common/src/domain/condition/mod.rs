//! What is wrong with a GPU, worked out from its newest values (pure).
//!
//! Two steps. [`examine`] finds **signs**: single facts such as "an XID code is reported" or "above 85 °C", each with the
//! reading that shows it. [`diagnose`] sums signs up as **findings**: the conditions people ask for (hot, sick, throttled,
//! idle_allocated, missing, stale), with a severity, since when, and the evidence in words. Between the two
//! [`carry_on`] keeps the time since which a sign has held. Whoever records what happens remembers the signs, and
//! [`progress()`] says what is news.
//!
//! Time is the data's: a condition lasts from the first reading that shows it to the newest one, so a replay of last
//! year's export says what was so then. Only `stale` looks at the clock.

mod event;
mod evidence;
mod finding;
mod progress;
mod reason;
mod sign;
mod thresholds;
mod vital;
mod words;
mod xid;

pub use event::{Event, EventKind};
pub use finding::{Finding, diagnose};
pub use progress::{News, Progress, Remembered, progress};
pub use reason::{Reason, reasons};
pub use sign::{Sign, carry_on, examine};
pub use thresholds::Thresholds;
pub use vital::{Vital, Vitals};
pub use words::{Condition, Severity, SignKind};
