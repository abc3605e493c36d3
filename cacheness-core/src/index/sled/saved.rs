//! What an index has beside its database.
//!
//! `index.orders` has the orders of a closed index: creation, the marks of its rows (four in a pair), expiry and groups,
//! each in chunks, the last of them empty. The order of uses follows from creation and [`Uses`]. The marker of the
//! clean close holds a checksum of the whole file: one of another close is not believed. Creation and marks also prove
//! which records of a damaged index are current.
//!
//! `index.used` has when entries were last used. A hit notes its time in memory. The flusher appends what was noted since,
//! in chunks of the hash of a key and a time; opening writes the file anew without what is outdated. Losing uses makes
//! eviction less wise and nothing else.
//!
//! `index.state` has the named values that belong to the whole index, so that damage of the database takes none of them:
//!
//! | bytes | content |
//! |---|---|
//! | … | for each value 4 bytes length of its name, the name, 4 bytes length, the value |
//! | 8 | checksum of all before |

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::disk::storage;
use super::marker::checksum_of;
use super::orders::{Created, Mark, Row, Rows, Tables};
use crate::clock::Timestamp;
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::backend::Swap;
use crate::index::{read_file, replace_file};
use crate::util::digest;
use crate::util::threads::lock;

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

type Values = BTreeMap<String, Vec<u8>>;

/// The values are few and small.
const MOST_BYTES: u64 = 16 << 20;

/// The values, as soon as one was asked for.
#[derive(Debug, Default)]
pub(super) struct States(Mutex<Option<Values>>);

fn place(root: &Path) -> PathBuf {
    root.join("index.state")
}

impl States {
    pub(super) fn get(&self, root: &Path, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> {
        let mut known = lock(&self.0);
        let values = match &mut *known {
            Some(values) => values,
            none => none.insert(read_values(root)?),
        };
        let there = values.get(name);
        if let Some(Swap { expected, new }) = swap
            && there.map(Vec::as_slice) == expected
        {
            let mut changed = values.clone();
            match new {
                Some(new) => drop(changed.insert(name.to_owned(), new.to_vec())),
                None => drop(changed.remove(name)),
            }
            replace_file(&place(root), &encode(&changed))
                .map_err(|error| storage(root, "cannot write the state of the index", error))?;
            *values = changed;
        }
        Ok(values.get(name).cloned())
    }
}

fn read_values(root: &Path) -> Result<Values> {
    let bytes = read_file(&place(root), MOST_BYTES);
    let bytes = bytes.map_err(|error| storage(root, "cannot read the state of the index", error))?;
    let Some(bytes) = bytes else { return Ok(Values::new()) };
    decode(&bytes).ok_or_else(|| {
        let message = format!("{} is damaged: remove it", place(root).display());
        CacheError::new(ErrorKind::Integrity, message)
    })
}

fn encode(values: &Values) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in values {
        for part in [name.as_bytes(), value] {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    let sum = digest::checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Values> {
    let (mut rest, sum) = bytes.split_last_chunk()?;
    if digest::checksum(rest) != u64::from_le_bytes(*sum) {
        return None;
    }
    let mut part = || {
        let (len, behind) = rest.split_first_chunk()?;
        let (part, behind) = behind.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        rest = behind;
        Some(part)
    };
    let mut values = Values::new();
    while let Some(name) = part() {
        values.insert(String::from_utf8(name.to_vec()).ok()?, part()?.to_vec());
    }
    Some(values)
}

const USES_FILE: &str = "index.used";
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
        let (known, whole) = read_uses(&uses_path(root));
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
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(uses_path(root))?;
        // What an earlier error left half-written is cut off: nothing behind it would be read.
        file.set_len(*whole)?;
        file.seek(SeekFrom::Start(*whole))?;
        *whole += write_all(&mut file, waiting.into_iter())?;
        if *whole > MOST_BYTES_EACH * known + 2 * chunk_len(MOST_PAIRS) {
            // From the file: copying the map would keep every hit waiting meanwhile.
            *whole = write_anew(root, read_uses(&uses_path(root)).0)?;
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

fn uses_path(root: &Path) -> PathBuf {
    root.join(USES_FILE)
}

fn pair((hash, at): (u64, Timestamp)) -> Pair {
    [hash, at.as_micros().cast_unsigned()]
}

/// A file that is torn here costs its uses, so it needs no staging.
fn write_anew(root: &Path, uses: HashMap<u64, Timestamp>) -> io::Result<u64> {
    write_all(&mut File::create(uses_path(root))?, uses.into_iter().map(pair))
}

/// The last use of each entry, and the length of the whole chunks.
fn read_uses(path: &Path) -> (HashMap<u64, Timestamp>, u64) {
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
mod tests;
