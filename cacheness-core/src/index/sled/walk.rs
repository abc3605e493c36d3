//! Following the orders to the records.
//!
//! A row is copied out and its records are read without the lock on the orders: meanwhile another thread may have changed
//! them. So what a record itself says decides, never the row.

use std::collections::HashMap;
use std::ops::Bound;

use super::Trees;
use super::orders::Orders;
use super::rows::Row as Place;
use super::uses::Uses;
use crate::clock::Timestamp;
use crate::entry::IndexKey;
use crate::index::Record;
use crate::index::backend::Row;

type Rows = Vec<Row>;

fn row_of((key, record): (IndexKey, Record)) -> Row {
    Row::new(key.into_shared(), record.into_bytes())
}

/// The hash that a key begins with: what the orders know it by.
pub(super) fn hash_of(key: &[u8]) -> u64 {
    key.first_chunk().copied().map_or(0, u64::from_be_bytes)
}

pub(super) fn by_key(trees: &Trees, after: Option<&[u8]>, limit: usize) -> sled::Result<Rows> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    as_they_are(trees.entries.range::<&[u8], _>((start, Bound::Unbounded)).take(limit))
}

pub(super) fn with_prefix(trees: &Trees, prefix: &[u8], limit: usize) -> sled::Result<Rows> {
    as_they_are(trees.entries.scan_prefix(prefix).take(limit))
}

fn as_they_are(rows: impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>) -> sled::Result<Rows> {
    rows.map(|row| row.map(|(key, bytes)| Row::new((&*key).into(), bytes.to_vec()))).collect()
}

/// Rows copied in one step, also where few entries are asked for.
const SMALLEST_STEP: usize = 16;

pub(super) fn expired(trees: &Trees, orders: &Orders, now: Timestamp, limit: usize) -> sled::Result<Rows> {
    let due = |record: &Record| record.times().is_ok_and(|(_, expires_at)| expires_at.is_some_and(|at| at <= now));
    let (mut found, mut start) = (Vec::new(), Bound::Unbounded);
    while found.len() < limit {
        let end = Bound::Included((now, u64::MAX));
        let rows = step(limit - found.len(), orders.lock().by_expiry.range((start, end)));
        let Some(last) = rows.last() else { break };
        start = Bound::Excluded(*last);
        for row in rows {
            if found.len() >= limit {
                break;
            }
            let records = trees.of_hash(row.1)?;
            found.extend(records.into_iter().filter(|(_, record)| due(record)).map(row_of));
        }
    }
    Ok(found)
}

/// Goes through the order of use, putting right what it meets.
#[derive(Default)]
pub(super) struct ByUse {
    last: Option<Place<Timestamp>>,
    /// Where rows were moved on to. Followed once: an entry that is read all the time would stay ahead for ever.
    moved: HashMap<u64, Timestamp>,
}

impl ByUse {
    /// The next row. One at a time: a row that is moved on may come to lie before those behind it.
    pub(super) fn next(&mut self, orders: &Orders) -> Option<Place<Timestamp>> {
        let start = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let row = orders.lock().by_access.range((start, Bound::Unbounded)).next();
        self.last = row.or(self.last);
        row
    }

    /// Moves the row to the last use of its entry if that came later; says whether it did. An entry that was moved, in an
    /// earlier run perhaps, and was then put again can have two rows. The caller has the turn of the key.
    pub(super) fn moves(&mut self, orders: &Orders, uses: &Uses, row: Place<Timestamp>) -> bool {
        let (at, hash) = row;
        let by_access = &mut orders.lock().by_access;
        match self.moved.get(&hash) {
            Some(moved_to) if at < *moved_to => by_access.drop_row(row), // left over; the entry has the later row
            Some(_) => return false,
            None => {
                let Some(later) = uses.last(hash).filter(|used_at| *used_at > at) else { return false };
                by_access.drop_row(row);
                by_access.insert((later, hash), ());
                self.moved.insert(hash, later);
            }
        }
        true
    }

    /// The entries whose turn to go it is. The caller has the turn of the key.
    pub(super) fn due(trees: &Trees, orders: &Orders, row: Place<Timestamp>) -> sled::Result<Rows> {
        let (at, hash) = row;
        let records = trees.of_hash(hash)?;
        // One that was created later has a later row of its own.
        let due = |record: &Record| record.times().is_ok_and(|(created_at, _)| created_at <= at);
        let records: Rows = records.into_iter().filter(|(_, record)| due(record)).map(row_of).collect();
        if records.is_empty() {
            orders.lock().by_access.drop_row(row);
        }
        Ok(records)
    }
}

pub(super) fn newest(
    trees: &Trees,
    orders: &Orders,
    after: Option<(Timestamp, &[u8])>,
    limit: usize,
) -> sled::Result<Rows> {
    let mut end = after.map_or(Bound::Unbounded, |(at, key)| Bound::Included((at, hash_of(key))));
    let mut found = Vec::new();
    while found.len() < limit {
        let rows = step(limit - found.len(), orders.lock().by_creation.range((Bound::Unbounded, end)).rev());
        let Some(last) = rows.last() else { break };
        end = Bound::Excluded(*last);
        for row in rows {
            if found.len() >= limit {
                break;
            }
            let mut created = created_by(trees, row)?;
            created.retain(|created| after.is_none_or(|after| (row.0, &*created.key) < after));
            created.sort_by(|one, other| other.key.cmp(&one.key));
            found.extend(created);
        }
    }
    Ok(found)
}

fn created_by(trees: &Trees, (at, hash): Place<Timestamp>) -> sled::Result<Rows> {
    let created = |record: &Record| record.times().is_ok_and(|(created_at, _)| created_at == at);
    Ok(trees.of_hash(hash)?.into_iter().filter(|(_, record)| created(record)).map(row_of).collect())
}

pub(super) fn group(
    trees: &Trees,
    orders: &Orders,
    group: u64,
    after: Option<&[u8]>,
    limit: usize,
) -> sled::Result<Rows> {
    let mut start = Bound::Included((group, after.map_or(0, hash_of)));
    let behind = |key: &IndexKey| after.is_none_or(|after| key.as_bytes() > after);
    let member = |record: &Record| record.facts().is_ok_and(|facts| facts.groups.contains(&group));
    let mut found = Vec::new();
    while found.len() < limit {
        let end = Bound::Included((group, u64::MAX));
        let rows = step(limit - found.len(), orders.lock().by_group.range((start, end)));
        let Some(last) = rows.last() else { break };
        start = Bound::Excluded(*last);
        for (_, hash) in rows {
            if found.len() >= limit {
                break;
            }
            let records = trees.of_hash(hash)?;
            found.extend(records.into_iter().filter(|(key, record)| behind(key) && member(record)).map(row_of));
        }
    }
    Ok(found)
}

/// Copies the next rows. The lock they are copied under is free again when they are followed.
fn step<B>(wanted: usize, rows: impl Iterator<Item = Place<B>>) -> Vec<Place<B>> {
    rows.take(wanted.max(SMALLEST_STEP)).collect()
}
