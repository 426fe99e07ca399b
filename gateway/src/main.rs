//! `nexus-gateway`: see [`nexus_gateway`].

use std::process::ExitCode;

use nexus_common::component::{self, Program, Verb};
use nexus_gateway::Config;

#[tokio::main]
async fn main() -> ExitCode {
    let Program { config, verb } = Program::<Config>::read("nexus-gateway", option_env!("NEXUS_COMMIT"));
    if let Some(Verb::Health(health)) = verb {
        return health.tell("nexus-gateway", Ok(config.answers())).await;
    }
    let logging = config.logging.clone();
    component::run("nexus-gateway", &logging, async |stop| nexus_gateway::listen(config, stop).await).await
}
