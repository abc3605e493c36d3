//! The largest things the cache accepts, in one place.

use serde::{Deserialize, Serialize};

/// Upper bounds, checked before memory is taken: for what a program hands in and for every size read from disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Largest canonical encoding of a key, in bytes. Default 64 MiB.
    pub max_key_bytes: u64,
    /// Largest value, in bytes as the handler encodes it, before compression. Default 4 GiB.
    pub max_value_bytes: u64,
    /// Largest description, tags and metadata of one entry together, in bytes. Default 1 MiB.
    pub max_header_bytes: u64,
}

impl Limits {
    /// The defaults.
    pub const DEFAULT: Self = Self { max_key_bytes: 64 << 20, max_value_bytes: 4 << 30, max_header_bytes: 1 << 20 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Deepest nesting of values in a key: a bound on the stack, far above any sensible argument.
pub(crate) const MAX_DEPTH: u16 = 128;
