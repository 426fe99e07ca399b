//! What stands behind the question mark. A name that a route does not know is refused: a misspelt filter that is
//! ignored would answer another question than the one that was asked.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::Query as Pairs;
use axum::http::Uri;
use nexus_common::config::duration;
use nexus_common::domain::Timestamp;

use super::problem::Problem;
use crate::read::{Aggregate, Cursor, DEFAULT_LIMIT, MAX_LIMIT, Order, Paging, Range, Selection, Step, moment};

/// The parameters of one request, each given once.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

/// How samples are to be summed up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Summary {
    /// Without it one that suits the range.
    pub(super) step: Option<Duration>,
    /// Without it what suits each metric.
    pub(super) aggregate: Option<Aggregate>,
}

type Result<T> = std::result::Result<T, Problem>;

/// What a list takes.
pub(super) const LIST: &[&str] = &["limit", "cursor"];

impl Query {
    /// Takes the parameters of these groups of names and refuses all others.
    pub(super) fn of(uri: &Uri, known: &[&[&str]]) -> Result<Self> {
        let Ok(Pairs(pairs)) = Pairs::<Vec<(String, String)>>::try_from_uri(uri) else {
            return Err(Problem::parameter("query", "the part behind the question mark cannot be read"));
        };
        for (at, (name, value)) in pairs.iter().enumerate() {
            let shown: String = name.chars().take(80).collect();
            if !known.iter().any(|names| names.contains(&name.as_str())) {
                let known = known.concat();
                let offer = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Problem::parameter(shown, format!("is not a parameter here; there are: {offer}")));
            }
            if pairs[..at].iter().any(|(other, _)| other == name) {
                return Err(Problem::parameter(shown, "is given twice"));
            }
            if value.contains('\0') {
                return Err(Problem::parameter(shown, "holds a NUL character, which no name has"));
            }
        }
        Ok(Query(pairs))
    }

    /// A parameter that is given and not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// `cluster_id`, `host_id`, `gpu_id`.
    pub(super) fn selection(&self) -> Selection {
        Selection { cluster_id: self.owned("cluster_id"), host_id: self.owned("host_id"), gpu_id: self.owned("gpu_id") }
    }

    /// `limit`, `cursor`.
    pub(super) fn paging(&self) -> Result<Paging> {
        let limit = match self.text("limit") {
            None => DEFAULT_LIMIT,
            Some(text) => text
                .parse()
                .map_err(|_| Problem::parameter("limit", format!("is not a whole number from 1 to {MAX_LIMIT}")))?,
        };
        let cursor = self.text("cursor").map(Cursor::from_str).transpose()?;
        Ok(Paging::new(limit, cursor)?)
    }

    /// One of a set of words.
    pub(super) fn word<T: FromStr<Err: Display>>(&self, name: &'static str) -> Result<Option<T>> {
        let word = self.text(name).map(str::parse).transpose();
        word.map_err(|reason: T::Err| Problem::parameter(name, reason.to_string()))
    }

    /// `start`, `end`.
    pub(super) fn range(&self) -> Result<Range> {
        let now = Timestamp::now();
        let bound = |name: &'static str| {
            let bound = self.text(name).map(|text| moment(text, now)).transpose();
            bound.map_err(|reason| Problem::parameter(name, reason))
        };
        Ok(Range::new(bound("start")?, bound("end")?)?)
    }

    /// `order`.
    pub(super) fn order(&self) -> Result<Order> {
        match self.text("order") {
            None | Some("desc") => Ok(Order::Newest),
            Some("asc") => Ok(Order::Oldest),
            Some(_) => Err(Problem::parameter("order", "write desc (the newest first) or asc")),
        }
    }

    /// `step`, `agg`; one of them is enough.
    pub(super) fn summary(&self) -> Result<Option<Summary>> {
        let aggregate = self.text("agg").map(aggregate).transpose()?;
        let step = match self.text("step") {
            None if aggregate.is_none() => return Ok(None),
            None | Some("auto") => None,
            Some(text) => {
                let step = duration(text).map_err(|reason| Problem::parameter("step", format!("{reason}, or auto")))?;
                Step::new(step)?;
                Some(step)
            }
        };
        Ok(Some(Summary { step, aggregate }))
    }

    /// `metrics`: names with commas between them.
    pub(super) fn metrics(&self) -> Vec<&str> {
        let names = self.text("metrics").unwrap_or_default().split(',');
        names.map(str::trim).filter(|name| !name.is_empty()).collect()
    }
}

fn aggregate(text: &str) -> Result<Aggregate> {
    let found = Aggregate::WORDS.iter().find(|(word, _)| *word == text).map(|(_, aggregate)| *aggregate);
    found.ok_or_else(|| {
        let words = Aggregate::WORDS.map(|(word, _)| word).join(", ");
        Problem::parameter("agg", format!("is none of {words}"))
    })
}
