//! Connections: who may have one, for how long he may be silent, and how they end.
//!
//! - No more than MAX_CONNECTIONS at a time, upgraded ones (WebSocket) among them: further ones wait in the listener's
//!   backlog.
//! - Over TLS the handshake is done within HEADER_TIMEOUT, beside the others: nobody waits for it but its client. Each new
//!   connection sees the certificate that its file holds now.
//! - A request's headers arrive within HEADER_TIMEOUT and fit into [`HEAD`] bytes; between requests a connection is kept
//!   for as long.
//! - What is sent is taken within twice LIVE_PING_INTERVAL, or the connection ends.
//! - A stop lets requests that are under way end; who waits between requests is closed at once.
//! - What is refused before it was read is still told: the connection lingers for a moment, so that the answer is not lost
//!   to a client that is still sending.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nexus_common::observe::Counted;
use nexus_common::tls::LOOK_EVERY;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Sleep, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::access::Peer;
use crate::config::Bounds;
use crate::metrics::Metrics;
use crate::tls::Kept;

/// The longest head of a request; a longer one is refused with 431.
const HEAD: usize = 64 << 10;
/// The most headers of a request; more are refused with 431.
const HEADERS: usize = 100;
/// How long a client that was refused may go on sending before the connection is cut.
const LINGER: Duration = Duration::from_secs(1);
/// The pause after an accept that failed for want of something, such as file descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves until `stop`, and comes back when the last request has been answered.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    tls: Option<Kept>,
    bounds: &Bounds,
    metrics: &Metrics,
    stop: &CancellationToken,
) {
    let most = usize::try_from(bounds.connections).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    let (places, mut told) = (Arc::new(Semaphore::new(most)), false);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.header_timeout).max_buf_size(HEAD).max_headers(HEADERS);
    let (mut connections, mut look) = (JoinSet::new(), interval(LOOK_EVERY));
    loop {
        if places.available_permits() == 0 && !told {
            told = true;
            tracing::warn!(MAX_CONNECTIONS = most, "as many connections as may be: further ones wait");
        }
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, peer) = listener.accept().await?;
            Ok::<_, io::Error>((stream, Peer(peer.ip()), place))
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            // So that a certificate that cannot be used is in the log before a client comes.
            _ = look.tick(), if tls.is_some() => drop(tls.as_ref().map(Kept::present)),
            accepted = accepted => match accepted {
                Ok((stream, peer, place)) => {
                    // Without it only an answer's last packet is late: nothing to fail for.
                    let _ = stream.set_nodelay(true);
                    give_up_after(&stream, bounds.ping_interval * 2);
                    let guest = Guest { stream, linger: None, _place: place, _counted: metrics.connection() };
                    let place = Place { peer, app: TowerToHyperService::new(app.clone()) };
                    let (http, stop) = (http.clone(), stop.clone());
                    match &tls {
                        None => connections.spawn(attend(guest, http, place, stop)),
                        Some(tls) => {
                            let acceptor = TlsAcceptor::from(Arc::clone(&tls.present().value.config));
                            connections.spawn(attend_over(acceptor, bounds.header_timeout, guest, http, place, stop))
                        }
                    };
                }
                Err(error) if is_of_one(&error) => tracing::debug!(%error, "a connection was gone before it began"),
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted; trying again");
                    sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One connection over TLS, from the handshake to its end.
async fn attend_over(
    acceptor: TlsAcceptor,
    patience: Duration,
    guest: Guest,
    http: http1::Builder,
    place: Place,
    stop: CancellationToken,
) {
    let shaken = tokio::select! {
        shaken = timeout(patience, acceptor.accept(guest).into_fallible()) => shaken,
        () = stop.cancelled() => return,
    };
    match shaken {
        Ok(Ok(guest)) => attend(guest, http, place, stop).await,
        Ok(Err((error, mut guest))) => {
            // A client's certificate is what its owner asks about; who speaks something else knows by himself.
            match is_about_certificates(&error) {
                true => tracing::info!(%error, "a client was refused"),
                false => tracing::debug!(%error, "a handshake failed"),
            }
            // So that the client reads why: closed with unread bytes, the reason may be lost on its way.
            let _ = guest.shutdown().await;
        }
        Err(_) => tracing::debug!("a handshake took too long"),
    }
}

fn is_about_certificates(error: &io::Error) -> bool {
    use tokio_rustls::rustls::Error;
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    matches!(tls, Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented))
}

/// What serves one connection: each of its requests says where it came from.
struct Place {
    peer: Peer,
    app: TowerToHyperService<Router>,
}

impl Service<Request<Incoming>> for Place {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.app.call(request)
    }
}

/// One connection, to its end.
async fn attend<S>(stream: S, http: http1::Builder, place: Place, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http.serve_connection(TokioIo::new(stream), place).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => done,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // Clients that are slow, break off or speak something else: their affair.
    if let Err(error) = done {
        tracing::debug!(%error, "a connection ended");
    }
}

/// A client that takes nothing of what it is sent for so long is not there, whether it is gone or never reads: the kernel
/// ends the connection. Slow is not silent: whatever is taken counts.
fn give_up_after(stream: &TcpStream, longest: Duration) {
    #[cfg(target_os = "linux")]
    // Without it such a connection lasts until TCP gives up by itself: nothing to fail for.
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(longest));
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, longest);
}

/// About the one connection alone: the next can be accepted at once.
fn is_of_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A client's connection with its place among all, which it keeps when it is upgraded.
struct Guest {
    stream: TcpStream,
    linger: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
    _counted: Counted,
}

impl AsyncRead for Guest {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Says that nothing more comes, then reads what the client still sends and forgets it, until he is done or
    /// [`LINGER`] is over: closed with unread bytes, a connection is reset, and the answer may be lost on its way.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.linger = Some(Box::pin(sleep(LINGER)));
        }
        let mut bytes = [0; 4096];
        // A few reads a turn: a client that sends without end gets no more than its share.
        for _ in 0..16 {
            let over = self.linger.as_mut().is_none_or(|linger| linger.as_mut().poll(cx).is_ready());
            if over {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
