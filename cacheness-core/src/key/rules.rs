//! What a cache asks of the keys it is given.

use super::writer::MAX_DEPTH;
use crate::limits::Limits;

/// Bounds and choices of the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyRules {
    /// The longest encoding, in bytes.
    pub(crate) max_bytes: u64,
    /// The deepest nesting of values.
    pub(crate) max_depth: u16,
    /// Whether a path is keyed by what lies there, or by its text.
    pub(crate) path_content: bool,
}

impl KeyRules {
    /// Within these limits, and otherwise the defaults.
    #[inline]
    pub(crate) const fn within(limits: &Limits) -> Self {
        Self { max_bytes: limits.max_key_bytes, max_depth: MAX_DEPTH, path_content: true }
    }
}
