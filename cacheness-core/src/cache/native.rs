//! Values that have a file format of their own, in and out, and their files.

#[cfg(feature = "arrow")]
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::codec::ValueCodec;
use super::engine::Engine;
use super::{Attempt, Cache, PutOptions};
use crate::codec::handler::{BY_HANDLER, NATIVE};
#[cfg(feature = "arrow")]
use crate::codec::handler::{Raw, shielded_by};
use crate::codec::native::{Native, NativeFormat, format_of};
#[cfg(feature = "arrow")]
use crate::codec::native::{Source, table, table::Table};
use crate::engine::{FileOf, Found};
use crate::entry::IndexKey;
use crate::error::{CacheError, ErrorKind, Result};
use crate::key::{Key, ToKey};
use crate::storage::vfs::publish::PrivateDir;

/// Arrays, tables and tensors: [native](crate::Native) types, by the cargo features `ndarray`, `arrow`, `polars` and `safetensors`.
///
/// The result of a `#[cached]` function needs none of this: its type decides.
impl Cache {
    /// Stores a value in its own file format. Where blobs are files, one that is not small becomes a file that has nothing else
    /// in it: [`open_file`](Self::open_file) tells where.
    ///
    /// # Errors
    /// As [`put`](Self::put); [`Handler`](ErrorKind::Handler) if the format cannot hold the value, by the name of the type or column that
    /// it cannot, or if all formats of the type are disabled.
    pub fn put_native<T: Native>(&self, key: impl ToKey, value: &T) -> Result<Key> {
        self.put_native_with(key, value, PutOptions::new())
    }

    /// [`put_native`](Self::put_native) with options for this entry. [`PutOptions::handler`] chooses between the formats of the type.
    ///
    /// # Errors
    /// As [`put_native`](Self::put_native) and [`put_with`](Self::put_with).
    pub fn put_native_with<T: Native>(&self, key: impl ToKey, value: &T, options: PutOptions) -> Result<Key> {
        let key = self.key(key)?;
        self.put_by_key(&key, value, options, ValueCodec::native())?;
        Ok(key)
    }

    /// The value that [`put_native`](Self::put_native) stored; else as [`get`](Self::get). It stays in memory, and the next call
    /// returns a clone of it: those of tables are cheap, those of an array are not, unless it is shared (`ArcArray`).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_native<T: Native>(&self, key: impl ToKey) -> Result<Option<T>> {
        self.get_by_key(&self.key(key)?, None, ValueCodec::native_in_memory(), Attempt::First)
    }

    /// The file of a value for other tools: what a [native](crate::Native) type or a [`Handler`](crate::Handler) wrote, checked.
    /// `None` where [`get`](Self::get) would say so.
    ///
    /// **It is to be read only.** Who changes it damages the entry, which is a miss from then on.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if serde wrote the value: such bytes are no file of any other tool;
    /// [`Storage`](ErrorKind::Storage), also if a copy cannot be made; else as [`get`](Self::get).
    pub fn open_file(&self, key: impl ToKey) -> Result<Option<ValueFile>> {
        let key = self.index_key(key)?;
        let engine = self.engine()?;
        let file = engine.excused(file_of(engine, &key), None)?;
        engine.count(Attempt::First, file.is_some());
        Ok(file)
    }
}

/// Parts of tables.
#[cfg(feature = "arrow")]
impl Cache {
    /// Some columns and rows of a table or frame that lies as Parquet under a key: the others are not decoded. All columns if none
    /// are named; the columns come in the order in which the table has them, and rows behind its end are none.
    ///
    /// Of a file over 1 MiB only the parts that have them are read, and believed by checksums and signatures of their own. In a bucket
    /// and behind a local tier, all of it is read.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// use cacheness::Cache;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let column = |from: i64| Arc::new(Int64Array::from_iter_values(from..from + 1000)) as ArrayRef;
    /// let cache = Cache::in_memory();
    /// cache.put_native("table", &RecordBatch::try_from_iter([("a", column(0)), ("b", column(5000))])?)?;
    /// let part = cache.scan_table("table", Some(&["b"]), 10..20)?.expect("it was just stored");
    /// assert_eq!((part.num_rows(), part.schema().fields().len()), (10, 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if what is stored is no Parquet; [`Handler`](ErrorKind::Handler) if there is no
    /// column of a name, or the file cannot be decoded; else as [`get`](Self::get).
    pub fn scan_table(&self, key: impl ToKey, columns: Option<&[&str]>, rows: Range<usize>) -> Result<Option<Table>> {
        let key = self.index_key(key)?;
        let engine = self.engine()?;
        let table = engine.excused(scan(engine, &key, columns, rows), None)?;
        engine.count(Attempt::First, table.is_some());
        Ok(table)
    }
}

#[cfg(feature = "arrow")]
fn scan(engine: &Engine, key: &IndexKey, columns: Option<&[&str]>, rows: Range<usize>) -> Result<Option<Table>> {
    let Some(mut found) = engine.fresh(key, None)? else { return Ok(None) };
    let raw = engine.load(key, &mut found, |_| None)?;
    let failure = raw.as_ref().and_then(Raw::failure);
    let source = match raw {
        _ if format_of(&found.core) != Some(NativeFormat::Parquet) => {
            let message =
                format!("{key} is no table in Parquet: it was written by `{}`", found.record.entry()?.handler_used());
            return Err(CacheError::new(ErrorKind::InvalidArgument, message));
        }
        Some(Raw::File(source)) => source,
        Some(Raw::Bytes(bytes)) => Source::of_bytes(bytes),
        Some(Raw::Numbers(_) | Raw::Array(..)) | None => return Ok(None),
    };
    let limit = engine.store().limits().max_value_bytes;
    let scanned = shielded_by(NativeFormat::Parquet.name(), "read", || table::scan(source, limit, columns, rows));
    if engine.has_failed(failure, &found)? { Ok(None) } else { scanned.map(Some) }
}

fn file_of(engine: &Engine, key: &IndexKey) -> Result<Option<ValueFile>> {
    let Some(mut found) = engine.fresh(key, None)? else { return Ok(None) };
    check_has_format(key, &found)?;
    let Some(file) = engine.store().file_of(key, &mut found)? else { return Ok(None) };
    check_has_format(key, &found)?;
    engine.store().index().accessed(key, engine.now());
    let format = format_of(&found.core);
    match file {
        FileOf::Path(path) => Ok(Some(ValueFile { path, format, copy: None })),
        FileOf::Bytes(bytes) => copy(&bytes, format).map(Some).map_err(|error| {
            CacheError::caused_by(
                ErrorKind::Storage,
                format!("cannot copy the value of {key} to a file: {error}"),
                error,
            )
        }),
    }
}

fn check_has_format(key: &IndexKey, found: &Found) -> Result<()> {
    if [NATIVE, BY_HANDLER].contains(&found.core.payload_format) {
        return Ok(());
    }
    let entry = found.record.entry()?;
    let message = format!(
        "{key} holds a `{}` that serde wrote, which no other tool reads: store it by `put_native` or by a handler",
        entry.data_type()
    );
    Err(CacheError::new(ErrorKind::InvalidArgument, message))
}

fn copy(bytes: &[u8], format: Option<NativeFormat>) -> std::io::Result<ValueFile> {
    let dir = PrivateDir::new()?;
    let path = dir.join(&format.map_or_else(|| "value".to_owned(), |format| format!("value.{format}")));
    dir.fill(&path, &mut &*bytes)?;
    Ok(ValueFile { path, format, copy: Some(dir) })
}

/// The file of a value, which other tools open by its path.
///
/// It is the one in the directory of the cache where there is such; else a copy, which is gone when this is dropped: of values that
/// lie in the index, in memory or in a bucket, and of compressed ones. A file in the directory of the cache stays until its entry is
/// replaced or removed; who has it open by then reads on, but not on Windows, where it cannot be removed so long.
#[derive(Debug)]
pub struct ValueFile {
    path: PathBuf,
    format: Option<NativeFormat>,
    copy: Option<PrivateDir>,
}

impl ValueFile {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format; `None` if a [`Handler`](crate::Handler) wrote it, which alone knows.
    pub fn format(&self) -> Option<NativeFormat> {
        self.format
    }

    /// Whether it is a copy, which is gone when this is dropped.
    pub fn is_copy(&self) -> bool {
        self.copy.is_some()
    }
}

impl AsRef<Path> for ValueFile {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}
