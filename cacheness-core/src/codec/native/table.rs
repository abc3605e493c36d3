//! Tables of Arrow: as Parquet, compressed by columns, and as files of Arrow IPC, as they lie in memory.

pub(super) mod ipc;
mod nesting;
mod parquet;
mod size;

use std::cmp::Reverse;
use std::io;
use std::ops::Range;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;

use super::source::Source;
use super::{Native, NativeFormat, NativeOptions, sealed};
use crate::codec::handler::{HandlerError, Taken};
use crate::error::{CacheError, ErrorKind, Result};
use crate::key::{CacheKey, KeyWriter, encode_table};
use crate::util::threads::{each, is_worth_two};
use size::{size_of, size_of_column};

/// What a value may take in memory beyond what it is allowed: decoders have to keep something, too.
pub(in crate::codec::native) const SLACK: u64 = 16 << 20;

/// A table of Arrow in any number of batches, of which none has to be copied to put them together.
///
/// Two tables are equal if they have the same schema and the same rows; how these are divided into batches does not count. A
/// table that was stored may be divided in another way when it comes back. A single [`RecordBatch`] can be stored as it is.
///
/// ```
/// # use std::sync::Arc;
/// # use arrow_array::{Int64Array, RecordBatch};
/// # use cacheness_core::Table;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let january = RecordBatch::try_from_iter([("rain", Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
/// let february = RecordBatch::try_from_iter([("rain", Arc::new(Int64Array::from(vec![3])) as _)])?;
///
/// let table = Table::new(january.schema(), vec![january, february])?;
/// assert_eq!(table.num_rows(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Table {
    /// Batches that all have this schema.
    ///
    /// # Errors
    /// `InvalidArgument` if one has another.
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Self> {
        match batches.iter().position(|batch| *batch.schema_ref() != schema) {
            None => Ok(Self { schema, batches }),
            Some(n) => {
                let message = format!("batch {n} of a table has another schema than the table");
                Err(CacheError::new(ErrorKind::InvalidArgument, message))
            }
        }
    }

    /// The schema of all batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The batches, in order.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// How many rows all batches have.
    pub fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Takes the batches out.
    pub fn into_batches(self) -> Vec<RecordBatch> {
        self.batches
    }

    /// All rows as one batch, copied if there are several batches.
    fn into_batch(mut self) -> Result<RecordBatch, HandlerError> {
        match (self.batches.len(), self.batches.pop()) {
            (1, Some(batch)) => Ok(batch),
            (_, None) => Ok(RecordBatch::new_empty(self.schema)),
            (_, Some(last)) => {
                self.batches.push(last);
                concatenated(&self.schema, &self.batches)
            }
        }
    }
}

/// Batches as one, also if they have no columns, only rows.
fn concatenated(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch, HandlerError> {
    if schema.fields().is_empty() {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        return Ok(RecordBatch::try_new_with_options(SchemaRef::clone(schema), Vec::new(), &options)?);
    }
    Ok(arrow_select::concat::concat_batches(schema, batches)?)
}

impl From<RecordBatch> for Table {
    fn from(batch: RecordBatch) -> Self {
        Self { schema: batch.schema(), batches: vec![batch] }
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        if self.schema != other.schema || self.num_rows() != other.num_rows() {
            return false;
        }
        let (mut ours, mut theirs) = (Rows::of(self), Rows::of(other));
        loop {
            match ours.left().min(theirs.left()) {
                0 => return true,
                rows if ours.take(rows) != theirs.take(rows) => return false,
                _ => {}
            }
        }
    }
}

/// The rows of a table, taken piece by piece.
struct Rows<'t> {
    batches: &'t [RecordBatch],
    at: usize,
}

impl<'t> Rows<'t> {
    fn of(table: &'t Table) -> Self {
        Self { batches: &table.batches, at: 0 }
    }

    /// How many rows are left in this batch; 0 at the end of the table.
    fn left(&mut self) -> usize {
        while let Some((batch, rest)) = self.batches.split_first() {
            if batch.num_rows() > self.at {
                return batch.num_rows() - self.at;
            }
            (self.batches, self.at) = (rest, 0);
        }
        0
    }

    fn take(&mut self, rows: usize) -> Option<RecordBatch> {
        let piece = self.batches.first()?.slice(self.at, rows);
        self.at += rows;
        Some(piece)
    }
}

/// Does `work` on columns of some bytes each, by two threads if they are large, and returns the results in order. The largest
/// comes first, so that nobody waits for it at the end.
pub(in crate::codec::native) fn by_two_columns<C: Send, R: Send>(
    columns: impl Iterator<Item = (u64, C)>,
    work: impl Fn(C) -> Result<R, HandlerError> + Sync,
) -> Result<Vec<R>, HandlerError> {
    let mut columns: Vec<_> = columns.enumerate().collect();
    columns.sort_by_key(|(_, (bytes, _))| Reverse(*bytes));
    let bytes = columns.iter().map(|(_, (bytes, _))| *bytes).fold(0, u64::saturating_add);
    let worth_two = is_worth_two(usize::try_from(bytes).unwrap_or(usize::MAX));
    let mut done = each(columns, worth_two, || (), |(), (n, (_, column))| Ok((n, work(column))))?;
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, result)| result).collect()
}

fn write_table(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    options: NativeOptions,
    to: &mut (dyn io::Write + Send),
) -> Result<(), HandlerError> {
    nesting::check(schema)?;
    match options.format {
        NativeFormat::Parquet => parquet::write(schema, batches, options.parquet, to),
        NativeFormat::Arrow => ipc::write(schema, batches, to),
        other => Err(no_table(other)),
    }
}

fn no_table(format: NativeFormat) -> HandlerError {
    format!("a table of Arrow is not stored as `{format}`").into()
}

impl sealed::Sealed for Table {}

impl Native for Table {
    const FORMATS: &'static [NativeFormat] = &[NativeFormat::Parquet, NativeFormat::Arrow];

    fn size(&self) -> u64 {
        size_of(&self.batches)
    }

    fn write(&self, options: NativeOptions, to: &mut (dyn io::Write + Send)) -> Result<(), HandlerError> {
        write_table(&self.schema, &self.batches, options, to)
    }

    fn taken(format: NativeFormat) -> Option<Taken> {
        taken(format)
    }

    fn read(format: NativeFormat, from: Source, limit: u64) -> Result<Self, HandlerError> {
        match format {
            NativeFormat::Parquet => parquet::read(from, limit, parquet::Batches::Several),
            NativeFormat::Arrow => ipc::read(from, limit),
            other => Err(no_table(other)),
        }
    }
}

impl sealed::Sealed for RecordBatch {}

impl Native for RecordBatch {
    const FORMATS: &'static [NativeFormat] = Table::FORMATS;

    fn size(&self) -> u64 {
        size_of(std::slice::from_ref(self))
    }

    fn write(&self, options: NativeOptions, to: &mut (dyn io::Write + Send)) -> Result<(), HandlerError> {
        write_table(self.schema_ref(), std::slice::from_ref(self), options, to)
    }

    fn taken(format: NativeFormat) -> Option<Taken> {
        taken(format)
    }

    fn read(format: NativeFormat, from: Source, limit: u64) -> Result<Self, HandlerError> {
        match format {
            NativeFormat::Parquet => parquet::read(from, limit, parquet::Batches::One)?.into_batch(),
            NativeFormat::Arrow => ipc::read(from, limit)?.into_batch(),
            other => Err(no_table(other)),
        }
    }
}

/// A file of Arrow IPC is the memory of its batches, which take it as theirs.
fn taken(format: NativeFormat) -> Option<Taken> {
    (format == NativeFormat::Arrow).then_some(Taken::Bytes)
}

impl CacheKey for Table {
    fn encode(&self, writer: &mut KeyWriter) {
        encode_table(self.schema(), self.batches(), writer);
    }
}

/// Some columns and rows of a table that was stored as Parquet. The rest is not read, as far as pages and row groups go.
///
/// `columns` are those of the schema, by name, in the order of the schema; `None` are all. Rows past the end are none.
///
/// # Errors
/// A column that is not there; whatever keeps it from reading.
pub(crate) fn scan(
    from: Source,
    limit: u64,
    columns: Option<&[&str]>,
    rows: Range<usize>,
) -> Result<Table, HandlerError> {
    parquet::scan(from, limit, columns, rows)
}

#[cfg(test)]
pub(crate) mod tests;
