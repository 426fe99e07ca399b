//! `nexus-collector`: see [`nexus_collector`].

use std::process::ExitCode;

use nexus_collector::Config;
use nexus_common::component::{self, Program, Verb};

#[tokio::main]
async fn main() -> ExitCode {
    let Program { config, verb } = Program::<Config>::read("nexus-collector", option_env!("NEXUS_COMMIT"));
    if let Some(Verb::Health(health)) = verb {
        return health.tell("nexus-collector", config.answers()).await;
    }
    let logging = config.logging.clone();
    component::run("nexus-collector", &logging, async |stop| nexus_collector::run(config, stop).await).await
}
