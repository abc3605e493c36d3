use std::ops::ControlFlow;

use super::super::Cache;
use super::{Taken, Transfer};
use crate::error::{CacheError, ErrorKind, Result};

/// Brings the entries of one cache to another, which may have another directory, backend or configuration. The old cache
/// stays as it is.
///
/// Entries keep their keys, values, times and all that was said about them. What the new cache has already, of the same
/// time or newer, is not touched: a migration that was interrupted goes on where it was when it is started again. A cache
/// that evicts while entries arrive needs a larger limit.
///
/// ```
/// use cacheness::Cache;
/// use cacheness::cache::migrate_cache;
///
/// # fn main() -> cacheness::Result<()> {
/// let (old, new) = (Cache::in_memory(), Cache::in_memory());
/// old.put("answer", &42u8)?;
/// assert_eq!(migrate_cache(&old, &new)?.copied, 1);
/// assert_eq!(migrate_cache(&old, &new)?.present, 1);
/// assert_eq!(new.get::<u8>("answer")?, Some(42));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Storage`](ErrorKind::Storage) or [`Metadata`](ErrorKind::Metadata) of either cache; [`Closed`](ErrorKind::Closed).
/// What was copied before is there.
pub fn migrate_cache(old: &Cache, new: &Cache) -> Result<Transfer> {
    migrate_cache_with(old, new, |_| ControlFlow::Continue(()))
}

/// [`migrate_cache`] that tells how far it is after each entry, and ends early when `progress` says so.
///
/// ```
/// use std::ops::ControlFlow;
/// use cacheness::Cache;
/// use cacheness::cache::migrate_cache_with;
///
/// # fn main() -> cacheness::Result<()> {
/// let (old, new) = (Cache::in_memory(), Cache::in_memory());
/// old.put_batch([("a", &1u8), ("b", &2u8)])?;
/// let done = migrate_cache_with(&old, &new, |so_far| {
///     println!("{} of {}", so_far.seen(), so_far.total);
///     ControlFlow::Break(())
/// })?;
/// assert_eq!(done.copied, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`migrate_cache`].
pub fn migrate_cache_with(
    old: &Cache,
    new: &Cache,
    mut progress: impl FnMut(&Transfer) -> ControlFlow<()>,
) -> Result<Transfer> {
    let (from, to) = (old.engine()?, new.engine()?);
    let mut transfer = Transfer { total: old.len()?, ..Transfer::default() };
    let moved = from.each_stored(|taken| {
        match taken {
            Taken::Whole(entry, stored) => to.take_over(&entry, &stored, &mut transfer)?,
            left => left.count(&mut transfer),
        }
        match progress(&transfer) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(stopped()),
        }
    });
    match moved {
        Err(error) if !is_stop(&error) => Err(error),
        _ => Ok(transfer),
    }
}

/// Ends a walk that nothing is wrong with.
#[derive(Debug)]
struct Stop;

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped by the caller")
    }
}

impl std::error::Error for Stop {}

fn stopped() -> CacheError {
    CacheError::caused_by(ErrorKind::Closed, "the migration was stopped", Stop)
}

fn is_stop(error: &CacheError) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<Stop>())
}
