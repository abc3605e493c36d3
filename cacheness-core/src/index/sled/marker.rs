//! The mark of a clean close: what every file of the index looked like, and how many records there were.
//!
//! It is written last at a close and removed first at an open. If it is there, the index was closed in order; if a file
//! differs from what it says, the file was damaged since.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `CNSSMARK` |
//! | 1 | version of this layout: 4, or 3, whose bytes count a record once |
//! | 8, 8 | number of entries, bytes that they may take on the disk |
//! | 8 | checksum of the file of their [orders](super::saved) |
//! | 4 | number of files, then for each 2 bytes length of its name, the name, 8 bytes length, 8 bytes checksum |
//! | 8 | checksum of all bytes before |

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::orders::Sums;
use crate::index::sync_dir;
use crate::util::digest::{self, Checksum};

const MAGIC: &[u8; 8] = b"CNSSMARK";
const VERSION: u8 = 4;
const OLDEST_VERSION: u8 = 3;
const FILE_NAME: &str = "index.clean";
const CHUNK: usize = 1 << 18;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Marker {
    version: u8,
    pub(super) sums: Sums,
    pub(super) orders: u64,
    files: Vec<FileFacts>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FileFacts {
    name: String,
    len: u64,
    checksum: u64,
}

fn path(root: &Path) -> PathBuf {
    root.join(FILE_NAME)
}

impl Marker {
    /// Takes down what the files of a closed index look like.
    pub(super) fn of(index: &Path, sums: Sums, orders: u64) -> io::Result<Self> {
        Ok(Self { version: VERSION, sums, orders, files: facts_of(index)? })
    }

    /// Whether the files are still those.
    pub(super) fn fits(&self, index: &Path) -> bool {
        facts_of(index).is_ok_and(|files| files == self.files)
    }

    /// Whether its sums count what is counted today.
    pub(super) fn has_current_sums(&self) -> bool {
        self.version == VERSION
    }

    /// The marker of a cache directory; `None` if there is none or it is damaged itself.
    pub(super) fn read(root: &Path) -> Option<Self> {
        Self::decode(&fs::read(path(root)).ok()?)
    }

    pub(super) fn remove(root: &Path) -> io::Result<()> {
        match fs::remove_file(path(root)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Err(_) => Ok(()),
            // A marker that a power cut brings back would speak of older records and have the newer ones dropped.
            Ok(()) => sync_dir(root),
        }
    }

    /// A torn marker does not read back, so it needs no staging: it is then as if there were none.
    pub(super) fn write(&self, root: &Path) -> io::Result<()> {
        fs::write(path(root), self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(self.version);
        out.extend_from_slice(&self.sums.entries.to_le_bytes());
        out.extend_from_slice(&self.sums.bytes.to_le_bytes());
        out.extend_from_slice(&self.orders.to_le_bytes());
        out.extend_from_slice(&(self.files.len() as u32).to_le_bytes());
        for file in &self.files {
            out.extend_from_slice(&(file.name.len() as u16).to_le_bytes());
            out.extend_from_slice(file.name.as_bytes());
            out.extend_from_slice(&file.len.to_le_bytes());
            out.extend_from_slice(&file.checksum.to_le_bytes());
        }
        out.extend_from_slice(&digest::checksum(&out).to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<8>()?;
        if digest::checksum(body) != u64::from_le_bytes(*sum) {
            return None;
        }
        let (&version, mut rest) = body.strip_prefix(MAGIC)?.split_first()?;
        if !(OLDEST_VERSION..=VERSION).contains(&version) {
            return None;
        }
        let mut number = || take(&mut rest).map(u64::from_le_bytes);
        let sums = Sums { entries: number()?, bytes: number()?, records: 0, lost: 0 };
        let orders = u64::from_le_bytes(take(&mut rest)?);
        let files = u32::from_le_bytes(take(&mut rest)?);
        let files = (0..files).map(|_| file_facts(&mut rest)).collect::<Option<_>>()?;
        rest.is_empty().then_some(Self { version, sums, orders, files })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

fn file_facts(rest: &mut &[u8]) -> Option<FileFacts> {
    let name_len = usize::from(u16::from_le_bytes(take(rest)?));
    let (name, left) = rest.split_at_checked(name_len)?;
    *rest = left;
    Some(FileFacts {
        name: String::from_utf8(name.to_vec()).ok()?,
        len: u64::from_le_bytes(take(rest)?),
        checksum: u64::from_le_bytes(take(rest)?),
    })
}

fn facts_of(index: &Path) -> io::Result<Vec<FileFacts>> {
    let mut files = Vec::new();
    collect(index, "", &mut files)?;
    files.sort();
    Ok(files)
}

fn collect(dir: &Path, prefix: &str, files: &mut Vec<FileFacts>) -> io::Result<()> {
    for item in fs::read_dir(dir)? {
        let item = item?;
        let name = format!("{prefix}{}", item.file_name().to_string_lossy());
        let kind = item.file_type()?;
        if kind.is_dir() {
            collect(&item.path(), &format!("{name}/"), files)?;
        } else if !kind.is_file() {
            // Reading a pipe would wait.
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{name} is no file")));
        } else {
            let (len, checksum) = checksum_of(&item.path())?;
            files.push(FileFacts { name, len, checksum });
        }
    }
    Ok(())
}

/// Length and checksum of a file.
pub(super) fn checksum_of(path: &Path) -> io::Result<(u64, u64)> {
    let mut file = File::open(path)?;
    let (mut buffer, mut sum, mut len) = (vec![0; CHUNK], Checksum::new(), 0u64);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((len, sum.finish())),
            read => {
                sum.update(&buffer[..read]);
                len += read as u64;
            }
        }
    }
}

#[cfg(test)]
impl Marker {
    /// As a release wrote it that counted a record once.
    pub(super) fn of_version_3(self, sums: Sums) -> Self {
        Self { version: 3, sums, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_reads_back_and_every_flipped_bit_makes_it_none() {
        let root = tempfile::tempdir().unwrap();
        let index = root.path().join("index");
        fs::create_dir(&index).unwrap();
        fs::write(index.join("db"), b"pages").unwrap();
        let marker = Marker::of(&index, Sums { entries: 1, bytes: 2, records: 0, lost: 0 }, 7).unwrap();
        marker.write(root.path()).unwrap();
        assert_eq!(Marker::read(root.path()).as_ref(), Some(&marker));
        assert!(marker.fits(&index));
        let bytes = marker.encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Marker::decode(&flipped), None, "bit {bit}");
        }
        fs::write(index.join("db"), b"pagez").unwrap();
        assert!(!marker.fits(&index));
    }
}
