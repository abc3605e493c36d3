//! The default cache.

use std::sync::{Mutex, PoisonError};

use crate::{Cache, CacheError, Result};

static DEFAULT: Mutex<Option<Cache>> = Mutex::new(None);

/// The cache that attributes use unless they name one.
///
/// # Errors
/// When it cannot be opened.
pub fn default_cache() -> Result<Cache> {
    let mut slot = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(slot.get_or_insert_with(Cache::in_memory).clone())
}

/// Makes `cache` the default and returns the one before.
pub fn set_default_cache(cache: Cache) -> Option<Cache> {
    DEFAULT.lock().unwrap_or_else(PoisonError::into_inner).replace(cache)
}

pub(crate) fn report_without_cache(doing: &str, error: &CacheError) {
    log::warn!("{doing}: {error}");
}
