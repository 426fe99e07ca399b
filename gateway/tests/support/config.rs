//! A gateway's configuration in tests: everything on, on a port of its own.

use std::time::Duration;

use nexus_common::config::{Common, Conditions, EtcdAccess, Logging, Traced};
use nexus_common::db;
use nexus_gateway::Config;
use nexus_gateway::config::Bounds;
use nexus_gateway::tls::Tls;

/// Of cluster `alpha`, on these servers.
pub(crate) fn config(etcd_endpoints: Vec<String>, db: db::Config) -> Config {
    Config {
        common: Common {
            cluster_id: "alpha".to_owned(),
            etcd_endpoints,
            etcd: EtcdAccess::default(),
            message_queue_prefix: "/telemetry/queue".to_owned(),
            max_txn_ops: 128,
        },
        logging: Logging { log_level: "info".to_owned(), log_format: None },
        traced: Traced::default(),
        db,
        port: 0,
        bind_address: [127, 0, 0, 1].into(),
        enable_graphql: true,
        enable_introspection: true,
        enable_websocket: true,
        enable_rollups: true,
        enable_cors: true,
        cors_origins: vec!["*".to_owned()],
        pool_size: 4,
        query_timeout: Duration::from_secs(20),
        tls: Tls::default(),
        access: Default::default(),
        bounds: Bounds::default(),
        conditions: Conditions::default(),
    }
}
