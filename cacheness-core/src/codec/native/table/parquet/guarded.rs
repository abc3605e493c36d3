//! A Parquet file whose numbers are looked at before the library reserves memory by them.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Type;
use parquet::column::page::{Page as ParquetPage, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescriptor;

use super::super::{SLACK, nesting};
use crate::codec::handler::HandlerError;
use crate::codec::native::source::Source;
use crate::codec::native::thrift::{self, Chunk, Page, Stop};

/// The length of what describes the file, and `PAR1`.
const TAIL: u64 = 8;

/// What the library keeps of a column of a row group.
const CHUNK_BYTES: u64 = 512;

/// The head of a page is seldom longer, and never longer than that.
const HEAD_BYTES: usize = 4 << 10;
const LONGEST_HEAD: usize = 1 << 20;

/// Opens a file and reads what it says of itself.
pub(super) fn open(from: Source, limit: u64) -> Result<(Guarded, ArrowReaderMetadata), HandlerError> {
    let limit = limit.saturating_add(SLACK);
    let file = Guarded::of(from)?;
    let end = file.len().checked_sub(TAIL).ok_or("the file is too short")?;
    let tail = file.get_bytes(end, TAIL as usize)?;
    let [a, b, c, d, b'P', b'A', b'R', b'1'] = *tail else { return Err("the file is not Parquet".into()) };
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    let start = end.checked_sub(length).filter(|_| length <= limit).ok_or("the file describes more than it has")?;
    let head = file.get_bytes(start, usize::try_from(length)?)?;
    let summary = thrift::summary(&head)?;
    if (summary.chunks.len() as u64).saturating_mul(CHUNK_BYTES) > limit.saturating_add(SLACK) {
        return Err(Stop::TooLarge.into());
    }
    let metadata = ParquetMetaDataReader::decode_metadata(&head)?;
    let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new())?;
    // What no cache has written may be anything, and who opens it without a limit wants it as it is.
    if limit < u64::MAX {
        check_values(&metadata, limit)?;
    }
    Ok((file.with_chunks(&summary.chunks, limit), metadata))
}

/// What all values take at least when they are in memory, by what is said of their number.
fn check_values(metadata: &ArrowReaderMetadata, limit: u64) -> Result<(), HandlerError> {
    let fields = metadata.schema().fields();
    let has_dictionary = |data_type: &DataType| matches!(data_type, DataType::Dictionary(..));
    let dictionaries = fields.iter().any(|field| nesting::any(field.data_type(), &has_dictionary));
    let mut in_rows = Vec::new();
    fields.iter().try_for_each(|field| values_of_a_row(field.data_type(), Some(1), &mut in_rows))?;
    let (mut rows, mut bits) = (0, 0_u128);
    for group in metadata.metadata().row_groups() {
        let in_group = u128::try_from(group.num_rows())?;
        rows += in_group;
        if in_rows.len() != group.columns().len() {
            return Err(Stop::Malformed.into());
        }
        for (column, in_row) in group.columns().iter().zip(&in_rows) {
            let width = if dictionaries { 8 } else { bits_of(column.column_descr()) };
            let (count, width) = match in_row {
                Some(in_row) => (in_group.saturating_mul(*in_row), width),
                // An empty list counts as a value and takes no more than its offset, but for values of a fixed width.
                None if column.column_descr().physical_type() == Type::FIXED_LEN_BYTE_ARRAY => {
                    (u128::try_from(column.num_values())?, width)
                }
                None => (u128::try_from(column.num_values())?, width.min(32)),
            };
            bits = bits.saturating_add(count.saturating_mul(width));
        }
    }
    if rows != u128::try_from(metadata.metadata().file_metadata().num_rows())? {
        return Err(Stop::Malformed.into());
    }
    // A column of nothing but nulls takes a bit a row.
    if bits.max(rows) / 8 > u128::from(limit) { Err(Stop::TooLarge.into()) } else { Ok(()) }
}

/// How many values each column of the file has in memory for a row, null or not; `None` where it is a list of any length.
fn values_of_a_row(data_type: &DataType, times: Option<u128>, of_columns: &mut Vec<Option<u128>>) -> Result<(), Stop> {
    let times = match data_type {
        // A null of this type takes as much as a list. How many there are in lists, no number of the file tells.
        DataType::FixedSizeList(_, width) => {
            let width = u128::try_from(*width).map_err(|_| Stop::Malformed)?;
            Some(times.ok_or(Stop::Malformed)?.saturating_mul(width))
        }
        list if nesting::is_list(list) => None,
        _ => times,
    };
    let children = nesting::children(data_type);
    if children.is_empty() || matches!(data_type, DataType::Dictionary(..)) {
        of_columns.push(times);
        return Ok(());
    }
    children.into_iter().try_for_each(|child| values_of_a_row(child, times, of_columns))
}

/// The narrowest type that is kept in this one.
fn bits_of(column: &ColumnDescriptor) -> u128 {
    match column.physical_type() {
        Type::BOOLEAN => 1,
        Type::INT32 => 8,
        Type::FLOAT | Type::BYTE_ARRAY => 32,
        Type::INT64 | Type::DOUBLE | Type::INT96 => 64,
        Type::FIXED_LEN_BYTE_ARRAY => 8 * u128::try_from(column.type_length()).unwrap_or_default(),
    }
}

/// The file, of which several parts may be read at a time.
#[derive(Clone)]
pub(super) struct Guarded(Arc<Inner>);

struct Inner {
    place: Place,
    len: u64,
    /// Columns of row groups, by where they begin.
    chunks: Vec<Chunk>,
    /// What the pages of each have taken so far.
    seen: Mutex<HashMap<u64, Seen>>,
    /// No page takes more.
    limit: u64,
}

/// What was announced by the pages of a column of a row group, up to the last of them that was read.
#[derive(Debug, Default)]
struct Seen {
    last: Option<u64>,
    plain: u64,
    values: u64,
}

enum Place {
    Memory(Bytes),
    Elsewhere(Mutex<Source>),
}

impl Guarded {
    fn of(from: Source) -> io::Result<Self> {
        let len = from.len();
        let place = match Source::in_memory(&from) {
            Some(_) => Place::Memory(from.into_bytes()?.into()),
            None => Place::Elsewhere(Mutex::new(from)),
        };
        Ok(Self(Arc::new(Inner { place, len, chunks: Vec::new(), seen: Mutex::default(), limit: 0 })))
    }

    /// The length of the longest text in the dictionary of a column of a row group, if it has one.
    pub(super) fn longest_in_dictionary(&self, chunk: &ColumnChunkMetaData) -> Result<u64, HandlerError> {
        // It is the first page, or there is none.
        let mut pages = SerializedPageReader::new(Arc::new(self.clone()), chunk, 0, None)?;
        let Some(ParquetPage::DictionaryPage { buf, .. }) = pages.get_next_page()? else { return Ok(0) };
        let (mut rest, mut longest) = (&buf[..], 0);
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length);
            longest = longest.max(u64::from(length));
            rest = behind.get(usize::try_from(length)?..).unwrap_or_default();
        }
        Ok(longest)
    }

    /// From now on the heads of pages are checked by what is said of these.
    fn with_chunks(self, chunks: &[Chunk], limit: u64) -> Self {
        let mut chunks = chunks.to_vec();
        chunks.sort_by_key(Chunk::start);
        match Arc::into_inner(self.0) {
            Some(inner) => Self(Arc::new(Inner { chunks, limit, ..inner })),
            // Nobody else has it yet.
            None => {
                let place = Place::Memory(Bytes::new());
                Self(Arc::new(Inner { place, len: 0, chunks, seen: Mutex::default(), limit }))
            }
        }
    }
}

impl Inner {
    fn part(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.len) {
            return Err(ParquetError::EOF("a part of the file lies past its end".into()));
        }
        match &self.place {
            Place::Memory(bytes) => {
                let start = usize::try_from(start)?;
                Ok(bytes.slice(start..start + length))
            }
            Place::Elsewhere(source) => {
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(length).map_err(io::Error::from)?;
                let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
                source.seek(SeekFrom::Start(start))?;
                source.by_ref().take(length as u64).read_to_end(&mut bytes)?;
                if bytes.len() < length {
                    Err(ParquetError::EOF("the file has become shorter".into()))
                } else {
                    Ok(bytes.into())
                }
            }
        }
    }

    /// The head of the page that begins here, if what it announces can be true; else what lies here.
    fn head(&self, start: u64) -> ParquetResult<Bytes> {
        let mut length = HEAD_BYTES;
        loop {
            let there = usize::try_from(self.len.saturating_sub(start)).unwrap_or(usize::MAX);
            let bytes = self.part(start, length.min(there))?;
            match thrift::page(&bytes) {
                Ok(page) => return self.check(start, page).map(|()| bytes),
                Err(Stop::Short) if length < there.min(LONGEST_HEAD) => length *= 4,
                Err(stop) => return Err(ParquetError::External(stop.into())),
            }
        }
    }

    fn check(&self, start: u64, page: Page) -> ParquetResult<()> {
        let chunk = self.chunks[..self.chunks.partition_point(|chunk| chunk.start() <= start)].last();
        let chunk = chunk.copied().unwrap_or_default();
        // Each value of a dictionary takes a byte at least.
        let values = if page.is_dictionary { page.plain } else { chunk.values };
        // No value is written with lengths inside of a page, by which a reader takes memory, or with a dictionary that is not first.
        let is_late = page.is_dictionary && start != chunk.start();
        let is_foreign = (page.has_lengths || is_late) && self.limit < u64::MAX;
        let is_more = page.plain > chunk.plain || page.plain > self.limit || page.values > values;
        if is_more || is_foreign || self.limit < u64::MAX && self.is_too_much(start, page, chunk) {
            return Err(ParquetError::External(Stop::TooLarge.into()));
        }
        Ok(())
    }

    /// Whether the pages of a column announce more than all of it has. They are read in order, by some readers once more.
    fn is_too_much(&self, start: u64, page: Page, chunk: Chunk) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.entry(chunk.start()).or_default();
        if seen.last.is_none_or(|last| last < start) {
            let values = if page.is_dictionary { 0 } else { page.values };
            seen.last = Some(start);
            seen.plain = seen.plain.saturating_add(page.plain);
            seen.values = seen.values.saturating_add(values);
        }
        seen.plain > chunk.plain || seen.values > chunk.values
    }
}

impl Length for Guarded {
    fn len(&self) -> u64 {
        self.0.len
    }
}

impl ChunkReader for Guarded {
    type T = Head;

    /// The library reads the heads of pages this way, and nothing else.
    fn get_read(&self, start: u64) -> ParquetResult<Head> {
        Ok(Head { inner: Arc::clone(&self.0), start, bytes: None, at: 0 })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.0.part(start, length)
    }
}

/// The head of a page, checked when it is read: a reader is also made where nothing is read from it.
pub(super) struct Head {
    inner: Arc<Inner>,
    start: u64,
    bytes: Option<Bytes>,
    at: usize,
}

impl Read for Head {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = match &self.bytes {
            Some(bytes) => bytes,
            None => self.bytes.insert(self.inner.head(self.start).map_err(io::Error::other)?),
        };
        let mut rest = bytes.get(self.at..).unwrap_or_default();
        let read = rest.read(buf)?;
        self.at += read;
        Ok(read)
    }
}
