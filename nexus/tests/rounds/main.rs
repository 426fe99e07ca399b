//! Rounds of random faults: whatever is killed, frozen, cut, restarted, compacted or taken away, in whatever order, every
//! row is stored once or recorded as expired, value by value, and the books balance.
//!
//! A seed makes a round's plan, so the same seed gives the same faults in the same order; when exactly they strike is up
//! to the machine. `make test-faults SEED=7 ROUNDS=200` runs as many as one likes; `make test` runs a few.
//!
//! | variable | default | |
//! |---|---|---|
//! | `SEED` | 1 | of the first round; each further one counts up |
//! | `ROUNDS` | 2 | |
//! | `JOBS` | 2 | rounds at once, each on servers of its own |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs, dead_code)]

mod crew;
mod plan;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/rows.rs"]
mod rows;
mod scene;
mod verdict;
#[path = "../support/world.rs"]
mod world;

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::task::{LocalSet, spawn_local};

use crate::plan::Plan;
use crate::verdict::Verdict;

fn variable(name: &str, usual: u64) -> u64 {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else { return usual };
    value.to_str().and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name}={value:?} is no number"))
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_is_doubled() {
    LocalSet::new().run_until(rounds()).await;
}

async fn rounds() {
    let (seed, rounds, jobs) = (variable("SEED", 1), variable("ROUNDS", 2), variable("JOBS", 2));
    let plans = (seed..seed.saturating_add(rounds)).map(Plan::of);
    let mut verdicts = stream::iter(plans)
        .map(|plan| async move {
            let outcome = spawn_local(scene::play(plan.clone())).await;
            (plan, outcome)
        })
        .buffer_unordered(usize::try_from(jobs).unwrap().max(1));
    let (mut all, mut failed, mut struck) = (Verdict::default(), Vec::new(), BTreeMap::<&str, u64>::new());
    while let Some((plan, outcome)) = verdicts.next().await {
        plan.faults.iter().for_each(|fault| *struck.entry(fault.family()).or_default() += 1);
        match outcome {
            Ok(verdict) => {
                println!("{plan}\n  {verdict}");
                if !verdict.is_well() {
                    failed.push(plan.seed);
                }
                all += verdict;
            }
            Err(error) => {
                println!("{plan}\n  FAILED: {error}");
                failed.push(plan.seed);
            }
        }
    }
    let faults: Vec<_> = struck.iter().map(|(family, count)| format!("{count} {family}")).collect();
    println!("{rounds} rounds from SEED={seed}; faults: {}", faults.join(", "));
    println!("  {all}");
    assert!(failed.is_empty(), "failed; again with ROUNDS=1 and SEED={failed:?}");
}
