//! Control by function: every entry that an attribute stored for it.

use super::Cache;
use crate::entry::{Entry, IndexKey};
use crate::error::Result;
use crate::metadata::{Group, Record};

const PAGE: usize = 256;

impl Cache {
    /// The entries of a function, by its path as [`std::any::type_name`] writes it; also those of earlier runs, and
    /// expired ones that were not cleaned up yet.
    ///
    /// # Errors
    /// [`Metadata`](crate::ErrorKind::Metadata), [`Closed`](crate::ErrorKind::Closed).
    pub fn function_entries(&self, function: &str) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.each_of_function(function, |_, _, entry| {
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }

    /// Removes the entries of a function, also those of earlier runs; returns how many.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub fn clear_function(&self, function: &str) -> Result<u64> {
        let mut removed = 0;
        self.each_of_function(function, |key, record, _| {
            removed += u64::from(self.engine()?.store().remove_expected(key, record)?);
            Ok(())
        })?;
        Ok(removed)
    }

    fn each_of_function(
        &self,
        function: &str,
        mut visit: impl FnMut(&IndexKey, &Record, Entry) -> Result<()>,
    ) -> Result<()> {
        let engine = self.engine()?;
        let index = engine.store().index();
        let mut after: Option<IndexKey> = None;
        loop {
            let page = index.group(Group::function(function), after.as_ref(), PAGE)?;
            for (key, record) in &page {
                let entry = engine.describe(record)?;
                if entry.function() == Some(function) {
                    visit(key, record, entry)?;
                }
            }
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(()),
            }
        }
    }
}
