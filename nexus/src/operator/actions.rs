//! `nexus actions`: what operators did.

use std::io::{Write, stdout};

use clap::Args;
use nexus_common::books::actions::{self, Action};
use serde_json::{Value, json};

use super::desk::{self, Desk};
use super::servers::Servers;
use super::table::{self, Align};
use super::words;

/// What operators did, the newest first: redrives, republishes, purges, from the command line and over HTTP.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    servers: Servers,

    /// How many are listed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,

    /// Print one JSON object a line, for scripts
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let desk = Desk::open(&options.servers).await?;
    let listed = actions::list(&desk.client, desk.cluster, None, i64::from(options.limit)).await;
    let listed = listed.map_err(|error| desk::explain(error.into()))?;
    let mut out = stdout().lock();
    words::piped(|| match options.json {
        true => listed.iter().try_for_each(|action| writeln!(out, "{}", document(action))),
        false => people(&mut out, &listed),
    })?;
    Ok(())
}

fn people(out: &mut impl Write, listed: &[Action]) -> std::io::Result<()> {
    if listed.is_empty() {
        return writeln!(out, "nobody has done anything yet");
    }
    let count = |value: i64| table::count(value.unsigned_abs());
    let rows: Vec<_> = listed
        .iter()
        .map(|action| {
            let what = action.return_id.map_or_else(|| action.action.clone(), |id| format!("{} {id}", action.action));
            let asked = words::cut(&action.asked.to_string(), 80);
            [words::clock(action.at), action.actor.clone(), what, count(action.letters), count(action.rows), asked]
        })
        .collect();
    let heading = [
        ("WHEN (UTC)", Align::Left),
        ("WHO", Align::Left),
        ("WHAT", Align::Left),
        ("LETTERS", Align::Right),
        ("ROWS", Align::Right),
        ("ASKED", Align::Left),
    ];
    table::write(out, heading, &rows)
}

fn document(action: &Action) -> Value {
    json!({
        "id": action.id, "at": action.at.to_string(), "actor": action.actor, "action": action.action,
        "return": action.return_id, "letters": action.letters, "rows": action.rows, "asked": action.asked,
        "request_id": action.request_id,
    })
}
