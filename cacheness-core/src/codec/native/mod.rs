//! Values that have a file format of their own, which other tools read: arrays, tables, tensors.
//!
//! Crates of the field do the encoding. What is written is stored as it is, in a file of its own where blobs are files, so that
//! NumPy, pandas or DuckDB open it in place; see `docs/decisions/0111-values-in-files-of-their-own.md`.

#[cfg(feature = "polars")]
pub(crate) mod frames;
pub(crate) mod source;
#[cfg(feature = "arrow")]
pub(crate) mod table;
#[cfg(any(feature = "arrow", feature = "polars"))]
mod thrift;

use std::fmt;
use std::io;

use super::handler::HandlerError;
pub use source::Source;

/// A format of files that tools of its field read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NativeFormat {
    /// One array, as [NumPy writes it](https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
    Npy,
    /// A table as [Parquet](https://parquet.apache.org/docs/file-format/): compressed by columns.
    Parquet,
    /// A table as a file of [Arrow IPC](https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format): as it lies in memory.
    Arrow,
    /// Tensors by name, as [safetensors](https://huggingface.co/docs/safetensors) has them.
    SafeTensors,
}

impl NativeFormat {
    /// All of them, whatever is compiled in.
    pub const ALL: [Self; 4] = [Self::Npy, Self::Parquet, Self::Arrow, Self::SafeTensors];

    /// Its name, which entries have for [`handler_used`](crate::Entry::handler_used), and what the names of its files end with.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Npy => "npy",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::SafeTensors => "safetensors",
        }
    }
}

impl fmt::Display for NativeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeOptions {
    /// One of [`Native::FORMATS`].
    pub(crate) format: NativeFormat,
    /// What columns of Parquet are compressed with.
    pub(crate) parquet: ParquetCodec,
}

/// What columns of a Parquet file are compressed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParquetCodec {
    /// Not at all.
    None,
    /// LZ4, the raw form of it.
    #[default]
    Lz4,
    /// Zstandard.
    Zstd,
    /// Snappy.
    Snappy,
}

/// A type whose values are stored in a file format of their own.
///
/// It is implemented for the types of the cargo features `ndarray`, `arrow`, `polars` and `safetensors`, and for nothing else.
pub trait Native: sealed::Sealed + Sized + 'static {
    /// The formats that its values can be written in; the first is taken where nothing else is asked for.
    const FORMATS: &'static [NativeFormat];

    /// About how many bytes it takes in memory: what `limits.max_value_bytes` bounds before anything is written.
    #[doc(hidden)]
    fn size(&self) -> u64;

    /// Writes a value. `to` takes large pieces as well as small ones.
    ///
    /// # Errors
    /// Whatever keeps it from writing, such as a column that the format does not have.
    #[doc(hidden)]
    fn write(&self, options: NativeOptions, to: &mut (dyn io::Write + Send)) -> Result<(), HandlerError>;

    /// Reads what [`write`](Self::write) wrote. The bytes are those that were written, but they may have been written by anybody:
    /// whatever they are, it takes no more than `limit` bytes of memory and a few MiB, and does not panic where it can be helped.
    ///
    /// # Errors
    /// Whatever keeps it from reading.
    #[doc(hidden)]
    fn read(format: NativeFormat, from: Source, limit: u64) -> Result<Self, HandlerError>;
}

pub(crate) mod sealed {
    /// Who may implement [`Native`](super::Native).
    pub trait Sealed {}
}
