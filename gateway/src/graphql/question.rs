//! Which samples a field asks for, from its arguments: the same forms and bounds as in REST.

use std::str::FromStr;
use std::sync::Arc;

use nexus_common::config::duration;
use nexus_common::domain::EventKind;

use super::asked::Asked;
use super::batch::Key;
use super::error::{Failure, Result};
use super::page;
use super::sample::Sample;
use super::words::{Condition, Order, Severity};
use crate::read::{
    self, Aggregate, Each, EventQuestion, Metrics, Page, Paging, Range, Selection, Source, Step, Steps, moment,
};

/// The arguments, as they are written.
pub(super) struct Samples {
    pub(super) start: Option<String>,
    pub(super) end: Option<String>,
    pub(super) metrics: Option<Vec<String>>,
    pub(super) step: Option<String>,
    pub(super) agg: Option<String>,
    pub(super) order: Order,
}

impl Samples {
    /// A page of the samples of a selection.
    pub(super) async fn page(
        &self,
        asked: &Asked,
        selection: &Selection,
        paging: &Paging,
    ) -> Result<Page<read::Sample>> {
        let (range, metrics, steps) = (self.range(asked)?, self.metrics(asked)?, self.steps()?);
        let (sources, order) = (asked.read.sources(selection)?, self.order.into());
        let _turn = asked.turns.acquire().await.map_err(|error| Failure::internal(error.to_string()))?;
        Ok(match steps {
            None => asked.read.samples(&sources, range, &metrics, order, paging).await?,
            Some(steps) => {
                let window = steps.window(&sources, range, paging)?;
                asked.read.buckets(&sources, range, &metrics, window, order, paging).await?
            }
        })
    }

    /// The first samples of one GPU, asked for together with those of the query's other GPUs.
    pub(super) async fn of_each(&self, asked: &Asked, gpu: &Source, limit: i32) -> Result<Vec<Sample>> {
        let limit = page::part(limit, None)?.limit;
        let (range, metrics, steps) = (self.range(asked)?, self.metrics(asked)?, self.steps()?);
        let question = Arc::new(Each { range, metrics, steps, order: self.order.into(), limit });
        let answer = asked.of_each.load_one(Key { question, gpu: gpu.clone() }).await;
        match answer.map_err(|error| Failure::of(&error))? {
            Some(samples) => {
                let samples = samples.map_err(|error| Failure::of(&error))?;
                Ok(samples.into_iter().map(Into::into).collect())
            }
            None => Err(Failure::internal("a batch left a GPU out")),
        }
    }

    fn range(&self, asked: &Asked) -> Result<Range> {
        range(asked, self.start.as_deref(), self.end.as_deref())
    }

    fn metrics(&self, asked: &Asked) -> Result<Metrics> {
        metrics(asked, self.metrics.as_deref())
    }

    /// `step`, `agg`; one of them is enough.
    fn steps(&self) -> Result<Option<Steps>> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let aggregate = given(&self.agg).map(|word| aggregate(&word)).transpose()?;
        let step = match given(&self.step).as_deref() {
            None if aggregate.is_none() => return Ok(None),
            None | Some("auto") => None,
            Some(text) => {
                let step = duration(text).map_err(|reason| Failure::argument("step", format!("{reason}, or auto")))?;
                Step::new(step)?;
                Some(step)
            }
        };
        Ok(Some(Steps { step, aggregate }))
    }
}

/// Which events a field asks for, as it is written.
pub(super) struct Events {
    pub(super) selection: Selection,
    pub(super) kind: Option<String>,
    pub(super) condition: Option<Condition>,
    pub(super) min_severity: Option<Severity>,
    pub(super) start: Option<String>,
    pub(super) end: Option<String>,
    pub(super) order: Order,
}

impl Events {
    /// A page of them.
    pub(super) async fn page(self, asked: &Asked, paging: &Paging) -> Result<Page<read::Event>> {
        let kind = self.kind.as_deref().filter(|kind| !kind.is_empty()).map(EventKind::from_str).transpose();
        let question = EventQuestion {
            kind: kind.map_err(|reason| Failure::argument("kind", reason.to_string()))?,
            condition: self.condition.map(Into::into),
            min_severity: self.min_severity.map(Into::into),
            range: range(asked, self.start.as_deref(), self.end.as_deref())?,
            order: self.order.into(),
            selection: stored(self.selection)?,
        };
        let _turn = asked.turns.acquire().await.map_err(|error| Failure::internal(error.to_string()))?;
        Ok(asked.read.events(&question, paging).await?)
    }
}

/// Names that PostgreSQL can be asked for: its text holds every character but one.
fn stored(selection: Selection) -> Result<Selection> {
    let Selection { cluster_id, host_id, gpu_id } = &selection;
    for (parameter, name) in [("cluster_id", cluster_id), ("host_id", host_id), ("gpu_id", gpu_id)] {
        if name.as_ref().is_some_and(|name| name.contains('\0')) {
            return Err(Failure::argument(parameter, "holds a NUL character, which no name has"));
        }
    }
    Ok(selection)
}

/// `now` is the same everywhere in a query.
pub(super) fn range(asked: &Asked, start: Option<&str>, end: Option<&str>) -> Result<Range> {
    let bound = |name: &'static str, text: Option<&str>| {
        let bound = text.filter(|text| !text.is_empty()).map(|text| moment(text, asked.now)).transpose();
        bound.map_err(|reason| Failure::argument(name, reason))
    };
    Ok(Range::new(bound("start", start)?, bound("end", end)?)?)
}

/// All where there are none.
pub(super) fn metrics(asked: &Asked, names: Option<&[String]>) -> Result<Metrics> {
    let names = names.unwrap_or_default().iter().map(|name| name.trim()).filter(|name| !name.is_empty());
    Ok(asked.read.metrics(&names.collect::<Vec<_>>())?)
}

fn aggregate(text: &str) -> Result<Aggregate> {
    let found = Aggregate::WORDS.iter().find(|(word, _)| *word == text).map(|(_, aggregate)| *aggregate);
    found.ok_or_else(|| {
        let words = Aggregate::WORDS.map(|(word, _)| word).join(", ");
        Failure::argument("agg", format!("is none of {words}"))
    })
}
