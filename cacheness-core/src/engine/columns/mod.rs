//! Orders over columns of custom metadata, so that a condition on a column finds its entries without a look at all of their
//! kind.
//!
//! The order of a column is made when it is asked for the first time, by one walk through its kind, and from then on follows
//! every change. Changes of one key go one after the other, record and rows together; while an order is made, rows of what is
//! changed at the same time may come in behind their removal. So what must hold is that every entry of the kind has a row
//! for the value it has; a row may outlive its entry, and whoever follows one looks at the record.

mod tables;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use tables::{Cell, Name, Tables};

use crate::entry::IndexKey;
use crate::error::Result;
use crate::index::Record;
use crate::query::Admitted;
use crate::util::threads::lock;

/// Keys share so many turns.
const TURNS: usize = 64;
const PAGE: usize = 256;

/// The next records of a kind behind a key.
type Page<'a> = dyn Fn(Option<&IndexKey>, usize) -> Result<Vec<(IndexKey, Record)>> + 'a;

#[derive(Debug)]
pub(super) struct Columns {
    tables: Mutex<Tables>,
    /// Whether there is any order. Without one a change costs no look at the record.
    any: AtomicBool,
    /// Held by whoever makes an order.
    making: Mutex<()>,
    /// Held while a record and its rows change.
    turns: [Mutex<()>; TURNS],
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            tables: Mutex::default(),
            any: AtomicBool::new(false),
            making: Mutex::new(()),
            turns: [const { Mutex::new(()) }; TURNS],
        }
    }
}

impl Columns {
    /// The keys of all entries of a kind that may meet a condition on a column, in their order, and perhaps of some that do
    /// not. `None` if entries have values there that are not of the type that the condition wants, which only a look at
    /// them can tell.
    pub(super) fn candidates(
        &self,
        kind: &str,
        admitted: &Admitted<'_>,
        of_kind: &Page<'_>,
        epoch: &dyn Fn() -> u64,
    ) -> Result<Option<Vec<IndexKey>>> {
        let name = Name::new(kind, admitted.column);
        loop {
            let at = epoch();
            self.make(&name, at, of_kind)?;
            let wanted = admitted.column_type;
            let holds_others = |table: &tables::Table| wanted.is_some_and(|wanted| !table.holds_only(wanted));
            // Asked also where nothing can meet the condition: a row of another type is never passed over.
            if lock(&self.tables).ready(&name, at).is_some_and(holds_others) {
                return Ok(None);
            }
            let mut keys = Vec::new();
            for span in &admitted.spans {
                let mut after: Option<Cell> = None;
                // In pages: a wide span that is copied under one lock would keep changes waiting.
                loop {
                    let tables = lock(&self.tables);
                    let Some(table) = tables.ready(&name, at) else { break };
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
            if epoch() == at && lock(&self.tables).ready(&name, at).is_some() {
                keys.sort();
                keys.dedup();
                return Ok(Some(keys));
            }
        }
    }

    /// Makes the order of a column, unless it is there.
    fn make(&self, name: &Name, epoch: u64, of_kind: &Page<'_>) -> Result<()> {
        if lock(&self.tables).ready(name, epoch).is_some() {
            return Ok(());
        }
        let _making = lock(&self.making);
        if lock(&self.tables).ready(name, epoch).is_some() {
            return Ok(());
        }
        lock(&self.tables).begin(name, epoch);
        self.any.store(true, Ordering::SeqCst);
        // Who has not seen that there is an order now ends before the walk begins.
        self.turns.iter().for_each(|turn| drop(lock(turn)));
        let walked = self.walk(name, of_kind);
        let mut tables = lock(&self.tables);
        match walked {
            Ok(()) => tables.finish(name),
            Err(_) => tables.forget(name),
        }
        walked
    }

    fn walk(&self, name: &Name, of_kind: &Page<'_>) -> Result<()> {
        let mut after: Option<IndexKey> = None;
        loop {
            let page = of_kind(after.as_ref(), PAGE)?;
            let cells: Vec<_> = page.iter().filter_map(|(key, record)| tables::cell(name, key, record)).collect();
            lock(&self.tables).add(name, cells);
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// Held while a record and its rows change.
    pub(super) fn turn(&self, key: &IndexKey) -> MutexGuard<'_, ()> {
        lock(&self.turns[key.hash() as usize % TURNS])
    }

    /// Whether there is any order that follows changes.
    pub(super) fn follows_changes(&self) -> bool {
        self.any.load(Ordering::SeqCst)
    }

    /// Follows a change of a record. The caller has the turn of the key.
    pub(super) fn follow(&self, key: &IndexKey, before: Option<&Record>, after: Option<&Record>) {
        let names = lock(&self.tables).names();
        let cells_of = |record: Option<&Record>| record.map(|record| tables::cells(&names, key, record));
        let (before, after) = (cells_of(before), cells_of(after));
        lock(&self.tables).change(before.unwrap_or_default(), after.unwrap_or_default());
    }

    pub(super) fn clear(&self) {
        lock(&self.tables).clear();
    }
}
