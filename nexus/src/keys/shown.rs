//! The key that a command shows to a gateway. It comes from a file: flags and environments are seen by others.

use std::path::PathBuf;

use clap::Args;
use nexus_common::config::Invalid;
use nexus_common::identity::Key;

/// What to show to the gateway.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub(crate) struct Shown {
    /// File that holds the API key to show to the gateway
    #[arg(long, env = "NEXUS_API_KEY_FILE", value_name = "PATH")]
    api_key_file: Option<PathBuf>,
}

impl Shown {
    /// For `Authorization`, where there is a key.
    ///
    /// # Errors
    /// Where the file cannot be read, or holds something else.
    pub(crate) fn authorization(&self) -> Result<Option<String>, Invalid> {
        let Some(path) = &self.api_key_file else { return Ok(None) };
        let wrong = |reason: String| Invalid(format!("NEXUS_API_KEY_FILE={}: {reason}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let key: Key = text.trim().parse().map_err(|error| wrong(format!("what it holds {error}")))?;
        Ok(Some(format!("Bearer {}", key.reveal())))
    }
}
