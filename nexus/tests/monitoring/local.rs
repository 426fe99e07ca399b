//! `make run-prometheus`, as the README has it typed: by anybody, beside the local stack.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nexus_common::servers::free_port;
use nexus_common::testing::{eventually, folder};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use super::repository;

const PATIENCE: Duration = Duration::from_secs(60);

/// What make started ends with it.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn prometheus_of_the_local_stack_has_the_alerts_and_writes_where_the_stack_does() {
    let (folder, address) = (folder(), format!("127.0.0.1:{}", free_port().unwrap()));
    let mut make = Command::new("make");
    for inherited in ["MAKEFLAGS", "MAKELEVEL"] {
        make.env_remove(inherited);
    }
    make.arg("run-prometheus").current_dir(repository("")).process_group(0);
    make.env("NEXUS_DIR", folder.path()).env("PROMETHEUS_ADDRESS", &address);
    let _started = Started(make.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let asked = async |path: &str| reqwest::get(format!("http://{address}{path}")).await;
    eventually("prometheus is ready", PATIENCE, async || {
        asked("/-/ready").await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    let rules: Value = asked("/api/v1/rules?type=alert").await.unwrap().json().await.unwrap();
    assert!(rules.to_string().contains("\"NexusGpuMissing\""), "{rules}");
    eventually("it scrapes the local stack's gateway", PATIENCE, async || {
        let targets: Value = asked("/api/v1/targets").await.unwrap().json().await.unwrap();
        targets.to_string().contains("http://localhost:8080/metrics")
    })
    .await;
    assert!(folder.path().join("prometheus/wal").is_dir());
    assert!(!repository("data/wal").exists() && !repository("deployments/prometheus/data").exists());
}
