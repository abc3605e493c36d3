//! A key that is encoded but may still have to read files.

use super::{Key, KeyRules, KeyWriter};
use crate::error::Result;

/// An encoded key whose paths are still to be read, so that an async caller can do that away from its executor.
///
/// ```
/// use std::path::Path;
/// use cacheness::key::{KeyWriter, ToKey};
///
/// assert!(!"London".to_key_with(KeyWriter::new()).needs_io());
///
/// let pending = Path::new("no such file").to_key_with(KeyWriter::new());
/// assert!(pending.needs_io());
/// let key = pending.resolve()?;
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[must_use = "a pending key does nothing until it is resolved"]
pub struct PendingKey(State);

enum State {
    Ready(Key),
    Encoded(KeyWriter),
}

impl std::fmt::Debug for PendingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingKey").field("needs_io", &self.needs_io()).finish_non_exhaustive()
    }
}

impl PendingKey {
    #[inline]
    pub(super) fn encoded(writer: KeyWriter) -> Self {
        Self(State::Encoded(writer))
    }

    pub(super) fn ready(key: Key) -> Self {
        Self(State::Ready(key))
    }

    /// Whether [`resolve`](Self::resolve) has to read files or directories.
    #[inline]
    pub fn needs_io(&self) -> bool {
        match &self.0 {
            State::Ready(_) => false,
            State::Encoded(writer) => writer.needs_io(),
        }
    }

    /// The same key, by these rules; refused by [`resolve`](Self::resolve) if it breaks them.
    #[inline]
    pub(crate) fn within(mut self, rules: &KeyRules) -> Self {
        if let State::Encoded(writer) = &mut self.0 {
            writer.narrow(rules);
        }
        self
    }

    /// Reads what is left to read and makes the key. Blocks if [`needs_io`](Self::needs_io).
    ///
    /// # Errors
    ///
    /// The first error of the encoding: `Storage` if a path cannot be read or is neither a file nor a directory,
    /// `Limit` if the key is too large or nested too deeply, `Serialization` if a value could not be encoded,
    /// `InvalidArgument` if a parameter is named twice.
    #[inline]
    pub fn resolve(mut self) -> Result<Key> {
        match &mut self.0 {
            State::Ready(key) => Ok(key.clone()),
            State::Encoded(writer) => writer.key(),
        }
    }
}
