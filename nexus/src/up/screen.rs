//! What the user sees: lines that stay, and on a terminal one line that is rewritten.

use std::io::{IsTerminal, Write, stdout};
use std::sync::Mutex;

/// Standard output. Where nobody reads it any more, nothing is said and nothing fails.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    /// The live line now shown. Never held across an await.
    live: Mutex<String>,
}

/// Back to the first column, clear the line.
const CLEAR: &str = "\r\x1b[2K";

impl Screen {
    pub(super) fn new() -> Self {
        Screen { terminal: stdout().is_terminal(), live: Mutex::new(String::new()) }
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Lines that stay.
    pub(super) fn say(&self, text: &str) {
        let live = self.live.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut out = stdout().lock();
        let _ = match self.terminal {
            true => write!(out, "{CLEAR}{text}\n{live}"),
            false => writeln!(out, "{text}"),
        };
        let _ = out.flush();
    }

    /// The line of what flows: rewritten on a terminal, one more line elsewhere.
    pub(super) fn live(&self, text: &str) {
        if !self.terminal {
            return self.say(text);
        }
        let mut live = self.live.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        text.clone_into(&mut live);
        let mut out = stdout().lock();
        let _ = write!(out, "{CLEAR}{text}");
        let _ = out.flush();
    }
}
