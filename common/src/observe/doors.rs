//! Connections of those who ask how this process is: few, short, and cut where they are slow.
//!
//! METRICS_ADDR knows no keys. Whoever reaches it may have answers, and neither this process's memory nor the places of those
//! who ask in earnest:
//!
//! - No more than [`Bounds::connections`] at a time; further ones wait in the listener's backlog.
//! - A request's head arrives within [`Bounds::patience`] and fits into [`HEAD`] bytes; between requests a connection is kept
//!   for as long.
//! - A connection ends after [`Bounds::lasting`], whatever is done with it: nobody keeps a place, by reading slowly or by
//!   asking on.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The longest head of a request; a longer one is refused with 431.
const HEAD: usize = 16 << 10;
/// The most headers of a request; more are refused with 431.
const HEADERS: usize = 64;
/// The pause after an accept that failed: for want of file descriptors, say.
const PAUSE: Duration = Duration::from_millis(200);

/// What those who ask may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Connections at a time.
    connections: usize,
    /// How long a request's head may take, and how long nothing may be asked.
    patience: Duration,
    /// How long a connection lasts.
    lasting: Duration,
    /// How long what is under way then may go on.
    grace: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Bounds { connections: 64, patience: seconds(10), lasting: seconds(60), grace: seconds(10) }
    }
}

/// Lets them in, for ever.
pub(super) async fn attend(listener: TcpListener, routes: Router, bounds: Bounds) -> Infallible {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.patience).max_buf_size(HEAD).max_headers(HEADERS);
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, _) = listener.accept().await?;
            Ok::<_, io::Error>((stream, place))
        };
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = accepted => match accepted {
                Ok((stream, place)) => {
                    let answers = TowerToHyperService::new(routes.clone());
                    connections.spawn(answer(stream, place, http.clone(), answers, bounds));
                }
                Err(error) => {
                    tracing::debug!(%error, "nobody can be let in; trying again");
                    sleep(PAUSE).await;
                }
            },
        }
    }
}

/// One connection, to its end. How it ends is its client's affair.
async fn answer(
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
    http: http1::Builder,
    answers: TowerToHyperService<Router>,
    bounds: Bounds,
) {
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), answers));
    let done = tokio::select! {
        done = connection.as_mut() => done,
        () = sleep(bounds.lasting) => {
            connection.as_mut().graceful_shutdown();
            match timeout(bounds.grace, connection).await {
                Ok(done) => done,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = done {
        tracing::debug!(%error, "a connection ended");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LONG: Duration = Duration::from_secs(600);
    /// What a question takes is less, on a slow machine that is busy with other tests too.
    const SHORT: Duration = Duration::from_millis(500);
    /// For what must come to pass.
    const SOON: Duration = Duration::from_secs(60);
    const WIDE: Bounds = Bounds { connections: 64, patience: LONG, lasting: LONG, grace: LONG };

    /// Serves these routes within these bounds.
    async fn served(routes: Router, bounds: Bounds) -> (SocketAddr, JoinSet<Infallible>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, mut serving) = (listener.local_addr().unwrap(), JoinSet::new());
        serving.spawn(attend(listener, routes, bounds));
        (address, serving)
    }

    fn hello() -> Router {
        Router::new().route("/", get(|| async { "hello" }))
    }

    /// Everything that is answered to this until the connection ends.
    async fn said(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // Cut off in the middle is an end, too.
        let _ = timeout(SOON, stream.read_to_string(&mut answer)).await.expect("the connection ends");
        answer
    }

    #[tokio::test]
    async fn who_asks_is_answered() {
        let (address, _serving) = served(hello(), WIDE).await;
        let answer = said(address, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    }

    #[tokio::test]
    async fn half_a_question_and_silence_are_not_waited_for() {
        let (address, _serving) = served(hello(), Bounds { patience: SHORT, ..WIDE }).await;
        for request in ["", "GET / HTTP/1.1\r\nHost:"] {
            assert!(!said(address, request).await.contains("200 OK"), "{request}");
        }
        let answer = said(address, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(answer.ends_with("hello"), "answered, and closed when nothing more is asked: {answer}");
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused() {
        let (address, _serving) = served(hello(), WIDE).await;
        let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(2 * HEAD));
        let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(2 * HEADERS));
        for request in [long, many] {
            let answer = said(address, &request).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
    }

    #[tokio::test]
    async fn nobody_keeps_a_place() {
        let (address, _serving) = served(hello(), Bounds { lasting: SHORT, grace: SHORT, ..WIDE }).await;
        let answer = said(address, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(answer.ends_with("hello"), "{answer}");
        // An answer that never comes keeps none either.
        let stuck = Router::new().route("/", get(std::future::pending::<()>));
        let (address, _serving) = served(stuck, Bounds { lasting: SHORT, grace: SHORT, ..WIDE }).await;
        assert_eq!(said(address, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await, "");
    }

    #[tokio::test]
    async fn there_are_so_many_places_and_the_others_wait() {
        const PLACES: usize = 3;
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (came, may_go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let routes = Router::new().route("/", {
            let (inside, most, came, may_go) = (inside.clone(), most.clone(), came.clone(), may_go.clone());
            get(async move || {
                most.fetch_max(inside.fetch_add(1, Relaxed) + 1, Relaxed);
                came.add_permits(1);
                may_go.acquire().await.unwrap().forget();
                inside.fetch_sub(1, Relaxed);
                "hello"
            })
        });
        let (address, _serving) = served(routes, Bounds { connections: PLACES, ..WIDE }).await;
        let mut clients = JoinSet::new();
        for _ in 0..4 * PLACES {
            clients.spawn(said(address, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
        }
        let places = u32::try_from(PLACES).unwrap();
        timeout(SOON, came.acquire_many(places)).await.expect("as many as there are places").unwrap().forget();
        may_go.add_permits(4 * PLACES);
        while let Some(answer) = clients.join_next().await {
            assert!(answer.unwrap().ends_with("hello"));
        }
        assert_eq!(most.load(Relaxed), PLACES);
    }
}
