//! The ordered rows: which entry expires when, which was used when, which belongs to which group.
//!
//! They are hints. A row names an entry by the hash of its key, is written in batches behind the put, and is checked
//! against the record whenever it is used: one that no longer fits is put right or dropped. What must hold is only that
//! each live entry has a row at or before its time. After an unclean end they are made anew from the records.
//!
//! | tree | row |
//! |---|---|
//! | by_expiry | expires at (8), hash (8) |
//! | by_access | created at, or the last access when eviction last looked (8), hash (8) |
//! | by_creation | created at (8), hash (8) |
//! | by_group | group (8), hash (8) |
//! | last_access | hash (8) → time (8) |

use std::collections::{HashMap, HashSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::{Group, Record};
use super::{SledIndex, Trees};
use crate::clock::Timestamp;
use crate::entry::IndexKey;
use crate::error::Result;

/// Accesses that wait to be written; past this many, further ones are not noted until the next batch.
const MAX_WAITING_ACCESSES: usize = 1 << 16;

#[derive(Debug, Default)]
pub(super) struct Rows {
    changes: Mutex<HashMap<IndexKey, Change>>,
    accesses: Mutex<HashMap<u64, Timestamp>>,
    /// Batches go one after the other: a removal that overtook the put before it would leave an entry without rows.
    applying: Mutex<()>,
    /// Set when a batch could not be written: some entry may lack its rows until they are made anew.
    incomplete: AtomicBool,
}

/// What rows an entry has on the disk, and which it should have.
#[derive(Debug)]
struct Change {
    before: Option<Facts>,
    after: Option<Facts>,
}

/// What of a record decides its rows.
#[derive(Debug)]
pub(super) struct Facts {
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    groups: Vec<Group>,
}

impl Facts {
    pub(super) fn of(record: &Record) -> Result<Self> {
        let entry = record.entry()?;
        Ok(Self {
            created_at: entry.core.created_at,
            expires_at: entry.core.expires_at,
            groups: Group::all_of(&entry.details),
        })
    }
}

impl Rows {
    pub(super) fn put(&self, key: &IndexKey, previous: Option<&Record>, facts: Facts) {
        self.change(key, previous, Some(facts));
    }

    pub(super) fn removed(&self, key: &IndexKey, removed: &Record) {
        self.change(key, Some(removed), None);
    }

    fn change(&self, key: &IndexKey, previous: Option<&Record>, after: Option<Facts>) {
        let mut changes = lock(&self.changes);
        if let Some(change) = changes.get_mut(key) {
            change.after = after;
            return;
        }
        let before = previous.and_then(|record| Facts::of(record).ok());
        changes.insert(key.clone(), Change { before, after });
    }

    pub(super) fn accessed(&self, hash: u64, at: Timestamp) {
        let mut accesses = lock(&self.accesses);
        if accesses.len() < MAX_WAITING_ACCESSES || accesses.contains_key(&hash) {
            accesses.insert(hash, at);
        }
    }

    pub(super) fn last_access(&self, trees: &Trees, hash: u64) -> sled::Result<Option<Timestamp>> {
        if let Some(at) = lock(&self.accesses).get(&hash) {
            return Ok(Some(*at));
        }
        let stored = trees.last_access.get(hash.to_be_bytes())?;
        Ok(stored.and_then(|bytes| <[u8; 8]>::try_from(bytes.as_ref()).ok()).map(time_from))
    }

    /// Writes what waits.
    pub(super) fn apply(&self, trees: &Trees) -> sled::Result<()> {
        let _one_at_a_time = lock(&self.applying);
        let accesses = std::mem::take(&mut *lock(&self.accesses));
        let changes = std::mem::take(&mut *lock(&self.changes));
        // Accesses first: the removal of an entry then takes its access with it.
        let was_incomplete = self.incomplete.swap(true, Ordering::SeqCst);
        write_batch(trees, &accesses, &changes)?;
        self.incomplete.store(was_incomplete, Ordering::SeqCst);
        Ok(())
    }

    /// Whether every entry has its rows, but for those that wait.
    pub(super) fn are_complete(&self) -> bool {
        !self.incomplete.load(Ordering::SeqCst)
    }

    /// Forgets what waits: the rows have been made anew from the records.
    pub(super) fn start_anew(&self) {
        lock(&self.changes).clear();
        self.incomplete.store(false, Ordering::SeqCst);
    }

    pub(super) fn least_recently_used(&self, trees: &Trees, limit: usize) -> sled::Result<Vec<(IndexKey, Record)>> {
        let mut found = Vec::new();
        let mut start: Option<[u8; 16]> = None;
        // Followed once: an entry that is read all the time would stay ahead for ever.
        let mut moved = HashSet::new();
        while found.len() < limit {
            let Some(row) = first_behind(&trees.by_access, start)? else { break };
            start = Some(row);
            let (at, hash) = split(row);
            let used_at = self.last_access(trees, hash)?;
            let records = SledIndex::records_of_hash(trees, hash)?;
            let due = |record: &Record| moved.contains(&hash) || last_use(record, used_at) <= at;
            let later = records.iter().filter(|(_, record)| !due(record)).map(|(_, record)| last_use(record, used_at));
            let later = later.max();
            if !records.iter().any(|(_, record)| due(record)) {
                trees.by_access.remove(row)?;
            }
            if let Some(later) = later {
                trees.by_access.insert(joined(time_bytes(later), hash), &[])?;
            }
            found.extend(records.into_iter().filter(|(_, record)| due(record)));
            if later.is_some() {
                moved.insert(hash);
            }
        }
        Ok(found)
    }
}

fn last_use(record: &Record, used_at: Option<Timestamp>) -> Timestamp {
    let created = record.core().map_or(Timestamp::default(), |core| core.created_at);
    used_at.map_or(created, |used| used.max(created))
}

fn write_batch(
    trees: &Trees,
    accesses: &HashMap<u64, Timestamp>,
    changes: &HashMap<IndexKey, Change>,
) -> sled::Result<()> {
    for (hash, at) in accesses {
        trees.last_access.insert(hash.to_be_bytes(), &time_bytes(*at))?;
    }
    changes.iter().try_for_each(|(key, change)| apply_change(trees, key.hash(), change))
}

fn apply_change(trees: &Trees, hash: u64, change: &Change) -> sled::Result<()> {
    if let Some(before) = &change.before {
        each_row(trees, hash, before, |tree, row| tree.remove(row).map(drop))?;
        let same_value = change.after.as_ref().is_some_and(|after| after.created_at == before.created_at);
        if !same_value {
            trees.last_access.remove(hash.to_be_bytes())?;
        }
    }
    match &change.after {
        Some(after) => insert_rows(trees, hash, after),
        None => Ok(()),
    }
}

/// Writes the rows of one record.
pub(super) fn insert_rows(trees: &Trees, hash: u64, facts: &Facts) -> sled::Result<()> {
    each_row(trees, hash, facts, |tree, row| tree.insert(row, &[]).map(drop))
}

fn each_row(
    trees: &Trees,
    hash: u64,
    facts: &Facts,
    write: impl Fn(&sled::Tree, [u8; 16]) -> sled::Result<()>,
) -> sled::Result<()> {
    let created = joined(time_bytes(facts.created_at), hash);
    write(&trees.by_access, created)?;
    write(&trees.by_creation, created)?;
    if let Some(at) = facts.expires_at {
        write(&trees.by_expiry, joined(time_bytes(at), hash))?;
    }
    for group in &facts.groups {
        write(&trees.by_group, joined(group.to_be_bytes(), hash))?;
    }
    Ok(())
}

pub(super) fn expired(trees: &Trees, now: Timestamp, limit: usize) -> sled::Result<Vec<(IndexKey, Record)>> {
    let mut found = Vec::new();
    let mut start: Option<[u8; 16]> = None;
    while found.len() < limit {
        let Some(row) = first_behind(&trees.by_expiry, start)? else { break };
        start = Some(row);
        let (at, hash) = split(row);
        if at > now {
            break;
        }
        let records = SledIndex::records_of_hash(trees, hash)?;
        let due = |record: &Record| expiry_of(record).is_some_and(|expiry| expiry <= now);
        if !records.iter().any(|(_, record)| due(record)) {
            trees.by_expiry.remove(row)?;
        }
        found.extend(records.into_iter().filter(|(_, record)| due(record)));
    }
    Ok(found)
}

pub(super) fn newest(
    trees: &Trees,
    after: Option<(Timestamp, &IndexKey)>,
    limit: usize,
) -> sled::Result<Vec<(IndexKey, Record)>> {
    let end = after.map_or([u8::MAX; 16], |(at, key)| joined(time_bytes(at), key.hash()));
    let mut found = Vec::new();
    for row in trees.by_creation.range(..=end).keys().rev() {
        if found.len() >= limit {
            break;
        }
        let Ok(row) = <[u8; 16]>::try_from(row?.as_ref()) else { continue };
        let at = split(row).0;
        let mut created = created_by(trees, row)?;
        created.retain(|(key, _)| after.is_none_or(|after| (at, key) < after));
        created.sort_by(|(one, _), (other, _)| other.cmp(one));
        found.extend(created);
    }
    Ok(found)
}

pub(super) fn creation_bounds(trees: &Trees) -> sled::Result<Option<(Timestamp, Timestamp)>> {
    let oldest = first_created(trees, trees.by_creation.iter().keys())?;
    let newest = first_created(trees, trees.by_creation.iter().keys().rev())?;
    Ok(oldest.zip(newest))
}

fn first_created(
    trees: &Trees,
    rows: impl Iterator<Item = sled::Result<sled::IVec>>,
) -> sled::Result<Option<Timestamp>> {
    for row in rows {
        let Ok(row) = <[u8; 16]>::try_from(row?.as_ref()) else { continue };
        if !created_by(trees, row)?.is_empty() {
            return Ok(Some(split(row).0));
        }
    }
    Ok(None)
}

/// The records that a row of `by_creation` stands for; none once they were removed or replaced.
fn created_by(trees: &Trees, row: [u8; 16]) -> sled::Result<Vec<(IndexKey, Record)>> {
    let (at, hash) = split(row);
    let mut records = SledIndex::records_of_hash(trees, hash)?;
    records.retain(|(_, record)| record.core().is_ok_and(|core| core.created_at == at));
    Ok(records)
}

fn expiry_of(record: &Record) -> Option<Timestamp> {
    record.core().ok()?.expires_at
}

pub(super) fn group(
    trees: &Trees,
    group: Group,
    after: Option<&IndexKey>,
    limit: usize,
) -> sled::Result<Vec<(IndexKey, Record)>> {
    let first = joined(group.to_be_bytes(), after.map_or(0, IndexKey::hash));
    let mut found = Vec::new();
    for row in trees.by_group.range(first..).keys() {
        let row = row?;
        let Ok(row) = <[u8; 16]>::try_from(row.as_ref()) else { continue };
        if row[..8] != group.to_be_bytes() || found.len() >= limit {
            break;
        }
        let records = SledIndex::records_of_hash(trees, split(row).1)?;
        let behind = |key: &IndexKey| after.is_none_or(|after| key > after);
        let member = |record: &Record| Facts::of(record).is_ok_and(|facts| facts.groups.contains(&group));
        found.extend(records.into_iter().filter(|(key, record)| behind(key) && member(record)));
    }
    Ok(found)
}

fn first_behind(tree: &sled::Tree, start: Option<[u8; 16]>) -> sled::Result<Option<[u8; 16]>> {
    let start = start.map_or(Bound::Unbounded, Bound::Excluded);
    for row in tree.range::<[u8; 16], _>((start, Bound::Unbounded)).keys() {
        if let Ok(row) = <[u8; 16]>::try_from(row?.as_ref()) {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// Times sort as bytes when their sign bit is flipped.
fn time_bytes(time: Timestamp) -> [u8; 8] {
    (time.as_micros() ^ i64::MIN).to_be_bytes()
}

fn time_from(bytes: [u8; 8]) -> Timestamp {
    Timestamp::from_micros(i64::from_be_bytes(bytes) ^ i64::MIN)
}

fn joined(first: [u8; 8], hash: u64) -> [u8; 16] {
    let mut row = [0; 16];
    row[..8].copy_from_slice(&first);
    row[8..].copy_from_slice(&hash.to_be_bytes());
    row
}

fn split(row: [u8; 16]) -> (Timestamp, u64) {
    let [mut time, mut hash] = [[0; 8]; 2];
    time.copy_from_slice(&row[..8]);
    hash.copy_from_slice(&row[8..]);
    (time_from(time), u64::from_be_bytes(hash))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
