//! The cache that attributes use when they name none.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use once_cell::sync::{Lazy, OnceCell};

use crate::cache::Cache;
use crate::config::CacheConfig;
use crate::error::{CacheError, Result};
use crate::function::isolation::{self, Suspicion};
use crate::util::Warnings;

/// Read by every call that names no cache: without a lock, and without a count that threads share.
static DEFAULT: OnceCell<ArcSwap<Cache>> = OnceCell::new();
/// Held by who opens or replaces it.
static REPLACING: Mutex<()> = Mutex::new(());
static WARNINGS: Lazy<Warnings> = Lazy::new(Warnings::default);

/// Makes `cache` the one that attributes use from now on when they name none. Returns the one before, if there was one.
///
/// In an [isolated](crate::testing::isolated) scope it is that of the scope alone, and goes with it.
///
/// ```
/// use cacheness::{Cache, default_cache, set_default_cache};
///
/// # fn main() -> cacheness::Result<()> {
/// set_default_cache(Cache::in_memory());
/// default_cache()?.put("one", &1u8)?;
/// let before = set_default_cache(Cache::in_memory()).expect("the first one");
/// assert_eq!(before.get::<u8>("one")?, Some(1));
/// # Ok(())
/// # }
/// ```
pub fn set_default_cache(cache: Cache) -> Option<Cache> {
    if let Some(isolation) = isolation::current() {
        return Some(isolation.replace(cache));
    }
    let _replacing = replacing();
    replace(cache)
}

/// The cache that attributes use when they name none: the one of [`set_default_cache`], else one that is opened now as
/// the environment says, in `./cache` if it says nothing. In an [isolated](crate::testing::isolated) scope, that of the scope.
///
/// A directory that is in use by another process, cannot be written, is not safe to use or belongs to something else costs
/// a warning, and the default cache is then in memory. One that this process has open already is used as it is open, with a
/// warning where the environment says something else.
///
/// # Errors
/// [`Config`](crate::ErrorKind::Config) if an environment variable is not valid; it is read again at the next call.
pub fn default_cache() -> Result<Cache> {
    match current() {
        Some(cache) => Ok(cache.clone()),
        None => open(),
    }
}

/// The default cache, as long as a call takes.
pub(crate) struct Current(Guard<Arc<Cache>>);

impl Deref for Current {
    type Target = Cache;

    #[inline]
    fn deref(&self) -> &Cache {
        &self.0
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The default cache, if it is open.
#[inline]
pub(crate) fn current() -> Option<Current> {
    current_as(Suspicion::now())
}

/// [`current`] for one who has asked already whether there may be isolation.
#[inline]
pub(crate) fn current_as(suspicion: Suspicion) -> Option<Current> {
    match suspicion {
        Suspicion::None => of_process(),
        Suspicion::Some => of_scope(),
    }
}

#[inline]
fn of_process() -> Option<Current> {
    DEFAULT.get().map(|cache| Current(cache.load()))
}

#[cold]
fn of_scope() -> Option<Current> {
    isolation::current().map_or_else(of_process, |isolation| Some(Current(isolation.cache())))
}

#[cold]
fn open() -> Result<Cache> {
    let Some(_opening) = Opening::begin() else { return Ok(Cache::disabled()) };
    let _replacing = replacing();
    if let Some(cache) = current() {
        return Ok(cache.clone());
    }
    let cache = open_from_environment()?;
    replace(cache.clone());
    Ok(cache)
}

/// Only under the lock: of two that find none, one must open it.
fn replace(cache: Cache) -> Option<Cache> {
    let cache = Arc::new(cache);
    match DEFAULT.get() {
        Some(default) => Some(Cache::clone(&default.swap(cache))),
        None => {
            DEFAULT.get_or_init(|| ArcSwap::new(cache));
            None
        }
    }
}

thread_local! {
    static OPENING: Cell<bool> = const { Cell::new(false) };
}

/// Opening writes to the program's log. A logger that uses the default cache then would wait for itself: it gets a cache
/// that stores nothing.
struct Opening;

impl Opening {
    fn begin() -> Option<Self> {
        (!OPENING.replace(true)).then(|| Self)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        OPENING.set(false);
    }
}

fn replacing() -> MutexGuard<'static, ()> {
    REPLACING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_from_environment() -> Result<Cache> {
    if CacheConfig::disabled_by_env()? {
        return Ok(Cache::disabled());
    }
    let config = CacheConfig::from_env()?;
    config.validate()?;
    Ok(Cache::new_or_joined(config).unwrap_or_else(|error| {
        report_without_cache("open the default cache, results are kept in memory only", &error);
        Cache::in_memory()
    }))
}

/// Warns of an error that is kept from the caller where no cache could be had.
pub(crate) fn report_without_cache(doing: &str, error: &CacheError) {
    WARNINGS.tell(doing, error);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_cache_that_is_set_replaces_the_one_before_and_returns_it() {
        let (first, second) = (Cache::in_memory(), Cache::in_memory());
        set_default_cache(first);
        default_cache().unwrap().put("one", &1u8).unwrap();
        let before = set_default_cache(second).unwrap();
        assert_eq!(before.get::<u8>("one").unwrap(), Some(1));
        assert_eq!(default_cache().unwrap().get::<u8>("one").unwrap(), None);
    }

    #[test]
    fn who_uses_the_default_cache_while_it_is_opened_waits_for_itself_at_no_time() {
        let opening = Opening::begin();
        assert!(opening.is_some());
        assert!((0..3).all(|_| Opening::begin().is_none()));
        drop(opening);
        assert!(Opening::begin().is_some());
    }
}
