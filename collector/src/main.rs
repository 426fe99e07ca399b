//! `nexus-collector`: see [`nexus_collector`].

use std::process::ExitCode;

use nexus_common::component;

#[tokio::main]
async fn main() -> ExitCode {
    let config: nexus_collector::Config = component::parse("nexus-collector");
    let logging = config.logging.clone();
    component::run("nexus-collector", &logging, async |stop| nexus_collector::run(config, stop).await).await
}
