//! Removing and renewing entries: by what they have in common, by scans of the index, and by eviction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use super::Cache;
use super::engine::Engine;
use super::entries::hash_of;
use crate::engine::{Lease, Watch};
use crate::entry::policy::{self, Eviction};
use crate::entry::{Entry, IndexKey};
use crate::error::Result;
use crate::index::{Group, Record};
use crate::key::ToKey;
use crate::query::Filter;
use crate::util::emit;
use crate::util::threads::lock;

/// Removing entries.
impl Cache {
    /// Removes the entry of a key; says whether there was one.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn invalidate(&self, key: impl ToKey) -> Result<bool> {
        self.engine()?.store().remove(&self.index_key(key)?)
    }

    /// Removes the entries of several keys; returns how many there were. Where rows are on a server, 64 of them take one round
    /// trip.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate). If a key is at fault, nothing is removed.
    pub fn delete_batch<K: ToKey>(&self, keys: impl IntoIterator<Item = K>) -> Result<u64> {
        let (store, keys) = (self.engine()?.store(), self.all_keys(keys)?);
        let _together = store.index().together();
        store.remove_together(&keys.iter().map(IndexKey::of).collect::<Vec<_>>())
    }

    /// Removes the entry of this name in listings, 16 hex digits; says whether there was one.
    ///
    /// Where several keys share the name, which takes somebody who wants them to, all of them go.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if it is no such name; else as [`clear`](Self::clear).
    pub fn invalidate_by_cache_key(&self, cache_key: &str) -> Result<bool> {
        let store = self.engine()?.store();
        let mut removed = false;
        let _together = store.index().together_with_others();
        for (key, _) in store.index().with_hash(hash_of(cache_key)?)? {
            removed |= store.remove(&key)?;
        }
        Ok(removed)
    }

    /// Removes every entry with this tag; returns how many.
    ///
    /// ```
    /// use cacheness::{Cache, PutOptions};
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// cache.put_with("profile", &1u8, PutOptions::new().tag("user:7"))?;
    /// cache.put_with("orders", &2u8, PutOptions::new().tag("user:7").tag("orders"))?;
    /// assert_eq!(cache.invalidate_tag("user:7")?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub fn invalidate_tag(&self, tag: &str) -> Result<u64> {
        let tagged = |entry: &Entry| entry.tags().iter().any(|other| other == tag);
        self.engine()?.remove_wanted(EntryScan::Of(Group::tag(tag)), tagged)
    }

    /// Removes every entry that was stored under this prefix, exactly; returns how many.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub fn invalidate_prefix(&self, prefix: &str) -> Result<u64> {
        let under = |entry: &Entry| entry.prefix() == Some(prefix);
        self.engine()?.remove_wanted(EntryScan::Of(Group::prefix(prefix)), under)
    }

    /// Removes every entry; returns how many there were. Files that the cache did not write stay.
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage), [`Metadata`](crate::ErrorKind::Metadata),
    /// [`Closed`](crate::ErrorKind::Closed).
    pub fn clear(&self) -> Result<u64> {
        self.engine()?.clear()
    }

    /// Removes the entries that have expired; returns how many. Others are not looked at.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub fn cleanup_expired(&self) -> Result<u64> {
        self.engine()?.cleanup_expired()
    }

    /// Removes the entries for which `wanted` returns true; returns how many. Looks at every entry.
    ///
    /// An entry that is replaced while it is looked at is looked at again.
    ///
    /// ```
    /// use cacheness::Cache;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// cache.put("a text", &"text".to_owned())?;
    /// cache.put("a number", &7u64)?;
    /// assert_eq!(cache.delete_where(|entry| entry.data_type() == "u64")?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`clear`](Self::clear); what was removed before the error is gone.
    pub fn delete_where(&self, wanted: impl FnMut(&Entry) -> bool) -> Result<u64> {
        self.engine()?.remove_wanted(EntryScan::All, wanted)
    }

    /// Removes the entries that meet a condition; returns how many. Looks at every entry.
    ///
    /// # Errors
    /// As [`delete_where`](Self::delete_where).
    pub fn delete_matching(&self, filter: &Filter) -> Result<u64> {
        self.delete_where(|entry| filter.matches(entry))
    }
}

/// Renewing entries.
impl Cache {
    /// Lets the entry of a key begin its life anew: it was created now, and has its whole time to live before it. Its value
    /// is not read. Says whether there was an entry that had not expired.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn touch(&self, key: impl ToKey) -> Result<bool> {
        self.engine()?.touch(&self.index_key(key)?, None)
    }

    /// [`touch`](Self::touch) with a new time to live.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cacheness::Cache;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// cache.put("one", &1u8)?;
    /// assert_eq!(cache.remaining_ttl("one")?, None);
    /// assert!(cache.touch_with_ttl("one", Duration::from_secs(60))?);
    /// assert!(cache.remaining_ttl("one")? <= Some(Duration::from_secs(60)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The time to live is kept in the index. If damage of the index costs the entry, it is a miss; if the index is gone
    /// altogether, a value that lies in a file is taken up again with the time to live it was put with.
    ///
    /// # Errors
    /// As [`put`](Self::put); [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the time to live is zero or too long.
    pub fn touch_with_ttl(&self, key: impl ToKey, ttl: Duration) -> Result<bool> {
        self.engine()?.touch(&self.index_key(key)?, Some(ttl))
    }

    /// [`touch`](Self::touch) for every entry that meets a condition and has not expired; returns how many there were.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub fn touch_batch(&self, filter: &Filter) -> Result<u64> {
        self.renew_matching(filter, None)
    }

    /// [`touch_with_ttl`](Self::touch_with_ttl) for every entry that meets a condition and has not expired; returns how
    /// many there were.
    ///
    /// # Errors
    /// As [`clear`](Self::clear); [`InvalidArgument`](crate::ErrorKind::InvalidArgument) as [`touch_with_ttl`](Self::touch_with_ttl).
    pub fn touch_batch_with_ttl(&self, filter: &Filter, ttl: Duration) -> Result<u64> {
        self.renew_matching(filter, Some(ttl))
    }

    fn renew_matching(&self, filter: &Filter, ttl: Option<Duration>) -> Result<u64> {
        let engine = self.engine()?;
        engine.check_ttl(ttl)?;
        let wanted = |entry: &Entry| filter.matches(entry) && !engine.is_expired(entry);
        engine.each_wanted(EntryScan::All, wanted, |_, record| engine.renew(record, ttl))
    }
}

/// Control by function: every entry that an attribute stored for it.
impl Cache {
    /// The entries of a function, by its path as [`std::any::type_name`] writes it; also those of earlier runs, and
    /// expired ones that were not cleaned up yet.
    ///
    /// # Errors
    /// [`Metadata`](crate::ErrorKind::Metadata), [`Closed`](crate::ErrorKind::Closed).
    pub fn function_entries(&self, function: &str) -> Result<Vec<Entry>> {
        let engine = self.engine()?;
        let mut entries = Vec::new();
        engine.each(EntryScan::Of(Group::function(function)), |_, record| {
            entries.extend(Some(engine.describe(record)?).filter(|entry| entry.function() == Some(function)));
            Ok(())
        })?;
        Ok(entries)
    }

    /// Removes the entries of a function, also those of earlier runs; returns how many.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub fn clear_function(&self, function: &str) -> Result<u64> {
        let stored_by = |entry: &Entry| entry.function() == Some(function);
        self.engine()?.remove_wanted(EntryScan::Of(Group::function(function)), stored_by)
    }
}

const PAGE: usize = 256;

/// Which entries a scan visits.
#[derive(Clone, Copy)]
pub(super) enum EntryScan {
    /// All, by their keys.
    All,
    /// All, and what is there without being believed.
    Everything,
    /// Those of a group, by their keys.
    Of(Group),
}

impl Engine {
    /// Visits entries once each, in pages; no lock is held while one is visited. What others put behind the cursor meanwhile
    /// is not visited, so that the scan ends.
    pub(super) fn each(&self, scan: EntryScan, mut visit: impl FnMut(&IndexKey, &Record) -> Result<()>) -> Result<()> {
        let index = self.store().index();
        let mut after: Option<IndexKey> = None;
        loop {
            let page = match scan {
                EntryScan::All | EntryScan::Everything => index.scan(after.as_ref(), PAGE)?,
                EntryScan::Of(group) => index.group(group, after.as_ref(), PAGE)?,
            };
            let mut seen =
                page.iter().filter(|(_, record)| record.is_believed() || matches!(scan, EntryScan::Everything));
            seen.try_for_each(|(key, record)| visit(key, record))?;
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// Visits entries and acts on the wanted ones; returns on how many it acted.
    pub(super) fn each_wanted(
        &self,
        scan: EntryScan,
        mut wanted: impl FnMut(&Entry) -> bool,
        act: impl Fn(&IndexKey, &Record) -> Result<bool>,
    ) -> Result<u64> {
        let mut done = 0;
        let _together = self.store().index().together();
        self.each(scan, |key, record| {
            let entry = self.describe(record)?;
            if self.store().index().apart(|| wanted(&entry)) {
                done += u64::from(act(key, record)?);
            }
            Ok(())
        })?;
        Ok(done)
    }

    /// Removes the wanted entries of a group or all; returns how many.
    pub(super) fn remove_wanted(&self, scan: EntryScan, mut wanted: impl FnMut(&Entry) -> bool) -> Result<u64> {
        let mut removed = 0;
        let _together = self.store().index().together_with_others();
        self.each(scan, |key, record| {
            let index = self.store().index();
            let still = |record: &Record| {
                let entry = self.describe(record)?;
                Ok(index.apart(|| wanted(&entry)))
            };
            removed += u64::from(self.remove_while(key, record, still)?);
            Ok(())
        })?;
        Ok(removed)
    }

    /// Removes an entry as long as its record is a wanted one; says whether it did.
    pub(super) fn remove_while(
        &self,
        key: &IndexKey,
        record: &Record,
        mut wanted: impl FnMut(&Record) -> Result<bool>,
    ) -> Result<bool> {
        let mut record = record.clone();
        while wanted(&record)? {
            if self.store().remove_expected(key, &record)? {
                return Ok(true);
            }
            // Touched or replaced meanwhile: is it still one of those?
            match self.store().find(key)? {
                Some(found) => record = found.record,
                None => break,
            }
        }
        Ok(false)
    }

    pub(super) fn clear(&self) -> Result<u64> {
        let mut removed = 0;
        let _together = self.store().index().together_with_others();
        self.each(EntryScan::Everything, |key, _| {
            removed += u64::from(self.store().remove(key)?);
            Ok(())
        })?;
        Ok(removed)
    }

    /// Removes what has expired, page after page until none is left, or none of a page could be removed.
    pub(super) fn cleanup_expired(&self) -> Result<u64> {
        let now = self.now();
        let mut total = 0;
        let _together = self.store().index().together_with_others();
        loop {
            let mut removed = 0;
            for (key, record) in self.store().index().expired(now, PAGE)? {
                removed += u64::from(self.store().remove_expected(&key, &record)?);
            }
            if removed == 0 {
                return Ok(total);
            }
            total += removed;
        }
    }
}

/// Entries looked at in one step of eviction.
const EVICTION_PAGE: usize = 64;
/// Entries that one put removes beyond what brings the cache back under its limit. A fifth of a large cache at once would
/// keep one caller waiting for seconds.
const SHARE: usize = 128;

/// Keeps the size limit of a cache.
#[derive(Debug)]
pub(super) struct Evictor {
    max_bytes: u64,
    /// One thread makes room at a time; others go on.
    busy: Mutex<()>,
    /// Set when the limit was passed, until the cache is down to 80 % of it.
    making_room: AtomicBool,
    /// What was seen of the lease under which one process evicts, of all that use the same rows.
    lease: Mutex<Watch>,
}

impl Evictor {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, busy: Mutex::new(()), making_room: AtomicBool::new(false), lease: Mutex::default() }
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// The right to make room, if nobody has it. A logger that panicked under it must not end eviction for ever.
    fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.busy.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Removes the least recently used entries until the cache is within its limit, if it is over it; and from then on, with
/// every put some more, until it is down to 80 %. The entry `newest`, which was just put, stays also if it takes more than
/// that.
pub(super) fn make_room(engine: &Engine, evictor: &Evictor, newest: &IndexKey) {
    let wanted = |has_begun| match engine.store().index().bytes() {
        Ok(bytes) => policy::eviction(bytes, evictor.max_bytes, has_begun),
        Err(error) => {
            log::debug!("no room is made: {error}");
            None
        }
    };
    let has_begun = || evictor.making_room.load(Ordering::Relaxed);
    let mut too_much = wanted(has_begun()).is_some();
    while too_much {
        let Some(turn) = evictor.turn() else { return };
        let Some(lease) = lease(engine, evictor) else { return };
        // Asked again: who had the turn before may have made the room.
        let Some(eviction) = wanted(has_begun()) else { return };
        let freed = free(engine, eviction, evictor.max_bytes, newest);
        // Asked now: the next put would find one entry too many and go on for ever.
        evictor.making_room.store(wanted(true).is_some(), Ordering::Relaxed);
        drop((turn, lease));
        match freed {
            Err(error) => return engine.report("make room in the cache", &error),
            Ok(0) => return,
            // Whoever found the turn taken meanwhile left to its holder what goes beyond the limit.
            Ok(_) => too_much = wanted(false).is_some(),
        }
    }
}

/// The right to make room, of all processes that use rows on a server: two of them at once would remove twice as much. `None`
/// while another one has it.
fn lease(engine: &Engine, evictor: &Evictor) -> Option<Option<Lease>> {
    if !engine.store().has_leases() {
        return Some(None);
    }
    let taken = engine.store().lease("evictor", &mut lock(&evictor.lease));
    taken.inspect_err(|error| log::debug!("no room is made: {error}")).ok().flatten().map(Some)
}

/// Returns how many bytes it freed.
fn free(engine: &Engine, eviction: Eviction, max_bytes: u64, newest: &IndexKey) -> Result<u64> {
    let _unheard = engine.store().index().unheard();
    let (mut freed, mut removed) = (0, 0);
    let enough = |freed: u64, removed: usize| match removed < SHARE {
        true => freed >= eviction.wanted,
        false => freed >= eviction.needed,
    };
    while !enough(freed, removed) {
        let before = freed;
        for (key, record) in engine.store().index().least_recently_used(EVICTION_PAGE)? {
            if enough(freed, removed) {
                break;
            }
            if key == *newest {
                continue;
            }
            let size = engine.store().index().footprint(&record);
            if engine.store().remove_expected(&key, &record)? {
                freed += size;
                removed += 1;
                announce_first(engine, max_bytes);
            }
        }
        if freed == before {
            break;
        }
    }
    Ok(freed)
}

fn announce_first(engine: &Engine, max_bytes: u64) {
    if engine.counters().evicted() {
        let place = engine.store().root().map_or_else(|| "memory".to_owned(), |root| root.display().to_string());
        emit(&format!(
            "cacheness: the cache in {place} has reached its limit of {max_bytes} bytes and now removes its least \
             recently used entries (storage.max_cache_size_mb)"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_while_room_is_made_leaves_the_turn_to_the_next() {
        let evictor = Evictor::new(1);
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _turn = evictor.turn();
            panic!("as a logger may");
        }));
        assert!(panic.is_err());
        assert!(evictor.turn().is_some());
    }
}
