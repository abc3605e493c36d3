//! Copies of rows, made, taken out, and limited.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Tier;
use super::turns::{Changing, Token};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::entry::IndexKey;
use crate::error::{CacheError, Result};
use crate::index::Record;
use crate::index::backend::{Change, Expected, Facts, MetadataBackend, Scan};
use crate::storage::BlobName;
use crate::storage::blob::BlobBackend;
use crate::util::threads::lock;

/// Nothing is copied for so long after the disk took no copy.
const AFTER_A_FULL_DISK: Duration = Duration::from_secs(30);
/// What is larger than this part of all copies is not copied.
pub(super) const LARGEST_PART: u64 = 4;
/// So often a use is told to the server, in microseconds.
const TOLD_ONCE_IN: i64 = 60_000_000;
/// Others are remembered for so many entries.
const MOST_UNTOLD: usize = 65_536;
/// Copies that go in one step.
const EVICTED_AT_ONCE: usize = 64;

impl Tier {
    /// The copy of a row, if it is current.
    ///
    /// # Errors
    /// As [`is_current`](Self::is_current).
    #[inline]
    pub(super) fn copy_of(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let usable = !self.given_up.load(Ordering::Relaxed) && self.is_current()? && self.turns.is_believed(key);
        let copy = if usable { self.near(key).filter(|_| self.has_lost_nothing()) } else { None };
        if copy.is_some() {
            self.hits.count()
        } else {
            self.misses.count()
        }
        Ok(copy)
    }

    /// Whether no copies have gone or come back by damage.
    #[inline]
    pub(super) fn has_lost_nothing(&self) -> bool {
        let epoch = self.rows.epoch();
        if self.followed_here.load(Ordering::Acquire) == epoch {
            return true;
        }
        self.doubt();
        self.followed_here.store(epoch, Ordering::Release);
        false
    }

    pub(super) fn near(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.rows.get(key).inspect_err(|error| log::debug!("a copy is not used: {error}")).ok().flatten()
    }

    pub(super) fn may_copy(&self) -> bool {
        self.is_recognised() && self.takes_copies()
    }

    /// Whether nothing is wrong with the disk.
    pub(super) fn takes_copies(&self) -> bool {
        !self.given_up.load(Ordering::Relaxed) && self.resting.is_over()
    }

    /// Permission to copy the row of a key that is read from now on.
    pub(super) fn token(&self, key: &[u8]) -> Option<Token> {
        if self.may_copy() { self.turns.token(key) } else { None }
    }

    /// Copies a row that was read.
    pub(super) fn keep(&self, key: &[u8], row: Option<&[u8]>, token: Option<Token>) {
        let Some(token) = token else { return };
        match row.and_then(|bytes| self.worth_copying(key, bytes)) {
            Some((record, facts)) if self.turns.copy(key, token, || self.put_copy(key, &record, &facts)) => {
                self.wake_flusher();
                self.make_room();
            }
            // There may be one that was not believed.
            None if self.turns.is_doubtful() => {
                let mut gone = None;
                self.turns.copy(key, token, || {
                    gone = self.remove_copy(key);
                    false
                });
                self.remove_blob_of(key, gone.as_deref(), None);
            }
            _ => {}
        }
    }

    /// Ends a change of this process, by which a copy is `gone` already: copies the new row, if it was made.
    pub(super) fn end_change(
        &self,
        key: &[u8],
        gone: Option<&[u8]>,
        made: Option<&[u8]>,
        begun: &[Changing<'_>],
    ) -> bool {
        let new = made.filter(|_| self.may_copy()).and_then(|bytes| self.worth_copying(key, bytes));
        let copied =
            new.filter(|(record, facts)| self.turns.copy_changed(key, begun, || self.put_copy(key, record, facts)));
        let blob = copied.as_ref().and_then(|(record, _)| record.blob());
        self.remove_blob_of(key, gone, blob.as_ref());
        copied.is_some()
    }

    /// The row as a record, if it is believed and not too large.
    pub(super) fn worth_copying(&self, key: &[u8], bytes: &[u8]) -> Option<(Record, Facts)> {
        let record = self.record(key, bytes)?;
        let facts = record.facts().ok()?;
        let size = self.rows.footprint(bytes.len() as u64, facts.blob_bytes);
        (record.is_believed() && size <= self.max_bytes / LARGEST_PART).then_some((record, facts))
    }

    pub(super) fn record(&self, key: &[u8], bytes: &[u8]) -> Option<Record> {
        Record::from_stored(&IndexKey::from_stored(key).ok()?, bytes.to_vec(), &self.signing).ok()
    }

    pub(super) fn put_copy(&self, key: &[u8], record: &Record, facts: &Facts) -> bool {
        let bytes = record.as_bytes();
        if self.turns.is_doubtful() && self.near(key).is_some_and(|copy| copy == bytes) {
            return true;
        }
        let change = Change { key, expected: Expected::Anything, row: Some((bytes, facts)) };
        match self.rows.apply(&[change]) {
            Ok(applied) => {
                let before = applied.into_iter().next().and_then(|applied| applied.previous);
                self.remove_blob_of(key, before.as_deref(), record.blob().as_ref());
                // An old entry that is new here is not the first to go; its first use is yet to come.
                self.note_use(key, Timestamp::from_micros(SystemClock.now().as_micros() - TOLD_ONCE_IN));
                true
            }
            Err(error) => {
                self.rest_after(&error);
                false
            }
        }
    }

    /// Takes the copy of a row out, which is not to be used any more. Its blob goes with it.
    pub(super) fn forget(&self, key: &[u8]) {
        let gone = self.turns.changed(key, || self.remove_copy(key));
        self.remove_blob_of(key, gone.as_deref(), None);
    }

    /// The copy of a row that was taken out.
    pub(super) fn remove_copy(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.rows.apply(&[Change { key, expected: Expected::Anything, row: None }]) {
            Ok(applied) => applied.into_iter().next()?.previous,
            Err(error) => {
                self.give_up("take out a copy that is not current", &error);
                None
            }
        }
    }

    /// Removes the copy of the blob that a row named which is gone, unless it is this one.
    pub(super) fn remove_blob_of(&self, key: &[u8], row: Option<&[u8]>, but: Option<&BlobName>) {
        let name = row.and_then(|row| self.record(key, row)?.blob());
        if let Some(name) = name.filter(|name| Some(name) != but) {
            self.remove_blob(&name);
        }
    }

    pub(super) fn remove_blob(&self, name: &BlobName) {
        if let Err(error) = self.blobs.remove(name) {
            log::debug!("the copy of blob {name} stays: {error}");
        }
    }

    /// Copies nothing for a while: the disk took no copy.
    pub(super) fn rest_after(&self, error: &CacheError) {
        if !error.is_closed() {
            self.resting.rest(AFTER_A_FULL_DISK);
            self.warnings.tell("fill the local tier, and goes on without for a while", error);
        }
    }

    /// Remembers uses until the server is asked for the least used.
    pub(super) fn leave_untold(&self, uses: &[(&[u8], Timestamp)]) {
        let mut untold = lock(&self.untold);
        for (key, at) in uses {
            if let Some(known) = untold.get_mut(*key) {
                *known = *at;
            } else if untold.len() < MOST_UNTOLD {
                untold.insert((*key).into(), *at);
            }
        }
    }

    pub(super) fn untold_use(&self, key: &[u8]) -> Option<Timestamp> {
        lock(&self.untold).get(key).copied()
    }

    /// A use ends with its row.
    pub(super) fn forget_uses(&self, changes: &[Change<'_>]) {
        let mut untold = lock(&self.untold);
        changes.iter().for_each(|change| _ = untold.remove(change.key));
    }

    pub(super) fn tell_uses(&self) -> Result<()> {
        let untold = std::mem::take(&mut *lock(&self.untold));
        let uses: Vec<_> = untold.iter().map(|(key, at)| (&**key, *at)).collect();
        if uses.is_empty() { Ok(()) } else { self.shared.used(&uses) }
    }

    /// Whether a use is the first one in a minute: others are not told at once.
    pub(super) fn is_first_use(&self, key: &[u8], at: Timestamp) -> bool {
        let minute = |at: Timestamp| at.as_micros() / TOLD_ONCE_IN;
        self.rows.last_used(key).ok().flatten().is_none_or(|last| minute(last) != minute(at))
    }

    pub(super) fn note_use(&self, key: &[u8], at: Timestamp) {
        if let Err(error) = self.rows.used(&[(key, at)]) {
            log::debug!("the use of a copy is not noted: {error}");
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.rows.totals().map_or(0, |totals| totals.bytes)
    }

    /// Takes the least recently used copies out if there are too many.
    pub(super) fn make_room(&self) {
        if self.bytes() <= self.max_bytes {
            return;
        }
        let Ok(_turn) = self.evicting.try_lock() else { return };
        let too_much = || self.bytes() > self.max_bytes / 10 * 8 && !self.given_up.load(Ordering::Relaxed);
        while too_much() {
            match self.rows.page(&Scan::LeastUsed, EVICTED_AT_ONCE) {
                Ok(rows) if !rows.is_empty() => {
                    rows.iter().take_while(|_| too_much()).for_each(|row| self.forget(&row.key));
                }
                Ok(_) => return,
                Err(error) => return log::debug!("no copy goes: {error}"),
            }
        }
    }
}
