//! A value from the cache, or made once.

use std::sync::Arc;

use super::means::Means;
use super::recall::Look;
use super::{Cache, PutOptions};
use crate::codec::handler::Shareable;
use crate::engine::flight::{Boarding, Landing, Lead, Shared};
use crate::error::{CacheError, Result};
use crate::key::{Key, ToKey};
use crate::util::threads::contained;

pub(super) const READING: &str = "read a value that can be made anew";
pub(super) const STORING: &str = "store a value that was made";

/// How a flight lands whose value is not stored, but shared with those who wait, unless its `Clone` panics.
pub(super) fn unstored<T: Shareable>(value: &T, lead: Option<&Lead<Key>>) -> Landing {
    let awaited = lead.is_some_and(Lead::is_awaited);
    let copy = || contained(|| Arc::new(value.clone()) as Shared);
    Landing::NotStored(awaited.then(copy).flatten())
}

/// The value that another call made and could not store. Under one key there may be values of several types.
pub(super) fn taken<T: Shareable>(landing: &Landing) -> Option<T> {
    let Landing::NotStored(Some(shared)) = landing else { return None };
    contained(|| shared.downcast_ref::<T>().cloned()).flatten()
}

/// Values from the cache, or made once.
impl Cache {
    /// The value under a key; if there is none, the one that `make` makes, which is stored. Concurrent calls with one
    /// key make it once, the others wait for it, though [not for
    /// ever](crate::CacheConfig::single_flight_wait_ms). A value that cannot be stored is cloned for those who wait. No
    /// lock is held while `make` runs; if it panics, those who wait make the value themselves.
    ///
    /// If a file or directory in the key changes while `make` runs, its value is returned and not stored.
    ///
    /// A cache that cannot be read or written costs a counter and a warning, and `make` runs.
    ///
    /// ```
    /// use cacheness::Cache;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// assert_eq!(cache.get_or_insert_with("answer", || 42)?, 42);
    /// assert_eq!(cache.get_or_insert_with("answer", || -> i32 { unreachable!() })?, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed), and what [`ToKey`] says of the key; `make` has not run then.
    pub fn get_or_insert_with<T: Shareable>(&self, key: impl ToKey, make: impl FnOnce() -> T) -> Result<T> {
        self.get_or_try_insert_with(key, PutOptions::new(), || Ok(make()))
    }

    /// [`get_or_insert_with`](Self::get_or_insert_with) with options for the new entry, and for a `make` that may fail:
    /// then nothing is stored, and its error is returned. Those who waited then run their own `make`, side by side.
    ///
    /// # Errors
    /// Those of `make`; else as [`get_or_insert_with`](Self::get_or_insert_with).
    pub fn get_or_try_insert_with<T: Shareable, E: From<CacheError>>(
        &self,
        key: impl ToKey,
        options: PutOptions,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.engine()?;
        let key = self.key(key)?;
        if let Some(value) = self.value_or_report(self.recall(&key, None, Means::kept(), Look::First)) {
            return Ok(value);
        }
        match self.flights().board(&key, None) {
            Boarding::Alone | Boarding::Landed(Landing::Panicked) => self.make(&key, options, make, None).0,
            Boarding::Lead(lead) => {
                let (value, landing) = lead.run(|| match self.again(&key) {
                    Some(value) => (Ok(value), Landing::Stored),
                    None => self.make(&key, options, make, Some(&lead)),
                });
                lead.land(landing);
                value
            }
            Boarding::Landed(Landing::Stored) => self.again(&key).map_or_else(make, Ok),
            Boarding::Landed(landing) => taken(&landing).map_or_else(make, Ok),
        }
    }

    fn again<T: Shareable>(&self, key: &Key) -> Option<T> {
        self.recall(key, None, Means::kept(), Look::Again).ok().flatten()
    }

    fn make<T: Shareable, E>(
        &self,
        key: &Key,
        options: PutOptions,
        make: impl FnOnce() -> Result<T, E>,
        lead: Option<&Lead<Key>>,
    ) -> (Result<T, E>, Landing) {
        let value = match make() {
            Ok(value) => value,
            Err(error) => return (Err(error), Landing::NotStored(None)),
        };
        if !self.is_current(key, STORING) {
            // Not shared either: those who wait may have made the key of other files with the old content.
            return (Ok(value), Landing::NotStored(None));
        }
        // What is stored by now is newer, as this flight began before.
        if lead.is_some_and(Lead::is_over) {
            return (Ok(value), Landing::NotStored(None));
        }
        let landing = self.landing_of(self.retain(key, &value, options, Means::kept()), &value, lead);
        (Ok(value), landing)
    }

    /// How a flight lands whose value is stored, or else shared with those who wait.
    pub(super) fn landing_of<T: Shareable>(&self, stored: Result<()>, value: &T, lead: Option<&Lead<Key>>) -> Landing {
        match stored {
            Ok(()) => Landing::Stored,
            Err(error) => {
                self.report(STORING, &error);
                unstored(value, lead)
            }
        }
    }

    pub(super) fn value_or_report<T>(&self, found: Result<Option<T>>) -> Option<T> {
        found.unwrap_or_else(|error| {
            self.report(READING, &error);
            None
        })
    }
}
