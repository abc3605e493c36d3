//! Custom metadata as columns of a SQL database: what such backends share.
//!
//! The engine looks at each row again, so a condition in SQL may hold of more entries than the condition itself, never of
//! fewer. Where SQL would say something else - values of several types in one column, patterns, other fields - that part of
//! it is true. Values are always bound.

use std::collections::BTreeMap;

use crate::query::{ColumnType, Filter, Node, Test};
#[cfg(feature = "sqlite")]
use crate::value::Value;

/// The types of values that a column holds, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Types(pub(super) i64);

impl Types {
    #[cfg(feature = "sqlite")]
    pub(super) const TEXT: Self = Self::of(ColumnType::Text);
    /// Values that are null in the table.
    pub(super) const UNPLACED: Self = Self(1 << 16);
    /// Those of them that are of no type that a column may have.
    pub(super) const FOREIGN: Self = Self(1 << 17);

    pub(super) const fn of(column_type: ColumnType) -> Self {
        Self(1 << column_type as i64)
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[cfg(feature = "sqlite")]
    /// Those that a value is comparable with.
    pub(super) fn comparable_with(value: &Value) -> Self {
        match ColumnType::of(value) {
            Some(ColumnType::Integer | ColumnType::Float) => {
                Self::of(ColumnType::Integer).and(Self::of(ColumnType::Float))
            }
            Some(other) => Self::of(other),
            None => Self::default(),
        }
    }

    /// Whether some values are null in the table.
    pub(super) fn has_unplaced(self) -> bool {
        self.0 & Self::UNPLACED.0 != 0
    }

    #[cfg(feature = "sqlite")]
    /// Whether all values that are in the table are of these types.
    pub(super) fn are_within(self, others: Self) -> bool {
        self.0 & !others.and(Self::UNPLACED).and(Self::FOREIGN).0 == 0
    }

    /// Whether all values, also those that are not in the table, are of this type.
    pub(super) fn are_all(self, column_type: ColumnType) -> bool {
        self.0 & !Self::of(column_type).and(Self::UNPLACED).0 == 0
    }
}

/// A column of a kind.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Its name in the table; none if the table has no place for it.
    pub(super) name: Option<String>,
    /// Of the values that it may hold, where the database asks for it.
    #[cfg_attr(not(feature = "postgresql"), allow(dead_code, reason = "the columns of SQLite have no types"))]
    pub(super) column_type: Option<ColumnType>,
    pub(super) types: Types,
    pub(super) indexed: bool,
}

/// The columns of a kind by their names.
pub(super) type Columns = BTreeMap<String, Column>;

/// A name as it stands in a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The first name of this and numbered ones that is not taken, of `longest` bytes at most.
pub(super) fn free_name<E>(
    wanted: &str,
    longest: usize,
    mut taken: impl FnMut(&str) -> Result<bool, E>,
) -> Result<String, E> {
    // The one character that no name may have.
    let wanted = wanted.replace('\0', "\u{fffd}");
    let wanted = if wanted.is_empty() { "_" } else { &wanted };
    let mut name = shortened(wanted, longest).to_owned();
    let mut number = 1u64;
    while taken(&name)? {
        number += 1;
        let end = format!("_{number}");
        name = format!("{}{end}", shortened(wanted, longest.saturating_sub(end.len())));
    }
    Ok(name)
}

fn shortened(name: &str, longest: usize) -> &str {
    let end = (0..=longest.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    &name[..end]
}

/// Where a value is bound in the SQL of a [`Condition`]; no name has it.
pub(super) const PLACE: char = '\0';

/// Databases parse expressions of limited depth, and each condition is one level.
const MOST_CONDITIONS: usize = 300;
const MOST_VALUES: usize = 1000;

/// A condition in SQL, with values of a database's own.
#[derive(Clone, Debug)]
pub(super) struct Condition<V> {
    pub(super) sql: String,
    pub(super) values: Vec<V>,
    /// Whether it holds of exactly those entries that meet the condition.
    exact: bool,
}

impl<V> Condition<V> {
    pub(super) fn new(sql: impl Into<String>, values: Vec<V>, exact: bool) -> Self {
        Self { sql: sql.into(), values, exact }
    }

    pub(super) fn never() -> Self {
        Self::new("FALSE", Vec::new(), true)
    }

    /// Holds of all, where SQL cannot tell.
    pub(super) fn unknown() -> Self {
        Self::new("TRUE", Vec::new(), false)
    }

    /// That there is a value in the column of this name.
    pub(super) fn present(name: &str, exact: bool) -> Self {
        Self::new(format!("{name} IS NOT NULL"), Vec::new(), exact)
    }

    pub(super) fn joined(parts: Vec<Self>, by: &str, none: &str) -> Self {
        if parts.is_empty() {
            return Self::new(none, Vec::new(), true);
        }
        let exact = parts.iter().all(|part| part.exact);
        let (sql, values): (Vec<_>, Vec<_>) =
            parts.into_iter().map(|part| (format!("({})", part.sql), part.values)).unzip();
        Self::new(sql.join(by), values.into_iter().flatten().collect(), exact)
    }
}

/// How a database says one test on the values of a column that are in the table: name, as it stands in a statement, and
/// column.
pub(super) type OnPlaced<V> = fn(&Test, &str, &Column) -> Condition<V>;

/// What of a filter a table can tell; `None` if a column has values of another type than the filter wants there, which only a
/// look at all of the kind tells. In the statement the table is called `c`.
pub(super) fn condition<V>(
    filter: &Filter,
    kind: &str,
    columns: &Columns,
    on_placed: OnPlaced<V>,
) -> Option<Condition<V>> {
    let fields = filter.fields();
    for field in &fields {
        if let Some((of, column, Some(column_type))) = field.as_column()
            && of == kind
            && columns.get(column).is_some_and(|column| !column.types.are_all(column_type))
        {
            return None;
        }
    }
    if fields.len() > MOST_CONDITIONS {
        return Some(Condition::unknown());
    }
    let condition = Compiler { kind, columns, on_placed }.of_node(filter.node());
    Some(if condition.values.len() > MOST_VALUES { Condition::unknown() } else { condition })
}

struct Compiler<'a, V> {
    kind: &'a str,
    columns: &'a Columns,
    on_placed: OnPlaced<V>,
}

impl<V> Compiler<'_, V> {
    fn of_node(&self, node: &Node) -> Condition<V> {
        let each = |nodes: &[Node]| nodes.iter().map(|node| self.of_node(node)).collect();
        match node {
            Node::All(nodes) => Condition::joined(each(nodes), " AND ", "TRUE"),
            Node::Any(nodes) => Condition::joined(each(nodes), " OR ", "FALSE"),
            Node::Not(node) => match self.of_node(node) {
                // Null counts as false.
                Condition { sql, values, exact: true } => Condition::new(format!("({sql}) IS NOT TRUE"), values, true),
                _ => Condition::unknown(),
            },
            Node::On(field, test) => match field.as_column() {
                Some((of, column, _)) if of == self.kind => match self.columns.get(column) {
                    Some(column) => self.of_test(test, column),
                    // No row has a value there.
                    None => Condition::never(),
                },
                _ => Condition::unknown(),
            },
        }
    }

    fn of_test(&self, test: &Test, column: &Column) -> Condition<V> {
        let Some(name) = &column.name else { return Condition::unknown() };
        let name = format!("c.{}", quoted(name));
        let condition = (self.on_placed)(test, &name, column);
        if !column.types.has_unplaced() {
            return condition;
        }
        Condition::new(format!("({}) OR {name} IS NULL", condition.sql), condition.values, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_or_too_long_is_another_one() {
        let name = |wanted: &str, longest| {
            free_name::<()>(wanted, longest, |name| Ok(["a", "a_2", "long"].contains(&name))).unwrap()
        };
        assert_eq!(name("a", 63), "a_3");
        assert_eq!(name("", 63), "_");
        assert_eq!(name("long name", 4), "lo_2");
        assert_eq!(name("\u{e4}\u{e4}\u{e4}", 5), "\u{e4}\u{e4}");
    }
}
