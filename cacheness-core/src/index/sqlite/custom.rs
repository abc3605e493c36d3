//! Custom metadata as tables: one for each kind, with a column for each of its columns.
//!
//! Names are kept readable: `custom_` and the name of the kind, and the names of the columns. Where SQLite would take two for
//! one, the later gets a number; `kinds` and `kind_columns` tell which is which. Columns have no type, so that each value
//! stays what it is; `kind_columns` tells of which types they hold values. A value that SQLite has no place for is null in the
//! table, and the column is marked: lists, maps, NaN, and whole numbers beyond 64 bits with a sign.

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use crate::index::backend::CustomRow;
use crate::index::columns::{self, Column, Columns, PLACE, Types, free_name, quoted};
use crate::query::{ColumnType, Filter, Schema, Test, like_prefix, successor};
use crate::value::Value;

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

/// A kind as its table.
#[derive(Debug)]
pub(super) struct Table {
    kind: String,
    pub(super) name: String,
    columns: Columns,
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
            let types = Types(row.get(2)?);
            Ok((row.get(0)?, Column { name: row.get(1)?, column_type: None, types, indexed: row.get(3)? }))
        })?;
        Ok(Some(Self { kind: kind.to_owned(), name, columns: columns.collect::<rusqlite::Result<_>>()? }))
    }

    fn of_or_new(connection: &Connection, kind: &str) -> rusqlite::Result<Self> {
        if let Some(table) = Self::of(connection, kind)? {
            return Ok(table);
        }
        let name = free_name(&format!("custom_{kind}"), usize::MAX, |name| {
            let mut select = connection.prepare_cached("SELECT 1 FROM kinds WHERE table_name = ?1")?;
            select.exists([name])
        })?;
        connection.execute("INSERT INTO kinds (name, table_name) VALUES (?1, ?2)", [kind, &name])?;
        connection.execute_batch(&format!(
            "CREATE TABLE {} (entry_key BLOB PRIMARY KEY REFERENCES entries (key) ON DELETE CASCADE) WITHOUT ROWID",
            quoted(&name)
        ))?;
        Ok(Self { kind: kind.to_owned(), name, columns: Columns::new() })
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
                Ok::<_, rusqlite::Error>(
                    is("entry_key") || self.columns.values().filter_map(|column| column.name.as_deref()).any(is),
                )
            };
            let column_name = free_name(name, usize::MAX, taken)?;
            let table = quoted(&self.name);
            connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {}", quoted(&column_name)))?;
            Column { name: Some(column_name), column_type: None, types, indexed: false }
        } else {
            Column { name: None, column_type: None, types: types.and(Types::UNPLACED), indexed: false }
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

type Condition = columns::Condition<Sql>;

/// What of a filter the table can tell, with `?` for each value.
pub(super) fn condition(filter: &Filter, kind: &str, table: &Table) -> Option<Condition> {
    let mut condition = columns::condition(filter, kind, &table.columns, on_placed)?;
    condition.sql = condition.sql.replace(PLACE, "?");
    Some(condition)
}

/// A test on the values of a column that are in the table.
fn on_placed(test: &Test, name: &str, column: &Column) -> Condition {
    let types = column.types;
    let present = |exact| Condition::present(name, exact);
    let compared = |value: &Value, sign: &str| match placed(value) {
        Some(Sql::Null) => Condition::never(),
        Some(bound) => {
            let exact = types.are_within(Types::comparable_with(value));
            Condition::new(format!("{name} {sign} {PLACE}"), vec![bound], exact)
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
            Some(bound) => Condition::new(format!("{name} <> {PLACE}"), vec![bound], true),
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
                len => Condition::new(format!("{name} IN ({})", vec!["\0"; len].join(", ")), bound, exact),
            }
        }
        Test::StartsWith(start) => beginning_with(start, name, true),
        Test::Like(pattern) => beginning_with(&like_prefix(pattern), name, false),
        Test::Contains(part) => {
            let exact = types.are_within(Types::TEXT) && !part.contains('\0');
            Condition::new(format!("instr({name}, {PLACE}) > 0"), vec![Sql::Text(part.clone())], exact)
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
        Some(end) => {
            Condition::new(format!("{name} >= {PLACE} AND {name} < {PLACE}"), vec![bound, Sql::Text(end)], exact)
        }
        None => Condition::new(format!("{name} >= {PLACE}"), vec![bound], exact && start.is_empty()),
    }
}
