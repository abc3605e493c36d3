//! The one error type of the crate.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The result of a cache operation.
pub type Result<T, E = CacheError> = std::result::Result<T, E>;

/// What went wrong, by what the caller can do about it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A file or directory could not be read, written or created.
    Storage,
    /// A value or a key could not be turned into bytes, or bytes into a value.
    Serialization,
    /// Compressed bytes could not be inflated, or a codec is not available.
    Compression,
    /// The index of entries failed.
    Metadata,
    /// Stored bytes are not what was written: a checksum, a length or a signature does not match.
    Integrity,
    /// A field of the configuration or an environment variable is not valid.
    Config,
    /// An argument of the call is not valid.
    InvalidArgument,
    /// What is asked for conflicts with what is there: a name or a unique value is taken, or a directory is open with other
    /// settings, is of another kind or was written by a newer release.
    Conflict,
    /// Another process is using the cache directory.
    Locked,
    /// A key, a value or a header is larger than the configured limit.
    Limit,
    /// A handler refused a value or is not registered.
    Handler,
    /// The cache was closed before the call.
    Closed,
    /// A server that entries or values lie on cannot be reached, or does not answer in time. That may be over soon.
    Unavailable,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Storage => "storage",
            Self::Serialization => "serialization",
            Self::Compression => "compression",
            Self::Metadata => "metadata",
            Self::Integrity => "integrity",
            Self::Config => "configuration",
            Self::InvalidArgument => "invalid argument",
            Self::Conflict => "conflict",
            Self::Locked => "locked",
            Self::Limit => "limit",
            Self::Handler => "handler",
            Self::Closed => "closed",
            Self::Unavailable => "unavailable",
        })
    }
}

/// An error of the cache: cheap to clone, with a [kind](Self::kind) to act on, a message that names the key, file or
/// field and what to do, and the cause as [`source`](StdError::source).
///
/// ```
/// use cacheness::{CacheError, ErrorKind};
///
/// let error = CacheError::new(ErrorKind::Limit, "key is 70 MiB long, the limit is 64 MiB");
/// assert!(error.is_limit());
/// assert_eq!(error.to_string(), "key is 70 MiB long, the limit is 64 MiB");
/// ```
#[derive(Clone)]
pub struct CacheError(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl CacheError {
    /// Makes an error of a kind with a message for the reader.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), source: None }))
    }

    /// Makes an error that was caused by another one.
    pub fn caused_by(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), source: Some(source.into()) }))
    }

    /// What went wrong, by what the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether a file or directory could not be read, written or created.
    #[doc(alias = "CacheStorageError")]
    pub fn is_storage(&self) -> bool {
        self.kind() == ErrorKind::Storage
    }

    /// Whether a value or key could not be turned into bytes or back.
    #[doc(alias = "CacheSerializationError")]
    pub fn is_serialization(&self) -> bool {
        self.kind() == ErrorKind::Serialization
    }

    /// Whether compressing or inflating failed.
    #[doc(alias = "CacheCompressionError")]
    pub fn is_compression(&self) -> bool {
        self.kind() == ErrorKind::Compression
    }

    /// Whether the index of entries failed.
    #[doc(alias = "CacheMetadataError")]
    pub fn is_metadata(&self) -> bool {
        self.kind() == ErrorKind::Metadata
    }

    /// Whether stored bytes are not what was written.
    pub fn is_integrity(&self) -> bool {
        self.kind() == ErrorKind::Integrity
    }

    /// Whether a field of the configuration or an environment variable is not valid.
    pub fn is_config(&self) -> bool {
        self.kind() == ErrorKind::Config
    }

    /// Whether an argument of the call is not valid.
    pub fn is_invalid_argument(&self) -> bool {
        self.kind() == ErrorKind::InvalidArgument
    }

    /// Whether what is asked for conflicts with what is there.
    pub fn is_conflict(&self) -> bool {
        self.kind() == ErrorKind::Conflict
    }

    /// Whether another process is using the cache directory.
    pub fn is_locked(&self) -> bool {
        self.kind() == ErrorKind::Locked
    }

    /// Whether something is larger than its limit.
    pub fn is_limit(&self) -> bool {
        self.kind() == ErrorKind::Limit
    }

    /// Whether a handler refused a value or is not registered.
    pub fn is_handler(&self) -> bool {
        self.kind() == ErrorKind::Handler
    }

    /// Whether the cache was closed before the call.
    pub fn is_closed(&self) -> bool {
        self.kind() == ErrorKind::Closed
    }

    /// Whether a server cannot be reached, or does not answer in time.
    pub fn is_unavailable(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("CacheError");
        out.field("kind", &self.0.kind).field("message", &self.0.message);
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for CacheError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_kind_message_and_cause() {
        let cause = std::io::Error::other("the disk is gone");
        let error = CacheError::caused_by(ErrorKind::Storage, "cannot write blob", cause).clone();
        assert!(error.is_storage());
        assert_eq!(error.to_string(), "cannot write blob");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("the disk is gone"));
    }
}
