//! Conditions on columns as SQL.
//!
//! The engine looks at each row again, so a condition in SQL may hold of more entries than the condition itself, never of
//! fewer. Where SQL would say something else - values of several types in one column, patterns, other fields - that part of
//! it is true. Values are always bound.

use rusqlite::types::Value as Sql;

use super::custom::{Column, Table, Types, placed, quoted};
use crate::query::{Filter, Node, Test, like_prefix, successor};
use crate::value::Value;

/// SQLite parses expressions of limited depth, and each condition is one level.
const MOST_CONDITIONS: usize = 300;
const MOST_VALUES: usize = 1000;

/// A condition in SQL.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) values: Vec<Sql>,
    /// Whether it holds of exactly those entries that meet the condition.
    exact: bool,
}

impl Condition {
    fn new(sql: impl Into<String>, values: Vec<Sql>, exact: bool) -> Self {
        Self { sql: sql.into(), values, exact }
    }

    fn never() -> Self {
        Self::new("0", Vec::new(), true)
    }

    /// Holds of all, where SQL cannot tell.
    fn unknown() -> Self {
        Self::new("1", Vec::new(), false)
    }

    fn joined(parts: Vec<Self>, by: &str, none: &str) -> Self {
        if parts.is_empty() {
            return Self::new(none, Vec::new(), true);
        }
        let exact = parts.iter().all(|part| part.exact);
        let (sql, values): (Vec<_>, Vec<_>) =
            parts.into_iter().map(|part| (format!("({})", part.sql), part.values)).unzip();
        Self::new(sql.join(by), values.concat(), exact)
    }
}

/// What of a filter a table can tell; `None` if a column has values of another type than the filter wants there, which only a
/// look at all of the kind tells.
pub(super) fn condition(filter: &Filter, kind: &str, table: &Table) -> Option<Condition> {
    let fields = filter.fields();
    for field in &fields {
        if let Some((of, column, Some(column_type))) = field.as_column()
            && of == kind
            && table.columns.get(column).is_some_and(|column| !column.types.are_all(column_type))
        {
            return None;
        }
    }
    if fields.len() > MOST_CONDITIONS {
        return Some(Condition::unknown());
    }
    let condition = of_node(filter.node(), kind, table);
    Some(if condition.values.len() > MOST_VALUES { Condition::unknown() } else { condition })
}

fn of_node(node: &Node, kind: &str, table: &Table) -> Condition {
    let each = |nodes: &[Node]| nodes.iter().map(|node| of_node(node, kind, table)).collect();
    match node {
        Node::All(nodes) => Condition::joined(each(nodes), " AND ", "1"),
        Node::Any(nodes) => Condition::joined(each(nodes), " OR ", "0"),
        Node::Not(node) => match of_node(node, kind, table) {
            // Null counts as false.
            Condition { sql, values, exact: true } => Condition::new(format!("({sql}) IS NOT TRUE"), values, true),
            _ => Condition::unknown(),
        },
        Node::On(field, test) => match field.as_column() {
            Some((of, column, _)) if of == kind => match table.columns.get(column) {
                Some(column) => of_test(test, column),
                // No row has a value there.
                None => Condition::never(),
            },
            _ => Condition::unknown(),
        },
    }
}

fn of_test(test: &Test, column: &Column) -> Condition {
    let Some(name) = &column.name else { return Condition::unknown() };
    let name = format!("c.{}", quoted(name));
    let condition = on_placed(test, &name, column.types);
    if !column.types.has_unplaced() {
        return condition;
    }
    Condition::new(format!("({}) OR {name} IS NULL", condition.sql), condition.values, false)
}

/// A test on the values of a column that are in the table.
fn on_placed(test: &Test, name: &str, types: Types) -> Condition {
    let present = |exact| Condition::new(format!("{name} IS NOT NULL"), Vec::new(), exact);
    let compared = |value: &Value, sign: &str| match placed(value) {
        Some(Sql::Null) => Condition::never(),
        Some(bound) => {
            let exact = types.are_within(Types::comparable_with(value));
            Condition::new(format!("{name} {sign} ?"), vec![bound], exact)
        }
        // Lists and NaN are never comparable with what is in the table; a number or a time that does not fit is.
        None if does_not_fit(value) => present(false),
        None => Condition::never(),
    };
    match test {
        Test::Eq(value) => compared(value, "="),
        Test::Ne(value) => match placed(value) {
            None if does_not_fit(value) => present(false),
            None | Some(Sql::Null) => present(true),
            // What is of another type is unequal, and SQL does not know all types.
            Some(_) if !types.are_within(Types::comparable_with(value)) => present(false),
            Some(bound) => Condition::new(format!("{name} <> ?"), vec![bound], true),
        },
        Test::Lt(value) => compared(value, "<"),
        Test::Le(value) => compared(value, "<="),
        Test::Gt(value) => compared(value, ">"),
        Test::Ge(value) => compared(value, ">="),
        Test::In(values) if values.iter().any(does_not_fit) => present(false),
        Test::In(values) => {
            let exact =
                values.iter().all(|value| types.are_within(Types::comparable_with(value)) || placed(value).is_none());
            let bound: Vec<_> = values.iter().filter_map(placed).filter(|bound| *bound != Sql::Null).collect();
            match bound.len() {
                0 => Condition::never(),
                len => Condition::new(format!("{name} IN ({})", vec!["?"; len].join(", ")), bound, exact),
            }
        }
        Test::StartsWith(start) => beginning_with(start, name, true),
        Test::Like(pattern) => beginning_with(&like_prefix(pattern), name, false),
        Test::Contains(part) => {
            let exact = types.are_within(Types::TEXT) && !part.contains('\0');
            Condition::new(format!("instr({name}, ?) > 0"), vec![Sql::Text(part.clone())], exact)
        }
        Test::Present => present(true),
    }
}

/// Whether it is a value like those in a table, only larger.
fn does_not_fit(value: &Value) -> bool {
    matches!(value, Value::UInt(_) | Value::Duration(_)) && placed(value).is_none()
}

/// Texts are ordered by their bytes, and numbers come before all of them.
fn beginning_with(start: &str, name: &str, exact: bool) -> Condition {
    let bound = Sql::Text(start.to_owned());
    match successor(start) {
        Some(end) => Condition::new(format!("{name} >= ? AND {name} < ?"), vec![bound, Sql::Text(end)], exact),
        None => Condition::new(format!("{name} >= ?"), vec![bound], exact && start.is_empty()),
    }
}
