//! Asks etcd, PostgreSQL and the sources, and puts together what they say.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use anyhow::bail;
use deadpool_postgres::Object;
use nexus_common::books::trace::{self as books, Booked, Published};
use nexus_common::db;
use nexus_common::domain::Timestamp;
use nexus_common::etcd::GetOptions;
use nexus_common::queue::{BatchId, Body, Decoded, Inspector, MessageKey, Messages, Standee, Standing, decode};
use tokio::task::block_in_place;

use super::file::{Found, Part, Wanted, look};
use super::question::{Question, Value};
use super::report::{Batch, Ledger, Letter, Place, Queue, Report, Row, Sample, State, Trail, as_stored};
use super::sources::Files;
use crate::operator::servers::Servers;
use crate::operator::words::{Time, bytes};

/// A row is not older than its publication, less what a streamer lets pass as future (MAX_FUTURE, a day) and clocks differ.
const AHEAD_US: i64 = 2 * 86_400_000_000;
/// A file from this size on is worth a word before it is read.
const LARGE: u64 = 64 << 20;

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

    /// The batch of a message and the message's rows.
    async fn message(&mut self, key: &MessageKey) -> anyhow::Result<Vec<Trail>> {
        if let Some(trail) = self.queued_message(key).await? {
            return Ok(vec![trail]);
        }
        let mut trails = Vec::new();
        if let Some((inspector, ..)) = &self.queue {
            let full = inspector.keys().message(key);
            let standees = inspector.published_at(key.published_ms).await;
            for standee in standees.map_err(|error| self.servers.etcd_failed(error))? {
                let is_between = |standee: &Standee| {
                    standee
                        .manifest
                        .as_ref()
                        .is_some_and(|manifest| (&manifest.first..=&manifest.last).contains(&&full))
                };
                if is_between(&standee) {
                    let trail = self.batch(&standee.batch).await?;
                    self.notes.push("the message is not in etcd, but its batch is: it has expired".to_owned());
                    trails.push(Trail { state: State::Expired, ..trail });
                }
            }
        }
        if trails.is_empty() {
            trails = self.stored_message(key).await?;
        }
        Ok(trails)
    }

    async fn queued_message(&mut self, key: &MessageKey) -> anyhow::Result<Option<Trail>> {
        let Some((inspector, ..)) = &self.queue else { return Ok(None) };
        let failed = |error| self.servers.etcd_failed(error);
        let full = inspector.keys().message(key);
        let found = inspector.client().get(&full, GetOptions::new()).await.map_err(failed)?;
        let Some(kv) = found.kvs.first() else { return Ok(None) };
        let standees = inspector.published_at(key.published_ms).await.map_err(failed)?;
        let Some(standee) = standees.into_iter().find(|standee| standee.revision == kv.mod_revision()) else {
            return Ok(None);
        };
        let decoded = decode(kv.value());
        let mut trail = self.batch(&standee.batch).await?;
        match decoded {
            Decoded::Body(body) => {
                trail.rows = rows_of(body, &full, trail.state, trail.batch.source.as_ref(), &|_| true);
            }
            Decoded::Newer(version) => {
                self.notes.push(format!("the message has version {version}, newer than this one"))
            }
            Decoded::Garbage(reason) => self.notes.push(format!("the message cannot be decoded: {reason}")),
        }
        Ok(Some(trail))
    }

    /// A message that left etcd: the ledger's batches of its millisecond whose part of the source has rows of its GPU.
    async fn stored_message(&mut self, key: &MessageKey) -> anyhow::Result<Vec<Trail>> {
        let Some((db, cluster)) = &self.memory else { return Ok(Vec::new()) };
        let failed = |error| self.servers.memory_failed(error);
        let full = self.servers.keys().message(key);
        let letters = books::letters_with_key(db, *cluster, &full).await.map_err(failed)?;
        let dead_in: Vec<BatchId> = letters.iter().filter_map(|letter| letter.batch.parse().ok()).collect();
        let booked = books::booked_at(db, *cluster, key.published_ms).await.map_err(failed)?;
        let mut trails = Vec::new();
        for booked in &booked {
            if !dead_in.is_empty() && !dead_in.contains(&booked.batch) {
                continue;
            }
            let mut trail = self.batch(&booked.batch).await?;
            let rows = self.reread(booked, key).await?;
            if rows.as_ref().is_some_and(Vec::is_empty) && dead_in.is_empty() {
                // Another lane's batch of the same millisecond.
                continue;
            }
            if let Some(rows) = rows {
                trail.rows = rows;
            }
            if !dead_in.is_empty() {
                trail.dead_letters = letters.iter().cloned().map(Letter::from).collect();
                trail.rows.clear();
                trail.state = State::DeadLetter;
            }
            trails.push(trail);
        }
        if trails.len() > 1 {
            self.notes.push("several batches of that millisecond have such rows: one of them".to_owned());
        } else if trails.iter().any(|trail| trail.rows.len() > 1) {
            self.notes.push("the message left etcd: it held one or more of these rows, those of one time".to_owned());
        }
        Ok(trails)
    }

    /// The rows of a message's GPU in a batch's part of its source; `None` where that is not here.
    async fn reread(&mut self, booked: &Booked, key: &MessageKey) -> anyhow::Result<Option<Vec<Row>>> {
        let Some(path) = self.files.of_lane(&booked.batch.lane, &booked.file) else { return Ok(None) };
        let wanted = Wanted { host: key.host.clone(), gpu: key.gpu.clone(), ..Wanted::default() };
        let part = Part { first: Some((booked.bytes[0], booked.lines[0])), end: booked.bytes[1] };
        let looked = block_in_place(|| look(&path, self.files.options(), part, &wanted));
        let found = match looked {
            Ok(look) => look.rows,
            Err(error) => {
                self.files.trouble(error);
                return Ok(None);
            }
        };
        let mut samples: HashMap<Timestamp, Vec<Sample>> = HashMap::new();
        let mut rows = Vec::new();
        let mut trail = self.bare(&booked.batch);
        self.enter(&mut trail, booked);
        for found in found {
            let at = found.timestamp.shifted(booked.shift_us);
            if !samples.contains_key(&at) {
                let stored = self.samples(&key.host, &key.gpu, at).await?;
                samples.insert(at, stored);
            }
            rows.push(row_of(found, &trail, &samples[&at]));
        }
        Ok(Some(rows))
    }

    async fn value(&mut self, value: &Value, report: &mut Report) -> anyhow::Result<()> {
        let all = self.samples(&value.host, &value.gpu, value.at).await?;
        report.samples = match &value.metric {
            None => all.clone(),
            Some(metric) => {
                let only = |mut sample: Sample| {
                    sample.values.retain(|name, _| name == metric.name());
                    (!sample.values.is_empty()).then_some(sample)
                };
                all.iter().cloned().filter_map(only).collect()
            }
        };
        if report.samples.is_empty() {
            self.say_what_is_near(value, !all.is_empty()).await?;
        }
        report.trails = self.queued_value(value).await?;
        report.trails.extend(self.stored_value(value, &all).await?);
        // A batch that was stored while we looked is in both.
        let mut seen = HashSet::new();
        report.trails.retain(|trail| seen.insert(trail.batch.id.clone()));
        if report.samples.is_empty()
            && report.trails.is_empty()
            && let Some((db, cluster)) = &self.memory
        {
            let letters = books::letters_that_say(db, *cluster, &value.host, &spellings(value.at)).await;
            let letters = letters.map_err(|error| self.servers.memory_failed(error))?;
            report.perhaps = letters.into_iter().map(Letter::from).collect();
        }
        Ok(())
    }

    async fn samples(&self, host: &str, gpu: &str, at: Timestamp) -> anyhow::Result<Vec<Sample>> {
        let Some((db, cluster)) = &self.memory else { return Ok(Vec::new()) };
        let failed = |error| self.servers.memory_failed(error);
        let gpus = books::gpus(db, *cluster, host, gpu).await.map_err(failed)?;
        let ids: Vec<i32> = gpus.iter().map(|gpu| gpu.id).collect();
        let samples = books::samples(db, &ids, at).await.map_err(failed)?;
        Ok(samples.into_iter().map(Sample::from).collect())
    }

    async fn say_what_is_near(&mut self, value: &Value, has_others: bool) -> anyhow::Result<()> {
        let Some((db, cluster)) = &self.memory else { return Ok(()) };
        let failed = |error| self.servers.memory_failed(error);
        if has_others {
            self.notes.push("PostgreSQL has a sample of that time, but not this metric in it".to_owned());
            return Ok(());
        }
        let gpus = books::gpus(db, *cluster, &value.host, &value.gpu).await.map_err(failed)?;
        if gpus.is_empty() {
            self.notes.push(format!("PostgreSQL knows no GPU {} on host {}", value.gpu, value.host));
            return Ok(());
        }
        let ids: Vec<i32> = gpus.iter().map(|gpu| gpu.id).collect();
        let near = match books::neighbours(db, &ids, value.at).await.map_err(failed)? {
            (None, None) => "PostgreSQL has no sample of this GPU".to_owned(),
            (Some(before), None) => {
                format!("PostgreSQL has no sample of exactly that time; the last one before is of {before}")
            }
            (None, Some(after)) => {
                format!("PostgreSQL has no sample of exactly that time; the first one after is of {after}")
            }
            (Some(before), Some(after)) => {
                format!("PostgreSQL has no sample of exactly that time; its neighbours are of {before} and {after}")
            }
        };
        self.notes.push(near);
        Ok(())
    }

    /// Rows of the value in messages that are still in etcd.
    async fn queued_value(&mut self, value: &Value) -> anyhow::Result<Vec<Trail>> {
        let Some((inspector, standing, _)) = &self.queue else { return Ok(Vec::new()) };
        let failed = |error| self.servers.etcd_failed(error);
        let by_uuid = value.gpu.starts_with("GPU-") || value.gpu.starts_with("MIG-");
        let wanted = |key: &MessageKey| key.host == value.host && (by_uuid || key.gpu == value.gpu);
        let places = inspector.holding(&standing.batches, wanted).await.map_err(failed)?;
        let mut found = Vec::new();
        for standee in places.into_iter().map(|place| &standing.batches[place]) {
            let Messages::There(messages) = inspector.messages(standee).await.map_err(failed)? else { continue };
            let bodies = messages.into_iter().filter_map(|(key, message)| match decode(&message) {
                Decoded::Body(body) if is_of(&body, value) => Some((key, body)),
                _ => None,
            });
            let bodies: Vec<_> = bodies.collect();
            if !bodies.is_empty() {
                found.push((standee.batch.clone(), bodies));
            }
        }
        let mut trails = Vec::new();
        for (batch, bodies) in found {
            let mut trail = self.batch(&batch).await?;
            let has_metric = |values: &BTreeMap<String, Option<f64>>| {
                value.metric.as_ref().is_none_or(|metric| values.contains_key(metric.name()))
            };
            for (key, body) in bodies {
                let rows = rows_of(body, &key, trail.state, trail.batch.source.as_ref(), &has_metric);
                trail.rows.extend(rows);
            }
            if !trail.rows.is_empty() {
                trails.push(trail);
            }
        }
        Ok(trails)
    }

    /// Rows of the value in the sources that the ledger's batches came from.
    async fn stored_value(&mut self, value: &Value, samples: &[Sample]) -> anyhow::Result<Vec<Trail>> {
        let Some((db, cluster)) = &self.memory else { return Ok(Vec::new()) };
        let cluster = *cluster;
        let published = books::published(db, cluster).await.map_err(|error| self.servers.memory_failed(error))?;
        for (path, parts) in self.candidates(published, value.at) {
            let times = parts.iter().map(|part| value.at.0.saturating_sub(part.shift_us)).collect();
            let end = parts.iter().map(|part| part.bytes[1]).max().unwrap_or(0);
            let (host, gpu, metric) = (value.host.clone(), value.gpu.clone(), value.metric.clone());
            let wanted = Wanted { host, gpu, times: Some(times), metric };
            if end > LARGE {
                eprintln!("reading {} ({})", path.display(), bytes(end));
            }
            let looked = block_in_place(|| look(&path, self.files.options(), Part { first: None, end }, &wanted));
            let look = match looked {
                Ok(look) => look,
                Err(error) => {
                    self.files.trouble(error);
                    continue;
                }
            };
            self.notes.push(format!("read again: {}, {} rows", path.display(), look.read));
            let trails = self.trails_of(&look.rows, &parts, value.at, samples).await?;
            if !trails.is_empty() {
                return Ok(trails);
            }
        }
        Ok(Vec::new())
    }

    /// The sources that can hold a row of that time, those published soonest after it first, with their passes.
    fn candidates(&mut self, published: Vec<Published>, at: Timestamp) -> Vec<(PathBuf, Vec<Published>)> {
        let mut candidates: Vec<(PathBuf, Vec<Published>)> = Vec::new();
        let mut possible: Vec<_> = published.into_iter().filter(|part| part.last.0 >= at.0 - AHEAD_US).collect();
        possible.sort_by_key(|part| part.last);
        for part in possible {
            let Some(path) = self.files.of_lane(&part.lane, &part.file) else { continue };
            match candidates.iter_mut().find(|(known, _)| *known == path) {
                Some((_, parts)) => parts.push(part),
                None => candidates.push((path, vec![part])),
            }
        }
        candidates
    }

    async fn trails_of(
        &mut self,
        found: &[Found],
        parts: &[Published],
        at: Timestamp,
        samples: &[Sample],
    ) -> anyhow::Result<Vec<Trail>> {
        let mut trails: Vec<Trail> = Vec::new();
        for found in found {
            let of_time = |part: &&Published| found.timestamp.shifted(part.shift_us) == at;
            for part in parts.iter().filter(of_time) {
                let Some((db, cluster)) = &self.memory else { continue };
                let booked = books::booked_over(db, *cluster, &part.lane, part.pass, found.byte).await;
                for booked in booked.map_err(|error| self.servers.memory_failed(error))? {
                    let id = booked.batch.to_string();
                    if !trails.iter().any(|trail| trail.batch.id == id) {
                        trails.push(self.batch(&booked.batch).await?);
                    }
                    if let Some(trail) = trails.iter_mut().find(|trail| trail.batch.id == id) {
                        let row = row_of(found.clone(), trail, samples);
                        if !trail.rows.contains(&row) {
                            trail.rows.push(row);
                        }
                    }
                }
            }
        }
        for trail in &mut trails {
            trail.settle(None);
            let bytes: HashSet<_> = trail.rows.iter().map(|row| i64::try_from(row.byte).ok()).collect();
            trail.dead_letters.retain(|letter| letter.byte.is_none() || bytes.contains(&letter.byte));
        }
        Ok(trails)
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

fn is_of(body: &Body, value: &Value) -> bool {
    let Body::Rows { gpu, timestamp, .. } = body else { return false };
    let is_gpu = gpu.gpu == value.gpu || gpu.uuid.as_deref() == Some(value.gpu.as_str());
    gpu.host == value.host && is_gpu && *timestamp == value.at
}

/// The rows of a message that is in etcd.
fn rows_of(
    body: Body,
    key: &str,
    state: State,
    source: Option<&Place>,
    wanted: &dyn Fn(&BTreeMap<String, Option<f64>>) -> bool,
) -> Vec<Row> {
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

/// How a time may be written in a row that nobody could read.
fn spellings(at: Timestamp) -> Vec<String> {
    let text = at.to_string();
    let seconds: String = text.chars().take(19).collect();
    vec![
        seconds.replace('T', " "),
        seconds.replace('T', " ").replace('-', "/"),
        at.as_millis().div_euclid(1000).to_string(),
        seconds,
    ]
}
