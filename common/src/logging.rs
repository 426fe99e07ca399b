//! Logs: readable text on a terminal, one JSON object a line elsewhere; always on standard error, and never with an API key
//! in them, whoever wrote the line.

use std::io::{IsTerminal, Stderr, Write, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{Directive, LevelFilter};

use crate::config::{LogFormat, Logging};
use crate::identity;

/// Where something is traced: this library would write what clients send into the log, keys among it, as hex digits.
const HUSH: &str = "tungstenite=info";

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
    let filter = match HUSH.parse::<Directive>() {
        Ok(hush) if filter.max_level_hint() == Some(LevelFilter::TRACE) => filter.add_directive(hush),
        _ => filter,
    };
    let terminal = stderr().is_terminal();
    let format = config.log_format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Careful(stderr()));
    // A second start (tests in one process) keeps the first subscriber.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(terminal).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    Ok(())
}

/// Standard error, without keys. It is handed whole events.
struct Careful(Stderr);

impl Write for Careful {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        self.0.write_all(&identity::cut(event)).map(|()| event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}
