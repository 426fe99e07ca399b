//! Which sources are read, and in what order.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nexus_common::config::Invalid;
use tokio::task::JoinSet;

use crate::berth::Manner;
use crate::context::Context;
use crate::feeder::open;
use crate::fit::Fit;
use crate::source::{self, Discovery, Location, Options, Source, locate};
use crate::voyage::{Outcome, Voyage};

/// How often new files are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Opens every source once before anything is published: a wrong file among them is one clear line.
pub(crate) fn survey(csv_file: &str, options: &Options) -> Result<Vec<Location>, Invalid> {
    let locations = locate(csv_file).map_err(|error| Invalid(error.to_string()))?;
    let mut with_rows = 0;
    for location in &locations {
        if can_be_opened_twice(location) {
            let source = Source::open(location, options).map_err(|error| Invalid(error.to_string()))?;
            with_rows += usize::from(source.fingerprint().is_some());
        } else {
            with_rows += 1;
        }
    }
    match with_rows {
        0 => Err(Invalid(format!("CSV_FILE={csv_file}: a header and no rows"))),
        _ => Ok(locations),
    }
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
    let manner = match looping && locations.iter().all(can_be_opened_twice) {
        true => Manner::Looping,
        false => Manner::Once,
    };
    let fit = context.fit;
    let mut voyages: Vec<Option<Voyage>> = Vec::new();
    voyages.resize_with(locations.len(), || None);
    loop {
        let mut published = 0;
        let mut begun = false;
        for (location, voyage) in locations.iter().zip(&mut voyages) {
            loop {
                let mut source = tokio::select! {
                    source = open(location.clone(), options.clone()) => source?,
                    () = context.stop.cancelled() => return Ok(()),
                };
                match voyage {
                    Some(voyage) => voyage.next_pass(),
                    None => {
                        *voyage = Voyage::begin(context.clone(), &mut source, manner).await?;
                        begun |= voyage.is_some();
                    }
                }
                let Some(under_way) = voyage else { break };
                match under_way.pass(source).await? {
                    Outcome::Done(rows) => {
                        published += rows;
                        context.fit = fit;
                        break;
                    }
                    Outcome::Stopped => return Ok(()),
                    Outcome::Again(_) if !can_be_opened_twice(location) => {
                        anyhow::bail!("{location} cannot be read again from where etcd stands");
                    }
                    Outcome::Again(fit) => {
                        context.fit = fit;
                        *voyage = None;
                    }
                }
            }
        }
        if manner == Manner::Once || context.stop.is_cancelled() {
            return Ok(());
        }
        if published == 0 && !begun {
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
pub(crate) async fn as_they_appear(context: Context, csv_file: &str, options: Options) -> anyhow::Result<()> {
    let mut discovery = Discovery::new(csv_file, options).map_err(|error| Invalid(error.to_string()))?;
    let mut voyages = JoinSet::new();
    // What fits, of files that are to be found again.
    let mut fits: HashMap<String, Fit> = HashMap::new();
    let mut first_look = true;
    loop {
        for found in discovery.poll() {
            match found.source {
                Ok(source) => {
                    let fit = fits.remove(source.name()).unwrap_or(context.fit);
                    _ = voyages.spawn(follow(Context { fit, ..context.clone() }, source));
                }
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
                (name, Outcome::Again(fit)) => _ = fits.insert(name, fit),
                (_, Outcome::Done(_) | Outcome::Stopped) => {}
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

/// Publishes one file as it grows; its name, and what became of it. A file that cannot be read ends its own voyage, not the others'.
async fn follow(context: Context, mut source: Source) -> anyhow::Result<(String, Outcome)> {
    let name = source.name().to_owned();
    // Discovery finds the file again when nobody holds this any more: not before all that was read is published.
    let complete = source.complete();
    let outcome = match Voyage::begin(context, &mut source, Manner::Following).await {
        Ok(Some(mut voyage)) => voyage.pass(source).await,
        Ok(None) => Ok(Outcome::Done(0)),
        Err(error) => Err(error),
    };
    let outcome = match outcome {
        Err(error) if error.is::<source::Error>() => {
            tracing::error!(file = name, %error, "left out until it changes");
            complete.store(true, Ordering::Relaxed);
            Outcome::Done(0)
        }
        Ok(Outcome::Again(fit)) => {
            // Not published to its end, whatever the reader saw: it has to be found again.
            complete.store(false, Ordering::Relaxed);
            Outcome::Again(fit)
        }
        outcome => outcome?,
    };
    Ok((name, outcome))
}
