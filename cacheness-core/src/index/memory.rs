//! An index that lives and dies with the process.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Group, MetadataBackend, Record, Totals};
use crate::clock::Timestamp;
use crate::entry::IndexKey;
use crate::error::Result;

/// Records in ordered maps behind one lock.
#[derive(Debug, Default)]
pub(crate) struct MemoryIndex(RwLock<Tables>);

#[derive(Debug, Default)]
struct Tables {
    rows: BTreeMap<IndexKey, Row>,
    by_expiry: BTreeSet<(Timestamp, IndexKey)>,
    by_access: BTreeSet<(Timestamp, IndexKey)>,
    by_creation: BTreeSet<(Timestamp, IndexKey)>,
    by_group: BTreeSet<(Group, IndexKey)>,
    bytes: u64,
}

struct Row {
    record: Record,
    created_at: Timestamp,
    accessed_at: Timestamp,
    expires_at: Option<Timestamp>,
    groups: Vec<Group>,
    size: u64,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Row {
    fn new(record: &Record) -> Result<Self> {
        let entry = record.entry()?;
        Ok(Self {
            record: record.clone(),
            created_at: entry.core.created_at,
            accessed_at: entry.core.created_at,
            expires_at: entry.core.expires_at,
            groups: Group::all_of(&entry.details),
            size: record.footprint(),
        })
    }
}

impl Tables {
    fn insert(&mut self, key: &IndexKey, row: Row) -> Option<Record> {
        let previous = self.take(key);
        self.bytes += row.size;
        self.by_access.insert((row.accessed_at, key.clone()));
        self.by_creation.insert((row.created_at, key.clone()));
        if let Some(at) = row.expires_at {
            self.by_expiry.insert((at, key.clone()));
        }
        self.by_group.extend(row.groups.iter().map(|group| (*group, key.clone())));
        self.rows.insert(key.clone(), row);
        previous
    }

    fn take(&mut self, key: &IndexKey) -> Option<Record> {
        let row = self.rows.remove(key)?;
        self.bytes = self.bytes.saturating_sub(row.size);
        self.by_access.remove(&(row.accessed_at, key.clone()));
        self.by_creation.remove(&(row.created_at, key.clone()));
        if let Some(at) = row.expires_at {
            self.by_expiry.remove(&(at, key.clone()));
        }
        for group in row.groups {
            self.by_group.remove(&(group, key.clone()));
        }
        Some(row.record)
    }

    fn record_of(&self, key: &IndexKey) -> Option<(IndexKey, Record)> {
        self.rows.get(key).map(|row| (key.clone(), row.record.clone()))
    }
}

impl MemoryIndex {
    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetadataBackend for MemoryIndex {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn get(&self, key: &IndexKey) -> Result<Option<Record>> {
        Ok(self.read().rows.get(key).map(|row| row.record.clone()))
    }

    fn of_keys(&self, keys: &[IndexKey]) -> Result<Vec<(IndexKey, Record)>> {
        let tables = self.read();
        Ok(keys.iter().filter_map(|key| tables.record_of(key)).collect())
    }

    fn with_hash(&self, hash: u64) -> Result<Vec<(IndexKey, Record)>> {
        let tables = self.read();
        let rows = tables.rows.range(IndexKey::first_of(hash)..).take_while(|(key, _)| key.hash() == hash);
        Ok(rows.map(|(key, row)| (key.clone(), row.record.clone())).collect())
    }

    fn put(&self, key: &IndexKey, record: &Record) -> Result<Option<Record>> {
        let row = Row::new(record)?;
        Ok(self.write().insert(key, row))
    }

    fn put_new(&self, key: &IndexKey, record: &Record) -> Result<bool> {
        let row = Row::new(record)?;
        let mut tables = self.write();
        let free = !tables.rows.contains_key(key);
        if free {
            tables.insert(key, row);
        }
        Ok(free)
    }

    fn remove(&self, key: &IndexKey) -> Result<Option<Record>> {
        Ok(self.write().take(key))
    }

    fn remove_expected(&self, key: &IndexKey, expected: &Record) -> Result<bool> {
        let mut tables = self.write();
        let same = tables.rows.get(key).is_some_and(|row| row.record == *expected);
        if same {
            tables.take(key);
        }
        Ok(same)
    }

    fn remove_damaged(&self, _key: &IndexKey) -> Result<bool> {
        Ok(false)
    }

    fn replace_expected(&self, key: &IndexKey, expected: &Record, record: &Record) -> Result<bool> {
        let mut row = Row::new(record)?;
        let mut tables = self.write();
        let Some(current) = tables.rows.get(key).filter(|row| row.record == *expected) else { return Ok(false) };
        if current.created_at == row.created_at {
            row.accessed_at = current.accessed_at;
        }
        tables.insert(key, row);
        Ok(true)
    }

    fn accessed(&self, key: &IndexKey, at: Timestamp) {
        let mut tables = self.write();
        let Some(row) = tables.rows.get_mut(key) else { return };
        let before = std::mem::replace(&mut row.accessed_at, at);
        tables.by_access.remove(&(before, key.clone()));
        tables.by_access.insert((at, key.clone()));
    }

    fn last_access(&self, key: &IndexKey) -> Result<Option<Timestamp>> {
        Ok(self.read().rows.get(key).map(|row| row.accessed_at))
    }

    fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        let tables = self.read();
        let due = tables.by_expiry.iter().take_while(|(at, _)| *at <= now);
        Ok(due.take(limit).filter_map(|(_, key)| tables.record_of(key)).collect())
    }

    fn least_recently_used(&self, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        let tables = self.read();
        Ok(tables.by_access.iter().take(limit).filter_map(|(_, key)| tables.record_of(key)).collect())
    }

    fn newest(&self, after: Option<(Timestamp, &IndexKey)>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        let tables = self.read();
        let end = after.map_or(Bound::Unbounded, |(at, key)| Bound::Excluded((at, key.clone())));
        let rows = tables.by_creation.range((Bound::Unbounded, end)).rev();
        let records = rows.filter_map(|(_, key)| tables.record_of(key));
        Ok(records.filter(|(_, record)| record.is_believed()).take(limit).collect())
    }

    fn creation_bounds(&self) -> Result<Option<(Timestamp, Timestamp)>> {
        let tables = self.read();
        Ok(tables.by_creation.first().zip(tables.by_creation.last()).map(|(oldest, newest)| (oldest.0, newest.0)))
    }

    fn group(&self, group: Group, after: Option<&IndexKey>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        let tables = self.read();
        let start = match after {
            Some(key) => Bound::Excluded((group, key.clone())),
            None => Bound::Included((group, IndexKey::before_all())),
        };
        let members = tables.by_group.range((start, Bound::Unbounded)).take_while(|(other, _)| *other == group);
        Ok(members.take(limit).filter_map(|(_, key)| tables.record_of(key)).collect())
    }

    fn scan(&self, after: Option<&IndexKey>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        let tables = self.read();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = tables.rows.range::<IndexKey, _>((start, Bound::Unbounded));
        Ok(rows.take(limit).map(|(key, row)| (key.clone(), row.record.clone())).collect())
    }

    fn keys(&self, after: Option<&IndexKey>, limit: usize) -> Result<Vec<IndexKey>> {
        let tables = self.read();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(tables
            .rows
            .range::<IndexKey, _>((start, Bound::Unbounded))
            .filter(|(_, row)| row.record.is_believed())
            .take(limit)
            .map(|(key, _)| key.clone())
            .collect())
    }

    fn totals(&self) -> Totals {
        let tables = self.read();
        Totals { entries: tables.rows.len() as u64, bytes: tables.bytes, records: 0, lost: 0 }
    }

    fn footprint(&self, record: &Record) -> u64 {
        record.footprint()
    }

    fn replacements(&self) -> u64 {
        0
    }

    /// Every opening makes it anew.
    fn doubt_blobs(&self) {}

    fn give_back_room(&self, _: &dyn Fn() -> bool) -> Result<()> {
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn close(&self) -> Result<()> {
        *self.write() = Tables::default();
        Ok(())
    }
}
