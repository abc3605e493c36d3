//! A value from the cache, or made once.

use super::means::Means;
use super::recall::Look;
use super::{Cache, PutOptions};
use crate::error::{CacheError, Result};
use crate::flight::{Boarding, Landing};
use crate::handler::Shareable;
use crate::key::{Key, ToKey};

pub(super) const READING: &str = "read a value that can be made anew";
pub(super) const STORING: &str = "store a value that was made";

/// Values from the cache, or made once.
impl Cache {
    /// The value under a key; if there is none, the one that `make` makes, which is stored. Concurrent calls with one
    /// key make it once, the others wait for it. No lock is held while `make` runs; if it panics, one of those who wait
    /// makes the value.
    ///
    /// If a file or directory in the key changes while `make` runs, its value is returned and not stored.
    ///
    /// A cache that cannot be read or written costs a counter and a warning, and `make` runs.
    ///
    /// ```
    /// use cacheness_core::Cache;
    ///
    /// # fn main() -> cacheness_core::Result<()> {
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
    /// then nothing is stored, and its error is returned.
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
        match self.flights().board(&key) {
            Boarding::Alone => self.make(&key, options, make).0,
            Boarding::Lead(lead) => {
                let (value, landing) = lead.run(|| match self.again(&key) {
                    Some(value) => (Ok(value), Landing::Stored),
                    None => self.make(&key, options, make),
                });
                lead.land(landing);
                value
            }
            Boarding::Landed(Landing::Stored) => self.again(&key).map_or_else(make, Ok),
            Boarding::Landed(Landing::NotStored | Landing::Stale) => make(),
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
    ) -> (Result<T, E>, Landing) {
        let value = match make() {
            Ok(value) => value,
            Err(error) => return (Err(error), Landing::NotStored),
        };
        if !self.is_current(key, STORING) {
            return (Ok(value), Landing::NotStored);
        }
        let landing = self.landing_of(self.retain(key, &value, options, Means::kept()));
        (Ok(value), landing)
    }

    pub(super) fn landing_of(&self, stored: Result<()>) -> Landing {
        match stored {
            Ok(()) => Landing::Stored,
            Err(error) => {
                self.report(STORING, &error);
                Landing::NotStored
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
