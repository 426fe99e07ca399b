//! Statements whose columns follow the catalogue, written once per process (pure).

use std::fmt::Write;
use std::sync::LazyLock;

use nexus_common::domain::CATALOGUE;

/// Staging tables of a connection, made once: making and dropping them per batch bloats the catalogue. The answer tells
/// one life of the server from the next.
pub(crate) static STAGING: LazyLock<String> = LazyLock::new(|| {
    let samples = columns(|name| format!("{name} double precision"));
    let latest = columns(|name| format!("{name} double precision, {name}_at timestamptz"));
    format!(
        "SET client_min_messages = warning;
         CREATE TEMPORARY TABLE IF NOT EXISTS staged_samples (
             gpu_id integer, ts timestamptz, conflicts integer, {samples}, ext jsonb) ON COMMIT DELETE ROWS;
         CREATE TEMPORARY TABLE IF NOT EXISTS staged_latest (
             gpu_id integer, ts timestamptz, {latest}, ext jsonb) ON COMMIT DELETE ROWS;
         SELECT pg_postmaster_start_time()"
    )
});

pub(crate) const COPY_SAMPLES: &str = "COPY staged_samples FROM STDIN BINARY";
/// Straight into the table: a sample that is there already ends the transaction.
pub(crate) static COPY_NEW_SAMPLES: LazyLock<String> = LazyLock::new(|| {
    let names = columns(str::to_owned);
    format!("COPY samples (gpu_id, ts, conflicts, {names}, ext) FROM STDIN BINARY")
});
pub(crate) const COPY_LATEST: &str = "COPY staged_latest FROM STDIN BINARY";

/// Samples that arrive apart merge; a value that meets another one for the same metric is counted, and stands.
pub(crate) static UPSERT_SAMPLES: LazyLock<String> = LazyLock::new(|| {
    let names = columns(str::to_owned);
    let merged = columns(|name| format!("{name} = COALESCE(excluded.{name}, t.{name})"));
    let mut conflicts = "t.conflicts + excluded.conflicts".to_owned();
    for metric in &CATALOGUE {
        let _ = write!(conflicts, " + COALESCE((excluded.{0} <> t.{0})::integer, 0)", metric.name);
    }
    conflicts += " + CASE WHEN excluded.ext IS NULL THEN 0 ELSE (SELECT count(*)::integer
        FROM jsonb_each(excluded.ext) AS new WHERE t.ext -> new.key <> new.value) END";
    format!(
        "INSERT INTO samples AS t (gpu_id, ts, conflicts, {names}, ext)
         SELECT gpu_id, ts, conflicts, {names}, ext FROM staged_samples ORDER BY gpu_id, ts
         ON CONFLICT (gpu_id, ts) DO UPDATE SET {merged},
             ext = CASE WHEN excluded.ext IS NULL THEN t.ext ELSE COALESCE(t.ext, '{{}}') || excluded.ext END,
             conflicts = {conflicts}"
    )
});

/// Each metric keeps its own time, which never goes back.
pub(crate) static UPSERT_LATEST: LazyLock<String> = LazyLock::new(|| {
    let names = columns(|name| format!("{name}, {name}_at"));
    let newer = columns(|name| {
        let newer = format!("excluded.{name}_at >= COALESCE(t.{name}_at, '-infinity')");
        format!(
            "{name} = CASE WHEN {newer} THEN excluded.{name} ELSE t.{name} END,
             {name}_at = GREATEST(t.{name}_at, excluded.{name}_at)"
        )
    });
    format!(
        "INSERT INTO gpu_latest AS t (gpu_id, ts, {names}, ext)
         SELECT gpu_id, ts, {names}, ext FROM staged_latest ORDER BY gpu_id
         ON CONFLICT (gpu_id) DO UPDATE SET ts = GREATEST(t.ts, excluded.ts), {newer},
             ext = CASE WHEN excluded.ext = '{{}}' THEN t.ext ELSE merge_latest(t.ext, excluded.ext) END"
    )
});

/// Ledger rows, sorted by the caller so that two writers cannot wait for each other. Returns those that are new.
pub(crate) const INSERT_LEDGER: &str = include_str!("insert_ledger.sql");
pub(crate) const INSERT_DEAD_LETTERS: &str = include_str!("insert_dead_letters.sql");

pub(crate) const INSERT_HOSTS: &str = include_str!("insert_hosts.sql");
pub(crate) const INSERT_GPUS: &str = include_str!("insert_gpus.sql");

fn columns(column: impl Fn(&str) -> String) -> String {
    CATALOGUE.iter().map(|metric| column(metric.name)).collect::<Vec<_>>().join(", ")
}
