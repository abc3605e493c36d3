use std::fmt;

use super::KeyWriter;
use super::identity::Inline;
use super::sink::Sink;

/// What the keys of one function begin with, written once and for all.
#[derive(Clone, Copy)]
pub(crate) struct Scope(Inline);

impl Scope {
    /// `None` if it is long.
    pub(crate) fn of(function: &str, prefix: Option<&str>, version: Option<&str>) -> Option<Self> {
        let mut writer = KeyWriter::new();
        writer.scope(function, prefix, version);
        match writer.written()? {
            Sink::Inline(inline) => Some(Self(*inline)),
            Sink::Heap(_) | Sink::Hashed(_) | Sink::Kept(_) => None,
        }
    }

    #[inline]
    pub(super) fn encoding(&self) -> &[u8] {
        self.0.encoding()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}
