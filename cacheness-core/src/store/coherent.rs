//! An index with values in memory before it, which never say anything else than the index.

use std::fmt;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::entry::IndexKey;
use crate::error::Result;
use crate::memory::{Change, Tier};
use crate::metadata::{Group, MetadataBackend, Record, Totals};

/// Every change of the index goes through here and takes the value out of memory first; every question about the order
/// of use is asked after the index was told of the uses in memory.
pub(super) struct Coherent {
    index: Arc<dyn MetadataBackend>,
    memory: Arc<Tier>,
}

impl Coherent {
    pub(super) fn new(index: Arc<dyn MetadataBackend>, memory: Arc<Tier>) -> Self {
        Self { index, memory }
    }

    fn change(&self, key: &IndexKey) -> Change<'_> {
        let (change, last_use) = self.memory.change(key);
        if let Some(at) = last_use {
            self.index.accessed(key, at);
        }
        change
    }

    fn settle(&self) {
        self.memory.settle(|key, at| self.index.accessed(&IndexKey::of(key), at));
    }
}

impl fmt::Debug for Coherent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coherent").field("index", &self.index).finish_non_exhaustive()
    }
}

impl MetadataBackend for Coherent {
    fn name(&self) -> &'static str {
        self.index.name()
    }

    fn get(&self, key: &IndexKey) -> Result<Option<Record>> {
        self.index.get(key)
    }

    fn with_hash(&self, hash: u64) -> Result<Vec<(IndexKey, Record)>> {
        self.index.with_hash(hash)
    }

    fn put(&self, key: &IndexKey, record: &Record) -> Result<Option<Record>> {
        let _change = self.change(key);
        self.index.put(key, record)
    }

    fn put_new(&self, key: &IndexKey, record: &Record) -> Result<bool> {
        let _change = self.change(key);
        self.index.put_new(key, record)
    }

    fn remove(&self, key: &IndexKey) -> Result<Option<Record>> {
        let _change = self.change(key);
        self.index.remove(key)
    }

    fn remove_expected(&self, key: &IndexKey, expected: &Record) -> Result<bool> {
        let _change = self.change(key);
        self.index.remove_expected(key, expected)
    }

    fn replace_expected(&self, key: &IndexKey, expected: &Record, record: &Record) -> Result<bool> {
        let _change = self.change(key);
        self.index.replace_expected(key, expected, record)
    }

    fn accessed(&self, key: &IndexKey, at: Timestamp) {
        self.index.accessed(key, at);
    }

    fn last_access(&self, key: &IndexKey) -> Result<Option<Timestamp>> {
        self.settle();
        self.index.last_access(key)
    }

    fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.index.expired(now, limit)
    }

    fn least_recently_used(&self, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.settle();
        self.index.least_recently_used(limit)
    }

    fn newest(&self, after: Option<(Timestamp, &IndexKey)>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.index.newest(after, limit)
    }

    fn creation_bounds(&self) -> Result<Option<(Timestamp, Timestamp)>> {
        self.index.creation_bounds()
    }

    fn group(&self, group: Group, after: Option<&IndexKey>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.index.group(group, after, limit)
    }

    fn scan(&self, after: Option<&IndexKey>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.index.scan(after, limit)
    }

    fn keys(&self, after: Option<&IndexKey>, limit: usize) -> Result<Vec<IndexKey>> {
        self.index.keys(after, limit)
    }

    fn totals(&self) -> Totals {
        self.index.totals()
    }

    fn replacements(&self) -> u64 {
        self.index.replacements()
    }

    fn flush(&self) -> Result<()> {
        self.settle();
        self.index.flush()
    }

    fn close(&self) -> Result<()> {
        self.settle();
        let closed = self.index.close();
        self.memory.clear();
        closed
    }
}
