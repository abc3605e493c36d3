//! Columns in which no two entries may have the same value.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};

use super::super::engine::Engine;
use crate::entry::{Details, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::query::{Admitted, Rank, Span};

/// A value that somebody is about to give to an entry: kind, column, value.
type Claim = (String, String, Rank);

/// The values that puts which are under way have claimed. A put claims all of its unique values, or waits until it can;
/// then it looks whether another entry has one of them, and stores its own. So of two puts of one value the later one
/// finds the entry of the first.
#[derive(Debug, Default)]
pub(super) struct Claims {
    held: Mutex<BTreeSet<Claim>>,
    freed: Condvar,
}

/// Claims, until it is dropped.
pub(in crate::cache) struct Claimed<'c> {
    claims: &'c Claims,
    held: Vec<Claim>,
}

impl Claims {
    fn take(&self, wanted: Vec<Claim>) -> Claimed<'_> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while wanted.iter().any(|claim| held.contains(claim)) {
            held = self.freed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        held.extend(wanted.iter().cloned());
        drop(held);
        Claimed { claims: self, held: wanted }
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        let mut held = self.claims.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|claim| !self.held.contains(claim));
        drop(held);
        self.claims.freed.notify_all();
    }
}

impl Engine {
    /// Claims the unique values of an entry for as long as it takes to store it. `moved_from` is the key of an entry that
    /// goes when this one is there.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if another entry that has not expired has one of them.
    pub(in crate::cache) fn claim(
        &self,
        key: &IndexKey,
        details: &Details,
        moved_from: Option<&IndexKey>,
    ) -> Result<Option<Claimed<'_>>> {
        let Some(claimed) = self.hold(details) else { return Ok(None) };
        for claim in &claimed.held {
            if let Some(holder) = self.holder(claim, key, moved_from)? {
                return Err(taken(claim, &holder));
            }
        }
        Ok(Some(claimed))
    }

    /// Claims the unique values of an entry that is there, for as long as it takes to change it: nobody else gets one of
    /// them meanwhile because it expires.
    pub(in crate::cache) fn hold(&self, details: &Details) -> Option<Claimed<'_>> {
        // Nearly all entries have none.
        let wanted = if details.kinds.is_empty() { Vec::new() } else { self.unique_values(details) };
        (!wanted.is_empty()).then(|| self.custom().claims.take(wanted))
    }

    fn unique_values(&self, details: &Details) -> Vec<Claim> {
        let mut values = Vec::new();
        for (kind, row) in details.custom() {
            for column in self.custom().kinds.unique_columns(kind) {
                // Null and NaN equal nothing, not even themselves.
                let value = row.get(&column).filter(|value| !value.is_null() && value.partial_cmp(value).is_some());
                values.extend(value.map(|value| (kind.to_owned(), column.clone(), Rank(value.clone()))));
            }
        }
        values
    }

    /// Another entry that has a claimed value.
    fn holder(&self, claim: &Claim, key: &IndexKey, moved_from: Option<&IndexKey>) -> Result<Option<IndexKey>> {
        let (kind, column, value) = claim;
        let admitted = Admitted { column, column_type: None, spans: vec![Span::at(value.0.clone())] };
        let mut keys = self.store().index().candidates(kind, &admitted)?.unwrap_or_default();
        keys.retain(|other| other != key && Some(other) != moved_from);
        let records = self.store().index().of_keys(&keys)?;
        for (other, record) in records.into_iter().filter(|(_, record)| record.is_believed()) {
            let entry = record.entry()?;
            let has = entry.details.row(kind).and_then(|row| row.get(column)) == Some(&value.0);
            if has && !self.is_expired(&entry) {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }
}

fn taken((kind, column, value): &Claim, holder: &IndexKey) -> CacheError {
    let shown: String = format!("{:?}", value.0.to_string()).chars().take(128).collect();
    let message = format!(
        "column {column:?} of custom metadata {kind:?} is unique, and entry {holder} has {shown} there: nothing was stored; \
         remove that entry or choose another value"
    );
    CacheError::new(ErrorKind::Conflict, message)
}
