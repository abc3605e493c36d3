//! Files of Arrow IPC, not compressed. Their buffers are not copied where the bytes are in memory already.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
#[cfg(feature = "polars")]
use arrow_ipc::root_as_message_with_opts;
use arrow_ipc::writer::FileWriter;
use arrow_ipc::{Block, Footer, convert, root_as_footer_with_opts, root_as_message};
use arrow_schema::{DataType, SchemaRef};
use flatbuffers::VerifierOptions;

use super::{SLACK, Table, concatenated, nesting};
use crate::codec::handler::HandlerError;
use crate::codec::native::source::Source;

/// The length of the footer, and `ARROW1`.
const TAIL: u64 = 10;

/// Buffers begin at a multiple of so many bytes.
const ALIGNMENT: u64 = 64;

pub(super) fn write(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    to: &mut (dyn io::Write + Send),
) -> Result<(), HandlerError> {
    let has_dictionary = |data_type: &DataType| matches!(data_type, DataType::Dictionary(..));
    let dictionaries = schema.fields().iter().any(|field| nesting::any(field.data_type(), &has_dictionary));
    let mut writer = FileWriter::try_new(to, schema)?;
    if batches.len() > 1 && dictionaries {
        // A file has one dictionary for all batches of a column.
        writer.write(&concatenated(schema, batches)?)?;
    } else {
        batches.iter().try_for_each(|batch| writer.write(batch))?;
    }
    Ok(writer.finish()?)
}

pub(super) fn read(from: Source, limit: u64) -> Result<Table, HandlerError> {
    let mut file = IpcFile::of(from, limit)?;
    let footer = file.footer()?;
    let footer = verified(&footer)?;
    let schema = footer.schema().ok_or("the file has no schema")?;
    let schema = Arc::new(convert::try_fb_to_schema(schema)?);
    let batches = file.batches(&footer, &schema)?;
    Ok(Table { schema, batches })
}

/// Looks whether what a file says of itself can be true, for another library that believes it.
///
/// # Errors
/// If it cannot be, or there is more than `limit` allows.
#[cfg(feature = "polars")]
pub(in crate::codec::native) fn checked(from: Source, limit: u64) -> Result<Source, HandlerError> {
    let mut file = IpcFile::of(from, limit)?;
    let footer = file.footer()?;
    let footer = verified(&footer)?;
    for block in footer.dictionaries().iter().flatten().chain(footer.recordBatches().iter().flatten()) {
        file.place_of(block)?;
    }
    Ok(match file.place {
        Place::Memory(bytes) => Source::of_bytes(bytes.into_vec().unwrap_or_else(|shared| shared.to_vec())),
        Place::Elsewhere(mut source) => {
            source.rewind()?;
            source
        }
    })
}

fn bounds(bytes: &[u8]) -> VerifierOptions {
    VerifierOptions {
        // A table takes eight bytes or more. One that is referred to twice would count twice, and take twice the memory.
        max_tables: bytes.len() / 8,
        max_depth: 2 * nesting::DEEPEST + 4,
        ..VerifierOptions::default()
    }
}

/// Looks whether a schema that stands in a file of another format is nested so that a library can be trusted with it.
#[cfg(feature = "polars")]
pub(in crate::codec::native) fn check_schema(bytes: &[u8]) -> Result<(), HandlerError> {
    let message = match bytes {
        [0xff, 0xff, 0xff, 0xff, rest @ ..] => rest.get(4..).unwrap_or_default(),
        all => all,
    };
    let message = root_as_message_with_opts(&bounds(message), message)?;
    message.header_as_schema().map(drop).ok_or_else(|| "the schema of the file is none".into())
}

fn verified(footer: &[u8]) -> Result<Footer<'_>, HandlerError> {
    let footer = root_as_footer_with_opts(&bounds(footer), footer)?;
    let schema = footer.schema().ok_or("the file has no schema")?;
    if schema.endianness().equals_to_target_endianness() {
        Ok(footer)
    } else {
        Err("the file is of a machine with another order of bytes".into())
    }
}

struct IpcFile {
    place: Place,
    len: u64,
    /// How much may still be taken into memory.
    left: u64,
}

enum Place {
    Memory(Buffer),
    Elsewhere(Source),
}

impl IpcFile {
    fn of(from: Source, limit: u64) -> io::Result<Self> {
        let len = from.len();
        let place = match Source::in_memory(&from) {
            Some(_) => Place::Memory(Buffer::from_vec(from.into_bytes()?)),
            None => Place::Elsewhere(from),
        };
        Ok(Self { place, len, left: limit.saturating_add(SLACK) })
    }

    fn footer(&mut self) -> Result<Buffer, HandlerError> {
        let start = self.len.checked_sub(TAIL).ok_or("the file is too short")?;
        let tail: [u8; TAIL as usize] = self.part(start, TAIL)?.as_slice().try_into()?;
        let length = read_footer_length(tail)? as u64;
        self.part(start.checked_sub(length).ok_or("the footer is longer than the file")?, length)
    }

    /// Bytes of the file, which are there.
    fn part(&mut self, start: u64, length: u64) -> Result<Buffer, HandlerError> {
        if start.checked_add(length).is_none_or(|end| end > self.len) {
            return Err("a part of the file lies past its end".into());
        }
        let count = usize::try_from(length)?;
        match &mut self.place {
            Place::Memory(bytes) => Ok(bytes.slice_with_length(usize::try_from(start)?, count)),
            Place::Elsewhere(source) => {
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(count)?;
                source.seek(SeekFrom::Start(start))?;
                source.by_ref().take(length).read_to_end(&mut bytes)?;
                if bytes.len() < count {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                Ok(Buffer::from_vec(bytes))
            }
        }
    }

    fn batches(&mut self, footer: &Footer<'_>, schema: &SchemaRef) -> Result<Vec<RecordBatch>, HandlerError> {
        let mut decoder = FileDecoder::new(SchemaRef::clone(schema), footer.version());
        for block in footer.dictionaries().iter().flatten() {
            decoder.read_dictionary(block, &self.block(block)?)?;
        }
        let mut batches = Vec::new();
        for block in footer.recordBatches().iter().flatten() {
            batches.extend(decoder.read_record_batch(block, &self.block(block)?)?);
        }
        Ok(batches)
    }

    fn block(&mut self, block: &Block) -> Result<Buffer, HandlerError> {
        let (start, length) = self.place_of(block)?;
        self.part(start, length)
    }

    /// Where a batch lies, if what it says of itself can be true.
    fn place_of(&mut self, block: &Block) -> Result<(u64, u64), HandlerError> {
        let [start, body] = [block.offset(), block.bodyLength()].map(u64::try_from);
        let (start, head, body) = (start?, u64::try_from(block.metaDataLength())?, body?);
        self.take(head)?;
        let length = head.checked_add(body).ok_or("a batch is too long")?;
        let head = self.part(start, head)?;
        let batch = batch_of(&head)?;
        let buffers: Vec<i64> = batch.buffers().iter().flatten().map(arrow_ipc::Buffer::length).collect();
        // Columns of nothing but nulls have no buffers, and still a length.
        let nodes = batch.nodes().into_iter().flatten();
        let mut rows = nodes.map(arrow_ipc::FieldNode::length).chain([batch.length()]);
        if rows.any(|rows| u64::try_from(rows).map_or(true, |rows| rows / 8 > self.left)) {
            return Err("a batch says that it has more rows than may be".into());
        }
        let more = batch.variadicBufferCounts().into_iter().flatten();
        if more.into_iter().any(|count| usize::try_from(count).map_or(true, |count| count > buffers.len())) {
            return Err("a column says that it has more buffers than there are".into());
        }
        // What is aligned in another way than memory is copied, so that what lies in the file once can be in memory twice.
        let real = buffers.iter().try_fold(0_u64, |sum, &length| sum.checked_add(u64::try_from(length).ok()?));
        let real = real.ok_or("a batch is too long")?;
        if real > body || body > real + ALIGNMENT * (1 + buffers.len() as u64) {
            return Err("a batch is longer than its buffers, or shorter".into());
        }
        self.take(real)?;
        Ok((start, length))
    }

    fn take(&mut self, bytes: u64) -> Result<(), HandlerError> {
        self.left = self.left.checked_sub(bytes).ok_or("the file holds more than a value may have")?;
        Ok(())
    }
}

/// The batch that a head describes.
fn batch_of(head: &[u8]) -> Result<arrow_ipc::RecordBatch<'_>, HandlerError> {
    // Behind a mark that older files do not have, and the length of what follows.
    let (length, message) = match head {
        [0xff, 0xff, 0xff, 0xff, rest @ ..] | rest => rest.split_first_chunk::<4>().ok_or("a batch has no head")?,
    };
    if usize::try_from(u32::from_le_bytes(*length))? > message.len() {
        return Err("the head of a batch is longer than it may be".into());
    }
    let message = root_as_message(message)?;
    let dictionary = message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
    let batch = message.header_as_record_batch().or(dictionary).ok_or("a batch is none")?;
    if batch.compression().is_some() {
        return Err("the file is compressed, which those of a cache are not".into());
    }
    Ok(batch)
}
