//! An index in memory for tests, which hear of each call before it is done and may let it fail.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Group, MemoryIndex, MetadataBackend, Record, Totals};
use crate::clock::Timestamp;
use crate::entry::IndexKey;
use crate::error::Result;

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Call<'a> {
    /// A look at one key.
    Read,
    /// A look at the records of many keys.
    Page,
    LastAccess,
    /// This record goes in.
    Write(&'a Record),
    /// A record went in: an error now is one of which nobody knows what it means.
    Written,
    Removal,
    Flush,
}

type Watch = dyn Fn(Call<'_>) -> Result<()> + Send + Sync;

pub(crate) struct Watched {
    index: MemoryIndex,
    watch: Box<Watch>,
    replacements: AtomicU64,
}

impl Watched {
    pub(crate) fn new(watch: impl Fn(Call<'_>) -> Result<()> + Send + Sync + 'static) -> Self {
        Self { index: MemoryIndex::default(), watch: Box::new(watch), replacements: AtomicU64::new(0) }
    }

    /// Loses the record of a key, as an index that is rebuilt from what can be believed may.
    pub(crate) fn lose(&self, key: &IndexKey) -> Result<()> {
        self.index.remove(key)?;
        self.replacements.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn told_after<R>(&self, done: Result<R>) -> Result<R> {
        done.and_then(|done| self.tell(Call::Written).map(|_| done))
    }

    fn tell(&self, call: Call<'_>) -> Result<&MemoryIndex> {
        (self.watch)(call).map(|()| &self.index)
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

impl MetadataBackend for Watched {
    fn name(&self) -> &'static str {
        self.index.name()
    }

    fn get(&self, key: &IndexKey) -> Result<Option<Record>> {
        self.tell(Call::Read)?.get(key)
    }

    fn of_keys(&self, keys: &[IndexKey]) -> Result<Vec<(IndexKey, Record)>> {
        self.tell(Call::Page)?.of_keys(keys)
    }

    fn with_hash(&self, hash: u64) -> Result<Vec<(IndexKey, Record)>> {
        self.tell(Call::Read)?.with_hash(hash)
    }

    fn put(&self, key: &IndexKey, record: &Record) -> Result<Option<Record>> {
        let done = self.tell(Call::Write(record))?.put(key, record);
        self.told_after(done)
    }

    fn put_new(&self, key: &IndexKey, record: &Record) -> Result<bool> {
        let done = self.tell(Call::Write(record))?.put_new(key, record);
        self.told_after(done)
    }

    fn remove(&self, key: &IndexKey) -> Result<Option<Record>> {
        self.tell(Call::Removal)?.remove(key)
    }

    fn remove_expected(&self, key: &IndexKey, expected: &Record) -> Result<bool> {
        self.tell(Call::Removal)?.remove_expected(key, expected)
    }

    fn remove_damaged(&self, key: &IndexKey) -> Result<bool> {
        match self.get(key) {
            Err(error) if error.is_integrity() => self.tell(Call::Removal)?.remove(key).map(|gone| gone.is_some()),
            read => read.map(|_| false),
        }
    }

    fn replace_expected(&self, key: &IndexKey, expected: &Record, record: &Record) -> Result<bool> {
        let done = self.tell(Call::Write(record))?.replace_expected(key, expected, record);
        self.told_after(done)
    }

    fn accessed(&self, key: &IndexKey, at: Timestamp) {
        self.index.accessed(key, at);
    }

    fn last_access(&self, key: &IndexKey) -> Result<Option<Timestamp>> {
        self.tell(Call::LastAccess)?.last_access(key)
    }

    fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.tell(Call::Page)?.expired(now, limit)
    }

    fn least_recently_used(&self, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.tell(Call::Page)?.least_recently_used(limit)
    }

    fn newest(&self, after: Option<(Timestamp, &IndexKey)>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.tell(Call::Page)?.newest(after, limit)
    }

    fn creation_bounds(&self) -> Result<Option<(Timestamp, Timestamp)>> {
        self.index.creation_bounds()
    }

    fn group(&self, group: Group, after: Option<&IndexKey>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.tell(Call::Page)?.group(group, after, limit)
    }

    fn scan(&self, after: Option<&IndexKey>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.tell(Call::Page)?.scan(after, limit)
    }

    fn keys(&self, after: Option<&IndexKey>, limit: usize) -> Result<Vec<IndexKey>> {
        self.tell(Call::Page)?.keys(after, limit)
    }

    fn totals(&self) -> Totals {
        self.index.totals()
    }

    fn footprint(&self, record: &Record) -> u64 {
        self.index.footprint(record)
    }

    fn replacements(&self) -> u64 {
        self.replacements.load(Ordering::SeqCst)
    }

    fn doubt_blobs(&self) {
        self.index.doubt_blobs();
    }

    fn give_back_room(&self, go_on: &dyn Fn() -> bool) -> Result<()> {
        self.index.give_back_room(go_on)
    }

    fn flush(&self) -> Result<()> {
        self.tell(Call::Flush)?.flush()
    }

    /// Brings everything to the disk, as [`flush`](Self::flush) does.
    fn close(&self) -> Result<()> {
        self.tell(Call::Flush)?.close()
    }
}
