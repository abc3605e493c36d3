//! The orders of the entries: which expires when, which was used when, which belongs to which group.
//!
//! They live in memory and follow every change of a record at once. A clean close [saves](super::saved) them; after any
//! other end they are made anew by one look at all records. A row names an entry by the hash of its key, so that two
//! keys with one hash may share a row: rows are counted, and whoever follows one looks at the records of all its keys.
//!
//! | order | row |
//! |---|---|
//! | by_expiry | expires at, hash |
//! | by_access | created at, or the last use when eviction last looked, hash |
//! | by_creation | created at, hash, and a mark of the record |
//! | by_group | group, hash |
//!
//! The order by creation also proves after damage which records are the current ones: creation, hash and mark together
//! are those of no other version of an entry.
//!
//! A use moves no row: eviction puts the row right when it meets it. What must hold is that every entry has a row in
//! `by_access` at or before its last use; a row there may outlive its entry until it is met.

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::uses::Uses;
use crate::clock::Timestamp;
use crate::index::backend::Facts;

/// The orders behind one lock, which is held no longer than it takes to change or copy some rows.
#[derive(Debug, Default)]
pub(super) struct Orders(Mutex<Tables>);

#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) by_expiry: Rows<Timestamp>,
    pub(super) by_access: Rows<Timestamp>,
    pub(super) by_creation: Created,
    pub(super) by_group: Rows<u64>,
}

/// The order of creation, with a mark of every record.
pub(super) type Created = Rows<Timestamp, u32>;

/// A row of the index and its facts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<'a> {
    pub(super) facts: &'a Facts,
    pub(super) mark: u32,
    pub(super) len: u64,
}

impl<'a> Placed<'a> {
    pub(super) fn of(bytes: &[u8], facts: &'a Facts) -> Self {
        Self { facts, mark: mark_of(bytes), len: bytes.len() as u64 }
    }

    pub(super) fn footprint(&self) -> u64 {
        footprint(self.len, self.facts.blob_bytes)
    }
}

/// Tells a version of a row from others of the same creation: a short form of the checksum that it ends with.
pub(super) fn mark_of(bytes: &[u8]) -> u32 {
    let sum = bytes.last_chunk().copied().map_or(0, u64::from_le_bytes);
    (sum ^ (sum >> 32)) as u32
}

impl Orders {
    pub(super) fn of(tables: Tables) -> Self {
        Self(Mutex::new(tables))
    }

    pub(super) fn replace_by(&self, tables: Tables) {
        *self.lock() = tables;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One record takes the place of another, or of none, or none takes its place.
    pub(super) fn change(&self, hash: u64, before: Option<&Placed<'_>>, after: Option<&Placed<'_>>) {
        let mut tables = self.lock();
        if let Some(before) = before {
            tables.remove(hash, before);
        }
        if let Some(after) = after {
            tables.insert(hash, after);
        }
    }
}

/// Collects the rows of all records, to be put in order together.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    by_expiry: Vec<(Row<Timestamp>, ())>,
    by_creation: Vec<(Row<Timestamp>, u32)>,
    by_group: Vec<(Row<u64>, ())>,
}

impl Gathering {
    pub(super) fn add(&mut self, hash: u64, row: &Placed<'_>) {
        let facts = row.facts;
        self.by_creation.push(((facts.created_at, hash), row.mark));
        self.by_expiry.extend(facts.expires_at.map(|at| ((at, hash), ())));
        self.by_group.extend(facts.groups.iter().map(|group| ((*group, hash), ())));
    }

    /// The tables, without the order of use: that one follows from [`Tables::place`].
    pub(super) fn finish(self) -> Tables {
        Tables {
            by_expiry: Rows::of(self.by_expiry),
            by_access: Rows::default(),
            by_creation: Rows::of(self.by_creation),
            by_group: Rows::of(self.by_group),
        }
    }
}

impl Tables {
    /// Makes the order of use.
    #[must_use]
    pub(super) fn place(mut self, uses: &Uses) -> Self {
        self.by_access = uses.placed(&self.by_creation);
        self
    }

    fn insert(&mut self, hash: u64, row: &Placed<'_>) {
        let facts = row.facts;
        self.by_access.insert((facts.created_at, hash), ());
        self.by_creation.insert((facts.created_at, hash), row.mark);
        if let Some(at) = facts.expires_at {
            self.by_expiry.insert((at, hash), ());
        }
        facts.groups.iter().for_each(|group| self.by_group.insert((*group, hash), ()));
    }

    fn remove(&mut self, hash: u64, row: &Placed<'_>) {
        let facts = row.facts;
        self.by_access.remove((facts.created_at, hash), ());
        self.by_creation.remove((facts.created_at, hash), row.mark);
        if let Some(at) = facts.expires_at {
            self.by_expiry.remove((at, hash), ());
        }
        facts.groups.iter().for_each(|group| self.by_group.remove((*group, hash), ()));
    }
}

/// What an order goes by, and the hash of the key of an entry.
pub(super) type Row<B> = (B, u64);

/// What the entries of one row have in common with nobody else: summed up, so that one can be taken out again.
pub(super) trait Mark: Copy + Default {
    fn add(&mut self, other: Self);
    fn take(&mut self, other: Self);
}

impl Mark for () {
    fn add(&mut self, (): ()) {}
    fn take(&mut self, (): ()) {}
}

impl Mark for u32 {
    fn add(&mut self, other: Self) {
        *self = self.wrapping_add(other);
    }

    fn take(&mut self, other: Self) {
        *self = self.wrapping_sub(other);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally<M> {
    count: u32,
    mark: M,
}

/// Rows in order, each with how many entries it stands for.
#[derive(Debug)]
pub(super) struct Rows<B, M = ()>(BTreeMap<Row<B>, Tally<M>>);

impl<B, M> Default for Rows<B, M> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<B: Ord + Copy, M: Mark> Rows<B, M> {
    /// Takes rows that are sorted already, or nearly, in less time than one by one.
    pub(super) fn of(mut rows: Vec<(Row<B>, M)>) -> Self {
        rows.sort_by_key(|(row, _)| *row);
        let mut counted: Vec<(Row<B>, Tally<M>)> = Vec::with_capacity(rows.len());
        for (row, mark) in rows {
            match counted.last_mut() {
                Some((last, tally)) if *last == row => {
                    tally.count += 1;
                    tally.mark.add(mark);
                }
                _ => counted.push((row, Tally { count: 1, mark })),
            }
        }
        Self(counted.into_iter().collect())
    }

    pub(super) fn insert(&mut self, row: Row<B>, mark: M) {
        let tally = self.0.entry(row).or_default();
        tally.count += 1;
        tally.mark.add(mark);
    }

    /// Takes one entry out of a row. A row that is not there is no mistake: eviction moves rows.
    pub(super) fn remove(&mut self, row: Row<B>, mark: M) {
        if let Some(tally) = self.0.get_mut(&row) {
            tally.count -= 1;
            tally.mark.take(mark);
            if tally.count == 0 {
                self.0.remove(&row);
            }
        }
    }

    /// Takes the row out, whatever it stands for.
    pub(super) fn drop_row(&mut self, row: Row<B>) {
        self.0.remove(&row);
    }

    pub(super) fn range(&self, range: impl RangeBounds<Row<B>>) -> impl DoubleEndedIterator<Item = Row<B>> {
        self.0.range(range).map(|(row, _)| *row)
    }

    /// The least row and the greatest.
    pub(super) fn bounds(&self) -> Option<(Row<B>, Row<B>)> {
        let ends = self.0.first_key_value().zip(self.0.last_key_value());
        ends.map(|((first, _), (last, _))| (*first, *last))
    }

    /// Every row as often as it was put in.
    pub(super) fn iter(&self) -> impl Iterator<Item = Row<B>> {
        self.0.iter().flat_map(|(row, tally)| std::iter::repeat_n(*row, tally.count as usize))
    }

    /// The mark of every row, each once.
    pub(super) fn marks(&self) -> impl Iterator<Item = M> {
        self.0.values().map(|tally| tally.mark)
    }

    /// Gives the rows their marks, in the order of [`marks`](Self::marks).
    pub(super) fn set_marks(&mut self, marks: impl Iterator<Item = M>) {
        self.0.values_mut().zip(marks).for_each(|(tally, mark)| tally.mark = mark);
    }

    pub(super) fn has(&self, row: Row<B>) -> bool {
        self.0.contains_key(&row)
    }

    /// The mark of a row that stands for one entry.
    pub(super) fn mark_of_one(&self, row: Row<B>) -> Option<M> {
        self.0.get(&row).filter(|tally| tally.count == 1).map(|tally| tally.mark)
    }
}

// How many records there are, how many bytes they and their values take, and how many damage has cost.

/// So many times the bytes of its records the index may take on the disk, before it is [written anew](super::rewrite). A
/// database that was just written takes two to three times as much, for sled writes a page anew after some changes: with
/// five times, about half is dead.
pub(super) const MOST_TIMES: u64 = 5;

/// What an entry may take on the disk: its share of the index, and its blob if it has one.
pub(in crate::index) fn footprint(row: u64, blob: u64) -> u64 {
    row.saturating_mul(MOST_TIMES).saturating_add(blob)
}

/// What is kept, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// Bytes of the records alone.
    pub(super) records: u64,
    /// Entries that damage has cost since the index was opened.
    pub(super) lost: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    entries: AtomicU64,
    bytes: AtomicU64,
    /// Of the records alone.
    records: AtomicU64,
    lost: AtomicU64,
}

impl Counts {
    pub(super) fn of(sums: Sums) -> Self {
        let counts = Self::default();
        counts.replace_by(sums);
        counts
    }

    pub(super) fn added(&self, row: &Placed<'_>) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(row.footprint(), Ordering::Relaxed);
        self.records.fetch_add(row.len, Ordering::Relaxed);
    }

    pub(super) fn removed(&self, row: &Placed<'_>) {
        self.entries.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(row.footprint(), Ordering::Relaxed);
        self.records.fetch_sub(row.len, Ordering::Relaxed);
    }

    pub(super) fn lose(&self, entries: u64) {
        self.lost.fetch_add(entries, Ordering::Relaxed);
    }

    pub(super) fn sums(&self) -> Sums {
        // Two threads may be between their additions and subtractions: never show less than nothing.
        let shown = |counter: &AtomicU64| counter.load(Ordering::Relaxed).cast_signed().max(0).unsigned_abs();
        let (entries, bytes) = (shown(&self.entries), shown(&self.bytes));
        Sums { entries, bytes, records: shown(&self.records), lost: shown(&self.lost) }
    }

    /// Says how many bytes the records take, where they were not all looked at.
    pub(super) fn set_records(&self, bytes: u64) {
        self.records.store(bytes, Ordering::Relaxed);
    }

    /// Counts what another database holds. What was lost before stays lost.
    pub(super) fn replace_by(&self, sums: Sums) {
        self.entries.store(sums.entries, Ordering::Relaxed);
        self.bytes.store(sums.bytes, Ordering::Relaxed);
        self.records.store(sums.records, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod rows_tests {
    use super::*;

    #[test]
    fn a_row_of_two_entries_stays_until_both_are_gone() {
        let mut rows = Rows::default();
        rows.insert((1, 7), 30_u32);
        rows.insert((1, 7), 4);
        assert_eq!((rows.has((1, 7)), rows.mark_of_one((1, 7))), (true, None));
        rows.remove((1, 7), 30);
        assert_eq!(rows.iter().collect::<Vec<_>>(), [(1, 7)]);
        assert_eq!(rows.mark_of_one((1, 7)), Some(4));
        rows.remove((1, 7), 4);
        rows.remove((1, 7), 4);
        assert_eq!(rows.range(..).next(), None);
    }

    #[test]
    fn rows_taken_together_are_those_put_one_by_one() {
        let unsorted = vec![((2, 1), 1_u32), ((1, 9), 2), ((2, 1), 3), ((0, 3), 4)];
        let together = Rows::of(unsorted.clone());
        let mut one_by_one = Rows::default();
        unsorted.into_iter().for_each(|(row, mark)| one_by_one.insert(row, mark));
        assert!(together.iter().eq(one_by_one.iter()));
        assert_eq!(together.iter().collect::<Vec<_>>(), [(0, 3), (1, 9), (2, 1), (2, 1)]);
        assert_eq!(together.marks().collect::<Vec<_>>(), [4, 2, 4]);
    }
}
