//! A value on its way into a file of its own: written when its place is known, so that its bytes are at no time all in memory.

use std::any::type_name;
use std::io;

use super::{InMemory, Native, NativeFormat, NativeOptions, ParquetCodec};
use crate::codec::Parts;
use crate::codec::handler::{HandlerError, failed, shielded_by};
use crate::error::{CacheError, ErrorKind, Result};

/// A native value, its type left behind.
trait Writes: Send + Sync {
    fn in_memory(&self, options: NativeOptions) -> Result<Option<InMemory<'_>>, HandlerError>;
    fn write(&self, options: NativeOptions, to: &mut (dyn io::Write + Send)) -> Result<(), HandlerError>;
}

impl<T: Native> Writes for T {
    fn in_memory(&self, options: NativeOptions) -> Result<Option<InMemory<'_>>, HandlerError> {
        Native::in_memory(self, options)
    }

    fn write(&self, options: NativeOptions, to: &mut (dyn io::Write + Send)) -> Result<(), HandlerError> {
        Native::write(self, options, to)
    }
}

/// The bytes of a file as another store had them.
pub(crate) struct Stored<'b>(pub(crate) &'b [u8]);

impl Writes for Stored<'_> {
    fn in_memory(&self, _: NativeOptions) -> Result<Option<InMemory<'_>>, HandlerError> {
        Ok(Some((Vec::new(), self.0)))
    }

    fn write(&self, _: NativeOptions, to: &mut (dyn io::Write + Send)) -> Result<(), HandlerError> {
        Ok(to.write_all(self.0)?)
    }
}

/// What is to be written of a native value, and how.
#[derive(Clone, Copy)]
pub(crate) struct Body<'v> {
    value: &'v dyn Writes,
    data_type: &'static str,
    options: NativeOptions,
    size: u64,
}

impl<'v> Body<'v> {
    /// # Errors
    /// `Limit` if the value takes more than `limit` bytes in memory.
    pub(crate) fn of<T: Native>(value: &'v T, options: NativeOptions, limit: u64) -> Result<Self> {
        // Of a plan it may be as much as there may be.
        let (size, data_type) = (if T::IS_PLAN { limit } else { value.size() }, type_name::<T>());
        if size > limit {
            let message = format!("`{data_type}` takes {size} bytes, the limit `max_value_bytes` is {limit}");
            return Err(CacheError::new(ErrorKind::Limit, message));
        }
        Ok(Self { value, data_type, options, size })
    }

    pub(crate) fn of_stored(bytes: &'v Stored<'_>, format: NativeFormat) -> Self {
        let options = NativeOptions { format, parquet: ParquetCodec::default(), limit: u64::MAX };
        Self { value: bytes, data_type: "the bytes of a file", options, size: bytes.0.len() as u64 }
    }

    pub(crate) fn format(&self) -> NativeFormat {
        self.options.format
    }

    /// About how many bytes the value takes in memory.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Writes the value, at most `limit` bytes.
    ///
    /// # Errors
    /// `Handler` if the format cannot hold it, or its code panics; `Limit` if there are more bytes; those of `take`.
    pub(crate) fn write(&self, limit: u64, take: &mut (dyn FnMut(&[u8]) -> Result<()> + Send)) -> Result<()> {
        let mut sink = Sink { take, room: limit, refused: None };
        let name = self.options.format.name();
        let written = shielded_by(name, "write", || {
            let mut buffered = io::BufWriter::with_capacity(BUFFER, &mut sink);
            self.value.write(self.options, &mut buffered)?;
            Ok(io::Write::flush(&mut buffered)?)
        });
        match (sink.refused, written) {
            // Whatever the format made of the refusal.
            (Some(Refusal::TooLong), _) => {
                let message = format!("`{}` takes more than {limit} bytes as `{name}`", self.data_type);
                Err(CacheError::new(ErrorKind::Limit, message))
            }
            (Some(Refusal::By(error)), _) => Err(error),
            (None, written) => written,
        }
    }

    /// The bytes of the file: those that the value has in memory as they are, which are not copied.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(crate) fn parts(self, limit: u64) -> Result<Parts<'v>> {
        let in_memory = shielded_by(self.options.format.name(), "write", || self.value.in_memory(self.options))?;
        match in_memory.map(|(head, rest)| Parts::new(head, rest)) {
            Some(parts) if parts.len() as u64 <= limit => Ok(parts),
            // Also tells that it is too long.
            _ => Ok(self.to_bytes(limit)?.into()),
        }
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(crate) fn to_bytes(self, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write(limit, &mut |part| {
            let no_memory = |_| CacheError::new(ErrorKind::Limit, format!("no memory for a `{}`", self.data_type));
            bytes.try_reserve(part.len()).map_err(no_memory)?;
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        Ok(bytes)
    }
}

impl std::fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("data_type", &self.data_type)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Small pieces are put together up to so many bytes; larger ones pass by.
const BUFFER: usize = 256 << 10;

struct Sink<'t> {
    take: &'t mut (dyn FnMut(&[u8]) -> Result<()> + Send),
    room: u64,
    refused: Option<Refusal>,
}

enum Refusal {
    TooLong,
    By(CacheError),
}

impl io::Write for Sink<'_> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.refused.is_none() {
            match self.room.checked_sub(part.len() as u64) {
                None => self.refused = Some(Refusal::TooLong),
                Some(room) => {
                    self.room = room;
                    self.refused = (self.take)(part).err().map(Refusal::By);
                }
            }
        }
        if self.refused.is_none() { Ok(part.len()) } else { Err(io::Error::other("nothing more is taken")) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a value.
///
/// # Errors
/// `Handler` if the bytes are none of it, or its code panics.
pub(crate) fn read<T: Native>(format: NativeFormat, from: super::Source, limit: u64) -> Result<T> {
    if from.len() > limit {
        let message =
            format!("a value of `{format}` takes {} bytes, the limit `max_value_bytes` is {limit}", from.len());
        return Err(failed(format.name(), "read", message.into()));
    }
    shielded_by(format.name(), "read", || T::read(format, from, limit))
}
