//! `nexus-streamer`: see [`nexus_streamer`].

use std::process::ExitCode;

use nexus_common::component;

#[tokio::main]
async fn main() -> ExitCode {
    let config: nexus_streamer::Config = component::parse("nexus-streamer");
    let logging = config.logging.clone();
    component::run("nexus-streamer", &logging, async |stop| nexus_streamer::run(config, stop).await).await
}
