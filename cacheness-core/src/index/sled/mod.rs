//! The default index: sled, fast and not trusted.
//!
//! One flipped bit can make sled panic or forget keys in silence, and what it has not flushed is gone after a kill. So
//! every record carries its own checksum, every call is shielded against panics, and flushing is ours, [down to the disk](disk);
//! what was acknowledged since the last flush is [kept](rewrite). After a clean close a [marker](marker) tells at the next open
//! whether the files are still those that were closed; if not, what is [proven](Proof) to be current is
//! [carried over](salvage) into a new database.

mod backend;
mod disk;
mod marker;
mod open;
mod orders;
mod pending;
mod rewrite;
mod salvage;
mod saved;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use sled::Tree;

use self::disk::{Change, Disk, Room};
use self::orders::{Counts, Orders, Placed, Sums, Tables};
use self::pending::Pending;
use self::rewrite::Rewriting;
use self::salvage::Known;
use self::saved::{States, Uses};
use super::Record;
use super::backend::{Facts, MetadataBackend};
use crate::entry::IndexKey;
use crate::error::{CacheError, ErrorKind, Result};
use crate::security::Signing;
use crate::storage::vfs::root::HeldLock;
use crate::util::process::Origin;
use crate::util::threads::caught;

pub(crate) use open::Health;
pub(in crate::index) use orders::footprint;
pub(crate) use salvage::Proof;

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
    states: States,
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
    /// Of the directory, where no cache holds it.
    alone: HeldLock,
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
    sums: Sums,
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
    /// disk has room again. The step fails either way; where an earlier one has left no database, it waits for a new one.
    fn with<R>(&self, doing: &str, step: impl FnOnce(&Trees) -> sled::Result<R>) -> Result<R> {
        let ran = match &*self.slot() {
            Slot { trees: Some(trees), generation, .. } => Ok((shielded(doing, || step(trees)), *generation)),
            Slot { closed: true, .. } => return Err(closed()),
            Slot { generation, .. } => Err((step, *generation)),
        };
        match ran {
            Ok((outcome, generation)) => outcome.inspect_err(|error| self.replace_after(error, generation)),
            Err((step, generation)) => self.with_reopened(doing, generation, step),
        }
    }

    #[cold]
    fn with_reopened<R>(
        &self,
        doing: &str,
        generation: u64,
        step: impl FnOnce(&Trees) -> sled::Result<R>,
    ) -> Result<R> {
        self.replace_after(&unusable(doing), generation);
        match &*self.slot() {
            Slot { trees: Some(trees), .. } => shielded(doing, || step(trees)),
            Slot { closed: true, .. } => Err(closed()),
            _ => Err(unusable(doing)),
        }
    }

    /// Changes the record of a key, and notes what follows from it while nobody can close or replace the database.
    fn change<R>(&self, kind: Change, key: &IndexKey, step: impl FnOnce(&Trees) -> sled::Result<R>) -> Result<R> {
        self.room.check(kind, &self.options.root)?;
        if self.pending.is_full() {
            self.flush()?;
        }
        // After an error the change may be in all the same, and nobody is told whose blob has lost its record by it.
        let changed = {
            let _turn = self.turn(key.hash());
            self.with("write the index", step).inspect_err(|error| {
                if !error.is_closed() {
                    self.doubt_blobs();
                }
            })
        }?;
        if self.pending.must_be_flushed() {
            self.flush()?;
        }
        Ok(changed)
    }

    /// The facts of a row that a change took out. One that cannot be read has a blob of which the name is not known.
    fn facts_of_gone(&self, trees: &Trees, key: &IndexKey, bytes: &[u8]) -> Option<Facts> {
        let facts = trees.record(key, bytes).and_then(|record| record.facts());
        facts.inspect_err(|_| self.doubt_blobs()).ok()
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

    /// Follows a row that took the place of another, or of none.
    fn note_put(&self, key: &IndexKey, previous: Option<&Placed<'_>>, bytes: &[u8], facts: &Facts) {
        let row = Placed::of(bytes, facts);
        self.note_change(key, Some(bytes));
        previous.iter().for_each(|previous| self.counts.removed(previous));
        self.counts.added(&row);
        self.orders.change(key.hash(), previous, Some(&row));
        if previous.is_some_and(|previous| previous.facts.created_at != facts.created_at) {
            self.uses.forget(key.hash());
        }
    }

    fn note_change(&self, key: &IndexKey, bytes: Option<&[u8]>) {
        self.pending.note(key, bytes);
        self.rewriting.note(key, bytes);
    }

    fn note_removal(&self, key: &IndexKey, removed: Option<&Placed<'_>>) {
        self.note_change(key, None);
        // A damaged one may have gone.
        let Some(removed) = removed else { return };
        self.counts.removed(removed);
        self.orders.change(key.hash(), Some(removed), None);
        self.uses.forget(key.hash());
    }
}

impl Trees {
    fn record(&self, key: &IndexKey, bytes: &[u8]) -> Result<Record> {
        Record::from_stored(key, bytes.to_vec(), &self.signing)
    }

    /// The rows of all keys with this hash; damaged ones are passed over.
    fn of_hash(&self, hash: u64) -> sled::Result<Vec<(IndexKey, Record)>> {
        let mut found = Vec::new();
        for row in self.entries.scan_prefix(hash.to_be_bytes()) {
            let (key, bytes) = row?;
            found.extend(self.whole(&key, &bytes));
        }
        Ok(found)
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

/// Runs a step of sled. Its panics, and every error that tells of its files and not of the system, become
/// [`Integrity`](ErrorKind::Integrity): the index is damaged. Other errors become [`Metadata`](ErrorKind::Metadata).
///
/// Unwind safety: after a panic the database is replaced and never used again.
fn shielded<R>(doing: &str, step: impl FnOnce() -> sled::Result<R>) -> Result<R> {
    match caught(step) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if is_of_the_files(&error) => Err(damaged(doing, error)),
        Ok(Err(error)) => Err(CacheError::caused_by(ErrorKind::Metadata, format!("cannot {doing}: {error}"), error)),
        Err(says) => Err(damaged(doing, says)),
    }
}

/// sled is used in one way alone: what it does not support, or has no name for, is what it reads from its files.
fn is_of_the_files(error: &sled::Error) -> bool {
    match error {
        sled::Error::Io(error) => !is_of_the_system(error),
        _ => true,
    }
}

/// Whether an error may be gone the next time without anybody touching the files.
fn is_of_the_system(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    match error.kind() {
        // A file that ends too early, is none, is not there or makes no sense.
        Kind::UnexpectedEof | Kind::InvalidData | Kind::NotFound | Kind::IsADirectory | Kind::NotADirectory => false,
        Kind::InvalidInput | Kind::AlreadyExists | Kind::NotSeekable => false,
        _ => true,
    }
}

fn damaged(doing: &str, cause: impl Into<Box<dyn Error + Send + Sync>>) -> CacheError {
    CacheError::caused_by(ErrorKind::Integrity, format!("cannot {doing}: the index is damaged"), cause)
}

/// sled has one pool of threads for all databases of a process. A forked child has its parent's, without the threads, and would
/// wait for them for ever.
fn check_not_forked() -> Result<()> {
    static FIRST: OnceLock<Origin> = OnceLock::new();
    if FIRST.get_or_init(Origin::here).is_here() {
        return Ok(());
    }
    let message = "this process was forked from one that had an index of `sled` open, and cannot have one itself: start another \
                   program, or choose the metadata backend `sqlite`";
    Err(CacheError::new(ErrorKind::Locked, message))
}
