//! Parquet into data frames: of the file, only what two threads just decode is in memory, a column of a row group each.
//!
//! The reader of polars takes all of it into memory, or maps it, and a mapped file that somebody cuts short ends the process.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use polars_buffer::Buffer;
use polars_core::prelude::{ArrowDataType, ArrowField, Column, DataFrame, DataType, IntoColumn, Series};
use polars_parquet::read::{
    BasicDecompressor, FileMetadata, Filter, PageReader, RowGroupMetadata, column_iter_to_arrays, infer_schema,
    read_metadata,
};

use crate::codec::handler::HandlerError;
use crate::codec::native::source::Source;
use crate::codec::native::table::{SLACK, by_two_columns, ipc};
use crate::codec::native::thrift::{self, Chunk, Stop};

/// The length of what describes the file, and `PAR1`.
const TAIL: u64 = 8;

/// Columns are in as many chunks as there are row groups.
pub(super) fn read(mut from: Source, limit: u64) -> Result<DataFrame, HandlerError> {
    let limit = limit.saturating_add(SLACK);
    let chunks = announced(&mut from, limit)?;
    from.rewind()?;
    let metadata = read_metadata(&mut from)?;
    check_arrow_schema(&metadata)?;
    let schema = infer_schema(&metadata)?;
    let file = File { source: Mutex::new(from), chunks: by_groups(&chunks, &metadata)?, metadata: &metadata, limit };
    // What no cache has written may be anything, and who opens it without a limit wants it as it is.
    if limit < u64::MAX {
        schema.iter_values().try_for_each(|field| file.check_values(field))?;
    }
    let fields = schema.iter_values().map(|field| (file.size_of(field), field));
    let columns = by_two_columns(fields, |field| file.column(field))?;
    Ok(DataFrame::new_infer_height(columns)?)
}

/// The columns of row groups that the file says it has, if that can be true: the library reserves memory for it.
fn announced(from: &mut Source, limit: u64) -> Result<Vec<Chunk>, HandlerError> {
    let end = from.len().checked_sub(TAIL).ok_or("the file is too short")?;
    let tail = part(from, end, TAIL)?;
    let [a, b, c, d, b'P', b'A', b'R', b'1'] = *tail else { return Err("the file is not Parquet".into()) };
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    let start = end.checked_sub(length).filter(|_| length <= limit).ok_or("the file describes more than it has")?;
    let summary = thrift::summary(&part(from, start, length)?)?;
    let values = summary.chunks.iter().map(|chunk| chunk.values.max(8) / 8);
    let least = values.fold(summary.rows / 8, u64::saturating_add);
    if least > limit { Err(Stop::TooLarge.into()) } else { Ok(summary.chunks) }
}

/// The schema of Arrow beside that of Parquet, which the library decodes however deep it is nested.
fn check_arrow_schema(metadata: &FileMetadata) -> Result<(), HandlerError> {
    let schemas = metadata.key_value_metadata.iter().flatten().filter(|pair| pair.key == "ARROW:schema");
    for schema in schemas.filter_map(|pair| pair.value.as_ref()) {
        ipc::check_schema(&STANDARD.decode(schema)?)?;
    }
    Ok(())
}

/// Bytes of the file, which are there.
fn part(from: &mut Source, start: u64, length: u64) -> Result<Vec<u8>, HandlerError> {
    if start.checked_add(length).is_none_or(|end| end > from.len()) {
        return Err(Stop::Short.into());
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(length)?)?;
    from.seek(SeekFrom::Start(start))?;
    from.by_ref().take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(Stop::Short.into()) }
}

/// The columns of each row group, which lie one after the other.
fn by_groups<'c>(mut chunks: &'c [Chunk], metadata: &FileMetadata) -> Result<Vec<&'c [Chunk]>, Stop> {
    let mut of_group = |group: &RowGroupMetadata| {
        let (of_group, rest) = chunks.split_at_checked(group.n_columns()).ok_or(Stop::Malformed)?;
        chunks = rest;
        Ok(of_group)
    };
    let groups = metadata.row_groups.iter().map(&mut of_group).collect::<Result<_, _>>()?;
    if chunks.is_empty() { Ok(groups) } else { Err(Stop::Malformed) }
}

struct File<'f> {
    source: Mutex<Source>,
    metadata: &'f FileMetadata,
    chunks: Vec<&'f [Chunk]>,
    limit: u64,
}

impl File<'_> {
    /// What a column takes in memory, by what the file says.
    fn size_of(&self, field: &ArrowField) -> u64 {
        let groups = self.metadata.row_groups.iter().zip(&self.chunks);
        let leaves = groups.flat_map(|(group, chunks)| {
            let leaves = group.columns_idxs_under_root_iter(&field.name).unwrap_or_default();
            leaves.iter().filter_map(|leaf| chunks.get(*leaf))
        });
        leaves.fold(0, |sum, chunk| sum.saturating_add(chunk.plain))
    }

    /// Whether what a column takes at least when it is in memory, by what is said of its number of values, may be taken.
    fn check_values(&self, field: &ArrowField) -> Result<(), HandlerError> {
        let mut leaves = Vec::new();
        leaves_of(field.dtype(), Some(1), &mut leaves)?;
        let mut bits = 0_u128;
        for (group, chunks) in self.metadata.row_groups.iter().zip(&self.chunks) {
            let places = group.columns_idxs_under_root_iter(&field.name).ok_or(Stop::Malformed)?;
            if places.len() != leaves.len() {
                return Err(Stop::Malformed.into());
            }
            for (place, leaf) in places.iter().zip(&leaves) {
                let chunk = chunks.get(*place).ok_or(Stop::Malformed)?;
                let (count, width) = match leaf.in_row {
                    Some(in_row) => (in_row.saturating_mul(group.num_rows() as u128), leaf.width),
                    // An empty list counts as a value and takes no more than its offset.
                    None => (u128::from(chunk.values), leaf.width.min(64)),
                };
                bits = bits.saturating_add(count.saturating_mul(width));
            }
        }
        if bits / 8 > u128::from(self.limit) { Err(Stop::TooLarge.into()) } else { Ok(()) }
    }

    fn column(&self, field: &ArrowField) -> Result<Column, HandlerError> {
        let mut column: Option<Series> = None;
        for (group, chunks) in self.metadata.row_groups.iter().zip(&self.chunks) {
            let part = self.column_of(field, group, chunks)?;
            match &mut column {
                Some(column) => drop(column.append_owned(part)?),
                None => column = Some(part),
            }
        }
        let empty = || Series::new_empty(field.name.clone(), &DataType::from_arrow_field(field));
        Ok(column.unwrap_or_else(empty).into_column())
    }

    fn column_of(
        &self,
        field: &ArrowField,
        group: &RowGroupMetadata,
        chunks: &[Chunk],
    ) -> Result<Series, HandlerError> {
        let (mut leaves, mut types) = (Vec::new(), Vec::new());
        for &leaf in group.columns_idxs_under_root_iter(&field.name).ok_or(Stop::Malformed)? {
            let (column, chunk) = group.parquet_columns().get(leaf).zip(chunks.get(leaf)).ok_or(Stop::Malformed)?;
            let bytes = {
                let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
                part(&mut source, chunk.start(), chunk.stored)?
            };
            check_pages(&bytes, chunk, self.limit)?;
            let pages = PageReader::new(Cursor::new(Buffer::from_vec(bytes)), column, Vec::new(), usize::MAX);
            leaves.push(BasicDecompressor::new(pages, Vec::new()));
            types.push(&column.descriptor().descriptor.primitive_type);
        }
        let rows = group.num_rows();
        let (arrays, _) = column_iter_to_arrays(leaves, types, field.clone(), Some(Filter::new_ranged(0, rows)))?;
        let series = Series::try_from((field, arrays))?;
        if series.len() == rows { Ok(series) } else { Err(Stop::Malformed.into()) }
    }
}

/// A column of the file: bits of a value in memory, and how many values a row has, null or not; `None` of lists of any length.
struct Leaf {
    width: u128,
    in_row: Option<u128>,
}

fn leaves_of(data_type: &ArrowDataType, in_row: Option<u128>, leaves: &mut Vec<Leaf>) -> Result<(), Stop> {
    match data_type {
        ArrowDataType::List(items) | ArrowDataType::LargeList(items) | ArrowDataType::Map(items, _) => {
            leaves_of(items.dtype(), None, leaves)
        }
        // A null of this type takes as much as a list. How many there are in lists, no number of the file tells.
        ArrowDataType::FixedSizeList(items, width) => {
            let in_row = in_row.ok_or(Stop::Malformed)?.saturating_mul(*width as u128);
            leaves_of(items.dtype(), Some(in_row), leaves)
        }
        ArrowDataType::Struct(fields) => fields.iter().try_for_each(|field| leaves_of(field.dtype(), in_row, leaves)),
        ArrowDataType::Extension(extension) => leaves_of(&extension.inner, in_row, leaves),
        plain => {
            leaves.push(Leaf { width: width_of(plain), in_row });
            Ok(())
        }
    }
}

/// Bits of a value.
fn width_of(data_type: &ArrowDataType) -> u128 {
    use ArrowDataType as Type;
    match data_type {
        Type::Null | Type::Boolean => 1,
        Type::Int16 | Type::UInt16 | Type::Float16 => 16,
        Type::Int32 | Type::UInt32 | Type::Float32 | Type::Date32 | Type::Time32(_) => 32,
        Type::Int64 | Type::UInt64 | Type::Float64 | Type::Date64 | Type::Time64(_) => 64,
        Type::Timestamp(..) | Type::Duration(_) => 64,
        Type::Int128 | Type::UInt128 | Type::Decimal(..) | Type::Utf8View | Type::BinaryView => 128,
        Type::FixedSizeBinary(bytes) => 8 * *bytes as u128,
        _ => 8,
    }
}

/// Whether what the pages of a column announce can be true.
fn check_pages(bytes: &[u8], chunk: &Chunk, limit: u64) -> Result<(), Stop> {
    let (mut rest, mut left) = (bytes, *chunk);
    while !rest.is_empty() {
        let page = thrift::page(rest)?;
        rest = page
            .stored
            .checked_add(page.head as u64)
            .and_then(|length| rest.get(usize::try_from(length).ok()?..))
            .ok_or(Stop::Short)?;
        let values = if page.is_dictionary { 0 } else { page.values };
        left.plain = left.plain.checked_sub(page.plain).ok_or(Stop::TooLarge)?;
        left.values = left.values.checked_sub(values).ok_or(Stop::TooLarge)?;
        // No frame is written with lengths in its pages, by which a reader takes memory.
        let is_foreign = page.has_lengths && limit < u64::MAX;
        if page.plain > limit || (page.is_dictionary && page.values > page.plain) || is_foreign {
            return Err(Stop::TooLarge);
        }
    }
    Ok(())
}
