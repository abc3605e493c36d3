//! Parquet: written row group by row group, read without taking the file into memory.

mod guarded;
mod holds;

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Schema, SchemaRef};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowWriter, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, ProjectionMask};
use parquet::basic::{Compression, Type, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;

use super::{SLACK, Table, by_two_columns, concatenated, nesting, size_of, size_of_column};
use crate::codec::handler::HandlerError;
use crate::codec::native::ParquetCodec;
use crate::codec::native::source::Source;
use crate::codec::native::thrift::Stop;
use guarded::Guarded;

/// A row group has about so many bytes in memory: as much as is kept until it is written.
const GROUP_BYTES: u64 = 32 << 20;
/// And no more rows than readers of other tools like to have at once.
const GROUP_ROWS: u64 = 1 << 20;
/// So many rows are looked at for their size at a time.
const PIECE_ROWS: usize = 1 << 16;

pub(super) fn write(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    codec: ParquetCodec,
    to: &mut (dyn io::Write + Send),
) -> Result<(), HandlerError> {
    holds::check(schema, batches)?;
    let writer = ArrowWriter::try_new(to, SchemaRef::clone(schema), Some(properties(codec, schema)?))?;
    let (mut writer, columns) = writer.into_serialized_writer()?;
    for group in Groups::of(batches) {
        let columns = columns.create_column_writers(writer.flushed_row_groups().len())?;
        write_group(schema, &group, columns, &mut writer)?;
    }
    writer.close()?;
    Ok(())
}

/// Some of the rows, in pieces, which become a row group.
struct Groups<'t> {
    batches: &'t [RecordBatch],
    /// Of the first batch.
    done: usize,
    /// How many rows a group has, if all rows take about as much.
    rows: usize,
}

impl<'t> Groups<'t> {
    fn of(batches: &'t [RecordBatch]) -> Self {
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        let row_bytes = size_of(batches).checked_div(rows).unwrap_or_default().max(1);
        let rows = usize::try_from((GROUP_BYTES / row_bytes).clamp(1, GROUP_ROWS)).unwrap_or(1);
        Self { batches, done: 0, rows }
    }

    fn piece(&mut self, most: usize) -> Option<RecordBatch> {
        loop {
            let (batch, rest) = self.batches.split_first()?;
            match batch.num_rows() - self.done {
                0 => (self.batches, self.done) = (rest, 0),
                left => {
                    let piece = batch.slice(self.done, left.min(most));
                    self.done += piece.num_rows();
                    return Some(piece);
                }
            }
        }
    }
}

impl Iterator for Groups<'_> {
    type Item = Vec<RecordBatch>;

    fn next(&mut self) -> Option<Vec<RecordBatch>> {
        let (mut pieces, mut left, mut bytes) = (Vec::new(), self.rows, 0);
        while left > 0 && bytes < 2 * GROUP_BYTES {
            let Some(piece) = self.piece(left.min(PIECE_ROWS)) else { break };
            left -= piece.num_rows();
            bytes += size_of(std::slice::from_ref(&piece));
            pieces.push(piece);
        }
        (!pieces.is_empty()).then_some(pieces)
    }
}

/// Writes a row group, of which the columns are encoded by two threads.
fn write_group<W: io::Write + Send>(
    schema: &SchemaRef,
    pieces: &[RecordBatch],
    writers: Vec<ArrowColumnWriter>,
    to: &mut SerializedFileWriter<W>,
) -> Result<(), HandlerError> {
    // A column of the table has as many columns of the file as it has leaves.
    let mut of_columns: Vec<Vec<_>> = schema.fields().iter().map(|_| Vec::new()).collect();
    for (leaf, writer) in writers.into_iter().enumerate() {
        let column = to.schema_descr().get_column_root_idx(leaf);
        of_columns.get_mut(column).ok_or("a column is none of the schema")?.push(writer);
    }
    let encode = |(column, mut writers): (usize, Vec<ArrowColumnWriter>)| -> Result<Vec<_>, HandlerError> {
        for piece in pieces {
            let leaves = compute_leaves(schema.field(column), piece.column(column))?;
            writers.iter_mut().zip(&leaves).try_for_each(|(writer, leaf)| writer.write(leaf))?;
        }
        Ok(writers.into_iter().map(ArrowColumnWriter::close).collect::<Result<_, _>>()?)
    };
    let size = |column: usize| pieces.iter().map(|piece| size_of_column(piece.column(column))).sum::<u64>();
    let encoded =
        by_two_columns(of_columns.into_iter().enumerate().map(|(n, writers)| (size(n), (n, writers))), encode)?;
    let mut group = to.next_row_group()?;
    for chunk in encoded.into_iter().flatten() {
        chunk.append_to_row_group(&mut group)?;
    }
    group.close()?;
    Ok(())
}

fn properties(codec: ParquetCodec, schema: &Schema) -> Result<WriterProperties, HandlerError> {
    let compression = match codec {
        ParquetCodec::None => Compression::UNCOMPRESSED,
        ParquetCodec::Lz4 => Compression::LZ4_RAW,
        ParquetCodec::Zstd => Compression::ZSTD(ZstdLevel::default()),
        ParquetCodec::Snappy => Compression::SNAPPY,
    };
    let mut properties =
        WriterProperties::builder().set_compression(compression).set_statistics_enabled(EnabledStatistics::Chunk);
    // Of a text that a dictionary has once, a list can have any number: how much a row takes could not be told before it is decoded.
    let columns = ArrowSchemaConverter::new().convert(schema)?;
    let mut is_text_in_list = Vec::new();
    schema.fields().iter().for_each(|field| texts_in_lists(field.data_type(), false, &mut is_text_in_list));
    for (column, _) in columns.columns().iter().zip(is_text_in_list).filter(|(_, is_one)| *is_one) {
        properties = properties.set_column_dictionary_enabled(column.path().clone(), false);
    }
    Ok(properties.build())
}

/// Which columns of the file are texts of lists.
fn texts_in_lists(data_type: &DataType, in_list: bool, of_columns: &mut Vec<bool>) {
    let children = nesting::children(data_type);
    if children.is_empty() || matches!(data_type, DataType::Dictionary(..)) {
        return of_columns.push(in_list && is_text(data_type));
    }
    let in_list = in_list || is_list(data_type);
    children.into_iter().for_each(|child| texts_in_lists(child, in_list, of_columns));
}

fn is_list(data_type: &DataType) -> bool {
    nesting::is_list(data_type) || matches!(data_type, DataType::FixedSizeList(..))
}

/// Whether values are copied out of a dictionary.
fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary)
}

/// How the rows are to be divided when they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batches {
    One,
    /// About as they are in the file.
    Several,
}

pub(super) fn read(from: Source, limit: u64, batches: Batches) -> Result<Table, HandlerError> {
    let (file, metadata) = guarded::open(from, limit)?;
    let groups = metadata.metadata().row_groups();
    let rows = groups.iter().map(|group| group.num_rows());
    let batch_rows = match batches {
        Batches::One => rows.sum::<i64>(),
        Batches::Several => rows.max().unwrap_or_default(),
    };
    let columns: Vec<usize> = (0..metadata.schema().fields().len()).collect();
    let batch_rows = usize::try_from(batch_rows)?.max(1);
    collect(&file, &metadata, &columns, batch_rows, limit, |reader| reader)
}

pub(super) fn scan(
    from: Source,
    limit: u64,
    columns: Option<&[&str]>,
    rows: Range<usize>,
) -> Result<Table, HandlerError> {
    let (file, metadata) = guarded::open(from, limit)?;
    let columns = match columns {
        Some(names) => positions(metadata.schema(), names)?,
        None => (0..metadata.schema().fields().len()).collect(),
    };
    let (groups, skipped, largest) = groups_of(&metadata, &rows)?;
    let batch_rows = largest.min(rows.len()).max(1);
    collect(&file, &metadata, &columns, batch_rows, limit, |reader| {
        let reader = reader.with_row_groups(groups.clone());
        reader.with_offset(rows.start.saturating_sub(skipped)).with_limit(rows.len())
    })
}

/// The places of columns, in the order of the schema.
fn positions(schema: &Schema, names: &[&str]) -> Result<Vec<usize>, HandlerError> {
    if let Some(name) = names.iter().find(|name| schema.index_of(name).is_err()) {
        return Err(format!("there is no column `{name}`").into());
    }
    let fields = schema.fields().iter().enumerate();
    Ok(fields.filter(|(_, field)| names.contains(&field.name().as_str())).map(|(n, _)| n).collect())
}

/// The row groups that have some of the rows, how many rows come before them, and how many the largest of them has.
fn groups_of(metadata: &ArrowReaderMetadata, rows: &Range<usize>) -> Result<(Vec<usize>, usize, usize), HandlerError> {
    let (mut groups, mut skipped, mut largest, mut start) = (Vec::new(), 0, 0, 0);
    for (n, group) in metadata.metadata().row_groups().iter().enumerate() {
        let count = usize::try_from(group.num_rows())?;
        if start + count <= rows.start {
            skipped += count;
        } else if start < rows.end {
            groups.push(n);
            largest = largest.max(count);
        }
        start += count;
    }
    Ok((groups, skipped, largest))
}

type Reader = ParquetRecordBatchReaderBuilder<Guarded>;

/// Reads columns, by two threads where they are large.
fn collect(
    file: &Guarded,
    metadata: &ArrowReaderMetadata,
    columns: &[usize],
    batch_rows: usize,
    limit: u64,
    rows: impl Fn(Reader) -> Reader + Sync,
) -> Result<Table, HandlerError> {
    let schema = SchemaRef::new(metadata.schema().project(columns)?);
    let left = AtomicU64::new(limit.saturating_add(SLACK));
    let decode = |columns: &[usize]| -> Result<Vec<RecordBatch>, HandlerError> {
        let reader = Reader::new_with_metadata(file.clone(), metadata.clone());
        let mask = ProjectionMask::roots(reader.parquet_schema(), columns.iter().copied());
        let most = columns.iter().map(|column| rows_at_once(file, metadata, *column, limit));
        let at_once = most.collect::<Result<Vec<_>, _>>()?.into_iter().fold(batch_rows, usize::min);
        let mut batches = Vec::new();
        for batch in rows(reader.with_projection(mask)).with_batch_size(at_once).build()? {
            let batch = batch?;
            let size = size_of(std::slice::from_ref(&batch));
            let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(size));
            taken.map_err(|_| "the file holds more than a value may have")?;
            batches.push(batch);
        }
        if at_once == batch_rows { Ok(batches) } else { divided_anew(&batches, batch_rows) }
    };
    // Without any column, the rows are still counted.
    let jobs: Vec<&[usize]> = if columns.is_empty() { vec![columns] } else { columns.chunks(1).collect() };
    let sizes = sizes_of_columns(metadata);
    let size = |columns: &[usize]| columns.iter().map(|column| sizes.get(*column).copied().unwrap_or_default()).sum();
    let decoded = by_two_columns(jobs.into_iter().map(|columns| (size(columns), columns)), decode)?;
    let batches = put_together(&schema, decoded)?;
    Ok(Table { schema, batches })
}

/// How many rows of a column may be decoded before a look at what they take: a text that a dictionary has once may be that of every
/// row. Of lists, one row may have all of them.
fn rows_at_once(
    file: &Guarded,
    metadata: &ArrowReaderMetadata,
    column: usize,
    limit: u64,
) -> Result<usize, HandlerError> {
    let data_type = metadata.schema().field(column).data_type();
    if limit == u64::MAX || !nesting::any(data_type, &is_text) {
        return Ok(usize::MAX);
    }
    let chunks = metadata.metadata().row_groups().iter().flat_map(|group| group.columns().iter().enumerate());
    let schema = metadata.metadata().file_metadata().schema_descr();
    let is_of_column = |leaf: usize| schema.get_column_root_idx(leaf) == column;
    let of_column = chunks.filter(|(leaf, chunk)| is_of_column(*leaf) && chunk.column_type() == Type::BYTE_ARRAY);
    let (mut longest, mut most) = (0, 0_u64);
    for (_, chunk) in of_column {
        let text = file.longest_in_dictionary(chunk)?;
        longest = longest.max(text);
        most = most.saturating_add(text.saturating_mul(u64::try_from(chunk.num_values())?));
    }
    if nesting::any(data_type, &is_list) && most > limit.saturating_add(SLACK) {
        return Err(Stop::TooLarge.into());
    }
    Ok(usize::try_from(limit / longest.max(1)).unwrap_or(usize::MAX).max(1))
}

/// The same rows in other batches, of so many rows each.
fn divided_anew(batches: &[RecordBatch], rows: usize) -> Result<Vec<RecordBatch>, HandlerError> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let whole = concatenated(&first.schema(), batches)?;
    let batch = |start| whole.slice(start, rows.min(whole.num_rows() - start));
    Ok((0..whole.num_rows()).step_by(rows).map(batch).collect())
}

/// What the columns take in memory, by what the file says.
fn sizes_of_columns(metadata: &ArrowReaderMetadata) -> Vec<u64> {
    let mut sizes = vec![0_u64; metadata.schema().fields().len()];
    for group in metadata.metadata().row_groups() {
        for (leaf, chunk) in group.columns().iter().enumerate() {
            let column = group.schema_descr().get_column_root_idx(leaf);
            let bytes = u64::try_from(chunk.uncompressed_size()).unwrap_or_default();
            if let Some(size) = sizes.get_mut(column) {
                *size = size.saturating_add(bytes);
            }
        }
    }
    sizes
}

/// Batches of all columns, of batches of some.
fn put_together(schema: &SchemaRef, parts: Vec<Vec<RecordBatch>>) -> Result<Vec<RecordBatch>, HandlerError> {
    let count = parts.first().map_or(0, Vec::len);
    if parts.iter().any(|batches| batches.len() != count) {
        return Err("some columns have more rows than others".into());
    }
    let batch = |n: usize| {
        let rows = parts.first().map(|batches| batches[n].num_rows());
        let columns = parts.iter().flat_map(|batches| batches[n].columns()).cloned().collect();
        // The reader forgets what else belongs to the schema.
        let options = RecordBatchOptions::new().with_row_count(rows);
        RecordBatch::try_new_with_options(SchemaRef::clone(schema), columns, &options)
    };
    Ok((0..count).map(batch).collect::<Result<_, _>>()?)
}
