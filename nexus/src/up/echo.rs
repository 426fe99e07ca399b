//! Errors in the components' logs, shortly on the screen: nobody watches four files.

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use super::Component;
use super::screen::Screen;

/// Lines of one component that are shown in one go; the rest is counted.
const MOST: usize = 3;

/// Bytes of a log that are looked at in one go.
const CHUNK: u64 = 256 * 1024;

/// The logs that are watched.
#[derive(Debug, Default)]
pub(super) struct Echo {
    logs: Vec<Log>,
}

#[derive(Debug)]
struct Log {
    name: String,
    path: PathBuf,
    read: u64,
}

impl Echo {
    pub(super) fn watch(&mut self, component: &Component) {
        self.logs.push(Log { name: component.name.clone(), path: component.log.clone(), read: 0 });
    }

    /// Looks every two seconds, for ever.
    pub(super) async fn run(mut self, screen: &Screen) -> Infallible {
        let mut every = tokio::time::interval(Duration::from_secs(2));
        loop {
            every.tick().await;
            for log in &mut self.logs {
                let errors: Vec<String> = log.fresh().lines().filter_map(error_in).collect();
                for error in errors.iter().take(MOST) {
                    screen.say(&format!("{}: {error}", log.name));
                }
                if errors.len() > MOST {
                    let more = errors.len() - MOST;
                    screen.say(&format!("{}: {more} more errors in {}", log.name, log.path.display()));
                }
            }
        }
    }
}

impl Log {
    /// The whole lines that were written since the last look.
    fn fresh(&mut self) -> String {
        let Ok(mut file) = File::open(&self.path) else { return String::new() };
        let length = file.metadata().map(|file| file.len()).unwrap_or_default();
        // A new file, or far behind: what is in between stays in the file.
        self.read = if length < self.read { 0 } else { self.read.max(length.saturating_sub(CHUNK)) };
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(self.read)).is_err() || file.take(CHUNK).read_to_end(&mut bytes).is_err() {
            return String::new();
        }
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.read += end as u64;
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}

/// The message of a log line that is an error, in either form of the logs.
fn error_in(line: &str) -> Option<String> {
    match serde_json::from_str::<serde_json::Value>(line) {
        Ok(json) if json["level"] == "ERROR" => {
            let fields =
                json.as_object()?.iter().filter(|(name, _)| !["level", "timestamp", "target"].contains(&name.as_str()));
            let words = fields.map(|(name, value)| match (name.as_str(), value.as_str()) {
                ("message", Some(text)) => text.to_owned(),
                (name, Some(text)) => format!("{name}={text}"),
                (name, None) => format!("{name}={value}"),
            });
            Some(words.collect::<Vec<_>>().join(" "))
        }
        Ok(_) => None,
        Err(_) => line.split_once(" ERROR ").map(|(_, said)| said.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_in_both_forms() {
        let json = r#"{"timestamp":"t","level":"ERROR","message":"expired","rows":3,"target":"x"}"#;
        assert_eq!(error_in(json).as_deref(), Some("expired rows=3"));
        assert_eq!(error_in(&json.replace("ERROR", "INFO")), None);
        assert_eq!(error_in("2026-01-01T00:00:00Z ERROR lost: key").as_deref(), Some("lost: key"));
    }
}
