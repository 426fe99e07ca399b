//! Which samples a field asks for, from its arguments: the same forms and bounds as in REST.

use std::sync::Arc;

use nexus_common::config::duration;

use super::asked::Asked;
use super::batch::Key;
use super::error::{Failure, Result};
use super::page;
use super::sample::Sample;
use super::words::Order;
use crate::read::{self, Aggregate, Each, Metrics, Page, Paging, Range, Selection, Source, Window, moment};

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
        let (range, metrics, window) = (self.range(asked)?, self.metrics(asked)?, self.window()?);
        let (sources, order) = (asked.read.sources(selection)?, self.order.into());
        let _turn = asked.turns.acquire().await.map_err(|error| Failure::internal(error.to_string()))?;
        Ok(match window {
            None => asked.read.samples(&sources, range, &metrics, order, paging).await?,
            Some(window) => asked.read.buckets(&sources, range, &metrics, window, order, paging).await?,
        })
    }

    /// The first samples of one GPU, asked for together with those of the query's other GPUs.
    pub(super) async fn of_each(&self, asked: &Asked, gpu: &Source, limit: i32) -> Result<Vec<Sample>> {
        let limit = page::part(limit, None)?.limit;
        let (range, metrics, window) = (self.range(asked)?, self.metrics(asked)?, self.window()?);
        let question = Arc::new(Each { range, metrics, window, order: self.order.into(), limit });
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
        let bound = |name: &'static str, text: &Option<String>| {
            let text = text.as_deref().filter(|text| !text.is_empty());
            let bound = text.map(|text| moment(text, asked.now)).transpose();
            bound.map_err(|reason| Failure::argument(name, reason))
        };
        Ok(Range::new(bound("start", &self.start)?, bound("end", &self.end)?)?)
    }

    fn metrics(&self, asked: &Asked) -> Result<Metrics> {
        metrics(asked, self.metrics.as_deref())
    }

    fn window(&self) -> Result<Option<Window>> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let aggregate = given(&self.agg).map(|word| aggregate(&word)).transpose()?;
        match given(&self.step) {
            None if aggregate.is_some() => Err(Failure::argument("agg", "needs a step, e.g. step: \"5m\"")),
            None => Ok(None),
            Some(text) => {
                let step = duration(&text).map_err(|reason| Failure::argument("step", reason))?;
                Ok(Some(Window::new(step, aggregate)?))
            }
        }
    }
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
