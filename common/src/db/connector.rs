//! TLS as the driver wants it.
//!
//! Ours, though there is a crate for it: that one's connector is made once for one set of files.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use crate::tls::{Algorithm, ClientConfig, Leaf, ServerName};

/// Makes connections encrypted, with what the files held when it was made.
#[derive(Clone)]
pub struct Connector(Arc<ClientConfig>);

impl Connector {
    pub(super) fn new(tls: Arc<ClientConfig>) -> Self {
        Connector(tls)
    }
}

/// To one host.
pub struct Handshake {
    tls: Arc<ClientConfig>,
    host: Result<ServerName<'static>, io::Error>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Connector {
    type Stream = Stream<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    /// A host without a name (a Unix socket) is an error only once TLS is really wanted.
    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        let name = ServerName::try_from(host.to_owned());
        let host = name.map_err(|_| io::Error::other(format!("DB_HOST={host} is no name a certificate could have")));
        Ok(Handshake { tls: Arc::clone(&self.0), host })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { Ok(Stream(TlsConnector::from(self.tls).connect(self.host?, stream).await?)) })
    }
}

/// An encrypted connection.
pub struct Stream<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    /// Binds the password's proof to the certificate the server showed (RFC 5929, `tls-server-end-point`): somebody in
    /// between, with another certificate, cannot pass the proof on, even where no authority was asked.
    fn channel_binding(&self) -> ChannelBinding {
        let certificate = self.0.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let Some(certificate) = certificate else { return ChannelBinding::none() };
        let digest = match Leaf::of(certificate).and_then(|leaf| leaf.signed_with) {
            Some(Algorithm::Sha256) => Sha256::digest(certificate).to_vec(),
            Some(Algorithm::Sha384) => Sha384::digest(certificate).to_vec(),
            Some(Algorithm::Sha512) => Sha512::digest(certificate).to_vec(),
            None => return ChannelBinding::none(),
        };
        ChannelBinding::tls_server_end_point(digest)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
