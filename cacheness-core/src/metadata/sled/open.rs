//! Opening, rebuilding in place, and closing.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use super::marker::Marker;
use super::orders::{Gathering, Orders, Tables};
use super::saved;
use super::shield::shielded;
use super::sums::Sums;
use super::uses::Uses;
use super::{Contents, SledIndex, SledOptions, Slot, TURNS, Trees, salvage};
use crate::entry::IndexKey;
use crate::error::{CacheError, ErrorKind, Result};
use crate::metadata::Record;

/// How long the threads of a closed database may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

const BETWEEN_REOPENINGS: Duration = Duration::from_secs(2);

/// In what state an index was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// There was none.
    New,
    /// It was closed in order and nothing has touched it since.
    Clean,
    /// Its last user did not close it; every record was checked and their orders made anew.
    Unclean,
    /// It was damaged; what can be believed was carried over into a new one.
    Damaged,
}

pub(super) fn index_dir(root: &Path) -> std::path::PathBuf {
    root.join("index")
}

/// There while an index is made of what is left of another: blobs without a record are not rubbish then.
pub(super) fn begin_rebuilding(root: &Path) -> Result<()> {
    fs::write(rebuilding(root), "").map_err(|error| storage(root, "cannot begin to rebuild the index", error))
}

fn rebuilding(root: &Path) -> std::path::PathBuf {
    root.join("index.rebuilding")
}

impl SledIndex {
    /// Opens the index in a cache directory whose lock the caller holds, or makes it.
    ///
    /// # Errors
    /// [`Metadata`](ErrorKind::Metadata) or [`Storage`](ErrorKind::Storage) if the directory cannot be written.
    /// Damage is not an error.
    pub(crate) fn open(options: SledOptions) -> Result<(Self, Health)> {
        let root = options.root.clone();
        let index = index_dir(&root);
        let (marker, interrupted) = (Marker::read(&root), rebuilding(&root).exists());
        let untouched = marker.as_ref().is_some_and(|marker| marker.fits(&index));
        Marker::remove(&root).map_err(|error| storage(&root, "cannot take the index into use", error))?;
        let found = match marker {
            Some(marker) if untouched => open_marked(&options, &marker),
            Some(marker) => salvage::carry_over(&options, Some(&marker.buckets)).map(damaged),
            None if index.exists() => open_unmarked(&options).map(|contents| (contents, Health::Unclean)),
            None => begin_rebuilding(&root)
                .and_then(|()| Trees::open(&options))
                .map(|trees| (Contents { trees, sums: Sums::new(), tables: Tables::default() }, Health::New)),
        };
        let (contents, health) = match found {
            Err(error) if error.is_integrity() => salvage::carry_over(&options, None).map(damaged)?,
            found => found?,
        };
        saved::remove(&root);
        let health = if interrupted { Health::Damaged } else { health };
        Ok((Self::over(contents, options), health))
    }

    fn over(contents: Contents, options: SledOptions) -> Self {
        let Contents { trees, sums, tables } = contents;
        let uses = Uses::read(&options.root, tables.by_creation.iter().map(|(_, hash)| hash));
        Self {
            options,
            slot: RwLock::new(Slot { trees: Some(trees), generation: 0, closed: false }),
            last_reopening: Mutex::new(None),
            orders: Orders::of(tables.place(&uses)),
            uses,
            sums,
            turns: [const { Mutex::new(()) }; TURNS],
        }
    }

    /// Whether there is such an index in a cache directory.
    pub(crate) fn is_at(root: &Path) -> bool {
        index_dir(root).exists()
    }

    /// Says that the blobs without a record have been taken up or removed, which is then not done again.
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage).
    pub(crate) fn rebuilt(&self) -> Result<()> {
        match fs::remove_file(rebuilding(&self.options.root)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(storage(&self.options.root, "cannot end to rebuild the index", error))
            }
            _ => Ok(()),
        }
    }

    /// Replaces the database of this generation after an error in it, unless another thread has done so.
    pub(super) fn replace_after(&self, error: &CacheError, generation: u64) {
        if !error.is_integrity() && !self.may_reopen() {
            return;
        }
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if slot.generation != generation || slot.closed {
            return;
        }
        match self.replacement(slot.trees.take(), error.is_integrity()) {
            Ok(Contents { trees, sums, tables }) => {
                self.sums.replace_by(&sums);
                self.orders.replace_by(tables.place(&self.uses));
                slot.trees = Some(trees);
                slot.generation += 1;
            }
            Err(error) => log::debug!("the index stays unusable for now: {error}"),
        }
    }

    /// What takes the place of a database: what can be believed of a damaged one, all of another.
    fn replacement(&self, broken: Option<Trees>, damaged: bool) -> Result<Contents> {
        if damaged {
            // Closing a database that panicked may panic or hang; its files are copied away.
            std::mem::forget(broken);
            return salvage::carry_over(&self.options, Some(&self.sums.buckets()));
        }
        shielded("close the index", || {
            drop(broken);
            Ok(())
        })?;
        open_unmarked(&self.options)
    }

    /// Opening costs a look at every record: not at every call while a disk stays full.
    fn may_reopen(&self) -> bool {
        let mut last = self.last_reopening.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= BETWEEN_REOPENINGS);
        if due {
            *last = Some(Instant::now());
        }
        due
    }

    /// Writes everything, lets go of the files and leaves the mark of a clean close.
    pub(super) fn shut(&self) -> Result<()> {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        slot.closed = true;
        let Some(trees) = slot.trees.take() else { return Ok(()) };
        shielded("flush the index", || trees.db.flush())?;
        shielded("close the index", || {
            drop(trees);
            Ok(())
        })?;
        let root = &self.options.root;
        wait_until_released(&index_dir(root));
        self.save_uses(Uses::save);
        let tables = std::mem::take(&mut *self.orders.lock());
        // Without signatures they would be believed, and what is not believed belongs to no group here.
        let orders = if self.options.signing.is_on() { Ok(0) } else { saved::write(root, &tables) };
        orders
            .and_then(|orders| Marker::of(&index_dir(root), self.sums.totals(), orders, self.sums.buckets()))
            .and_then(|marker| marker.write(root))
            .map_err(|error| storage(root, "cannot mark the index as closed", error))
    }

    /// Without its uses an index evicts less wisely: no reason for an error.
    pub(super) fn save_uses(&self, save: impl FnOnce(&Uses, &Path) -> std::io::Result<()>) {
        if let Err(error) = save(&self.uses, &self.options.root) {
            log::debug!("when entries were used is not saved: {error}");
        }
    }
}

/// Waits until the last thread of a closed sled has let go of its file: until then the file may still change, and the
/// lock on it is not free.
fn wait_until_released(index: &Path) {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match File::open(index.join("db")).map(|file| file.try_lock()) {
            Ok(Err(TryLockError::WouldBlock)) => thread::sleep(Duration::from_millis(1)),
            _ => return,
        }
    }
}

fn damaged(contents: Contents) -> (Contents, Health) {
    (contents, Health::Damaged)
}

/// Opens an index that is as it was closed. Orders that were not saved, or not with it, are made anew.
fn open_marked(options: &SledOptions, marker: &Marker) -> Result<(Contents, Health)> {
    let trees = Trees::open(options)?;
    // Nobody vouches for orders that were saved, and what was not believed then may be now.
    let saved = if options.signing.is_on() { None } else { saved::read(&options.root, marker.orders) };
    let contents = match saved {
        Some(tables) => Contents { trees, sums: Sums::restore(&marker.buckets, marker.totals), tables },
        None => take_stock(trees, |_, _| true)?,
    };
    Ok((contents, Health::Clean))
}

/// Opens an index whose last user did not close it.
fn open_unmarked(options: &SledOptions) -> Result<Contents> {
    take_stock(Trees::open(options)?, |_, _| true)
}

/// Looks at every record: counts, sums and orders are taken from those that are whole and kept, others are removed.
pub(super) fn take_stock(trees: Trees, keep: impl Fn(&IndexKey, &Record) -> bool) -> Result<Contents> {
    let (sums, mut gathering) = (Sums::new(), Gathering::default());
    shielded("read the index", || {
        for row in trees.entries.iter() {
            let (key, bytes) = row?;
            match trees.whole(&key, &bytes).filter(|(key, record)| trees.may_stay(record) && keep(key, record)) {
                Some((key, record)) => {
                    sums.put(&key, None, &record);
                    gathering.add(key.hash(), &record);
                }
                None => drop(trees.entries.remove(key)?),
            }
        }
        Ok(())
    })?;
    Ok(Contents { trees, sums, tables: gathering.finish() })
}

impl Trees {
    pub(super) fn open(options: &SledOptions) -> Result<Self> {
        Self::open_at(&index_dir(&options.root), options)
    }

    pub(super) fn open_at(index: &Path, options: &SledOptions) -> Result<Self> {
        wait_until_released(index);
        let config = sled::Config::new().path(index).cache_capacity(options.page_cache_bytes).flush_every_ms(None);
        shielded("open the index", || {
            let db = config.open()?;
            Ok(Self { entries: db.open_tree("entries")?, db, signing: Arc::clone(&options.signing) })
        })
    }

    /// Whether a record is kept when all are looked at.
    fn may_stay(&self, record: &Record) -> bool {
        record.is_believed() || self.signing.keeps_distrusted()
    }
}

pub(super) fn storage(path: &Path, doing: &str, error: std::io::Error) -> CacheError {
    CacheError::caused_by(ErrorKind::Storage, format!("{doing} in {}: {error}", path.display()), error)
}

/// Moves a damaged index out of the way, for one who wants to look at it; the one before goes.
pub(super) fn set_aside(root: &Path) -> Result<std::path::PathBuf> {
    let aside = root.join("quarantine").join("index");
    let moved = (|| {
        if aside.exists() {
            fs::remove_dir_all(&aside)?;
        }
        fs::create_dir_all(&aside)?;
        copy_files(&index_dir(root), &aside)?;
        if index_dir(root).exists() {
            fs::remove_dir_all(index_dir(root))?;
        }
        Ok(())
    })();
    moved.map_err(|error| storage(root, "cannot set the damaged index aside", error))?;
    Ok(aside)
}

/// What sled can do without: its settings, which are ours, and a snapshot that spares it reading the log. A damaged one
/// would make the whole log unreadable.
fn is_dispensable(name: &OsStr) -> bool {
    name == "conf" || name.as_encoded_bytes().starts_with(b"snap")
}

/// Copies instead of renaming: a database that was given up may still hold the old files.
fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    for item in fs::read_dir(from)? {
        let item = item?;
        if is_dispensable(&item.file_name()) {
            continue;
        }
        let target = to.join(item.file_name());
        if item.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy_files(&item.path(), &target)?;
        } else if item.file_type()?.is_file() {
            fs::copy(item.path(), target)?;
        }
    }
    Ok(())
}
