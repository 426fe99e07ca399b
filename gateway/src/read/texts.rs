//! The texts of statements, which are put together from what is asked for. Most questions are asked again, about another
//! GPU or another time: a text that was put together is kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::days::Days;
use super::plan::Unit;
use super::{Aggregate, Metrics, Order};

/// The most that are kept. Chosen metrics and other days make many of them, so the number needs a bound.
const MOST: usize = 200;

/// All that a text depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Form {
    pub(super) shape: Shape,
    pub(super) metrics: Metrics,
    pub(super) order: Order,
    pub(super) days: Days,
}

/// What is asked for of the metrics. `one`: of one GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    /// A page of samples.
    Samples { one: bool },
    /// Samples of each GPU.
    Each,
    /// The editions of hours.
    Editions,
    /// Buckets, from rollups of a unit or from samples; `whole`: all of the part.
    Buckets { aggregate: Option<Aggregate>, unit: Option<Unit>, whole: bool, one: bool },
}

/// What was put together.
#[derive(Debug, Default)]
pub(super) struct Texts(Mutex<HashMap<Form, Arc<str>>>);

impl Texts {
    /// The text of this form; `write` puts it together, but for its days.
    pub(super) fn of(&self, form: Form, write: impl FnOnce() -> String) -> Arc<str> {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = texts.get(&form) {
            return Arc::clone(text);
        }
        if texts.len() >= MOST {
            texts.clear();
        }
        let text: Arc<str> = form.days.said_in(&write()).into();
        texts.insert(form, Arc::clone(&text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(order: Order, shape: Shape) -> Form {
        Form { shape, metrics: Metrics::default(), order, days: Days::default() }
    }

    #[test]
    fn a_text_is_put_together_once() {
        let texts = Texts::default();
        let one = || form(Order::Newest, Shape::Samples { one: true });
        assert_eq!(&*texts.of(one(), || "a".to_owned()), "a");
        assert_eq!(&*texts.of(one(), || "b".to_owned()), "a");
        assert_eq!(&*texts.of(form(Order::Oldest, Shape::Samples { one: true }), || "c".to_owned()), "c");
        assert_eq!(&*texts.of(form(Order::Newest, Shape::Samples { one: false }), || "d".to_owned()), "d");
        assert_eq!(&*texts.of(form(Order::Newest, Shape::Each), || "e".to_owned()), "e");
    }

    #[test]
    fn no_more_are_kept_than_the_bound() {
        let texts = Texts::default();
        let names: Vec<_> = nexus_common::domain::CATALOGUE.iter().map(|metric| metric.name).collect();
        for first in 0..names.len() {
            for last in first..names.len() {
                let metrics = Metrics::known_by(&names[first..=last]);
                let form = Form { shape: Shape::Each, metrics, order: Order::Newest, days: Days::default() };
                assert_eq!(&*texts.of(form, || names[first..=last].join(" ")), names[first..=last].join(" "));
                assert!(texts.0.lock().unwrap().len() <= MOST);
            }
        }
    }
}
