//! One signal, one owner of tasks: how a component stops.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first Ctrl-C or SIGTERM. A second one ends the process at once with status 130.
///
/// # Errors
/// Where the signal handlers cannot be installed.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let token = CancellationToken::new();
    let cancelled = token.clone();
    // The one task without an owner: it has to outlive every owner that waits for it.
    #[allow(clippy::disallowed_methods)]
    tokio::spawn(async move {
        let mut next = async || tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () };
        next().await;
        tracing::info!("stopping; once more to stop at once");
        cancelled.cancel();
        next().await;
        std::process::exit(130);
    });
    Ok(token)
}

/// Waits for `work` to end after `stop` was asked for, but no longer than `grace`. `None`: it was cut off.
pub async fn drained<T>(work: impl Future<Output = T>, stop: &CancellationToken, grace: Duration) -> Option<T> {
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        done = work => Some(done),
        () = deadline => None,
    }
}
