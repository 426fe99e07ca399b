//! Logs: readable text on a terminal, one JSON object a line elsewhere; always on standard error.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

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
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(terminal).with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    // A second start (tests in one process) keeps the first subscriber.
    let _ = registry().with(lines.with_filter(filter)).with(Counted.with_filter(LevelFilter::WARN)).try_init();
    Ok(())
}

/// One subscriber a process, and so one count.
static WARNINGS: AtomicU64 = AtomicU64::new(0);
static ERRORS: AtomicU64 = AtomicU64::new(0);

/// How many warnings and errors there were in this process, whether or not LOG_LEVEL lets them through.
pub fn counted() -> [(&'static str, u64); 2] {
    [("warn", WARNINGS.load(Ordering::Relaxed)), ("error", ERRORS.load(Ordering::Relaxed))]
}

/// Counts beside the lines, with a filter of its own.
struct Counted;

impl<S: Subscriber> Layer<S> for Counted {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        match *event.metadata().level() {
            Level::ERROR => _ = ERRORS.fetch_add(1, Ordering::Relaxed),
            Level::WARN => _ = WARNINGS.fetch_add(1, Ordering::Relaxed),
            _ => {}
        }
    }
}
