//! A component's command line: how it is to work, and what else can be asked of it.

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::{Health, refuse, version};

/// A component's configuration, with what is done with it.
#[derive(Debug, Parser)]
pub struct Program<C: Args> {
    #[allow(missing_docs)]
    #[command(flatten)]
    pub config: C,

    /// `None`: run.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What a component does instead of running.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Ask the program that runs with this configuration whether it is ready: exit status 0, or 1 and one line
    Health(Health),
}

impl<C: Args> Program<C> {
    /// Reads arguments and environment. A value that cannot be read is one line on standard error and exit status 2.
    pub fn read(name: &'static str, commit: Option<&'static str>) -> Self {
        let command = Self::command().name(name).version(version(commit));
        let parsed = command.try_get_matches().and_then(|matches| Self::from_arg_matches(&matches));
        parsed.unwrap_or_else(|error| refuse(name, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does something.
    #[derive(Debug, Args)]
    struct Config {
        #[arg(long)]
        loudly: bool,
    }

    #[test]
    fn a_component_runs_unless_it_is_asked_for_something_else() {
        Program::<Config>::command().debug_assert();
        let program = Program::<Config>::try_parse_from(["program", "--loudly"]).unwrap();
        assert!(program.config.loudly && program.verb.is_none());
        let program = Program::<Config>::try_parse_from(["program", "--loudly", "health"]).unwrap();
        assert!(program.config.loudly && matches!(program.verb, Some(Verb::Health(_))));
        assert!(Program::<Config>::try_parse_from(["program", "helth"]).is_err());
    }
}
