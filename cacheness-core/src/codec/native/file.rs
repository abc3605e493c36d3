//! Native values in files that no cache has.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::{Body, Native, NativeFormat, NativeOptions, ParquetCodec, Source, read};
use crate::error::{CacheError, ErrorKind, Result};

/// Reads a file of a native type, whoever wrote it: in the format that its name ends with.
///
/// A program that caches a table may get the first one from elsewhere:
///
#[cfg_attr(feature = "ndarray", doc = "```")]
#[cfg_attr(not(feature = "ndarray"), doc = "```ignore")]
/// use cacheness::native::{read_file, write_file};
/// use ndarray::{Array2, array};
///
/// # fn main() -> cacheness::Result<()> {
/// # let path = std::env::temp_dir().join(format!("cacheness-doc-{}.npy", std::process::id()));
/// write_file(&path, &array![[1.0, 2.0], [3.0, 4.0]])?;
/// let array: Array2<f64> = read_file(&path)?;
/// assert_eq!(array[[1, 0]], 3.0);
/// # std::fs::remove_file(path).ok();
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`InvalidArgument`](ErrorKind::InvalidArgument) if the name does not end with the name of a format of the type;
/// [`Storage`](ErrorKind::Storage) if the file cannot be read; [`Handler`](ErrorKind::Handler) if it is none of this format, or holds
/// another type.
pub fn read_file<T: Native>(path: impl AsRef<Path>) -> Result<T> {
    let path = path.as_ref();
    let format = format_of::<T>(path)?;
    let failed = |error: io::Error| storage_error("read", path, error);
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    read(format, Source::of_file(file, len), u64::MAX)
}

/// Writes a native value to a file, in the format that the name of the file ends with. A file that is there is replaced; one that
/// could not be written to its end stays half written.
///
/// # Errors
/// As [`read_file`]; [`Handler`](ErrorKind::Handler) if the format cannot hold the value.
pub fn write_file<T: Native>(path: impl AsRef<Path>, value: &T) -> Result<()> {
    let path = path.as_ref();
    let options = NativeOptions { format: format_of::<T>(path)?, parquet: ParquetCodec::default(), limit: u64::MAX };
    let body = Body::of(value, options, u64::MAX)?;
    let failed = |error: io::Error| storage_error("write", path, error);
    let mut file = File::create(path).map_err(failed)?;
    body.write(u64::MAX, &mut |part| file.write_all(part).map_err(failed))?;
    file.flush().map_err(failed)
}

/// Reads the bytes of a file, which may be any, and takes no more than `limit` bytes for the value: for tests of what readers do with
/// bytes that nobody wrote.
///
/// # Errors
/// As [`read_file`]. A panic is not caught.
#[cfg(feature = "testing")]
pub fn native_from_bytes<T: Native>(format: NativeFormat, bytes: Vec<u8>, limit: u64) -> Result<T> {
    let failed = |error| crate::codec::handler::failed(format.name(), "read", error);
    T::read(format, Source::of_bytes(bytes), limit).map_err(failed)
}

/// The bytes of a file.
///
/// # Errors
/// As [`write_file`].
#[cfg(feature = "testing")]
pub fn native_to_bytes<T: Native>(format: NativeFormat, value: &T) -> Result<Vec<u8>> {
    let options = NativeOptions { format, parquet: ParquetCodec::default(), limit: u64::MAX };
    Body::of(value, options, u64::MAX)?.to_bytes(u64::MAX)
}

fn format_of<T: Native>(path: &Path) -> Result<NativeFormat> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let named = T::FORMATS.iter().find(|format| format.name().eq_ignore_ascii_case(extension));
    named.copied().ok_or_else(|| {
        let there: Vec<_> = T::FORMATS.iter().map(|format| format!(".{format}")).collect();
        let message = format!("the name of {} must end with one of: {}", path.display(), there.join(", "));
        CacheError::new(ErrorKind::InvalidArgument, message)
    })
}

fn storage_error(doing: &str, path: &Path, error: io::Error) -> CacheError {
    CacheError::caused_by(ErrorKind::Storage, format!("cannot {doing} {}: {error}", path.display()), error)
}
