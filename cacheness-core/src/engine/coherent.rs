//! An index with values in memory before it, which never say anything else than the index.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Timestamp;
use crate::engine::memory::{Change, Tier};
use crate::entry::IndexKey;
use crate::error::Result;
use crate::index::{Group, MetadataBackend, Record, Totals};

/// Every change of the index goes through here and takes the value out of memory first; every question about the order
/// of use is asked after the index was told of the uses in memory.
pub(super) struct Coherent {
    index: Arc<dyn MetadataBackend>,
    memory: Arc<Tier>,
    /// The replacements of the index that memory has followed.
    followed: AtomicU64,
}

impl Coherent {
    pub(super) fn new(index: Arc<dyn MetadataBackend>, memory: Arc<Tier>) -> Self {
        let followed = AtomicU64::new(index.replacements());
        Self { index, memory, followed }
    }

    /// Asks the index. One that was replaced by what could be believed of it may have lost entries, and nobody could take
    /// a lost one out of memory any more by what it has in common with others.
    fn ask<R>(&self, question: impl FnOnce(&dyn MetadataBackend) -> R) -> R {
        let answer = question(&*self.index);
        let replacements = self.index.replacements();
        if self.followed.load(Ordering::SeqCst) != replacements {
            // Noted afterwards: who comes in between forgets as well, rather than goes on with the old values.
            self.memory.forget();
            self.followed.store(replacements, Ordering::SeqCst);
        }
        answer
    }

    fn change(&self, key: &IndexKey) -> Change<'_> {
        let (change, last_use) = self.memory.change(key);
        if let Some(at) = last_use {
            self.index.accessed(key, at);
        }
        change
    }

    fn settle(&self) {
        settle(&self.memory, &*self.index);
    }
}

/// Tells the index of the uses of values in memory.
pub(super) fn settle(memory: &Tier, index: &dyn MetadataBackend) {
    memory.settle(|key, at| index.accessed(&IndexKey::of(key), at));
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
        self.ask(|index| index.get(key))
    }

    fn of_keys(&self, keys: &[IndexKey]) -> Result<Vec<(IndexKey, Record)>> {
        self.ask(|index| index.of_keys(keys))
    }

    fn with_hash(&self, hash: u64) -> Result<Vec<(IndexKey, Record)>> {
        self.ask(|index| index.with_hash(hash))
    }

    fn put(&self, key: &IndexKey, record: &Record) -> Result<Option<Record>> {
        let _change = self.change(key);
        self.ask(|index| index.put(key, record))
    }

    fn put_new(&self, key: &IndexKey, record: &Record) -> Result<bool> {
        let _change = self.change(key);
        self.ask(|index| index.put_new(key, record))
    }

    fn remove(&self, key: &IndexKey) -> Result<Option<Record>> {
        let _change = self.change(key);
        self.ask(|index| index.remove(key))
    }

    fn remove_expected(&self, key: &IndexKey, expected: &Record) -> Result<bool> {
        let _change = self.change(key);
        self.ask(|index| index.remove_expected(key, expected))
    }

    fn remove_damaged(&self, key: &IndexKey) -> Result<bool> {
        let _change = self.change(key);
        self.ask(|index| index.remove_damaged(key))
    }

    fn replace_expected(&self, key: &IndexKey, expected: &Record, record: &Record) -> Result<bool> {
        let _change = self.change(key);
        self.ask(|index| index.replace_expected(key, expected, record))
    }

    fn accessed(&self, key: &IndexKey, at: Timestamp) {
        self.index.accessed(key, at);
    }

    fn last_access(&self, key: &IndexKey) -> Result<Option<Timestamp>> {
        self.settle();
        self.ask(|index| index.last_access(key))
    }

    fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.ask(|index| index.expired(now, limit))
    }

    fn least_recently_used(&self, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.settle();
        self.ask(|index| index.least_recently_used(limit))
    }

    fn newest(&self, after: Option<(Timestamp, &IndexKey)>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.ask(|index| index.newest(after, limit))
    }

    fn creation_bounds(&self) -> Result<Option<(Timestamp, Timestamp)>> {
        self.ask(|index| index.creation_bounds())
    }

    fn group(&self, group: Group, after: Option<&IndexKey>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.ask(|index| index.group(group, after, limit))
    }

    fn scan(&self, after: Option<&IndexKey>, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.ask(|index| index.scan(after, limit))
    }

    fn keys(&self, after: Option<&IndexKey>, limit: usize) -> Result<Vec<IndexKey>> {
        self.ask(|index| index.keys(after, limit))
    }

    fn totals(&self) -> Totals {
        self.index.totals()
    }

    fn footprint(&self, record: &Record) -> u64 {
        self.index.footprint(record)
    }

    fn replacements(&self) -> u64 {
        self.index.replacements()
    }

    fn doubt_blobs(&self) {
        self.index.doubt_blobs();
    }

    fn give_back_room(&self, go_on: &dyn Fn() -> bool) -> Result<()> {
        self.index.give_back_room(go_on)
    }

    fn flush(&self) -> Result<()> {
        self.settle();
        self.ask(|index| index.flush())
    }

    fn close(&self) -> Result<()> {
        self.settle();
        let closed = self.index.close();
        self.memory.clear();
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::config::CacheConfig;
    use crate::engine::memory::Keep;
    use crate::entry::sample;
    use crate::index::{Payload, Watched};
    use crate::key::ToKey;
    use crate::security::Signing;

    #[test]
    fn what_an_index_has_lost_when_it_was_rebuilt_is_not_in_memory_any_more() {
        let (index, memory) =
            (Arc::new(Watched::new(|_| Ok(()))), Arc::new(Tier::new(CacheConfig::in_memory().memory().unwrap())));
        let coherent = Coherent::new(index.clone(), Arc::clone(&memory));
        let (key, now) = ("one".to_key().unwrap(), Timestamp::from_micros(1));
        let entry = sample::entry("one");
        coherent
            .put(&entry.key, &Record::new(&entry, &Payload::Inline(&[7]), 1 << 16, Signing::off()).unwrap())
            .unwrap();
        let ticket = memory.ticket(&key).unwrap();
        let live = |keeps: bool| {
            if keeps {
                memory.keep(&key, (ticket, Keep::cloned()), 7_u8, &entry.core, now, |_, _| ());
            }
            memory.get::<u8>(key.identity(), Keep::cloned(), None, &ManualClock::new(now))
        };
        assert_eq!(live(true), Some(7));
        index.lose(&entry.key).unwrap();
        assert!(coherent.scan(None, 9).unwrap().is_empty());
        assert_eq!(live(false), None, "whoever removes all that is listed has removed it");
        assert_eq!(live(true), None, "it was read before");
    }
}
