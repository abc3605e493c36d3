//! The orders of a closed index as a file beside it, `index.orders`: creation, the marks of its rows (four in a pair),
//! expiry and groups, each in [chunks](super::chunks), the last of them empty. The order of uses follows from creation
//! and [uses](super::uses). The marker of the clean close holds a checksum of the whole file: one of another close is not
//! believed.
//!
//! Creation and marks also prove which records of a damaged index are current.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::chunks::{self, Pair};
use super::marker::checksum_of;
use super::orders::{Created, Tables};
use super::rows::{Mark, Row, Rows};
use crate::clock::Timestamp;

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
    chunks::write_all(file, rows.iter().map(|(by, hash)| [number(by), hash]))?;
    chunks::write_chunk(file, &[])
}

fn write_marks(file: &mut File, rows: &Created) -> io::Result<()> {
    let mut marks = rows.marks().fuse();
    let mut two = || marks.next().map(|low| u64::from(low) | (u64::from(marks.next().unwrap_or_default()) << 32));
    let pairs = std::iter::from_fn(|| two().map(|first| [first, two().unwrap_or_default()]));
    chunks::write_all(file, pairs)?;
    chunks::write_chunk(file, &[])
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
        let chunk = chunks::read_chunk(file)?;
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
