//! A command of `nexus`, run to its end against a world's servers.

use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

use crate::world::World;

/// How a command ended, and what it said.
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    /// `nexus ARGUMENTS`, with this world's variables.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexus"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("ETCD_ENDPOINTS", self.etcd.endpoint())
            .envs(self.postgres.environment())
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end.
    pub(crate) async fn nexus(&self, arguments: &[&str]) -> Answer {
        self.nexus_with(arguments, &[]).await
    }

    /// The same with further variables.
    pub(crate) async fn nexus_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Answer {
        Answer::of(self.command(arguments).envs(environment.iter().copied()).output().await.unwrap())
    }

    /// The one JSON document that a command prints, which ends well.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let answer = self.nexus(arguments).await;
        assert_eq!(answer.status, 0, "{arguments:?}: {} {}", answer.out, answer.err);
        answer.json()
    }

    /// The JSON objects that a command prints, one a line.
    pub(crate) async fn json_lines(&self, arguments: &[&str]) -> Vec<Value> {
        let answer = self.nexus(arguments).await;
        assert_eq!(answer.status, 0, "{arguments:?}: {} {}", answer.out, answer.err);
        answer.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Answer {
    fn of(output: Output) -> Answer {
        Answer {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }
}
