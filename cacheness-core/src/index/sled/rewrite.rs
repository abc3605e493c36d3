//! Writing the index anew when most of its files is dead.
//!
//! sled gives little room back: after a clear, or where entries come and go, its file stays many times as long as what is
//! in it. So a new database of the live records is built beside it, in `index.next`, while the old one answers. What is
//! changed meanwhile is noted and repeated. At the end, with nobody in the index, the two change places:
//!
//! | a crash leaves | the next opening |
//! |---|---|
//! | `index`, perhaps `index.next` or `index.old` | takes `index` and removes the others |
//! | no `index`, but `index.old` | takes that: nothing was acknowledged since it was put aside |

use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use super::disk::{index_dir, storage};
use super::orders::MOST_TIMES;
use super::pending::Pending;
use super::{SledIndex, Trees, shielded};
use crate::entry::IndexKey;
use crate::error::Result;
use crate::index::remove;

type Page = Vec<(sled::IVec, sled::IVec)>;

/// Less than any record has.
const LEAST_RECORD: u64 = 128;
/// Below this there is nothing to gain.
const SMALLEST: u64 = 2 << 20;
/// Records that are copied while nobody can close or replace the database.
const PAGE: usize = 256;
/// As many changes may be left for the moment in which nobody else is in the index.
const FEW: usize = 256;
/// The length of the files is asked for after so many changes, or after as many as there are entries.
const EVERY: u64 = 1000;
/// So often is tried to come down to few changes, before the next try is left for later.
const MOST_ROUNDS: usize = 16;
/// After each try in vain the pause before the next doubles, so many times at most.
const MOST_DOUBLINGS: u32 = 10;

#[derive(Debug, Default)]
pub(super) struct Rewriting {
    alone: Mutex<()>,
    /// What is changed while a new database is built.
    changed: RwLock<Option<Pending>>,
    /// Whether the bytes of the records are known.
    counted: AtomicBool,
    /// The number of the last change when the length was asked for.
    looked_at: AtomicU64,
    /// How many tries one after the other were in vain.
    failures: AtomicU32,
    /// Set by a close, which waits for the end.
    ending: AtomicBool,
}

impl Rewriting {
    pub(super) fn note(&self, key: &IndexKey, row: Option<&[u8]>) {
        if let Some(changed) = &*self.changed.read().unwrap_or_else(PoisonError::into_inner) {
            changed.note(key, row);
        }
    }

    /// Waits until nobody writes the index anew, and lets nobody begin.
    pub(super) fn end(&self) -> MutexGuard<'_, ()> {
        self.ending.store(true, Ordering::SeqCst);
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pause(&self, entries: u64) -> u64 {
        EVERY.min(entries + 1) << self.failures.load(Ordering::Relaxed).min(MOST_DOUBLINGS)
    }

    fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Begins to note changes, or ends it; what was noted until now.
    fn noting(&self, begins: bool) -> Pending {
        let mut changed = self.changed.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *changed, begins.then(Pending::default)).unwrap_or_default()
    }
}

fn next(root: &Path) -> PathBuf {
    root.join("index.next")
}

fn old(root: &Path) -> PathBuf {
    root.join("index.old")
}

/// Ends or undoes what a crash interrupted. Before a database is opened.
pub(super) fn settle(root: &Path) -> std::io::Result<()> {
    let is_dir = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    if !index_dir(root).exists() && is_dir(&old(root)) {
        fs::rename(old(root), index_dir(root))?;
    }
    remove(&next(root))?;
    remove(&old(root))
}

/// Bytes of all files in a directory.
fn len_of(dir: &Path) -> u64 {
    let Ok(items) = fs::read_dir(dir) else { return 0 };
    let len = |item: fs::DirEntry| match item.metadata() {
        Ok(found) if found.is_dir() => len_of(&item.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    items.flatten().map(len).sum()
}

impl SledIndex {
    /// Writes the index anew if about half of its files or more is dead.
    ///
    /// Asks often whether it may go on, with no lock held that a flush takes.
    pub(super) fn rewrite_if_dead(&self, go_on: &dyn Fn() -> bool) -> Result<()> {
        // A database that is not dropped would keep the files that are to go until the process ends.
        if cfg!(panic = "abort") {
            return Ok(());
        }
        let go_on = &|| !self.rewriting.ending.load(Ordering::SeqCst) && go_on();
        let Ok(_alone) = self.rewriting.alone.try_lock() else { return Ok(()) };
        let (last, entries) = (self.pending.last(), self.counts.sums().entries);
        if last - self.rewriting.looked_at.load(Ordering::Relaxed) < self.rewriting.pause(entries) {
            return Ok(());
        }
        self.rewriting.looked_at.store(last, Ordering::Relaxed);
        let len = len_of(&index_dir(&self.options.root));
        let is_enough_for = |records: u64| len <= MOST_TIMES * records + SMALLEST;
        if is_enough_for(entries * LEAST_RECORD) || self.bytes_of_records(go_on)?.is_none_or(is_enough_for) {
            return Ok(());
        }
        self.rewriting.count_failure();
        let rewritten = self.build_next(go_on).and_then(|built| match built {
            Some((next, generation)) => self.change_places(next, generation),
            None => Ok(()),
        });
        self.rewriting.noting(false);
        // The pause begins at the end.
        self.rewriting.looked_at.store(self.pending.last(), Ordering::Relaxed);
        let left_over = self.remove_left_over();
        rewritten.and(left_over)
    }

    fn remove_left_over(&self) -> Result<()> {
        let root = &self.options.root;
        let removed = remove(&next(root)).and_then(|()| match index_dir(root).exists() {
            true => remove(&old(root)),
            // It is the index, which `settle` brings back.
            false => Ok(()),
        });
        removed.map_err(|error| storage(root, "cannot remove what is left of an index", error))
    }

    /// The marker of a clean close does not tell it: then all records are looked at, once.
    /// `None` if the database was closed or replaced meanwhile, or it may not go on.
    fn bytes_of_records(&self, go_on: &dyn Fn() -> bool) -> Result<Option<u64>> {
        if !self.rewriting.counted.load(Ordering::Relaxed) {
            let (generation, mut bytes) = (self.slot().generation, 0);
            let mut after: Option<sled::IVec> = None;
            loop {
                let Some(page) = self.page_behind(after.as_ref(), generation)?.filter(|_| go_on()) else {
                    return Ok(None);
                };
                bytes += page.iter().map(|(_, record)| record.len() as u64).sum::<u64>();
                match page.into_iter().next_back() {
                    Some((last, _)) => after = Some(last),
                    None => break,
                }
            }
            self.counts.set_records(bytes);
            self.rewriting.counted.store(true, Ordering::Relaxed);
        }
        Ok(Some(self.counts.sums().records))
    }

    /// A database with all live records, and which one it is made of. `None` if that was closed or
    /// replaced meanwhile, it may not go on, or so much is changed that it would have no end.
    fn build_next(&self, go_on: &dyn Fn() -> bool) -> Result<Option<(Trees, u64)>> {
        let dir = next(&self.options.root);
        remove(&dir).map_err(|error| storage(&dir, "cannot write the index anew", error))?;
        let next = Trees::open_at(&dir, &self.options)?;
        let generation = self.slot().generation;
        match self.copy_into(&next, generation, go_on) {
            Ok(true) => Ok(Some((next, generation))),
            ended => {
                let gone = next.let_go(&dir);
                ended.and(gone).map(|()| None)
            }
        }
    }

    /// Copies all live records; says whether that came to an end.
    fn copy_into(&self, next: &Trees, generation: u64, go_on: &dyn Fn() -> bool) -> Result<bool> {
        self.rewriting.noting(true);
        let (mut after, mut rounds): (Option<sled::IVec>, _) = (None, 0);
        while let Some(page) = self.page_behind(after.as_ref(), generation)?.filter(|_| go_on()) {
            shielded("write the index anew", || {
                page.iter().try_for_each(|(key, record)| next.entries.insert(key, record).map(drop))
            })?;
            // Behind the copy: what it copied may be older than what was noted.
            let changes = self.repeat_changes(next)?;
            rounds += usize::from(page.len() < PAGE);
            match page.last() {
                _ if rounds > MOST_ROUNDS => break,
                Some((last, _)) => after = Some(last.clone()),
                None if changes > FEW => {}
                None => {
                    shielded("write the index anew", || next.flush())?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The next records as they are stored; `None` if the database is another one by now.
    fn page_behind(&self, after: Option<&sled::IVec>, generation: u64) -> Result<Option<Page>> {
        let slot = self.slot();
        let Some(trees) = slot.trees.as_ref().filter(|_| slot.generation == generation) else { return Ok(None) };
        let start = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_ref()));
        let rows = || trees.entries.range::<&[u8], _>((start, Bound::Unbounded)).take(PAGE).collect();
        shielded("read the index", rows).map(Some)
    }

    /// Makes the changes in the new database that came since the last time; says how many there were.
    fn repeat_changes(&self, next: &Trees) -> Result<usize> {
        let changes = self.rewriting.noting(true);
        changes.repeat_in(next)?;
        Ok(changes.count())
    }

    /// Puts the new database in the place of the old one, while nobody is in the index.
    fn change_places(&self, built: Trees, generation: u64) -> Result<()> {
        let root = &self.options.root;
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if slot.closed || slot.generation != generation {
            return built.let_go(&next(root));
        }
        self.repeat_changes(&built)?;
        shielded("write the index anew", || built.flush())?;
        built.let_go(&next(root))?;
        // From here on, whatever fails leaves what `settle` brings in order when the next call opens the database.
        slot.trees.take().map_or(Ok(()), |trees| trees.let_go(&index_dir(root)))?;
        let moved = fs::rename(index_dir(root), old(root)).and_then(|()| fs::rename(next(root), index_dir(root)));
        moved.map_err(|error| storage(root, "cannot write the index anew", error))?;
        slot.trees = Some(Trees::open_at(&index_dir(root), &self.options)?);
        self.rewriting.failures.store(0, Ordering::Relaxed);
        Ok(())
    }
}
