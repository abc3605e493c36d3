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

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::counts;
use super::rows::{Row, Rows};
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
        counts::footprint(self.len, self.facts.blob_bytes)
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
