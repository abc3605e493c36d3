//! The index of entries: which value lies where, in which order entries expire and were used.

mod columns;
mod memory;
mod record;
pub(crate) mod sled;
#[cfg(test)]
mod watched;

use std::fmt;

pub(crate) use columns::WithColumns;
pub(crate) use memory::MemoryIndex;
pub(crate) use record::{Payload, Record};
#[cfg(test)]
pub(crate) use watched::{Call, Watched};

use crate::clock::Timestamp;
use crate::entry::{Details, IndexKey, Names};
use crate::error::Result;
use crate::util::digest;

/// Keeps records by key, finds them by expiry, by last access and by group, and knows how many there are.
///
/// A record goes in and comes out whole: a reader sees the old one or the new one, never a mixture. Methods that name an
/// `expected` record do nothing if another one has taken its place meanwhile.
pub(crate) trait MetadataBackend: fmt::Debug + Send + Sync {
    /// The backend's name in the configuration.
    fn name(&self) -> &'static str;

    /// The record of a key.
    fn get(&self, key: &IndexKey) -> Result<Option<Record>>;

    /// The records of these keys, as far as there are any, in the order of the keys.
    fn of_keys(&self, keys: &[IndexKey]) -> Result<Vec<(IndexKey, Record)>>;

    /// The records of all keys with this hash.
    fn with_hash(&self, hash: u64) -> Result<Vec<(IndexKey, Record)>>;

    /// Puts a record in place of the one that was there, and returns that.
    fn put(&self, key: &IndexKey, record: &Record) -> Result<Option<Record>>;

    /// Puts a record where there is none; says whether there was none.
    fn put_new(&self, key: &IndexKey, record: &Record) -> Result<bool>;

    /// Takes a record out, and returns it.
    fn remove(&self, key: &IndexKey) -> Result<Option<Record>>;

    /// Takes a record out if it is still the expected one; says whether it was.
    fn remove_expected(&self, key: &IndexKey, expected: &Record) -> Result<bool>;

    /// Takes the record of a key out if its bytes cannot be read as one; says whether that was so.
    fn remove_damaged(&self, key: &IndexKey) -> Result<bool>;

    /// Puts `record` in the place of the expected one, if that is still there; says whether it was. When the entry was last
    /// used stays known, unless the new record was created at another time.
    fn replace_expected(&self, key: &IndexKey, expected: &Record, record: &Record) -> Result<bool>;

    /// Notes a use of an entry; written later, together with others.
    fn accessed(&self, key: &IndexKey, at: Timestamp);

    /// When an entry was last used, as far as it was noted.
    fn last_access(&self, key: &IndexKey) -> Result<Option<Timestamp>>;

    /// Up to `limit` records that are expired at `now`, the earliest first.
    fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<(IndexKey, Record)>>;

    /// Up to `limit` records, the least recently used first.
    fn least_recently_used(&self, limit: usize) -> Result<Vec<(IndexKey, Record)>>;

    /// Up to `limit` records, the newest first, behind `after`: the time of creation and the key of one seen before.
    fn newest(&self, after: Option<(Timestamp, &IndexKey)>, limit: usize) -> Result<Vec<(IndexKey, Record)>>;

    /// When the oldest and the newest entry were created.
    fn creation_bounds(&self) -> Result<Option<(Timestamp, Timestamp)>>;

    /// Up to `limit` records of a group, in key order, behind `after`.
    fn group(&self, group: Group, after: Option<&IndexKey>, limit: usize) -> Result<Vec<(IndexKey, Record)>>;

    /// Up to `limit` records in key order, behind `after`.
    fn scan(&self, after: Option<&IndexKey>, limit: usize) -> Result<Vec<(IndexKey, Record)>>;

    /// Up to `limit` keys in their order, behind `after`. Their records are not looked at.
    fn keys(&self, after: Option<&IndexKey>, limit: usize) -> Result<Vec<IndexKey>>;

    /// How many records there are, and the bytes that they and their values take.
    fn totals(&self) -> Totals;

    /// With how many bytes an entry counts in [`totals`](Self::totals).
    fn footprint(&self, record: &Record) -> u64;

    /// How often it was replaced since it was opened, after damage or an error: each time records may have been lost, and
    /// older ones have come back.
    fn replacements(&self) -> u64;

    /// Says that there may be blobs which no record names: the next opening looks for them.
    fn doubt_blobs(&self);

    /// Gives room on the disk back that the index takes and does not need, if that is much. Others use it meanwhile.
    /// Ends early when it may not go on.
    fn give_back_room(&self, go_on: &dyn Fn() -> bool) -> Result<()>;

    /// Brings everything that was put to the disk.
    fn flush(&self) -> Result<()>;

    /// Flushes and lets go of every file. Later calls fail with [`Closed`](crate::ErrorKind::Closed).
    fn close(&self) -> Result<()>;
}

/// What is kept, not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub entries: u64,
    pub bytes: u64,
    /// Bytes of the records alone, as far as they lie in a file.
    pub records: u64,
    /// Entries that damage of the index has cost since it was opened.
    pub lost: u64,
}

/// A set of entries that can be listed and cleared on its own: those of a function, of a prefix, of a tag, with custom
/// metadata of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Group(u64);

impl Group {
    pub(crate) fn function(name: &str) -> Self {
        Self::named(b'f', name)
    }

    pub(crate) fn prefix(name: &str) -> Self {
        Self::named(b'p', name)
    }

    pub(crate) fn tag(name: &str) -> Self {
        Self::named(b't', name)
    }

    /// The entries that have custom metadata of this kind.
    pub(crate) fn kind(name: &str) -> Self {
        Self::named(b'k', name)
    }

    /// Groups are found by a checksum of their name; whoever lists one compares the name in the entry's details.
    fn named(kind: u8, name: &str) -> Self {
        Self(digest::checksum_within(&[kind], name.as_bytes()))
    }

    pub(crate) fn as_u64(self) -> u64 {
        self.0
    }

    pub(crate) fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The groups that an entry with these details belongs to.
    pub(crate) fn all_of(details: &Details) -> Vec<Self> {
        let tags = details.tags.iter().map(|tag| Self::tag(tag));
        let kinds = details.kinds.iter().map(|kind| Self::kind(kind));
        Self::of(details.function.as_deref(), details.prefix.as_deref(), tags.chain(kinds))
    }

    /// The groups that these names stand for.
    pub(crate) fn of_names(names: &Names<'_>) -> Vec<Self> {
        let tags = names.tags.iter().map(|tag| Self::tag(tag));
        let kinds = names.kinds.iter().map(|kind| Self::kind(kind));
        Self::of(names.function, names.prefix, tags.chain(kinds))
    }

    fn of(function: Option<&str>, prefix: Option<&str>, others: impl Iterator<Item = Self>) -> Vec<Self> {
        let (function, prefix) = (function.map(Self::function), prefix.map(Self::prefix));
        function.into_iter().chain(prefix).chain(others).collect()
    }
}
