//! What a cache asks of the keys it is given.

use crate::config::limits::{Limits, MAX_DEPTH};
use crate::config::{CacheConfig, VerifyPaths};

/// Bounds and choices of the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyRules {
    /// The longest encoding, in bytes.
    pub(crate) max_bytes: u64,
    /// The deepest nesting of values.
    pub(crate) max_depth: u16,
    /// Whether a path is keyed by what lies there, or by its text.
    pub(crate) path_content: bool,
    /// When a file is read again.
    pub(crate) verify: VerifyPaths,
}

impl KeyRules {
    /// Within these limits, and otherwise the defaults.
    #[inline]
    pub(crate) const fn within(limits: &Limits) -> Self {
        Self {
            max_bytes: limits.max_key_bytes,
            max_depth: MAX_DEPTH,
            path_content: true,
            verify: VerifyPaths::WhenChanged,
        }
    }
}

impl CacheConfig {
    /// What a cache with this configuration asks of its keys.
    pub(crate) fn key_rules(&self) -> KeyRules {
        KeyRules {
            max_depth: self.serialization.max_collection_depth,
            path_content: self.serialization.hash_path_content,
            verify: self.serialization.verify_paths,
            ..KeyRules::within(&self.limits)
        }
    }
}
