//! A metadata backend of one file that people can read: `index.json`.
//!
//! All rows are in memory, and every flush writes the file anew, whole and in the place of the one before. So a put costs
//! as much as there are rows, once for each flush interval: for caches of a few thousand small entries.
//!
//! Bytes are written as text, each as the character of its number: names and texts in a row can be read, and the file
//! stays JSON. What a row says is checked when it is used, so that an edited one is a miss.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::backend::{Applied, Change, Facts, MetadataBackend, Row, Scan, Swap, Totals, Traits};
use super::memory::{MemoryMetadata, Stored, Tables};
use super::{read_file, replace_file, shown};
use crate::clock::Timestamp;
use crate::error::{CacheError, ErrorKind, Result};
use crate::storage::vfs::RealVfs;
use crate::storage::vfs::root::{HeldLock, lock_root};
use crate::util::emit;
use crate::util::threads::lock;

const FILE_NAME: &str = "index.json";
const FORMAT: &str = "cacheness rows 1";
/// No small cache has more.
const MOST_BYTES: u64 = 1 << 30;

/// Rows in a JSON file of a directory.
#[derive(Debug)]
pub(crate) struct JsonMetadata {
    rows: MemoryMetadata,
    path: PathBuf,
    written: Mutex<Written>,
    /// Of the directory, if nobody else holds it.
    alone: HeldLock,
}

/// What was written last.
#[derive(Debug)]
struct Written {
    /// As many changes were made before.
    changes: u64,
    file: Option<Stamp>,
}

/// Tells a file from one that somebody else has put in its place.
type Stamp = (u64, Option<SystemTime>);

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.len(), found.modified().ok()))
}

/// What the file says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: String,
    #[serde(default)]
    state: BTreeMap<String, String>,
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: String,
    /// Times are microseconds since 1970.
    facts: Facts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_at: Option<Timestamp>,
    row: String,
}

/// Each byte as the character of its number.
fn text_of(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn bytes_of(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect()
}

impl Content {
    fn of(tables: &Tables) -> Self {
        let entry = |(key, row): (&Arc<[u8]>, &Stored)| Entry {
            key: text_of(key),
            facts: row.facts.clone(),
            used_at: row.used_at,
            row: text_of(&row.bytes),
        };
        Self {
            format: FORMAT.to_owned(),
            state: tables.state.iter().map(|(name, value)| (name.clone(), text_of(value))).collect(),
            entries: tables.rows.iter().map(entry).collect(),
        }
    }

    fn tables(self) -> Option<Tables> {
        let mut tables = Tables::default();
        for (name, value) in self.state {
            tables.state.insert(name, bytes_of(&value)?);
        }
        for entry in self.entries {
            let (key, bytes) = (bytes_of(&entry.key)?, bytes_of(&entry.row)?);
            tables.insert(&key, Stored { bytes, facts: entry.facts, used_at: entry.used_at });
        }
        Some(tables)
    }
}

impl JsonMetadata {
    /// Opens the rows of a directory whose lock the caller holds.
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage) if the file cannot be read; [`Config`](ErrorKind::Config) if another release wrote
    /// it. Damage is not an error: the file is set aside, with one warning.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE_NAME);
        let bytes = read_file(&path, MOST_BYTES).map_err(|error| failed("read", &path, error))?;
        let tables = match bytes.map(String::from_utf8) {
            None => Tables::default(),
            Some(Ok(text)) => match parse(&path, &text)? {
                Some(tables) => tables,
                None => set_aside(dir)?,
            },
            Some(Err(_)) => set_aside(dir)?,
        };
        let written = Mutex::new(Written { changes: tables.changes, file: stamp(&path) });
        Ok(Self { rows: MemoryMetadata::of(tables), path, written, alone: HeldLock::default() })
    }

    /// [`open`](Self::open) for nobody else: takes the lock of the directory.
    ///
    /// # Errors
    /// [`Locked`](ErrorKind::Locked) if somebody has it; as [`open`](Self::open).
    pub(crate) fn open_alone(dir: &Path) -> Result<Self> {
        let held = lock_root(&RealVfs::new(), dir)?;
        Ok(Self { alone: HeldLock::of(held), ..Self::open(dir)? })
    }

    fn write(&self) -> Result<()> {
        let mut written = lock(&self.written);
        let (changes, text) = {
            let tables = self.rows.read()?;
            if tables.changes == written.changes {
                return Ok(());
            }
            (tables.changes, serde_json::to_vec_pretty(&Content::of(&tables)))
        };
        let text = text.map_err(|error| failed("write", &self.path, error.into()))?;
        if stamp(&self.path) != written.file {
            let message = format!(
                "{} was changed by somebody else while it was in use: nothing is written over that; open the cache again \
                 to use it",
                shown(&self.path).display()
            );
            return Err(CacheError::new(ErrorKind::Storage, message));
        }
        replace_file(&self.path, &text).map_err(|error| failed("write", &self.path, error))?;
        *written = Written { changes, file: stamp(&self.path) };
        Ok(())
    }
}

/// What a file says; `None` if it is damaged.
fn parse(path: &Path, text: &str) -> Result<Option<Tables>> {
    let content: Content = match serde_json::from_str(text) {
        Ok(content) => content,
        Err(error) => {
            // A newer release may have other fields, and would lose what is set aside.
            let format = serde_json::from_str::<serde_json::Value>(text).ok();
            return match format.as_ref().and_then(|content| content.get("format")?.as_str()) {
                Some(format) if format != FORMAT => Err(other_format(path, format)),
                _ => {
                    log::debug!("{}: {error}", shown(path).display());
                    Ok(None)
                }
            };
        }
    };
    if content.format != FORMAT {
        return Err(other_format(path, &content.format));
    }
    Ok(content.tables())
}

fn other_format(path: &Path, format: &str) -> CacheError {
    let message = format!(
        "{} has the format {format:?}, and this release reads {FORMAT:?}: use the release that wrote it, or another directory",
        shown(path).display()
    );
    CacheError::new(ErrorKind::Config, message)
}

/// Moves a damaged file out of the way; the one before goes.
fn set_aside(dir: &Path) -> Result<Tables> {
    let (path, aside) = (dir.join(FILE_NAME), dir.join("quarantine").join(FILE_NAME));
    let moved = fs::create_dir_all(dir.join("quarantine")).and_then(|()| fs::rename(&path, &aside));
    moved.map_err(|error| failed("set aside", &path, error))?;
    emit(&format!(
        "cacheness: {} is damaged and was moved to {}: entries whose values lie in it are lost",
        shown(&path).display(),
        shown(&aside).display()
    ));
    Ok(Tables::default())
}

fn failed(doing: &str, path: &Path, error: io::Error) -> CacheError {
    CacheError::caused_by(ErrorKind::Storage, format!("cannot {doing} {}: {error}", shown(path).display()), error)
}

impl MetadataBackend for JsonMetadata {
    fn traits(&self) -> Traits {
        Traits::new("json").persistent()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.rows.get(key)
    }

    fn apply(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>> {
        self.rows.apply(changes)
    }

    fn page(&self, scan: &Scan<'_>, limit: usize) -> Result<Vec<Row>> {
        self.rows.page(scan, limit)
    }

    fn keys(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        self.rows.keys(after, limit)
    }

    fn used(&self, uses: &[(&[u8], Timestamp)]) -> Result<()> {
        self.rows.used(uses)
    }

    fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>> {
        self.rows.last_used(key)
    }

    fn totals(&self) -> Result<Totals> {
        self.rows.totals()
    }

    fn state(&self, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> {
        self.rows.state(name, swap)
    }

    fn flush(&self) -> Result<()> {
        self.write()
    }

    fn close(&self) -> Result<()> {
        let written = match self.write() {
            Err(error) if error.is_closed() => Ok(()),
            written => written,
        };
        self.rows.close()?;
        self.alone.release();
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::record::tests::record_of;
    use crate::index::{Record, Records};

    fn put(rows: &JsonMetadata, key: &str) -> (crate::entry::IndexKey, Record) {
        let (key, record) = record_of(key, 7, Some(100));
        rows.put(&key, &record).unwrap();
        (key, record)
    }

    #[test]
    fn people_can_read_what_the_file_says() {
        let dir = tempfile::tempdir().unwrap();
        let rows = JsonMetadata::open(dir.path()).unwrap();
        put(&rows, "London");
        rows.close().unwrap();
        let text = fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
        for part in ["\"format\": \"cacheness rows 1\"", "London", "\"created_at\": 7", "\"expires_at\": 107", "value"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn every_cut_of_the_file_is_set_aside_and_no_flip_gives_another_row() {
        let dir = tempfile::tempdir().unwrap();
        let rows = JsonMetadata::open(dir.path()).unwrap();
        let (key, record) = put(&rows, "one");
        rows.close().unwrap();
        let path = dir.path().join(FILE_NAME);
        let whole = fs::read(&path).unwrap();
        for len in (0..whole.len()).step_by(41) {
            fs::write(&path, &whole[..len]).unwrap();
            let rows = JsonMetadata::open(dir.path()).unwrap();
            assert_eq!(rows.record(&key).unwrap(), None, "cut at {len}");
            assert_eq!(fs::read(dir.path().join("quarantine").join(FILE_NAME)).unwrap(), whole[..len]);
        }
        for bit in (0..whole.len() * 8).step_by(131) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).unwrap();
            let Ok(rows) = JsonMetadata::open(dir.path()) else { continue };
            let found = rows.record(&key);
            assert!(matches!(&found, Ok(None) | Err(_)) || found.unwrap() == Some(record.clone()), "bit {bit}");
        }
    }

    #[test]
    fn a_file_of_another_format_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        for text in [r#"{"format": "cacheness rows 2", "entries": []}"#, r#"{"format": "cacheness rows 2", "more": 1}"#]
        {
            fs::write(dir.path().join(FILE_NAME), text).unwrap();
            let error = JsonMetadata::open(dir.path()).unwrap_err();
            assert!(error.is_config() && error.to_string().contains("\"cacheness rows 2\""), "{error}");
            assert_eq!(fs::read_to_string(dir.path().join(FILE_NAME)).unwrap(), text);
        }
    }

    #[test]
    fn a_second_writer_is_kept_out_and_one_who_comes_all_the_same_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let rows = JsonMetadata::open_alone(dir.path()).unwrap();
        assert!(JsonMetadata::open_alone(dir.path()).unwrap_err().is_locked());
        put(&rows, "one");
        rows.flush().unwrap();
        let path = dir.path().join(FILE_NAME);
        let edited = fs::read_to_string(&path).unwrap() + "\n";
        fs::write(&path, &edited).unwrap();
        put(&rows, "two");
        let error = rows.flush().unwrap_err();
        assert!(error.is_storage() && error.to_string().contains("changed by somebody else"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), edited);
        assert!(rows.close().is_err());
        assert_eq!(JsonMetadata::open_alone(dir.path()).unwrap().totals().unwrap().entries, 1);
    }

    #[test]
    fn what_is_no_file_or_too_long_is_an_error_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        fs::create_dir(&path).unwrap();
        assert!(JsonMetadata::open(dir.path()).unwrap_err().to_string().contains("it is no file"));
        fs::remove_dir(&path).unwrap();
        fs::File::create(&path).unwrap().set_len(MOST_BYTES + 1).unwrap();
        assert!(JsonMetadata::open(dir.path()).unwrap_err().to_string().contains("at most"));
    }

    #[test]
    fn a_flush_without_a_change_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let rows = JsonMetadata::open(dir.path()).unwrap();
        put(&rows, "one");
        rows.flush().unwrap();
        fs::remove_file(dir.path().join(FILE_NAME)).unwrap();
        rows.flush().unwrap();
        assert!(!dir.path().join(FILE_NAME).exists());
    }
}
