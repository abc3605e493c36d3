//! The default index: sled, fast and not trusted.
//!
//! One flipped bit can make sled panic or forget keys in silence, and what it has not flushed is gone after a kill. So
//! every record carries its own checksum, every call is shielded against panics, a sum over all records tells which of
//! them may be believed after damage, and flushing is ours. After a clean close a [marker](marker) tells at the next
//! open whether the files are still those that were closed; if not, what can be believed is carried over into a new
//! database.

mod marker;
mod open;
mod rows;
mod salvage;
mod shield;
mod sums;
#[cfg(test)]
mod tests;

use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use sled::Tree;

use self::rows::Rows;
use self::shield::shielded;
use self::sums::Sums;
use super::{Group, MetadataBackend, Record, Totals};
use crate::clock::Timestamp;
use crate::entry::IndexKey;
use crate::error::{CacheError, ErrorKind, Result};

pub(crate) use open::Health;

/// Keys share so many turns.
const TURNS: usize = 64;

/// Where the index lies and how much memory its pages may take.
#[derive(Clone, Debug)]
pub(crate) struct SledOptions {
    /// The cache directory: the database is its `index`, the marker lies beside it.
    pub root: PathBuf,
    pub page_cache_bytes: u64,
}

/// The index in a sled database. One process owns it, by the lock on the cache directory.
#[derive(Debug)]
pub(crate) struct SledIndex {
    options: SledOptions,
    slot: RwLock<Slot>,
    last_reopening: Mutex<Option<Instant>>,
    rows: Rows,
    sums: Sums,
    /// Changes of one key go one after the other, record, sums and rows together: the rows of a put that were noted
    /// before those of the removal it followed would be dropped, and the entry could no more be evicted or cleared.
    turns: [Mutex<()>; TURNS],
}

#[derive(Debug)]
struct Slot {
    /// `None` once closed, and while the database cannot be opened.
    trees: Option<Trees>,
    /// How often the database was replaced: of two threads that met one error, one replaces it.
    generation: u64,
    closed: bool,
}

#[derive(Debug)]
struct Trees {
    db: sled::Db,
    entries: Tree,
    by_expiry: Tree,
    by_access: Tree,
    by_creation: Tree,
    by_group: Tree,
    last_access: Tree,
}

impl SledIndex {
    fn slot(&self) -> RwLockReadGuard<'_, Slot> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one step on the database. A panic in it is taken for damage: the database is rebuilt from what can be
    /// believed. After another error it is opened anew, since sled would repeat the first one for ever, also when the
    /// disk has room again. The step fails either way.
    fn with<R>(&self, doing: &str, step: impl FnOnce(&Trees) -> sled::Result<R>) -> Result<R> {
        let (outcome, generation) = match &*self.slot() {
            Slot { trees: Some(trees), generation, .. } => (shielded(doing, || step(trees)), *generation),
            Slot { closed: true, .. } => return Err(closed()),
            Slot { generation, .. } => (Err(unusable(doing)), *generation),
        };
        if let Err(error) = &outcome {
            self.replace_after(error, generation);
        }
        outcome
    }

    /// Changes the record of a key, and notes what follows from it while nobody can close or replace the database.
    fn change<R>(&self, key: &IndexKey, step: impl FnOnce(&Trees) -> sled::Result<R>) -> Result<R> {
        let turn = &self.turns[key.hash() as usize % TURNS];
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.with("write the index", step)
    }

    /// Brings the ordered rows up to date with the records.
    fn settle(&self) -> Result<()> {
        self.with("bring the index rows up to date", |trees| self.rows.apply(trees))
    }

    /// The records of all keys with this hash; damaged ones are passed over.
    fn records_of_hash(trees: &Trees, hash: u64) -> sled::Result<Vec<(IndexKey, Record)>> {
        let mut found = Vec::new();
        for row in trees.entries.scan_prefix(hash.to_be_bytes()) {
            let (key, bytes) = row?;
            found.extend(believed(&key, &bytes));
        }
        Ok(found)
    }

    fn remove_row(&self, key: &IndexKey, removed: &Record) {
        self.sums.removed(key, removed);
        self.rows.removed(key, removed);
    }
}

/// A record whose bytes are what was written under this key.
fn believed(key: &[u8], bytes: &[u8]) -> Option<(IndexKey, Record)> {
    let key = IndexKey::from_stored(key).ok()?;
    let record = Record::from_stored(&key, bytes.to_vec()).ok()?;
    Some((key, record))
}

fn unusable(doing: &str) -> CacheError {
    CacheError::new(ErrorKind::Metadata, format!("cannot {doing}: the index could not be opened again after an error"))
}

fn closed() -> CacheError {
    CacheError::new(ErrorKind::Closed, "the cache is closed")
}

impl MetadataBackend for SledIndex {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn get(&self, key: &IndexKey) -> Result<Option<Record>> {
        match self.with("read the index", |trees| trees.entries.get(key.as_bytes()))? {
            Some(bytes) => Record::from_stored(key, bytes.to_vec()).map(Some),
            None => Ok(None),
        }
    }

    fn with_hash(&self, hash: u64) -> Result<Vec<(IndexKey, Record)>> {
        self.with("read the index", |trees| Self::records_of_hash(trees, hash))
    }

    fn put(&self, key: &IndexKey, record: &Record) -> Result<Option<Record>> {
        let facts = rows::Facts::of(record)?;
        self.change(key, |trees| {
            let previous = trees.entries.insert(key.as_bytes(), record.as_bytes())?;
            let previous = previous.and_then(|bytes| Record::from_stored(key, bytes.to_vec()).ok());
            self.sums.put(key, previous.as_ref(), record);
            self.rows.put(key, previous.as_ref(), facts);
            Ok(previous)
        })
    }

    fn remove(&self, key: &IndexKey) -> Result<Option<Record>> {
        self.change(key, |trees| {
            let removed = trees.entries.remove(key.as_bytes())?;
            let removed = removed.and_then(|bytes| Record::from_stored(key, bytes.to_vec()).ok());
            removed.iter().for_each(|record| self.remove_row(key, record));
            Ok(removed)
        })
    }

    fn remove_expected(&self, key: &IndexKey, expected: &Record) -> Result<bool> {
        self.change(key, |trees| {
            let swapped = trees.entries.compare_and_swap(key.as_bytes(), Some(expected.as_bytes()), None::<&[u8]>)?;
            if swapped.is_ok() {
                self.remove_row(key, expected);
            }
            Ok(swapped.is_ok())
        })
    }

    fn replace_expected(&self, key: &IndexKey, expected: &Record, record: &Record) -> Result<bool> {
        let facts = rows::Facts::of(record)?;
        self.change(key, |trees| {
            let (before, after) = (Some(expected.as_bytes()), Some(record.as_bytes()));
            let swapped = trees.entries.compare_and_swap(key.as_bytes(), before, after)?;
            if swapped.is_ok() {
                self.sums.put(key, Some(expected), record);
                self.rows.put(key, Some(expected), facts);
            }
            Ok(swapped.is_ok())
        })
    }

    fn accessed(&self, key: &IndexKey, at: Timestamp) {
        self.rows.accessed(key.hash(), at);
    }

    fn last_access(&self, key: &IndexKey) -> Result<Option<Timestamp>> {
        self.with("read the index", |trees| self.rows.last_access(trees, key.hash()))
    }

    fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.settle()?;
        self.with("read the index by expiry", |trees| rows::expired(trees, now, limit))
    }

    fn least_recently_used(&self, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.settle()?;
        self.with("read the index by last access", |trees| self.rows.least_recently_used(trees, limit))
    }

    fn newest(&self, after: Option<(Timestamp, &IndexKey)>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.settle()?;
        self.with("read the index by creation", |trees| rows::newest(trees, after, limit))
    }

    fn creation_bounds(&self) -> Result<Option<(Timestamp, Timestamp)>> {
        self.settle()?;
        self.with("read the index by creation", rows::creation_bounds)
    }

    fn group(&self, group: Group, after: Option<&IndexKey>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.settle()?;
        self.with("read the index by group", |trees| rows::group(trees, group, after, limit))
    }

    fn scan(&self, after: Option<&IndexKey>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        let start = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_bytes()));
        self.with("read the index", |trees| {
            let rows = trees.entries.range::<&[u8], _>((start, Bound::Unbounded));
            let mut found = Vec::new();
            for row in rows {
                let (key, bytes) = row?;
                found.extend(believed(&key, &bytes));
                if found.len() >= limit {
                    break;
                }
            }
            Ok(found)
        })
    }

    fn totals(&self) -> Totals {
        self.sums.totals()
    }

    fn flush(&self) -> Result<()> {
        self.settle()?;
        self.with("flush the index", |trees| trees.db.flush()).map(drop)
    }

    fn close(&self) -> Result<()> {
        self.shut()
    }
}
