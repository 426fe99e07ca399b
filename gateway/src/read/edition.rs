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
        let ids: Vec<i32> = sources.iter().map(|source| source.id).collect();
        let (first, behind) = (floor(start), ceil(end));
        let days = Days::of(first, behind, behind.0.saturating_sub(first.0));
        let form = Form { shape: Shape::Edition, metrics: Metrics::default(), order: Order::default(), days };
        let sql = self.texts().of(form, || include_str!("edition.sql").to_owned());
        let found = self.heavy_query(&sql, &[&ids, &first, &behind]).await?;
        let edition = found.first().map(|row| Ok(Edition { server: self.nth(row, 0)?, rolled: self.nth(row, 1)? }));
        edition.transpose()
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
