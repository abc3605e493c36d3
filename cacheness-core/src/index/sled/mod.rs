//! The default index: sled, fast and not trusted.
//!
//! One flipped bit can make sled panic or forget keys in silence, and what it has not flushed is gone after a kill. So
//! every record carries its own checksum, every call is shielded against panics, and flushing is ours, [down to the disk](disk);
//! what was acknowledged since the last flush is [kept](pending). After a clean close a [marker](marker) tells at the next open
//! whether the files are still those that were closed; if not, what is [proven](proof) to be current is
//! [carried over](salvage) into a new database.

mod chunks;
mod counts;
mod disk;
mod files;
mod marker;
mod open;
mod orders;
mod pending;
mod proof;
mod rebuilding;
mod rewrite;
mod room;
mod rows;
mod salvage;
mod saved;
mod shield;
#[cfg(test)]
mod tests;
mod uses;
mod walk;

use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use sled::Tree;

use self::counts::Counts;
use self::disk::Disk;
use self::orders::{Facts, Orders, Tables};
use self::pending::Pending;
use self::proof::Known;
use self::rewrite::Rewriting;
use self::room::{Change, Room};
use self::shield::shielded;
use self::uses::Uses;
use self::walk::ByUse;
use super::{Group, MetadataBackend, Record, Totals};
use crate::clock::Timestamp;
use crate::entry::IndexKey;
use crate::error::{CacheError, ErrorKind, Result};
use crate::security::Signing;

pub(crate) use open::Health;
pub(crate) use proof::Proof;

/// Keys share so many turns.
const TURNS: usize = 64;

/// Where the index lies and how much memory its pages may take.
#[derive(Clone, Debug)]
pub(crate) struct SledOptions {
    /// The cache directory: the database is its `index`, the marker lies beside it.
    pub root: PathBuf,
    pub page_cache_bytes: u64,
    /// By which records are believed.
    pub signing: Arc<Signing>,
}

/// The index in a sled database. One process owns it, by the lock on the cache directory.
#[derive(Debug)]
pub(crate) struct SledIndex {
    options: SledOptions,
    slot: RwLock<Slot>,
    room: Room,
    last_reopening: Mutex<Option<Instant>>,
    orders: Orders,
    uses: Uses,
    counts: Counts,
    pending: Pending,
    rewriting: Rewriting,
    /// What is known of the index that this one was made of.
    known: Mutex<Known>,
    /// There may be blobs that no record names: it is not marked as closed then, so that the next opening looks for them.
    doubts_blobs: AtomicBool,
    /// Changes of one key go one after the other, record, counts and orders together: the rows of a put that were made
    /// before those of the removal it followed would be taken out, and the entry could no more be evicted or cleared.
    turns: [Mutex<()>; TURNS],
}

#[derive(Debug)]
struct Slot {
    /// `None` once closed, and while the database cannot be opened.
    trees: Option<Trees>,
    /// How often the database was replaced: of two threads that met one error, one replaces it.
    generation: u64,
    closed: bool,
    /// The files are damaged, and what can be believed of them is still to be carried over.
    damaged: bool,
}

#[derive(Debug)]
struct Trees {
    db: sled::Db,
    entries: Tree,
    disk: Disk,
    signing: Arc<Signing>,
}

/// A database with what is known of all its records.
#[derive(Debug)]
struct Contents {
    trees: Trees,
    totals: Totals,
    tables: Tables,
}

impl SledIndex {
    /// Tells every record that is written or removed from now on.
    #[cfg(test)]
    pub(crate) fn watch(&self) -> sled::Subscriber {
        self.slot().trees.as_ref().expect("open").entries.watch_prefix([])
    }

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
    fn change<R>(&self, kind: Change, key: &IndexKey, step: impl FnOnce(&Trees) -> sled::Result<R>) -> Result<R> {
        self.room.check(kind, &self.options.root)?;
        if self.pending.is_full() {
            self.flush()?;
        }
        let _turn = self.turn(key.hash());
        // After an error the change may be in all the same, and nobody is told whose blob has lost its record by it.
        self.with("write the index", step).inspect_err(|error| {
            if !error.is_closed() {
                self.doubt_blobs();
            }
        })
    }

    /// The record that a change took out. One that cannot be read has a blob of which the name is not known.
    fn taken_out(&self, trees: &Trees, key: &IndexKey, bytes: &[u8]) -> Option<Record> {
        trees.record(key, bytes).inspect_err(|_| self.doubt_blobs()).ok()
    }

    /// Lets every copy of a record rot on the disk, and sled panic on it.
    #[cfg(test)]
    pub(crate) fn break_down(&self, lost: &IndexKey) {
        self.flush().unwrap();
        let db = self.options.root.join("index/db");
        let mut bytes = std::fs::read(&db).unwrap();
        let len = lost.as_bytes().len();
        for at in 0..=bytes.len() - len {
            if bytes[at..].starts_with(lost.as_bytes()) {
                bytes[at] ^= 1;
            }
        }
        let broken = self.with("break down", |_| -> sled::Result<()> {
            std::fs::write(&db, bytes)?;
            panic!("as sled does on rot")
        });
        assert!(broken.is_err());
    }

    fn turn(&self, hash: u64) -> MutexGuard<'_, ()> {
        self.turns[hash as usize % TURNS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records of all keys with this hash; damaged ones are passed over.
    fn records_of_hash(trees: &Trees, hash: u64) -> sled::Result<Vec<(IndexKey, Record)>> {
        let mut found = Vec::new();
        for row in trees.entries.scan_prefix(hash.to_be_bytes()) {
            let (key, bytes) = row?;
            found.extend(trees.whole(&key, &bytes));
        }
        Ok(found)
    }

    /// Keys that are listed because their records are signed.
    fn believed_keys(&self, after: Option<&IndexKey>, limit: usize) -> Result<Vec<IndexKey>> {
        let (mut keys, mut after) = (Vec::new(), after.cloned());
        while keys.len() < limit {
            let page = self.scan(after.as_ref(), limit - keys.len())?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            keys.extend(page.into_iter().filter(|(_, record)| record.is_believed()).map(|(key, _)| key));
        }
        Ok(keys)
    }

    /// Follows a record that took the place of another, or of none.
    fn note_put(&self, key: &IndexKey, previous: Option<&Record>, record: &Record, facts: &Facts) {
        self.note_change(key, Some(record));
        self.counts.put(previous, record);
        let before = previous.and_then(|previous| Facts::of(previous).ok());
        self.orders.change(key.hash(), before.as_ref(), Some(facts));
        if before.is_some_and(|before| before.created_at != facts.created_at) {
            self.uses.forget(key.hash());
        }
    }

    fn note_change(&self, key: &IndexKey, record: Option<&Record>) {
        self.pending.note(key, record);
        self.rewriting.note(key, record);
    }

    fn note_removal(&self, key: &IndexKey, removed: &Record) {
        self.note_change(key, None);
        self.counts.removed(removed);
        self.orders.change(key.hash(), Facts::of(removed).ok().as_ref(), None);
        self.uses.forget(key.hash());
    }
}

impl Trees {
    fn record(&self, key: &IndexKey, bytes: &[u8]) -> Result<Record> {
        Record::from_stored(key, bytes.to_vec(), &self.signing)
    }

    /// A record whose bytes are what was written under this key.
    fn whole(&self, key: &[u8], bytes: &[u8]) -> Option<(IndexKey, Record)> {
        let key = IndexKey::from_stored(key).ok()?;
        let record = self.record(&key, bytes).ok()?;
        Some((key, record))
    }
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
            Some(bytes) => Record::from_stored(key, bytes.to_vec(), &self.options.signing).map(Some),
            None => Ok(None),
        }
    }

    fn of_keys(&self, keys: &[IndexKey]) -> Result<Vec<(IndexKey, Record)>> {
        self.with("read the index", |trees| {
            let mut found = Vec::new();
            for key in keys {
                let bytes = trees.entries.get(key.as_bytes())?;
                found.extend(bytes.and_then(|bytes| trees.whole(key.as_bytes(), &bytes)));
            }
            Ok(found)
        })
    }

    fn with_hash(&self, hash: u64) -> Result<Vec<(IndexKey, Record)>> {
        self.with("read the index", |trees| Self::records_of_hash(trees, hash))
    }

    fn put(&self, key: &IndexKey, record: &Record) -> Result<Option<Record>> {
        let facts = Facts::of(record)?;
        self.change(Change::More, key, |trees| {
            let previous = trees.entries.insert(key.as_bytes(), record.as_bytes())?;
            let previous = previous.and_then(|bytes| self.taken_out(trees, key, &bytes));
            self.note_put(key, previous.as_ref(), record, &facts);
            Ok(previous)
        })
    }

    fn put_new(&self, key: &IndexKey, record: &Record) -> Result<bool> {
        let facts = Facts::of(record)?;
        self.change(Change::More, key, |trees| {
            let swapped = trees.entries.compare_and_swap(key.as_bytes(), None::<&[u8]>, Some(record.as_bytes()))?;
            if swapped.is_ok() {
                self.note_put(key, None, record, &facts);
            }
            Ok(swapped.is_ok())
        })
    }

    fn remove(&self, key: &IndexKey) -> Result<Option<Record>> {
        self.change(Change::Less, key, |trees| {
            let removed = trees.entries.remove(key.as_bytes())?;
            let removed = removed.and_then(|bytes| self.taken_out(trees, key, &bytes));
            match &removed {
                Some(record) => self.note_removal(key, record),
                // A damaged one may have gone.
                None => self.note_change(key, None),
            }
            Ok(removed)
        })
    }

    fn remove_expected(&self, key: &IndexKey, expected: &Record) -> Result<bool> {
        self.change(Change::Less, key, |trees| {
            let swapped = trees.entries.compare_and_swap(key.as_bytes(), Some(expected.as_bytes()), None::<&[u8]>)?;
            if swapped.is_ok() {
                self.note_removal(key, expected);
            }
            Ok(swapped.is_ok())
        })
    }

    fn remove_damaged(&self, key: &IndexKey) -> Result<bool> {
        self.change(Change::Less, key, |trees| {
            let Some(bytes) = trees.entries.get(key.as_bytes())? else { return Ok(false) };
            if trees.record(key, &bytes).is_ok() {
                return Ok(false);
            }
            trees.entries.remove(key.as_bytes())?;
            self.doubt_blobs();
            self.note_change(key, None);
            Ok(true)
        })
    }

    fn replace_expected(&self, key: &IndexKey, expected: &Record, record: &Record) -> Result<bool> {
        let facts = Facts::of(record)?;
        self.change(Change::More, key, |trees| {
            let (before, after) = (Some(expected.as_bytes()), Some(record.as_bytes()));
            let swapped = trees.entries.compare_and_swap(key.as_bytes(), before, after)?;
            if swapped.is_ok() {
                self.note_put(key, Some(expected), record, &facts);
            }
            Ok(swapped.is_ok())
        })
    }

    fn accessed(&self, key: &IndexKey, at: Timestamp) {
        self.uses.note(key.hash(), at);
    }

    fn last_access(&self, key: &IndexKey) -> Result<Option<Timestamp>> {
        self.with("read the index", |_| Ok(self.uses.last(key.hash())))
    }

    fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.with("read the index by expiry", |trees| walk::expired(trees, &self.orders, now, limit))
    }

    fn least_recently_used(&self, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        let doing = "read the index by last access";
        self.with(doing, |_| Ok(()))?;
        let (mut walk, mut found) = (ByUse::default(), Vec::new());
        while found.len() < limit {
            let Some(row) = walk.next(&self.orders) else { break };
            let _turn = self.turn(row.1);
            if !walk.moves(&self.orders, &self.uses, row) {
                found.extend(self.with(doing, |trees| ByUse::due(trees, &self.orders, row))?);
            }
        }
        Ok(found)
    }

    fn newest(&self, after: Option<(Timestamp, &IndexKey)>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.with("read the index by creation", |trees| walk::newest(trees, &self.orders, after, limit))
    }

    fn creation_bounds(&self) -> Result<Option<(Timestamp, Timestamp)>> {
        // From memory: statistics are to cost the same however many entries there are.
        self.with("read the index by creation", |_| Ok(self.orders.lock().by_creation.bounds()))
            .map(|bounds| bounds.map(|(oldest, newest)| (oldest.0, newest.0)))
    }

    fn group(&self, group: Group, after: Option<&IndexKey>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.with("read the index by group", |trees| walk::group(trees, &self.orders, group, after, limit))
    }

    fn scan(&self, after: Option<&IndexKey>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        let start = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_bytes()));
        self.with("read the index", |trees| {
            let rows = trees.entries.range::<&[u8], _>((start, Bound::Unbounded));
            let mut found = Vec::new();
            for row in rows {
                let (key, bytes) = row?;
                found.extend(trees.whole(&key, &bytes));
                if found.len() >= limit {
                    break;
                }
            }
            Ok(found)
        })
    }

    fn keys(&self, after: Option<&IndexKey>, limit: usize) -> Result<Vec<IndexKey>> {
        if self.options.signing.is_on() {
            return self.believed_keys(after, limit);
        }
        let start = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_bytes()));
        self.with("read the index", |trees| {
            let mut keys = Vec::new();
            for key in trees.entries.range::<&[u8], _>((start, Bound::Unbounded)).keys() {
                keys.extend(IndexKey::from_stored(&key?).ok());
                if keys.len() >= limit {
                    break;
                }
            }
            Ok(keys)
        })
    }

    fn totals(&self) -> Totals {
        self.counts.totals()
    }

    fn footprint(&self, record: &Record) -> u64 {
        counts::footprint(record)
    }

    fn replacements(&self) -> u64 {
        self.slot().generation
    }

    fn doubt_blobs(&self) {
        self.doubts_blobs.store(true, Ordering::SeqCst);
    }

    fn give_back_room(&self, go_on: &dyn Fn() -> bool) -> Result<()> {
        self.rewrite_if_dead(go_on)
    }

    fn flush(&self) -> Result<()> {
        let last = self.pending.last();
        self.with("flush the index", |trees| trees.flush())?;
        self.pending.flushed(last);
        self.save_uses(Uses::append);
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.shut()
    }
}
