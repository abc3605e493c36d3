//! Following the orders to the records.
//!
//! A row is copied out and its records are read without the lock on the orders: meanwhile another thread may have changed
//! them. So what a record itself says decides, never the row.

use std::collections::HashMap;
use std::ops::Bound;

use super::orders::{Facts, Orders};
use super::rows::Row;
use super::uses::Uses;
use super::{SledIndex, Trees};
use crate::clock::Timestamp;
use crate::entry::IndexKey;
use crate::index::{Group, Record};

type Records = Vec<(IndexKey, Record)>;

/// Rows copied in one step, also where few entries are asked for.
const SMALLEST_STEP: usize = 16;

pub(super) fn expired(trees: &Trees, orders: &Orders, now: Timestamp, limit: usize) -> sled::Result<Records> {
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
            let records = SledIndex::records_of_hash(trees, row.1)?;
            found.extend(records.into_iter().filter(|(_, record)| due(record)));
        }
    }
    Ok(found)
}

/// Goes through the order of use, putting right what it meets.
#[derive(Default)]
pub(super) struct ByUse {
    last: Option<Row<Timestamp>>,
    /// Where rows were moved on to. Followed once: an entry that is read all the time would stay ahead for ever.
    moved: HashMap<u64, Timestamp>,
}

impl ByUse {
    /// The next row. One at a time: a row that is moved on may come to lie before those behind it.
    pub(super) fn next(&mut self, orders: &Orders) -> Option<Row<Timestamp>> {
        let start = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let row = orders.lock().by_access.range((start, Bound::Unbounded)).next();
        self.last = row.or(self.last);
        row
    }

    /// Moves the row to the last use of its entry if that came later; says whether it did. An entry that was moved, in an
    /// earlier run perhaps, and was then put again can have two rows. The caller has the turn of the key.
    pub(super) fn moves(&mut self, orders: &Orders, uses: &Uses, row: Row<Timestamp>) -> bool {
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
    pub(super) fn due(trees: &Trees, orders: &Orders, row: Row<Timestamp>) -> sled::Result<Records> {
        let (at, hash) = row;
        let mut records = SledIndex::records_of_hash(trees, hash)?;
        // One that was created later has a later row of its own.
        records.retain(|(_, record)| record.times().is_ok_and(|(created_at, _)| created_at <= at));
        if records.is_empty() {
            orders.lock().by_access.drop_row(row);
        }
        Ok(records)
    }
}

pub(super) fn newest(
    trees: &Trees,
    orders: &Orders,
    after: Option<(Timestamp, &IndexKey)>,
    limit: usize,
) -> sled::Result<Records> {
    let mut end = after.map_or(Bound::Unbounded, |(at, key)| Bound::Included((at, key.hash())));
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
            created.retain(|(key, _)| after.is_none_or(|after| (row.0, key) < after));
            created.sort_by(|(one, _), (other, _)| other.cmp(one));
            found.extend(created);
        }
    }
    Ok(found)
}

fn created_by(trees: &Trees, (at, hash): Row<Timestamp>) -> sled::Result<Records> {
    let mut records = SledIndex::records_of_hash(trees, hash)?;
    records.retain(|(_, record)| record.is_believed() && record.core().is_ok_and(|core| core.created_at == at));
    Ok(records)
}

pub(super) fn group(
    trees: &Trees,
    orders: &Orders,
    group: Group,
    after: Option<&IndexKey>,
    limit: usize,
) -> sled::Result<Records> {
    let mut start = Bound::Included((group, after.map_or(0, IndexKey::hash)));
    let behind = |key: &IndexKey| after.is_none_or(|after| key > after);
    let member = |record: &Record| Facts::of(record).is_ok_and(|facts| facts.has(group));
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
            let records = SledIndex::records_of_hash(trees, hash)?;
            found.extend(records.into_iter().filter(|(key, record)| behind(key) && member(record)));
        }
    }
    Ok(found)
}

/// Copies the next rows. The lock they are copied under is free again when they are followed.
fn step<B>(wanted: usize, rows: impl Iterator<Item = Row<B>>) -> Vec<Row<B>> {
    rows.take(wanted.max(SMALLEST_STEP)).collect()
}
