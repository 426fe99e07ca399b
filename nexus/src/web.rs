//! Asking over HTTP and HTTPS: a line to a host, with TLS where the address says so, and one question on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use nexus_common::config::Invalid;
use nexus_common::tls::{ClientConfig, ClientFiles, File, Reloaded, ServerName, Strictness, explain};
use reqwest::Url;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whom a gateway must be, and who we are to it.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub(crate) struct Trust {
    /// Authorities (PEM) one of which the gateway's certificate must be of; without it those this system trusts
    #[arg(long, env = "NEXUS_GATEWAY_CA_FILE")]
    gateway_ca_file: Option<PathBuf>,

    /// Our certificate (PEM), where the gateway wants one
    #[arg(long, env = "NEXUS_GATEWAY_CERT_FILE")]
    gateway_cert_file: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, env = "NEXUS_GATEWAY_KEY_FILE")]
    gateway_key_file: Option<PathBuf>,
}

impl Trust {
    /// What an address needs: nothing, or what the files hold.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub(crate) fn keep(&self, url: &Url) -> Result<Option<Reloaded<ClientConfig>>, Invalid> {
        if !is_secure(url) {
            return Ok(None);
        }
        let files = ClientFiles {
            ca: File::named("NEXUS_GATEWAY_CA_FILE", self.gateway_ca_file.as_deref()),
            cert: File::named("NEXUS_GATEWAY_CERT_FILE", self.gateway_cert_file.as_deref()),
            key: File::named("NEXUS_GATEWAY_KEY_FILE", self.gateway_key_file.as_deref()),
        };
        files.paired("NEXUS_GATEWAY_CERT_FILE", "NEXUS_GATEWAY_KEY_FILE")?;
        let kept = Reloaded::new("a client", files.files(), move |contents| files.config(contents, Strictness::Name))?;
        Ok(Some(kept))
    }
}

/// A connection, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Connects to an address's host.
///
/// # Errors
/// One line: what TLS has to do with it, or the system's words.
pub(crate) async fn connect(url: &Url, tls: Option<Arc<ClientConfig>>) -> Result<Box<dyn Stream>, String> {
    let connected = timeout(PATIENCE, async {
        let host = url.host_str().ok_or("the address names no host")?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default().ok_or("the address names no port")?;
        let stream = TcpStream::connect((bare, port)).await.map_err(|error| error.to_string())?;
        // Without it only a question's last packet is late: nothing to fail for.
        let _ = stream.set_nodelay(true);
        if !is_secure(url) {
            return Ok(Box::new(stream) as Box<dyn Stream>);
        }
        let tls = tls.ok_or("nothing says whom to trust")?;
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| "no certificate could have the host's name")?;
        let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(|error| reason(&error))?;
        Ok(Box::new(stream) as Box<dyn Stream>)
    });
    connected.await.unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}")))
}

/// Why a line did not come about or broke, in words.
pub(crate) fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(line) = explain(error, "NEXUS_GATEWAY_CA_FILE", "NEXUS_GATEWAY_CERT_FILE") {
        return line;
    }
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}

/// One GET on a connection of its own, with the key that is shown: the status and the body.
///
/// # Errors
/// As [`connect`], or where what answers speaks no HTTP.
pub(crate) async fn get(
    url: &Url,
    tls: Option<Arc<ClientConfig>>,
    authorization: Option<&str>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = connect(url, tls).await.map_err(anyhow::Error::msg)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let place = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut request = Request::get(target).header(header::HOST, place);
    if let Some(shown) = authorization {
        request = request.header(header::AUTHORIZATION, shown);
    }
    let request = request.header(header::ACCEPT, "application/json").body(Empty::<Bytes>::new())?;
    let asked = async {
        let answer = sender.send_request(request).await.map_err(|error| anyhow::Error::msg(reason(&error)))?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.context("the answer breaks off")?.to_bytes();
        Ok((head.status, body))
    };
    let mut connection = std::pin::pin!(connection);
    let mut asked = std::pin::pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        ended = &mut connection => match ended {
            // What was received before it ended is still to be read.
            Ok(()) => asked.await,
            Err(error) => bail!(reason(&error)),
        },
    }
}

fn is_secure(url: &Url) -> bool {
    matches!(url.scheme(), "https" | "wss")
}
