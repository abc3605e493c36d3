//! What was acknowledged and is not known to be on the disk.
//!
//! sled repeats an error of the disk for ever, so that its database has to be opened anew, and then it has forgotten what
//! it had not written. So the last state of every key that was changed since the last flush is kept here until a flush
//! has returned, and put into whatever takes the place of the database.
//!
//! sled keeps what was not flushed in memory, so that it ends with a process that is killed. Where others were told that
//! their changes were made, the changes since the last flush are therefore written to a file too, the [`Journal`], into the
//! memory of the system: a kill does not take them from there. A power cut may, and may leave any older state of the file.
//! So the file says in which run of the system it was written, and counts in no other one.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::{Trees, shielded};
use crate::entry::IndexKey;
use crate::error::Result;
use crate::util::digest;

/// With more than this the next change flushes first.
const MOST_BYTES: usize = 32 << 20;
/// What a change takes beside its key and its record.
const EACH: usize = 96;

#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<Changes>);

#[derive(Debug, Default)]
struct Changes {
    by_key: HashMap<IndexKey, Change>,
    bytes: usize,
    last: u64,
    /// Outlives the process, where others rely on what it has acknowledged.
    journal: Kept,
}

/// Whether changes are noted in a file too.
#[derive(Debug, Default)]
enum Kept {
    #[default]
    No,
    Yes(Journal),
    /// They should be and cannot: each is flushed before it is acknowledged.
    Failed(PathBuf),
    /// The index is closed.
    Ended,
}

#[derive(Debug)]
struct Change {
    number: u64,
    /// `None` if the entry was removed.
    row: Option<Vec<u8>>,
}

impl Changes {
    fn rows(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.by_key.iter().map(|(key, change)| (key.as_bytes(), change.row.as_deref()))
    }

    fn begin_journal(&mut self, dir: &Path) {
        self.journal = match Journal::begin(dir, self.rows()) {
            Ok(journal) => Kept::Yes(journal),
            Err(error) => {
                log::debug!("each change is flushed, since none can be noted: {error}");
                Kept::Failed(dir.to_path_buf())
            }
        };
    }

    /// After a flush: leaves out what is on the disk, and tries again where no journal could be kept.
    fn shorten_journal(&mut self) {
        let dir = match &self.journal {
            Kept::Yes(journal) if journal.is_long(self.by_key.len()) => journal.dir.clone(),
            Kept::Failed(dir) if self.by_key.is_empty() => dir.clone(),
            _ => return,
        };
        self.begin_journal(&dir);
    }

    fn note_in_journal(&mut self, key: &IndexKey, row: Option<&[u8]>) {
        let Kept::Yes(journal) = &mut self.journal else { return };
        if let Err(error) = journal.note(key.as_bytes(), row) {
            log::debug!("each change is flushed, since none can be noted: {error}");
            // What it says is older than what follows, and must not be made again. That needs no room.
            let _ = journal.file.set_len(0);
            self.journal = Kept::Failed(journal.dir.clone());
        }
    }

    fn size_of(key: &IndexKey, row: Option<&[u8]>) -> usize {
        EACH + key.as_bytes().len() + row.map_or(0, <[u8]>::len)
    }
}

impl Pending {
    /// Changes that another process has acknowledged and may not have flushed.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(super) fn of_journal(dir: &Path) -> io::Result<Self> {
        let pending = Self::default();
        for (key, row) in read_journal(dir)? {
            if let Ok(key) = IndexKey::from_stored(&key) {
                pending.note(&key, row.as_deref());
            }
        }
        Ok(pending)
    }

    /// Notes what has become of a key. The caller has its turn.
    pub(super) fn note(&self, key: &IndexKey, row: Option<&[u8]>) {
        let kept = row.map(<[u8]>::to_vec);
        let mut changes = self.lock();
        changes.note_in_journal(key, row);
        changes.last += 1;
        changes.bytes += Changes::size_of(key, row);
        let change = Change { number: changes.last, row: kept };
        if let Some(before) = changes.by_key.insert(key.clone(), change) {
            changes.bytes -= Changes::size_of(key, before.row.as_deref());
        }
    }

    /// The number of the last change: a flush that begins now covers it and all before.
    pub(super) fn last(&self) -> u64 {
        self.lock().last
    }

    /// Forgets the changes up to this one: they are on the disk.
    pub(super) fn flushed(&self, last: u64) {
        let mut changes = self.lock();
        if last == changes.last {
            (changes.by_key, changes.bytes) = (HashMap::new(), 0);
        } else {
            let Changes { by_key, bytes, .. } = &mut *changes;
            by_key.retain(|key, change| {
                let stays = change.number > last;
                if !stays {
                    *bytes -= Changes::size_of(key, change.row.as_deref());
                }
                stays
            });
        }
        changes.shorten_journal();
    }

    /// Notes changes in a file too from now on, beginning with those that are not on the disk.
    pub(super) fn keep_journal(&self, dir: &Path) {
        let mut changes = self.lock();
        if matches!(changes.journal, Kept::No) {
            changes.begin_journal(dir);
        }
    }

    /// Whether a change that is not flushed would not survive this process, though others rely on it.
    pub(super) fn must_be_flushed(&self) -> bool {
        matches!(self.lock().journal, Kept::Failed(_))
    }

    /// Notes no more changes in a file, nor writes to it.
    pub(super) fn end_journal(&self) {
        self.lock().journal = Kept::Ended;
    }

    pub(super) fn is_full(&self) -> bool {
        self.lock().bytes > MOST_BYTES
    }

    pub(super) fn count(&self) -> usize {
        self.lock().by_key.len()
    }

    /// Makes all changes in another database.
    pub(super) fn repeat_in(&self, trees: &Trees) -> Result<()> {
        let changes = self.lock();
        shielded("bring what was acknowledged into the index", || {
            for (key, change) in &changes.by_key {
                match &change.row {
                    Some(row) => trees.entries.insert(key.as_bytes(), row.as_slice())?,
                    None => trees.entries.remove(key.as_bytes())?,
                };
            }
            Ok(())
        })
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// The file that outlives the process.

const FILE: &str = "index.journal";
/// Takes the place of the file when it is written anew.
const PART: &str = "index.journal.part";
const MAGIC: &[u8; 8] = b"cachenJ1";
/// When the file has grown to this, the changes that are flushed are left out of it.
const LONGEST_JOURNAL: u64 = 4 << 20;
/// No record is longer; more is damage.
const MOST_RECORD: usize = 1 << 30;

/// A key and its row; `None` if the row was removed.
type Noted = (Vec<u8>, Option<Vec<u8>>);

#[derive(Debug)]
struct Journal {
    dir: PathBuf,
    file: File,
    bytes: u64,
}

impl Journal {
    /// Begins a journal with these changes, in the place of the one that is there.
    ///
    /// # Errors
    /// Those of the operating system; `Unsupported` where it does not tell its runs apart.
    fn begin<'c>(dir: &Path, changes: impl Iterator<Item = (&'c [u8], Option<&'c [u8]>)>) -> io::Result<Self> {
        let mut text = MAGIC.to_vec();
        text.extend(run_of_system()?);
        changes.for_each(|(key, row)| append(&mut text, key, row));
        let part = dir.join(PART);
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&part)?;
        file.write_all(&text)?;
        // From here on it is this one that counts, by the handle that is open already.
        fs::rename(&part, dir.join(FILE))?;
        Ok(Self { dir: dir.to_path_buf(), file, bytes: text.len() as u64 })
    }

    /// Notes a change.
    ///
    /// # Errors
    /// Those of the operating system; the journal is of no use any more.
    fn note(&mut self, key: &[u8], row: Option<&[u8]>) -> io::Result<()> {
        let mut text = Vec::new();
        append(&mut text, key, row);
        self.bytes += text.len() as u64;
        self.file.write_all(&text)
    }

    /// Whether it should be begun anew with what is left: all else is on the disk.
    fn is_long(&self, left: usize) -> bool {
        self.bytes > LONGEST_JOURNAL || (left == 0 && self.bytes > (MAGIC.len() + RUN) as u64)
    }
}

/// The changes that a process which was killed has noted, in their order. None where the system has been started since.
///
/// # Errors
/// Those of the operating system: what was acknowledged is not given up because it cannot be read now.
fn read_journal(dir: &Path) -> io::Result<Vec<Noted>> {
    let mut text = Vec::new();
    match File::open(dir.join(FILE)).and_then(|mut file| file.read_to_end(&mut text)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let run = run_of_system()?;
    let Some(mut rest) = text.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(&run[..])) else {
        return Ok(Vec::new());
    };
    let mut noted = Vec::new();
    // The last one may be cut off: it was not acknowledged.
    while let Some((change, behind)) = split(rest) {
        noted.push(change);
        rest = behind;
    }
    Ok(noted)
}

/// Removes the journal: what it says is on the disk.
///
/// # Errors
/// Those of the operating system.
pub(super) fn remove_journal(dir: &Path) -> io::Result<()> {
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
fn run_of_system() -> io::Result<[u8; RUN]> {
    static READ: OnceLock<[u8; RUN]> = OnceLock::new();
    if let Some(run) = READ.get() {
        return Ok(*run);
    }
    let text = fs::read("/proc/sys/kernel/random/boot_id")?;
    let run = text.first_chunk().copied().ok_or(io::ErrorKind::InvalidData)?;
    Ok(*READ.get_or_init(|| run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::record::tests::record_of;

    #[test]
    fn a_flush_covers_the_changes_before_it_and_none_that_came_meanwhile() {
        let pending = Pending::default();
        let ((one, first), (two, second)) = (record_of("one", 1, None), record_of("two", 2, None));
        pending.note(&one, Some(first.as_bytes()));
        pending.note(&two, Some(second.as_bytes()));
        let flush = pending.last();
        pending.note(&one, None);
        pending.flushed(flush);
        assert_eq!(pending.count(), 1);
        assert_eq!(pending.lock().bytes, Changes::size_of(&one, None));
        pending.flushed(pending.last());
        assert_eq!((pending.count(), pending.lock().bytes), (0, 0));
    }
}

#[cfg(all(test, target_os = "linux"))]
mod journal_tests {
    use super::*;

    fn journal(dir: &Path) -> Journal {
        let before: [(&[u8], Option<&[u8]>); 1] = [(b"before", Some(b"row"))];
        let mut journal = Journal::begin(dir, before.into_iter()).unwrap();
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
        assert_eq!(read_journal(dir.path()).unwrap(), []);
        let _journal = journal(dir.path());
        assert_eq!(read_journal(dir.path()).unwrap(), all());
        remove_journal(dir.path()).unwrap();
        remove_journal(dir.path()).unwrap();
        assert_eq!(read_journal(dir.path()).unwrap(), []);
    }

    #[test]
    fn every_cut_gives_the_changes_before_it_and_no_flip_gives_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let _journal = journal(dir.path());
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let found = read_journal(dir.path()).unwrap();
            assert_eq!(found, all()[..found.len()], "cut at {len}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).unwrap();
            let found = read_journal(dir.path()).unwrap();
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
        assert_eq!(read_journal(dir.path()).unwrap(), []);
    }

    #[test]
    fn a_journal_that_cannot_be_written_is_emptied_and_each_change_is_to_be_flushed() {
        let dir = tempfile::tempdir().unwrap();
        let pending = Pending::default();
        let (key, record) = crate::index::record::tests::record_of("one", 1, None);
        pending.keep_journal(dir.path());
        pending.note(&key, Some(record.as_bytes()));
        assert!(!pending.must_be_flushed() && read_journal(dir.path()).unwrap().len() == 1);
        // A handle that cannot write, as on a disk that is full.
        let read_only = File::open(dir.path().join(FILE)).unwrap();
        if let Kept::Yes(journal) = &mut pending.lock().journal {
            journal.file = read_only;
        }
        pending.note(&key, None);
        assert!(pending.must_be_flushed());
        pending.flushed(pending.last());
        assert!(!pending.must_be_flushed(), "it is tried again");
        assert_eq!(read_journal(dir.path()).unwrap(), []);
    }

    #[test]
    fn who_comes_after_the_end_begins_no_journal() {
        let dir = tempfile::tempdir().unwrap();
        let pending = Pending::default();
        pending.keep_journal(dir.path());
        pending.end_journal();
        remove_journal(dir.path()).unwrap();
        pending.keep_journal(dir.path());
        assert!(!dir.path().join(FILE).exists());
    }
}
