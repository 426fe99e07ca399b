//! `health`: asking the program that runs with the same configuration how it is. What a container's health check runs where
//! there is neither a shell nor curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{Invalid, MetricsAddr};
use crate::tls::{ClientConfig, ClientFiles, Contents, File, ServerName, Strictness, explain};

/// How long the answer may take. The program itself gives up on what it depends on after two seconds.
const PATIENCE: Duration = Duration::from_secs(4);

const CERT: &str = "NEXUS_GATEWAY_CERT_FILE";
const KEY: &str = "NEXUS_GATEWAY_KEY_FILE";

/// How it is asked.
#[derive(Debug, Clone, Default, Args)]
pub struct Health {
    /// Ask only whether it runs, not whether it can work
    #[arg(long)]
    live: bool,

    /// Our certificate (PEM), where the gateway wants one of everybody
    #[arg(long, env = "NEXUS_GATEWAY_CERT_FILE")]
    cert_file: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, env = "NEXUS_GATEWAY_KEY_FILE")]
    key_file: Option<PathBuf>,
}

/// Where a component of this host answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    address: SocketAddr,
    https: bool,
}

impl Answers {
    /// What listens at `address`, which may stand for all of this host's.
    pub fn at(address: SocketAddr, https: bool) -> Answers {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Answers { address: SocketAddr::new(ip, address.port()), https }
    }

    /// What [`crate::observe::listen`] was given.
    ///
    /// # Errors
    /// Where there is nothing that answers, or nobody knows where.
    pub fn given(given: Option<MetricsAddr>, usual: u16) -> Result<Answers, Invalid> {
        match given {
            None => Ok(Answers::at((Ipv4Addr::LOCALHOST, usual).into(), false)),
            Some(MetricsAddr::At(address)) if address.port() != 0 => Ok(Answers::at(address, false)),
            Some(MetricsAddr::At(_)) => Err(Invalid("METRICS_ADDR is any port: nobody knows which to ask".to_owned())),
            Some(MetricsAddr::Off) => Err(Invalid("METRICS_ADDR is empty: nothing answers".to_owned())),
        }
    }
}

impl Health {
    /// Asks, and says in one line why not where it is not.
    pub async fn tell(&self, name: &str, answers: Result<Answers, Invalid>) -> ExitCode {
        let found = match answers {
            Ok(answers) => self.ask(answers).await,
            Err(error) => Err(error.to_string()),
        };
        match found {
            Ok(()) => ExitCode::SUCCESS,
            Err(line) => {
                eprintln!("{name}: {line}");
                ExitCode::FAILURE
            }
        }
    }

    async fn ask(&self, answers: Answers) -> Result<(), String> {
        let path = if self.live { "/live" } else { "/ready" };
        let said = |line: String| format!("{path} of {}: {line}", answers.address);
        match timeout(PATIENCE, self.status(answers, path)).await {
            Ok(Ok(200)) => Ok(()),
            Ok(Ok(status)) => Err(said(format!("status {status}"))),
            Ok(Err(line)) => Err(said(line)),
            Err(_) => Err(said(format!("no answer in {PATIENCE:?}"))),
        }
    }

    async fn status(&self, answers: Answers, path: &str) -> Result<u16, String> {
        let stream = TcpStream::connect(answers.address).await.map_err(|error| error.to_string())?;
        if !answers.https {
            return get(stream, path).await;
        }
        let config = self.tls().map_err(|error| error.to_string())?;
        let name = ServerName::from(answers.address.ip());
        let stream =
            TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| reason(&error))?;
        get(stream, path).await
    }

    /// The certificate that is shown is not looked at: it is for the name that others call this host by, and nobody is
    /// in between.
    fn tls(&self) -> Result<ClientConfig, Invalid> {
        let files = ClientFiles {
            ca: None,
            cert: File::named(CERT, self.cert_file.as_deref()),
            key: File::named(KEY, self.key_file.as_deref()),
        };
        files.paired(CERT, KEY)?;
        files.config(&Contents::read(&files.files())?, Strictness::None)
    }
}

/// One question; of the answer only the status, with which it begins.
async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> Result<u16, String> {
    let question = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).await.map_err(|error| reason(&error))?;
    stream.flush().await.map_err(|error| reason(&error))?;
    let mut head = Vec::new();
    stream.take("HTTP/1.1 200".len() as u64).read_to_end(&mut head).await.map_err(|error| reason(&error))?;
    let status = match head.strip_prefix(b"HTTP/1.") {
        // A digit, a space, and all three of the status.
        Some([_, b' ', status @ ..]) if status.len() == 3 => std::str::from_utf8(status).ok(),
        _ => None,
    };
    let status = status.and_then(|status| status.parse().ok());
    status.ok_or_else(|| "what answers there does not speak HTTP".to_owned())
}

fn reason(error: &std::io::Error) -> String {
    // Nobody's authority is looked at, so no variable names one.
    explain(error, "the gateway's authority", CERT).unwrap_or_else(|| error.to_string())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::testing::Authority;
    use crate::tls::ServerFiles;

    /// Gives one client this answer, whatever it asks, and tells what was asked.
    async fn once(listener: TcpListener, tls: Option<TlsAcceptor>, answer: &str) -> String {
        async fn speak(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> String {
            let mut asked = vec![0; 1024];
            let length = stream.read(&mut asked).await.unwrap_or_default();
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
            String::from_utf8_lossy(&asked[..length]).into_owned()
        }
        let (stream, _) = listener.accept().await.unwrap();
        match tls {
            None => speak(stream, answer).await,
            Some(tls) => match tls.accept(stream).into_fallible().await {
                Ok(stream) => speak(stream, answer).await,
                Err((error, mut stream)) => {
                    // Read to its end: closed with unread bytes, the refusal may be lost on its way.
                    let _ = stream.shutdown().await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                    error.to_string()
                }
            },
        }
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn asked(health: &Health, answer: &str) -> (Result<(), String>, String) {
        let (listener, address) = listener().await;
        tokio::join!(health.ask(Answers::at(address, false)), once(listener, None, answer))
    }

    #[test]
    fn it_asks_where_the_component_listens() {
        let given = |text: &str| Answers::given(Some(text.parse().unwrap()), 9102);
        let at = |text: &str| Answers { address: text.parse().unwrap(), https: false };
        assert_eq!(Answers::given(None, 9102).unwrap(), at("127.0.0.1:9102"));
        assert_eq!(given("0.0.0.0:9200").unwrap(), at("127.0.0.1:9200"));
        assert_eq!(given("[::]:9200").unwrap(), at("[::1]:9200"));
        assert_eq!(given("10.0.0.1:9200").unwrap(), at("10.0.0.1:9200"));
        for nowhere in ["", "127.0.0.1:0"] {
            assert!(given(nowhere).unwrap_err().to_string().starts_with("METRICS_ADDR is "));
        }
    }

    #[tokio::test]
    async fn ready_is_200_and_nothing_else() {
        let (found, question) = asked(&Health::default(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(found, Ok(()));
        assert!(question.starts_with("GET /ready HTTP/1.1\r\n"), "{question}");
        let (found, question) = asked(&Health { live: true, ..Health::default() }, "HTTP/1.1 200 OK\r\n\r\n").await;
        assert!(found.is_ok() && question.starts_with("GET /live "), "{question}");
        for (answer, why) in [
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "status 503"),
            ("HTTP/1.1 20", "does not speak HTTP"),
            ("SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
            ("", "does not speak HTTP"),
        ] {
            let line = asked(&Health::default(), answer).await.0.unwrap_err();
            assert!(line.starts_with("/ready of 127.0.0.1:") && line.contains(why), "{answer:?}: {line}");
        }
        let (listener, address) = listener().await;
        drop(listener);
        let line = Health::default().ask(Answers::at(address, false)).await.unwrap_err();
        assert!(line.contains("refused") && !line.contains('\n'), "{line}");
    }

    /// The gateway's certificate is for its name in the world; where it wants one of everybody, this is one of them.
    #[tokio::test]
    async fn https_is_asked_too_with_a_certificate_where_one_is_wanted() {
        let (folder, authority) = (TempDir::new().unwrap(), Authority::new("ours"));
        let path = |name: &str| folder.path().join(name);
        authority.issue_for("gateway", &["gateway.example"], Duration::from_secs(600)).write(folder.path(), "gateway");
        authority.issue("probe").write(folder.path(), "probe");
        std::fs::write(path("ca.pem"), authority.pem()).unwrap();
        let acceptor = |client_ca: Option<&str>| {
            let files = ServerFiles {
                cert: File::new("TLS_CERT_FILE", path("gateway.pem")),
                key: File::new("TLS_KEY_FILE", path("gateway.key")),
                client_ca: client_ca.map(|name| File::new("TLS_CLIENT_CA_FILE", path(name))),
            };
            TlsAcceptor::from(Arc::new(files.config(&Contents::read(&files.files()).unwrap()).unwrap()))
        };
        let known = Health { cert_file: Some(path("probe.pem")), key_file: Some(path("probe.key")), live: false };
        for (health, client_ca, refusal) in [
            (Health::default(), None, None),
            (known, Some("ca.pem"), None),
            (Health::default(), Some("ca.pem"), Some(CERT)),
        ] {
            let (listener, address) = listener().await;
            let served = once(listener, Some(acceptor(client_ca)), "HTTP/1.1 200 OK\r\n\r\n");
            let (found, _) = tokio::join!(health.ask(Answers::at(address, true)), served);
            match refusal {
                None => assert_eq!(found, Ok(())),
                Some(word) => assert!(found.as_ref().is_err_and(|line| line.contains(word)), "{found:?}"),
            }
        }
    }
}
