//! The index: records over the rows of a metadata backend, with values in memory and orders over columns that never say
//! anything else than it does.
//!
//! Rows are decoded, checked and believed here; below, sled alone reads what its own rows say, to find their places again. A
//! row that is damaged is passed over where many are asked
//! for, and an error where it alone is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::acknowledge::{Lease, acknowledge};
use super::columns::Columns;
use super::memory::{self, Tier};
use super::neighbours::{UniqueTurns, is_the_only_user};
use crate::clock::Timestamp;
use crate::entry::IndexKey;
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::backend::{Applied, CHANGES_AT_ONCE, Change, Expected, Facts, MetadataBackend, Row, Scan, Totals};
use crate::index::neighbours::{Guests, OWNER};
use crate::index::{Group, Record};
use crate::security::Signing;

/// Every change of a row goes through here and takes the value out of memory first; every question about the order of use
/// is asked after the backend was told of the uses in memory.
pub(crate) struct Index {
    backend: Arc<dyn MetadataBackend>,
    /// By which records are believed.
    signing: Arc<Signing>,
    pub(super) columns: Columns,
    memory: Option<Arc<Tier>>,
    /// The epoch of the backend that memory has followed.
    followed: AtomicU64,
    /// Until when memory is current, where other processes change rows without this one.
    pub(super) lease: Option<Lease>,
    /// Processes that this one has the rows changed for.
    guests: Arc<Guests>,
    expects_guests: AtomicBool,
    doubts_blobs: AtomicBool,
    counted: AtomicBool,
    unique_turns: UniqueTurns,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("backend", &self.backend).finish_non_exhaustive()
    }
}

/// Records with their keys.
pub(super) type Records = Vec<(IndexKey, Record)>;

fn change_of<'a>(
    key: &'a IndexKey,
    expected: Expected<'a>,
    new: Option<&'a Record>,
    facts: &'a Option<Facts>,
) -> Change<'a> {
    let row = new.zip(facts.as_ref()).map(|(record, facts)| (record.as_bytes(), facts));
    Change { key: key.as_bytes(), expected, row }
}

impl Index {
    pub(crate) fn new(backend: Arc<dyn MetadataBackend>, signing: Arc<Signing>, memory: Option<Arc<Tier>>) -> Self {
        let followed = AtomicU64::new(backend.epoch());
        let lease = Lease::of(backend.traits());
        let guests = Arc::default();
        let [expects_guests, doubts_blobs, counted] = [const { AtomicBool::new(false) }; 3];
        Self {
            backend,
            signing,
            columns: Columns::default(),
            memory,
            followed,
            lease,
            guests,
            expects_guests,
            doubts_blobs,
            counted,
            unique_turns: UniqueTurns::default(),
        }
    }

    pub(super) fn backend(&self) -> &dyn MetadataBackend {
        &*self.backend
    }

    pub(super) fn shared_backend(&self) -> Arc<dyn MetadataBackend> {
        Arc::clone(&self.backend)
    }

    pub(super) fn guests(&self) -> &Arc<Guests> {
        &self.guests
    }

    /// Whether other processes use the same rows now.
    pub(crate) fn has_neighbours(&self) -> bool {
        !self.guests.are_none() || self.lease.is_some() && !self.backend.is_alone()
    }

    /// Whether other processes may be there, though they may not have found this one yet since it became the owner.
    pub(crate) fn may_have_neighbours(&self) -> bool {
        self.lease.is_some() || self.expects_guests.load(Ordering::Relaxed) || !self.guests.are_none()
    }

    pub(super) fn unique_turns(&self) -> &UniqueTurns {
        &self.unique_turns
    }

    /// There are guests of an owner before this one.
    pub(super) fn expect_guests(&self) {
        self.expects_guests.store(true, Ordering::Relaxed);
    }

    /// Whether another process has the rows, and flushes them.
    pub(crate) fn is_of_another_process(&self) -> bool {
        self.lease.is_some() && !self.is_counted() && !self.is_on_a_server() && !self.backend.is_alone()
    }

    /// Whether a question may take its time, on the other side of a network or of a socket.
    pub(crate) fn waits(&self) -> bool {
        self.lease.is_some() && (self.is_on_a_server() || self.is_of_another_process())
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.backend.is_reachable()
    }

    /// This process was counted among the users of rows that all of them have.
    pub(super) fn set_counted(&self) {
        self.counted.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_counted(&self) -> bool {
        self.counted.load(Ordering::SeqCst)
    }

    /// The backend's name in the configuration.
    pub(crate) fn name(&self) -> &'static str {
        self.backend.traits().name
    }

    /// The values in memory, if there are to be any.
    pub(super) fn memory(&self) -> Option<&Tier> {
        self.memory.as_deref()
    }

    /// Asks the backend. One that was replaced by what could be believed of it may have lost rows, and nobody could take
    /// the value of a lost one out of memory any more by what it has in common with others.
    pub(super) fn ask<R>(&self, question: impl FnOnce(&dyn MetadataBackend) -> R) -> R {
        let answer = question(&*self.backend);
        let Some(memory) = &self.memory else { return answer };
        let epoch = self.backend.epoch();
        if self.followed.load(Ordering::SeqCst) != epoch {
            // Noted afterwards: who comes in between forgets as well, rather than goes on with the old values.
            memory.forget();
            self.followed.store(epoch, Ordering::SeqCst);
        }
        answer
    }

    /// Begins to change a row: its value is not in memory until this is dropped.
    pub(super) fn changing(&self, key: &IndexKey) -> Option<memory::Change<'_>> {
        let (change, last_use) = self.memory.as_ref()?.change(key);
        if let Some(at) = last_use {
            self.accessed(key, at);
        }
        Some(change)
    }

    /// Tells the backend of the uses of values in memory.
    pub(crate) fn flush_uses(&self) {
        if let Some(memory) = &self.memory {
            memory.flush_uses(|key, at| self.accessed(&IndexKey::of(key), at));
        }
    }

    /// Changes a row, and tells the orders over columns.
    fn change(&self, key: &IndexKey, expected: Option<&Record>, new: Option<&Record>) -> Result<Applied> {
        self.change_if(key, expected.map_or(Expected::Anything, |record| Expected::Bytes(record.as_bytes())), new)
    }

    fn change_if(&self, key: &IndexKey, expected: Expected<'_>, new: Option<&Record>) -> Result<Applied> {
        let facts = self.facts_of(new)?;
        let applied = self.make(OWNER, key, &change_of(key, expected, new, &facts), new, &|| true)?;
        if self.has_neighbours() && !self.backend.traits().waits {
            acknowledge(applied.is_settled(), || self.is_counted() && is_the_only_user(&*self.backend));
        }
        Ok(applied)
    }

    /// How many changes are made together at most. More than one where that saves round trips, to a server: nobody has the rows
    /// changed by this process then, nor waits for it to be acknowledged.
    pub(super) fn at_once(&self) -> usize {
        if self.is_on_a_server() { CHANGES_AT_ONCE } else { 1 }
    }

    /// Puts records in the place of whatever is there, or takes them out, [several](Self::at_once) together; returns the records
    /// that were there. After an error each change may have been made or not.
    pub(super) fn change_together(&self, changes: &[(&IndexKey, Option<&Record>)]) -> Result<Vec<Option<Record>>> {
        let facts = changes.iter().map(|(_, new)| self.facts_of(*new)).collect::<Result<Vec<_>>>()?;
        let with_facts = changes.iter().zip(&facts);
        let wanted: Vec<_> =
            with_facts.map(|((key, new), facts)| change_of(key, Expected::Anything, *new, facts)).collect();
        let _changing: Vec<_> = changes.iter().map(|(key, _)| self.changing(key)).collect();
        let _turns = self.columns.turns(changes.iter().map(|(key, _)| *key));
        let applied = self.ask(|backend| backend.apply(&wanted))?;
        let applied = applied.into_iter().chain(std::iter::repeat(Applied::NOT_MADE));
        let follow = |((key, new), applied): (&(&IndexKey, Option<&Record>), _)| {
            self.follow(key, &applied, *new);
            self.taken_out(key, applied)
        };
        Ok(changes.iter().zip(applied).map(follow).collect())
    }

    /// Makes a change of this or another process, and notes it before another change of the key can be made. After an error
    /// it may have been made.
    fn make(
        &self,
        by: u64,
        key: &IndexKey,
        change: &Change<'_>,
        new: Option<&Record>,
        in_time: &dyn Fn() -> bool,
    ) -> Result<Applied> {
        let _changing = self.changing(key);
        let _turn = self.columns.turn(key);
        if !in_time() {
            return Err(CacheError::new(
                ErrorKind::Metadata,
                "the change comes too late: nobody waits for it any more",
            ));
        }
        let changes = std::slice::from_ref(change);
        let made = self.ask(|backend| backend.apply(changes)).inspect_err(|error| {
            if !error.is_closed() && !self.guests.are_none() {
                self.guests.note(by, key.as_bytes(), &Applied::made(None));
            }
        });
        let mut applied = made?.pop().unwrap_or(Applied::NOT_MADE);
        if !self.guests.are_none() {
            applied.unsettled |= !self.guests.note(by, key.as_bytes(), &applied);
        }
        self.follow(key, &applied, new);
        Ok(applied)
    }

    fn facts_of(&self, record: Option<&Record>) -> Result<Option<Facts>> {
        let keeps_columns = self.backend.traits().columns;
        let facts = |record: &Record| if keeps_columns { record.facts_and_columns() } else { record.facts() };
        record.map(facts).transpose()
    }

    /// Tells the orders over columns of a change. The caller has the turn of the key.
    fn follow(&self, key: &IndexKey, applied: &Applied, new: Option<&Record>) {
        if applied.made && self.columns.follows_changes() {
            let before = applied.previous.clone().and_then(|bytes| self.record(key, bytes).ok());
            self.columns.follow(key, before.as_ref(), new);
        }
    }

    /// Makes a change of another process, which waits itself until it may be acknowledged.
    pub(super) fn apply_for_guest(
        &self,
        guest: u64,
        change: &Change<'_>,
        in_time: &dyn Fn() -> bool,
    ) -> Result<Applied> {
        let key = IndexKey::from_stored(change.key)?;
        let new = change.row.and_then(|(bytes, _)| self.record(&key, bytes.to_vec()).ok());
        self.make(guest, &key, change, new.as_ref(), in_time)
    }

    fn record(&self, key: &IndexKey, bytes: Vec<u8>) -> Result<Record> {
        Record::from_stored(key, bytes, &self.signing)
    }

    /// The record that a change took out. One that cannot be read has a blob of which the name is not known.
    fn taken_out(&self, key: &IndexKey, applied: Applied) -> Option<Record> {
        self.record(key, applied.previous?).inspect_err(|_| self.doubt_blobs()).ok()
    }

    /// The record of a key.
    ///
    /// # Errors
    /// [`Integrity`](crate::ErrorKind::Integrity) if it is damaged; those of the backend.
    pub(crate) fn get(&self, key: &IndexKey) -> Result<Option<Record>> {
        let bytes = self.ask(|backend| backend.get(key.as_bytes()))?;
        bytes.map(|bytes| self.record(key, bytes)).transpose()
    }

    /// The records of these keys, as far as there are any, in the order of the keys.
    pub(crate) fn of_keys(&self, keys: &[IndexKey]) -> Result<Records> {
        let wanted: Vec<&[u8]> = keys.iter().map(IndexKey::as_bytes).collect();
        let rows = self.ask(|backend| backend.get_many(&wanted))?;
        let record = |(key, bytes): (&IndexKey, _)| Some((key.clone(), self.record(key, bytes?).ok()?));
        Ok(keys.iter().zip(rows).filter_map(record).collect())
    }

    /// The records of all keys with this hash.
    pub(crate) fn with_hash(&self, hash: u64) -> Result<Records> {
        self.page(&Scan::Prefix(&hash.to_be_bytes()), usize::MAX, |_| true)
    }

    /// Puts a record in place of the one that was there, and returns that.
    pub(crate) fn put(&self, key: &IndexKey, record: &Record) -> Result<Option<Record>> {
        let applied = self.change(key, None, Some(record))?;
        Ok(self.taken_out(key, applied))
    }

    /// Puts a record where there is none; says whether there was none.
    pub(crate) fn put_new(&self, key: &IndexKey, record: &Record) -> Result<bool> {
        Ok(self.change_if(key, Expected::Absent, Some(record))?.made)
    }

    /// Takes a record out, and returns it.
    pub(crate) fn remove(&self, key: &IndexKey) -> Result<Option<Record>> {
        let applied = self.change(key, None, None)?;
        Ok(self.taken_out(key, applied))
    }

    /// Takes a record out if it is still the expected one; says whether it was.
    pub(crate) fn remove_expected(&self, key: &IndexKey, expected: &Record) -> Result<bool> {
        Ok(self.change(key, Some(expected), None)?.made)
    }

    /// Takes the record of a key out if it is damaged; says whether it was.
    pub(crate) fn remove_damaged(&self, key: &IndexKey) -> Result<bool> {
        let Some(bytes) = self.ask(|backend| backend.get(key.as_bytes()))? else { return Ok(false) };
        if self.record(key, bytes.clone()).is_ok() {
            return Ok(false);
        }
        let removed = self.change_if(key, Expected::Bytes(&bytes), None)?.made;
        if removed {
            self.doubt_blobs();
        }
        Ok(removed)
    }

    /// Puts `record` in the place of the expected one, if that is still there; says whether it was. When the entry was last
    /// used stays known, unless the new record was created at another time.
    pub(crate) fn replace_expected(&self, key: &IndexKey, expected: &Record, record: &Record) -> Result<bool> {
        Ok(self.change(key, Some(expected), Some(record))?.made)
    }

    /// Notes a use of an entry. A use that gets lost makes eviction less wise and nothing else.
    pub(crate) fn accessed(&self, key: &IndexKey, at: Timestamp) {
        if let Err(error) = self.backend.used(&[(key.as_bytes(), at)]) {
            log::debug!("the use of an entry is not noted: {error}");
        }
    }

    /// When an entry was last used, as far as it was noted.
    pub(crate) fn last_access(&self, key: &IndexKey) -> Result<Option<Timestamp>> {
        self.flush_uses();
        self.ask(|backend| backend.last_used(key.as_bytes()))
    }

    /// Up to `limit` records that are expired at `now`, the earliest first.
    pub(crate) fn expired(&self, now: Timestamp, limit: usize) -> Result<Records> {
        self.page(&Scan::Expired { now }, limit, |_| true)
    }

    /// Up to `limit` records, the least recently used first.
    pub(crate) fn least_recently_used(&self, limit: usize) -> Result<Records> {
        self.flush_uses();
        self.page(&Scan::LeastUsed, limit, |_| true)
    }

    /// Up to `limit` records that are believed, the newest first, behind `after`: the time of creation and the key of one
    /// seen before.
    pub(crate) fn newest(&self, after: Option<(Timestamp, &IndexKey)>, limit: usize) -> Result<Records> {
        let before = after.map(|(at, key)| (at, key.as_bytes()));
        self.page(&Scan::Newest { before }, limit, Record::is_believed)
    }

    /// Up to `limit` records of a group, in key order, behind `after`.
    pub(crate) fn group(&self, group: Group, after: Option<&IndexKey>, limit: usize) -> Result<Records> {
        let after = after.map(IndexKey::as_bytes);
        self.page(&Scan::Group { group: group.as_u64(), after }, limit, |_| true)
    }

    /// Up to `limit` records in key order, behind `after`.
    pub(crate) fn scan(&self, after: Option<&IndexKey>, limit: usize) -> Result<Records> {
        self.page(&Scan::Keys { after: after.map(IndexKey::as_bytes) }, limit, |_| true)
    }

    /// Up to `limit` keys in their order, behind `after`. Their records are looked at only where some are not believed.
    pub(crate) fn keys(&self, after: Option<&IndexKey>, limit: usize) -> Result<Vec<IndexKey>> {
        let behind = after.map(IndexKey::as_bytes);
        if self.signing.is_on() {
            let believed = self.page(&Scan::Keys { after: behind }, limit, Record::is_believed)?;
            return Ok(believed.into_iter().map(|(key, _)| key).collect());
        }
        let keys = self.ask(|backend| backend.keys(behind, limit))?;
        Ok(keys.into_iter().filter_map(|key| IndexKey::from_shared(key).ok()).collect())
    }

    /// Up to `limit` whole records that fit; fewer only where the scan ends. Where others stand between them, more rows are
    /// asked for.
    fn page(&self, scan: &Scan<'_>, limit: usize, fits: impl Fn(&Record) -> bool) -> Result<Records> {
        let mut wanted = limit;
        loop {
            let rows = self.ask(|backend| backend.page(scan, wanted))?;
            let count = rows.len();
            let mut records: Records = rows.into_iter().filter_map(|row| self.whole(row)).collect();
            records.retain(|(_, record)| fits(record));
            if count < wanted || records.len() >= limit {
                records.truncate(limit);
                return Ok(records);
            }
            wanted = limit.saturating_add(count - records.len());
        }
    }

    pub(super) fn whole(&self, row: Row) -> Option<(IndexKey, Record)> {
        let key = IndexKey::from_shared(row.key).ok()?;
        let record = self.record(&key, row.bytes).ok()?;
        Some((key, record))
    }

    /// Whether other machines may change rows, which know no lock of this one.
    pub(crate) fn is_on_a_server(&self) -> bool {
        self.backend.traits().waits
    }

    pub(crate) fn totals(&self) -> Result<Totals> {
        self.ask(|backend| backend.totals())
    }

    /// What entries take, as of the last change that this process made or later; see [`MetadataBackend::bytes`].
    pub(crate) fn bytes(&self) -> Result<u64> {
        self.ask(|backend| backend.bytes())
    }

    /// With how many bytes an entry counts in [`totals`](Self::totals).
    pub(crate) fn footprint(&self, record: &Record) -> u64 {
        let blob = record.facts().map_or(0, |facts| facts.blob_bytes);
        self.backend.footprint(record.as_bytes().len() as u64, blob)
    }

    /// Grows each time that records may have been lost, or older ones have come back.
    pub(crate) fn epoch(&self) -> u64 {
        self.backend.epoch()
    }

    /// Whether there may be blobs which no record names.
    pub(super) fn doubts_blobs(&self) -> bool {
        self.doubts_blobs.load(Ordering::SeqCst)
    }

    /// Says that there may be blobs which no record names: the next opening looks for them.
    pub(crate) fn doubt_blobs(&self) {
        self.doubts_blobs.store(true, Ordering::SeqCst);
        self.backend.doubt_blobs();
    }

    /// Gives room back that the backend takes and does not need; see [`MetadataBackend::tidy`].
    pub(crate) fn give_back_room(&self, go_on: &dyn Fn() -> bool) -> Result<()> {
        self.backend.tidy(go_on)
    }

    /// Brings everything that was put to the disk.
    pub(crate) fn flush(&self) -> Result<()> {
        self.flush_uses();
        self.ask(|backend| backend.flush())
    }

    /// Flushes and lets go of every file. Later calls fail with [`Closed`](crate::ErrorKind::Closed).
    pub(crate) fn close(&self) -> Result<()> {
        self.flush_uses();
        let closed = self.backend.close();
        self.columns.clear();
        self.memory.iter().for_each(|memory| memory.clear());
        closed
    }
}

#[cfg(test)]
mod tests;
