//! How servers prove who they are: by TLS of one library, whatever else is in the program, and always.

#[cfg(any(feature = "postgresql-tls", feature = "redis-tls"))]
pub(crate) mod stream;

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier, client::WantsClientCert};
use rustls_platform_verifier::BuilderVerifierExt;

/// A client that believes whom the system believes.
///
/// # Errors
/// If the system has no certificates.
pub(crate) fn trusting_the_system() -> Result<ClientConfig, rustls::Error> {
    client(ConfigBuilder::with_platform_verifier)
}

/// A client that believes these authorities, and nobody else.
///
/// # Errors
/// Those of the library.
pub(crate) fn trusting(authorities: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    client(|builder| Ok(builder.with_root_certificates(authorities)))
}

fn client(
    verified: impl FnOnce(
        ConfigBuilder<ClientConfig, WantsVerifier>,
    ) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(verified(builder)?.with_no_client_auth())
}
