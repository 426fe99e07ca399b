use nexus_common::domain::{Condition, EventKind, Severity, Timestamp};
use serde::Serialize;
use tokio_postgres::Row;

use super::cursor::Place;
use super::{Cursor, Model, Order, Page, Paging, Range, Result, Selection, Time};

/// Something that happened to a GPU, as it was told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Rising in the order of storing.
    pub id: i64,
    /// The cluster's name.
    pub cluster_id: String,
    /// The host's name at that time.
    pub host_id: String,
    /// The GPU's index on the host at that time.
    pub gpu_id: String,
    /// Where it is known.
    pub uuid: Option<String>,
    /// When it was so, by the data.
    pub timestamp: Time,
    /// When it was noticed, by the clock.
    pub noted_at: Time,
    /// A word of [`EventKind`], or of a newer version.
    pub kind: String,
    /// A word of [`Condition`], or of a newer version; none for an XID that makes no GPU sick.
    pub condition: Option<String>,
    /// A word of [`Severity`].
    pub severity: String,
    /// Since when the condition has held, or had.
    pub since: Time,
    /// The XID code, the number of errors or the bit mask, where there is one.
    pub code: Option<i64>,
    /// In words, with figures and units.
    pub detail: String,
}

/// Which events; all where nothing is set.
#[derive(Debug, Clone, Default)]
pub struct EventQuestion {
    /// Of which GPUs, by the names they had then.
    pub selection: Selection,
    /// Of this kind.
    pub kind: Option<EventKind>,
    /// Of this condition.
    pub condition: Option<Condition>,
    /// That matter as much as this, or more.
    pub min_severity: Option<Severity>,
    /// Of this time, by the data.
    pub range: Range,
    /// By the data's time.
    pub order: Order,
}

impl Model {
    /// Events, by time and number.
    ///
    /// # Errors
    /// [`super::Error::Invalid`] for a cursor of another list, and as PostgreSQL answers.
    pub async fn events(&self, question: &EventQuestion, paging: &Paging) -> Result<Page<Event>> {
        let EventQuestion { selection, kind, condition, min_severity, range, order } = question;
        let (first, last) = (Timestamp(i64::MIN), Timestamp(i64::MAX));
        let (at, id) = match (paging.cursor.as_ref().map(Cursor::place), order) {
            (None, Order::Newest) => (last, 0),
            (None, Order::Oldest) => (first, 0),
            (Some(Place::Event(made_for, at, id)), order) if made_for == order => (*at, *id),
            _ => return Err(Cursor::foreign()),
        };
        let (behind, direction) = match order {
            Order::Newest => ("<", "DESC"),
            Order::Oldest => (">", "ASC"),
        };
        let sql = include_str!("events.sql").replace("/* behind */", behind).replace("/* order */", direction);
        let Selection { cluster_id, host_id, gpu_id } = selection;
        let (kind, condition) = (kind.map(EventKind::as_str), condition.map(Condition::as_str));
        let severities = min_severity.map(|least| {
            Severity::ALL.into_iter().filter(|severity| *severity >= least).map(Severity::as_str).collect::<Vec<_>>()
        });
        let (start, end) = (range.start.unwrap_or(first), range.end.unwrap_or(last));
        let rows = paging.rows();
        let found = self
            .query(&sql, &[cluster_id, host_id, gpu_id, &kind, &condition, &severities, &start, &end, &at, &id, &rows])
            .await?;
        let found = found.iter().map(|row| {
            let event = self.event(row)?;
            let place = Cursor::at(Place::Event(*order, event.timestamp.0, event.id));
            Ok((event, place))
        });
        Ok(Page::of(found.collect::<Result<_>>()?, paging.limit))
    }

    fn event(&self, row: &Row) -> Result<Event> {
        Ok(Event {
            id: self.column(row, "id")?,
            cluster_id: self.column(row, "cluster_id")?,
            host_id: self.column(row, "host")?,
            gpu_id: self.column(row, "gpu")?,
            uuid: self.column(row, "uuid")?,
            timestamp: Time(self.column(row, "at")?),
            noted_at: Time(self.column(row, "noted_at")?),
            kind: self.column(row, "kind")?,
            condition: self.column(row, "condition")?,
            severity: self.column(row, "severity")?,
            since: Time(self.column(row, "since")?),
            code: self.column(row, "code")?,
            detail: self.column(row, "detail")?,
        })
    }
}
