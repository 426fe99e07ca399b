//! `nexus dlq purge`.

use std::io::{IsTerminal, Write, stdin, stdout};

use clap::Args;
use nexus_common::books::letters::{self, Purged};
use nexus_common::config::Invalid;
use serde_json::json;

use super::{Desk, Which};
use crate::operator::actor::actor;
use crate::operator::words;

/// Give up the payload of letters; place, reason and counts stay.
#[derive(Debug, Clone, Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: Which,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Print one JSON document, for scripts
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(desk: &mut Desk, options: &Options) -> anyhow::Result<()> {
    let selection = options.which.selection();
    if !options.yes && !options.which.is_by_hand() {
        let tally = letters::purgeable(&desk.client, desk.cluster, &selection).await?;
        if tally.letters > 0 && !agreed(tally)? {
            eprintln!("nexus: nothing was purged");
            return Ok(());
        }
    }
    // Without a number that was expected it is always done.
    let purged = letters::purge(&mut desk.client, desk.cluster, &selection, &actor(), None).await?;
    let (Purged::Done(purged) | Purged::Otherwise(purged)) = purged;
    let mut out = stdout().lock();
    match (options.json, purged.letters) {
        (true, _) => writeln!(out, "{}", json!({ "letters": purged.letters, "rows": purged.rows }))?,
        (false, 0) => writeln!(out, "nothing to do: none of these letters has a payload that could be given up")?,
        (false, _) => writeln!(
            out,
            "purged {} ({}); they still count, with their place and reason",
            words::letters(purged.letters),
            words::rows(purged.rows)
        )?,
    }
    Ok(())
}

/// What is given up does not come back: more than letters that were named one by one wants a second look.
fn agreed(tally: letters::Tally) -> anyhow::Result<bool> {
    let what = format!("{} ({})", words::letters(tally.letters), words::rows(tally.rows));
    if !stdin().is_terminal() {
        return Err(Invalid(format!("this gives up the payload of {what} for good; say --yes")).into());
    }
    eprint!("Give up the payload of {what} for good? [y/N] ");
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
