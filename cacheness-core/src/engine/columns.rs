//! Orders over columns of custom metadata, so that a condition on a column finds its entries without a look at all of their
//! kind.
//!
//! The order of a column is made when it is asked for the first time, by one walk through its kind, and from then on follows
//! every change. Changes of one key go one after the other, record and rows together; while an order is made, rows of what is
//! changed at the same time may come in behind their removal. So what must hold is that every entry of the kind has a row
//! for the value it has; a row may outlive its entry, and whoever follows one looks at the record.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::index::{Index, Records};
use crate::entry::{Entry, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::backend::Traits;
use crate::index::{Group, Record};
use crate::query::{Admitted, ColumnType, Filter, Rank, Schema, Span};
use crate::util::threads::lock;

/// Keys share so many turns.
const TURNS: usize = 64;
const PAGE: usize = 256;

/// The next records of a kind behind a key.
type Page<'a> = dyn Fn(Option<&IndexKey>, usize) -> Result<Vec<(IndexKey, Record)>> + 'a;

/// Values of unique columns are reserved under a lock that all processes of one machine know. Where others have the rows, too,
/// and the backend does not look at columns itself, two could store the same value.
pub(super) fn check_unique(backend: Traits, schema: &Schema) -> Result<()> {
    let Some(column) = schema.columns.iter().find(|column| column.unique) else { return Ok(()) };
    if backend.columns || !backend.waits {
        return Ok(());
    }
    let message = format!(
        "column {:?} of custom metadata {:?} is unique, which the metadata backend `{}` cannot promise to all machines that \
         use it: leave `unique` out, or choose `postgresql`",
        column.name, schema.name, backend.name
    );
    Err(CacheError::new(ErrorKind::InvalidArgument, message))
}

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
            let holds_others = |table: &Table| wanted.is_some_and(|wanted| !table.holds_only(wanted));
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
            let cells: Vec<_> = page.iter().filter_map(|(key, record)| cell(name, key, record)).collect();
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

    /// [`turn`](Self::turn) for several keys. Everybody takes several in one order.
    pub(super) fn turns<'k>(&self, keys: impl Iterator<Item = &'k IndexKey>) -> Vec<MutexGuard<'_, ()>> {
        let numbers: BTreeSet<_> = keys.map(|key| key.hash() as usize % TURNS).collect();
        numbers.into_iter().map(|number| lock(&self.turns[number])).collect()
    }

    /// Whether there is any order that follows changes.
    pub(super) fn follows_changes(&self) -> bool {
        self.any.load(Ordering::SeqCst)
    }

    /// Follows a change of a record. The caller has the turn of the key.
    pub(super) fn follow(&self, key: &IndexKey, before: Option<&Record>, after: Option<&Record>) {
        let names = lock(&self.tables).names();
        let cells_of = |record: Option<&Record>| record.map(|record| cells(&names, key, record));
        let (before, after) = (cells_of(before), cells_of(after));
        lock(&self.tables).change(before.unwrap_or_default(), after.unwrap_or_default());
    }

    pub(super) fn clear(&self) {
        lock(&self.tables).clear();
    }
}

/// A value of a column, and whose it is.
type Cell = (Rank, IndexKey);

/// A column of a kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    kind: String,
    column: String,
}

impl Name {
    fn new(kind: &str, column: &str) -> Self {
        Self { kind: kind.to_owned(), column: column.to_owned() }
    }
}

/// The orders of all columns that were asked for.
#[derive(Debug, Default)]
struct Tables(BTreeMap<Name, Table>);

#[derive(Debug)]
struct Table {
    cells: BTreeSet<Cell>,
    /// How many values of which type there are; nulls are not counted.
    of_type: BTreeMap<Option<ColumnType>, u64>,
    /// Of which state of the index it is: in another epoch it has to be made anew.
    epoch: u64,
    ready: bool,
}

impl Tables {
    /// The order of a column, if it is whole and of this state of the index.
    fn ready(&self, name: &Name, epoch: u64) -> Option<&Table> {
        self.0.get(name).filter(|table| table.ready && table.epoch == epoch)
    }

    fn begin(&mut self, name: &Name, epoch: u64) {
        let table = Table { cells: BTreeSet::new(), of_type: BTreeMap::new(), epoch, ready: false };
        self.0.insert(name.clone(), table);
    }

    fn finish(&mut self, name: &Name) {
        if let Some(table) = self.0.get_mut(name) {
            table.ready = true;
        }
    }

    fn forget(&mut self, name: &Name) {
        self.0.remove(name);
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn names(&self) -> Vec<Name> {
        self.0.keys().cloned().collect()
    }

    fn add(&mut self, name: &Name, cells: Vec<Cell>) {
        if let Some(table) = self.0.get_mut(name) {
            cells.into_iter().for_each(|cell| table.insert(cell));
        }
    }

    /// Cells go and others come, in one step.
    fn change(&mut self, gone: Vec<(Name, Cell)>, come: Vec<(Name, Cell)>) {
        for (name, cell) in gone {
            if let Some(table) = self.0.get_mut(&name) {
                table.remove(&cell);
            }
        }
        for (name, cell) in come {
            if let Some(table) = self.0.get_mut(&name) {
                table.insert(cell);
            }
        }
    }
}

impl Table {
    /// Up to `limit` cells of a span, behind `after`.
    fn page(&self, span: &Span, after: Option<&Cell>, limit: usize) -> Vec<Cell> {
        let first = |rank: &Rank| (rank.clone(), IndexKey::before_all());
        let start = match (after, &span.start) {
            (Some(cell), _) => Bound::Excluded(cell.clone()),
            // All keys of the first value lie behind this bound; those that are excluded are passed over.
            (None, Bound::Included(rank) | Bound::Excluded(rank)) => Bound::Included(first(rank)),
            (None, Bound::Unbounded) => Bound::Unbounded,
        };
        let excluded = if let Bound::Excluded(rank) = &span.start { Some(rank) } else { None };
        let cells = self.cells.range((start, Bound::Unbounded)).skip_while(|(rank, _)| Some(rank) == excluded);
        let within = |(rank, _): &&Cell| match &span.end {
            Bound::Included(end) => rank <= end,
            Bound::Excluded(end) => rank < end,
            Bound::Unbounded => true,
        };
        cells.take_while(within).take(limit).cloned().collect()
    }

    /// Whether all values are of one type, but for those that are missing.
    fn holds_only(&self, column_type: ColumnType) -> bool {
        self.of_type.iter().all(|(other, count)| *other == Some(column_type) || *count == 0)
    }

    fn insert(&mut self, cell: Cell) {
        let value = &cell.0.0;
        if !self.cells.contains(&cell) && !value.is_null() {
            *self.of_type.entry(ColumnType::of(value)).or_default() += 1;
        }
        self.cells.insert(cell);
    }

    fn remove(&mut self, cell: &Cell) {
        // The one that was there counts: whole numbers and others may be equal.
        let Some((rank, _)) = self.cells.take(cell) else { return };
        if let Some(count) = self.of_type.get_mut(&ColumnType::of(&rank.0)) {
            *count = count.saturating_sub(1);
        }
    }
}

/// The cells that a record has in these columns.
fn cells(names: &[Name], key: &IndexKey, record: &Record) -> Vec<(Name, Cell)> {
    // What somebody else may have written is not looked at.
    let Some((_, told)) = record.core_and_names().ok().filter(|_| record.is_believed()) else { return Vec::new() };
    let wanted = |name: &&Name| told.kinds.contains(&name.kind.as_str());
    if !names.iter().any(|name| wanted(&name)) {
        return Vec::new();
    }
    let Ok(entry) = record.entry() else { return Vec::new() };
    names.iter().filter(wanted).filter_map(|name| Some((name.clone(), in_row(name, key, &entry)?))).collect()
}

/// The cell that a record has in a column, if it is one of the kind.
fn cell(name: &Name, key: &IndexKey, record: &Record) -> Option<Cell> {
    let entry = record.entry().ok().filter(|_| record.is_believed())?;
    in_row(name, key, &entry)
}

fn in_row(name: &Name, key: &IndexKey, entry: &Entry) -> Option<Cell> {
    let row = entry.details.row(&name.kind)?;
    Some((Rank(row.get(&name.column).cloned().unwrap_or_default()), key.clone()))
}

/// Conditions on custom metadata.
impl Index {
    /// The keys of all entries of a kind that may meet a condition on a column; see [`Columns::candidates`].
    pub(crate) fn candidates(&self, kind: &str, admitted: &Admitted<'_>) -> Result<Option<Vec<IndexKey>>> {
        if self.lease.is_some() {
            // An order would not hear of what others change.
            return Ok(None);
        }
        let page = |after: Option<&IndexKey>, limit| self.group(Group::kind(kind), after, limit);
        self.columns.candidates(kind, admitted, &page, &|| self.epoch())
    }

    /// Whether conditions on custom metadata are asked of the backend.
    pub(crate) fn keeps_columns(&self) -> bool {
        self.backend().traits().columns
    }

    /// Up to `limit` records of a kind that may meet a condition, in key order and behind `after`, and the key behind which it
    /// goes on, if it does; see [`MetadataBackend::select`].
    pub(crate) fn select(
        &self,
        kind: &str,
        filter: &Filter,
        after: Option<&IndexKey>,
        limit: usize,
    ) -> Result<Option<(Records, Option<IndexKey>)>> {
        let after = after.map(IndexKey::as_bytes);
        let Some(rows) = self.ask(|backend| backend.select(kind, filter, after, limit))? else { return Ok(None) };
        let last = rows.last().filter(|_| rows.len() >= limit);
        let last = last.map(|row| IndexKey::from_shared(Arc::clone(&row.key))).transpose()?;
        Ok(Some((rows.into_iter().filter_map(|row| self.whole(row)).collect(), last)))
    }

    /// Says what a kind of custom metadata looks like; see [`MetadataBackend::define`].
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if a column is unique and the backend cannot keep it so.
    pub(crate) fn define(&self, schema: &Schema) -> Result<()> {
        check_unique(self.backend().traits(), schema)?;
        if self.keeps_columns() { self.ask(|backend| backend.define(schema)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tables_tests {
    use super::*;
    use crate::key::ToKey;
    use crate::value::Value;

    fn key(n: u32) -> IndexKey {
        IndexKey::of(&n.to_key().unwrap())
    }

    fn table(values: &[Value]) -> Table {
        let mut table = Table { cells: BTreeSet::new(), of_type: BTreeMap::new(), epoch: 0, ready: true };
        (0..).zip(values).for_each(|(n, value)| table.insert((Rank(value.clone()), key(n))));
        table
    }

    fn of(table: &Table, span: &Span, limit: usize) -> Vec<Value> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = table.page(span, after.as_ref(), limit);
            found.extend(page.iter().map(|(rank, _)| rank.0.clone()));
            match page.last() {
                Some(last) => after = Some(last.clone()),
                None => return found,
            }
        }
    }

    #[test]
    fn a_span_gives_its_values_page_by_page_with_or_without_its_ends() {
        let table = table(&[3.into(), 1.into(), 2.into(), 2.into(), 4.into(), Value::Null, "2".into()]);
        let span = |start, end| Span { start, end };
        let (included, excluded) = (|n: i32| Bound::Included(Rank(n.into())), |n: i32| Bound::Excluded(Rank(n.into())));
        for limit in [1, 2, 100] {
            let all = of(&table, &span(Bound::Unbounded, Bound::Unbounded), limit);
            assert_eq!((all.len(), &all[0], &all[6]), (7, &Value::Null, &"2".into()), "{limit}");
            let middle: Vec<Value> = vec![2.into(), 2.into(), 3.into()];
            assert_eq!(of(&table, &span(included(2), included(3)), limit), middle);
            assert_eq!(of(&table, &span(excluded(1), excluded(4)), limit), middle);
            assert_eq!(of(&table, &span(excluded(2), included(3)), limit), [Value::from(3)]);
        }
    }

    #[test]
    fn a_table_knows_whether_its_values_are_of_one_type() {
        let mut numbers = table(&[1.into(), 2.into(), Value::Null]);
        assert!(numbers.holds_only(ColumnType::Integer) && !numbers.holds_only(ColumnType::Float));
        numbers.insert((Rank(1.5.into()), key(9)));
        assert!(!numbers.holds_only(ColumnType::Integer));
        numbers.insert((Rank(1.5.into()), key(9)));
        numbers.remove(&(Rank(1.5.into()), key(9)));
        numbers.remove(&(Rank(1.5.into()), key(9)));
        assert!(numbers.holds_only(ColumnType::Integer), "put twice, it was there once");
    }
}
