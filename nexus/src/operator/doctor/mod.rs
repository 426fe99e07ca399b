//! `nexus doctor`: looks at everything the pipeline stands on, and says what to do.
//!
//! Facts are gathered first (`facts`), by reads and by questions that change nothing; what they mean is decided apart
//! from that (`judge`, pure).

mod facts;
mod judge;

use std::io::Write;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use self::facts::Facts;
use self::judge::{Check, Verdict, judge};
use super::servers::Servers;
use super::words::{json, piped};

/// Check etcd, PostgreSQL, clocks, quotas, permissions, partitions and members, and say what to do
///
/// Changes nothing. Exit status 1 where a check fails; a warning is none.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  nexus doctor
  nexus doctor --json | jq '.checks[] | select(.verdict != \"ok\")'
  CSV_FILE=/exports nexus doctor        (are the sources readable, too?)")]
pub(crate) struct Options {
    /// The streamer's: can it be read? Not checked where it is not set
    #[arg(long, env = "CSV_FILE")]
    csv_file: Option<String>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten, next_help_heading = "Servers")]
    servers: Servers,
}

#[derive(Serialize)]
struct Report<'a> {
    verdict: Verdict,
    checks: &'a [Check],
}

/// Checks, and prints.
///
/// # Errors
/// Where a check fails.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let facts = Facts::gather(&options.servers, options.csv_file.as_deref()).await?;
    let checks = judge(&facts);
    let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok);
    let mut out = std::io::stdout().lock();
    piped(|| match options.json {
        true => json(&mut out, &Report { verdict, checks: &checks }),
        false => write(&mut out, &checks),
    })?;
    let of = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    match of(Verdict::Fail) {
        0 => Ok(()),
        1 => bail!("1 check failed"),
        failed => bail!("{failed} checks failed"),
    }
}

fn write(out: &mut impl Write, checks: &[Check]) -> std::io::Result<()> {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    for check in checks {
        let word = match check.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        writeln!(out, "{word}  {:<width$}  {}", check.name, check.found)?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "      {:<width$}  -> {remedy}", "")?;
        }
    }
    Ok(())
}
