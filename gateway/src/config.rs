//! What the gateway can be told.

use std::net::IpAddr;
use std::num::NonZero;
use std::time::Duration;

use clap::{ArgAction, Args};
use nexus_common::config::{Common, Conditions, Logging, Traced, some_time, switch};
use nexus_common::db;

use crate::access;
use crate::tls::Tls;

/// Serves GPU telemetry over HTTP: REST, GraphQL and the live feed.
#[derive(Debug, Clone, Args)]
pub struct Config {
    #[allow(missing_docs)]
    #[command(flatten)]
    pub common: Common,

    #[allow(missing_docs)]
    #[command(flatten)]
    pub logging: Logging,

    #[allow(missing_docs)]
    #[command(flatten)]
    pub traced: Traced,

    #[allow(missing_docs)]
    #[command(flatten)]
    pub db: db::Config,

    /// HTTP port
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub port: u16,

    /// Address to listen on; one that other hosts reach needs API_KEYS_FILE, or ALLOW_ANONYMOUS
    #[arg(long, env = "BIND_ADDRESS", default_value = "127.0.0.1")]
    pub bind_address: IpAddr,

    /// Serve GraphQL
    #[arg(long, env = "ENABLE_GRAPHQL", default_value = "true", value_parser = switch, action = ArgAction::Set)]
    pub enable_graphql: bool,

    /// Answer GraphQL's questions about its own schema
    #[arg(long, env = "ENABLE_INTROSPECTION", default_value = "true", value_parser = switch, action = ArgAction::Set)]
    pub enable_introspection: bool,

    /// Serve the live feed: WebSocket, Server-Sent Events and GraphQL subscriptions
    #[arg(long, env = "ENABLE_WEBSOCKET", default_value = "true", value_parser = switch, action = ArgAction::Set)]
    pub enable_websocket: bool,

    /// Answer questions about long times from rollups where they are made; off = from samples alone, as slow as they are many
    #[arg(long, env = "ENABLE_ROLLUPS", default_value = "true", value_parser = switch, action = ArgAction::Set)]
    pub enable_rollups: bool,

    /// Let pages of other origins read answers
    #[arg(long, env = "ENABLE_CORS", default_value = "true", value_parser = switch, action = ArgAction::Set)]
    pub enable_cors: bool,

    /// Origins that may, comma separated; * is any
    #[arg(long, env = "CORS_ORIGINS", default_value = "*", value_delimiter = ',')]
    pub cors_origins: Vec<String>,

    /// Connections to PostgreSQL
    #[arg(id = "gateway_db_pool_size", value_name = "GATEWAY_DB_POOL_SIZE", long = "gateway-db-pool-size", env = "GATEWAY_DB_POOL_SIZE", default_value_t = 16, value_parser = pool_size)]
    pub pool_size: usize,

    /// The longest one query may run
    #[arg(long, env = "QUERY_TIMEOUT", default_value = "5s", value_parser = some_time)]
    pub query_timeout: Duration,

    #[allow(missing_docs)]
    #[command(flatten)]
    pub tls: Tls,

    #[allow(missing_docs)]
    #[command(flatten)]
    pub access: access::config::Config,

    #[allow(missing_docs)]
    #[command(flatten)]
    pub bounds: Bounds,

    #[allow(missing_docs)]
    #[command(flatten)]
    pub conditions: Conditions,
}

/// How much the gateway takes on.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Bounds {
    /// Queries over time ranges that may run at once; the others wait, then are asked to come back
    #[arg(long, env = "MAX_HEAVY_QUERIES", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub heavy_queries: u32,

    /// How many bytes of answers about ranges of time are kept for who asks the same again before anything changed; 0 keeps none
    #[arg(long, env = "KEPT_ANSWERS_BYTES", default_value_t = 32 << 20, value_parser = clap::value_parser!(u64).range(..=1 << 34))]
    pub kept_bytes: u64,

    /// Connections of clients, the live ones among them; further ones wait to be accepted
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,

    /// The longest body of a request, in bytes
    #[arg(long, env = "MAX_BODY_BYTES", default_value_t = 1 << 20, value_parser = clap::value_parser!(u64).range(1024..=1 << 30))]
    pub body_bytes: u64,

    /// How long a client may take to send a request's headers, and over GraphQL's WebSocket its connection_init
    #[arg(long, env = "HEADER_TIMEOUT", default_value = "10s", value_parser = some_time)]
    pub header_timeout: Duration,

    /// Clients of the live feed
    #[arg(long, env = "MAX_LIVE_CLIENTS", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub live_clients: u32,

    /// Subscriptions of one client of the live feed
    #[arg(long, env = "MAX_LIVE_FILTERS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub live_filters: u32,

    /// How long live frames are kept for clients that come back
    #[arg(long, env = "LIVE_RING_TIME", default_value = "60s", value_parser = some_time)]
    pub ring_time: Duration,

    /// How many bytes of live frames are kept for clients that come back
    #[arg(long, env = "LIVE_RING_BYTES", default_value_t = 32 << 20, value_parser = clap::value_parser!(u64).range(1 << 20..=1 << 34))]
    pub ring_bytes: u64,

    /// How often a live connection that is silent is asked whether somebody is there; after two questions without an answer
    /// it is closed
    #[arg(long, env = "LIVE_PING_INTERVAL", default_value = "20s", value_parser = some_time)]
    pub ping_interval: Duration,

    /// How often values in memory are compared with PostgreSQL
    #[arg(long, env = "REFRESH_INTERVAL", default_value = "30s", value_parser = some_time)]
    pub refresh_interval: Duration,

    /// How often the books are looked into for /metrics, while somebody scrapes it; more rarely where a look takes long
    #[arg(long, env = "AUDIT_INTERVAL", default_value = "60s", value_parser = some_time)]
    pub audit_interval: Duration,

    /// The longest one statement of such a look may run: it sums up the whole ledger. /api/v1/audit falls back on it where
    /// QUERY_TIMEOUT is too short for that
    #[arg(long, env = "AUDIT_TIMEOUT", default_value = "2m", value_parser = some_time)]
    pub audit_timeout: Duration,

    /// Conditions of GPUs that /metrics names, the most severe; the others are only counted
    #[arg(long, env = "METRICS_MAX_CONDITIONS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub metrics_conditions: u32,

    /// How deep a GraphQL query may nest
    #[arg(long, env = "GRAPHQL_MAX_DEPTH", default_value_t = 12, value_parser = clap::value_parser!(u32).range(4..=100))]
    pub graphql_depth: u32,

    /// What a GraphQL query may cost: one for each field, times the items of the lists it stands in
    #[arg(long, env = "GRAPHQL_MAX_COMPLEXITY", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(100..=100_000_000))]
    pub graphql_complexity: u32,
}

impl Bounds {
    /// [`Bounds::heavy_queries`] where PostgreSQL runs on the gateway's machine: one more than there are processors. More of
    /// its processes than that answer no more questions, and answers out of memory, which take a fraction of a millisecond,
    /// wait for a processor behind all of them (docs/BENCHMARKS.md).
    pub fn heavy_queries_beside_postgres() -> u32 {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        u32::try_from(processors).unwrap_or(u32::MAX).saturating_add(1).min(1_000)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            heavy_queries: 8,
            kept_bytes: 32 << 20,
            connections: 10_000,
            body_bytes: 1 << 20,
            header_timeout: Duration::from_secs(10),
            live_clients: 5_000,
            live_filters: 64,
            ring_time: Duration::from_secs(60),
            ring_bytes: 32 << 20,
            ping_interval: Duration::from_secs(20),
            refresh_interval: Duration::from_secs(30),
            audit_interval: Duration::from_secs(60),
            audit_timeout: Duration::from_secs(120),
            metrics_conditions: 10_000,
            graphql_depth: 12,
            graphql_complexity: 200_000,
        }
    }
}

fn pool_size(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|size| (1..=1000).contains(size)).ok_or_else(|| "write a number from 1 to 1000".to_owned())
}
