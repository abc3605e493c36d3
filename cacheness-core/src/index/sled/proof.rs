//! Which records were current, by what is known outside the database.

use super::orders::{Created, mark_of};
use crate::entry::{Entry, IndexKey};
use crate::index::Record;

/// The order of creation of an index, as it was closed or as it is in memory. A damaged database may give back records
/// that were replaced or removed: creation, hash and mark together tell them from the current ones.
#[derive(Debug)]
pub(crate) struct Proof(pub(super) Created);

impl Proof {
    /// Whether this record is the current one of its key.
    pub(super) fn holds(&self, key: &IndexKey, record: &Record) -> bool {
        record
            .core()
            .is_ok_and(|core| self.0.mark_of_one((core.created_at, key.hash())) == Some(mark_of(record.as_bytes())))
    }

    /// Whether an entry that a blob's header tells is current.
    pub(crate) fn knows(&self, entry: &Entry) -> bool {
        self.0.has((entry.core.created_at, entry.key.hash()))
    }
}

/// What is known of the database that was found.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) was_damaged: bool,
    pub(super) proof: Option<Proof>,
    /// How many entries it had.
    pub(super) entries: Option<u64>,
}
