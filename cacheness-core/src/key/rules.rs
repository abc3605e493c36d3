//! What a cache asks of the keys it is given.

use serde::{Deserialize, Serialize};

use super::writer::MAX_DEPTH;
use crate::limits::Limits;

/// When a file that counts by its content is read again.
///
/// ```
/// use cacheness_core::{CacheConfig, VerifyPaths};
///
/// let distrustful = CacheConfig::default().with_verified_paths(VerifyPaths::Always);
/// assert_eq!(distrustful.serialization.verify_paths, VerifyPaths::Always);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VerifyPaths {
    /// When its device, inode, length, or time of modification or status change is not what it was when this process read
    /// it, or when it had only just changed then. On file systems that do not keep these times themselves (over a network,
    /// in user space, outside of Linux) at every call.
    #[default]
    WhenChanged,
    /// At every call: for files that are written through memory maps, or by a machine whose clock is not this one's.
    Always,
}

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
