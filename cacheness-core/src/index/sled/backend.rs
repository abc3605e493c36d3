//! The index as a metadata backend.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::orders::Placed;
use super::room;
use super::uses::Uses;
use super::walk::{self, ByUse};
use super::{SledIndex, Trees, closed, counts};
use crate::clock::Timestamp;
use crate::entry::IndexKey;
use crate::error::Result;
use crate::index::backend::{Applied, Change, Expected, MetadataBackend, Row, Scan, Swap, Totals, Traits};

impl SledIndex {
    fn apply_one(&self, change: &Change<'_>) -> Result<Applied> {
        let key = IndexKey::from_stored(change.key)?;
        let kind = if change.row.is_some() { room::Change::More } else { room::Change::Less };
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
            row.used_at = self.uses.last(walk::hash_of(&row.key));
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
            Scan::Keys { after } => self.with(doing, |trees| walk::by_key(trees, after, limit)),
            Scan::Prefix(prefix) => self.with(doing, |trees| walk::with_prefix(trees, prefix, limit)),
            Scan::Expired { now } => {
                self.with("read the index by expiry", |trees| walk::expired(trees, orders, now, limit))
            }
            Scan::LeastUsed => self.least_used(limit),
            Scan::Newest { before } => {
                self.with("read the index by creation", |trees| walk::newest(trees, orders, before, limit))
            }
            Scan::Group { group, after } => {
                self.with("read the index by group", |trees| walk::group(trees, orders, group, after, limit))
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
        uses.iter().for_each(|(key, at)| self.uses.note(walk::hash_of(key), *at));
        Ok(())
    }

    fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>> {
        self.with("read the index", |_| Ok(self.uses.last(walk::hash_of(key))))
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
        counts::footprint(row, blob)
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
