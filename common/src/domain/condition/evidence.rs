//! Signs in words: fragments of a sentence, with figures and units.

use std::time::Duration;

use super::sign::protecting;
use super::{Sign, SignKind, Thresholds, Vital, Vitals, xid};

/// What a sign shows.
pub(super) fn of(sign: &Sign, thresholds: &Thresholds) -> String {
    let value = sign.value;
    let lasting = lasting(sign.held_for());
    match sign.kind {
        SignKind::Xid => of_xid(sign.code()),
        SignKind::DoubleBitEcc => format!("{} since the driver was loaded", errors(sign.code())),
        SignKind::RowRemapFailure => "a row remap failed: replace the GPU".to_owned(),
        SignKind::RowRemapPending => "a row remap waits for a reset of the GPU".to_owned(),
        SignKind::Hot => format!("{value} °C, above {} °C{lasting}", thresholds.hot_celsius),
        SignKind::VeryHot => format!("{value} °C, above {} °C{lasting}", thresholds.critical_celsius),
        SignKind::Throttled => format!("clocks held back: {}", bits(value)),
        SignKind::IdleAllocated => format!("0 % utilisation with {value} MiB of memory held{lasting}"),
        SignKind::Missing if value <= 0.0 => "never reported, while its host does".to_owned(),
        SignKind::Missing => format!("no value for {}, while its host goes on", silence(value)),
        // Not how long: that would change with every look, and `since` says it.
        SignKind::Stale => format!("no new value for longer than {}", silence(thresholds.stale_after.as_secs_f64())),
    }
}

/// An XID code, what it means and what it asks for.
fn of_xid(code: i64) -> String {
    match xid::known(code) {
        Some(entry) => format!("XID {code} ({}): {}", entry.name, entry.action.in_words()),
        None => format!("XID {code}, an unknown code"),
    }
}

/// A number of double-bit ECC errors.
pub(super) fn errors(count: i64) -> String {
    if count == 1 { "1 double-bit ECC error".to_owned() } else { format!("{count} double-bit ECC errors") }
}

fn bits(mask: f64) -> String {
    let named: Vec<_> = protecting(mask).iter().map(|(bit, name)| format!("{name} (0x{bit:x})")).collect();
    named.join(", ")
}

/// " for 2m 30s", to the second; nothing for less than one.
fn lasting(time: Duration) -> String {
    if time.as_secs() == 0 { String::new() } else { format!(" for {}", words(time)) }
}

fn silence(seconds: f64) -> String {
    words(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// A time in words, to the second.
pub(super) fn words(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

/// How a sign ended. "0" and "not reported" are told apart.
pub(super) fn of_end(sign: &Sign, vitals: &Vitals<'_>, thresholds: &Thresholds) -> String {
    let current = |vital| vitals.current(vital, thresholds.stale_after).map(|(value, _)| value);
    let or_silent = |reading: Option<f64>, name: &str, words: &dyn Fn(f64) -> String| {
        reading.map_or_else(|| format!("{name} no longer reported"), words)
    };
    match sign.kind {
        SignKind::Xid => {
            let (code, reading) = (sign.code(), vitals.current(Vital::Xid, thresholds.xid_gap));
            or_silent(reading.map(|(value, _)| value), &format!("XID {code} is"), &|value| {
                format!("XID {code} is over: the GPU reports {value}")
            })
        }
        SignKind::DoubleBitEcc => or_silent(current(Vital::DoubleBitEcc), "double-bit ECC errors are", &|count| {
            format!("{count} double-bit ECC errors since the driver was loaded")
        }),
        SignKind::RowRemapFailure => {
            or_silent(current(Vital::RowRemapFailure), "a row remap failure is", &|_| "no failed row remap".to_owned())
        }
        SignKind::RowRemapPending => {
            or_silent(current(Vital::RowRemapPending), "a pending row remap is", &|_| "no pending row remap".to_owned())
        }
        SignKind::Hot => temperature(current(Vital::Temperature), thresholds.hot_celsius),
        SignKind::VeryHot => temperature(current(Vital::Temperature), thresholds.critical_celsius),
        SignKind::Throttled => or_silent(current(Vital::ClockEventReasons), "clock event reasons are", &|_| {
            "clocks are no longer held back to protect the hardware".to_owned()
        }),
        SignKind::IdleAllocated => match (current(Vital::Utilization), current(Vital::MemoryUsed)) {
            (Some(percent), _) if percent > 0.0 => format!("{percent} % utilisation"),
            (Some(_), Some(mib)) => format!("{mib} MiB of memory held"),
            _ => "utilisation or memory is no longer reported".to_owned(),
        },
        SignKind::Missing if vitals.last_seen.is_none() => "no longer expected on its host".to_owned(),
        SignKind::Missing => "it reports with its host again".to_owned(),
        SignKind::Stale => "new values again".to_owned(),
    }
}

fn temperature(reading: Option<f64>, bound: f64) -> String {
    reading.map_or_else(
        || "the temperature is no longer reported".to_owned(),
        |celsius| format!("{celsius} °C, no longer above {bound} °C"),
    )
}
