//! Files of pairs of numbers, in chunks that each carry a checksum.
//!
//! | bytes of a chunk | content |
//! |---|---|
//! | 4 | number of pairs, little endian like every number here |
//! | 8, 8 each | a pair |
//! | 8 | checksum of all before |

use std::io::{self, Read, Write};

use crate::util::digest;

pub(super) type Pair = [u64; 2];

/// Pairs in one chunk at most: 1 MiB of them.
pub(super) const MOST_PAIRS: usize = 1 << 16;
const COUNT_LEN: usize = 4;
const PAIR_LEN: usize = 16;
const CHECKSUM_LEN: usize = 8;

/// Bytes that so many pairs take in one chunk.
pub(super) fn chunk_len(pairs: usize) -> u64 {
    (COUNT_LEN + pairs * PAIR_LEN + CHECKSUM_LEN) as u64
}

/// Writes one chunk of at most [`MOST_PAIRS`].
pub(super) fn write_chunk(file: &mut impl Write, pairs: &[Pair]) -> io::Result<()> {
    let mut chunk = Vec::with_capacity(COUNT_LEN + pairs.len() * PAIR_LEN + CHECKSUM_LEN);
    chunk.extend_from_slice(&(pairs.len() as u32).to_le_bytes());
    for number in pairs.as_flattened() {
        chunk.extend_from_slice(&number.to_le_bytes());
    }
    chunk.extend_from_slice(&digest::checksum(&chunk).to_le_bytes());
    file.write_all(&chunk)
}

/// Writes as many chunks as the pairs need; returns the bytes they take.
pub(super) fn write_all(file: &mut impl Write, pairs: impl Iterator<Item = Pair>) -> io::Result<u64> {
    let (mut written, mut chunk) = (0, Vec::new());
    for pair in pairs {
        chunk.push(pair);
        if chunk.len() == MOST_PAIRS {
            write_chunk(file, &chunk)?;
            written += chunk_len(chunk.len());
            chunk.clear();
        }
    }
    if !chunk.is_empty() {
        write_chunk(file, &chunk)?;
        written += chunk_len(chunk.len());
    }
    Ok(written)
}

/// The next chunk; `None` at the end of the file and where it is torn or damaged.
pub(super) fn read_chunk(file: &mut impl Read) -> Option<Vec<Pair>> {
    let mut count = [0; COUNT_LEN];
    file.read_exact(&mut count).ok()?;
    let pairs = u32::from_le_bytes(count) as usize;
    if pairs > MOST_PAIRS {
        return None;
    }
    let mut chunk = count.to_vec();
    chunk.resize(COUNT_LEN + pairs * PAIR_LEN, 0);
    file.read_exact(chunk.get_mut(COUNT_LEN..)?).ok()?;
    let mut sum = [0; CHECKSUM_LEN];
    file.read_exact(&mut sum).ok()?;
    if digest::checksum(&chunk) != u64::from_le_bytes(sum) {
        return None;
    }
    let (numbers, _) = chunk.get(COUNT_LEN..)?.as_chunks::<8>();
    let (pairs, _) = numbers.as_chunks::<2>();
    Some(pairs.iter().map(|pair| pair.map(u64::from_le_bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_read_back_up_to_the_first_that_is_torn_or_damaged() {
        let pairs = |from: u64| -> Vec<Pair> { (from..from + 3).map(|n| [n, u64::MAX - n]).collect() };
        let mut file = Vec::new();
        write_chunk(&mut file, &pairs(0)).unwrap();
        let first = file.len();
        assert_eq!(first as u64, chunk_len(3));
        write_chunk(&mut file, &pairs(5)).unwrap();
        let read = |bytes: &[u8]| {
            let mut rest = bytes;
            std::iter::from_fn(|| read_chunk(&mut rest)).collect::<Vec<_>>()
        };
        assert_eq!(read(&file), [pairs(0), pairs(5)]);
        for len in first..file.len() {
            assert_eq!(read(&file[..len]), [pairs(0)], "cut at {len}");
        }
        for bit in first * 8..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped), [pairs(0)], "bit {bit}");
        }
    }

    #[test]
    fn more_pairs_than_a_chunk_holds_are_several() {
        let mut file = Vec::new();
        let written = write_all(&mut file, (0..MOST_PAIRS as u64 + 1).map(|n| [n, n])).unwrap();
        assert_eq!(written, file.len() as u64);
        let mut rest = &file[..];
        let lengths: Vec<_> = std::iter::from_fn(|| read_chunk(&mut rest)).map(|chunk| chunk.len()).collect();
        assert_eq!(lengths, [MOST_PAIRS, 1]);
    }
}
