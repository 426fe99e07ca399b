//! A value by host, GPU and time: its sample, the messages that are still queued, and the sources read again.

use std::collections::HashSet;
use std::path::PathBuf;

use nexus_common::books::trace::{self as books, Published};
use nexus_common::domain::Timestamp;
use nexus_common::queue::{Body, Decoded, MessageKey, Messages, decode};
use tokio::task::block_in_place;

use super::super::file::{Found, Part, Wanted, look};
use super::super::question::Value;
use super::super::report::{Letter, Report, Sample, Trail};
use super::{Search, Values, row_of, rows_of};
use crate::operator::words::bytes;

/// A row is not older than its publication, less what a streamer lets pass as future (MAX_FUTURE, a day) and clocks differ.
const AHEAD_US: i64 = 2 * 86_400_000_000;
/// Sources that cannot be read and are named all the same.
const UNREAD: usize = 5;
/// A file from this size on is worth a word before it is read.
const LARGE: u64 = 64 << 20;

impl Search<'_> {
    pub(super) async fn value(&mut self, value: &Value, report: &mut Report) -> anyhow::Result<()> {
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
            let has_metric =
                |values: &Values| value.metric.as_ref().is_none_or(|metric| values.contains_key(metric.name()));
            for (key, body) in bodies {
                let rows = rows_of(body, &key, trail.state, trail.batch.source.as_ref(), has_metric);
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
        let mut unread = Vec::new();
        for part in possible {
            let Some(path) = self.files.of_lane(&part.lane, &part.file) else {
                unread.push(part);
                continue;
            };
            match candidates.iter_mut().find(|(known, _)| *known == path) {
                Some((_, parts)) => parts.push(part),
                None => candidates.push((path, vec![part])),
            }
        }
        // A pass of a loop starts when it is published: its rows lie near that.
        unread.sort_by_key(|part| (part.last.0 - at.0).abs());
        for Published { lane, file, pass, bytes: [first, end], last, .. } in unread.into_iter().take(UNREAD) {
            self.notes.push(format!(
                "may have come from {file} (lane {lane}, pass {pass}, bytes {first} to {end}, published until {last}), which \
                 was not read"
            ));
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
}

fn is_of(body: &Body, value: &Value) -> bool {
    let Body::Rows { described, timestamp, .. } = body else { return false };
    let gpu = &described.gpu;
    let is_gpu = gpu.gpu == value.gpu || gpu.uuid.as_deref() == Some(value.gpu.as_str());
    gpu.host == value.host && is_gpu && *timestamp == value.at
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
