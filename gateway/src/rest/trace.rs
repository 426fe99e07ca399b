//! W3C trace context: a request that comes with a `traceparent` stays in its trace under a span of ours, and one without
//! begins a trace. The answer names both in `traceparent`, so that a client's trace and our log meet.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Both ways.
pub(super) const HEADER: HeaderName = HeaderName::from_static("traceparent");

/// Where a request stands among those that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trace {
    trace: u128,
    span: u64,
    /// The caller records this trace.
    sampled: bool,
}

impl Trace {
    /// Of a request: a new span of the caller's trace, or of a new one where the caller sent none that can be used, or
    /// several.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(HEADER).iter();
        let parent = match (given.next(), given.next()) {
            (Some(only), None) => only.to_str().ok().and_then(parent),
            _ => None,
        };
        let (trace, sampled) = parent.unwrap_or_else(|| (rand::random::<u128>().max(1), false));
        Trace { trace, span: rand::random::<u64>().max(1), sampled }
    }

    /// The trace's id, as the log writes it.
    pub(super) fn id(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// For the answer.
    pub(super) fn header(self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.to_string()).ok()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// The trace id of a `traceparent` and whether it is recorded. A later version may append fields, version 00 has none.
fn parent(text: &str) -> Option<(u128, bool)> {
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
    (trace != 0 && span != 0).then_some((trace, flags & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(headers: &[&'static str]) -> Trace {
        Trace::of(&headers.iter().map(|text| (HEADER, HeaderValue::from_static(text))).collect())
    }

    #[test]
    fn a_trace_goes_on_under_a_new_span() {
        let trace = of(&[GIVEN]);
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(trace.span, 0x00f0_67aa_0ba9_02b7);
        assert!(trace.sampled && trace.to_string().ends_with("-01"));
        let later = of(&["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02-more"]);
        assert_eq!((later.id().as_str(), later.sampled), ("4bf92f3577b34da6a3ce929d0e0e4736", false));
    }

    #[test]
    fn what_is_no_trace_begins_one() {
        for headers in [
            &[][..],
            &[""],
            &["nonsense"],
            &["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
            &["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"],
            &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"],
            &["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"],
            &[GIVEN, GIVEN],
        ] {
            let trace = of(headers);
            assert_ne!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736", "{headers:?}");
            assert!(parent(&trace.to_string()).is_some(), "{headers:?}: {trace}");
        }
    }
}
