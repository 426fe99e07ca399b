//! A TCP proxy that breaks on command: what lies between a client and its server in a bad hour.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Carries connections from a free port of 127.0.0.1 to a server, as long as it is told to.
///
/// Dropping it cuts everything.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
    swallowed: Arc<AtomicUsize>,
    _carriers: JoinSet<()>,
}

/// What the line does now.
#[derive(Debug, Clone)]
struct Line {
    target: String,
    /// Connections are accepted.
    open: bool,
    requests_pass: bool,
    answers_pass: bool,
    /// Whatever is sent is taken, and goes nowhere.
    swallows: bool,
    /// How long each piece is on its way, in each direction.
    delay: Duration,
    /// How often everything was cut: a connection ends when this is no longer what it began with.
    cuts: u64,
}

impl Proxy {
    /// A proxy to `target` (`host:port`), open.
    ///
    /// # Panics
    /// Where no port can be had.
    pub async fn to(target: impl Into<String>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let line = Line {
            target: target.into(),
            open: true,
            requests_pass: true,
            answers_pass: true,
            swallows: false,
            delay: Duration::ZERO,
            cuts: 0,
        };
        let (line, state) = watch::channel(line);
        let mut carriers = JoinSet::new();
        let swallowed = Arc::new(AtomicUsize::new(0));
        carriers.spawn(accept(listener, state, swallowed.clone()));
        Proxy { address, line, swallowed, _carriers: carriers }
    }

    /// `127.0.0.1:port`: what the client is told instead of the server.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Breaks every connection, and each new one at once, until [`Proxy::heal`].
    pub fn cut(&self) {
        self.line.send_modify(|line| {
            line.open = false;
            line.cuts += 1;
        });
    }

    /// Everything stays connected and nothing arrives, in either direction: what is on its way waits.
    pub fn stall(&self) {
        self.line.send_modify(|line| (line.requests_pass, line.answers_pass) = (false, false));
    }

    /// What the client sends arrives; what the server answers waits.
    pub fn withhold_answers(&self) {
        self.line.send_modify(|line| (line.requests_pass, line.answers_pass) = (true, false));
    }

    /// Half open: every connection, and each new one, stays up, takes what is sent, and carries none of it. What was
    /// swallowed is lost for good, so after [`Proxy::heal`] only new connections work: the client has to notice.
    pub fn swallow(&self) {
        self.line.send_modify(|line| line.swallows = true);
    }

    /// How many pieces were swallowed so far.
    pub fn swallowed(&self) -> usize {
        self.swallowed.load(Ordering::Relaxed)
    }

    /// Every piece of at most 64 KiB takes so long in each direction, one after the other.
    pub fn delay(&self, delay: Duration) {
        self.line.send_modify(|line| line.delay = delay);
    }

    /// New connections are accepted, what waits goes on, at once. What was cut stays cut.
    pub fn heal(&self) {
        self.line.send_modify(|line| {
            (line.open, line.requests_pass, line.answers_pass) = (true, true, true);
            (line.swallows, line.delay) = (false, Duration::ZERO);
        });
    }

    /// New connections lead to another server; those there are do not change.
    pub fn lead_to(&self, target: impl Into<String>) {
        self.line.send_modify(|line| line.target = target.into());
    }
}

async fn accept(listener: TcpListener, line: watch::Receiver<Line>, swallowed: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                let now = line.borrow().clone();
                if now.open {
                    connections.spawn(carry(client, now, line.clone(), swallowed.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Ends when either side does, or with a cut.
async fn carry(client: TcpStream, began: Line, line: watch::Receiver<Line>, swallowed: Arc<AtomicUsize>) {
    let Ok(server) = TcpStream::connect(&began.target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let mut until_cut = line.clone();
    let spoiled = AtomicBool::new(false);
    let swallowing = (&*swallowed, &spoiled);
    tokio::select! {
        // In this order: what waits when the line is cut goes down with it, also when it is healed at once.
        biased;
        _ = until_cut.wait_for(|line| line.cuts != began.cuts) => {}
        () = pump(from_client, to_server, line.clone(), swallowing, |line| line.requests_pass) => {}
        () = pump(from_server, to_client, line.clone(), swallowing, |line| line.answers_pass) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut line: watch::Receiver<Line>,
    (swallowed, spoiled): (&AtomicUsize, &AtomicBool),
    passes: fn(&Line) -> bool,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        let (swallows, delay) = {
            let now = line.borrow();
            (now.swallows, now.delay)
        };
        if swallows || spoiled.load(Ordering::Relaxed) {
            // For both directions: what is missing from one must not be followed by more in the other.
            spoiled.store(true, Ordering::Relaxed);
            swallowed.fetch_add(1, Ordering::Relaxed);
            return swallow(from).await;
        }
        tokio::time::sleep(delay).await;
        if line.wait_for(passes).await.is_err() || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Takes what comes until the sender has had enough.
async fn swallow(mut from: OwnedReadHalf) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(1..) = from.read(&mut buffer).await {}
}
