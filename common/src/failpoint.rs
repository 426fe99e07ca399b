//! Named places between the steps of a transaction at which a test makes its process die, freeze, fail or misread the
//! clock.
//!
//! They exist only in builds with the feature `failpoints`, which tests use and nothing else does: without it each call
//! is an empty inline function. The variable `FAILPOINTS` says what happens where, in the words of the `fail` crate:
//!
//! ```text
//! FAILPOINTS='store.committed=2*off->return(kill)'    at the third time dies as by kill -9
//! FAILPOINTS='ack.begin=1*return(stop)'               at the first time freezes as by SIGSTOP
//! FAILPOINTS='work.decoded=return(kill host-007)'     dies whenever it works on this host's rows
//! FAILPOINTS='clock=100*off->return(-3600000)'        from the 101st batch on the clock is an hour behind, in ms
//! ```

/// This step is reached.
#[inline]
pub fn here(name: &str) {
    about(name, "");
}

/// This step is reached with this in hand: an action that names a subject acts on that one only.
#[inline]
#[cfg_attr(not(feature = "failpoints"), expect(unused_variables, reason = "there are no failpoints"))]
pub fn about(name: &str, subject: &str) {
    #[cfg(feature = "failpoints")]
    active::act(name, subject);
}

/// A figure that a test sets in the place of this one.
#[inline]
#[cfg_attr(not(feature = "failpoints"), expect(unused_variables, reason = "there are no failpoints"))]
pub fn number(name: &str, usual: i64) -> i64 {
    #[cfg(feature = "failpoints")]
    return active::number(name).unwrap_or(usual);
    #[cfg(not(feature = "failpoints"))]
    usual
}

#[cfg(feature = "failpoints")]
mod active {
    use std::sync::Once;

    use nix::sys::signal::{Signal, raise};

    /// What FAILPOINTS says of this name now; asking counts as a hit.
    fn asked(name: &str) -> Option<String> {
        static READ: Once = Once::new();
        // Kept as long as the process lives: dropping it would forget what was read.
        READ.call_once(|| std::mem::forget(fail::FailScenario::setup()));
        fail::fail_point!(name, |argument| argument);
        None
    }

    pub(super) fn act(name: &str, subject: &str) {
        let Some(argument) = asked(name) else { return };
        let (action, of) = argument.split_once(' ').unwrap_or((argument.as_str(), subject));
        let signal = match action {
            "kill" => Signal::SIGKILL,
            "stop" => Signal::SIGSTOP,
            other => panic!("failpoint {name}: {other} is neither kill nor stop"),
        };
        if of == subject {
            tracing::warn!(name, subject, %signal, "failpoint");
            // To this process there is no second way; where the system refuses, the test sees it live on.
            let _ = raise(signal);
        }
    }

    pub(super) fn number(name: &str) -> Option<i64> {
        asked(name).and_then(|number| number.parse().ok())
    }
}
