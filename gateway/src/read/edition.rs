//! Whether samples are still those that an answer was made of, without reading them.

use std::error::Error;

use nexus_common::domain::Timestamp;
use tokio_postgres::types::{FromSql, Type};

use super::days::Days;
use super::plan::{HOUR, ceil, floor};
use super::selection::Source;
use super::texts::{Form, Shape};
use super::{Metrics, Model, Order, Result};

/// What the samples of some GPUs' hours are known by: the same edition, the same samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edition {
    /// When PostgreSQL was started.
    server: Timestamp,
    /// Of each hour that is rolled up the transaction that did it, as PostgreSQL sends them.
    rolled: AsSent,
}

impl Edition {
    #[cfg(test)]
    pub(crate) fn numbered(number: u8) -> Self {
        Edition { server: Timestamp(0), rolled: AsSent([number].into()) }
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.rolled.0.len()
    }
}

/// Whole hours of some GPUs.
#[derive(Debug)]
pub(super) struct Hours {
    gpu_ids: Vec<i32>,
    first: Timestamp,
    behind: Timestamp,
}

impl Hours {
    /// All that this range touches.
    pub(super) fn touched(sources: &[Source], start: Timestamp, end: Timestamp) -> Self {
        let gpu_ids = sources.iter().map(|source| source.id).collect();
        Hours { gpu_ids, first: floor(start), behind: ceil(end) }
    }

    /// What a statement about them has to name.
    pub(super) fn days(&self) -> Days {
        Days::of(self.first, self.behind, self.behind.0.saturating_sub(self.first.0))
    }
}

impl Model {
    /// The edition of all hours that this range touches; `None` where something was stored of them and is not rolled up.
    ///
    /// # Errors
    /// As PostgreSQL answers.
    pub(crate) async fn edition(
        &self,
        sources: &[Source],
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Option<Edition>> {
        let hours = Hours::touched(sources, start, end);
        Ok(self.editions(hours.days(), &[&hours]).await?.pop().flatten())
    }

    /// The editions of several questions' hours, all in these days, in their order.
    ///
    /// # Errors
    /// As PostgreSQL answers.
    pub(super) async fn editions(&self, days: Days, asked: &[&Hours]) -> Result<Vec<Option<Edition>>> {
        let (mut gpu_ids, mut low, mut high) = (Vec::new(), Vec::new(), Vec::new());
        let place = |many: usize| i32::try_from(many).unwrap_or(i32::MAX);
        for hours in asked {
            low.push(place(gpu_ids.len() + 1));
            gpu_ids.extend_from_slice(&hours.gpu_ids);
            high.push(place(gpu_ids.len()));
        }
        let first: Vec<_> = asked.iter().map(|hours| hours.first).collect();
        let behind: Vec<_> = asked.iter().map(|hours| hours.behind).collect();
        let form = Form { shape: Shape::Editions, metrics: Metrics::default(), order: Order::default(), days };
        let sql = self.texts().of(form, || include_str!("edition.sql").to_owned());
        let mut editions = vec![None; asked.len()];
        for row in self.heavy_query(&sql, &[&gpu_ids, &low, &high, &first, &behind]).await? {
            let number: i64 = self.nth(&row, 1)?;
            let edition = Edition { server: self.nth(&row, 0)?, rolled: self.nth(&row, 2)? };
            if let Some(place) = usize::try_from(number - 1).ok().and_then(|place| editions.get_mut(place)) {
                *place = Some(edition);
            }
        }
        Ok(editions)
    }
}

/// How many hours a range touches: an edition has no more of each GPU.
pub(crate) fn hours_touched(start: Timestamp, end: Timestamp) -> usize {
    usize::try_from(ceil(end).0.saturating_sub(floor(start).0) / HOUR).unwrap_or(usize::MAX)
}

/// A value that is only compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AsSent(Box<[u8]>);

impl<'a> FromSql<'a> for AsSent {
    fn from_sql(_: &Type, raw: &'a [u8]) -> std::result::Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(AsSent(raw.into()))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::XID_ARRAY
    }
}
