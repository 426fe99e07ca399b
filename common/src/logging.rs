//! Logs: readable text on a terminal, one JSON object a line elsewhere; always on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Logging};

/// Starts logging for this process. An unreadable filter is the caller's to report (exit status 2).
pub fn start(config: &Logging) -> Result<(), String> {
    // A lone word that is no level would be taken for a module's name, and silence everything.
    let level = config.log_level.trim();
    let is_word = !level.contains(['=', ',']);
    if is_word && !["trace", "debug", "info", "warn", "error", "off"].contains(&level.to_ascii_lowercase().as_str()) {
        return Err(format!("LOG_LEVEL={level}: write debug, info, warn or error"));
    }
    let filter = EnvFilter::try_new(&config.log_level)
        .map_err(|error| format!("LOG_LEVEL={}: {error}; write debug, info, warn or error", config.log_level))?;
    let terminal = std::io::stderr().is_terminal();
    let format = config.log_format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start (tests in one process) keeps the first subscriber.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(terminal).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    Ok(())
}
