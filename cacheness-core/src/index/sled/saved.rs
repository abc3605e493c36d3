//! The orders of a closed index as a file beside it, `index.orders`: creation, the marks of its rows (four in a pair),
//! expiry and groups, each in [chunks](super::chunks), the last of them empty. The order of uses follows from creation
//! and [uses](super::uses). The marker of the clean close holds a checksum of the whole file: one of another close is not
//! believed.
//!
//! Creation and marks also prove which records of a damaged index are current.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::marker::checksum_of;
use super::orders::{Created, Mark, Row, Rows, Tables};
use crate::clock::Timestamp;
use crate::util::digest;

const FILE_NAME: &str = "index.orders";

fn path(root: &Path) -> PathBuf {
    root.join(FILE_NAME)
}

/// Writes the orders; returns the checksum of the file.
pub(super) fn write(root: &Path, tables: &Tables) -> io::Result<u64> {
    let mut file = File::create(path(root))?;
    write_rows(&mut file, &tables.by_creation, |at| at.as_micros().cast_unsigned())?;
    write_marks(&mut file, &tables.by_creation)?;
    write_rows(&mut file, &tables.by_expiry, |at| at.as_micros().cast_unsigned())?;
    write_rows(&mut file, &tables.by_group, |group| group)?;
    drop(file);
    checksum_of(&path(root)).map(|(_, checksum)| checksum)
}

fn write_rows<B: Ord + Copy, M: Mark>(file: &mut File, rows: &Rows<B, M>, number: impl Fn(B) -> u64) -> io::Result<()> {
    write_all(file, rows.iter().map(|(by, hash)| [number(by), hash]))?;
    write_chunk(file, &[])
}

fn write_marks(file: &mut File, rows: &Created) -> io::Result<()> {
    let mut marks = rows.marks().fuse();
    let mut two = || marks.next().map(|low| u64::from(low) | (u64::from(marks.next().unwrap_or_default()) << 32));
    let pairs = std::iter::from_fn(|| two().map(|first| [first, two().unwrap_or_default()]));
    write_all(file, pairs)?;
    write_chunk(file, &[])
}

/// The orders that were written with this checksum. `None` if the file is another one or there is none.
pub(super) fn read(root: &Path, checksum: u64) -> Option<Tables> {
    if checksum_of(&path(root)).ok()?.1 != checksum {
        return None;
    }
    let mut file = BufReader::new(File::open(path(root)).ok()?);
    let time = |number: u64| Timestamp::from_micros(number.cast_signed());
    let mut by_creation: Created = read_rows(&mut file, time)?;
    let marks = read_pairs(&mut file)?;
    by_creation.set_marks(marks.as_flattened().iter().flat_map(|two| [*two as u32, (*two >> 32) as u32]));
    let (by_expiry, by_group) = (read_rows(&mut file, time)?, read_rows(&mut file, |group| group)?);
    Some(Tables { by_creation, by_expiry, by_group, by_access: Rows::default() })
}

fn read_rows<B: Ord + Copy, M: Mark>(file: &mut impl Read, by: impl Fn(u64) -> B) -> Option<Rows<B, M>> {
    let row = |[number, hash]: Pair| -> (Row<B>, M) { ((by(number), hash), M::default()) };
    Some(Rows::of(read_pairs(file)?.into_iter().map(row).collect()))
}

fn read_pairs(file: &mut impl Read) -> Option<Vec<Pair>> {
    let mut pairs = Vec::new();
    loop {
        let chunk = read_chunk(file)?;
        if chunk.is_empty() {
            return Some(pairs);
        }
        pairs.extend(chunk);
    }
}

/// An index that is open changes: what was saved is outdated.
pub(super) fn remove(root: &Path) {
    // One that stays is not believed: the marker that knows its checksum is gone.
    let _ = fs::remove_file(path(root));
}

// Files of pairs of numbers, in chunks that each carry a checksum.
//
// | bytes of a chunk | content |
// |---|---|
// | 4 | number of pairs, little endian like every number here |
// | 8, 8 each | a pair |
// | 8 | checksum of all before |

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
mod chunks_tests {
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
