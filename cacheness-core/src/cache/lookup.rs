//! What the index knows of entries, without their values.

use std::time::Duration;

use super::{Cache, Entries, Stats};
use crate::entry::{Entry, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::key::{Key, ToKey};

/// What to do about an entry that has expired and is still there.
#[doc(alias = "check_expiration")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Expired {
    /// It counts as gone.
    Skip,
    /// It counts.
    Include,
}

/// Keys that are read in one go: others wait no longer.
const KEYS_PAGE: usize = 4096;

/// Looking at entries.
impl Cache {
    /// Whether a value that has not expired lies under a key.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn exists(&self, key: impl ToKey) -> Result<bool> {
        self.engine()?.is_fresh(&self.index_key(key)?)
    }

    /// The entry of a key, without its value.
    ///
    /// ```
    /// use cacheness::Cache;
    /// use cacheness::cache::Expired;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// cache.put("large", &vec![0u8; 100_000])?;
    /// let entry = cache.get_metadata("large", Expired::Skip)?.expect("it was just stored");
    /// assert!(entry.raw_size() >= 100_000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_metadata(&self, key: impl ToKey, expired: Expired) -> Result<Option<Entry>> {
        let (engine, key) = (self.engine()?, self.index_key(key)?);
        let found = match expired {
            Expired::Skip => engine.fresh(&key, None)?,
            Expired::Include => engine.store().find(&key)?,
        };
        found.map(|found| engine.describe(&found.record)).transpose()
    }

    /// The entry of this name in listings, 16 hex digits; also one that has expired. An entry is a key: what it says can
    /// be fetched, touched, replaced and removed by it.
    ///
    /// Where several keys share the name, which takes somebody who wants them to, it is the newest.
    ///
    /// ```
    /// use cacheness::Cache;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// let name = cache.put("answer", &42u8)?.to_string();
    /// let entry = cache.get_entry(&name)?.expect("it was just stored");
    /// assert_eq!(cache.get::<u8>(&entry)?, Some(42));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if it is no such name; else as [`get`](Self::get).
    pub fn get_entry(&self, cache_key: &str) -> Result<Option<Entry>> {
        let engine = self.engine()?;
        let mut newest: Option<Entry> = None;
        let records = engine.store().index().with_hash(hash_of(cache_key)?)?;
        for (_, record) in records.into_iter().filter(|(_, record)| record.is_believed()) {
            let entry = engine.describe(&record)?;
            if newest.as_ref().is_none_or(|newest| newest.created_at() < entry.created_at()) {
                newest = Some(entry);
            }
        }
        Ok(newest)
    }

    /// How long the value of a key lives yet, in a form that [`PutOptions::ttl`](crate::PutOptions::ttl) takes. `None` if it
    /// never expires, and if there is none; [`exists`](Self::exists) tells these apart.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn remaining_ttl(&self, key: impl ToKey) -> Result<Option<Duration>> {
        let engine = self.engine()?;
        let found = engine.fresh(&self.index_key(key)?, None)?;
        Ok(found.and_then(|found| engine.remaining(&found.core)))
    }

    /// The entries, newest first, read while they are asked for.
    pub fn list_entries(&self) -> Entries {
        Entries::of(self)
    }

    /// Up to `limit` keys in an order that does not change, behind `after`, the last one of the page before; also of entries
    /// that have expired and were not cleaned up yet. Many times as fast as [`list_entries`](Self::list_entries), which
    /// reads the entries. The keys tell no [parameters](Key::params).
    ///
    /// ```
    /// use cacheness::Cache;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// (0..5u8).try_for_each(|n| cache.put(n, &n).map(drop))?;
    /// let page = cache.keys(None, 3)?;
    /// let rest = cache.keys(page.last(), 3)?;
    /// assert_eq!((page.len(), rest.len()), (3, 2));
    /// assert!(cache.exists(&rest[0])?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Metadata`](ErrorKind::Metadata), [`Closed`](ErrorKind::Closed).
    pub fn keys(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        let mut keys: Vec<Key> = Vec::new();
        while keys.len() < limit {
            let behind = keys.last().or(after).map(IndexKey::of);
            let page = self.engine()?.store().index().keys(behind.as_ref(), KEYS_PAGE.min(limit - keys.len()))?;
            let before = keys.len();
            keys.extend(page.iter().filter_map(|key| key.key(&[])));
            if keys.len() == before {
                break;
            }
        }
        Ok(keys)
    }

    /// The same as [`list_entries`](Self::list_entries).
    pub fn iter(&self) -> Entries {
        self.list_entries()
    }

    /// How many entries there are, also expired ones that were not cleaned up yet. Kept, not counted.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed).
    pub fn len(&self) -> Result<u64> {
        Ok(self.engine()?.store().index().totals()?.entries)
    }

    /// Whether there is no entry at all.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed).
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// What the cache holds and how it was used. Costs the same however much it holds.
    ///
    /// # Errors
    /// [`Metadata`](ErrorKind::Metadata), [`Closed`](ErrorKind::Closed).
    pub fn get_stats(&self) -> Result<Stats> {
        self.engine()?.stats()
    }
}

impl IntoIterator for &Cache {
    type Item = Result<Entry>;
    type IntoIter = Entries;

    fn into_iter(self) -> Entries {
        self.list_entries()
    }
}

/// The hash that a name in listings stands for.
pub(super) fn hash_of(cache_key: &str) -> Result<u64> {
    let is_name = cache_key.len() == 16 && cache_key.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(cache_key, 16).ok().filter(|_| is_name).ok_or_else(|| {
        let shown: String = cache_key.chars().take(32).collect();
        let message = format!("{shown:?} is no name of an entry: those are the 16 hex digits that a key prints as");
        CacheError::new(ErrorKind::InvalidArgument, message)
    })
}
