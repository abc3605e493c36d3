//! The options of the blob backends `s3`, `gcs` and `azure`.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::backends::BackendOptions;
use super::{AZURE, GCS, S3};
use crate::error::{CacheError, Result};

const PREFIX: &str = "prefix";
const TIMEOUT_MS: &str = "timeout_ms";
const TIMEOUT_MS_RANGE: RangeInclusive<i64> = 100..=600_000;
const LONGEST_PREFIX: usize = 512;
const ENDPOINT: &str = "endpoint";
pub(crate) const ALLOW_HTTP: &str = "allow_http";
/// Buckets are asked for by their path, as all servers but that of Amazon expect it.
pub(crate) const PATH_STYLE: &str = "path_style";

/// What an option is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Text,
    Flag,
}

/// An option, and the name that the client has for it.
type Setting = (&'static str, &'static str, Is);

const S3_SETTINGS: &[Setting] = &[
    ("access_key_id", "aws_access_key_id", Is::Text),
    ("secret_access_key", "aws_secret_access_key", Is::Text),
    ("session_token", "aws_session_token", Is::Text),
    ("region", "aws_region", Is::Text),
    (ENDPOINT, "aws_endpoint_url", Is::Text),
    (PATH_STYLE, PATH_STYLE, Is::Flag),
    ("anonymous", "aws_skip_signature", Is::Flag),
    (ALLOW_HTTP, "aws_allow_http", Is::Flag),
];

const GCS_SETTINGS: &[Setting] = &[
    ("service_account_path", "google_service_account_path", Is::Text),
    ("service_account_key", "google_service_account_key", Is::Text),
    ("bearer_token", "google_bearer_token", Is::Text),
    (ENDPOINT, "google_base_url", Is::Text),
    ("anonymous", "google_skip_signature", Is::Flag),
    (ALLOW_HTTP, "google_allow_http", Is::Flag),
];

const AZURE_SETTINGS: &[Setting] = &[
    ("account", "azure_storage_account_name", Is::Text),
    ("access_key", "azure_storage_account_key", Is::Text),
    ("sas_token", "azure_storage_sas_token", Is::Text),
    ("tenant_id", "azure_tenant_id", Is::Text),
    ("client_id", "azure_client_id", Is::Text),
    ("client_secret", "azure_client_secret", Is::Text),
    (ENDPOINT, "azure_endpoint", Is::Text),
    ("anonymous", "azure_skip_signature", Is::Flag),
    (ALLOW_HTTP, "azure_allow_http", Is::Flag),
];

/// A store of objects, by the protocol that it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObjectStoreKind {
    S3,
    Gcs,
    Azure,
}

impl ObjectStoreKind {
    /// The one that a backend of this name is, compiled in or not.
    pub(crate) fn named(backend: &str) -> Option<Self> {
        [Self::S3, Self::Gcs, Self::Azure].into_iter().find(|kind| kind.name() == backend)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::S3 => S3,
            Self::Gcs => GCS,
            Self::Azure => AZURE,
        }
    }

    /// What it calls a place for objects, which is the name of the option, too.
    pub(crate) fn bucket(self) -> &'static str {
        if self == Self::Azure { "container" } else { "bucket" }
    }

    fn settings(self) -> &'static [Setting] {
        match self {
            Self::S3 => S3_SETTINGS,
            Self::Gcs => GCS_SETTINGS,
            Self::Azure => AZURE_SETTINGS,
        }
    }

    /// Where credentials come from that are no options.
    pub(crate) fn environment(self) -> &'static str {
        match self {
            Self::S3 => "AWS_…",
            Self::Gcs => "GOOGLE_…",
            Self::Azure => "AZURE_…",
        }
    }
}

/// Where blobs lie, and how to get there.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ObjectOptions {
    pub(crate) kind: ObjectStoreKind,
    pub(crate) bucket: String,
    /// Stands before the names of all objects; may be empty.
    pub(crate) prefix: String,
    /// How long a call waits for an answer.
    pub(crate) timeout: Duration,
    /// Whether the endpoint is one without TLS.
    pub(crate) is_plain: bool,
    /// Settings of the client. Some are secret.
    pub(crate) settings: Vec<(&'static str, String)>,
}

impl fmt::Debug for ObjectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, bucket, prefix, timeout, is_plain: _, settings: _ } = self;
        let mut out = f.debug_struct("ObjectOptions");
        out.field("kind", kind).field("bucket", bucket).field("prefix", prefix).field("timeout", timeout);
        out.finish_non_exhaustive()
    }
}

impl ObjectOptions {
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if an option is missing or unknown, or makes no sense.
    pub(crate) fn of(kind: ObjectStoreKind, options: &BackendOptions) -> Result<Self> {
        let names: Vec<&str> = kind.settings().iter().map(|(name, ..)| *name).collect();
        options.only(&[&[kind.bucket(), PREFIX, TIMEOUT_MS], &names[..]].concat())?;
        let bucket = options.required_text(kind.bucket())?;
        if !is_bucket(bucket) {
            let rule = format!(
                "{bucket:?} is not the name of a {}, which has no slash; say where below by {PREFIX}",
                kind.bucket()
            );
            return Err(options.refused(kind.bucket(), &rule));
        }
        let prefix = options.text(PREFIX)?.unwrap_or_default();
        check_prefix(prefix).map_err(|rule| options.refused(PREFIX, &rule))?;
        let timeout = match options.integer(TIMEOUT_MS)? {
            Some(value) if !TIMEOUT_MS_RANGE.contains(&value) => {
                let (first, last) = (TIMEOUT_MS_RANGE.start(), TIMEOUT_MS_RANGE.end());
                return Err(options.refused(TIMEOUT_MS, &format!("{value} is not from {first} to {last}")));
            }
            value => Duration::from_millis(value.unwrap_or(5000).unsigned_abs()),
        };
        let is_plain = check_endpoint(options)?;
        let settings = settings_of(kind, options)?;
        Ok(Self { kind, bucket: bucket.to_owned(), prefix: prefix.to_owned(), timeout, is_plain, settings })
    }
}

/// What is wrong with the options of a bucket, if this is one.
pub(super) fn fault_in(backend: &str, options: &BackendOptions) -> Option<CacheError> {
    ObjectOptions::of(ObjectStoreKind::named(backend)?, options).err()
}

fn settings_of(kind: ObjectStoreKind, options: &BackendOptions) -> Result<Vec<(&'static str, String)>> {
    let mut settings = Vec::new();
    for (name, theirs, is) in kind.settings() {
        let value = match is {
            Is::Text => options.text(name)?.map(str::to_owned),
            Is::Flag => options.flag(name)?.map(|flag| flag.to_string()),
        };
        settings.extend(value.map(|value| (*theirs, value)));
    }
    Ok(settings)
}

/// Whether the endpoint is one without TLS, which must be asked for.
fn check_endpoint(options: &BackendOptions) -> Result<bool> {
    let Some(endpoint) = options.text(ENDPOINT)? else { return Ok(false) };
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("", endpoint));
    let is_plain = scheme == "http";
    if rest.contains('@') {
        return Err(options.refused(ENDPOINT, "it has credentials in it, give them by options of their own"));
    }
    if rest.is_empty() || !(is_plain || scheme == "https") {
        return Err(options.refused(ENDPOINT, &format!("{endpoint:?} is no address, write https:// and a host")));
    }
    if is_plain && options.flag(ALLOW_HTTP)? != Some(true) {
        let rule = format!("{endpoint:?} is without TLS; write https://, or set {ALLOW_HTTP} to true");
        return Err(options.refused(ENDPOINT, &rule));
    }
    Ok(is_plain)
}

fn is_bucket(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
}

/// The error is half a sentence.
fn check_prefix(prefix: &str) -> Result<(), String> {
    let is_name = |part: &str| {
        let plain = part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        plain && !part.is_empty() && part != "." && part != ".."
    };
    if prefix.is_empty() || (prefix.len() <= LONGEST_PREFIX && prefix.split('/').all(is_name)) {
        return Ok(());
    }
    Err(format!(
        "{prefix:?} is none: names of letters, digits, '-', '_' and '.' with a slash between two, {LONGEST_PREFIX} bytes at \
         most"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::backends::OptionValue;

    fn s3(options: &[(&str, OptionValue)]) -> Result<ObjectOptions> {
        let with = |all: BackendOptions, (name, value): &(&str, OptionValue)| all.with(*name, value.clone());
        ObjectOptions::of(ObjectStoreKind::S3, &options.iter().fold(BackendOptions::new(), with))
    }

    #[test]
    fn a_bucket_is_all_that_is_needed() {
        let options = s3(&[("bucket", "weather".into())]).unwrap();
        assert_eq!((options.bucket.as_str(), options.prefix.as_str()), ("weather", ""));
        assert_eq!((options.timeout, options.settings.len()), (Duration::from_secs(5), 0));
        for kind in [ObjectStoreKind::S3, ObjectStoreKind::Gcs, ObjectStoreKind::Azure] {
            let error = ObjectOptions::of(kind, &BackendOptions::new()).unwrap_err();
            assert_eq!(error.to_string(), format!("options.{}: this backend needs it", kind.bucket()));
        }
    }

    #[test]
    fn each_fault_names_its_option_and_what_to_do() {
        let cases: [(&str, OptionValue, &str); 11] = [
            ("bucket", "a/b".into(), "say where below by prefix"),
            ("bucket", "".into(), "is not the name of a bucket"),
            ("prefix", "/a".into(), "with a slash between two"),
            ("prefix", "a//b".into(), "with a slash between two"),
            ("prefix", "../a".into(), "with a slash between two"),
            ("timeout_ms", 99.into(), "is not from 100 to 600000"),
            ("endpoint", "localhost:9000".into(), "write https:// and a host"),
            ("endpoint", "http://localhost:9000".into(), "set allow_http to true"),
            ("endpoint", "https://user:MARKED@host".into(), "give them by options of their own"),
            ("path_style", "yes".into(), "is not true or false"),
            ("buckett", "weather".into(), "there is no such option"),
        ];
        for (name, value, expected) in cases {
            let mut options = vec![("bucket", OptionValue::from("weather"))];
            options.retain(|(known, _)| *known != name);
            options.push((name, value));
            let error = s3(&options).unwrap_err();
            let message = error.to_string();
            assert!(error.is_config() && message.starts_with(&format!("options.{name}: ")), "{message}");
            assert!(message.contains(expected) && !message.contains("MARKED"), "{message}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let secrets = [("secret_access_key", "MARKED-1"), ("session_token", "MARKED-2")];
        let options: Vec<_> = secrets.map(|(name, value)| (name, value.into())).into();
        let options = s3(&[&[("bucket", "weather".into())], &options[..]].concat()).unwrap();
        assert_eq!(options.settings.len(), 2);
        assert!(!format!("{options:?} {options:#?}").contains("MARKED"), "{options:?}");
    }
}
