//! Waiting for the effect of another process.

use std::time::{Duration, Instant};

/// Waits until `holds` says true, asking every few milliseconds; panics with `what` once `within` is over.
///
/// For effects that announce themselves (a stream, a notification) wait for the announcement instead.
#[track_caller]
pub fn eventually(
    what: impl Into<String>,
    within: Duration,
    mut holds: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    let (what, at) = (what.into(), std::panic::Location::caller());
    async move {
        let start = Instant::now();
        let mut wait = Duration::from_millis(5);
        let asked = async {
            while !holds().await {
                tokio::time::sleep(wait).await;
                wait = (wait * 3 / 2).min(Duration::from_millis(100));
            }
        };
        let in_time = tokio::time::timeout(within, asked).await.is_ok();
        assert!(in_time, "{at}: after {:.1} s still not: {what}", start.elapsed().as_secs_f64());
    }
}
