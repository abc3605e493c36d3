//! TLS for the client of PostgreSQL, which is asked for it when the server has said that it has TLS.

use std::future::Future;
use std::io::Result as IoResult;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::client::TlsStream as Encrypted;

use crate::util::tls::stream::{Refused, Tls};

/// What is spoken, as servers from PostgreSQL 17 on want to be told.
const PROTOCOL: &str = "postgresql";

#[derive(Clone)]
pub(super) struct MakeTls(Arc<Tls>);

impl MakeTls {
    /// # Errors
    /// What is wrong with the file, as half a sentence.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        Ok(Self(Arc::new(Tls::new(ca_file, Some(PROTOCOL))?)))
    }
}

/// TLS with one host.
pub(super) struct TlsWith {
    tls: Arc<Tls>,
    host: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for MakeTls {
    type Stream = Stream<S>;
    type TlsConnect = TlsWith;
    type Error = Refused;

    fn make_tls_connect(&mut self, host: &str) -> Result<TlsWith, Refused> {
        Ok(TlsWith { tls: Arc::clone(&self.0), host: host.to_owned() })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for TlsWith {
    type Stream = Stream<S>;
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<Stream<S>, Refused>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { self.tls.connect(&self.host, stream).await.map(Stream) })
    }
}

/// A connection of this client.
pub(super) struct Stream<S>(Encrypted<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    /// The certificate is verified, which is what this would be for.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.0).poll_read(context, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<IoResult<usize>> {
        Pin::new(&mut self.0).poll_write(context, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Why a connection is not by TLS, if that is why there is none, and whether this may pass.
pub(super) fn refusal(error: &tokio_postgres::Error) -> Option<(String, bool)> {
    let cause = std::error::Error::source(error)?;
    match cause.downcast_ref::<Refused>() {
        Some(refused) => Some((refused.to_string(), refused.may_pass())),
        // The client has no name for it.
        None => (cause.to_string() == "server does not support TLS").then(|| (Refused::NoTls.to_string(), false)),
    }
}
