//! What every program's `main` does: read the configuration, start logging, run until told to stop, say how it ended.

mod health;
mod pages;
mod program;
mod version;

pub use health::{Answers, Health};
pub use pages::small_pages;
pub use program::{Program, Verb};
pub(crate) use version::commit;
pub use version::version;

use std::process::{ExitCode, exit};

use clap::error::ErrorKind;
use tokio_util::sync::CancellationToken;

use crate::config::{Logging, exit_status};
use crate::{logging, shutdown};

/// Says what is wrong with the command line in one line, and ends the process with status 2; help and version are
/// printed as they are.
pub fn refuse(name: &str, error: &clap::Error) -> ! {
    let asked_for = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if asked_for {
        error.exit();
    }
    eprintln!("{name}: {}", one_line(&error.to_string()));
    exit(2)
}

/// Runs a component, in small pages, until it ends or a signal stops it. Exit status 0: done or drained; 2: its
/// configuration cannot work; 1: anything else. An error is one line on standard error.
pub async fn run(
    name: &str,
    logging: &Logging,
    component: impl AsyncFnOnce(CancellationToken) -> anyhow::Result<()>,
) -> ExitCode {
    if let Err(line) = logging::start(logging) {
        eprintln!("{name}: {line}");
        return ExitCode::from(2);
    }
    small_pages();
    let outcome = match shutdown::on_signal() {
        Ok(stop) => Box::pin(component(stop)).await,
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::from(exit_status(&error))
        }
    }
}

/// The message ends at the first empty line; what follows is usage.
fn one_line(text: &str) -> String {
    let message: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    message.join(" ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[arg(long, value_parser = crate::config::duration)]
        pause: Option<std::time::Duration>,
    }

    #[test]
    fn a_wrong_value_is_one_line_that_names_it() {
        let error = Program::try_parse_from(["program", "--pause", "3"]).unwrap_err();
        let line = one_line(&error.to_string());
        assert!(line.contains("--pause") && line.contains("3s") && !line.contains('\n'), "{line}");
    }
}
