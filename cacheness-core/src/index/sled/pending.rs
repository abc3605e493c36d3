//! What was acknowledged and is not known to be on the disk.
//!
//! sled repeats an error of the disk for ever, so that its database has to be opened anew, and then it has forgotten what
//! it had not written. So the last state of every key that was changed since the last flush is kept here until a flush
//! has returned, and put into whatever takes the place of the database.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Trees;
use super::journal::Journal;
use super::shielded;
use crate::entry::IndexKey;
use crate::error::Result;

/// With more than this the next change flushes first.
const MOST_BYTES: usize = 32 << 20;
/// What a change takes beside its key and its record.
const EACH: usize = 96;

#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<Changes>);

#[derive(Debug, Default)]
struct Changes {
    by_key: HashMap<IndexKey, Change>,
    bytes: usize,
    last: u64,
    /// Outlives the process, where others rely on what it has acknowledged.
    journal: Option<Journal>,
}

#[derive(Debug)]
struct Change {
    number: u64,
    /// `None` if the entry was removed.
    row: Option<Vec<u8>>,
}

impl Changes {
    fn rows(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.by_key.iter().map(|(key, change)| (key.as_bytes(), change.row.as_deref()))
    }

    fn shorten_journal(&mut self) {
        let Some(dir) = self.journal.as_ref().filter(|journal| journal.is_long(self.by_key.len())) else { return };
        let dir = dir.dir().to_path_buf();
        // Where it cannot be written anew, the longer one says the same.
        match Journal::begin(&dir, self.rows()) {
            Ok(journal) => self.journal = journal,
            Err(error) => log::debug!("the journal of the index stays long: {error}"),
        }
    }

    fn size_of(key: &IndexKey, row: Option<&[u8]>) -> usize {
        EACH + key.as_bytes().len() + row.map_or(0, <[u8]>::len)
    }
}

impl Pending {
    /// Changes that another process has acknowledged and may not have flushed.
    pub(super) fn of_journal(noted: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Self {
        let pending = Self::default();
        for (key, row) in noted {
            if let Ok(key) = IndexKey::from_stored(&key) {
                pending.note(&key, row.as_deref());
            }
        }
        pending
    }

    /// Notes what has become of a key. The caller has its turn.
    pub(super) fn note(&self, key: &IndexKey, row: Option<&[u8]>) {
        let kept = row.map(<[u8]>::to_vec);
        let mut changes = self.lock();
        if let Some(journal) = &mut changes.journal
            && let Err(error) = journal.note(key.as_bytes(), row)
        {
            log::debug!("a kill would cost what is not flushed yet: {error}");
            changes.journal = None;
        }
        changes.last += 1;
        changes.bytes += Changes::size_of(key, row);
        let change = Change { number: changes.last, row: kept };
        if let Some(before) = changes.by_key.insert(key.clone(), change) {
            changes.bytes -= Changes::size_of(key, before.row.as_deref());
        }
    }

    /// The number of the last change: a flush that begins now covers it and all before.
    pub(super) fn last(&self) -> u64 {
        self.lock().last
    }

    /// Forgets the changes up to this one: they are on the disk.
    pub(super) fn flushed(&self, last: u64) {
        let mut changes = self.lock();
        if last == changes.last {
            (changes.by_key, changes.bytes) = (HashMap::new(), 0);
        } else {
            let Changes { by_key, bytes, .. } = &mut *changes;
            by_key.retain(|key, change| {
                let stays = change.number > last;
                if !stays {
                    *bytes -= Changes::size_of(key, change.row.as_deref());
                }
                stays
            });
        }
        changes.shorten_journal();
    }

    /// Notes changes in a file too from now on, beginning with those that are not on the disk.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(super) fn keep_journal(&self, dir: &Path) -> io::Result<()> {
        let mut changes = self.lock();
        if changes.journal.is_none() {
            changes.journal = Journal::begin(dir, changes.rows())?;
        }
        Ok(())
    }

    /// Notes no more changes in a file, nor writes to it.
    pub(super) fn end_journal(&self) {
        self.lock().journal = None;
    }

    pub(super) fn is_full(&self) -> bool {
        self.lock().bytes > MOST_BYTES
    }

    pub(super) fn count(&self) -> usize {
        self.lock().by_key.len()
    }

    /// Makes all changes in another database.
    pub(super) fn repeat_in(&self, trees: &Trees) -> Result<()> {
        let changes = self.lock();
        shielded("bring what was acknowledged into the index", || {
            for (key, change) in &changes.by_key {
                match &change.row {
                    Some(row) => trees.entries.insert(key.as_bytes(), row.as_slice())?,
                    None => trees.entries.remove(key.as_bytes())?,
                };
            }
            Ok(())
        })
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::record::tests::record_of;

    #[test]
    fn a_flush_covers_the_changes_before_it_and_none_that_came_meanwhile() {
        let pending = Pending::default();
        let ((one, first), (two, second)) = (record_of("one", 1, None), record_of("two", 2, None));
        pending.note(&one, Some(first.as_bytes()));
        pending.note(&two, Some(second.as_bytes()));
        let flush = pending.last();
        pending.note(&one, None);
        pending.flushed(flush);
        assert_eq!(pending.count(), 1);
        assert_eq!(pending.lock().bytes, Changes::size_of(&one, None));
        pending.flushed(pending.last());
        assert_eq!((pending.count(), pending.lock().bytes), (0, 0));
    }
}
