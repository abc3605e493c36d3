use std::fmt;
use std::sync::Arc;

use crate::error::{CacheError, ErrorKind, Result};
use crate::key::Key;
use crate::value::Value;

/// How an entry is found in the index: the hash of its key (8 bytes, big endian), then the key's identity.
///
/// Two keys with one hash have different identities, so they lie side by side, and a lookup that finds a record has
/// compared the key itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct IndexKey(Arc<[u8]>);

pub(crate) const HASH_LEN: usize = 8;

impl IndexKey {
    pub(crate) fn of(key: &Key) -> Self {
        let identity = key.identity();
        let mut bytes = Vec::with_capacity(HASH_LEN + identity.len());
        bytes.extend_from_slice(&key.hash().to_be_bytes());
        bytes.extend_from_slice(identity);
        Self(bytes.into())
    }

    /// Takes bytes that an index or a blob header gave back.
    ///
    /// # Errors
    /// [`Integrity`](ErrorKind::Integrity) if they are too short to be a key.
    pub(crate) fn from_stored(bytes: &[u8]) -> Result<Self> {
        if bytes.len() <= HASH_LEN { Err(too_short()) } else { Ok(Self(bytes.into())) }
    }

    /// A bound that sorts before every key.
    pub(crate) fn before_all() -> Self {
        Self(Arc::from([].as_slice()))
    }

    /// [`from_stored`](Self::from_stored) without a copy.
    pub(crate) fn from_shared(bytes: Arc<[u8]>) -> Result<Self> {
        if bytes.len() <= HASH_LEN { Err(too_short()) } else { Ok(Self(bytes)) }
    }

    pub(crate) fn into_shared(self) -> Arc<[u8]> {
        self.0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What tells the key from every other one; see [`Key::identity`].
    pub(crate) fn identity(&self) -> &[u8] {
        self.0.get(HASH_LEN..).unwrap_or_default()
    }

    /// The key that it is made of; `None` if the bytes are those of none.
    pub(crate) fn key(&self, params: &[(String, Value)]) -> Option<Key> {
        Key::from_stored(self.hash(), self.identity(), params)
    }

    pub(crate) fn hash(&self) -> u64 {
        self.0.iter().take(HASH_LEN).fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
    }
}

fn too_short() -> CacheError {
    CacheError::new(ErrorKind::Integrity, "an index key is too short")
}

impl fmt::Display for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.hash())
    }
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexKey({self})")
    }
}
