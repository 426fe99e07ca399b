//! A round as it happens.

use std::time::Duration;

use nexus_common::testing::eventually;
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;

use crate::crew::Crew;
use crate::plan::{Fault, Plan};
use crate::rows::part;
use crate::verdict::{self, Verdict};
use crate::world::{PATIENCE, World};

/// How long a round may take to come to its end once everything is well again.
pub(crate) const TO_THE_END: Duration = Duration::from_secs(180);

/// Plays a round, and judges what is left of it.
pub(crate) async fn play(plan: Plan) -> Verdict {
    let world = match plan.members {
        1 => World::new().await,
        _ => World::on_three_members().await,
    };
    let (mut files, mut from) = (Vec::new(), 0);
    for (index, rows) in plan.files.iter().enumerate() {
        files.push(world.file(&format!("{index}.csv"), part(from, from + rows)));
        from += rows;
    }
    let mut crew = Crew::new(world, files, plan.collectors, plan.batch_rows).await;
    let mut random = StdRng::seed_from_u64(!plan.seed);
    for (index, &fault) in plan.faults.iter().enumerate() {
        // Some strike while the one before still hurts.
        if random.random_ratio(2, 3) {
            flows(&mut crew, plan.rows() * (index as u64 + 1) / (plan.faults.len() as u64 + 4)).await;
        }
        strike(&mut crew, fault, &mut random).await;
    }
    crew.heal();
    eventually("every row is accounted for", TO_THE_END, async || {
        crew.muster();
        crew.is_done() && crew.world.accounted().await >= plan.rows().cast_signed()
    })
    .await;
    crew.world.is_drained().await;
    verdict::judge(&mut crew, &plan).await
}

/// Waits until so many rows are accounted for, or nothing more will come.
async fn flows(crew: &mut Crew, rows: u64) {
    eventually(format!("{rows} rows are accounted for"), TO_THE_END, async || {
        crew.muster();
        crew.world.accounted().await >= rows.cast_signed() || crew.is_done()
    })
    .await;
}

async fn strike(crew: &mut Crew, fault: Fault, random: &mut StdRng) {
    let moment = Duration::from_millis(random.random_range(0..300));
    let streamer = random.random_range(0..crew.streamers.len());
    match fault {
        Fault::KillStreamer => {
            if let Some(process) = crew.streamers[streamer].process.take_if(|process| process.has_ended().is_none()) {
                process.kill().await;
            }
        }
        Fault::KillCollector => {
            if let Some(collector) = crew.collectors.pop() {
                collector.kill().await;
            }
        }
        Fault::StreamerDiesAt(step, passed) => {
            let running = crew.streamers[streamer].process.take_if(|process| process.has_ended().is_none());
            if let Some(process) = running {
                process.kill().await;
                crew.send(streamer, &format!("{step}={passed}*off->return(kill)"));
            }
        }
        Fault::CollectorDiesAt(step, passed) => {
            if let Some(collector) = crew.collectors.pop() {
                collector.kill().await;
            }
            crew.hire(&format!("{step}={passed}*off->return(kill)"));
        }
        Fault::FreezeCollector(ms) => {
            let Some(mut collector) = crew.collectors.pop() else { return };
            if collector.has_ended().is_none() {
                collector.signal(Signal::SIGSTOP);
                crew.hire("");
                sleep(Duration::from_millis(ms)).await;
                collector.signal(Signal::SIGCONT);
            }
            crew.collectors.push(collector);
        }
        Fault::FreezeStreamer(ms) => {
            let Some(process) = crew.streamers[streamer].process.as_mut() else { return };
            if process.has_ended().is_none() {
                process.signal(Signal::SIGSTOP);
                sleep(Duration::from_millis(ms)).await;
                process.signal(Signal::SIGCONT);
            }
        }
        Fault::CutEtcd => {
            crew.to_etcd.iter().for_each(nexus_common::testing::Proxy::cut);
            sleep(moment).await;
            crew.to_etcd.iter().for_each(nexus_common::testing::Proxy::heal);
        }
        Fault::CutPostgres => {
            crew.to_postgres.cut();
            sleep(moment).await;
            crew.to_postgres.heal();
        }
        Fault::SlowEtcd(ms) => {
            crew.to_etcd.iter().for_each(|line| line.delay(Duration::from_millis(ms)));
            sleep(moment * 5).await;
            crew.to_etcd.iter().for_each(nexus_common::testing::Proxy::heal);
        }
        Fault::SlowPostgres(ms) => {
            crew.to_postgres.delay(Duration::from_millis(ms));
            sleep(moment * 5).await;
            crew.to_postgres.heal();
        }
        Fault::WithholdEtcd(ms) => {
            crew.to_etcd.iter().for_each(nexus_common::testing::Proxy::withhold_answers);
            sleep(Duration::from_millis(ms)).await;
            crew.to_etcd.iter().for_each(nexus_common::testing::Proxy::heal);
        }
        Fault::RestartEtcd => {
            let member = leader(crew).await;
            let mut members = crew.world.members();
            members[member].kill().await.unwrap();
            sleep(moment).await;
            members[member].restart().await.unwrap();
        }
        Fault::FreezeMember(ms) => {
            let member = leader(crew).await;
            let members = crew.world.members();
            members[member].pause();
            sleep(Duration::from_millis(ms)).await;
            members[member].resume();
        }
        Fault::RestartPostgres => {
            crew.world.postgres.kill().await.unwrap();
            sleep(moment).await;
            crew.world.postgres.restart().await.unwrap();
        }
        Fault::ReplaceCollector => {
            let Some(mut collector) = crew.collectors.pop() else { return };
            crew.hire("");
            if collector.has_ended().is_none() {
                collector.signal(Signal::SIGTERM);
                // Well, or by a failpoint on its way out, or before it listened to signals: the successor copes.
                let _ = collector.ended().await;
            }
        }
        Fault::FenceStreamer => {
            if !crew.streamers[streamer].done {
                let first = crew.streamers[streamer].process.take();
                crew.send(streamer, "");
                if let Some(mut first) = first {
                    let status = first.ended().await;
                    // Fenced, or done, or dead before.
                    crew.streamers[streamer].done |= status.success();
                }
            }
        }
        Fault::Compact => {
            let client = crew.world.client().await;
            if let Ok(now) = client.list(&crew.world.keys().lanes(), 1).await {
                let _ = client.compact(now.revision, true).await;
            }
        }
        Fault::EndSessions => crew.world.end_sessions().await,
        Fault::Expire => expire(crew).await,
    }
}

/// With all collectors frozen the leases of what is queued are taken away.
async fn expire(crew: &mut Crew) {
    crew.signal_collectors(Signal::SIGSTOP);
    let (client, messages) = (crew.world.client().await, crew.world.keys().messages());
    let waits = async |crew: &mut Crew| {
        crew.muster();
        crew.is_done() || client.count(&messages).await.is_ok_and(|count| count > 0)
    };
    eventually("something is queued", PATIENCE, async || waits(crew).await).await;
    if let Ok(queued) = client.list(&messages, 1_000).await {
        let mut leases: Vec<_> = queued.kvs.iter().map(nexus_common::etcd::KeyValue::lease).collect();
        leases.sort_unstable();
        leases.dedup();
        for lease in leases {
            let _ = client.revoke(lease).await;
        }
    }
    crew.signal_collectors(Signal::SIGCONT);
}

/// The member that leads, as far as can be seen.
async fn leader(crew: &mut Crew) -> usize {
    for (index, member) in crew.world.members().into_iter().enumerate() {
        if member.leads().await {
            return index;
        }
    }
    0
}
