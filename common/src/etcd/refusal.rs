//! Why a member does not take us, in its own words.
//!
//! With TLS 1.3 a client's certificate is looked at when the client believes that all is well. The server says what it
//! dislikes, and hangs up; HTTP/2, which is still writing, mostly sees a broken pipe and never reads the reason. So where a
//! call failed over TLS, the reason is asked for by a connection that only reads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::error::explained;
use crate::tls::{ClientConfig, ServerName};

/// How long a member may take to say something.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long its answer stands: callers that fail at once ask once.
const STANDS: Duration = Duration::from_secs(2);

/// The last answer of one member.
#[derive(Default)]
pub(super) struct Refusal(Mutex<Option<(Instant, Option<String>)>>);

impl Refusal {
    /// What it says of our certificate, or what is wrong with its own; `None`: nothing, it is away for another reason.
    pub(super) async fn reason(&self, address: &str, tls: &Arc<ClientConfig>) -> Option<String> {
        // Held for a look only, never across an await.
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, reason)) = known.filter(|(asked, _)| asked.elapsed() < STANDS) {
            return reason;
        }
        let reason = timeout(PATIENCE, ask(address, tls)).await.ok().flatten();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), reason.clone()));
        reason
    }
}

async fn ask(address: &str, tls: &Arc<ClientConfig>) -> Option<String> {
    let place = address.strip_prefix("https://").unwrap_or(address).trim_end_matches('/');
    let (host, _) = place.rsplit_once(':')?;
    let host = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()?;
    let stream = TcpStream::connect(place).await.ok()?;
    match TlsConnector::from(Arc::clone(tls)).connect(host, stream).await {
        Ok(mut stream) => stream.read_u8().await.err().and_then(|error| explained(&error)),
        Err(error) => explained(&error),
    }
}
