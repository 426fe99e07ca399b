//! Which sources are read, and in what order.

use std::time::Duration;

use nexus_common::config::Invalid;
use tokio::task::JoinSet;

use crate::context::Context;
use crate::source::{Discovery, Location, Options, Source, locate};
use crate::voyage::{Outcome, Voyage};

/// How often new files are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Opens every source once before anything is published: a wrong file among them is one clear line.
pub(crate) fn survey(csv_file: &str, options: &Options) -> Result<Vec<Location>, Invalid> {
    let locations = locate(csv_file).map_err(|error| Invalid(error.to_string()))?;
    for location in locations.iter().filter(|location| can_be_opened_twice(location)) {
        let source = Source::open(location, options).map_err(|error| Invalid(error.to_string()))?;
        if source.fingerprint().is_none() && locations.len() == 1 {
            return Err(Invalid(format!("{location}: a header and no rows")));
        }
    }
    Ok(locations)
}

/// A pipe gives its bytes to whoever opens it first.
fn can_be_opened_twice(location: &Location) -> bool {
    match location {
        Location::Stdin => false,
        Location::File(path) => path.is_file(),
    }
}

/// One source after the other; with `looping` round and round.
pub(crate) async fn in_turn(
    mut context: Context,
    locations: Vec<Location>,
    options: &Options,
    looping: bool,
) -> anyhow::Result<()> {
    let looping = looping && locations.iter().all(can_be_opened_twice);
    let mut voyages: Vec<Option<Voyage>> = Vec::new();
    voyages.resize_with(locations.len(), || None);
    loop {
        let mut published = 0;
        let mut resumed = false;
        for (location, voyage) in locations.iter().zip(&mut voyages) {
            loop {
                let mut source = Source::open(location, options)?;
                match voyage {
                    Some(voyage) => voyage.next_pass(),
                    None => {
                        *voyage = Voyage::begin(context.clone(), &mut source, looping).await?;
                        resumed = true;
                    }
                }
                let Some(under_way) = voyage else { break };
                match under_way.pass(source).await? {
                    Outcome::Done(rows) => {
                        published += rows;
                        break;
                    }
                    Outcome::Stopped => return Ok(()),
                    Outcome::Again(_) if !can_be_opened_twice(location) => {
                        anyhow::bail!("{location} cannot be read again from where etcd stands");
                    }
                    Outcome::Again(bounds) => {
                        context.bounds = bounds;
                        *voyage = None;
                    }
                }
            }
        }
        if !looping {
            return Ok(());
        }
        if published == 0 && !resumed {
            anyhow::ensure!(
                context.stripe.count > 1,
                Invalid("the sources hold no rows: nothing to loop over".to_owned())
            );
            tracing::info!("all rows are in the other streamers' stripes");
            return Ok(());
        }
    }
}

/// All sources at once, and those that appear, until told to stop.
pub(crate) async fn as_they_appear(mut context: Context, csv_file: &str, options: Options) -> anyhow::Result<()> {
    let mut discovery = Discovery::new(csv_file, options).map_err(|error| Invalid(error.to_string()))?;
    let mut voyages = JoinSet::new();
    let mut first_look = true;
    loop {
        for found in discovery.poll() {
            match found.source {
                Ok(source) => _ = voyages.spawn(follow(context.clone(), source)),
                Err(error) if first_look => return Err(Invalid(error.to_string()).into()),
                Err(error) => tracing::error!(file = found.name, %error, "left out"),
            }
        }
        if std::mem::take(&mut first_look) && voyages.is_empty() {
            tracing::warn!("CSV_FILE={csv_file}: nothing there yet, waiting for it");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            Some(ended) = voyages.join_next() => match ended?? {
                Outcome::Again(bounds) => context.bounds = bounds,
                Outcome::Done(_) | Outcome::Stopped => {}
            },
            () = context.stop.cancelled() => {
                while let Some(ended) = voyages.join_next().await {
                    ended??;
                }
                return Ok(());
            }
        }
    }
}

async fn follow(context: Context, mut source: Source) -> anyhow::Result<Outcome> {
    match Voyage::begin(context, &mut source, false).await? {
        Some(mut voyage) => voyage.pass(source).await,
        None => Ok(Outcome::Done(0)),
    }
}
