//! Taking as much out of a decoder as was promised, and no more.

#[cfg(any(feature = "gzip", feature = "zstd"))]
use std::io::{ErrorKind as IoKind, Read};

#[cfg(any(feature = "gzip", feature = "zstd"))]
use super::damaged;
use crate::error::{CacheError, ErrorKind, Result};

/// What a decoder is asked for at once.
#[cfg(any(feature = "gzip", feature = "zstd"))]
const PIECE: usize = 64 << 10;

/// Reads a decoder to its end, which has to come after exactly `raw_size` bytes.
#[cfg(any(feature = "gzip", feature = "zstd"))]
pub(super) fn read_exactly(decoder: &mut impl Read, raw_size: usize, name: &str) -> Result<Vec<u8>> {
    let mut raw = Vec::new();
    loop {
        let filled = raw.len();
        let wanted = PIECE.min(raw_size - filled);
        if wanted == 0 {
            break;
        }
        grow(&mut raw, wanted, raw_size)?;
        raw.resize(filled + wanted, 0);
        let count = read(decoder, &mut raw[filled..], name)?;
        raw.truncate(filled + count);
        if count == 0 {
            return Err(damaged(format!("{filled} bytes came out of {name} of {raw_size}")));
        }
    }
    match read(decoder, &mut [0], name)? {
        0 => Ok(raw),
        _ => Err(damaged(format!("more than {raw_size} bytes came out of {name}"))),
    }
}

#[cfg(any(feature = "gzip", feature = "zstd"))]
fn read(decoder: &mut impl Read, into: &mut [u8], name: &str) -> Result<usize> {
    loop {
        match decoder.read(into) {
            Err(error) if error.kind() == IoKind::Interrupted => {}
            read => return read.map_err(|error| broken(name, error)),
        }
    }
}

/// An error of a decoder.
pub(super) fn broken(name: &str, error: impl std::error::Error + Send + Sync + 'static) -> CacheError {
    CacheError::caused_by(ErrorKind::Compression, format!("{name} is damaged"), error)
}

/// Makes room for `more` bytes: doubling, and never beyond `most` in all.
pub(super) fn grow(raw: &mut Vec<u8>, more: usize, most: usize) -> Result<()> {
    let needed = raw.len() + more;
    if needed <= raw.capacity() {
        return Ok(());
    }
    let room = needed.max(raw.capacity().saturating_mul(2)).min(most);
    raw.try_reserve_exact(room - raw.len())
        .map_err(|error| CacheError::caused_by(ErrorKind::Limit, format!("no memory for {room} bytes"), error))
}
