//! An index with orders over columns of custom metadata before it, so that a condition on a column finds its entries without
//! a look at all of their kind.
//!
//! The order of a column is made when it is asked for the first time, by one walk through its kind, and from then on follows
//! every change. Changes of one key go one after the other, record and rows together; while an order is made, rows of what is
//! changed at the same time may come in behind their removal. So what must hold is that every entry of the kind has a row
//! for the value it has; a row may outlive its entry, and whoever follows one looks at the record.

mod tables;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tables::{Cell, Name, Tables};

use super::{Group, MetadataBackend, Record, Totals};
use crate::clock::Timestamp;
use crate::entry::IndexKey;
use crate::error::Result;
use crate::query::Admitted;

/// Keys share so many turns.
const TURNS: usize = 64;
const PAGE: usize = 256;

#[derive(Debug)]
pub(crate) struct WithColumns {
    index: Arc<dyn MetadataBackend>,
    tables: Mutex<Tables>,
    /// Whether there is any order. Without one a change costs no look at the record.
    any: AtomicBool,
    /// Held by whoever makes an order.
    making: Mutex<()>,
    /// Held while a record and its rows change.
    turns: [Mutex<()>; TURNS],
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WithColumns {
    pub(crate) fn new(index: Arc<dyn MetadataBackend>) -> Self {
        Self {
            index,
            tables: Mutex::default(),
            any: AtomicBool::new(false),
            making: Mutex::new(()),
            turns: [const { Mutex::new(()) }; TURNS],
        }
    }

    /// The keys of all entries of a kind that may meet a condition on a column, in their order, and perhaps of some that do
    /// not. `None` if entries have values there that are not of the type that the condition wants, which only a look at
    /// them can tell.
    pub(crate) fn candidates(&self, kind: &str, admitted: &Admitted<'_>) -> Result<Option<Vec<IndexKey>>> {
        let name = Name::new(kind, admitted.column);
        loop {
            let replacements = self.index.replacements();
            self.make(&name, replacements)?;
            let wanted = admitted.column_type;
            let holds_others = |table: &tables::Table| wanted.is_some_and(|wanted| !table.holds_only(wanted));
            // Asked also where nothing can meet the condition: a row of another type is never passed over.
            if lock(&self.tables).ready(&name, replacements).is_some_and(holds_others) {
                return Ok(None);
            }
            let mut keys = Vec::new();
            for span in &admitted.spans {
                let mut after: Option<Cell> = None;
                // In pages: a wide span that is copied under one lock would keep changes waiting.
                loop {
                    let tables = lock(&self.tables);
                    let Some(table) = tables.ready(&name, replacements) else { break };
                    if holds_others(table) {
                        return Ok(None);
                    }
                    let page = table.page(span, after.as_ref(), PAGE);
                    drop(tables);
                    keys.extend(page.iter().map(|(_, key)| key.clone()));
                    match page.into_iter().next_back() {
                        Some(last) => after = Some(last),
                        None => break,
                    }
                }
            }
            // An index that was replaced meanwhile may have other records than these rows.
            if self.index.replacements() == replacements && lock(&self.tables).ready(&name, replacements).is_some() {
                keys.sort();
                keys.dedup();
                return Ok(Some(keys));
            }
        }
    }

    /// Makes the order of a column, unless it is there.
    fn make(&self, name: &Name, replacements: u64) -> Result<()> {
        if lock(&self.tables).ready(name, replacements).is_some() {
            return Ok(());
        }
        let _making = lock(&self.making);
        if lock(&self.tables).ready(name, replacements).is_some() {
            return Ok(());
        }
        lock(&self.tables).begin(name, replacements);
        self.any.store(true, Ordering::SeqCst);
        // Who has not seen that there is an order now ends before the walk begins.
        self.turns.iter().for_each(|turn| drop(lock(turn)));
        let walked = self.walk(name);
        let mut tables = lock(&self.tables);
        match walked {
            Ok(()) => tables.finish(name),
            Err(_) => tables.forget(name),
        }
        walked
    }

    fn walk(&self, name: &Name) -> Result<()> {
        let mut after: Option<IndexKey> = None;
        loop {
            let page = self.index.group(Group::kind(&name.kind), after.as_ref(), PAGE)?;
            let cells: Vec<_> = page.iter().filter_map(|(key, record)| tables::cell(name, key, record)).collect();
            lock(&self.tables).add(name, cells);
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    fn turn(&self, key: &IndexKey) -> MutexGuard<'_, ()> {
        lock(&self.turns[key.hash() as usize % TURNS])
    }

    /// Follows a change of a record. The caller has the turn of the key.
    fn follow(&self, key: &IndexKey, before: Option<&Record>, after: Option<&Record>) {
        if !self.any.load(Ordering::SeqCst) {
            return;
        }
        let names = lock(&self.tables).names();
        let cells_of = |record: Option<&Record>| record.map(|record| tables::cells(&names, key, record));
        let (before, after) = (cells_of(before), cells_of(after));
        lock(&self.tables).change(before.unwrap_or_default(), after.unwrap_or_default());
    }
}

impl MetadataBackend for WithColumns {
    fn name(&self) -> &'static str {
        self.index.name()
    }

    fn get(&self, key: &IndexKey) -> Result<Option<Record>> {
        self.index.get(key)
    }

    fn of_keys(&self, keys: &[IndexKey]) -> Result<Vec<(IndexKey, Record)>> {
        self.index.of_keys(keys)
    }

    fn with_hash(&self, hash: u64) -> Result<Vec<(IndexKey, Record)>> {
        self.index.with_hash(hash)
    }

    fn put(&self, key: &IndexKey, record: &Record) -> Result<Option<Record>> {
        let _turn = self.turn(key);
        let previous = self.index.put(key, record)?;
        self.follow(key, previous.as_ref(), Some(record));
        Ok(previous)
    }

    fn put_new(&self, key: &IndexKey, record: &Record) -> Result<bool> {
        let _turn = self.turn(key);
        let put = self.index.put_new(key, record)?;
        if put {
            self.follow(key, None, Some(record));
        }
        Ok(put)
    }

    fn remove(&self, key: &IndexKey) -> Result<Option<Record>> {
        let _turn = self.turn(key);
        let removed = self.index.remove(key)?;
        self.follow(key, removed.as_ref(), None);
        Ok(removed)
    }

    fn remove_expected(&self, key: &IndexKey, expected: &Record) -> Result<bool> {
        let _turn = self.turn(key);
        let removed = self.index.remove_expected(key, expected)?;
        if removed {
            self.follow(key, Some(expected), None);
        }
        Ok(removed)
    }

    fn remove_damaged(&self, key: &IndexKey) -> Result<bool> {
        let _turn = self.turn(key);
        self.index.remove_damaged(key)
    }

    fn replace_expected(&self, key: &IndexKey, expected: &Record, record: &Record) -> Result<bool> {
        let _turn = self.turn(key);
        let replaced = self.index.replace_expected(key, expected, record)?;
        if replaced {
            self.follow(key, Some(expected), Some(record));
        }
        Ok(replaced)
    }

    fn accessed(&self, key: &IndexKey, at: Timestamp) {
        self.index.accessed(key, at);
    }

    fn last_access(&self, key: &IndexKey) -> Result<Option<Timestamp>> {
        self.index.last_access(key)
    }

    fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
        self.index.expired(now, limit)
    }

    fn least_recently_used(&self, limit: usize) -> Result<Vec<(IndexKey, Record)>> {
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
        self.index.flush()
    }

    fn close(&self) -> Result<()> {
        lock(&self.tables).clear();
        self.index.close()
    }
}
