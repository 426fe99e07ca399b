//! Many clients that ask the API one question after another.
//!
//! Many of them come at the same moment, which nobody's clients do: connections are opened, statements are planned for the first
//! time, and each waits for all the others. What they ask in that moment can be told by itself.
//!
//! They share the machine with what they ask, so each is as little as can be: one connection, no pool, and one thread for all
//! of them.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Empty};
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::select;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};

use super::figures::Spread;
use super::history::Fleet;

/// A question: its name, and its path, in which `{host}` and `{gpu}` are one of the fleet's.
pub(super) type Route = (&'static str, String);

/// Who asks, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crowd {
    pub(super) clients: u32,
    pub(super) seconds: u32,
    /// Between an answer and the next question of one client.
    pub(super) pause: Duration,
    /// So much of the beginning is told by itself.
    pub(super) opening: Duration,
}

/// What was answered.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Answers {
    /// After the opening.
    pub(super) requests: usize,
    /// After the opening.
    pub(super) requests_per_second: f64,
    /// Questions that the gateway turned away because it was busy: status 503, within two seconds. They are in no latency.
    /// Those of the opening are among them.
    pub(super) turned_away: usize,
    /// What was asked in the opening, on all routes; it is in no latency of a route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) opening: Option<Spread>,
    pub(super) routes: Vec<(&'static str, Spread)>,
}

/// Asks these routes, each client in an order of its own that is another one each time round: clients that ask in one order
/// get into step, and come to the slow routes in waves. Every run asks the same.
///
/// # Errors
/// Where one answer is neither a success nor says that the gateway is busy.
pub(super) async fn ask(
    gateway: SocketAddr,
    fleet: Fleet,
    crowd: Crowd,
    routes: Vec<Route>,
) -> anyhow::Result<Answers> {
    let asked = spawn_blocking(move || {
        let one_thread = Builder::new_current_thread().enable_all().build()?;
        one_thread.block_on(ask_here(gateway, fleet, crowd, routes))
    });
    asked.await?
}

async fn ask_here(gateway: SocketAddr, fleet: Fleet, crowd: Crowd, routes: Vec<Route>) -> anyhow::Result<Answers> {
    let Crowd { clients, seconds, pause, opening } = crowd;
    let begin = Instant::now();
    let length = Duration::from_secs(seconds.into());
    let (open, until) = (begin + opening, begin + length);
    let routes: Arc<[Route]> = routes.into();
    let mut asking = JoinSet::new();
    for number in 0..clients {
        let routes = routes.clone();
        // Not all in step.
        let first = pause * number / clients;
        asking.spawn(async move {
            sleep(first).await;
            let mut client = Client { gateway, open: None };
            let (mut random, mut order) = (StdRng::seed_from_u64(number.into()), (0..routes.len()).collect::<Vec<_>>());
            let (mut opening, mut latencies, mut turned_away) = (Vec::new(), vec![Vec::new(); routes.len()], 0);
            for turn in 0.. {
                if turn % routes.len() == 0 {
                    order.shuffle(&mut random);
                }
                let which = order[turn % routes.len()];
                let seed = u64::from(number).wrapping_mul(31).wrapping_add(turn as u64 * 7);
                let path = path(&routes[which].1, fleet, seed);
                let asked = Instant::now();
                let (status, body) = client.get(&path).await?;
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    turned_away += 1;
                } else {
                    ensure!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&body.to_bytes()));
                    let counted = if asked < open { &mut opening } else { &mut latencies[which] };
                    counted.push(i64::try_from(asked.elapsed().as_micros())?);
                }
                if Instant::now() + pause >= until {
                    break;
                }
                if !pause.is_zero() {
                    sleep(pause).await;
                }
            }
            anyhow::Ok((opening, latencies, turned_away))
        });
    }
    let (mut opening, mut all, mut turned_away) = (Vec::new(), vec![Vec::new(); routes.len()], 0);
    while let Some(asked) = asking.join_next().await {
        let (first, latencies, turned) = asked??;
        turned_away += turned;
        opening.extend(first);
        all.iter_mut().zip(latencies).for_each(|(all, one)| all.extend(one));
    }
    let took = open.elapsed().as_secs_f64();
    let requests = all.iter().map(Vec::len).sum();
    let routes = routes.iter().zip(all).filter_map(|((name, _), all)| Some((*name, Spread::of(all)?))).collect();
    #[allow(clippy::cast_precision_loss)] // a count of requests
    let requests_per_second = (requests as f64 / took).round();
    Ok(Answers { requests, requests_per_second, turned_away, opening: Spread::of(opening), routes })
}

/// What a client keeps open, from its first question on.
struct Open {
    sender: SendRequest<Empty<Bytes>>,
    connection: Pin<Box<Connection<TokioIo<TcpStream>, Empty<Bytes>>>>,
}

/// Who asks. One connection, which is driven while it is asked something.
struct Client {
    gateway: SocketAddr,
    open: Option<Open>,
}

impl Client {
    /// The status and the whole body. Where the gateway has closed a connection that was idle, over another.
    async fn get(&mut self, path: &str) -> anyhow::Result<(StatusCode, Collected<Bytes>)> {
        let kept = self.open.is_some();
        match self.get_once(path).await {
            Err(_) if kept => self.get_once(path).await,
            answered => answered,
        }
    }

    async fn get_once(&mut self, path: &str) -> anyhow::Result<(StatusCode, Collected<Bytes>)> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::to(self.gateway).await?,
        };
        let request = Request::get(path).header(HOST, self.gateway.to_string()).body(Empty::new())?;
        let Open { sender, connection } = &mut open;
        let answered = async {
            let answer = sender.send_request(request).await?;
            anyhow::Ok((answer.status(), answer.into_body().collect().await?))
        };
        let answer = select! {
            biased;
            answer = answered => answer.with_context(|| path.to_owned())?,
            ended = connection => bail!("{path}: the connection ended: {ended:?}"),
        };
        self.open = Some(open);
        Ok(answer)
    }
}

impl Open {
    async fn to(gateway: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(gateway).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        Ok(Open { sender, connection: Box::pin(connection) })
    }
}

/// The path for one of the fleet's GPUs; every host has the first seven.
fn path(route: &str, fleet: Fleet, seed: u64) -> String {
    route
        .replace("{host}", &format!("host-{:03}", 1 + seed % u64::from(fleet.hosts)))
        .replace("{gpu}", &(seed % 7).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_is_about_a_gpu_that_is_there() {
        let fleet = Fleet::of(24);
        let paths: std::collections::BTreeSet<_> = (0..1_000).map(|seed| path("/{host}/{gpu}", fleet, seed)).collect();
        assert_eq!(paths.len(), 21);
        assert_eq!((paths.first().unwrap().as_str(), paths.last().unwrap().as_str()), ("/host-001/0", "/host-003/6"));
    }
}
