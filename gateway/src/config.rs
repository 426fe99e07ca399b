//! What the gateway can be told.

use std::net::IpAddr;
use std::time::Duration;

use clap::{ArgAction, Args};
use nexus_common::config::{Common, Logging, duration, switch};
use nexus_common::db;

/// The gateway's configuration.
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
    pub db: db::Config,

    /// HTTP port
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub port: u16,

    /// Address to listen on
    #[arg(long, env = "BIND_ADDRESS", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,

    /// Serve GraphQL; no effect yet, it comes with the next version
    #[arg(long, env = "ENABLE_GRAPHQL", default_value = "true", value_parser = switch, action = ArgAction::Set)]
    pub enable_graphql: bool,

    /// Serve the live feed over WebSocket; no effect yet, it comes with the next version
    #[arg(long, env = "ENABLE_WEBSOCKET", default_value = "true", value_parser = switch, action = ArgAction::Set)]
    pub enable_websocket: bool,

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

    /// Age of the newest value from which a GPU, host or cluster counts as stale
    #[arg(long, env = "STALE_AFTER", default_value = "300s", value_parser = some_time)]
    pub stale_after: Duration,
}

fn pool_size(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|size| (1..=1000).contains(size)).ok_or_else(|| "write a number from 1 to 1000".to_owned())
}

fn some_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time.is_zero() { Err("must be more than zero".to_owned()) } else { Ok(time) }
}
