//! Values that have a file format of their own, which other tools read: arrays, tables, tensors.
//!
//! Crates of the field do the encoding. What is written is stored as it is, in a file of its own where blobs are files, so that
//! NumPy, pandas or DuckDB open it in place; see `docs/decisions/0111-values-in-files-of-their-own.md`.

mod body;
mod file;
#[cfg(feature = "polars")]
pub(crate) mod frames;
#[cfg(feature = "ndarray")]
mod npy;
pub(crate) mod source;
#[cfg(feature = "arrow")]
pub(crate) mod table;
#[cfg(feature = "safetensors")]
mod tensors;
#[cfg(feature = "arrow")]
mod thrift;

use std::io;

use super::handler::{HandlerError, NATIVE, Taken, mark_of};
pub(crate) use crate::config::{NativeFormat, ParquetCodec};
use crate::entry::Core;
pub(crate) use body::{Body, Stored, read};
#[cfg(feature = "testing")]
pub use file::{native_from_bytes, native_to_bytes};
pub use file::{read_file, write_file};
#[cfg(feature = "ndarray")]
pub use npy::Element;
pub(crate) use source::{Failure, Pieces, Source};
#[cfg(feature = "safetensors")]
pub use tensors::{Dtype, Tensor, TensorElement, Tensors, TensorsIter};

/// The formats that types have which are compiled in.
pub(crate) const COMPILED: &[NativeFormat] = &[
    #[cfg(feature = "ndarray")]
    NativeFormat::Npy,
    #[cfg(feature = "arrow")]
    NativeFormat::Parquet,
    #[cfg(feature = "arrow")]
    NativeFormat::Arrow,
    #[cfg(feature = "safetensors")]
    NativeFormat::SafeTensors,
];

/// The bytes of a file: the first of them, and those behind, which are the memory of a value.
pub(crate) type InMemory<'v> = (Vec<u8>, &'v [u8]);

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeOptions {
    /// One of [`Native::FORMATS`].
    pub(crate) format: NativeFormat,
    /// What columns of Parquet are compressed with.
    pub(crate) parquet: ParquetCodec,
    /// How many bytes a value may take in memory: for one whose size is known when it is written.
    pub(crate) limit: u64,
}

/// A type whose values are stored in a file format of their own.
///
/// It is implemented for the types of the cargo features `ndarray`, `arrow`, `polars` and `safetensors`, and for nothing else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no file format of its own",
    label = "no array, table or tensors of a cargo feature that is on",
    note = "arrays of ndarray have one if they own their elements, and these are i8 to i64, u8 to u64, f32, f64, bool, or `Complex` of f32 or f64",
    note = "take u64 instead of a wider integer, or return a `Vec` or another type with serde, which needs no format of its own"
)]
pub trait Native: sealed::Sealed + Clone + Send + Sync + 'static {
    /// The formats that its values can be written in; the first is taken where nothing else is asked for.
    const FORMATS: &'static [NativeFormat];

    /// Whether a value is a plan, which is carried out when it is written: its size is not known before, and it does not stay in
    /// memory in the place of what is stored.
    #[doc(hidden)]
    const IS_PLAN: bool = false;

    /// About how many bytes it takes in memory: what `limits.max_value_bytes` bounds before anything is written.
    #[doc(hidden)]
    fn size(&self) -> u64;

    /// Writes a value. `to` takes large pieces as well as small ones.
    ///
    /// # Errors
    /// Whatever keeps it from writing, such as a column that the format does not have.
    #[doc(hidden)]
    fn write(&self, options: NativeOptions, to: &mut (dyn io::Write + Send)) -> Result<(), HandlerError>;

    /// The bytes of the file where memory has them already but for the first ones, which come before.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    #[doc(hidden)]
    fn in_memory(&self, _: NativeOptions) -> Result<Option<InMemory<'_>>, HandlerError> {
        Ok(None)
    }

    /// How a large file of this format is taken; `None` if as a file.
    #[doc(hidden)]
    fn taken(_: NativeFormat) -> Option<Taken> {
        None
    }

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

/// How the value of an entry is taken by a type.
pub(crate) fn taken_as<T: Native>(core: &Core) -> Option<Taken> {
    format_of(core).and_then(T::taken)
}

/// The format that stored bytes are in, if they are those of a native value.
pub(crate) fn format_of(core: &Core) -> Option<NativeFormat> {
    let is = |format: &NativeFormat| mark_of(format.name()) == core.shape;
    (core.payload_format == NATIVE).then(|| NativeFormat::ALL.into_iter().find(is)).flatten()
}
