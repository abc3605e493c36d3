//! Custom metadata as tables: one for each kind, with a column for each of its columns.
//!
//! Names are kept readable: `custom_` and the name of the kind, and the names of the columns. Where SQLite would take two for
//! one, the later gets a number; `kinds` and `kind_columns` tell which is which. Columns have no type, so that each value
//! stays what it is; `kind_columns` tells of which types they hold values. A value that SQLite has no place for is null in the
//! table, and the column is marked: lists, maps, NaN, and whole numbers beyond 64 bits with a sign.

use std::collections::BTreeMap;

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use crate::index::backend::CustomRow;
use crate::query::{ColumnType, Filter, Node, Schema, Test, like_prefix, successor};
use crate::value::Value;

/// The types of values that a column holds, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Types(i64);

impl Types {
    pub(super) const TEXT: Self = Self::of(ColumnType::Text);
    /// Values that are null in the table.
    const UNPLACED: Self = Self(1 << 16);
    /// Those of them that are of no type that a column may have.
    const FOREIGN: Self = Self(1 << 17);

    pub(super) const fn of(column_type: ColumnType) -> Self {
        Self(1 << column_type as i64)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

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

    /// Whether all values that are in the table are of these types.
    pub(super) fn are_within(self, others: Self) -> bool {
        self.0 & !others.and(Self::UNPLACED).and(Self::FOREIGN).0 == 0
    }

    /// Whether all values, also those that are not in the table, are of this type.
    pub(super) fn are_all(self, column_type: ColumnType) -> bool {
        self.0 & !Self::of(column_type).and(Self::UNPLACED).0 == 0
    }
}

/// How a value stands in a table, or in a condition; `None` if SQLite has no place for it.
pub(super) fn placed(value: &Value) -> Option<Sql> {
    Some(match value {
        Value::Null => Sql::Null,
        Value::Bool(value) => Sql::Integer((*value).into()),
        Value::Int(number) => Sql::Integer(*number),
        Value::UInt(number) => Sql::Integer(i64::try_from(*number).ok()?),
        Value::Float(number) if number.is_nan() => return None,
        Value::Float(number) => Sql::Real(*number),
        Value::Text(text) => Sql::Text(text.clone()),
        Value::Timestamp(time) => Sql::Integer(time.as_micros()),
        Value::Duration(time) => Sql::Integer(i64::try_from(time.as_nanos()).ok()?),
        Value::List(_) | Value::Map(_) => return None,
    })
}

fn types_of(value: &Value) -> Types {
    let column_type = ColumnType::of(value).map_or(Types::FOREIGN, Types::of);
    match placed(value) {
        Some(Sql::Null) => Types::default(),
        Some(_) => column_type,
        None => column_type.and(Types::UNPLACED),
    }
}

/// A name as it stands in a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A kind as its table.
#[derive(Debug)]
pub(super) struct Table {
    kind: String,
    pub(super) name: String,
    pub(super) columns: BTreeMap<String, Column>,
}

/// A column of a kind.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Its name in the table; none if the table has no room for it.
    pub(super) name: Option<String>,
    pub(super) types: Types,
    indexed: bool,
}

/// SQLite tables have up to 2000 columns.
const MOST_COLUMNS: usize = 1900;

impl Table {
    /// The table of a kind, if there is one.
    pub(super) fn of(connection: &Connection, kind: &str) -> rusqlite::Result<Option<Self>> {
        let mut select = connection.prepare_cached("SELECT table_name FROM kinds WHERE name = ?1")?;
        let Some(name) = select.query_row([kind], |row| row.get(0)).optional()? else { return Ok(None) };
        let mut select =
            connection.prepare_cached("SELECT name, column_name, types, indexed FROM kind_columns WHERE kind = ?1")?;
        let columns = select.query_map([kind], |row| {
            Ok((row.get(0)?, Column { name: row.get(1)?, types: Types(row.get(2)?), indexed: row.get(3)? }))
        })?;
        Ok(Some(Self { kind: kind.to_owned(), name, columns: columns.collect::<rusqlite::Result<_>>()? }))
    }

    fn of_or_new(connection: &Connection, kind: &str) -> rusqlite::Result<Self> {
        if let Some(table) = Self::of(connection, kind)? {
            return Ok(table);
        }
        let name = free_name(&format!("custom_{kind}"), |name| {
            let mut select = connection.prepare_cached("SELECT 1 FROM kinds WHERE table_name = ?1")?;
            select.exists([name])
        })?;
        connection.execute("INSERT INTO kinds (name, table_name) VALUES (?1, ?2)", [kind, &name])?;
        connection.execute_batch(&format!(
            "CREATE TABLE {} (entry_key BLOB PRIMARY KEY REFERENCES entries (key) ON DELETE CASCADE) WITHOUT ROWID",
            quoted(&name)
        ))?;
        Ok(Self { kind: kind.to_owned(), name, columns: BTreeMap::new() })
    }

    /// The column of this name, which is made if it is not there, for values of these types.
    fn column(&mut self, connection: &Connection, name: &str, types: Types) -> rusqlite::Result<Column> {
        match self.columns.get_mut(name) {
            Some(column) if column.types.and(types) == column.types => return Ok(column.clone()),
            Some(column) => {
                column.types = column.types.and(types);
                let mut update =
                    connection.prepare_cached("UPDATE kind_columns SET types = ?3 WHERE kind = ?1 AND name = ?2")?;
                update.execute(params![self.kind, name, column.types.0])?;
                return Ok(column.clone());
            }
            None => {}
        }
        let column = if self.columns.len() < MOST_COLUMNS {
            let taken = |wanted: &str| {
                let is = |name: &str| name.eq_ignore_ascii_case(wanted);
                Ok(is("entry_key") || self.columns.values().filter_map(|column| column.name.as_deref()).any(is))
            };
            let column_name = free_name(name, taken)?;
            let table = quoted(&self.name);
            connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {}", quoted(&column_name)))?;
            Column { name: Some(column_name), types, indexed: false }
        } else {
            Column { name: None, types: types.and(Types::UNPLACED), indexed: false }
        };
        let insert = "INSERT INTO kind_columns (kind, name, column_name, types, indexed) VALUES (?1, ?2, ?3, ?4, 0)";
        connection.execute(insert, params![self.kind, name, column.name, column.types.0])?;
        self.columns.insert(name.to_owned(), column.clone());
        Ok(column)
    }

    fn index(&mut self, connection: &Connection, name: &str) -> rusqlite::Result<()> {
        let Some(column) = self.columns.get_mut(name).filter(|column| !column.indexed) else { return Ok(()) };
        let Some(column_name) = &column.name else { return Ok(()) };
        // No table is called so: those of kinds begin in another way.
        let index = quoted(&format!("index_of_{}.{column_name}", self.name));
        let (table, column_name) = (quoted(&self.name), quoted(column_name));
        connection.execute_batch(&format!("CREATE INDEX IF NOT EXISTS {index} ON {table} ({column_name})"))?;
        connection.execute("UPDATE kind_columns SET indexed = 1 WHERE kind = ?1 AND name = ?2", [&self.kind, name])?;
        column.indexed = true;
        Ok(())
    }
}

/// The first name of this and numbered ones that is not taken.
fn free_name(wanted: &str, mut taken: impl FnMut(&str) -> rusqlite::Result<bool>) -> rusqlite::Result<String> {
    // The one character that no name may have.
    let wanted = wanted.replace('\0', "\u{fffd}");
    let mut name = if wanted.is_empty() { "_".to_owned() } else { wanted.clone() };
    let mut number = 1u64;
    while taken(&name)? {
        number += 1;
        name = format!("{wanted}_{number}");
    }
    Ok(name)
}

/// Whether a kind has all that its type says.
pub(super) fn is_defined(connection: &Connection, schema: &Schema) -> rusqlite::Result<bool> {
    let Some(table) = Table::of(connection, schema.name)? else { return Ok(false) };
    Ok(schema.columns.iter().all(|wanted| {
        let found = table.columns.get(wanted.name);
        found.is_some_and(|column| column.indexed || !wanted.indexed || column.name.is_none())
    }))
}

/// Makes the table of a kind, columns that it lacks, and indexes that its type asks for.
pub(super) fn define(connection: &Connection, schema: &Schema) -> rusqlite::Result<()> {
    let mut table = Table::of_or_new(connection, schema.name)?;
    for column in schema.columns {
        table.column(connection, column.name, Types::default())?;
        if column.indexed {
            table.index(connection, column.name)?;
        }
    }
    Ok(())
}

/// Puts rows of custom metadata beside an entry that has none.
pub(super) fn add(connection: &Connection, key: &[u8], rows: &[CustomRow]) -> rusqlite::Result<()> {
    for row in rows {
        let mut table = Table::of_or_new(connection, &row.kind)?;
        let mut names = vec!["entry_key".to_owned()];
        let mut values = vec![Sql::Blob(key.to_vec())];
        for (name, value) in &row.columns {
            let column = table.column(connection, name, types_of(value))?;
            if let Some(name) = column.name {
                names.push(quoted(&name));
                values.push(placed(value).unwrap_or(Sql::Null));
            }
        }
        let places = vec!["?"; names.len()].join(", ");
        // Of two rows of one kind, which nobody makes, the later stays.
        let sql = format!("INSERT OR REPLACE INTO {} ({}) VALUES ({places})", quoted(&table.name), names.join(", "));
        connection.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    }
    Ok(())
}

/// Removes the custom metadata of an entry that stays.
pub(super) fn remove(connection: &Connection, key: &[u8]) -> rusqlite::Result<()> {
    let mut select = connection.prepare_cached("SELECT table_name FROM kinds")?;
    let tables: Vec<String> = select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for table in tables {
        let sql = format!("DELETE FROM {} WHERE entry_key = ?1", quoted(&table));
        connection.prepare_cached(&sql)?.execute([key])?;
    }
    Ok(())
}

// Conditions on columns as SQL.
//
// The engine looks at each row again, so a condition in SQL may hold of more entries than the condition itself, never of
// fewer. Where SQL would say something else - values of several types in one column, patterns, other fields - that part of
// it is true. Values are always bound.

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
