//! How the client of a bucket is made.

use std::sync::Arc;
use std::time::Duration;

use object_store::client::{HttpClient, HttpConnector};
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, Error as StoreError, ObjectStore, RetryConfig};
use rustls::{ClientConfig, RootCertStore};

use crate::config::objects::{ObjectOptions, ObjectStoreKind};
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::tls;

const RETRIES: usize = 4;

/// # Errors
/// [`Config`](ErrorKind::Config) if the client refuses an option.
pub(super) fn connect(options: &ObjectOptions) -> Result<Arc<dyn ObjectStore>> {
    let connected = match options.kind {
        #[cfg(feature = "s3")]
        ObjectStoreKind::S3 => s3(options),
        #[cfg(feature = "gcs")]
        ObjectStoreKind::Gcs => gcs(options),
        #[cfg(feature = "azure")]
        ObjectStoreKind::Azure => azure(options),
        #[allow(unreachable_patterns, reason = "where all are compiled in")]
        other => {
            let message = format!("this backend needs the cargo feature `{}` of cacheness", other.name());
            return Err(CacheError::new(ErrorKind::Config, message));
        }
    };
    connected.map_err(|error| {
        // What the client says may repeat what it was given.
        let values = options.settings.iter().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty());
        let told = values.fold(error.to_string(), |told, value| told.replace(value, "…"));
        CacheError::new(
            ErrorKind::Config,
            format!("blob.options: the client of {} refuses them: {told}", options.kind.name()),
        )
    })
}

/// Sets the options, but for those that are none of the client's own, by the names that it has for them.
macro_rules! with_settings {
    ($builder:expr, $options:expr) => {{
        let mut builder = $builder;
        for (name, value) in &$options.settings {
            if let Ok(key) = name.parse() {
                builder = builder.with_config(key, value.as_str());
            }
        }
        builder.with_retry(retry(&$options)).with_http_connector(Connector::of(&$options))
    }};
}

#[cfg(feature = "s3")]
fn s3(options: &ObjectOptions) -> object_store::Result<Arc<dyn ObjectStore>> {
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};

    let has = |name: &str| options.settings.iter().any(|(known, _)| *known == name);
    let has_credentials = has("aws_access_key_id") || has("aws_secret_access_key");
    let mut builder = AmazonS3Builder::new();
    for (name, value) in std::env::vars_os() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        let Some(key) = name.starts_with("AWS_").then(|| name.to_ascii_lowercase().parse().ok()).flatten() else {
            continue;
        };
        // A token belongs to the key beside it.
        let is_credential = matches!(key, Key::AccessKeyId | Key::SecretAccessKey | Key::Token);
        if !(is_credential && has_credentials) {
            builder = builder.with_config(key, value);
        }
    }
    let path_style = options.settings.iter().find(|(name, _)| *name == crate::config::objects::PATH_STYLE);
    if let Some((_, path_style)) = path_style {
        builder = builder.with_virtual_hosted_style_request(path_style != "true");
    }
    let builder = with_settings!(builder.with_bucket_name(&options.bucket), options);
    Ok(Arc::new(builder.build()?))
}

#[cfg(feature = "gcs")]
fn gcs(options: &ObjectOptions) -> object_store::Result<Arc<dyn ObjectStore>> {
    use object_store::gcp::GoogleCloudStorageBuilder as Builder;

    let own = ["google_service_account_path", "google_service_account_key", "google_bearer_token"];
    let builder = if has_any(options, &own) { Builder::new() } else { Builder::from_env() };
    Ok(Arc::new(with_settings!(builder.with_bucket_name(&options.bucket), options).build()?))
}

#[cfg(feature = "azure")]
fn azure(options: &ObjectOptions) -> object_store::Result<Arc<dyn ObjectStore>> {
    use object_store::azure::MicrosoftAzureBuilder as Builder;

    let own = ["azure_storage_account_key", "azure_storage_sas_token", "azure_client_secret"];
    let builder = if has_any(options, &own) { Builder::new() } else { Builder::from_env() };
    Ok(Arc::new(with_settings!(builder.with_container_name(&options.bucket), options).build()?))
}

/// Whether credentials are given, so that those of the environment are not asked for.
#[cfg(any(feature = "gcs", feature = "azure"))]
fn has_any(options: &ObjectOptions, names: &[&str]) -> bool {
    options.settings.iter().any(|(name, _)| names.contains(name))
}

/// By itself the client would go on for minutes.
fn retry(options: &ObjectOptions) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: options.timeout,
    }
}

/// TLS by one library whatever else is in the program, trusting what the system trusts.
#[derive(Debug)]
struct Connector {
    connect_timeout: Duration,
    /// Whether the bucket is reached without TLS.
    is_plain: bool,
}

impl Connector {
    fn of(options: &ObjectOptions) -> Self {
        // So that an attempt that was swallowed leaves time for another one.
        Self { connect_timeout: options.timeout / 3, is_plain: options.is_plain }
    }

    fn tls(&self, allow_http: bool) -> Result<ClientConfig, rustls::Error> {
        match self.is_plain && allow_http {
            // The certificates of the system take a while to read, and some have none.
            true => tls::trusting(RootCertStore::empty()),
            false => tls::trusting_the_system(),
        }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Generic { store: "TLS", source };
        let allow_http = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|allowed| allowed == "true");
        let tls = self.tls(allow_http).map_err(|error| failed(error.into()))?;
        let builder = reqwest::Client::builder().connect_timeout(self.connect_timeout).https_only(!allow_http);
        let client = builder.tls_backend_preconfigured(tls).build().map_err(|error| failed(error.into()))?;
        Ok(HttpClient::new(client))
    }
}
