use std::ops::Deref;

use crate::entry::Entry;
use crate::error::Result;
use crate::key::{Key, KeyWriter, PendingKey, ToKey};

/// A row that a query found, with the entry it belongs to. It is as good as a key: `cache.get(&found)` gives the value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Found<E> {
    /// The row.
    pub value: E,
    /// The entry that it was stored with.
    pub entry: Entry,
}

impl<E> Found<E> {
    /// The entry's name in listings: 16 hex digits. Rows of several kinds with one name belong to one entry.
    pub fn cache_key(&self) -> String {
        self.entry.cache_key()
    }

    /// The key of the entry.
    ///
    /// # Errors
    /// As [`Entry::key`].
    pub fn key(&self) -> Result<Key> {
        self.entry.key()
    }
}

impl<E> Deref for Found<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.value
    }
}

impl<E> ToKey for &Found<E> {
    fn to_key_with(&self, writer: KeyWriter) -> PendingKey {
        self.entry.to_key_with(writer)
    }
}
