//! When entries were last used.
//!
//! A hit notes its time in memory. The flusher appends what was noted since to the file `index.used`, in
//! [chunks](super::chunks) of the hash of a key and a time; opening writes the file anew without what is outdated.
//! Losing uses makes eviction less wise and nothing else.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::orders::Created;
use super::orders::Rows;
use super::saved::{MOST_PAIRS, Pair, chunk_len, read_chunk, write_all};
use crate::clock::Timestamp;

const FILE_NAME: &str = "index.used";
/// The file may hold so many bytes for each entry with a use, and for two chunks, before it is written anew.
const MOST_BYTES_EACH: u64 = 64;

#[derive(Debug, Default)]
pub(super) struct Uses {
    noted: Mutex<Noted>,
    /// Length of the file, as far as it is whole. One thread writes it at a time.
    whole: Mutex<u64>,
}

#[derive(Debug, Default)]
struct Noted {
    last: HashMap<u64, Timestamp>,
    /// What waits for the flusher.
    waiting: Vec<Pair>,
    /// More waited than one chunk holds: the file lacks some, until it is written anew.
    missed: bool,
}

impl Uses {
    /// What the file of a cache directory tells of the entries that are alive.
    pub(super) fn read(root: &Path, alive: impl Iterator<Item = u64>) -> Self {
        let (known, whole) = read_file(&path(root));
        let last = match known.is_empty() {
            true => known,
            false => alive.filter_map(|hash| known.get_key_value(&hash)).map(|(hash, at)| (*hash, *at)).collect(),
        };
        Self { noted: Mutex::new(Noted { last, ..Noted::default() }), whole: Mutex::new(whole) }
    }

    /// Where entries stand in the order of use, from where they stand in that of creation.
    pub(super) fn placed(&self, by_creation: &Created) -> Rows<Timestamp> {
        let noted = self.noted();
        let used = |hash| noted.last.get(&hash).copied().unwrap_or_default();
        Rows::of(by_creation.iter().map(|(at, hash)| ((at.max(used(hash)), hash), ())).collect())
    }

    pub(super) fn note(&self, hash: u64, at: Timestamp) {
        let mut noted = self.noted();
        noted.last.insert(hash, at);
        match noted.waiting.len() < MOST_PAIRS {
            true => noted.waiting.push(pair((hash, at))),
            false => noted.missed = true,
        }
    }

    pub(super) fn last(&self, hash: u64) -> Option<Timestamp> {
        self.noted().last.get(&hash).copied()
    }

    pub(super) fn forget(&self, hash: u64) {
        self.noted().last.remove(&hash);
    }

    /// Appends what was noted since the last time.
    pub(super) fn append(&self, root: &Path) -> io::Result<()> {
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        let (waiting, known) = {
            let mut noted = self.noted();
            (std::mem::take(&mut noted.waiting), noted.last.len() as u64)
        };
        if waiting.is_empty() {
            return Ok(());
        }
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path(root))?;
        // What an earlier error left half-written is cut off: nothing behind it would be read.
        file.set_len(*whole)?;
        file.seek(SeekFrom::Start(*whole))?;
        *whole += write_all(&mut file, waiting.into_iter())?;
        if *whole > MOST_BYTES_EACH * known + 2 * chunk_len(MOST_PAIRS) {
            // From the file: copying the map would keep every hit waiting meanwhile.
            *whole = write_anew(root, read_file(&path(root)).0)?;
        }
        Ok(())
    }

    /// Writes what the file lacks. For a close: what was known is then forgotten.
    pub(super) fn save(&self, root: &Path) -> io::Result<()> {
        if !self.noted().missed {
            return self.append(root);
        }
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = std::mem::take(&mut *self.noted());
        *whole = write_anew(root, noted.last)?;
        Ok(())
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn path(root: &Path) -> PathBuf {
    root.join(FILE_NAME)
}

fn pair((hash, at): (u64, Timestamp)) -> Pair {
    [hash, at.as_micros().cast_unsigned()]
}

/// A file that is torn here costs its uses, so it needs no staging.
fn write_anew(root: &Path, uses: HashMap<u64, Timestamp>) -> io::Result<u64> {
    write_all(&mut File::create(path(root))?, uses.into_iter().map(pair))
}

/// The last use of each entry, and the length of the whole chunks.
fn read_file(path: &Path) -> (HashMap<u64, Timestamp>, u64) {
    let (mut last, mut whole) = (HashMap::new(), 0);
    let Ok(file) = File::open(path) else { return (last, whole) };
    let mut file = BufReader::new(file);
    while let Some(chunk) = read_chunk(&mut file) {
        whole += chunk_len(chunk.len());
        last.extend(chunk.into_iter().map(|[hash, at]| (hash, Timestamp::from_micros(at.cast_signed()))));
    }
    (last, whole)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn what_was_appended_is_there_after_a_kill_and_the_last_use_counts() {
        let root = tempfile::tempdir().unwrap();
        let uses = Uses::default();
        uses.note(1, at(10));
        uses.note(2, at(11));
        uses.append(root.path()).unwrap();
        uses.note(1, at(12));
        uses.append(root.path()).unwrap();
        uses.note(2, at(13));
        let after = Uses::read(root.path(), 0..MOST_PAIRS as u64 + 9);
        assert_eq!((after.last(1), after.last(2)), (Some(at(12)), Some(at(11))), "the last was not appended");
        assert_eq!(Uses::read(root.path(), [1].into_iter()).last(2), None, "an entry that is gone has no use");
    }

    #[test]
    fn what_is_appended_behind_a_torn_chunk_is_read() {
        let root = tempfile::tempdir().unwrap();
        let uses = Uses::default();
        uses.note(1, at(10));
        uses.append(root.path()).unwrap();
        let mut torn = fs::read(path(root.path())).unwrap();
        torn.extend_from_slice(&[9, 0, 0, 0, 1, 2, 3]);
        fs::write(path(root.path()), torn).unwrap();
        let uses = Uses::read(root.path(), 0..MOST_PAIRS as u64 + 9);
        uses.note(2, at(20));
        uses.append(root.path()).unwrap();
        let uses = Uses::read(root.path(), 0..MOST_PAIRS as u64 + 9);
        assert_eq!((uses.last(1), uses.last(2)), (Some(at(10)), Some(at(20))));
    }

    #[test]
    fn a_file_of_outdated_uses_is_written_anew() {
        let root = tempfile::tempdir().unwrap();
        let uses = Uses::default();
        for round in 0..5 {
            (0..MOST_PAIRS as i64).for_each(|n| uses.note(7, at(round * 1_000_000 + n)));
            uses.append(root.path()).unwrap();
        }
        assert!(fs::metadata(path(root.path())).unwrap().len() <= 3 * chunk_len(MOST_PAIRS));
        assert_eq!(Uses::read(root.path(), 0..MOST_PAIRS as u64 + 9).last(7), uses.last(7));
    }

    #[test]
    fn a_close_saves_also_what_was_too_much_to_wait() {
        let root = tempfile::tempdir().unwrap();
        let uses = Uses::default();
        (0..MOST_PAIRS as u64 + 5).for_each(|hash| uses.note(hash, at(1)));
        uses.save(root.path()).unwrap();
        assert_eq!(Uses::read(root.path(), 0..MOST_PAIRS as u64 + 9).last(MOST_PAIRS as u64 + 4), Some(at(1)));
    }
}
