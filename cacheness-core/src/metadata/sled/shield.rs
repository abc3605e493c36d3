use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{CacheError, ErrorKind, Result};

/// Runs a step of sled. Its errors become [`Metadata`](ErrorKind::Metadata), its panics and reports of corruption
/// [`Integrity`](ErrorKind::Integrity).
///
/// Unwind safety: after a panic the database is replaced and never used again.
pub(super) fn shielded<R>(doing: &str, step: impl FnOnce() -> sled::Result<R>) -> Result<R> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error @ sled::Error::Corruption { .. })) => Err(damaged(doing, error.to_string())),
        Ok(Err(error)) => Err(CacheError::caused_by(ErrorKind::Metadata, format!("cannot {doing}: {error}"), error)),
        Err(panic) => Err(damaged(doing, text_of(panic.as_ref()))),
    }
}

fn damaged(doing: &str, cause: String) -> CacheError {
    CacheError::caused_by(ErrorKind::Integrity, format!("cannot {doing}: the index is damaged"), cause)
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "sled panicked".to_owned())
}
