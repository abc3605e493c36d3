use std::error::Error;
use std::io;

use crate::error::{CacheError, ErrorKind, Result};
use crate::util::threads::caught;

/// Runs a step of sled. Its panics, and every error that tells of its files and not of the system, become
/// [`Integrity`](ErrorKind::Integrity): the index is damaged. Other errors become [`Metadata`](ErrorKind::Metadata).
///
/// Unwind safety: after a panic the database is replaced and never used again.
pub(super) fn shielded<R>(doing: &str, step: impl FnOnce() -> sled::Result<R>) -> Result<R> {
    match caught(step) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if is_of_the_files(&error) => Err(damaged(doing, error)),
        Ok(Err(error)) => Err(CacheError::caused_by(ErrorKind::Metadata, format!("cannot {doing}: {error}"), error)),
        Err(says) => Err(damaged(doing, says)),
    }
}

/// sled is used in one way alone: what it does not support, or has no name for, is what it reads from its files.
fn is_of_the_files(error: &sled::Error) -> bool {
    match error {
        sled::Error::Io(error) => !is_of_the_system(error),
        _ => true,
    }
}

/// Whether an error may be gone the next time without anybody touching the files.
fn is_of_the_system(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    match error.kind() {
        // A file that ends too early, is none, is not there or makes no sense.
        Kind::UnexpectedEof | Kind::InvalidData | Kind::NotFound | Kind::IsADirectory | Kind::NotADirectory => false,
        Kind::InvalidInput | Kind::AlreadyExists | Kind::NotSeekable => false,
        _ => true,
    }
}

fn damaged(doing: &str, cause: impl Into<Box<dyn Error + Send + Sync>>) -> CacheError {
    CacheError::caused_by(ErrorKind::Integrity, format!("cannot {doing}: the index is damaged"), cause)
}
