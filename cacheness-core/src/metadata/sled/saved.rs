//! The orders of a closed index as a file beside it, `index.orders`: creation, expiry and groups, each in
//! [chunks](super::chunks) of rows, the last of them empty. The order of uses follows from creation and
//! [uses](super::uses). The marker of the clean close holds a checksum of the whole file: one of another close is not
//! believed.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::chunks::{self, Pair};
use super::marker::checksum_of;
use super::orders::Tables;
use super::rows::{Row, Rows};
use crate::clock::Timestamp;
use crate::metadata::Group;

const FILE_NAME: &str = "index.orders";

fn path(root: &Path) -> PathBuf {
    root.join(FILE_NAME)
}

/// Writes the orders; returns the checksum of the file.
pub(super) fn write(root: &Path, tables: &Tables) -> io::Result<u64> {
    let mut file = File::create(path(root))?;
    write_rows(&mut file, &tables.by_creation, |at| at.as_micros().cast_unsigned())?;
    write_rows(&mut file, &tables.by_expiry, |at| at.as_micros().cast_unsigned())?;
    write_rows(&mut file, &tables.by_group, Group::as_u64)?;
    drop(file);
    checksum_of(&path(root)).map(|(_, checksum)| checksum)
}

fn write_rows<B: Ord + Copy>(file: &mut File, rows: &Rows<B>, number: impl Fn(B) -> u64) -> io::Result<()> {
    chunks::write_all(file, rows.iter().map(|(by, hash)| [number(by), hash]))?;
    chunks::write_chunk(file, &[])
}

/// The orders that were written with this checksum. `None` if the file is another one or there is none.
pub(super) fn read(root: &Path, checksum: u64) -> Option<Tables> {
    if checksum_of(&path(root)).ok()?.1 != checksum {
        return None;
    }
    let mut file = BufReader::new(File::open(path(root)).ok()?);
    let time = |number: u64| Timestamp::from_micros(number.cast_signed());
    let (by_creation, by_expiry) = (read_rows(&mut file, time)?, read_rows(&mut file, time)?);
    let by_group = read_rows(&mut file, Group::from_u64)?;
    Some(Tables { by_creation, by_expiry, by_group, by_access: Rows::default() })
}

fn read_rows<B: Ord + Copy>(file: &mut impl Read, by: impl Fn(u64) -> B) -> Option<Rows<B>> {
    let mut rows: Vec<Row<B>> = Vec::new();
    loop {
        let chunk = chunks::read_chunk(file)?;
        if chunk.is_empty() {
            return Some(Rows::of(rows));
        }
        rows.extend(chunk.into_iter().map(|[number, hash]: Pair| (by(number), hash)));
    }
}

/// An index that is open changes: what was saved is outdated.
pub(super) fn remove(root: &Path) {
    // One that stays is not believed: the marker that knows its checksum is gone.
    let _ = fs::remove_file(path(root));
}
