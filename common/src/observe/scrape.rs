//! Figures that are not kept for Prometheus but looked at when it asks.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// What a look is written into.
#[derive(Debug)]
pub struct Scrape<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl<'a, 'b> Scrape<'a, 'b> {
    /// Over what a collector is handed.
    pub fn new(encoder: &'a mut DescriptorEncoder<'b>) -> Self {
        Scrape(encoder)
    }

    /// A figure that goes up and down.
    ///
    /// # Errors
    /// Where it cannot be written down: a fault of ours.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.figure(name, help, &ConstGauge::new(value))
    }

    /// The same for each value of a label.
    ///
    /// # Errors
    /// As [`Scrape::gauge`].
    pub fn gauges<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'static str, V)>,
    ) -> fmt::Result {
        let figures = values.into_iter().map(|(named, value)| (named, ConstGauge::new(value)));
        self.family(name, help, label, figures)
    }

    /// A figure that only goes up; `_total` is put behind its name.
    ///
    /// # Errors
    /// As [`Scrape::gauge`].
    pub fn counter(&mut self, name: &str, help: &str, value: impl EncodeCounterValue) -> fmt::Result {
        self.figure(name, help, &ConstCounter::new(value))
    }

    /// The same for each value of a label.
    ///
    /// # Errors
    /// As [`Scrape::gauge`].
    pub fn counters<V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'static str, V)>,
    ) -> fmt::Result {
        let figures = values.into_iter().map(|(named, value)| (named, ConstCounter::new(value)));
        self.family(name, help, label, figures)
    }

    fn figure<M: EncodeMetric + TypedMetric>(&mut self, name: &str, help: &str, figure: &M) -> fmt::Result {
        figure.encode(self.0.encode_descriptor(name, help, None, M::TYPE)?)
    }

    fn family<M: EncodeMetric + TypedMetric>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        figures: impl Iterator<Item = (&'static str, M)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, M::TYPE)?;
        for (named, figure) in figures {
            figure.encode(family.encode_family(&[(label, named)])?)?;
        }
        Ok(())
    }
}

/// Figures to be looked at whenever somebody asks: a look takes no time worth speaking of and waits for nobody.
pub fn looked_at(look: impl Fn(&mut Scrape<'_, '_>) -> fmt::Result + Send + Sync + 'static) -> Box<dyn Collector> {
    Box::new(Looked(look))
}

struct Looked<F>(F);

impl<F> fmt::Debug for Looked<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Looked")
    }
}

impl<F: Fn(&mut Scrape<'_, '_>) -> fmt::Result + Send + Sync + 'static> Collector for Looked<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut Scrape(&mut encoder))
    }
}
