//! What the spans of a batch say of it, the same in every process.

use super::{BatchId, Source};
use crate::traces::Span;

impl BatchId {
    /// A span that says which batch it is about: `nexus.batch` is what `nexus trace` takes.
    pub fn on(&self, span: Span) -> Span {
        span.with("nexus.batch", self.to_string())
            .with("nexus.lane", self.lane.as_str())
            .with("nexus.run", self.run.as_str())
            .with("nexus.n", self.n)
    }
}

impl Source {
    /// A span that says where its rows came from.
    pub fn on(&self, span: Span) -> Span {
        let Source { file, pass, lines: [first_line, last_line], bytes: [first_byte, end_byte], .. } = self;
        span.with("nexus.file", file.as_str())
            .with("nexus.pass", *pass)
            .with("nexus.first_line", *first_line)
            .with("nexus.last_line", *last_line)
            .with("nexus.first_byte", *first_byte)
            .with("nexus.end_byte", *end_byte)
    }
}
