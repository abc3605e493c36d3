//! The payload of a blob in pieces: each is summed up while it is still in the cache of the processor, and two threads
//! read where one would wait for memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::error::Result;
use crate::format::Proof;
use crate::storage::blob::BlobRead;
use crate::util::threads::{by_two, lock};

/// So much is read at a time.
const PIECE: usize = 256 << 10;

/// Fills `into` with the bytes of a blob from `start` on; says whether there were as many. With `sum` given, they are
/// added to it in order.
pub(crate) fn fill(
    file: &mut dyn BlobRead,
    second: Option<Box<dyn BlobRead>>,
    start: u64,
    into: &mut [u8],
    sum: Option<&mut Proof>,
) -> Result<bool> {
    let Some(mut second) = second else { return fill_alone(file, start, into, sum) };
    let (readers, filling) = (Mutex::new(vec![file, &mut *second]), Filling::new(into, sum));
    by_two(true, || {
        let reader = lock(&readers).pop();
        if let Some(reader) = reader {
            filling.take_part(reader, start);
        }
    });
    filling.end()
}

/// Appends `len` bytes of a blob from `start` on to `bytes`, which have room for them; says whether there were as many.
pub(crate) fn append(
    file: &mut dyn BlobRead,
    start: u64,
    len: u64,
    bytes: &mut Vec<u8>,
    mut sum: Option<&mut Proof>,
) -> Result<bool> {
    let mut left = len;
    while left > 0 {
        let filled = bytes.len();
        let wanted = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        file.append_to(start + (len - left), wanted, bytes)?;
        let piece = &bytes[filled..];
        sum.iter_mut().for_each(|sum| sum.update(piece));
        left -= piece.len() as u64;
        if piece.len() < wanted {
            break;
        }
    }
    Ok(left == 0)
}

fn fill_alone(file: &mut dyn BlobRead, mut start: u64, into: &mut [u8], mut sum: Option<&mut Proof>) -> Result<bool> {
    for piece in into.chunks_mut(PIECE) {
        if file.read_at(start, piece)? < piece.len() {
            return Ok(false);
        }
        sum.iter_mut().for_each(|sum| sum.update(piece));
        start += piece.len() as u64;
    }
    Ok(true)
}

/// Bytes that several threads fill.
struct Filling<'b, 's> {
    pieces: Mutex<std::iter::Enumerate<std::slice::ChunksMut<'b, u8>>>,
    /// Filled, and not summed up yet.
    filled: Mutex<BTreeMap<usize, &'b [u8]>>,
    /// With the number of the piece that comes next.
    sum: Mutex<(usize, Option<&'s mut Proof>)>,
    /// What ended it: an error, or that the blob has too few bytes.
    ended: Mutex<Option<Result<bool>>>,
}

impl<'b, 's> Filling<'b, 's> {
    fn new(into: &'b mut [u8], sum: Option<&'s mut Proof>) -> Self {
        let pieces = Mutex::new(into.chunks_mut(PIECE).enumerate());
        Self { pieces, filled: Mutex::default(), sum: Mutex::new((0, sum)), ended: Mutex::default() }
    }

    fn take_part(&self, reader: &mut dyn BlobRead, start: u64) {
        loop {
            // A statement of its own, at whose end the lock is released: not so in the head of a loop.
            let next = lock(&self.pieces).next();
            let Some((n, piece)) = next else { return };
            match reader.read_at(start + (n * PIECE) as u64, piece) {
                Ok(read) if read == piece.len() => {}
                Ok(_) => return self.stop(Ok(false)),
                Err(error) => return self.stop(Err(error)),
            }
            lock(&self.filled).insert(n, piece);
            // Whoever is summing up goes on with this one.
            if let Ok(mut sum) = self.sum.try_lock() {
                self.sum_up(&mut sum);
            }
        }
    }

    fn sum_up(&self, (next, sum): &mut (usize, Option<&'s mut Proof>)) {
        loop {
            let Some(piece) = lock(&self.filled).remove(next) else { return };
            sum.iter_mut().for_each(|sum| sum.update(piece));
            *next += 1;
        }
    }

    fn stop(&self, why: Result<bool>) {
        lock(&self.ended).get_or_insert(why);
        lock(&self.pieces).by_ref().for_each(drop);
    }

    fn end(self) -> Result<bool> {
        self.sum_up(&mut lock(&self.sum));
        let ended = lock(&self.ended).take();
        ended.unwrap_or(Ok(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::limits::Limits;
    use crate::error::{CacheError, ErrorKind};
    use crate::format::{Rules, Start};

    /// So many bytes, each the number of its piece; those behind cannot be read.
    #[derive(Debug)]
    struct Numbered {
        len: usize,
        broken_from: Option<usize>,
    }

    impl BlobRead for Numbered {
        fn len(&self) -> u64 {
            self.len as u64
        }

        fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
            let offset = offset as usize;
            if self.broken_from.is_some_and(|from| offset + buf.len() > from) {
                return Err(CacheError::new(ErrorKind::Storage, "the disk is gone"));
            }
            let len = buf.len().min(self.len.saturating_sub(offset));
            (offset..).zip(&mut buf[..len]).for_each(|(at, byte)| *byte = (at / PIECE) as u8);
            Ok(len)
        }
    }

    fn proof() -> Proof {
        let rules = Rules::unsigned(&Limits::DEFAULT);
        Start::of(b"", rules).unwrap().proof()
    }

    fn filled(second: bool, len: usize, broken_from: Option<usize>) -> Result<Option<(Vec<u8>, u64)>> {
        let reader = || Numbered { len: 20 * PIECE, broken_from };
        let second = second.then(|| Box::new(reader()) as Box<dyn BlobRead>);
        let (mut into, mut sum) = (vec![0; len], proof());
        let whole = fill(&mut reader(), second, 0, &mut into, Some(&mut sum))?;
        Ok(whole.then(|| (into, sum.found().checksum)))
    }

    #[test]
    fn one_reader_and_two_give_the_same_bytes_and_their_checksum() {
        for len in [0, 1, PIECE, 7 * PIECE + 5, 20 * PIECE] {
            for second in [false, true] {
                let (bytes, sum) = filled(second, len, None).unwrap().unwrap();
                assert!(bytes.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at / PIECE), "{len}");
                assert_eq!(sum, crate::util::digest::checksum(&bytes), "{len}");
            }
        }
    }

    #[test]
    fn too_few_bytes_and_an_error_in_the_middle_end_it_for_both() {
        for second in [false, true] {
            assert_eq!(filled(second, 20 * PIECE + 1, None).unwrap(), None);
            let error = filled(second, 20 * PIECE, Some(5 * PIECE + 1)).unwrap_err();
            assert_eq!(error.to_string(), "the disk is gone");
        }
    }
}
