//! A metadata backend in memory for tests, which hear of each call before it is made and may let it fail.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::backend::{Applied, Change, Expected, MetadataBackend, Row, Scan, Swap, Totals, Traits};
use super::{MemoryMetadata, Record};
use crate::clock::Timestamp;
use crate::entry::IndexKey;
use crate::error::Result;
use crate::security::Signing;

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Call<'a> {
    /// A look at one key.
    Read,
    /// A look at the rows of many keys.
    Page,
    LastUsed,
    /// This record goes in.
    Write(&'a Record),
    /// A record went in: an error now is one of which nobody knows what it means.
    Written,
    Removal,
    Flush,
}

type Watch = dyn Fn(Call<'_>) -> Result<()> + Send + Sync;

pub(crate) struct Watched {
    rows: MemoryMetadata,
    watch: Box<Watch>,
    epoch: AtomicU64,
}

impl Watched {
    pub(crate) fn new(watch: impl Fn(Call<'_>) -> Result<()> + Send + Sync + 'static) -> Self {
        Self { rows: MemoryMetadata::new(), watch: Box::new(watch), epoch: AtomicU64::new(0) }
    }

    /// Loses the row of a key, as an index that is rebuilt from what can be believed may.
    pub(crate) fn lose(&self, key: &IndexKey) -> Result<()> {
        self.rows.apply(&[Change { key: key.as_bytes(), expected: Expected::Anything, row: None }])?;
        self.epoch.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn tell(&self, call: Call<'_>) -> Result<&MemoryMetadata> {
        (self.watch)(call).map(|()| &self.rows)
    }

    fn tell_of(&self, change: &Change<'_>) -> Result<()> {
        let Some((bytes, _)) = change.row else { return (self.watch)(Call::Removal) };
        let key = IndexKey::from_stored(change.key)?;
        (self.watch)(Call::Write(&Record::from_stored(&key, bytes.to_vec(), Signing::off())?))
    }
}

/// Records straight to and from a backend, past the index over it.
pub(crate) trait Records: MetadataBackend {
    fn put(&self, key: &IndexKey, record: &Record) -> Result<()> {
        let facts = record.facts()?;
        let row = Some((record.as_bytes(), &facts));
        self.apply(&[Change { key: key.as_bytes(), expected: Expected::Anything, row }]).map(drop)
    }

    fn record(&self, key: &IndexKey) -> Result<Option<Record>> {
        let bytes = self.get(key.as_bytes())?;
        bytes.map(|bytes| Record::from_stored(key, bytes, Signing::off())).transpose()
    }
}

impl<B: MetadataBackend + ?Sized> Records for B {}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

impl MetadataBackend for Watched {
    fn traits(&self) -> Traits {
        self.rows.traits()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.tell(Call::Read)?.get(key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.tell(Call::Page)?.get_many(keys)
    }

    fn apply(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>> {
        changes.iter().try_for_each(|change| self.tell_of(change))?;
        let applied = self.rows.apply(changes)?;
        if changes.iter().any(|change| change.row.is_some()) {
            self.tell(Call::Written)?;
        }
        Ok(applied)
    }

    fn page(&self, scan: &Scan<'_>, limit: usize) -> Result<Vec<Row>> {
        let call = if matches!(scan, Scan::Prefix(_)) { Call::Read } else { Call::Page };
        self.tell(call)?.page(scan, limit)
    }

    fn keys(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        self.tell(Call::Page)?.keys(after, limit)
    }

    fn used(&self, uses: &[(&[u8], Timestamp)]) -> Result<()> {
        self.rows.used(uses)
    }

    fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>> {
        self.tell(Call::LastUsed)?.last_used(key)
    }

    fn totals(&self) -> Result<Totals> {
        self.rows.totals()
    }

    fn state(&self, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> {
        self.rows.state(name, swap)
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    fn flush(&self) -> Result<()> {
        self.tell(Call::Flush)?.flush()
    }

    /// Brings everything to the disk, as [`flush`](Self::flush) does.
    fn close(&self) -> Result<()> {
        self.tell(Call::Flush)?.close()
    }
}
