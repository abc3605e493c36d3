//! Data frames of polars: as Parquet, compressed by columns, and as files of Arrow IPC, as they lie in memory.

mod parquet;

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};

use polars_core::prelude::{Column, DataFrame, DataType, Series};
use polars_io::mmap::MmapBytesReader;
use polars_io::prelude::{IpcReader, IpcWriter, ParquetCompression, ParquetWriter, SerReader, SerWriter};
use polars_lazy::frame::{IntoLazy, LazyFrame};

use super::source::Source;
use super::table::{SLACK, ipc};
use super::thrift::Stop;
use super::{Native, NativeFormat, NativeOptions, ParquetCodec, sealed};
use crate::codec::handler::HandlerError;

/// A row group has about so many bytes in memory, and no more rows than readers of other tools like to have at once.
const GROUP_BYTES: usize = 32 << 20;
const GROUP_ROWS: usize = 1 << 20;

fn write(frame: &DataFrame, options: NativeOptions, to: &mut (dyn io::Write + Send)) -> Result<(), HandlerError> {
    check(frame, options.format)?;
    let size = size_of(frame);
    if size > options.limit {
        let limit = options.limit;
        return Err(format!("the data frame takes {size} bytes, the limit `max_value_bytes` is {limit}").into());
    }
    // The columns are shared.
    let mut frame = frame.clone();
    match options.format {
        NativeFormat::Parquet => {
            let compression = match options.parquet {
                ParquetCodec::None => ParquetCompression::Uncompressed,
                ParquetCodec::Lz4 => ParquetCompression::Lz4Raw,
                ParquetCodec::Zstd => ParquetCompression::Zstd(None),
                ParquetCodec::Snappy => ParquetCompression::Snappy,
            };
            let rows = rows_of_a_group(&frame);
            let writer = ParquetWriter::new(to).with_compression(compression).with_row_group_size(Some(rows));
            writer.finish(&mut frame)?;
        }
        NativeFormat::Arrow => IpcWriter::new(to).finish(&mut in_pieces(frame)?)?,
        other => return Err(no_frame(other)),
    }
    Ok(())
}

/// About how many bytes it takes in memory. The library counts the bytes of texts, and not where each of them is.
fn size_of(frame: &DataFrame) -> u64 {
    let columns = frame.columns().iter().map(Column::as_materialized_series);
    columns.map(|column| column.estimated_size() as u64 + VIEW_BYTES * views_in(column)).sum()
}

/// What says where a text is.
const VIEW_BYTES: u64 = 16;

fn views_in(series: &Series) -> u64 {
    match series.dtype() {
        DataType::String | DataType::Binary => series.len() as u64,
        DataType::List(items) if has_views(items) => series.list().map_or(0, |lists| views_in(&lists.get_inner())),
        DataType::Array(items, _) if has_views(items) => series.array().map_or(0, |lists| views_in(&lists.get_inner())),
        DataType::Struct(_) => series.struct_().map_or(0, |all| all.fields_as_series().iter().map(views_in).sum()),
        _ => 0,
    }
}

fn has_views(data_type: &DataType) -> bool {
    match data_type {
        DataType::String | DataType::Binary => true,
        DataType::List(items) | DataType::Array(items, _) => has_views(items),
        DataType::Struct(fields) => fields.iter().any(|field| has_views(field.dtype())),
        _ => false,
    }
}

fn rows_of_a_group(frame: &DataFrame) -> usize {
    let row_bytes = frame.estimated_size() / frame.height().max(1);
    (GROUP_BYTES / row_bytes.max(1)).clamp(1, GROUP_ROWS)
}

/// The same frame in chunks, of which the library puts one after the other together in memory. Nothing is copied.
fn in_pieces(frame: DataFrame) -> Result<DataFrame, HandlerError> {
    let (rows, height) = (rows_of_a_group(&frame), frame.height());
    let mut pieces = frame.slice(0, rows);
    for start in (rows..height).step_by(rows) {
        pieces.vstack_mut(&frame.slice(i64::try_from(start)?, rows))?;
    }
    Ok(pieces)
}

fn no_frame(format: NativeFormat) -> HandlerError {
    format!("a data frame is not stored as `{format}`").into()
}

/// # Errors
/// A column that the format cannot hold, by name.
fn check(frame: &DataFrame, format: NativeFormat) -> Result<(), HandlerError> {
    if frame.width() == 0 && frame.height() > 0 {
        return Err(format!("`{format}` cannot hold a data frame that has rows and no columns").into());
    }
    let refused = |column: &&Column| !is_held(column.dtype(), format);
    match frame.columns().iter().find(refused) {
        None => Ok(()),
        Some(column) => {
            let (name, data_type) = (column.name(), column.dtype());
            let instead = if format == NativeFormat::Parquet && is_held(data_type, NativeFormat::Arrow) {
                ": use the format `arrow`"
            } else {
                ""
            };
            Err(format!("`{format}` cannot hold the column `{name}` of the type `{data_type}`{instead}").into())
        }
    }
}

/// Whether the library gives back values of a type as they were.
fn is_held(data_type: &DataType, format: NativeFormat) -> bool {
    match data_type {
        DataType::Boolean | DataType::String | DataType::Binary | DataType::Null => true,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Int128 => true,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 | DataType::UInt128 => true,
        DataType::Float32 | DataType::Float64 | DataType::Decimal(..) => true,
        // The library takes them for what they are when it writes, and not when it reads.
        DataType::Float16 => format == NativeFormat::Arrow,
        DataType::Date | DataType::Datetime(..) | DataType::Duration(_) | DataType::Time => true,
        DataType::Categorical(..) | DataType::Enum(..) => true,
        // How much a Parquet file of arrays in lists takes in memory cannot be told before it is read.
        DataType::List(items) if format == NativeFormat::Parquet && has_arrays(items) => false,
        DataType::List(items) => is_held(items, format),
        DataType::Array(items, _) => is_held(items, format),
        DataType::Struct(fields) => {
            (format != NativeFormat::Parquet || !fields.is_empty())
                && fields.iter().all(|field| is_held(field.dtype(), format))
        }
        // Objects, and whatever other crates of the program turn on in polars.
        _ => false,
    }
}

fn has_arrays(data_type: &DataType) -> bool {
    match data_type {
        DataType::Array(..) => true,
        DataType::List(items) => has_arrays(items),
        DataType::Struct(fields) => fields.iter().any(|field| has_arrays(field.dtype())),
        _ => false,
    }
}

/// The frame never refers to the file, which may be cut short or go away.
fn read(format: NativeFormat, from: Source, limit: u64) -> Result<DataFrame, HandlerError> {
    let frame = match format {
        NativeFormat::Parquet => parquet::read(from, limit)?,
        NativeFormat::Arrow => {
            let from = ipc::checked(from, limit)?;
            IpcReader::new(Shared(Mutex::new(from))).set_rechunk(false).finish()?
        }
        other => return Err(no_frame(other)),
    };
    if size_of(&frame) > limit.saturating_add(SLACK) { Err(Stop::TooLarge.into()) } else { Ok(frame) }
}

/// A source as polars wants it: between threads.
struct Shared(Mutex<Source>);

impl Shared {
    fn source(&mut self) -> &mut Source {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for Shared {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.source().read(buf)
    }
}

impl Seek for Shared {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.source().seek(to)
    }
}

impl MmapBytesReader for Shared {}

macro_rules! native {
    ($($value:ty: $is_plan:literal, $size:expr, $write:expr, $read:expr;)+) => {$(
        impl sealed::Sealed for $value {}

        impl Native for $value {
            const FORMATS: &'static [NativeFormat] = &[NativeFormat::Parquet, NativeFormat::Arrow];
            const IS_PLAN: bool = $is_plan;

            fn size(&self) -> u64 {
                let size: fn(&Self) -> u64 = $size;
                size(self)
            }

            fn write(&self, options: NativeOptions, to: &mut (dyn io::Write + Send)) -> Result<(), HandlerError> {
                let frame: fn(&Self) -> Result<DataFrame, HandlerError> = $write;
                write(&frame(self)?, options, to)
            }

            fn read(format: NativeFormat, from: Source, limit: u64) -> Result<Self, HandlerError> {
                let value: fn(DataFrame) -> Result<Self, HandlerError> = $read;
                value(read(format, from, limit)?)
            }
        }
    )+};
}

native! {
    DataFrame: false, size_of, |frame| Ok(frame.clone()), Ok;
    // A frame of one column.
    Series: false, |series| size_of(&series.clone().into_frame()), |series| Ok(series.clone().into_frame()), |frame| match frame.columns() {
        [column] => Ok(column.as_materialized_series().clone()),
        _ => Err("the data frame has not one column".into()),
    };
    // Its size is known when it is collected, which is when it is written.
    LazyFrame: true, |_| 0, |frame| Ok(frame.clone().collect()?), |frame| Ok(frame.lazy());
}

#[cfg(test)]
pub(crate) mod tests;
