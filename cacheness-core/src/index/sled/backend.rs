//! The index as a metadata backend.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::disk;
use super::orders::{Orders, Placed, Row as Place, footprint};
use super::saved::Uses;
use super::{SledIndex, Trees, closed};
use crate::clock::Timestamp;
use crate::entry::IndexKey;
use crate::error::Result;
use crate::index::Record;
use crate::index::backend::{Applied, Change, Expected, MetadataBackend, Row, Scan, Swap, Totals, Traits};

impl SledIndex {
    fn apply_one(&self, change: &Change<'_>) -> Result<Applied> {
        let key = IndexKey::from_stored(change.key)?;
        let kind = if change.row.is_some() { disk::Change::More } else { disk::Change::Less };
        self.change(kind, &key, |trees| {
            let new = change.row.map(|(bytes, _)| bytes);
            let previous = match exchange(trees, change.key, change.expected, new)? {
                Ok(previous) => previous,
                Err(NotMade) => return Ok(Applied::NOT_MADE),
            };
            let facts = previous.as_ref().and_then(|bytes| self.facts_of_gone(trees, &key, bytes));
            let gone = previous.as_ref().zip(facts.as_ref()).map(|(bytes, facts)| Placed::of(bytes, facts));
            match change.row {
                Some((bytes, facts)) => self.note_put(&key, gone.as_ref(), bytes, facts),
                None if previous.is_some() => self.note_removal(&key, gone.as_ref()),
                None => {}
            }
            Ok(Applied::made(previous.map(|bytes| bytes.to_vec())))
        })
    }

    fn least_used(&self, limit: usize) -> Result<Vec<Row>> {
        let doing = "read the index by last access";
        self.with(doing, |_| Ok(()))?;
        let (mut walk, mut found) = (ByUse::default(), Vec::new());
        while found.len() < limit {
            let Some(row) = walk.next(&self.orders) else { break };
            let _turn = self.turn(row.1);
            if !walk.moves(&self.orders, &self.uses, row) {
                found.extend(self.with(doing, |trees| ByUse::due(trees, &self.orders, row))?);
            }
        }
        Ok(found)
    }

    fn with_uses(&self, mut rows: Vec<Row>) -> Vec<Row> {
        for row in &mut rows {
            row.used_at = self.uses.last(hash_of(&row.key));
        }
        rows
    }
}

/// Another row is there than was expected.
struct NotMade;

/// Puts a row in the place of the expected one, or takes that out; the one that was there.
fn exchange(
    trees: &Trees,
    key: &[u8],
    expected: Expected<'_>,
    new: Option<&[u8]>,
) -> sled::Result<std::result::Result<Option<sled::IVec>, NotMade>> {
    let expected = match (expected, new) {
        (Expected::Anything, Some(new)) => return trees.entries.insert(key, new).map(Ok),
        (Expected::Anything, None) => return trees.entries.remove(key).map(Ok),
        (Expected::Absent, _) => None,
        (Expected::Bytes(bytes), _) => Some(bytes),
    };
    let swapped = trees.entries.compare_and_swap(key, expected, new)?;
    Ok(swapped.map(|()| expected.map(sled::IVec::from)).map_err(|_| NotMade))
}

impl MetadataBackend for SledIndex {
    fn traits(&self) -> Traits {
        Traits::new("sled").persistent()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let bytes = self.with("read the index", |trees| trees.entries.get(key))?;
        Ok(bytes.map(|bytes| bytes.to_vec()))
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.with("read the index", |trees| {
            keys.iter().map(|key| Ok(trees.entries.get(key)?.map(|bytes| bytes.to_vec()))).collect()
        })
    }

    fn apply(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>> {
        changes.iter().map(|change| self.apply_one(change)).collect()
    }

    fn page(&self, scan: &Scan<'_>, limit: usize) -> Result<Vec<Row>> {
        let (orders, doing) = (&self.orders, "read the index");
        let rows = match *scan {
            Scan::Keys { after } => self.with(doing, |trees| by_key(trees, after, limit)),
            Scan::Prefix(prefix) => self.with(doing, |trees| with_prefix(trees, prefix, limit)),
            Scan::Expired { now } => self.with("read the index by expiry", |trees| expired(trees, orders, now, limit)),
            Scan::LeastUsed => self.least_used(limit),
            Scan::Newest { before } => {
                self.with("read the index by creation", |trees| newest(trees, orders, before, limit))
            }
            Scan::Group { group, after } => {
                self.with("read the index by group", |trees| of_group(trees, orders, group, after, limit))
            }
        };
        rows.map(|rows| self.with_uses(rows))
    }

    fn keys(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.with("read the index", |trees| {
            let keys = trees.entries.range::<&[u8], _>((start, Bound::Unbounded)).keys();
            keys.take(limit).map(|key| Ok(Arc::from(&*key?))).collect()
        })
    }

    fn used(&self, uses: &[(&[u8], Timestamp)]) -> Result<()> {
        uses.iter().for_each(|(key, at)| self.uses.note(hash_of(key), *at));
        Ok(())
    }

    fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>> {
        self.with("read the index", |_| Ok(self.uses.last(hash_of(key))))
    }

    fn totals(&self) -> Result<Totals> {
        // From memory: they are to cost the same however many entries there are.
        if self.slot().closed {
            return Err(closed());
        }
        let bounds = self.orders.lock().by_creation.bounds();
        let sums = self.counts.sums();
        Ok(Totals {
            entries: sums.entries,
            bytes: sums.bytes,
            created: bounds.map(|(oldest, newest)| (oldest.0, newest.0)),
            lost: sums.lost,
        })
    }

    fn footprint(&self, row: u64, blob: u64) -> u64 {
        footprint(row, blob)
    }

    fn state(&self, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> {
        // What is closed answers nothing.
        self.with("read the index", |_| Ok(()))?;
        self.states.get(&self.options.root, name, swap)
    }

    fn epoch(&self) -> u64 {
        self.slot().generation
    }

    fn doubt_blobs(&self) {
        self.doubts_blobs.store(true, Ordering::SeqCst);
    }

    fn tidy(&self, go_on: &dyn Fn() -> bool) -> Result<()> {
        self.rewrite_if_dead(go_on)
    }

    fn flush(&self) -> Result<()> {
        let last = self.pending.last();
        self.with("flush the index", |trees| trees.flush())?;
        self.pending.flushed(last);
        self.save_uses(Uses::append);
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.shut()
    }
}

// Following the orders to the records.
//
// A row is copied out and its records are read without the lock on the orders: meanwhile another thread may have changed
// them. So what a record itself says decides, never the row.

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

pub(super) fn of_group(
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
