//! Reading both sides, and judging what moved meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use deadpool_postgres::Pool;

use super::Error;
use super::balance::{Audit, Evidence, Hole, LaneAccount, Place, Run};
use super::ledger::{Entries, Ledger, RunEntries, locate};
use super::promise::{Promise, Waiting, file_of};
use crate::etcd::Client;
use crate::queue::{Cursor, Keys};

/// How often both sides are read until they fit together.
const ATTEMPTS: u32 = 5;
/// Holes whose neighbours are looked up.
const LOCATED: usize = 100;

/// Which lanes are audited.
#[derive(Debug, Clone, Default)]
pub enum Scope {
    /// All of the cluster.
    #[default]
    All,
    /// Those of these names.
    Named(Vec<String>),
    /// Those whose names begin so: a source's fingerprint names all its stripes.
    Beginning(String),
}

impl Scope {
    fn holds(&self, lane: &str) -> bool {
        match self {
            Scope::All => true,
            Scope::Named(lanes) => lanes.iter().any(|name| name == lane),
            Scope::Beginning(prefix) => lane.starts_with(prefix.as_str()),
        }
    }
}

/// Accounts for every row that was read into the lanes of the scope.
///
/// # Errors
/// Where one of the sides cannot be read: that is no verdict on the books.
pub async fn audit(client: &Client, keys: &Keys, memory: &Pool, scope: &Scope) -> Result<Audit, Error> {
    for _ in 0..ATTEMPTS {
        let mut promise = Promise::read(client, keys).await?;
        promise.lanes.retain(|lane, _| scope.holds(lane));
        promise.waiting.retain(|waiting| scope.holds(&waiting.batch.lane));
        let mut ledger = Ledger::read(memory, keys.cluster_id(), &promise).await?;
        ledger.lanes.retain(|lane, _| scope.holds(lane));
        ledger.returned.retain(|lane, _| scope.holds(lane));
        let since = match needs_a_second_look(&promise, &ledger) {
            true => Promise::cursors(client, keys).await?,
            false => BTreeMap::new(),
        };
        let Some(accounts) = balance(&promise, ledger, &since) else { continue };
        let mut audit = Audit::of(keys.cluster_id(), promise.revision, accounts, promise.unreadable);
        let mut holes: Vec<_> = audit
            .lanes
            .iter_mut()
            .flat_map(|lane| lane.holes.iter_mut().map(|hole| (lane.lane.clone(), hole)))
            .take(LOCATED)
            .collect();
        holes.iter_mut().for_each(|(lane, hole)| locate_among(&promise.waiting, lane, hole));
        locate(memory, keys.cluster_id(), &mut holes).await?;
        return Ok(audit);
    }
    Err(Error::Restless(ATTEMPTS))
}

/// Does the ledger have something that the cursors do not count?
fn needs_a_second_look(promise: &Promise, ledger: &Ledger) -> bool {
    ledger.lanes.iter().any(|(lane, entries)| match promise.lanes.get(lane) {
        None => true,
        Some(cursor) => {
            let others = entries.runs.iter().filter(|(run, _)| **run != cursor.run);
            let mut islands = others.flat_map(|(_, entries)| &entries.islands);
            entries.last_n > cursor.n || islands.any(|island| island.to > cursor.rows)
        }
    })
}

/// Every lane's account; `None` where the lanes changed too much meanwhile to tell late from early.
fn balance(promise: &Promise, ledger: Ledger, since: &BTreeMap<String, Cursor>) -> Option<Vec<LaneAccount>> {
    let Ledger { mut lanes, letters, republished, returned, stored } = ledger;
    let waiting_lanes = promise.waiting.iter().map(|waiting| &waiting.batch.lane);
    let names: BTreeSet<String> =
        promise.lanes.keys().chain(lanes.keys()).chain(returned.keys()).chain(waiting_lanes).cloned().collect();
    let mut waiting: HashMap<&str, Vec<&Waiting>> = HashMap::new();
    for one in &promise.waiting {
        let batch = &one.batch;
        // What is stored is in the ledger already; only its acknowledgement is missing.
        if !stored.contains(&(batch.lane.clone(), batch.run.clone(), batch.n)) {
            waiting.entry(&batch.lane).or_default().push(one);
        }
    }
    let mut accounts = Vec::new();
    for name in names {
        let mut entries = lanes.remove(&name).unwrap_or_default();
        let cursor = promise.lanes.get(&name);
        let file = cursor.and_then(file_of).map(str::to_owned).or(entries.file.take()).unwrap_or_default();
        let (last_n, dead_ever, dropped) = (entries.last_n, entries.dead_ever, entries.dropped.clone());
        match (cursor, since.get(&name)) {
            // Opened since.
            (None, Some(_)) => continue,
            (None, None) => {}
            (Some(cursor), now) => forget_later_runs(&mut entries, cursor, now.unwrap_or(cursor))?,
        }
        let waiting = waiting.remove(name.as_str()).unwrap_or_default();
        let evidence = Evidence {
            // A return that was published to its end is known from PostgreSQL too.
            read_rows: cursor.map(|cursor| cursor.rows).max(returned.get(&name).copied()),
            runs: runs(entries, &waiting, cursor),
            dropped,
            dead_ever,
            letters: letters.get(&name).copied().unwrap_or_default(),
            republished: republished.get(&name).copied().unwrap_or_default(),
        };
        let mut account = LaneAccount::balance(&name, file, &evidence);
        let behind = |now: &Cursor| cursor.is_some_and(|then| now.run == then.run && now.n < last_n);
        if since.get(&name).is_some_and(behind) {
            account.notes.push(format!(
                "PostgreSQL has batch {last_n} of the lane's run, which etcd does not know: etcd went back in time"
            ));
        }
        accounts.push(account);
    }
    Some(accounts)
}

/// The lane's runs in the order in which they were opened, the cursor's last.
fn runs(entries: Entries, waiting: &[&Waiting], cursor: Option<&Cursor>) -> Vec<Run> {
    let mut runs: BTreeMap<String, (i64, Run)> = BTreeMap::new();
    for (name, RunEntries { since_ms, first_n, islands }) in entries.runs {
        runs.insert(name, (since_ms, Run { first_n, islands, ..Run::default() }));
    }
    for Waiting { batch, rows_before, rows, claimed, .. } in waiting {
        let new = || (batch.published_ms, Run { first_n: batch.n, ..Run::default() });
        let (since_ms, run) = runs.entry(batch.run.clone()).or_insert_with(new);
        *since_ms = batch.published_ms.min(*since_ms);
        run.first_n = run.first_n.min(batch.n);
        run.waiting.push((*rows_before, rows_before + rows, *claimed));
    }
    // Opened, and nothing of it is known: what it was read with is missing.
    let mut current = Run { first_n: 1, ..Run::default() };
    if let Some(cursor) = cursor {
        current = runs.remove(&cursor.run).map_or(current, |(_, run)| run);
        current.opened = cursor.opened_rows;
    }
    let mut older: Vec<_> = runs.into_values().collect();
    older.sort_by_key(|(since_ms, _)| *since_ms);
    let current = (cursor.is_some() || older.is_empty()).then_some(current);
    older.into_iter().map(|(_, run)| run).chain(current).collect()
}

/// Other runs may have been opened since the cursor was read: what they published is not for this audit.
fn forget_later_runs(entries: &mut Entries, cursor: &Cursor, now: &Cursor) -> Option<()> {
    let opened_since = now.epoch.saturating_sub(cursor.epoch);
    let mut clear = true;
    entries.runs.retain(|run, of| {
        let begins_before = of.islands.iter().any(|island| island.from < cursor.rows);
        match opened_since {
            _ if *run == cursor.run || begins_before => true,
            // Not by anybody: so etcd is behind.
            0 => true,
            1 => now.run != *run,
            // Which of the runs in between it is nobody can tell.
            _ => {
                clear = false;
                true
            }
        }
    });
    clear.then_some(())
}

/// The neighbours of a hole that are still in the queue.
fn locate_among(waiting: &[Waiting], lane: &str, hole: &mut Hole) {
    for Waiting { batch, rows_before, rows, source, .. } in waiting.iter().filter(|waiting| waiting.batch.lane == lane)
    {
        let place = |line, byte| Place { batch: batch.to_string(), file: source.file.clone(), line, byte };
        if rows_before + rows == hole.rows[0] {
            hole.after.get_or_insert_with(|| place(source.lines[1], source.bytes[1]));
        }
        if *rows_before == hole.rows[1] {
            hole.before.get_or_insert_with(|| place(source.lines[0], source.bytes[0]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::ledger::Island;

    fn cursor(run: &str, epoch: u64, n: u64, rows: u64) -> Cursor {
        Cursor {
            v: 1,
            run: run.into(),
            epoch,
            n,
            rows,
            opened_rows: Some(0),
            last_ms: 0,
            position: serde_json::json!({"file": "f.csv"}),
        }
    }

    fn promise(cursor: Option<Cursor>) -> Promise {
        Promise { lanes: cursor.map(|cursor| ("l".to_owned(), cursor)).into_iter().collect(), ..Promise::default() }
    }

    fn island(from: u64, to: u64) -> Island {
        Island { from, to, batches: 1, stored: to - from, ..Island::default() }
    }

    fn entries(runs: &[(&str, Island)]) -> Entries {
        let of = |(since_ms, (run, island)): (i64, &(&str, Island))| {
            ((*run).to_owned(), RunEntries { since_ms, first_n: 1, islands: vec![island.clone()] })
        };
        Entries { runs: (0..).zip(runs).map(of).collect(), ..Entries::default() }
    }

    fn ledger(entries: Entries) -> Ledger {
        Ledger { lanes: [("l".to_owned(), entries)].into(), ..Ledger::default() }
    }

    /// Rows read and residue of the one lane, once the cursors stand as given.
    fn judged(then: Option<Cursor>, entries: Entries, now: Option<Cursor>) -> Option<Vec<(u64, i64)>> {
        let (promise, ledger) = (promise(then), ledger(entries));
        assert!(needs_a_second_look(&promise, &ledger));
        let since = now.map(|cursor| ("l".to_owned(), cursor)).into_iter().collect();
        let accounts = balance(&promise, ledger, &since)?;
        Some(accounts.iter().map(|lane| (lane.figures.read, lane.figures.residue)).collect())
    }

    #[test]
    fn a_run_that_was_opened_after_the_first_look_is_not_counted() {
        let entries = |run: &str| entries(&[("a", island(0, 50)), (run, island(50, 60))]);
        let then = || Some(cursor("a", 1, 5, 50));
        assert_eq!(judged(then(), entries("b"), Some(cursor("b", 2, 1, 60))), Some(vec![(50, 0)]));
        // Another one than the new: an older run, which etcd has forgotten.
        assert_eq!(judged(then(), entries("x"), Some(cursor("b", 2, 1, 60))), Some(vec![(60, 0)]));
        assert_eq!(judged(then(), entries("x"), then()), Some(vec![(60, 0)]));
        // Two were opened since: nobody can tell which came first.
        assert_eq!(judged(then(), entries("b"), Some(cursor("c", 3, 1, 70))), None);
    }

    #[test]
    fn a_lane_that_was_opened_after_the_first_look_waits_for_the_next_audit() {
        let entries = || entries(&[("a", island(0, 10))]);
        assert_eq!(judged(None, entries(), Some(cursor("a", 1, 1, 10))), Some(vec![]));
        assert_eq!(judged(None, entries(), None), Some(vec![(10, 0)]));
    }

    #[test]
    fn batches_that_came_after_the_first_look_are_left_out_and_noted_where_etcd_forgot_them() {
        let entries = || Entries { last_n: 7, ..entries(&[("a", island(0, 50))]) };
        let then = || Some(cursor("a", 1, 5, 50));
        assert_eq!(judged(then(), entries(), Some(cursor("a", 1, 7, 70))), Some(vec![(50, 0)]));
        let since = [("l".to_owned(), cursor("a", 1, 5, 50))].into();
        let accounts = balance(&promise(then()), ledger(entries()), &since).unwrap();
        assert!(accounts[0].notes[0].contains("went back in time"));
    }

    #[test]
    fn a_batch_that_is_stored_and_not_acknowledged_counts_once() {
        let batch = crate::queue::BatchId { published_ms: 1, lane: "l".into(), run: "a".into(), n: 1 };
        let source = crate::queue::Source { file: "f".into(), pass: 0, lines: [2, 11], bytes: [0, 9], shift_us: 0 };
        let waiting = Waiting { batch, rows_before: 0, rows: 10, source, claimed: true };
        let promise = Promise { waiting: vec![waiting], ..promise(Some(cursor("a", 1, 1, 10))) };
        let mut both = ledger(Entries { last_n: 1, ..entries(&[("a", island(0, 10))]) });
        both.stored.insert(("l".to_owned(), "a".to_owned(), 1));
        let figures = balance(&promise, both, &BTreeMap::new()).unwrap()[0].figures;
        assert_eq!((figures.stored, figures.in_flight, figures.read_again, figures.residue), (10, 0, 0, 0));
        let queued = balance(&promise, Ledger::default(), &BTreeMap::new()).unwrap()[0].figures;
        assert_eq!((queued.stored, queued.in_flight, queued.residue), (0, 10, 0));
    }

    #[test]
    fn a_finished_return_is_known_without_its_cursor() {
        let returned = || Ledger { returned: [("republish-1".to_owned(), 40)].into(), ..Ledger::default() };
        let account = |ledger: Ledger| balance(&promise(None), ledger, &BTreeMap::new()).unwrap().remove(0);
        let lost = account(returned());
        assert_eq!((lost.figures.read, lost.figures.residue, lost.known), (40, 40, true));
        let mut stored = returned();
        stored.lanes.insert("republish-1".to_owned(), entries(&[("a", island(0, 40))]));
        assert_eq!(account(stored).figures.residue, 0);
    }
}
