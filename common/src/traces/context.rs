//! W3C trace context: `00-{trace}-{span}-{flags}` says where a step belongs and whether anybody records it (pure).

use std::fmt;
use std::str::FromStr;

/// Where a step stands among those that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The same for all that belongs together.
    pub(super) trace: u128,
    /// This step.
    pub(super) span: u64,
    /// Somebody records this trace.
    pub(super) sampled: bool,
}

impl Context {
    /// A new trace.
    pub fn root(sampled: bool) -> Self {
        Context { trace: rand::random::<u128>().max(1), span: new_span(), sampled }
    }

    /// A new step of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Context { span: new_span(), ..self }
    }

    /// The trace's id, as the log writes it.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// Whether somebody records it.
    pub fn is_sampled(self) -> bool {
        self.sampled
    }
}

/// The trace's id in a `traceparent` that one of us wrote.
pub fn trace_id(traceparent: Option<&str>) -> Option<&str> {
    traceparent?.split('-').nth(1)
}

fn new_span() -> u64 {
    rand::random::<u64>().max(1)
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// What is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no traceparent")]
pub struct NoContext;

impl FromStr for Context {
    type Err = NoContext;

    /// A later version may append fields, version 00 has none.
    fn from_str(text: &str) -> Result<Self, NoContext> {
        read(text).ok_or(NoContext)
    }
}

fn read(text: &str) -> Option<Context> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let formed = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    if !formed || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (trace != 0 && span != 0).then_some(Context { trace, span, sampled: flags & 1 == 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn it_reads_what_it_writes_and_goes_on_in_the_same_trace() {
        let given: Context = GIVEN.parse().unwrap();
        assert_eq!((given.to_string().as_str(), given.is_sampled()), (GIVEN, true));
        let child = given.child();
        assert_eq!((child.trace_id(), child.sampled), (given.trace_id(), true));
        assert_ne!(child.span, given.span);
        let text = child.to_string();
        assert_eq!((text.parse(), trace_id(Some(&text))), (Ok(child), Some("4bf92f3577b34da6a3ce929d0e0e4736")));
        assert_ne!(Context::root(true).trace, Context::root(true).trace);
    }

    #[test]
    fn a_later_version_may_say_more() {
        let later: Context = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02-more".parse().unwrap();
        assert_eq!((later.trace_id().as_str(), later.sampled), ("4bf92f3577b34da6a3ce929d0e0e4736", false));
    }

    #[test]
    fn what_is_no_context_is_refused() {
        for text in [
            "",
            "nonsense",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(text.parse::<Context>(), Err(NoContext), "{text}");
        }
    }
}
