//! `nexus up`: the whole pipeline on this machine, by one command.
//!
//! Order is everything here. Nothing is started before every port is known to be free; servers come before components;
//! at the end streamers stop first, then collectors, then the gateway, and the servers last, so that whatever drains
//! still has what it drains into. A part that crashes is started again; a part whose configuration is wrong ends all.

mod addresses;
mod component;
mod echo;
mod figures;
mod options;
mod screen;
mod servers;
mod stage;

use std::fs::{self, File};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use nexus_common::config::Invalid;
use nexus_common::db;
use nexus_common::servers::{Guard, port_taken};
use tokio_util::sync::CancellationToken;

use self::addresses::Addresses;
use self::component::{Component, Ended};
use self::echo::Echo;
use self::figures::figures;
pub(crate) use self::options::Options;
use self::screen::Screen;
use self::servers::Servers;
use self::stage::Stage;

/// Runs the stack until `stop`, and leaves nothing running.
///
/// # Errors
/// [`Invalid`] for what the user has to change, before anything is started where that can be known then.
pub(crate) async fn run(mut options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let _lock = claim_folder(&options.dir)?;
    let csv_file = options.csv_file()?;
    options.check()?;
    let screen = Arc::new(Screen::new());
    let starting = Servers::start(&mut options, &screen);
    let mut servers = tokio::select! {
        started = starting => started?,
        () = stop.cancelled() => return Ok(()),
    };
    let outcome = Box::pin(components(&options, &csv_file, &screen, &mut servers, &stop)).await;
    servers.stop().await;
    outcome
}

/// Everything above the servers.
async fn components(
    options: &Options,
    csv_file: &str,
    screen: &Arc<Screen>,
    servers: &mut Servers,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    tokio::select! {
        migrated = db::migrate(&options.db) => {
            migrated.with_context(|| format!("database {}", options.db.place()))?;
        }
        () = stop.cancelled() => return Ok(()),
    }
    let logs = options.dir.join("log");
    fs::create_dir_all(&logs).with_context(|| format!("making {}", logs.display()))?;
    let guard = Arc::new(Mutex::new(Guard::start(None)?));
    let environment = options.environment(csv_file);
    let addresses = Addresses::choose(options.watched.metrics_addr, options.streamers, options.collectors, port_taken);

    let mut echo = Echo::default();
    let mut start = |role: &'static str, count: u16| {
        let mut stage = Stage::new();
        for index in 0..count {
            let own = addresses.of(role, index).map(|address| ("METRICS_ADDR", address.to_owned()));
            let environment: Vec<_> = environment.iter().cloned().chain(own).collect();
            let component = Component::new(role, index, count, &environment, &logs);
            echo.watch(&component);
            stage.start(component, Arc::clone(&guard), Arc::clone(screen));
        }
        stage
    };
    let mut gateways = start("gateway", 1);
    let mut collectors = start("collector", options.collectors);
    let mut streamers = start("streamer", options.streamers);
    screen.say(&options.welcome(csv_file, &addresses));

    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = gateways.misconfigured() => Err(ended),
        ended = collectors.misconfigured() => Err(ended),
        ended = streamers.misconfigured() => Err(ended),
        error = servers.keep(screen) => Err(error),
        never = figures(options, screen) => match never {},
        never = echo.run(screen) => match never {},
    };
    screen.say("stopping: streamers, collectors, gateway, servers");
    for stage in [&mut streamers, &mut collectors, &mut gateways] {
        stage.stop().await;
    }
    outcome
}

/// Makes the folder, tells version control to leave it alone, and takes its lock.
fn claim_folder(dir: &Path) -> anyhow::Result<File> {
    let doing = || format!("using {}", dir.display());
    fs::create_dir_all(dir).with_context(doing)?;
    fs::write(dir.join(".gitignore"), "*\n").with_context(doing)?;
    let lock = File::create(dir.join("lock")).with_context(doing)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => {
            let dir = dir.display();
            Err(Invalid(format!("another nexus up runs on {dir}; choose another folder with NEXUS_DIR=…")).into())
        }
        Err(fs::TryLockError::Error(error)) => Err(error).with_context(doing),
    }
}
