//! What is left of a round: PostgreSQL against the input, value by value, and the books.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::process::{Output, Stdio};

use nexus_common::testing::eventually;
use serde_json::Value;
use tokio::process::Command;

use crate::crew::Crew;
use crate::plan::Plan;
use crate::rows::{Place, expected};
use crate::scene::TO_THE_END;

/// Rows, and what became of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Verdict {
    pub(crate) read: u64,
    pub(crate) stored: u64,
    pub(crate) expired: u64,
    /// Of these: stored after all, once they were published again.
    pub(crate) brought_back: u64,
    /// In the input, and neither stored nor recorded as expired.
    pub(crate) lost: u64,
    /// Accounted for more than once, or stored over another value.
    pub(crate) doubled: u64,
    /// Stored with another value than the input has.
    pub(crate) wrong: u64,
    pub(crate) residue: i64,
    /// The audit's own word, with the files counted anew and every value compared.
    pub(crate) balanced: bool,
}

impl Verdict {
    pub(crate) fn is_well(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.wrong == 0 && self.residue == 0 && self.balanced
    }
}

/// Compares.
pub(crate) async fn judge(crew: &mut Crew, plan: &Plan) -> Verdict {
    let world = &crew.world;
    let expected = expected(0, plan.rows());
    let stored = world.samples().await;
    let [accounted, _, dead, expired] = world.sums().await.map(i64::unsigned_abs);
    let conflicts: i64 = world.ask("SELECT COALESCE(sum(conflicts), 0)::bigint FROM samples").await.unwrap();
    let present = stored.iter().filter(|(place, value)| expected.get(*place) == Some(value)).count() as u64;
    let mut verdict = Verdict {
        read: plan.rows(),
        stored: present,
        expired,
        brought_back: 0,
        lost: plan.rows().saturating_sub(present + expired),
        doubled: accounted.saturating_sub(plan.rows())
            + conflicts.unsigned_abs()
            + (present + expired).saturating_sub(plan.rows()),
        wrong: stored.len() as u64 - present + dead,
        residue: 0,
        balanced: true,
    };
    for streamer in &crew.streamers {
        audit(crew, streamer.file.to_str().unwrap(), &mut verdict).await;
    }
    if expired > 0 && verdict.is_well() {
        bring_back(crew, &expected, &mut verdict).await;
    }
    verdict
}

/// What expired is published again from its file: then every row is stored, and the books still balance.
async fn bring_back(crew: &Crew, expected: &BTreeMap<Place, f64>, verdict: &mut Verdict) {
    let republished = nexus(crew, &["expired", "republish", "--all"]).await;
    assert!(republished.status.success(), "{republished:?}");
    eventually("what had expired is stored", TO_THE_END, async || crew.world.samples().await == *expected).await;
    crew.world.is_drained().await;
    verdict.brought_back = verdict.expired;
    for streamer in &crew.streamers {
        audit(crew, streamer.file.to_str().unwrap(), verdict).await;
    }
    // All lanes, the republished among them.
    verdict.balanced &= nexus(crew, &["audit"]).await.status.success();
}

async fn audit(crew: &Crew, file: &str, verdict: &mut Verdict) {
    let output = nexus(crew, &["audit", "--json", "--deep", "--file", file]).await;
    let said = String::from_utf8_lossy(&output.stdout);
    let books: Value = serde_json::from_str(&said).unwrap_or_default();
    verdict.residue += books["total"]["residue"].as_i64().unwrap_or(i64::MAX / 4).abs();
    if !output.status.success() {
        println!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
        verdict.balanced = false;
    }
}

/// A command of `nexus` against the round's servers themselves, run to its end.
async fn nexus(crew: &Crew, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nexus"))
        .args(arguments)
        .env_clear()
        .env("ETCD_ENDPOINTS", crew.world.etcd.endpoint())
        .envs(crew.world.postgres.environment())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap()
}

impl AddAssign for Verdict {
    fn add_assign(&mut self, other: Verdict) {
        self.read += other.read;
        self.stored += other.stored;
        self.expired += other.expired;
        self.brought_back += other.brought_back;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.wrong += other.wrong;
        self.residue += other.residue;
        // Nothing judged yet says nothing.
        self.balanced = other.balanced;
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { read, stored, expired, brought_back, lost, doubled, wrong, residue, balanced } = self;
        let books = if *balanced { "balanced" } else { "NOT balanced" };
        write!(
            f,
            "{read} rows read, {stored} stored, {expired} expired and {brought_back} of them brought back; {lost} lost, {doubled} doubled, {wrong} wrong; \
             audit residue {residue}, {books}"
        )
    }
}
