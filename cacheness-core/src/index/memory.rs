//! A metadata backend that lives and dies with the process.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::backend::{Applied, Change, Facts, MetadataBackend, Row, Scan, Swap, Totals, Traits};
use crate::clock::Timestamp;
use crate::error::{CacheError, ErrorKind, Result};

type Key = Arc<[u8]>;

/// Rows in ordered maps behind one lock.
///
/// Also the ground for a backend that keeps few rows elsewhere: it loads them into one of these, and brings them back at a
/// [`flush`](MetadataBackend::flush).
#[derive(Debug, Default)]
pub struct MemoryMetadata(RwLock<Tables>);

#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) rows: BTreeMap<Key, Stored>,
    pub(super) state: BTreeMap<String, Vec<u8>>,
    by_expiry: BTreeSet<(Timestamp, Key)>,
    by_use: BTreeSet<(Timestamp, Key)>,
    by_creation: BTreeSet<(Timestamp, Key)>,
    by_group: BTreeSet<(u64, Key)>,
    bytes: u64,
    /// How often anything was changed.
    pub(super) changes: u64,
    closed: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) bytes: Vec<u8>,
    pub(super) facts: Facts,
    pub(super) used_at: Option<Timestamp>,
}

impl Stored {
    /// Where it stands in the order of use.
    fn last_use(&self) -> Timestamp {
        self.used_at.map_or(self.facts.created_at, |at| at.max(self.facts.created_at))
    }

    fn footprint(&self) -> u64 {
        (self.bytes.len() as u64).saturating_add(self.facts.blob_bytes)
    }
}

impl Tables {
    pub(super) fn insert(&mut self, key: &[u8], row: Stored) -> Option<Stored> {
        let previous = self.take(key);
        let key: Key = previous.as_ref().map_or_else(|| Arc::from(key), |(key, _)| Arc::clone(key));
        self.bytes = self.bytes.wrapping_add(row.footprint());
        self.by_use.insert((row.last_use(), Arc::clone(&key)));
        self.by_creation.insert((row.facts.created_at, Arc::clone(&key)));
        self.by_expiry.extend(row.facts.expires_at.map(|at| (at, Arc::clone(&key))));
        self.by_group.extend(row.facts.groups.iter().map(|group| (*group, Arc::clone(&key))));
        self.rows.insert(key, row);
        previous.map(|(_, row)| row)
    }

    fn take(&mut self, key: &[u8]) -> Option<(Key, Stored)> {
        let (key, row) = self.rows.remove_entry(key)?;
        self.bytes = self.bytes.wrapping_sub(row.footprint());
        self.by_use.remove(&(row.last_use(), Arc::clone(&key)));
        self.by_creation.remove(&(row.facts.created_at, Arc::clone(&key)));
        if let Some(at) = row.facts.expires_at {
            self.by_expiry.remove(&(at, Arc::clone(&key)));
        }
        for group in &row.facts.groups {
            self.by_group.remove(&(*group, Arc::clone(&key)));
        }
        Some((key, row))
    }

    fn apply(&mut self, change: &Change<'_>) -> Applied {
        let there = self.rows.get(change.key);
        if !change.expected.is_met_by(there.map(|row| &row.bytes[..])) {
            return Applied::NOT_MADE;
        }
        self.changes += 1;
        let previous = match change.row {
            None => self.take(change.key).map(|(_, row)| row),
            Some((bytes, facts)) => {
                let same = there.filter(|row| row.facts.created_at == facts.created_at);
                let used_at = same.and_then(|row| row.used_at);
                self.insert(change.key, Stored { bytes: bytes.to_vec(), facts: facts.clone(), used_at })
            }
        };
        Applied::made(previous.map(|row| row.bytes))
    }

    fn used(&mut self, key: &[u8], at: Timestamp) {
        let Some((key, row)) = self.rows.get_key_value(key) else { return };
        let (key, before) = (Arc::clone(key), row.last_use());
        let Some(row) = self.rows.get_mut(&key) else { return };
        row.used_at = Some(at);
        let after = row.last_use();
        self.by_use.remove(&(before, Arc::clone(&key)));
        self.by_use.insert((after, key));
        self.changes += 1;
    }

    fn row(&self, key: &Key) -> Option<Row> {
        let Stored { bytes, used_at, .. } = self.rows.get(key)?;
        Some(Row { used_at: *used_at, ..Row::new(Arc::clone(key), bytes.clone()) })
    }

    fn keys_behind(&self, after: Option<&[u8]>) -> impl Iterator<Item = &Key> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.rows.range::<[u8], _>((start, Bound::Unbounded)).map(|(key, _)| key)
    }

    fn page(&self, scan: &Scan<'_>, limit: usize) -> Vec<Row> {
        let rows = |keys: &mut dyn Iterator<Item = &Key>| keys.take(limit).filter_map(|key| self.row(key)).collect();
        match scan {
            Scan::Keys { after } => rows(&mut self.keys_behind(*after)),
            Scan::Prefix(prefix) => {
                let all = self.rows.range::<[u8], _>((Bound::Included(*prefix), Bound::Unbounded));
                rows(&mut all.map(|(key, _)| key).take_while(|key| key.starts_with(prefix)))
            }
            Scan::Expired { now } => {
                rows(&mut self.by_expiry.iter().take_while(|(at, _)| at <= now).map(|(_, key)| key))
            }
            Scan::LeastUsed => rows(&mut self.by_use.iter().map(|(_, key)| key)),
            Scan::Newest { before } => {
                let end = before.map_or(Bound::Unbounded, |(at, key)| Bound::Excluded((at, Arc::from(key))));
                rows(&mut self.by_creation.range((Bound::Unbounded, end)).rev().map(|(_, key)| key))
            }
            Scan::Group { group, after } => {
                let start = match after {
                    Some(key) => Bound::Excluded((*group, Arc::from(*key))),
                    None => Bound::Included((*group, Arc::from([].as_slice()))),
                };
                let members = self.by_group.range((start, Bound::Unbounded));
                rows(&mut members.take_while(|(other, _)| other == group).map(|(_, key)| key))
            }
        }
    }

    fn totals(&self) -> Totals {
        let created = self.by_creation.first().zip(self.by_creation.last());
        Totals {
            entries: self.rows.len() as u64,
            bytes: self.bytes,
            created: created.map(|(oldest, newest)| (oldest.0, newest.0)),
            lost: 0,
        }
    }

    fn swap(&mut self, name: &str, swap: Swap<'_>) {
        if self.state.get(name).map(|there| &there[..]) != swap.expected {
            return;
        }
        self.changes += 1;
        match swap.new {
            Some(new) => drop(self.state.insert(name.to_owned(), new.to_vec())),
            None => drop(self.state.remove(name)),
        }
    }
}

impl MemoryMetadata {
    /// One without rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn of(tables: Tables) -> Self {
        Self(RwLock::new(tables))
    }

    pub(super) fn read(&self) -> Result<RwLockReadGuard<'_, Tables>> {
        let tables = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if tables.closed { Err(closed()) } else { Ok(tables) }
    }

    fn write(&self) -> Result<RwLockWriteGuard<'_, Tables>> {
        let tables = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if tables.closed { Err(closed()) } else { Ok(tables) }
    }
}

fn closed() -> CacheError {
    CacheError::new(ErrorKind::Closed, "the cache is closed")
}

impl MetadataBackend for MemoryMetadata {
    fn traits(&self) -> Traits {
        Traits::new("memory")
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.read()?.rows.get(key).map(|row| row.bytes.clone()))
    }

    fn apply(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>> {
        let mut tables = self.write()?;
        Ok(changes.iter().map(|change| tables.apply(change)).collect())
    }

    fn page(&self, scan: &Scan<'_>, limit: usize) -> Result<Vec<Row>> {
        Ok(self.read()?.page(scan, limit))
    }

    fn keys(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        Ok(self.read()?.keys_behind(after).take(limit).cloned().collect())
    }

    fn used(&self, uses: &[(&[u8], Timestamp)]) -> Result<()> {
        let mut tables = self.write()?;
        uses.iter().for_each(|(key, at)| tables.used(key, *at));
        Ok(())
    }

    fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>> {
        Ok(self.read()?.rows.get(key).and_then(|row| row.used_at))
    }

    fn totals(&self) -> Result<Totals> {
        Ok(self.read()?.totals())
    }

    fn state(&self, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> {
        let Some(swap) = swap else { return Ok(self.read()?.state.get(name).cloned()) };
        let mut tables = self.write()?;
        tables.swap(name, swap);
        Ok(tables.state.get(name).cloned())
    }

    fn flush(&self) -> Result<()> {
        self.read().map(drop)
    }

    fn close(&self) -> Result<()> {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Tables { closed: true, ..Tables::default() };
        Ok(())
    }
}
