//! Parquet: written row group by row group, read without taking the file into memory.

mod guarded;
mod holds;

use std::io;
use std::ops::Range;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::{SLACK, Table, size_of};
use crate::codec::handler::HandlerError;
use crate::codec::native::ParquetCodec;
use crate::codec::native::source::Source;
use guarded::Guarded;

/// A row group has about so many bytes in memory: as much as is kept until it is written.
const GROUP_BYTES: u64 = 32 << 20;
/// And no more rows than readers of other tools like to have at once.
const GROUP_ROWS: u64 = 1 << 20;

pub(super) fn write(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    codec: ParquetCodec,
    to: &mut (dyn io::Write + Send),
) -> Result<(), HandlerError> {
    holds::check(schema, batches)?;
    let mut writer = ArrowWriter::try_new(to, SchemaRef::clone(schema), Some(properties(batches, codec)))?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.close()?;
    Ok(())
}

fn properties(batches: &[RecordBatch], codec: ParquetCodec) -> WriterProperties {
    let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
    let row_bytes = size_of(batches).checked_div(rows).unwrap_or_default().max(1);
    let group_rows = (GROUP_BYTES / row_bytes).clamp(1, GROUP_ROWS);
    let compression = match codec {
        ParquetCodec::None => Compression::UNCOMPRESSED,
        ParquetCodec::Lz4 => Compression::LZ4_RAW,
        ParquetCodec::Zstd => Compression::ZSTD(ZstdLevel::default()),
        ParquetCodec::Snappy => Compression::SNAPPY,
    };
    WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(usize::try_from(group_rows).ok())
        .set_max_row_group_bytes(usize::try_from(2 * GROUP_BYTES).ok())
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .build()
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
    let schema = SchemaRef::clone(metadata.schema());
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    collect(reader.with_batch_size(usize::try_from(batch_rows)?.max(1)), schema, limit)
}

pub(super) fn scan(
    from: Source,
    limit: u64,
    columns: Option<&[&str]>,
    rows: Range<usize>,
) -> Result<Table, HandlerError> {
    let (file, metadata) = guarded::open(from, limit)?;
    let columns = columns.map(|names| positions(metadata.schema(), names)).transpose()?;
    let (groups, skipped, largest) = groups_of(&metadata, &rows)?;
    let mut schema = SchemaRef::clone(metadata.schema());
    let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    if let Some(columns) = columns {
        schema = SchemaRef::new(schema.project(&columns)?);
        let mask = ProjectionMask::roots(reader.parquet_schema(), columns);
        reader = reader.with_projection(mask);
    }
    let reader = reader.with_row_groups(groups).with_offset(rows.start.saturating_sub(skipped)).with_limit(rows.len());
    collect(reader.with_batch_size(largest.min(rows.len()).max(1)), schema, limit)
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

fn collect(
    reader: ParquetRecordBatchReaderBuilder<Guarded>,
    schema: SchemaRef,
    limit: u64,
) -> Result<Table, HandlerError> {
    let mut left = limit.saturating_add(SLACK);
    let mut batches = Vec::new();
    for batch in reader.build()? {
        let batch = batch?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        // The reader forgets what else belongs to the schema.
        let batch = RecordBatch::try_new_with_options(SchemaRef::clone(&schema), batch.columns().to_vec(), &options)?;
        let size = size_of(std::slice::from_ref(&batch));
        left = left.checked_sub(size).ok_or("the file holds more than a value may have")?;
        batches.push(batch);
    }
    Ok(Table { schema, batches })
}
