//! Logs: readable text on a terminal, one JSON object a line elsewhere; always on standard error, and never with an API key
//! in them, whoever wrote the line.

use std::io::{IsTerminal, Stderr, Write, stderr};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Directive;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

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
    let lines = fmt::layer().with_writer(|| Careful(stderr()));
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
