//! Servers that speak TLS alone, and the processes on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nexus_common::identity::Key;
use nexus_common::servers::free_port;
use nexus_common::testing::{Authority, TestEtcd, TestPostgres, etcd_with, eventually, postgres_with};
use nexus_common::tls::{CertificateDer, ClientFiles, Contents, File, ServerName, Strictness};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::process::Process;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Stack {
    pub(crate) authority: Authority,
    pub(crate) etcd: TestEtcd,
    pub(crate) postgres: TestPostgres,
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    started: AtomicU32,
}

impl Stack {
    pub(crate) async fn new() -> Stack {
        let authority = Authority::new("ours");
        let (for_etcd, for_postgres) = (authority.papers("etcd"), authority.papers("postgres"));
        let (etcd, postgres) = tokio::join!(
            etcd_with(|options| options.papers = Some(for_etcd)),
            postgres_with(|options| options.papers = Some(for_postgres))
        );
        let folder = tempfile::tempdir().unwrap();
        let stack = Stack { authority, etcd, postgres, folder, port: free_port().unwrap(), started: AtomicU32::new(0) };
        stack.write("ca.pem", stack.authority.pem());
        stack.write("password", format!("{}\n", stack.postgres.options().password));
        for name in ["client", "gateway"] {
            stack.authority.issue(name).write(stack.folder.path(), name);
        }
        stack
    }

    /// A file of this name, put in its place at once.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let fresh = self.folder.path().join(format!("{name}.fresh"));
        std::fs::write(&fresh, content).unwrap();
        std::fs::rename(&fresh, &path).unwrap();
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What every process is told. The password is in a file.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let file = |name: &str| self.path(name).display().to_string();
        vec![
            ("ETCD_ENDPOINTS", self.etcd.endpoint()),
            ("ETCD_CA_FILE", file("ca.pem")),
            ("ETCD_CERT_FILE", file("client.pem")),
            ("ETCD_KEY_FILE", file("client.key")),
            ("DB_HOST", "127.0.0.1".to_owned()),
            ("DB_PORT", self.postgres.port().to_string()),
            ("DB_SSLMODE", "verify-full".to_owned()),
            ("DB_CA_FILE", file("ca.pem")),
            ("DB_CERT_FILE", file("client.pem")),
            ("DB_KEY_FILE", file("client.key")),
            ("DB_PASSWORD_FILE", file("password")),
            ("TLS_CERT_FILE", file("gateway.pem")),
            ("TLS_KEY_FILE", file("gateway.key")),
            ("TLS_CLIENT_CA_FILE", file("ca.pem")),
            ("PORT", self.port.to_string()),
            ("BIND_ADDRESS", "127.0.0.1".to_owned()),
            ("NEXUS_GATEWAY", format!("https://127.0.0.1:{}", self.port)),
            ("NEXUS_GATEWAY_CA_FILE", file("ca.pem")),
            ("NEXUS_GATEWAY_CERT_FILE", file("client.pem")),
            ("NEXUS_GATEWAY_KEY_FILE", file("client.key")),
            ("LOOP_MODE", "false".to_owned()),
            ("STREAM_INTERVAL", "0s".to_owned()),
            // A slow machine is no wrong answer.
            ("QUERY_TIMEOUT", "5m".to_owned()),
            ("LOG_FORMAT", "text".to_owned()),
        ]
    }

    /// A component or a command, told other things where they are named.
    pub(crate) fn start(&self, arguments: &[&str], other: &[(&'static str, &str)]) -> Process {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.path(&format!("{number}-{}.log", arguments[0]));
        let mut environment = self.environment();
        environment.extend(other.iter().map(|(name, value)| (*name, (*value).to_owned())));
        // Told nothing is not told an empty word.
        let kept: Vec<_> = environment.iter().rev().fold(Vec::new(), |mut kept: Vec<(&str, String)>, (name, value)| {
            if !kept.iter().any(|(known, _)| known == name) {
                kept.push((*name, value.clone()));
            }
            kept
        });
        let told: Vec<_> = kept.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        Process::start(arguments, &told, log, Stdio::null())
    }

    /// What a command that fails says, with its exit status.
    pub(crate) async fn refused(&self, arguments: &[&str], other: &[(&'static str, &str)]) -> (Option<i32>, String) {
        let mut process = self.start(arguments, other);
        let status = process.ended().await;
        (status.code(), process.log())
    }

    /// Streams a file to its end.
    pub(crate) async fn stream(&self, name: &str, content: String) {
        let path = self.write(name, content);
        self.start(&["streamer"], &[("CSV_FILE", path.to_str().unwrap())]).succeeds().await;
    }

    /// Rows the ledger accounts for, asked as superuser.
    pub(crate) async fn accounted(&self) -> i64 {
        let asked = async {
            let (client, connection) = self.postgres.superuser_config().connect(NoTls).await.ok()?;
            let sql = "SELECT COALESCE(sum(row_count), 0)::bigint FROM ledger";
            tokio::select! {
                row = client.query_one(sql, &[]) => row.ok()?.try_get(0).ok(),
                _ = connection => None,
            }
        };
        asked.await.unwrap_or(0)
    }

    pub(crate) async fn until_accounted(&self, rows: i64) {
        eventually(format!("{rows} rows in the ledger"), PATIENCE, async || self.accounted().await >= rows).await;
    }

    pub(crate) async fn until_ready(&self) {
        eventually("the gateway is ready", PATIENCE, async || {
            self.get("/ready").await.is_some_and(|(head, _)| head.starts_with("HTTP/1.1 200"))
        })
        .await;
    }

    /// A connection to the gateway, as a client of the authority whose files lie in the folder.
    pub(crate) async fn line(&self) -> std::io::Result<TlsStream<TcpStream>> {
        self.line_to(self.port).await
    }

    async fn line_to(&self, port: u16) -> std::io::Result<TlsStream<TcpStream>> {
        let files = ClientFiles {
            ca: Some(File::new("CA", self.path("ca.pem"))),
            cert: Some(File::new("CERT", self.path("client.pem"))),
            key: Some(File::new("KEY", self.path("client.key"))),
        };
        let config = files.config(&Contents::read(&files.files()).unwrap(), Strictness::Name).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// The certificate that the gateway shows a new connection.
    pub(crate) async fn shown(&self) -> Option<CertificateDer<'static>> {
        let line = self.line().await.ok()?;
        Some(line.get_ref().1.peer_certificates()?.first()?.clone().into_owned())
    }

    /// Head and body of a GET over HTTPS.
    pub(crate) async fn get(&self, path: &str) -> Option<(String, Option<Value>)> {
        self.ask(self.port, &format!("GET {path}"), None, "").await
    }

    /// The same of any request to a gateway on this port, with a key and a body of JSON where there are any.
    pub(crate) async fn ask(
        &self,
        port: u16,
        asked: &str,
        key: Option<&Key>,
        body: &str,
    ) -> Option<(String, Option<Value>)> {
        let (head, body) = self.answer(port, asked, key, body).await?;
        // A chunked body is framed by lines of hex: the JSON is what lies between the first and the last brace.
        let json =
            body.find('{').zip(body.rfind('}')).and_then(|(from, to)| serde_json::from_str(&body[from..=to]).ok());
        Some((head, json))
    }

    /// When the gateway's certificates end, as it tells Prometheus: seconds since 1970 by name.
    pub(crate) async fn expiries(&self) -> BTreeMap<String, f64> {
        let (head, body) = self.answer(self.port, "GET /metrics", None, "").await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let series = "nexus_certificate_expiry_timestamp_seconds{cluster=\"local-cluster\",certificate=\"";
        let told = body.lines().filter_map(|line| line.strip_prefix(series)?.split_once("\"} "));
        told.map(|(name, at)| (name.to_owned(), at.parse().unwrap())).collect()
    }

    async fn answer(&self, port: u16, asked: &str, key: Option<&Key>, body: &str) -> Option<(String, String)> {
        let mut line = self.line_to(port).await.ok()?;
        let shown = key.map(|key| format!("Authorization: Bearer {}\r\n", key.reveal())).unwrap_or_default();
        let about = match body.len() {
            0 => String::new(),
            length => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
        };
        let head = format!("{asked} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{shown}{about}\r\n");
        line.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
        let mut answer = String::new();
        line.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.to_owned(), body.to_owned()))
    }

    /// The values of all metrics that the gateway answers for one GPU.
    pub(crate) async fn values(&self, host: &str, gpu: u64) -> Vec<u64> {
        let path = format!("/api/v1/telemetry?host_id={host}&gpu_id={gpu}&limit=1000");
        let (head, body) = self.get(&path).await.unwrap();
        let items = body.as_ref().and_then(|body| body["items"].as_array()).unwrap_or_else(|| panic!("{head}"));
        let mut values: Vec<_> =
            items.iter().map(|item| item["data"]["energy_millijoules"].as_f64().unwrap() as u64).collect();
        values.sort_unstable();
        values
    }

    /// Does a log say this?
    pub(crate) async fn says(&self, process: &Process, word: &str) {
        eventually(format!("the log says {word:?}"), PATIENCE, async || process.log().contains(word)).await;
    }
}

/// Nothing secret stands in this text.
pub(crate) fn keeps_secrets(text: &str, folder: &Path) {
    for name in ["password", "client.key", "gateway.key"] {
        let secret = std::fs::read_to_string(folder.join(name)).unwrap();
        let line = secret.lines().find(|line| !line.starts_with("-----")).unwrap();
        // The usual password is a word of its own variable's name.
        assert!(line == "password" || !text.contains(line), "{name} is in {text}");
    }
}
