//! Pieces of a blob, read by one thread or by two.

use super::*;
use crate::config::Limits;
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
