//! Asks etcd, PostgreSQL and the sources, and puts together what they say.

mod message;
mod value;

use std::collections::{BTreeMap, HashSet};

use anyhow::bail;
use deadpool_postgres::Object;
use nexus_common::books::trace::{self as books, Booked};
use nexus_common::db;
use nexus_common::domain::Timestamp;
use nexus_common::queue::{BatchId, Body, Inspector, Messages, Standee, Standing};

use super::file::Found;
use super::question::Question;
use super::report::{Batch, Ledger, Letter, Place, Queue, Report, Row, Sample, State, Trail, as_stored};
use super::sources::Files;
use crate::operator::servers::Servers;
use crate::operator::words::Time;

/// What there is to ask. One of etcd and PostgreSQL may be away: what the other knows is told.
pub(super) struct Search<'a> {
    servers: &'a Servers,
    queue: Option<(Inspector, Standing, HashSet<String>)>,
    /// A connection and the cluster's number.
    memory: Option<(Object, i32)>,
    files: Files,
    notes: Vec<String>,
}

impl<'a> Search<'a> {
    pub(super) async fn open(servers: &'a Servers, files: Files) -> anyhow::Result<Search<'a>> {
        let mut notes = Vec::new();
        let inspector = servers.inspector().await?;
        let looked = async {
            let standing = inspector.standing().await?;
            let alive = inspector.members().await?.into_iter().map(|member| member.id).collect();
            Ok((standing, alive))
        };
        let queue = looked.await.map_err(|error| servers.etcd_failed(error));
        let memory = connect(servers).await;
        if let (Err(etcd), Err(postgres)) = (&queue, &memory) {
            bail!("{etcd:#}; and {postgres:#}");
        }
        if let Err(error) = &queue {
            notes.push(format!("{error:#}; what is queued was not looked at"));
        }
        let memory = match memory {
            Ok(Some(memory)) => Some(memory),
            Ok(None) => {
                notes.push(format!("PostgreSQL holds nothing of cluster {}", servers.common.cluster_id));
                None
            }
            Err(error) => {
                notes.push(format!("{error:#}; what is stored was not looked at"));
                None
            }
        };
        let queue = queue.ok().map(|(standing, alive)| (inspector, standing, alive));
        Ok(Search { servers, queue, memory, files, notes })
    }

    pub(super) async fn find(mut self, question: &Question) -> anyhow::Result<Report> {
        let mut report = Report {
            question: question.asked(),
            state: State::Unknown,
            meaning: String::new(),
            samples: Vec::new(),
            trails: Vec::new(),
            perhaps: Vec::new(),
            notes: Vec::new(),
        };
        match question {
            Question::Batch(batch) => report.trails.push(self.batch(batch).await?),
            Question::Message(key) => report.trails = self.message(key).await?,
            Question::Value(value) => self.value(value, &mut report).await?,
        }
        report.notes = self.notes;
        report.notes.extend(self.files.troubles().iter().cloned());
        report.conclude(matches!(question, Question::Value(_)));
        Ok(report)
    }

    /// Everything about a batch, without its rows.
    async fn batch(&self, batch: &BatchId) -> anyhow::Result<Trail> {
        let standee = match &self.queue {
            Some((inspector, ..)) => inspector.standee(batch).await.map_err(|e| self.servers.etcd_failed(e))?,
            None => None,
        };
        let mut trail = match standee {
            Some(standee) => self.of_standee(&standee).await?,
            None => self.bare(batch),
        };
        if let Some((db, cluster)) = &self.memory {
            let failed = |error| self.servers.memory_failed(error);
            if let Some(booked) = books::booked(db, *cluster, batch).await.map_err(failed)? {
                self.enter(&mut trail, &booked);
            }
            let letters = books::letters_of(db, *cluster, batch, None).await.map_err(failed)?;
            trail.dead_letters = letters.into_iter().map(Letter::from).collect();
        }
        let lanes = self.queue.as_ref().map(|(_, standing, _)| &standing.lanes);
        let cursor = lanes.and_then(|lanes| lanes.get(&batch.lane)?.as_ref());
        trail.settle(cursor.map(|cursor| (cursor.run.as_str(), cursor.n)));
        Ok(trail)
    }

    async fn samples(&self, host: &str, gpu: &str, at: Timestamp) -> anyhow::Result<Vec<Sample>> {
        let Some((db, cluster)) = &self.memory else { return Ok(Vec::new()) };
        let failed = |error| self.servers.memory_failed(error);
        let gpus = books::gpus(db, *cluster, host, gpu).await.map_err(failed)?;
        let ids: Vec<i32> = gpus.iter().map(|gpu| gpu.id).collect();
        let samples = books::samples(db, &ids, at).await.map_err(failed)?;
        Ok(samples.into_iter().map(Sample::from).collect())
    }

    fn bare(&self, batch: &BatchId) -> Trail {
        let batch = Batch::of(batch, None);
        Trail { state: State::Unknown, batch, queue: None, ledger: None, rows: Vec::new(), dead_letters: Vec::new() }
    }

    async fn of_standee(&self, standee: &Standee) -> anyhow::Result<Trail> {
        let Some((inspector, _, alive)) = &self.queue else { return Ok(self.bare(&standee.batch)) };
        let there = match inspector.messages(standee).await.map_err(|error| self.servers.etcd_failed(error))? {
            Messages::There(messages) => messages.len(),
            Messages::Gone => return Ok(self.bare(&standee.batch)),
        };
        let queue = Queue {
            claimer_is_alive: standee.holder.as_ref().is_some_and(|holder| alive.contains(holder)),
            claimed_by: standee.holder.clone(),
            attempts: standee.attempts,
            messages: standee.manifest.as_ref().map_or(0, |manifest| manifest.messages),
            messages_there: there,
        };
        let batch = Batch::of(&standee.batch, standee.manifest.as_ref().map(Place::from));
        Ok(Trail { batch, queue: Some(queue), ..self.bare(&standee.batch) })
    }

    fn enter(&self, trail: &mut Trail, booked: &Booked) {
        trail.batch = Batch::of(&booked.batch, Some(Place::from(booked)));
        trail.ledger = Some(Ledger {
            stored_at: Time(booked.stored_at),
            collector_is_alive: self.queue.as_ref().map(|(.., alive)| alive.contains(&booked.collector)),
            collector: booked.collector.clone(),
            stored: booked.stored,
            dead: booked.dead,
            expired: booked.expired,
        });
    }
}

async fn connect(servers: &Servers) -> anyhow::Result<Option<(Object, i32)>> {
    let failed = |error| servers.memory_failed(error);
    let db = servers.memory()?.get().await.map_err(|error| failed(db::Error::from(error)))?;
    let cluster = books::cluster(&db, &servers.common.cluster_id).await.map_err(failed)?;
    Ok(cluster.map(|cluster| (db, cluster)))
}

/// What a row reports, by metric.
type Values = BTreeMap<String, Option<f64>>;

/// The rows of a message that is in etcd.
fn rows_of(body: Body, key: &str, state: State, source: Option<&Place>, wanted: impl Fn(&Values) -> bool) -> Vec<Row> {
    let row = |line, byte, source_timestamp, values, text| Row {
        state,
        line,
        byte,
        end_byte: None,
        source_timestamp,
        values,
        is_as_stored: None,
        text,
        key: Some(key.to_owned()),
    };
    match body {
        Body::Dead { line, byte, reject } => {
            let text = format!("{} ({})", String::from_utf8_lossy(&reject.raw).trim(), reject.reason);
            vec![row(line, byte, None, BTreeMap::new(), Some(text))]
        }
        Body::Rows { timestamp, rows, .. } => {
            let own = timestamp.shifted(-source.map_or(0, |source| source.shift_us));
            let rows = rows.into_iter().map(|found| {
                let values =
                    found.values.into_iter().map(|(metric, value)| (metric.name().to_owned(), value)).collect();
                row(found.line, found.byte, Some(Time(own)), values, None)
            });
            rows.filter(|row| wanted(&row.values)).collect()
        }
    }
}

/// A row that was found in its source.
fn row_of(found: Found, trail: &Trail, samples: &[Sample]) -> Row {
    let is_as_stored = as_stored(&found.values, samples);
    Row {
        state: trail.fate(found.byte, None, is_as_stored),
        line: found.line,
        byte: found.byte,
        end_byte: Some(found.end),
        source_timestamp: Some(Time(found.timestamp)),
        values: found.values,
        is_as_stored,
        text: found.text,
        key: None,
    }
}
