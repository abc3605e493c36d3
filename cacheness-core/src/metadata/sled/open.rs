//! Opening, rebuilding in place, and closing.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use super::marker::Marker;
use super::rows::{self, Rows};
use super::shield::shielded;
use super::sums::Sums;
use super::{SledIndex, SledOptions, Slot, TURNS, Trees, believed, salvage};
use crate::error::{CacheError, ErrorKind, Result};

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
    /// Its last user did not close it; every record was checked and its rows made anew.
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
            Some(marker) if untouched => {
                Trees::open(&options).map(|trees| (trees, Sums::restore(&marker.buckets, marker.totals), Health::Clean))
            }
            Some(marker) => salvage::carry_over(&options, Some(&marker.buckets)).map(damaged),
            None if index.exists() => open_unmarked(&options),
            None => begin_rebuilding(&root)
                .and_then(|()| Trees::open(&options))
                .map(|trees| (trees, Sums::new(), Health::New)),
        };
        let (trees, sums, health) = match found {
            Err(error) if error.is_integrity() => salvage::carry_over(&options, None).map(damaged)?,
            found => found?,
        };
        let health = if interrupted { Health::Damaged } else { health };
        let index = Self {
            options,
            slot: RwLock::new(Slot { trees: Some(trees), generation: 0, closed: false }),
            last_reopening: Mutex::new(None),
            rows: Rows::default(),
            sums,
            turns: [const { Mutex::new(()) }; TURNS],
        };
        Ok((index, health))
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
            Ok((trees, sums)) => {
                self.sums.replace_by(&sums);
                self.rows.start_anew();
                slot.trees = Some(trees);
                slot.generation += 1;
            }
            Err(error) => log::debug!("the index stays unusable for now: {error}"),
        }
    }

    /// What takes the place of a database: what can be believed of a damaged one, all of another.
    fn replacement(&self, broken: Option<Trees>, damaged: bool) -> Result<(Trees, Sums)> {
        if damaged {
            // Closing a database that panicked may panic or hang; its files are copied away.
            std::mem::forget(broken);
            return salvage::carry_over(&self.options, Some(&self.sums.buckets()));
        }
        shielded("close the index", || {
            drop(broken);
            Ok(())
        })?;
        open_unmarked(&self.options).map(|(trees, sums, _)| (trees, sums))
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
        shielded("bring the index rows up to date", || self.rows.apply(&trees))?;
        shielded("flush the index", || trees.db.flush())?;
        shielded("close the index", || {
            drop(trees);
            Ok(())
        })?;
        wait_until_released(&index_dir(&self.options.root));
        if !self.rows.are_complete() {
            return Ok(());
        }
        let root = &self.options.root;
        let marker = Marker::of(&index_dir(root), self.sums.totals(), self.sums.buckets());
        marker
            .and_then(|marker| marker.write(root))
            .map_err(|error| storage(root, "cannot mark the index as closed", error))
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

fn damaged((trees, sums): (Trees, Sums)) -> (Trees, Sums, Health) {
    (trees, sums, Health::Damaged)
}

/// Opens an index whose last user did not close it: counts and sums are taken from the records, rows are made anew.
fn open_unmarked(options: &SledOptions) -> Result<(Trees, Sums, Health)> {
    let trees = Trees::open(options)?;
    let sums = Sums::new();
    shielded("read the index", || {
        for tree in [&trees.by_access, &trees.by_creation, &trees.by_expiry, &trees.by_group] {
            tree.clear()?;
        }
        for row in trees.entries.iter() {
            let (key, bytes) = row?;
            match believed(&key, &bytes) {
                Some((key, record)) => {
                    sums.put(&key, None, &record);
                    if let Ok(facts) = rows::Facts::of(&record) {
                        rows::insert_rows(&trees, key.hash(), &facts)?;
                    }
                }
                None => drop(trees.entries.remove(key)?),
            }
        }
        Ok(())
    })?;
    Ok((trees, sums, Health::Unclean))
}

impl Trees {
    pub(super) fn open(options: &SledOptions) -> Result<Self> {
        Self::open_at(&index_dir(&options.root), options.page_cache_bytes)
    }

    pub(super) fn open_at(index: &Path, page_cache_bytes: u64) -> Result<Self> {
        wait_until_released(index);
        let config = sled::Config::new().path(index).cache_capacity(page_cache_bytes).flush_every_ms(None);
        shielded("open the index", || {
            let db = config.open()?;
            Ok(Self {
                entries: db.open_tree("entries")?,
                by_expiry: db.open_tree("by_expiry")?,
                by_access: db.open_tree("by_access")?,
                by_creation: db.open_tree("by_creation")?,
                by_group: db.open_tree("by_group")?,
                last_access: db.open_tree("last_access")?,
                db,
            })
        })
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
