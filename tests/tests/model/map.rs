//! What a cache should be: a map that knows times.

use std::collections::BTreeMap;

use crate::steps::{Key, Value};

const SECOND: i64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) created: i64,
    pub(crate) used: i64,
    pub(crate) ttl: Option<u64>,
    pub(crate) ends: Option<i64>,
    pub(crate) tag: u8,
}

#[derive(Debug, Default)]
pub(crate) struct Map {
    pub(crate) entries: BTreeMap<Key, Entry>,
    /// Microseconds, as the clock of the cache has them.
    pub(crate) now: i64,
}

impl Map {
    fn end_of(&self, ttl: Option<u64>) -> Option<i64> {
        ttl.map(|seconds| self.now + seconds as i64 * SECOND)
    }

    fn is_fresh(&self, entry: &Entry) -> bool {
        entry.ends.is_none_or(|end| self.now < end)
    }

    pub(crate) fn fresh(&self, key: Key) -> Option<&Entry> {
        self.entries.get(&key).filter(|entry| self.is_fresh(entry))
    }

    pub(crate) fn remaining(&self, entry: &Entry) -> Option<u128> {
        entry.ends.map(|end| (end - self.now) as u128)
    }

    pub(crate) fn put(&mut self, key: Key, value: Value, ttl: Option<u64>, tag: u8) {
        let entry = Entry { value, created: self.now, used: self.now, ttl, ends: self.end_of(ttl), tag };
        self.entries.insert(key, entry);
    }

    pub(crate) fn update(&mut self, key: Key, value: Value) -> bool {
        let Some(Entry { ttl, tag, .. }) = self.fresh(key).copied() else { return false };
        self.put(key, value, ttl, tag);
        true
    }

    pub(crate) fn copy(&mut self, from: Key, to: Key) -> bool {
        let Some(entry) = self.fresh(from).copied() else { return false };
        self.entries.insert(to, Entry { used: self.now, ..entry });
        true
    }

    pub(crate) fn rename(&mut self, from: Key, to: Key) -> bool {
        if from == to {
            return self.fresh(from).is_some();
        }
        let copied = self.copy(from, to);
        if copied {
            self.entries.remove(&from);
        }
        copied
    }

    pub(crate) fn get(&mut self, key: Key) -> Option<Value> {
        let now = self.now;
        let entry = *self.fresh(key)?;
        self.entries.insert(key, Entry { used: now, ..entry });
        Some(entry.value)
    }

    pub(crate) fn remove(&mut self, key: Key) -> bool {
        self.entries.remove(&key).is_some()
    }

    pub(crate) fn remove_tagged(&mut self, tag: u8) -> u64 {
        self.remove_where(|entry| entry.tag == tag)
    }

    pub(crate) fn touch(&mut self, key: Key, ttl: Option<u64>) -> bool {
        let Some(entry) = self.fresh(key).copied() else { return false };
        self.put(key, entry.value, ttl.or(entry.ttl), entry.tag);
        true
    }

    pub(crate) fn touch_tagged(&mut self, tag: u8) -> u64 {
        let keys: Vec<Key> = self.entries.keys().copied().collect();
        let tagged = keys.into_iter().filter(|key| self.entries[key].tag == tag).collect::<Vec<_>>();
        tagged.into_iter().map(|key| u64::from(self.touch(key, None))).sum()
    }

    pub(crate) fn clean_up(&mut self) -> u64 {
        let now = self.now;
        self.remove_where(|entry| entry.ends.is_some_and(|end| end <= now))
    }

    pub(crate) fn clear(&mut self) -> u64 {
        self.remove_where(|_| true)
    }

    fn remove_where(&mut self, wanted: impl Fn(&Entry) -> bool) -> u64 {
        let before = self.entries.len();
        self.entries.retain(|_, entry| !wanted(entry));
        (before - self.entries.len()) as u64
    }

    pub(crate) fn created_newest_first(&self) -> Vec<i64> {
        let mut created: Vec<i64> = self.entries.values().map(|entry| entry.created).collect();
        created.sort_unstable_by(|one, other| other.cmp(one));
        created
    }

    pub(crate) fn others_than(&self, newest: Option<Key>) -> impl Iterator<Item = Key> {
        self.entries.keys().copied().filter(move |key| Some(*key) != newest)
    }
}
