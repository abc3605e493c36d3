//! Connections by TLS, and why there is none.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{trusting, trusting_the_system};
use crate::util::process::PerProcess;

/// Larger files are not read.
const LARGEST_FILE: u64 = 16 << 20;

/// How the other end of a connection proves who it is.
pub(crate) struct Tls {
    /// In place of those of the system.
    authorities: Option<RootCertStore>,
    protocol: Option<&'static str>,
    /// Made when it is first needed, since those of the system take a while to read and some have none. It remembers
    /// sessions behind a mutex, so a forked child has its own.
    client: PerProcess<ClientConfig>,
}

impl Tls {
    /// Believes the authorities in this file, or else those of the system. `protocol` is what is to be spoken.
    ///
    /// # Errors
    /// What is wrong with the file, as half a sentence.
    pub(crate) fn new(ca_file: Option<&Path>, protocol: Option<&'static str>) -> Result<Self, String> {
        let authorities = ca_file.map(authorities_in).transpose()?;
        Ok(Self { authorities, protocol, client: PerProcess::new() })
    }

    fn client(&self) -> Result<Arc<ClientConfig>, Error> {
        self.client.get(|| {
            let mut client = match &self.authorities {
                Some(authorities) => trusting(authorities.clone())?,
                None => trusting_the_system()?,
            };
            client.alpn_protocols = self.protocol.iter().map(|name| name.as_bytes().to_vec()).collect();
            Ok(Arc::new(client))
        })
    }

    /// Encrypts a connection to the host of this name.
    ///
    /// # Errors
    /// If the host does not prove to be the one.
    pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> Result<TlsStream<S>, Refused> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Refused::Name(host.to_owned()))?;
        let client = self.client().map_err(|error| Refused::Other(error.to_string()))?;
        let connected = TlsConnector::from(client).connect(name, stream).await;
        connected.map_err(|error| Refused::of(host, &error))
    }
}

/// The error is half a sentence.
fn authorities_in(file: &Path) -> Result<RootCertStore, String> {
    let shown = file.display();
    let read = |file| -> io::Result<Vec<u8>> {
        match std::fs::metadata(file)? {
            about if !about.is_file() => Err(io::Error::other("it is no file")),
            about if about.len() > LARGEST_FILE => Err(io::Error::other("it is larger than 16 MiB")),
            _ => std::fs::read(file),
        }
    };
    let text = read(file).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| format!("{shown} is not understood as PEM: {error}"))?;
        let added = authorities.add(certificate);
        added.map_err(|error| format!("a certificate in {shown} is not understood: {error}"))?;
    }
    match authorities.is_empty() {
        true => Err(format!("{shown} has no certificate: it must be a PEM file with `BEGIN CERTIFICATE`")),
        false => Ok(authorities),
    }
}

/// Why a connection is not encrypted.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It was lost, which may pass.
    Lost(String),
    /// No certificate can be for it.
    Name(String),
    OtherName(String),
    UnknownAuthority,
    OutOfDate(&'static str),
    NoTls,
    Other(String),
}

impl Refused {
    fn of(host: &str, error: &io::Error) -> Self {
        use CertificateError as Certificate;
        let Some(tls) = error.get_ref().and_then(|cause| cause.downcast_ref()) else {
            return Self::Lost(error.to_string());
        };
        match tls {
            Error::InvalidCertificate(why) => match why {
                Certificate::UnknownIssuer => Self::UnknownAuthority,
                Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                    Self::OtherName(host.to_owned())
                }
                Certificate::Expired | Certificate::ExpiredContext { .. } => Self::OutOfDate("no longer"),
                Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => Self::OutOfDate("not yet"),
                other => Self::Other(format!("its certificate is not believed: {other}")),
            },
            Error::InvalidMessage(_) => Self::NoTls,
            other => Self::Other(other.to_string()),
        }
    }

    /// Whether it may go away by itself.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Lost(_))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(why) => write!(f, "the connection was lost while TLS began: {why}"),
            Self::Name(host) => write!(f, "no certificate can be for the host {host:?}: write its name"),
            Self::OtherName(host) => {
                write!(f, "the certificate of the server is not for {host:?}: use a name that is in it")
            }
            Self::UnknownAuthority => f.write_str(
                "the certificate of the server is by an authority that is not known here: name a PEM file with that of \
                 the authority by the option tls_ca_file",
            ),
            Self::OutOfDate(when) => {
                write!(f, "the certificate of the server is {when} valid: renew it, or set the clock")
            }
            Self::NoTls => f.write_str("the server has no TLS: turn it on there, or ask for none"),
            Self::Other(why) => write!(f, "no TLS with the server: {why}"),
        }
    }
}

impl std::error::Error for Refused {}
