//! Changes that are acknowledged to other processes and not on the disk yet, in a file of their own.
//!
//! sled keeps what was not flushed in memory, so that it ends with a process that is killed. Where others were told that
//! their changes were made, the changes since the last flush are therefore written here too, into the memory of the system:
//! a kill does not take them from there. A power cut may, and may leave any older state of the file. So the file says in
//! which run of the system it was written, and counts in no other one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::util::digest;

const FILE: &str = "index.journal";
/// Takes the place of the file when it is written anew.
const PART: &str = "index.journal.part";
const MAGIC: &[u8; 8] = b"cachenJ1";
/// When the file has grown to this, the changes that are flushed are left out of it.
const MOST_BYTES: u64 = 4 << 20;
/// No record is longer; more is damage.
const MOST_RECORD: usize = 1 << 30;

/// A key and its row; `None` if the row was removed.
pub(super) type Noted = (Vec<u8>, Option<Vec<u8>>);

#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    file: File,
    bytes: u64,
}

impl Journal {
    /// Begins a journal with these changes. `None` where the system does not tell its runs apart.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(super) fn begin<'c>(
        dir: &Path,
        changes: impl Iterator<Item = (&'c [u8], Option<&'c [u8]>)>,
    ) -> io::Result<Option<Self>> {
        let Some(run) = run_of_system() else { return Ok(None) };
        let mut text = MAGIC.to_vec();
        text.extend(&run);
        changes.for_each(|(key, row)| append(&mut text, key, row));
        let part = dir.join(PART);
        fs::write(&part, &text)?;
        fs::rename(&part, dir.join(FILE))?;
        let file = OpenOptions::new().append(true).open(dir.join(FILE))?;
        Ok(Some(Self { dir: dir.to_path_buf(), file, bytes: text.len() as u64 }))
    }

    /// Notes a change.
    ///
    /// # Errors
    /// Those of the operating system; the journal is of no use any more.
    pub(super) fn note(&mut self, key: &[u8], row: Option<&[u8]>) -> io::Result<()> {
        let mut text = Vec::new();
        append(&mut text, key, row);
        self.bytes += text.len() as u64;
        self.file.write_all(&text)
    }

    /// Whether it should be begun anew with what is left: all else is on the disk.
    pub(super) fn is_long(&self, left: usize) -> bool {
        self.bytes > MOST_BYTES || (left == 0 && self.bytes > (MAGIC.len() + RUN) as u64)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The changes that a process which was killed has noted, in their order. None where the system has been started since.
pub(super) fn read(dir: &Path) -> Vec<Noted> {
    let mut text = Vec::new();
    let read = File::open(dir.join(FILE)).and_then(|mut file| file.read_to_end(&mut text));
    let (Ok(_), Some(run)) = (read, run_of_system()) else { return Vec::new() };
    let Some(mut rest) = text.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(&run[..])) else {
        return Vec::new();
    };
    let mut noted = Vec::new();
    // The last one may be cut off: it was not acknowledged.
    while let Some((change, behind)) = split(rest) {
        noted.push(change);
        rest = behind;
    }
    noted
}

/// Removes the journal: what it says is on the disk.
///
/// # Errors
/// Those of the operating system.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Appends a record: lengths of key and row (all ones if there is none), key, row, checksum.
fn append(text: &mut Vec<u8>, key: &[u8], row: Option<&[u8]>) {
    let begin = text.len();
    let len_of = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1);
    text.extend(len_of(key).to_le_bytes());
    text.extend(row.map_or(u32::MAX, len_of).to_le_bytes());
    text.extend(key);
    text.extend(row.unwrap_or_default());
    let sum = digest::checksum(&text[begin..]);
    text.extend(sum.to_le_bytes());
}

/// The first record, and what is behind it; `None` if it is not whole.
fn split(text: &[u8]) -> Option<(Noted, &[u8])> {
    let (key_len, rest) = text.split_first_chunk::<4>()?;
    let (row_len, rest) = rest.split_first_chunk::<4>()?;
    let (key_len, row_len) = (u32::from_le_bytes(*key_len) as usize, u32::from_le_bytes(*row_len));
    let has_row = row_len != u32::MAX;
    let row_len = if has_row { row_len as usize } else { 0 };
    if key_len > MOST_RECORD || row_len > MOST_RECORD {
        return None;
    }
    let (key, rest) = rest.split_at_checked(key_len)?;
    let (row, rest) = rest.split_at_checked(row_len)?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let whole = digest::checksum(&text[..8 + key_len + row_len]) == u64::from_le_bytes(*sum);
    whole.then(|| ((key.to_vec(), has_row.then(|| row.to_vec())), rest))
}

/// The length of what tells a run of the system.
const RUN: usize = 36;

/// What tells this run of the system, since its last start, from all others.
fn run_of_system() -> Option<[u8; RUN]> {
    let text = fs::read("/proc/sys/kernel/random/boot_id").ok()?;
    text.first_chunk().copied()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn journal(dir: &Path) -> Journal {
        let before: [(&[u8], Option<&[u8]>); 1] = [(b"before", Some(b"row"))];
        let mut journal = Journal::begin(dir, before.into_iter()).unwrap().unwrap();
        journal.note(b"one", Some(b"")).unwrap();
        journal.note(b"before", None).unwrap();
        journal
    }

    fn all() -> Vec<Noted> {
        vec![(b"before".to_vec(), Some(b"row".to_vec())), (b"one".to_vec(), Some(vec![])), (b"before".to_vec(), None)]
    }

    #[test]
    fn changes_come_back_in_their_order_until_the_journal_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), []);
        let _journal = journal(dir.path());
        assert_eq!(read(dir.path()), all());
        remove(dir.path()).unwrap();
        remove(dir.path()).unwrap();
        assert_eq!(read(dir.path()), []);
    }

    #[test]
    fn every_cut_gives_the_changes_before_it_and_no_flip_gives_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let _journal = journal(dir.path());
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let found = read(dir.path());
            assert_eq!(found, all()[..found.len()], "cut at {len}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).unwrap();
            let found = read(dir.path());
            assert!(found.len() < 3 && found == all()[..found.len()], "bit {bit}");
        }
    }

    #[test]
    fn a_journal_of_an_earlier_run_of_the_system_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let _journal = journal(dir.path());
        let path = dir.path().join(FILE);
        let mut text = fs::read(&path).unwrap();
        text[MAGIC.len()..MAGIC.len() + RUN].fill(b'0');
        fs::write(&path, text).unwrap();
        assert_eq!(read(dir.path()), []);
    }
}
