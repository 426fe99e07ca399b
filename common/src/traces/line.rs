//! A connection to the receiver, encrypted where its address says so: kept while it is there, made anew when it is not.

use std::error::Error as StdError;
use std::io;

use axum::body::Body;
use axum::http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::tls::{ClientConfig, Reloaded, ServerName, explain};

/// To one receiver.
pub(super) struct Line {
    host: String,
    port: u16,
    tls: Option<Reloaded<ClientConfig>>,
    open: Option<Open>,
}

/// A connection that stands.
struct Open {
    sender: SendRequest<Body>,
    /// Which state of the files it was made with.
    edition: u64,
    /// What moves its bytes; it ends with this.
    _moving: JoinSet<()>,
}

impl Line {
    pub(super) fn new(uri: &Uri, tls: Option<Reloaded<ClientConfig>>) -> Self {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let usual = if tls.is_some() { 443 } else { 80 };
        Line { host, port: uri.port_u16().unwrap_or(usual), tls, open: None }
    }

    /// One request, and the head of its answer.
    pub(super) async fn ask(&mut self, request: Request<Body>) -> Result<Response<Incoming>, String> {
        let mut open = match self.standing().await {
            Some(open) => open,
            None => self.connect().await?,
        };
        let answer = open.sender.send_request(request).await.map_err(|error| reason(&error))?;
        // Whoever fails is not asked again.
        self.open = Some(open);
        Ok(answer)
    }

    /// The connection there is, unless the receiver has closed it or it was made with other files than there are now.
    async fn standing(&mut self) -> Option<Open> {
        let mut open = self.open.take()?;
        let edition = self.tls.as_ref().map_or(0, |tls| tls.present().number);
        let is_good = open.edition == edition && open.sender.ready().await.is_ok();
        is_good.then_some(open)
    }

    async fn connect(&self) -> Result<Open, String> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| reason(&error))?;
        let Some(tls) = &self.tls else { return open(stream, 0).await };
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|_| "no certificate could have the receiver's name".to_owned())?;
        let tls = tls.present();
        let stream =
            TlsConnector::from(tls.value).connect(name, stream).await.map_err(|error: io::Error| reason(&error))?;
        open(stream, tls.number).await
    }
}

async fn open(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, edition: u64) -> Result<Open, String> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| reason(&error))?;
    let mut moving = JoinSet::new();
    moving.spawn(async move {
        // Why it ended is the next request's to find out.
        let _ = connection.await;
    });
    Ok(Open { sender, edition, _moving: moving })
}

/// What TLS has to do with it, or what is at the bottom of it.
fn reason(error: &(dyn StdError + 'static)) -> String {
    if let Some(line) = explain(error, "OTEL_EXPORTER_OTLP_CERTIFICATE", "a client's certificate, which is not shown") {
        return line;
    }
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
