use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use nexus_common::domain::{CATALOGUE, Definition, Metric};
use serde::{Serialize, Serializer};
use serde_json::Value;
use tokio_postgres::Row;
use utoipa::ToSchema;

use super::values::Number;
use super::{Error, Model, Result, Values};

/// The metrics an answer is to hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Metrics {
    /// Indices into the catalogue, ascending.
    known: Vec<u8>,
    /// Metrics outside the catalogue; `None` is all of them.
    other: Option<Vec<String>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics { known: (0u8..).take(CATALOGUE.len()).collect(), other: None }
    }
}

/// A metric of the catalogue, as clients see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Described {
    /// The name in questions and answers.
    #[schema(example = "power_watts")]
    pub name: &'static str,
    /// The DCGM field.
    #[schema(example = "DCGM_FI_DEV_POWER_USAGE")]
    pub dcgm: &'static str,
    /// Of a value; empty for a pure number.
    pub unit: &'static str,
    /// gauge, counter, code or flag.
    pub kind: &'static str,
    /// Other names it can be asked for by.
    #[schema(value_type = Vec<String>)]
    pub aliases: &'static [&'static str],
    /// The values that can be true.
    pub range: Span,
    /// One line for people.
    pub help: &'static str,
}

/// From `min` to `max`, both included.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Span {
    /// The smallest.
    #[serde(serialize_with = "number")]
    pub min: f64,
    /// The largest.
    #[serde(serialize_with = "number")]
    pub max: f64,
}

/// Every metric of the catalogue, in its order.
pub fn catalogue() -> Vec<Described> {
    let described = |metric: &'static Definition| {
        let Definition { name, dcgm, unit, kind, aliases, range: (min, max), help } = metric;
        Described { name, dcgm, unit, kind: kind.as_str(), aliases, range: Span { min: *min, max: *max }, help }
    };
    CATALOGUE.iter().map(described).collect()
}

fn number<S: Serializer>(value: &f64, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    Number(*value).serialize(serializer)
}

/// The names a question may use for one metric are many; those it may ask for at once need not be.
const MOST: usize = 100;

impl Model {
    /// The metrics of these names, DCGM fields or aliases; all where there are none. A name outside the catalogue has to
    /// be one that some GPU reported.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown name, with names that are near it.
    pub fn metrics(&self, names: &[&str]) -> Result<Metrics> {
        if names.is_empty() {
            return Ok(Metrics::default());
        }
        if names.len() > MOST {
            return Err(Error::invalid("metrics", format!("{} names; at most {MOST}", names.len())));
        }
        let (mut known, mut other) = (BTreeSet::new(), Vec::new());
        for name in names {
            match Metric::named(name) {
                Metric::Known(index) => drop(known.insert(index)),
                Metric::Other(name) => other.push(name.to_string()),
            }
        }
        if !other.is_empty() {
            let reported = &self.fleet()?.others;
            if let Some(unknown) = other.iter().find(|name| !reported.contains(name.as_str())) {
                return Err(Error::invalid("metrics", unknown_metric(unknown, reported)));
            }
            other.sort();
            other.dedup();
        }
        Ok(Metrics { known: known.into_iter().collect(), other: Some(other) })
    }
}

impl Metrics {
    /// Some of the catalogue.
    #[cfg(test)]
    pub(super) fn known_by(names: &[&str]) -> Self {
        let known = names.iter().filter_map(|name| match Metric::named(name) {
            Metric::Known(index) => Some(index),
            Metric::Other(_) => None,
        });
        Metrics { known: known.collect(), other: Some(Vec::new()) }
    }

    /// The names that were chosen, the catalogue's first and in its order; `None` is all there are.
    pub fn names(&self) -> Option<Vec<String>> {
        let other = self.other()?;
        Some(self.known().map(|metric| metric.name().to_owned()).chain(other.iter().cloned()).collect())
    }

    /// The chosen metrics of the catalogue.
    pub(super) fn known(&self) -> impl Iterator<Item = Metric> + '_ {
        self.known.iter().map(|index| Metric::Known(*index))
    }

    /// Where all are chosen, those of the catalogue with these indices, which ascend; for a statement that says whether a row has
    /// more ([`Metrics::more`]). `None` where that leaves nothing out.
    pub(super) fn among(&self, known: Vec<u8>) -> Option<Self> {
        (self.other.is_none() && known.len() < self.known.len()).then_some(Metrics { known, other: None })
    }

    /// Holds for a sample `s` that reports one of the catalogue's metrics beside these, where it matters.
    pub(super) fn more(&self) -> String {
        let beside = (0u8..).take(CATALOGUE.len()).filter(|index| self.known.binary_search(index).is_err());
        let beside: Vec<_> = beside.map(|index| format!("s.{}", Metric::Known(index).name())).collect();
        if self.other.is_some() || beside.is_empty() {
            "false".to_owned()
        } else {
            format!("num_nonnulls({}) > 0", beside.join(", "))
        }
    }

    /// Whether this one is chosen.
    pub(crate) fn holds(&self, metric: &Metric) -> bool {
        match (metric, &self.other) {
            (Metric::Known(index), _) => self.known.binary_search(index).is_ok(),
            (Metric::Other(_), None) => true,
            (Metric::Other(name), Some(chosen)) => chosen.iter().any(|chosen| **chosen == **name),
        }
    }

    /// The names outside the catalogue; `None` is all of them.
    pub(super) fn other(&self) -> Option<&[String]> {
        self.other.as_deref()
    }

    /// The columns of the chosen metrics, each made by `write`: what stands in a statement. Safe, because the names are
    /// those of the catalogue.
    pub(super) fn columns(&self, between: &str, write: impl Fn(&str) -> String) -> String {
        self.known().map(|metric| write(metric.name())).collect::<Vec<_>>().join(between)
    }

    /// The document of other metrics among a statement's columns. It is the last column of a wide row, and to get there
    /// PostgreSQL goes through all that lie before it: where nothing in it is chosen, it is not read.
    pub(super) fn ext(&self, from: &str) -> String {
        match self.other() {
            Some([]) => "NULL::jsonb AS ext".to_owned(),
            _ => format!("{from}.ext"),
        }
    }

    /// Holds for a sample `s` that reports one of the chosen metrics; `$7` are [`Metrics::other`].
    pub(super) fn reported(&self) -> String {
        let values = self.columns(", ", |name| format!("s.{name}"));
        let known = if values.is_empty() { "0".to_owned() } else { format!("num_nonnulls({values})") };
        self.any(&format!("{known} > 0"), "s")
    }

    /// Holds for a rollup `u` of samples of which one reports a chosen metric.
    pub(super) fn rolled_up(&self) -> String {
        let counts = self.columns(" OR ", |name| format!("u.{name}_count IS NOT NULL"));
        self.any(if counts.is_empty() { "false" } else { &counts }, "u")
    }

    /// Holds where a row reports one of the known metrics, or one of the others. The parameter is named in each, because a
    /// statement has to say what its parameters are.
    fn any(&self, known: &str, from: &str) -> String {
        match self.other() {
            None => "$7::text[] IS NULL".to_owned(),
            Some([]) => format!("($7::text[] IS NOT NULL AND ({known}))"),
            Some(_) => format!("({known} OR {from}.ext ?| $7::text[])"),
        }
    }

    /// The chosen values of a row whose columns from `at` on are those of [`Metrics::columns`].
    pub(super) fn values(&self, model: &Model, row: &Row, at: usize, ext: Option<&Value>) -> Result<Values> {
        let mut values = Vec::new();
        for (metric, column) in self.known().zip(at..) {
            if let Some(value) = model.nth::<Option<f64>>(row, column)? {
                values.push((metric, value));
            }
        }
        values.extend(self.others(ext).filter_map(|(name, value)| Some((Metric::Other(name.into()), value.as_f64()?))));
        Ok(Values(values))
    }

    /// The chosen entries of an `ext` document.
    pub(super) fn others<'a>(&'a self, ext: Option<&'a Value>) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let entries = ext.and_then(Value::as_object).into_iter().flatten();
        entries.map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| match &self.other {
            None => true,
            Some(chosen) => chosen.iter().any(|chosen| chosen == name),
        })
    }
}

fn unknown_metric(name: &str, reported: &BTreeSet<Arc<str>>) -> String {
    let near = nearest(name, spellings().chain(reported.iter().map(|name| (&**name, &**name))));
    let shown: String = name.chars().take(80).collect();
    format!("no metric is called {shown:?}; near it: {}", near.join(", "))
}

/// Every way to write a metric of the catalogue, and its name.
fn spellings<'a>() -> impl Iterator<Item = (&'a str, &'a str)> {
    CATALOGUE.iter().flat_map(|metric| {
        let spellings = [metric.name, metric.dcgm].into_iter().chain(metric.aliases.iter().copied());
        spellings.map(|spelling| (spelling, metric.name))
    })
}

/// The three names of which one spelling is most like this one: those it shares a word with first, then by edits.
fn nearest<'a>(name: &str, spellings: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<&'a str> {
    let wanted: String = name.to_ascii_lowercase().chars().take(80).collect();
    let mut ranks = HashMap::new();
    for (spelling, name) in spellings {
        let lower = spelling.to_ascii_lowercase();
        let part = lower.contains(&wanted)
            || wanted.split('_').any(|word| word.len() > 2 && lower.split('_').any(|w| w == word));
        let rank = (!part, edits(&wanted, &lower));
        ranks.entry(name).and_modify(|best: &mut (bool, usize)| *best = rank.min(*best)).or_insert(rank);
    }
    let mut ranked: Vec<_> = ranks.into_iter().map(|(name, rank)| (rank, name)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(3).map(|(_, name)| name).collect()
}

/// How many single-character changes lead from one text to the other.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, c) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for j in 0..to.len() {
            let replaced = diagonal + usize::from(c != to[j]);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_columns_and_the_rest_are_all() {
        let all = Metrics::default();
        let few = all.among(vec![1, 3]).unwrap();
        let names = format!("{} {}", CATALOGUE[1].name, CATALOGUE[3].name);
        assert_eq!((few.columns(" ", str::to_owned), few.other()), (names, None));
        let more = few.more();
        for metric in &CATALOGUE {
            let beside = more.contains(&format!("s.{},", metric.name)) || more.contains(&format!("s.{})", metric.name));
            assert_ne!(beside, few.holds(&Metric::named(metric.name)), "{}", metric.name);
        }
        assert_eq!(all.more(), "false", "nothing is left out");
        let chosen = Metrics::known_by(&["power_watts"]);
        assert_eq!((chosen.more().as_str(), chosen.among(Vec::new())), ("false", None));
        assert_eq!(all.among(all.known.clone()), None);
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("same", "same"), 0);
    }

    #[test]
    fn the_nearest_names_are_offered() {
        let near = |name| nearest(name, spellings());
        assert_eq!(near("temprature")[0], "temperature_celsius", "by an alias");
        assert!(near("temprature_celsius").contains(&"temperature_celsius"), "{:?}", near("temprature_celsius"));
        assert!(near("power").contains(&"power_watts"));
        assert!(near("gpu_utilisation").contains(&"gpu_utilization"));
    }
}
