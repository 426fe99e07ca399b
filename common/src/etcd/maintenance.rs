//! What keeps an etcd the size it was: state of each member, compaction, and the way out of NOSPACE.

use etcd_client::{AlarmAction, AlarmOptions, AlarmType};

use super::{Client, Result};

/// The cluster's state, of the member that holds the most.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Bytes of the database file: what the quota is compared with.
    pub file_bytes: u64,
    /// Bytes in use: what a defragmentation would leave.
    pub used_bytes: u64,
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
        for endpoint in self.endpoints() {
            let asked = tokio::time::timeout(std::time::Duration::from_secs(2), async {
                Ok::<_, super::Error>(endpoint.data.maintenance_client().status().await?)
            })
            .await;
            match asked {
                Ok(Ok(status)) => {
                    let seen = Health {
                        file_bytes: status.db_size().unsigned_abs(),
                        used_bytes: status.raft_used_db_size().unsigned_abs(),
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

    /// Does the cluster have a member of this name, and serve linearizable reads?
    ///
    /// # Errors
    /// As etcd answers.
    pub async fn has_member(&self, name: &str) -> Result<bool> {
        self.call(async |endpoint| {
            let members = endpoint.data.cluster_client().member_list().await?;
            endpoint.kv().get("/", None).await?;
            Ok(members.members().iter().any(|member| member.name() == name))
        })
        .await
    }

    /// Does the member that is asked first lead the cluster? For a client of one endpoint.
    ///
    /// # Errors
    /// As it answers.
    pub async fn leads(&self) -> Result<bool> {
        self.call(async |endpoint| {
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
            .call(async |endpoint| {
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
        for endpoint in self.endpoints() {
            match endpoint.data.maintenance_client().defragment().await {
                Ok(_) => outcome = Ok(()),
                Err(error) => {
                    tracing::warn!(member = endpoint.address, %error, "not defragmented");
                    outcome = outcome.or(Err(error.into()));
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
        self.call(async |endpoint| {
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
        self.call(async |endpoint| {
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

fn larger(a: Health, b: Health) -> Health {
    if a.file_bytes >= b.file_bytes { a } else { b }
}
