//! `nexus dlq`: rows that could not be stored, and what to do about them.

mod header;
mod list;
mod purge;
mod redrive;
mod show;

use std::time::Duration;

use clap::{Args, Subcommand};
use nexus_common::books::letters::Selection;
use nexus_common::config::duration;
use nexus_common::domain::Timestamp;

use super::desk::{self, Desk};
use super::servers::Servers;

/// Rows that could not be stored: what they are, and what to do about them.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  nexus dlq list                             what is dead, by reason, and the newest letters
  nexus dlq show 17                          everything about one of them
  nexus dlq redrive --reason 'not_evil'      through the queue again, once the cause is gone
  nexus dlq redrive --all --header-from a.csv   rows that were not understood, too: read once more under this header
  nexus dlq purge --older-than 30days --yes  give the payload up; the counts stay")]
pub(crate) struct Options {
    #[command(flatten)]
    servers: Servers,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// What is dead, by reason, and the newest letters
    List(list::Options),
    /// Everything about one letter
    Show(show::Options),
    /// Send letters through the queue again, each once
    Redrive(redrive::Options),
    /// Give up the payload of letters; place, reason and counts stay
    Purge(purge::Options),
}

/// Which letters.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
struct Which {
    /// Numbers, as `nexus dlq list` shows them
    #[arg(value_name = "ID")]
    ids: Vec<i64>,

    /// Those whose reason holds this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// Those of this file: its path as it is listed, or the end of it
    #[arg(long, value_name = "FILE")]
    file: Option<String>,

    /// Those written before so long, such as 30days
    #[arg(long, value_name = "TIME", value_parser = duration)]
    older_than: Option<Duration>,

    /// All of them
    #[arg(long, conflicts_with_all = ["ids", "reason", "file", "older_than"])]
    all: bool,
}

impl Which {
    fn selection(&self) -> Selection {
        let before = |age: Duration| {
            Timestamp(Timestamp::now().0.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)))
        };
        Selection {
            ids: (!self.ids.is_empty()).then(|| self.ids.clone()),
            reason: self.reason.clone(),
            file: self.file.clone(),
            before: self.older_than.map(before),
            ..Selection::default()
        }
    }

    /// Only letters that were named one by one.
    fn is_by_hand(&self) -> bool {
        !self.ids.is_empty()
    }
}

/// Runs a command.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let mut desk = Desk::open(&options.servers).await?;
    let outcome = match &options.command {
        Command::List(options) => list::run(&desk, options).await,
        Command::Show(options) => show::run(&desk, options).await,
        Command::Redrive(asked) => redrive::run(desk, &options.servers, asked).await,
        Command::Purge(options) => purge::run(&mut desk, options).await,
    };
    outcome.map_err(desk::explain)
}
