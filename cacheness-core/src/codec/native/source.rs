//! Where the bytes of a file format are read from.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::handler::Numbers;
use crate::error::{CacheError, Result};

/// The bytes of a value in a file format, from its first one: in memory, or in a file that has nothing else in it.
#[derive(Debug)]
pub struct Source {
    place: Place,
    at: u64,
    len: u64,
}

#[derive(Debug)]
enum Place {
    Bytes(Vec<u8>),
    File(File),
    Pieces(Box<dyn Pieces>, Failure),
    Array(Vec<u8>, Numbers),
}

/// Bytes that are looked at as they are read, piece by piece.
pub(crate) trait Pieces: Debug + Send {
    /// Some of the bytes from a place on, one at least.
    ///
    /// # Errors
    /// `Integrity` if they are not those that were written; `Storage`.
    fn from(&mut self, at: u64) -> Result<&[u8]>;
}

/// Why bytes could not be read, whatever a library made of that.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<CacheError>>>);

impl Failure {
    fn note(&self, error: CacheError) -> io::Error {
        let says = io::Error::other(error.to_string());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        says
    }

    pub(crate) fn take(&self) -> Option<CacheError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Source {
    /// The bytes are all there are.
    pub(crate) fn of_bytes(bytes: Vec<u8>) -> Self {
        Self { len: bytes.len() as u64, place: Place::Bytes(bytes), at: 0 }
    }

    /// Numbers that lie where they are to stay, and what the file has before them.
    pub(crate) fn of_array(head: Vec<u8>, numbers: Numbers) -> Self {
        let len = head.len() as u64 + numbers.as_bytes().len() as u64;
        Self { place: Place::Array(head, numbers), at: 0, len }
    }

    /// All that is left, if it lies there as these elements.
    #[cfg(any(feature = "ndarray", test))]
    pub(crate) fn take_numbers<T: 'static>(&mut self) -> Option<Vec<T>> {
        let Place::Array(head, numbers) = &mut self.place else { return None };
        if self.at != head.len() as u64 {
            return None;
        }
        let numbers = std::mem::replace(numbers, Numbers::U8(Vec::new()));
        self.at = self.len;
        numbers.into_value()
    }

    /// Bytes that are looked at as they are read.
    pub(crate) fn of_pieces(pieces: Box<dyn Pieces>, len: u64) -> Self {
        Self { place: Place::Pieces(pieces, Failure::default()), at: 0, len }
    }

    /// Why bytes could not be read, to be asked when all is done.
    pub(crate) fn failure(&self) -> Option<Failure> {
        if let Place::Pieces(_, failure) = &self.place { Some(failure.clone()) } else { None }
    }

    /// A file that has these bytes alone.
    pub(crate) fn of_file(file: File, len: u64) -> Self {
        Self { place: Place::File(file), at: 0, len }
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes, if they are in memory.
    #[cfg(feature = "arrow")]
    pub(crate) fn in_memory(&self) -> Option<&[u8]> {
        if let Place::Bytes(bytes) = &self.place { Some(bytes) } else { None }
    }

    /// All bytes, read now if they are not in memory.
    ///
    /// # Errors
    /// Those of the place they are in; `OutOfMemory`.
    #[cfg(any(feature = "arrow", test))]
    pub(crate) fn into_bytes(mut self) -> io::Result<Vec<u8>> {
        if let Place::Bytes(bytes) = self.place {
            return Ok(bytes);
        }
        let len = usize::try_from(self.len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len)?;
        self.at = 0;
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buf.len().min(left);
        if wanted == 0 {
            return Ok(0);
        }
        let buf = &mut buf[..wanted];
        let read = match &mut self.place {
            Place::Bytes(bytes) => copied(bytes, self.at, buf),
            Place::Array(head, _) if self.at < head.len() as u64 => copied(head, self.at, buf),
            Place::Array(head, numbers) => copied(numbers.as_bytes(), self.at - head.len() as u64, buf),
            Place::Pieces(pieces, failure) => {
                copied(pieces.from(self.at).map_err(|error| failure.note(error))?, 0, buf)
            }
            Place::File(file) => {
                file.seek(SeekFrom::Start(self.at))?;
                file.read(buf)?
            }
        };
        self.at += read as u64;
        Ok(read)
    }
}

/// Copies what there is from `at` on, and says how much.
fn copied(bytes: &[u8], at: u64, buf: &mut [u8]) -> usize {
    let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
    let len = rest.len().min(buf.len());
    buf[..len].copy_from_slice(&rest[..len]);
    len
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a place before the first byte"))?;
        Ok(self.at)
    }
}

/// For tests of hostile files: what the bytes are with each of their bits flipped, then each of their beginnings.
#[cfg(all(test, any(feature = "ndarray", feature = "safetensors")))]
pub(super) fn damaged(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let flipped = (0..whole.len() * 8).map(|bit| {
        let mut bytes = whole.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    flipped.chain((0..whole.len()).map(|len| whole[..len].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_memory_and_in_a_file_read_the_same() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &bytes).unwrap();
        for mut source in [Source::of_bytes(bytes.clone()), Source::of_file(file, 1000)] {
            assert_eq!(source.seek(SeekFrom::End(-10)).unwrap(), 990);
            let mut end = Vec::new();
            source.read_to_end(&mut end).unwrap();
            assert_eq!(end, bytes[990..]);
            assert_eq!(source.seek(SeekFrom::Start(2000)).unwrap(), 2000);
            assert_eq!(source.read(&mut [0; 5]).unwrap(), 0);
            assert!(source.seek(SeekFrom::Current(-3000)).is_err());
            assert_eq!(source.into_bytes().unwrap(), bytes);
        }
    }

    /// Bytes of which the second hundred cannot be read.
    #[derive(Debug)]
    struct Broken([u8; 100]);

    impl Pieces for Broken {
        fn from(&mut self, at: u64) -> Result<&[u8]> {
            match at {
                0..100 => Ok(&self.0[at as usize..]),
                _ => Err(CacheError::new(crate::error::ErrorKind::Storage, "the disk is gone")),
            }
        }
    }

    #[test]
    fn why_a_piece_could_not_be_read_is_known_whatever_the_reader_made_of_that() {
        let mut source = Source::of_pieces(Box::new(Broken([7; 100])), 200);
        let failure = source.failure().unwrap();
        let mut bytes = [0; 60];
        source.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, [7; 60]);
        assert!(failure.take().is_none());
        assert_eq!(source.read_exact(&mut bytes).unwrap_err().to_string(), "the disk is gone");
        assert!(failure.take().is_some_and(|error| error.is_storage()));
    }
}
