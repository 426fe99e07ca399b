//! What `nexus up` can be told, and what it tells its components.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Parser};
use nexus_common::config::{Common, Invalid, Logging, Watched};
use nexus_common::db::{self, SslMode};
use nexus_gateway::config::Bounds;

use super::addresses::Addresses;
use crate::generate;

/// The project's own sample, seen from its folder.
const SAMPLE: &str = "data/gpu_telemetry_sample.csv";

/// Operations a transaction of our own etcd may hold.
pub(super) const MAX_TXN_OPS: u32 = 1024;

/// Runs etcd, PostgreSQL, gateway, collectors and streamers on this machine until Ctrl-C.
///
/// Every variable of the components passes through. With ETCD_ENDPOINTS or DB_HOST given it uses those servers and
/// starts none of that kind.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(super) common: Common,

    #[command(flatten)]
    pub(super) logging: Logging,

    #[command(flatten)]
    pub(super) watched: Watched,

    #[command(flatten)]
    pub(super) db: db::Config,

    /// Collectors to run
    #[arg(long, env = "COLLECTORS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) collectors: u16,

    /// Streamers to run; they divide every file among them
    #[arg(long, env = "STREAMERS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=64))]
    pub(super) streamers: u16,

    /// Folder for everything: data of the servers, logs
    #[arg(long, env = "NEXUS_DIR", default_value = ".nexus")]
    pub(super) dir: PathBuf,

    /// Port of the etcd that is started
    #[arg(long, env = "ETCD_PORT", default_value_t = 2379)]
    pub(super) etcd_port: u16,

    /// Size of the started etcd's database file at which it takes no more writes
    #[arg(long, env = "ETCD_QUOTA_BYTES", default_value_t = 2 << 30)]
    pub(super) etcd_quota_bytes: u64,

    /// HTTP port of the gateway
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub(super) port: u16,

    /// Queries over time ranges that may run at once; without it one more than there are processors, where PostgreSQL is
    /// started here and shares them
    #[arg(long, env = "MAX_HEAVY_QUERIES", hide = true)]
    max_heavy_queries: Option<u32>,

    /// What the streamers read; without it the project's sample
    #[arg(long, env = "CSV_FILE")]
    csv_file: Option<String>,

    /// No LOG_LEVEL was given.
    #[arg(skip)]
    pub(crate) quiet: bool,

    /// No ETCD_ENDPOINTS was given.
    #[arg(skip)]
    pub(crate) own_etcd: bool,

    /// No DB_HOST was given.
    #[arg(skip)]
    pub(crate) own_postgres: bool,
}

impl Options {
    /// How `nexus up` itself logs: beside what it shows, only what is wrong.
    pub(crate) fn own_logging(&self) -> Logging {
        match self.quiet {
            true => Logging { log_level: "warn".to_owned(), ..self.logging.clone() },
            false => self.logging.clone(),
        }
    }

    /// The source: the one named, else the sample beside us, else a sample made now.
    pub(super) fn csv_file(&self) -> anyhow::Result<String> {
        if let Some(named) = &self.csv_file {
            // What the streamer would refuse is refused before anything is started.
            nexus_streamer::Config::try_parse_from(["nexus", "--csv-file", named])?.look()?;
            return Ok(named.clone());
        }
        if Path::new(SAMPLE).exists() {
            return Ok(SAMPLE.to_owned());
        }
        let made = self.dir.join("sample.csv");
        if !made.exists() {
            let half = self.dir.join("sample.csv.half");
            let file = File::create(&half).with_context(|| format!("writing {}", half.display()))?;
            generate::write(&generate::Options::default(), BufWriter::new(file))?;
            std::fs::rename(&half, &made).with_context(|| format!("writing {}", made.display()))?;
        }
        Ok(made.display().to_string())
    }

    /// What every component is told, over what it inherits.
    pub(super) fn environment(&self, csv_file: &str) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("CLUSTER_ID", self.common.cluster_id.clone()),
            ("ETCD_ENDPOINTS", self.common.etcd_endpoints.join(",")),
            ("MESSAGE_QUEUE_PREFIX", self.common.message_queue_prefix.clone()),
            ("MAX_TXN_OPS", self.common.max_txn_ops.to_string()),
            ("ETCD_QUOTA_BYTES", self.etcd_quota_bytes.to_string()),
            ("LOG_LEVEL", self.logging.log_level.clone()),
            ("DB_HOST", self.db.host.clone()),
            ("DB_PORT", self.db.port.to_string()),
            ("DB_NAME", self.db.name.clone()),
            ("DB_USER", self.db.user.clone()),
            ("DB_PASSWORD", self.db.password.reveal().to_owned()),
            ("PORT", self.port.to_string()),
            ("CSV_FILE", csv_file.to_owned()),
        ];
        environment.extend(self.secrets());
        if self.own_etcd {
            environment.push(("ETCD_UPKEEP", "true".to_owned()));
        }
        let beside = self.own_postgres.then(Bounds::heavy_queries_beside_postgres);
        environment.extend(self.max_heavy_queries.or(beside).map(|most| ("MAX_HEAVY_QUERIES", most.to_string())));
        environment
    }

    /// What opens etcd and PostgreSQL, where the user gave it: by the environment, which nobody else can read.
    fn secrets(&self) -> Vec<(&'static str, String)> {
        let (etcd, db) = (&self.common.etcd, &self.db);
        let files = [
            ("ETCD_CA_FILE", &etcd.etcd_ca_file),
            ("ETCD_CERT_FILE", &etcd.etcd_cert_file),
            ("ETCD_KEY_FILE", &etcd.etcd_key_file),
            ("ETCD_PASSWORD_FILE", &etcd.etcd_password_file),
            ("DB_CA_FILE", &db.ca_file),
            ("DB_CERT_FILE", &db.cert_file),
            ("DB_KEY_FILE", &db.key_file),
            ("DB_PASSWORD_FILE", &db.password_file),
        ];
        let files = files.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?.display().to_string())));
        let words = [
            ("ETCD_USER", etcd.etcd_user.clone()),
            ("ETCD_PASSWORD", etcd.etcd_password.as_ref().map(|password| password.reveal().to_owned())),
            ("DB_SSLMODE", Some(db.ssl_mode.as_str().to_owned())),
        ];
        files.chain(words.into_iter().filter_map(|(name, word)| Some((name, word?)))).collect()
    }

    /// Whether the servers can be reached as configured: those that are started here speak no TLS and know no users.
    ///
    /// # Errors
    /// What does not go together.
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let (etcd, db) = (&self.common.etcd, &self.db);
        if self.own_etcd && (etcd.speaks_tls() || etcd.etcd_user.is_some()) {
            let asked = "ETCD_CA_FILE, ETCD_CERT_FILE or ETCD_USER is set";
            return Err(Invalid(format!(
                "{asked}, but etcd is started here, without TLS: name yours with ETCD_ENDPOINTS"
            )));
        }
        if self.own_postgres
            && (!matches!(db.ssl_mode, SslMode::Disable | SslMode::Prefer) || db.password_file.is_some())
        {
            let asked = format!("DB_SSLMODE={} or DB_PASSWORD_FILE is set", db.ssl_mode.as_str());
            return Err(Invalid(format!("{asked}, but PostgreSQL is started here: name yours with DB_HOST")));
        }
        etcd.check(&self.common.etcd_endpoints)?;
        db.access().map(drop)
    }

    /// The lines a person needs once everything is started.
    pub(super) fn welcome(&self, csv_file: &str, addresses: &Addresses) -> String {
        let (base, cluster) = (format!("http://localhost:{}", self.port), &self.common.cluster_id);
        let whose = |own: bool| if own { "ours" } else { "given" };
        let parts = [
            format!("streaming  {csv_file}"),
            format!("etcd       {} ({})", self.common.etcd_endpoints.join(","), whose(self.own_etcd)),
            format!("PostgreSQL {} ({})", self.db.place(), whose(self.own_postgres)),
            format!("logs       {}", self.dir.join("log").display()),
            format!("health     {base}/health"),
            format!("metrics    {}", addresses.shown(self.port)),
            format!("clusters   {base}/api/v1/clusters"),
            format!("hosts      {base}/api/v1/clusters/{cluster}/hosts"),
            format!("GPUs       {base}/api/v1/gpus"),
            format!("telemetry  {base}/api/v1/telemetry/latest"),
            format!("GraphQL    {base}/graphql"),
            format!("API        {base}/swagger/index.html"),
            format!("live       ws://localhost:{}/ws", self.port),
            "Ctrl-C stops everything".to_owned(),
        ];
        parts.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    struct Up {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn ranges_are_few_where_postgresql_shares_the_machine() {
        let heavy = |own_postgres, more: &[&str]| {
            let mut options = Up::try_parse_from([&["up"], more].concat()).unwrap().options;
            options.own_postgres = own_postgres;
            let told = options.environment("-").into_iter().find(|(name, _)| *name == "MAX_HEAVY_QUERIES");
            told.map(|(_, most)| most)
        };
        let few = Bounds::heavy_queries_beside_postgres().to_string();
        assert_eq!(heavy(true, &[]), Some(few));
        assert_eq!(heavy(true, &["--max-heavy-queries", "5"]), Some("5".to_owned()));
        assert_eq!(heavy(false, &[]), None, "what a gateway has by itself");
    }
}
