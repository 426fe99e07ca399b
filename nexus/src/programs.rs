//! The components as commands: what `nexus up` starts as its children, each the same as its own program.

use std::process::ExitCode;

use nexus_common::component;

/// `nexus streamer`.
pub(crate) async fn streamer(config: nexus_streamer::Config) -> ExitCode {
    let logging = config.logging.clone();
    component::run("nexus-streamer", &logging, async |stop| nexus_streamer::run(config, stop).await).await
}

/// `nexus collector`.
pub(crate) async fn collector(config: nexus_collector::Config) -> ExitCode {
    let logging = config.logging.clone();
    component::run("nexus-collector", &logging, async |stop| nexus_collector::run(config, stop).await).await
}

/// `nexus gateway`.
pub(crate) async fn gateway(config: nexus_gateway::Config) -> ExitCode {
    let logging = config.logging.clone();
    component::run("nexus-gateway", &logging, async |stop| nexus_gateway::listen(config, stop).await).await
}
