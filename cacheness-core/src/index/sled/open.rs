//! Opening, rebuilding in place, and closing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::disk::Room;
use super::disk::{self, Disk};
use super::disk::{clear_places, index_dir, is_of_files, lacks_log, storage};
use super::marker::Marker;
use super::orders::{Counts, Sums};
use super::orders::{Gathering, Orders, Placed, Tables};
use super::pending::{self, Pending};
use super::rewrite::{self, Rewriting};
use super::salvage::Rebuilding;
use super::salvage::{Known, Proof};
use super::saved;
use super::saved::{States, Uses};
use super::shielded;
use super::{Contents, SledIndex, SledOptions, Slot, TURNS, Trees, check_not_forked, salvage, unusable};
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::{Record, remove, shown};
use crate::storage::vfs::RealVfs;
use crate::storage::vfs::root::{HeldLock, lock_root, locked};
use crate::util::emit;

/// Memory for pages of an index that is opened without a cache.
const ALONE_PAGES: u64 = 64 << 20;

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

impl SledIndex {
    /// Opens the index in a cache directory whose lock the caller holds, or makes it.
    ///
    /// # Errors
    /// [`Metadata`](ErrorKind::Metadata) or [`Storage`](ErrorKind::Storage) if the directory cannot be written.
    /// Damage is not an error.
    pub(crate) fn open(options: SledOptions) -> Result<(Self, Health)> {
        check_threads()?;
        check_not_forked()?;
        tell_what_sled_logs();
        let root = options.root.clone();
        let index = index_dir(&root);
        let in_use = |error| storage(&root, "cannot take the index into use", error);
        disk::take_back(&root, &index).map_err(in_use)?;
        // Before anything is touched: somebody uses it who has lost the lock of the directory.
        if !disk::is_released_soon(&index) {
            return Err(locked(&shown(&root), std::io::ErrorKind::WouldBlock.into()));
        }
        let room = Room::of_process(&index)?;
        rewrite::settle(&root).map_err(in_use)?;
        let rebuilding = Rebuilding::read(&root);
        clear_places(&root).map_err(in_use)?;
        let (marker, of_files) = (Marker::read(&root), is_of_files(&index));
        let untouched = of_files && marker.as_ref().is_some_and(|marker| marker.fits(&index));
        if untouched {
            Marker::remove(&root).map_err(in_use)?;
        }
        let acknowledged = Pending::of_journal(&root).map_err(in_use)?;
        let mut known = Known::default();
        let salvaged = |known: &mut Known| {
            *known = Known::of(&root, marker.as_ref());
            salvage::carry_over(&options, known.proof.as_ref(), &acknowledged).map(damaged)
        };
        let found = match &marker {
            // sled would take the part of an index for a whole one.
            _ if matches!(rebuilding, Rebuilding::Damaged | Rebuilding::Aside) => salvaged(&mut known),
            Some(marker) if untouched => open_marked(&options, marker),
            Some(_) => salvaged(&mut known),
            None if !of_files || lacks_log(&index) => salvaged(&mut known),
            None if index.exists() => open_unmarked(&options, &acknowledged).map(|found| (found, Health::Unclean)),
            None => Rebuilding::begin(&root).and_then(|()| Trees::open(&options)).map(|trees| {
                let contents = Contents { trees, sums: Sums::default(), tables: Tables::default() };
                (contents, Health::New)
            }),
        };
        let (contents, health) = match found {
            Err(error) if error.is_integrity() => {
                if let Some(marker) = &marker {
                    marker.write(&root).map_err(in_use)?;
                }
                salvaged(&mut known)?
            }
            found => found?,
        };
        let health = if rebuilding == Rebuilding::No { health } else { Health::Damaged };
        if acknowledged.count() > 0 {
            shielded("flush the index", || contents.trees.flush())?;
        }
        pending::remove_journal(&root).map_err(in_use)?;
        Ok((Self::over(contents, known, options, room), health))
    }

    fn over(contents: Contents, known: Known, options: SledOptions, room: Room) -> Self {
        let Contents { trees, sums, tables } = contents;
        let uses = Uses::read(&options.root, tables.by_creation.iter().map(|(_, hash)| hash));
        Self {
            options,
            slot: RwLock::new(Slot { trees: Some(trees), generation: 0, closed: false, damaged: false }),
            room,
            last_reopening: Mutex::new(None),
            orders: Orders::of(tables.place(&uses)),
            uses,
            states: States::default(),
            counts: Counts::of(sums),
            pending: Pending::default(),
            known: Mutex::new(known),
            rewriting: Rewriting::default(),
            doubts_blobs: AtomicBool::new(false),
            turns: [const { Mutex::new(()) }; TURNS],
            alone: HeldLock::default(),
        }
    }

    /// [`open`](Self::open) for nobody else: takes the lock of the directory. Blobs are left as they are.
    ///
    /// # Errors
    /// [`Locked`](ErrorKind::Locked) if somebody has it; as [`open`](Self::open).
    pub(crate) fn open_alone(dir: &Path) -> Result<Self> {
        let held = lock_root(&RealVfs::new(), dir)?;
        let options = SledOptions { root: dir.to_path_buf(), page_cache_bytes: ALONE_PAGES, signing: Arc::default() };
        let (index, health) = Self::open(options)?;
        if health != Health::Damaged {
            index.begin_use(health == Health::New)?;
        }
        Ok(Self { alone: HeldLock::of(held), ..index })
    }

    /// Lets what is acknowledged from now on survive a kill of this process, where others rely on it.
    pub(crate) fn keep_journal(&self) {
        self.pending.keep_journal(&self.options.root);
    }

    /// Whether there is such an index in a cache directory.
    pub(crate) fn is_at(root: &Path) -> bool {
        index_dir(root).exists()
    }

    /// Takes the index into use, now that it agrees with its blobs: what was known of the one before proves nothing about
    /// records that are written from now on. Unless all blobs without a record have been taken up or removed, the next
    /// opening looks at them again.
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage).
    pub(crate) fn begin_use(&self, all_blobs: bool) -> Result<()> {
        let root = &self.options.root;
        Marker::remove(root).map_err(|error| storage(root, "cannot take the index into use", error))?;
        saved::remove(root);
        if all_blobs { Rebuilding::No.note(root) } else { Ok(()) }
    }

    /// What proves the entries of a damaged index, for who brings its blobs together with it. Given once.
    pub(crate) fn take_proof(&self) -> Option<Proof> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).proof.take()
    }

    /// Counts what damage has cost, after all that can be taken up again has been, and tells.
    pub(crate) fn count_losses(&self) {
        let (was_damaged, had) = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            (known.was_damaged, known.entries)
        };
        if was_damaged {
            self.count_loss(had);
        }
    }

    fn count_loss(&self, had: Option<u64>) {
        let has = self.counts.sums().entries;
        let place = shown(&self.options.root);
        let place = place.display();
        match had.map(|had| (had, had.saturating_sub(has))) {
            Some((_, 0)) => {}
            Some((had, lost)) => {
                self.counts.lose(lost);
                emit(&format!("cacheness: the index in {place} was damaged: {lost} of {had} entries are lost"));
            }
            None => emit(&format!(
                "cacheness: the index in {place} was damaged: what cannot be proven to be current is dropped, {has} \
                 entries are left"
            )),
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
        slot.damaged |= error.is_integrity();
        if let Err(error) = self.replace(&mut slot) {
            log::debug!("the index stays unusable for now: {error}");
        }
    }

    /// Puts another database in the place of this one: what can be believed of a damaged one, all of another, and in both
    /// what was acknowledged and is not on the disk. Where that fails the next try knows that the files are damaged.
    fn replace(&self, slot: &mut Slot) -> Result<()> {
        let had = self.counts.sums().entries;
        let broken = slot.trees.take();
        let Contents { trees, sums, tables } = if slot.damaged {
            self.carried_over(broken)?
        } else {
            broken.map_or(Ok(()), |trees| trees.let_go(&index_dir(&self.options.root)))?;
            open_unmarked(&self.options, &self.pending).inspect_err(|error| slot.damaged = error.is_integrity())?
        };
        *slot = Slot { trees: Some(trees), generation: slot.generation + 1, closed: slot.closed, damaged: false };
        self.counts.replace_by(sums);
        self.orders.replace_by(tables.place(&self.uses));
        self.count_loss(Some(had));
        Ok(())
    }

    fn carried_over(&self, broken: Option<Trees>) -> Result<Contents> {
        // Closing a database that panicked may panic or hang; its files are copied away.
        if let Some(trees) = broken {
            disk::give_up(trees.disk.index());
            std::mem::forget(trees);
        }
        let proof = Proof(std::mem::take(&mut self.orders.lock().by_creation));
        let carried = salvage::carry_over(&self.options, Some(&proof), &self.pending);
        if carried.is_err() {
            self.orders.lock().by_creation = proof.0;
        }
        carried
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
        let _alone = self.rewriting.end();
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        let has_all = slot.trees.is_none() && !slot.damaged && self.pending.count() == 0;
        if std::mem::replace(&mut slot.closed, true) || has_all {
            self.alone.release();
            return Ok(());
        }
        let closed = self.let_go(&mut slot);
        self.alone.release();
        closed
    }

    fn let_go(&self, slot: &mut Slot) -> Result<()> {
        let trees = self.flushed(slot).map_err(|error| self.unwritten(error))?;
        let root = &self.options.root;
        self.pending.end_journal();
        pending::remove_journal(root).map_err(|error| storage(root, "cannot close the index", error))?;
        trees.let_go(&index_dir(root))?;
        self.save_uses(Uses::save);
        let tables = std::mem::take(&mut *self.orders.lock());
        if self.doubts_blobs.load(Ordering::SeqCst) {
            return Ok(());
        }
        saved::write(root, &tables)
            .and_then(|orders| Marker::of(&index_dir(root), self.counts.sums(), orders))
            .and_then(|marker| marker.write(root))
            .map_err(|error| storage(root, "cannot mark the index as closed", error))
    }

    /// A database with everything on the disk. One that cannot write is opened anew once: sled repeats an error for ever,
    /// and the disk perhaps does not.
    fn flushed(&self, slot: &mut Slot) -> Result<Trees> {
        let flush = |trees: &Trees| shielded("flush the index", || trees.flush());
        let flushed = slot.trees.as_ref().map(flush);
        if !matches!(flushed, Some(Ok(()))) {
            slot.damaged |= flushed.is_some_and(|flushed| flushed.is_err_and(|error| error.is_integrity()));
            self.replace(slot)?;
            slot.trees.as_ref().map_or(Ok(()), flush)?;
        }
        slot.trees.take().ok_or_else(|| unusable("close the index"))
    }

    /// Says how much that was acknowledged an error has cost.
    fn unwritten(&self, error: CacheError) -> CacheError {
        match self.pending.count() {
            0 => error,
            count => {
                let message = format!("{error}; {count} changes that were acknowledged are not on the disk");
                CacheError::caused_by(error.kind(), message, error)
            }
        }
    }

    /// Without its uses an index evicts less wisely: no reason for an error.
    pub(super) fn save_uses(&self, save: impl FnOnce(&Uses, &Path) -> std::io::Result<()>) {
        if let Err(error) = save(&self.uses, &self.options.root) {
            log::debug!("when entries were used is not saved: {error}");
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
    let saved = if options.signing.is_on() || !marker.has_current_sums() {
        None
    } else {
        saved::read(&options.root, marker.orders)
    };
    let contents = match saved {
        Some(tables) => Contents { trees, sums: marker.sums, tables },
        None => take_stock(trees)?,
    };
    Ok((contents, Health::Clean))
}

/// Opens an index whose last user did not close it, and makes the changes in it that it may lack.
fn open_unmarked(options: &SledOptions, pending: &Pending) -> Result<Contents> {
    let index = index_dir(&options.root);
    // The settings are ours and always the same: sled writes them anew, and damaged ones would keep it from opening.
    remove(&index.join("conf")).map_err(|error| storage(&index, "cannot open the index", error))?;
    let trees = match Trees::open(options) {
        // The log alone says everything that a snapshot does, in more time.
        Err(error) if error.is_integrity() && disk::drop_damaged_snapshots(&index) => Trees::open(options)?,
        opened => opened?,
    };
    pending.repeat_in(&trees)?;
    take_stock(trees)
}

impl Known {
    /// What the marker of a clean close, and the orders that were saved with it, tell of a database that differs now.
    fn of(root: &Path, marker: Option<&Marker>) -> Self {
        let proof = marker.and_then(|marker| saved::read(root, marker.orders)).map(|tables| Proof(tables.by_creation));
        Self { was_damaged: true, proof, entries: marker.map(|marker| marker.sums.entries) }
    }
}

/// Looks at every record: counts and orders are taken from those that are whole, others are removed.
pub(super) fn take_stock(trees: Trees) -> Result<Contents> {
    let (mut sums, mut gathering) = (Sums::default(), Gathering::default());
    shielded("read the index", || {
        for row in trees.entries.iter() {
            let (key, bytes) = row?;
            let whole = trees.whole(&key, &bytes).filter(|(_, record)| trees.may_stay(record));
            match whole.and_then(|(key, record)| Some((key, record.facts().ok()?))) {
                Some((key, facts)) => {
                    let row = Placed::of(&bytes, &facts);
                    sums.entries += 1;
                    // A record may tell any size. Wrapped like the counters, so that its removal takes it back.
                    sums.bytes = sums.bytes.wrapping_add(row.footprint());
                    sums.records += row.len;
                    gathering.add(key.hash(), &row);
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
        rewrite::settle(&options.root).map_err(|error| storage(&options.root, "cannot open the index", error))?;
        Self::open_at(&index_dir(&options.root), options)
    }

    pub(super) fn open_at(index: &Path, options: &SledOptions) -> Result<Self> {
        let prepared = disk::take_back(&options.root, index).and_then(|()| disk::settle(index));
        prepared.map_err(|error| storage(index, "cannot open the index", error))?;
        disk::wait_until_released(index);
        let config = sled::Config::new().path(index).cache_capacity(options.page_cache_bytes).flush_every_ms(None);
        shielded("open the index", || {
            let db = disk::open_released(&config, index)?;
            let (disk, signing) = (Disk::of(index)?, Arc::clone(&options.signing));
            Ok(Self { entries: db.open_tree("entries")?, db, disk, signing })
        })
    }

    /// Brings everything that was written to the disk.
    pub(super) fn flush(&self) -> sled::Result<()> {
        self.db.flush()?;
        Ok(self.disk.sync()?)
    }

    /// Closes the database in this directory; its files change no more afterwards.
    pub(super) fn let_go(self, index: &Path) -> Result<()> {
        shielded("close the index", || {
            drop(self);
            Ok(())
        })?;
        if disk::is_given_up(index) {
            return disk::wait_until_still(index).map_err(|error| storage(index, "cannot close the index", error));
        }
        disk::wait_until_released(index);
        Ok(())
    }

    /// Whether a record is kept when all are looked at.
    fn may_stay(&self, record: &Record) -> bool {
        record.distrust().is_none_or(|why| self.signing.keeps(why))
    }
}

/// sled shows keys and records when it traces what it does, and no library can keep that from a logger that wants it.
fn tell_what_sled_logs() {
    static ONCE: Once = Once::new();
    if log::log_enabled!(target: "sled::pagecache", log::Level::Trace) {
        ONCE.call_once(|| {
            emit(
                "cacheness: the logger takes what `sled`, which keeps the index, says at level TRACE: arguments and the bytes of \
                 small values will be in the log. Leave that target out (`sled=warn`)",
            );
        });
    }
}

/// sled leaves its writes to threads of its own; where it gets none, it waits for them for ever.
fn check_threads() -> Result<()> {
    let started = std::thread::Builder::new().name("cacheness-check".to_owned()).spawn(|| ());
    let thread = started.map_err(|error| {
        CacheError::caused_by(ErrorKind::Storage, "cannot start a thread, which an index on disk needs", error)
    })?;
    // It does nothing that could panic.
    let _ = thread.join();
    Ok(())
}

/// sled syncs once more when it is dropped, and panics where that fails. So a database whose sync has failed is not
/// dropped, nor is any where a panic would end the process; it is [given up](disk::give_up) instead.
impl Drop for Trees {
    fn drop(&mut self) {
        if cfg!(panic = "abort") || self.disk.has_failed() {
            disk::give_up(self.disk.index());
            // What has one more owner is not dropped.
            std::mem::forget((self.db.clone(), self.entries.clone()));
        }
    }
}
