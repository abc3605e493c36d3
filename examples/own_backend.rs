//! A metadata backend of one's own: a journal of all changes in one file, a line each, read again at every opening.
use std::error::Error;
use std::fs::{File, OpenOptions, create_dir_all, remove_dir_all};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use cacheness::backend::{
    Applied, BackendOptions, Change, Expected, Facts, MemoryMetadata, MetadataBackend, Row, Scan, Swap, Totals, Traits,
    get_metadata_backend, register_metadata_backend,
};
use cacheness::clock::Timestamp;
use cacheness::{Cache, CacheConfig, CacheError, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// A real one would write the file anew when most of its lines are outdated.
#[derive(Debug)]
struct Journal {
    rows: MemoryMetadata,
    file: Mutex<File>,
}

#[derive(Deserialize, Serialize)]
enum Line {
    Put(Vec<u8>, Vec<u8>, Facts),
    Remove(Vec<u8>),
    Used(Vec<u8>, Timestamp),
    State(String, Option<Vec<u8>>),
}

fn failed(error: impl Error + Send + Sync + 'static) -> CacheError {
    CacheError::caused_by(ErrorKind::Metadata, "the journal cannot be read or written", error)
}

impl Journal {
    fn open(dir: &Path) -> Result<Self> {
        create_dir_all(dir).map_err(failed)?;
        let path = dir.join("journal");
        let file = OpenOptions::new().create(true).append(true).read(true).open(path).map_err(failed)?;
        file.try_lock().map_err(failed)?;
        let rows = MemoryMetadata::new();
        for line in BufReader::new(&file).split(b'\n') {
            // The last one may be torn by a kill: nothing was acknowledged of it.
            let Ok(line) = serde_json::from_slice(&line.map_err(failed)?) else { break };
            repeat(&rows, &line)?;
        }
        Ok(Self { rows, file: Mutex::new(file) })
    }

    fn note(&self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_vec(line).map_err(failed)?;
        text.push(b'\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text).map_err(failed)
    }
}

fn repeat(rows: &MemoryMetadata, line: &Line) -> Result<()> {
    let (key, row) = match line {
        Line::Put(key, bytes, facts) => (key, Some((&bytes[..], facts))),
        Line::Remove(key) => (key, None),
        Line::Used(key, at) => return rows.used(&[(key, *at)]),
        Line::State(name, new) => {
            let expected = rows.state(name, None)?;
            let swap = Swap { expected: expected.as_deref(), new: new.as_deref() };
            return rows.state(name, Some(swap)).map(drop);
        }
    };
    rows.apply(&[Change { key, expected: Expected::Anything, row }]).map(drop)
}

#[rustfmt::skip]
impl MetadataBackend for Journal {
    fn traits(&self) -> Traits { Traits::new("journal").persistent() }
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> { self.rows.get(key) }
    fn apply(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>> {
        let applied = self.rows.apply(changes)?;
        for (change, _) in changes.iter().zip(&applied).filter(|(_, applied)| applied.made) {
            self.note(&match change.row {
                Some((bytes, facts)) => Line::Put(change.key.to_vec(), bytes.to_vec(), facts.clone()),
                None => Line::Remove(change.key.to_vec()),
            })?;
        }
        Ok(applied)
    }
    fn page(&self, scan: &Scan<'_>, limit: usize) -> Result<Vec<Row>> { self.rows.page(scan, limit) }
    fn used(&self, uses: &[(&[u8], Timestamp)]) -> Result<()> {
        self.rows.used(uses)?;
        uses.iter().try_for_each(|(key, at)| self.note(&Line::Used(key.to_vec(), *at)))
    }
    fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>> { self.rows.last_used(key) }
    fn totals(&self) -> Result<Totals> { self.rows.totals() }
    fn state(&self, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> {
        let now = self.rows.state(name, swap)?;
        if swap.is_some() { self.note(&Line::State(name.to_owned(), now.clone()))?; }
        Ok(now)
    }
    fn flush(&self) -> Result<()> {
        self.rows.flush()?;
        self.file.lock().unwrap_or_else(PoisonError::into_inner).sync_data().map_err(failed)
    }
    fn close(&self) -> Result<()> {
        self.rows.close()?;
        self.file.lock().unwrap_or_else(PoisonError::into_inner).unlock().map_err(failed)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    register_metadata_backend("journal", |options| Ok(Arc::new(Journal::open(options.dir()?)?)), "a line a change")?;
    let cache = Cache::new(CacheConfig::from_env()?.with_backend("journal"))?;
    let run = cache.get::<u64>("runs")?.unwrap_or(0) + 1;
    cache.put("runs", &run)?;
    println!("run {run}, kept by the backend `{}`", cache.get_stats()?.backend);

    let dir = std::env::temp_dir().join(format!("own-backend-{}", std::process::id()));
    let options = BackendOptions::new().with_dir(&dir);
    cacheness::testing::check_metadata_backend(|| get_metadata_backend("journal", &options));
    println!("it keeps rows as a metadata backend must");
    Ok(remove_dir_all(dir)?)
}
