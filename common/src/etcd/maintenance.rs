//! What keeps an etcd the size it was: state of each member, compaction, and the way out of NOSPACE.

use std::time::{Duration, Instant};

use etcd_client::{AlarmAction, AlarmOptions, AlarmType};

use super::{Client, Result};

/// How long one member may take to say how it is.
const STATUS_DEADLINE: Duration = Duration::from_secs(3);

/// One member's state, as its endpoint tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The member, and the cluster it belongs to: numbers that etcd gave them.
    pub member: u64,
    /// The cluster's number; the same at every endpoint, unless they lead to different clusters.
    pub cluster: u64,
    /// The member that leads, as this one sees it; 0 while there is none.
    pub leader: u64,
    /// Term of the leader.
    pub term: u64,
    /// The store's revision.
    pub revision: i64,
    /// The server's version.
    pub version: String,
    /// Bytes of the database file.
    pub file_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// The quota the file is held against, where the server tells (from 3.6 on).
    pub quota_bytes: Option<u64>,
    /// Takes no part in decisions yet.
    pub is_learner: bool,
    /// What the server itself complains of.
    pub errors: Vec<String>,
    /// How long the answer took.
    pub latency: Duration,
}

/// An alarm that a member raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Who raised it.
    pub member: u64,
    /// `NOSPACE` or `CORRUPT`.
    pub name: &'static str,
}

/// The cluster's state, of the member that holds the most.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Bytes of the database file: what the quota is compared with.
    pub file_bytes: u64,
    /// Bytes in use: what a defragmentation would leave.
    pub used_bytes: u64,
    /// The quota the file is held against, where the server tells (from 3.6 on).
    pub quota_bytes: Option<u64>,
    /// The server's version.
    pub version: String,
}

impl Client {
    /// Asks every member, because a balanced answer would be of any one.
    ///
    /// # Errors
    /// As the first member that fails answers, where none answers.
    pub async fn health(&self) -> Result<Health> {
        let mut health = Err(super::Error::Unavailable("no endpoint".to_owned()));
        for index in 0..self.size() {
            let asked = tokio::time::timeout(std::time::Duration::from_secs(2), async {
                Ok::<_, super::Error>(self.endpoint(index).await?.data.maintenance_client().status().await?)
            })
            .await;
            match asked {
                Ok(Ok(status)) => {
                    let seen = Health {
                        file_bytes: status.db_size().unsigned_abs(),
                        used_bytes: status.raft_used_db_size().unsigned_abs(),
                        quota_bytes: quota(&status),
                        version: status.version().to_owned(),
                    };
                    health = Ok(match health {
                        Ok(before) => larger(before, seen),
                        Err(_) => seen,
                    });
                }
                Ok(Err(error)) if health.is_err() => health = Err(error),
                _ => {}
            }
        }
        health
    }

    /// Asks every endpoint for itself, all at once: its address and its answer, in the order of ETCD_ENDPOINTS.
    pub async fn statuses(&self) -> Vec<(String, Result<Status>)> {
        let asked = (0..self.size()).map(|index| async move {
            let started = Instant::now();
            let answer = tokio::time::timeout(STATUS_DEADLINE, async {
                Ok::<_, super::Error>(self.endpoint(index).await?.data.maintenance_client().status().await?)
            });
            let answer = match answer.await {
                Ok(answer) => answer.map(|status| Status::of(&status, started.elapsed())),
                Err(_) => Err(super::Error::Unavailable(format!("no answer in {STATUS_DEADLINE:?}"))),
            };
            (self.address(index).to_owned(), answer)
        });
        futures_util::future::join_all(asked).await
    }

    /// The alarms that are raised, on any member.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn alarms(&self) -> Result<Vec<Alarm>> {
        self.call("alarm", async |endpoint| {
            let answer = endpoint.data.maintenance_client().alarm(AlarmAction::Get, AlarmType::None, None).await?;
            let name = |alarm| match alarm {
                AlarmType::Nospace => "NOSPACE",
                AlarmType::Corrupt => "CORRUPT",
                AlarmType::None => "NONE",
            };
            Ok(answer.alarms().iter().map(|a| Alarm { member: a.member_id(), name: name(a.alarm()) }).collect())
        })
        .await
    }

    /// How long a lease still has, without renewing it; `None`: it has expired.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn time_left(&self, lease: i64) -> Result<Option<Duration>> {
        let left = self
            .call("time_to_live", async |endpoint| {
                Ok(endpoint.leases.lease_client().time_to_live(lease, None).await?.ttl())
            })
            .await?;
        Ok(u64::try_from(left).ok().map(Duration::from_secs))
    }

    /// Does the cluster have a member of this name, and serve linearizable reads?
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn has_member(&self, name: &str) -> Result<bool> {
        self.call("member_list", async |endpoint| {
            let members = endpoint.data.cluster_client().member_list().await?;
            match endpoint.kv().get("/", None).await.map_err(super::Error::from) {
                // It answered, to ask who we are.
                Ok(_) | Err(super::Error::LoggedOut) => {}
                Err(error) => return Err(error),
            }
            Ok(members.members().iter().any(|member| member.name() == name))
        })
        .await
    }

    /// Does the member that is asked first lead the cluster? For a client of one endpoint.
    ///
    /// # Errors
    /// As it answers.
    pub async fn leads(&self) -> Result<bool> {
        self.call("status", async |endpoint| {
            let status = endpoint.data.maintenance_client().status().await?;
            Ok(status.header().is_some_and(|header| header.member_id() == status.leader()))
        })
        .await
    }

    /// Forgets the history before `revision`. Repeating it is harmless.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn compact(&self, revision: i64, physical: bool) -> Result<()> {
        let options = if physical {
            etcd_client::CompactionOptions::new().with_physical()
        } else {
            etcd_client::CompactionOptions::new()
        };
        let outcome = self
            .call("compact", async |endpoint| {
                endpoint.kv().compact(revision, Some(options)).await?;
                Ok(())
            })
            .await;
        match outcome {
            Err(super::Error::Compacted) => Ok(()),
            outcome => outcome,
        }
    }

    /// Gives freed pages back to the file system, one member after the other. Blocks each while it runs. A member that is
    /// away keeps nobody else's pages.
    ///
    /// # Errors
    /// As the first member that fails answers, where none succeeds.
    pub async fn defragment(&self) -> Result<()> {
        let mut outcome = Err(super::Error::Unavailable("no endpoint".to_owned()));
        for index in 0..self.size() {
            let defragmented = async {
                self.endpoint(index).await?.data.maintenance_client().defragment().await?;
                Ok::<_, super::Error>(())
            };
            match defragmented.await {
                Ok(()) => outcome = Ok(()),
                Err(error) => {
                    tracing::warn!(member = self.address(index), %error, "not defragmented");
                    outcome = outcome.or(Err(error));
                }
            }
        }
        outcome
    }

    /// Is the NOSPACE alarm raised on any member?
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn out_of_space(&self) -> Result<bool> {
        self.call("alarm", async |endpoint| {
            let answer = endpoint.data.maintenance_client().alarm(AlarmAction::Get, AlarmType::None, None).await?;
            Ok(answer.alarms().iter().any(|alarm| alarm.alarm() == AlarmType::Nospace))
        })
        .await
    }

    /// Clears the NOSPACE alarm on every member that raised it.
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn disarm(&self) -> Result<()> {
        self.call("alarm", async |endpoint| {
            let mut maintenance = endpoint.data.maintenance_client();
            let raised = maintenance.alarm(AlarmAction::Get, AlarmType::None, None).await?;
            for alarm in raised.alarms().iter().filter(|alarm| alarm.alarm() == AlarmType::Nospace) {
                // One by one: to the server member 0 is no member, not all of them.
                let mut of = AlarmOptions::new();
                of.with_member(alarm.member_id());
                maintenance.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(of)).await?;
            }
            Ok(())
        })
        .await
    }
}

impl Status {
    fn of(status: &etcd_client::StatusResponse, latency: Duration) -> Status {
        let header = status.header();
        Status {
            member: header.map_or(0, etcd_client::ResponseHeader::member_id),
            cluster: header.map_or(0, etcd_client::ResponseHeader::cluster_id),
            leader: status.leader(),
            term: status.raft_term(),
            revision: super::client::revision(header),
            version: status.version().to_owned(),
            file_bytes: status.db_size().unsigned_abs(),
            used_bytes: status.raft_used_db_size().unsigned_abs(),
            quota_bytes: quota(status),
            is_learner: status.is_learner(),
            errors: status.errors().to_vec(),
            latency,
        }
    }
}

fn quota(status: &etcd_client::StatusResponse) -> Option<u64> {
    Some(status.db_size_quota().unsigned_abs()).filter(|quota| *quota > 0)
}

fn larger(a: Health, b: Health) -> Health {
    if a.file_bytes >= b.file_bytes { a } else { b }
}
