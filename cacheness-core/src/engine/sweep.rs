//! Blobs that no row names: those that a change has left, and the sweep, where machines share rows and blobs.
//!
//! A process that is killed between a blob and its row leaves the blob, and a Redis may let go of rows on its own. A cache on
//! one machine looks for such blobs when it is opened; here nobody is ever alone with them, so one process at a time looks
//! for those that are old.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::Store;
use super::index::Index;
use super::opened::Opened;
use super::recover::{forget_referenced, is_left_over};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::Limits;
use crate::entry::IndexKey;
use crate::error::{CacheError, Result};
use crate::format::Rules;
use crate::index::Record;
use crate::index::backend::{MetadataBackend, Swap};
use crate::security::Signing;
use crate::storage::BlobName;
use crate::storage::blob::{BlobBackend, BlobInfo};
use crate::util::digest::unique_name;
use crate::util::threads::lock;

/// Between two sweeps, of all processes together.
const BETWEEN: Duration = Duration::from_secs(60 * 60);
/// A blob without a row that is older has none to come: clocks differ by less, and no put takes so long from the one to the
/// other. If one does, its value is a miss.
const OLD: Duration = Duration::from_secs(10 * 60);
/// Where the rows say when somebody began to sweep: microseconds since 1970, and a name of that very change.
const STATE: &str = "cacheness.swept";
/// So many blobs are looked for at once, so that a large bucket takes no more memory than a small one.
const AT_ONCE: usize = 64 << 10;
const PAGE: usize = 1000;

/// Sweeps now and then.
#[derive(Debug)]
pub(super) struct Sweep {
    limits: Limits,
    signing: Arc<Signing>,
    /// When this process last looked whether it is time.
    looked: Mutex<Option<Instant>>,
}

impl Sweep {
    pub(super) fn new(limits: Limits, signing: Arc<Signing>) -> Arc<Self> {
        Arc::new(Self { limits, signing, looked: Mutex::default() })
    }

    /// Sweeps on a thread of its own if it is time and nobody else does. No call waits for that.
    pub(super) fn begin_if_due(self: &Arc<Self>, index: &Arc<Index>, blobs: &Arc<dyn BlobBackend>) {
        {
            let mut looked = lock(&self.looked);
            if looked.is_some_and(|at| at.elapsed() < BETWEEN) {
                return;
            }
            *looked = Some(Instant::now());
        }
        let (sweep, index, blobs) = (Arc::clone(self), Arc::clone(index), Arc::clone(blobs));
        let work = move || {
            let rules = Rules { limits: &sweep.limits, signing: &sweep.signing };
            let now = SystemClock.now();
            let swept = claim(index.backend(), now).and_then(|claim| match claim {
                Some(claim) => run(&index, &*blobs, rules, now, &|| claim.holds(&index)),
                None => Ok(0),
            });
            match swept {
                Ok(0) => {}
                Ok(removed) => log::debug!("{removed} blobs that no row named were removed"),
                Err(error) => log::debug!("blobs that no row names stay for now: {error}"),
            }
        };
        // Without a thread it is the turn of another process.
        let _started = thread::Builder::new().name("cacheness-sweep".to_owned()).spawn(work);
    }
}

/// The turn of this process to sweep, and the rows by whose word it does so.
#[derive(Debug)]
struct Claim {
    state: Vec<u8>,
    epoch: u64,
}

impl Claim {
    /// Whether these are still the rows that were asked: others, such as those of an empty server in the place of theirs, name
    /// none of the blobs.
    ///
    /// # Errors
    /// Those of the backend.
    fn holds(&self, index: &Index) -> Result<bool> {
        let there = index.backend().state(STATE, None)?;
        Ok(there.as_ref() == Some(&self.state) && index.backend().epoch() == self.epoch)
    }
}

/// Claims the turn to sweep, if it is time.
///
/// # Errors
/// Those of the backend.
fn claim(rows: &dyn MetadataBackend, now: Timestamp) -> Result<Option<Claim>> {
    let epoch = rows.epoch();
    let there = rows.state(STATE, None)?;
    let began = there.as_deref().and_then(|text| std::str::from_utf8(text).ok()?.split(' ').next()?.parse().ok());
    let began = began.map(Timestamp::from_micros);
    // A time to come is that of a wrong clock.
    let is_due = began.is_none_or(|began| now.since(began) >= BETWEEN || began.since(now) >= BETWEEN);
    if !is_due {
        return Ok(None);
    }
    let state = format!("{} {}", now.as_micros(), unique_name()).into_bytes();
    let swap = Swap { expected: there.as_deref(), new: Some(&state) };
    let is_mine = rows.state(STATE, Some(swap))?.as_ref() == Some(&state);
    // Rows that say nothing may be those of an empty server that stands in for another one, whose rows name the blobs.
    Ok((is_mine && began.is_some()).then_some(Claim { state, epoch }))
}

/// Removes old blobs that no row names; returns how many.
///
/// # Errors
/// Those of rows and blobs.
fn run(
    index: &Index,
    blobs: &dyn BlobBackend,
    rules: Rules<'_>,
    now: Timestamp,
    holds: &dyn Fn() -> Result<bool>,
) -> Result<u64> {
    let (mut after, mut removed): (Option<BlobName>, u64) = (None, 0);
    let is_old = |blob: &BlobInfo| blob.written_at.is_some_and(|at| now.since(at) >= OLD);
    loop {
        let mut names = HashSet::new();
        while names.len() < AT_ONCE {
            let page = blobs.page(after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            names.extend(page.into_iter().filter(is_old).map(|blob| blob.name));
        }
        if names.is_empty() {
            return Ok(removed);
        }
        if forget_referenced(index, &mut names)? {
            // Any of them may be that of a record of a newer release.
            return Ok(removed);
        }
        let left: Vec<_> = names.into_iter().filter(|name| is_left_over(blobs, name, rules)).collect();
        for some in left.chunks(PAGE) {
            if !holds()? {
                return Ok(removed);
            }
            blobs.remove_many(some)?;
            removed += some.len() as u64;
        }
    }
}

// Blobs whose end is near: those of values that were replaced, and those whose commit has an unknown outcome.
//
// A replaced value stays until the record of the new one is on the disk, so that a process that is killed before has
// lost the new value alone. A blob of which nobody knows whether a record names it stays until the index can tell.

/// Blobs that one call removes from a place that is a round trip away.
const REMOVED_AT_ONCE: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Retired {
    replaced: Mutex<Replaced>,
    doubtful: Mutex<Vec<(IndexKey, BlobName)>>,
}

#[derive(Debug, Default)]
struct Replaced {
    names: Vec<BlobName>,
    /// The index is closed and on the disk: nothing more is waited for, and nobody comes to look.
    closed: bool,
}

impl Retired {
    pub(super) fn add(&self, blobs: &dyn BlobBackend, name: BlobName) {
        let mut replaced = lock(&self.replaced);
        if !replaced.closed {
            return replaced.names.push(name);
        }
        drop(replaced);
        if let Err(error) = blobs.remove(&name) {
            log::debug!("cannot remove blob {name} of a closed store: {error}");
        }
    }

    /// Whether there are blobs that no record names and that are still there.
    pub(super) fn has_any(&self) -> bool {
        !lock(&self.replaced).names.is_empty()
    }

    /// Removes what calls beside the close have retired, and from now on at once: the index is closed, and every record
    /// that it took is on the disk.
    pub(super) fn close(&self, blobs: &dyn BlobBackend) {
        let names = {
            let mut replaced = lock(&self.replaced);
            replaced.closed = true;
            std::mem::take(&mut replaced.names)
        };
        names.into_iter().for_each(|name| self.add(blobs, name));
    }

    /// Notes a blob that the record of this key may name or not: the index failed when it was to say.
    pub(super) fn doubt(&self, key: &IndexKey, name: BlobName) {
        lock(&self.doubtful).push((key.clone(), name));
    }

    pub(super) fn has_doubts(&self) -> bool {
        !lock(&self.doubtful).is_empty()
    }

    /// Runs `flush`, and then removes what was retired before. Also after an error: on a disk that is full, these may be
    /// what takes the room. What was doubtful before a flush that succeeded is looked up.
    pub(super) fn after(
        &self,
        index: &Index,
        blobs: &dyn BlobBackend,
        flush: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let names = std::mem::take(&mut lock(&self.replaced).names);
        let doubtful = std::mem::take(&mut *lock(&self.doubtful));
        let flushed = flush();
        self.remove_all(blobs, &names);
        for (key, name) in doubtful {
            if index.is_on_a_server() {
                // A change whose answer did not come may be made later, and name it.
                continue;
            }
            // As long as nothing succeeds, the record may still turn up in a database that is opened anew.
            match flushed.as_ref().ok().map(|()| index.get(&key)) {
                Some(Ok(record)) if record.as_ref().and_then(|record| record.blob()).as_ref() == Some(&name) => {}
                Some(Ok(_)) => self.remove(blobs, &name),
                Some(Err(_)) | None => self.doubt(&key, name),
            }
        }
        flushed
    }

    fn remove_all(&self, blobs: &dyn BlobBackend, names: &[BlobName]) {
        if !blobs.is_remote() {
            return names.iter().for_each(|name| self.remove(blobs, name));
        }
        for some in names.chunks(REMOVED_AT_ONCE) {
            if let Err(error) = blobs.remove_many(some) {
                log::debug!("cannot remove {} blobs now: {error}", some.len());
                some.iter().for_each(|name| self.add(blobs, name.clone()));
            }
        }
    }

    fn remove(&self, blobs: &dyn BlobBackend, name: &BlobName) {
        if let Err(error) = blobs.remove(name) {
            log::debug!("cannot remove blob {name} now: {error}");
            self.add(blobs, name.clone());
        }
    }
}

impl Store {
    /// The end of the blob that a put replaced: when the record of the new value is on the disk.
    pub(super) fn retire(&self, key: &IndexKey, replaced: Option<&Record>) {
        match (replaced.and_then(|record| self.own_blob(key, record)), &self.flusher) {
            (Some(name), Some(_)) => self.retired.add(&*self.blobs, name),
            (Some(name), None) => self.discard(&name),
            (None, _) => {}
        }
    }

    /// The blob of a record, to go with it. A record that is not believed names whatever its writer liked: its blob goes
    /// with it only if that says it belongs to the key.
    pub(crate) fn own_blob(&self, key: &IndexKey, record: &Record) -> Option<BlobName> {
        let name = record.blob()?;
        let owned = record.is_believed() || Opened::owner(&*self.blobs, &name, self.limits()).as_ref() == Some(key);
        owned.then_some(name)
    }

    /// The end of a blob when what is in the index is on the disk.
    pub(crate) fn retire_blob(&self, name: &BlobName) {
        self.retired.add(&*self.blobs, name.clone());
    }

    /// The end of a blob whose record is out of the index, while the disk may not have heard of it. Where the store was
    /// closed meanwhile, it has, as soon as the close has succeeded.
    pub(super) fn unsettled(&self, key: &IndexKey, gone: Option<&Record>, error: &CacheError) {
        if !error.is_closed() {
            return self.doubt_blob_of(key, gone);
        }
        gone.and_then(|record| self.own_blob(key, record)).iter().for_each(|name| self.retire_blob(name));
    }

    /// After an error of the index, a record may be in it or not: its blob stays until that is known.
    pub(crate) fn doubt_blob_of(&self, key: &IndexKey, record: Option<&Record>) {
        if let Some(name) = record.and_then(|record| self.own_blob(key, record)) {
            self.retired.doubt(key, name);
            self.flusher.iter().for_each(|flusher| flusher.wake());
        }
    }

    /// Removes a blob that no record names. If it can't be removed now, that is tried again with later ones.
    pub(crate) fn discard(&self, name: &BlobName) {
        // A call does not wait for round trips that make no difference to it.
        if self.blobs.is_remote() && self.flusher.is_some() {
            return self.retire_blob(name);
        }
        if let Err(error) = self.blobs.remove(name) {
            log::debug!("cannot remove blob {name}: {error}");
            self.retired.add(&*self.blobs, name.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CacheConfig, CacheStorageConfig, Durability};
    use crate::engine::{Store, prepare};
    use crate::entry::sample;
    use crate::index::MemoryMetadata;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(i64::try_from(micros).unwrap())
    }

    #[test]
    fn one_process_sweeps_and_not_again_for_a_while_nor_just_after_rows_have_begun() {
        let rows = MemoryMetadata::new();
        let hour = u64::try_from(BETWEEN.as_micros()).unwrap();
        let claim = |rows: &MemoryMetadata, now| claim(rows, now).map(|claim| claim.is_some());
        assert!(!claim(&rows, at(hour)).unwrap(), "rows that say nothing may be those of another server");
        assert!(!claim(&rows, at(2 * hour - 1)).unwrap());
        assert!(claim(&rows, at(2 * hour)).unwrap());
        assert!(!claim(&rows, at(2 * hour)).unwrap(), "somebody has begun");
        assert!(claim(&rows, at(3 * hour)).unwrap());
        assert!(claim(&rows, at(hour)).unwrap(), "a clock was far ahead");
    }

    #[test]
    fn old_blobs_without_a_row_go_and_all_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let config = CacheConfig {
            storage: CacheStorageConfig { inline_bytes: 0, ..Default::default() },
            ..CacheConfig::new(dir.path())
        };
        let store = Store::open(prepare(dir.path()).unwrap(), &config).unwrap();
        let (entry, key) = (sample::entry("kept"), sample::entry("kept").key);
        store.put(entry, vec![1u8; 100], u64::MAX, None).unwrap();
        let name = BlobName::unique();
        store.blobs.write(&name, &[b"of nobody"], Durability::Interval).unwrap();
        let sweep = |after: Duration| {
            run(&store.index, &*store.blobs, store.rules(), SystemClock.now().after(after), &|| Ok(after < OLD * 3))
                .unwrap()
        };
        assert_eq!(sweep(Duration::ZERO), 0, "its row may be about to come");
        assert_eq!(sweep(OLD * 3), 0, "these are not the rows that were asked");
        assert_eq!(sweep(OLD * 2), 1);
        assert_eq!(sweep(OLD * 2), 0);
        let mut found = store.find(&key).unwrap().unwrap();
        assert!(store.load(&key, &mut found, |_| None).unwrap().is_some());
        assert!(store.blobs.open(&name).unwrap().is_none());
    }
}
