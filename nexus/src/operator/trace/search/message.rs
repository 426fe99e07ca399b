//! A message by its key: in etcd, or in the batch of the ledger that held it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use nexus_common::books::trace::{self as books, Booked};
use nexus_common::domain::Timestamp;
use nexus_common::etcd::GetOptions;
use nexus_common::queue::{BatchId, Decoded, MessageKey, Standee, decode};
use tokio::task::block_in_place;

use super::super::file::{Part, Wanted, look};
use super::super::report::{Letter, Row, Sample, State, Trail};
use super::{Search, row_of, rows_of};

impl Search<'_> {
    /// The batch of a message and the message's rows.
    pub(super) async fn message(&mut self, key: &MessageKey) -> anyhow::Result<Vec<Trail>> {
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
                trail.rows = rows_of(body, &full, trail.state, trail.batch.source.as_ref(), |_| true);
            }
            Decoded::Newer(version) => {
                self.notes.push(format!("the message has version {version}, newer than this one"));
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
            let stored = match samples.entry(at) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(self.samples(&key.host, &key.gpu, at).await?),
            };
            rows.push(row_of(found, &trail, stored));
        }
        Ok(Some(rows))
    }
}
