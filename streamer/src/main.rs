//! `nexus-streamer`: see [`nexus_streamer`].

use std::process::ExitCode;

use nexus_common::component::{self, Program, Verb};
use nexus_streamer::Config;

#[tokio::main]
async fn main() -> ExitCode {
    let Program { config, verb } = Program::<Config>::read("nexus-streamer", option_env!("NEXUS_COMMIT"));
    if let Some(Verb::Health(health)) = verb {
        return health.tell("nexus-streamer", config.answers()).await;
    }
    let logging = config.logging.clone();
    component::run("nexus-streamer", &logging, async |stop| nexus_streamer::run(config, stop).await).await
}
