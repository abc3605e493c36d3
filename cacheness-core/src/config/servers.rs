//! The options that metadata backends over a server have in common.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::backends::BackendOptions;
use super::parts::CONNECTION_URL;
use crate::error::Result;

const NAMESPACE: &str = "namespace";
const DEADLINE_MS: &str = "deadline_ms";
pub(crate) const TLS_CA_FILE: &str = "tls_ca_file";

const DEADLINE_MS_RANGE: RangeInclusive<i64> = 10..=600_000;
/// Also what PostgreSQL cuts longer names off at.
pub(super) const LONGEST_NAME: usize = 63;

/// Whether a server is to prove who it is, and by what an address says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// It must.
    Required,
    /// It must where it can.
    Preferred,
    No,
}

/// How one kind of server is named.
pub(super) struct Rules<S> {
    /// What an address names. The error is half a sentence, without any part of the address, which may be a password.
    pub(super) server: fn(&str) -> Result<(S, Tls), String>,
    /// Whether a namespace may have this name. The error is half a sentence.
    pub(super) namespace: fn(&str) -> Result<(), &'static str>,
    /// The feature that brings TLS, and whether it is there.
    pub(super) tls_feature: (&'static str, bool),
    /// What an address has that asks for TLS.
    pub(super) tls_word: &'static str,
}

/// How a server is reached by a client that has its address as `S`.
#[derive(Clone)]
pub(crate) struct ServerOptions<S> {
    pub(crate) server: S,
    /// What tells the rows of a cache from those of others on the server.
    pub(crate) namespace: String,
    /// How long a call may take.
    pub(crate) deadline: Duration,
    /// How the server proves who it is; `None` if it is not asked to.
    #[cfg_attr(not(any(feature = "postgresql-tls", feature = "redis-tls")), allow(dead_code, reason = "for TLS"))]
    pub(crate) tls: Option<TrustOptions>,
}

/// Whom to believe that a server is who it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrustOptions {
    /// Certificates of authorities, in place of those of the system.
    pub(crate) ca_file: Option<PathBuf>,
}

impl<S> ServerOptions<S> {
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if an option is unknown or makes no sense, or there is no address.
    pub(super) fn by(options: &BackendOptions, rules: &Rules<S>) -> Result<Self> {
        options.only(&[CONNECTION_URL, NAMESPACE, DEADLINE_MS, TLS_CA_FILE])?;
        let url = options.required_text(CONNECTION_URL)?;
        let (server, tls) = (rules.server)(url).map_err(|rule| options.refused(CONNECTION_URL, &rule))?;
        let namespace = options.text(NAMESPACE)?.unwrap_or("cacheness");
        (rules.namespace)(namespace).map_err(|rule| options.refused(NAMESPACE, &format!("{namespace:?} {rule}")))?;
        let deadline = match options.integer(DEADLINE_MS)? {
            Some(value) if !DEADLINE_MS_RANGE.contains(&value) => {
                let (least, most) = DEADLINE_MS_RANGE.into_inner();
                return Err(options.refused(DEADLINE_MS, &format!("{value} is not from {least} to {most}")));
            }
            value => value.unwrap_or(250),
        };
        let ca_file = options.text(TLS_CA_FILE)?.map(PathBuf::from);
        let (feature, has_tls) = rules.tls_feature;
        let needs = format!("needs the cargo feature `{feature}` of cacheness");
        if tls == Tls::Required && !has_tls {
            let rule = format!("it asks for TLS ({}), which {needs}", rules.tls_word);
            return Err(options.refused(CONNECTION_URL, &rule));
        }
        if ca_file.is_some() && !has_tls {
            return Err(options.refused(TLS_CA_FILE, &format!("TLS {needs}")));
        }
        // Else it would protect nothing: the server could say that it has no TLS.
        if ca_file.is_some() && tls != Tls::Required {
            let rule = format!("connection_url does not ask for TLS: write {} there", rules.tls_word);
            return Err(options.refused(TLS_CA_FILE, &rule));
        }
        Ok(Self {
            server,
            namespace: namespace.to_owned(),
            deadline: Duration::from_millis(deadline.unsigned_abs()),
            tls: (tls != Tls::No && has_tls).then_some(TrustOptions { ca_file }),
        })
    }
}
