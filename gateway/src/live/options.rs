//! How a client wants the feed.

use std::str::FromStr;
use std::time::Duration;

use nexus_common::config::duration;
use nexus_common::domain::Metric;

use super::{Filters, Position};

/// What a subscription begins with.
#[derive(Debug, Clone)]
pub struct Options {
    /// What of it.
    pub filters: Filters,
    /// In which manner.
    pub mode: Mode,
    /// The least time between two messages with values; zero is none. Only in [`Mode::Latest`].
    pub interval: Duration,
    /// Where the client was; without it the feed begins now.
    pub since: Option<Position>,
}

/// How much of what happens is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// The newest value of each GPU: first those there are, then what comes, merged where the client is too slow.
    #[default]
    Latest,
    /// Every frame, in order.
    All,
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "latest" => Ok(Mode::Latest),
            "all" => Ok(Mode::All),
            _ => {
                Err("write latest (the newest values, merged where you are slower than the feed) or all (every frame)")
            }
        }
    }
}

/// The longest interval: a client that wants less should ask the API.
const LONGEST: Duration = Duration::from_secs(3_600);

/// The most metrics one filter names.
const MOST_METRICS: usize = 100;

/// An interval such as `5s`.
///
/// # Errors
/// What would work.
pub fn interval(text: &str, mode: Mode) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval > LONGEST {
        return Err("is longer than 1h, the longest there is".to_owned());
    }
    if mode == Mode::All && !interval.is_zero() {
        return Err("merges frames, which mode=all must not; leave one of them out".to_owned());
    }
    Ok(interval)
}

/// The metrics of these names, DCGM fields or aliases. A name outside the catalogue is taken as it is: a GPU may report
/// it one day.
///
/// # Errors
/// Where there are too many.
pub fn metrics<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Metric>, String> {
    let names = names.into_iter().map(str::trim).filter(|name| !name.is_empty());
    let metrics: Vec<Metric> = names.map(Metric::named).collect();
    if metrics.len() > MOST_METRICS {
        return Err(format!("{} names; at most {MOST_METRICS}", metrics.len()));
    }
    Ok(metrics)
}
