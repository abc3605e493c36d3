use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::entry::{Entry, IndexKey};
use crate::index::Record;
use crate::query::{ColumnType, Rank, Span};

/// A value of a column, and whose it is.
pub(super) type Cell = (Rank, IndexKey);

/// A column of a kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) kind: String,
    pub(super) column: String,
}

impl Name {
    pub(super) fn new(kind: &str, column: &str) -> Self {
        Self { kind: kind.to_owned(), column: column.to_owned() }
    }
}

/// The orders of all columns that were asked for.
#[derive(Debug, Default)]
pub(super) struct Tables(BTreeMap<Name, Table>);

#[derive(Debug)]
pub(super) struct Table {
    cells: BTreeSet<Cell>,
    /// How many values of which type there are; nulls are not counted.
    of_type: BTreeMap<Option<ColumnType>, u64>,
    /// Of which state of the index it is: in another epoch it has to be made anew.
    epoch: u64,
    ready: bool,
}

impl Tables {
    /// The order of a column, if it is whole and of this state of the index.
    pub(super) fn ready(&self, name: &Name, epoch: u64) -> Option<&Table> {
        self.0.get(name).filter(|table| table.ready && table.epoch == epoch)
    }

    pub(super) fn begin(&mut self, name: &Name, epoch: u64) {
        let table = Table { cells: BTreeSet::new(), of_type: BTreeMap::new(), epoch, ready: false };
        self.0.insert(name.clone(), table);
    }

    pub(super) fn finish(&mut self, name: &Name) {
        if let Some(table) = self.0.get_mut(name) {
            table.ready = true;
        }
    }

    pub(super) fn forget(&mut self, name: &Name) {
        self.0.remove(name);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn names(&self) -> Vec<Name> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn add(&mut self, name: &Name, cells: Vec<Cell>) {
        if let Some(table) = self.0.get_mut(name) {
            cells.into_iter().for_each(|cell| table.insert(cell));
        }
    }

    /// Cells go and others come, in one step.
    pub(super) fn change(&mut self, gone: Vec<(Name, Cell)>, come: Vec<(Name, Cell)>) {
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
    pub(super) fn page(&self, span: &Span, after: Option<&Cell>, limit: usize) -> Vec<Cell> {
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
    pub(super) fn holds_only(&self, column_type: ColumnType) -> bool {
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
pub(super) fn cells(names: &[Name], key: &IndexKey, record: &Record) -> Vec<(Name, Cell)> {
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
pub(super) fn cell(name: &Name, key: &IndexKey, record: &Record) -> Option<Cell> {
    let entry = record.entry().ok().filter(|_| record.is_believed())?;
    in_row(name, key, &entry)
}

fn in_row(name: &Name, key: &IndexKey, entry: &Entry) -> Option<Cell> {
    let row = entry.details.row(&name.kind)?;
    Some((Rank(row.get(&name.column).cloned().unwrap_or_default()), key.clone()))
}

#[cfg(test)]
mod tests {
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
