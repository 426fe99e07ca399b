//! What a doctor sees before he judges. Nothing is changed by looking.

use std::time::{Duration, Instant};

use nexus_common::books::health::{self, Burden, Schema, Server};
use nexus_common::config::Common;
use nexus_common::db;
use nexus_common::domain::Timestamp;
use nexus_common::etcd::{Alarm, Client, Compare, CompareOp, Error, Status, Txn, TxnOp};
use nexus_common::queue::{Alive, Inspector, Keys, Standing};
use nexus_streamer::source::{Location, Options, Source, locate};

use crate::operator::quota;
use crate::operator::servers::Servers;

/// Everything that is judged. An `Err` is what kept us from the fact, in one line.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) now: Timestamp,
    pub(super) etcd: Vec<(String, Result<Status, String>)>,
    /// `None` where no member of etcd answers: then nothing of it is asked.
    pub(super) queue: Option<Queue>,
    pub(super) max_txn_ops: u32,
    /// Where PostgreSQL is, for people.
    pub(super) place: String,
    pub(super) memory: Result<Memory, Refused>,
    pub(super) our_schema: i32,
    /// CSV_FILE, and how many sources it names; only the first of them are opened.
    pub(super) sources: Option<(String, Result<usize, String>)>,
}

/// What etcd holds, and lets us do.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) alarms: Result<Vec<Alarm>, String>,
    /// A transaction of MAX_TXN_OPS operations.
    pub(super) operations: Result<(), Trouble>,
    /// A transaction with puts, whose condition can never hold.
    pub(super) writing: Result<(), Trouble>,
    pub(super) standing: Result<Standing, String>,
    /// Role and version.
    pub(super) members: Result<Vec<(&'static str, Option<String>)>, String>,
}

/// How etcd refused a harmless transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    TooLarge,
    NoSpace,
    Other(String),
}

/// What PostgreSQL says.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) latency: Duration,
    pub(super) server: Server,
    /// How far its clock is ahead of this machine's, in milliseconds.
    pub(super) clock_ahead_ms: i64,
    pub(super) schema: Result<Schema, String>,
    pub(super) burden: Result<Burden, String>,
}

/// Why PostgreSQL was not asked.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) reason: String,
    /// It answered: who asks is at fault, or what is asked for.
    pub(super) answered: bool,
}

/// Sources that are opened.
const OPENED: usize = 20;

impl Facts {
    pub(super) async fn gather(servers: &Servers, csv_file: Option<&str>) -> anyhow::Result<Facts> {
        let inspector = servers.inspector().await?;
        let (etcd, memory) = tokio::join!(etcd(&inspector, &servers.common), memory(servers));
        let (etcd, queue) = etcd;
        Ok(Facts {
            now: Timestamp::now(),
            etcd,
            queue,
            max_txn_ops: servers.common.max_txn_ops,
            place: servers.db.place(),
            memory,
            our_schema: db::newest(),
            sources: csv_file.map(|spec| (spec.to_owned(), tokio::task::block_in_place(|| sources(spec)))),
        })
    }
}

type Endpoints = Vec<(String, Result<Status, String>)>;

async fn etcd(inspector: &Inspector, common: &Common) -> (Endpoints, Option<Queue>) {
    let client = inspector.client();
    let (endpoints, alarms) = quota::members(client, &common.etcd).await;
    let endpoints: Endpoints = endpoints
        .into_iter()
        .map(|endpoint| (endpoint.address, endpoint.status.map_err(|error| error.to_string())))
        .collect();
    if endpoints.iter().all(|(_, status)| status.is_err()) {
        return (endpoints, None);
    }
    let members = inspector.members().await.map_err(|error| error.to_string()).map(|members| {
        let version = |alive: Alive| (alive.role.as_str(), alive.member.map(|member| member.version));
        members.into_iter().map(version).collect()
    });
    let queue = Queue {
        alarms: alarms.map_err(|error| error.to_string()),
        operations: operations(client, inspector.keys(), common.max_txn_ops).await,
        writing: writing(client, inspector.keys()).await,
        standing: inspector.standing().await.map_err(|error| error.to_string()),
        members,
    };
    (endpoints, Some(queue))
}

/// A key that nobody writes.
fn nothing(keys: &Keys) -> String {
    format!("{}doctor", keys.claims())
}

/// As many reads of nothing as a batch may hold operations.
async fn operations(client: &Client, keys: &Keys, max_txn_ops: u32) -> Result<(), Trouble> {
    let reads: Vec<_> = (0..max_txn_ops).map(|_| TxnOp::get(nothing(keys), None)).collect();
    client.txn(Txn::new().and_then(reads)).await.map(drop).map_err(trouble)
}

/// Puts into every family under a condition that never holds: rights are checked before conditions, and nothing is put.
async fn writing(client: &Client, keys: &Keys) -> Result<(), Trouble> {
    let key = nothing(keys);
    // No revision is greater than this, and a key that does not exist has 0.
    let never = Compare::mod_revision(key.as_str(), CompareOp::Greater, i64::MAX - 1);
    let families = [
        keys.messages(),
        keys.manifests(),
        keys.claims(),
        keys.attempts(),
        keys.lanes(),
        keys.members("collector"),
        format!("{}/", keys.feed()),
    ];
    let puts: Vec<_> = families.iter().map(|family| TxnOp::put(format!("{family}doctor"), "", None)).collect();
    client.txn(Txn::new().when([never]).and_then(puts)).await.map(drop).map_err(trouble)
}

fn trouble(error: Error) -> Trouble {
    match error {
        Error::TooLarge(_) => Trouble::TooLarge,
        Error::NoSpace => Trouble::NoSpace,
        error => Trouble::Other(error.to_string()),
    }
}

async fn memory(servers: &Servers) -> Result<Memory, Refused> {
    let refused = |error: db::Error| Refused { answered: error.sqlstate().is_some(), reason: Servers::plain(&error) };
    let pool = servers.memory().map_err(|error| Refused { answered: false, reason: error.to_string() })?;
    let db = pool.get().await.map_err(|error| refused(error.into()))?;
    let (asked, at) = (Timestamp::now(), Instant::now());
    let server = health::server(&db).await.map_err(refused)?;
    let latency = at.elapsed();
    // The server looked at its clock somewhere between question and answer.
    let halfway = i64::try_from(latency.as_micros() / 2).unwrap_or(0);
    let clock_ahead_ms = (server.now.0 - asked.0 - halfway) / 1000;
    let schema = health::schema(&db).await.map_err(|error| error.to_string());
    let burden = health::burden(&db, &servers.common.cluster_id).await.map_err(|error| error.to_string());
    Ok(Memory { latency, server, clock_ahead_ms, schema, burden })
}

fn sources(spec: &str) -> Result<usize, String> {
    let found = locate(spec).map_err(|error| error.to_string())?;
    let options = Options { source_host: Some("doctor".to_owned()), ..Options::default() };
    // Standard input would be read by looking.
    let files = found.iter().filter(|location| matches!(location, Location::File(_)));
    for location in files.take(OPENED) {
        Source::open(location, &options).map_err(|error| error.to_string())?;
    }
    Ok(found.len())
}
