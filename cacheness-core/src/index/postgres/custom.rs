//! Custom metadata as tables: one for each kind, with a column for each of its columns.
//!
//! A column has the type of the first values that it is made for: `boolean`, `bigint`, `double precision`, `text` by its
//! bytes, `timestamptz`, and `bigint` for lengths of time, in nanoseconds. A value that it has no place for is null in the
//! table, and the column is marked: conditions then find all rows that are null there, and the engine looks at each. `kinds`
//! and `kind_columns` tell which table and column is which, since PostgreSQL cuts long names off.
//!
//! What a column may hold is written down before it holds it and never forgotten, so what a handle remembers of a kind is
//! true for what it writes itself. A condition needs all of it: it is asked together with the version of the kind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row as Found};

use super::place::{Bound, array, on_placed, placed, sql_type};
use super::rows::Numbered;
use super::schema::lock_tables;
use super::server::{Around, Lane, Refusal, Server, Statement};
use super::{SCAN, rows_of};
use crate::error::{ErrorKind, Result};
use crate::index::backend::{Change, Row};
use crate::index::columns::{Column, Columns, PLACE, Types, condition, free_name, quoted};
use crate::index::handle::limit_of;
use crate::query::{ColumnSchema, ColumnType, Filter, Schema};
use crate::util::remote::Call;
use crate::util::threads::lock;
use crate::value::Value;

const LOOK: Call = Call::new(ErrorKind::Metadata, "read the tables of custom metadata in PostgreSQL");
const DEFINE: Call = Call::new(ErrorKind::Metadata, "make a table of custom metadata in PostgreSQL");

/// PostgreSQL cuts longer names off.
const LONGEST_NAME: usize = 63;
/// All columns of a row must find place in one page of 8 KiB, where a long text takes 18 bytes.
const MOST_COLUMNS: usize = 300;
/// Names that a column cannot have.
const TAKEN: [&str; 7] = ["entry_key", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];
/// How often a question is asked again because others have changed the kind meanwhile.
const TRIES: usize = 5;

/// A kind as its table.
#[derive(Debug, Default)]
pub(super) struct Table {
    name: String,
    version: i64,
    columns: Columns,
}

/// What a handle remembers of kinds.
#[derive(Debug, Default)]
pub(super) struct Kinds(Mutex<HashMap<String, Arc<Table>>>);

/// A column that a kind is to have.
#[derive(Clone, Copy, Debug)]
struct Wanted<'a> {
    name: &'a str,
    /// That a new one gets.
    column_type: Option<ColumnType>,
    /// One that it is to hold.
    value: Option<&'a Value>,
    indexed: bool,
}

/// The same without borrowing.
type Kept = Vec<(String, Option<ColumnType>, Option<Value>, bool)>;

impl Wanted<'_> {
    /// The types of what it is to hold, in the column that is there.
    fn types(&self, column: Option<&Column>) -> Types {
        self.value.map_or(Types::default(), |value| types_of(value, column))
    }
}

impl Table {
    fn has(&self, wanted: &Wanted<'_>) -> bool {
        let Some(column) = self.columns.get(wanted.name) else {
            // A null alone says nothing of a type: the column is made by the first value.
            return wanted.column_type.is_none() && wanted.types(None) == Types::default();
        };
        let holds = column.types.and(wanted.types(Some(column))) == column.types;
        holds && (column.indexed || !wanted.indexed || column.name.is_none())
    }

    fn of_rows(kinds: &[Found], columns: &[Found]) -> Result<Option<Self>, Error> {
        let Some(kind) = kinds.first() else { return Ok(None) };
        let column = |row: &Found| {
            let name = String::from_utf8_lossy(row.try_get(0)?).into_owned();
            let column_type = row.try_get::<_, Option<i32>>(2)?.and_then(column_type_of);
            let types = Types(row.try_get(3)?);
            Ok((name, Column { name: row.try_get(1)?, column_type, types, indexed: row.try_get(4)? }))
        };
        let columns = columns.iter().map(column).collect::<Result<_, Error>>()?;
        Ok(Some(Self { name: kind.try_get(0)?, version: kind.try_get(1)?, columns }))
    }
}

const COLUMN_TYPES: [ColumnType; 6] = [
    ColumnType::Bool,
    ColumnType::Integer,
    ColumnType::Float,
    ColumnType::Text,
    ColumnType::Timestamp,
    ColumnType::Duration,
];

fn column_type_of(number: i32) -> Option<ColumnType> {
    COLUMN_TYPES.into_iter().find(|column_type| *column_type as i32 == number)
}

fn look(server: &Server, kind: &str) -> [Statement; 2] {
    const KIND: &str = "SELECT table_name, version FROM @.kinds WHERE name = $1";
    const COLUMNS: &str = "SELECT name, column_name, column_type, types, indexed FROM @.kind_columns WHERE kind = $1";
    [KIND, COLUMNS].map(|sql| server.statement(sql).bind(kind.as_bytes().to_vec(), Type::BYTEA))
}

impl Kinds {
    pub(super) fn forget(&self) {
        lock(&self.0).clear();
    }

    fn known(&self, kind: &str) -> Option<Arc<Table>> {
        lock(&self.0).get(kind).cloned()
    }

    fn load(&self, server: &Server, kind: &str) -> Result<Option<Arc<Table>>> {
        let found = server.ask(LOOK, (Lane::Fast, Around::Snapshot), look(server, kind).into())?;
        let [kinds, columns] = &found[..] else { return Ok(None) };
        let Some(table) = Table::of_rows(kinds, columns).map_err(|error| LOOK.failed(error))? else { return Ok(None) };
        let table = Arc::new(table);
        lock(&self.0).insert(kind.to_owned(), Arc::clone(&table));
        Ok(Some(table))
    }

    /// Sees to it that there are tables and columns for all custom metadata in these changes.
    pub(super) fn prepare(&self, server: &Server, namespace: &str, changes: &[Change<'_>]) -> Result<()> {
        let rows = changes.iter().filter_map(|change| change.row).flat_map(|(_, facts)| &facts.custom);
        let mut wanted: HashMap<&str, Vec<Wanted<'_>>> = HashMap::new();
        for row in rows {
            let columns = row.columns.iter().map(|(name, value)| {
                let column_type = ColumnType::of(value);
                Wanted { name, column_type, value: Some(value), indexed: false }
            });
            wanted.entry(&row.kind).or_default().extend(columns);
        }
        wanted.into_iter().try_for_each(|(kind, columns)| self.extend(server, namespace, kind, &columns))
    }

    /// Makes the table of a kind, columns that it lacks, and indexes that its type asks for.
    pub(super) fn define(&self, server: &Server, namespace: &str, schema: &Schema) -> Result<()> {
        let column = |column: &'static ColumnSchema| Wanted {
            name: column.name,
            column_type: Some(column.column_type),
            value: None,
            indexed: column.indexed,
        };
        let wanted: Vec<_> = schema.columns.iter().map(column).collect();
        self.extend(server, namespace, schema.name, &wanted)
    }

    fn extend(&self, server: &Server, namespace: &str, kind: &str, wanted: &[Wanted<'_>]) -> Result<()> {
        if self.known(kind).is_some_and(|table| wanted.iter().all(|wanted| table.has(wanted))) {
            return Ok(());
        }
        let keep =
            |wanted: &Wanted<'_>| (wanted.name.to_owned(), wanted.column_type, wanted.value.cloned(), wanted.indexed);
        let wanted: Kept = wanted.iter().map(keep).collect();
        let (kind_text, namespace) = (kind.to_owned(), namespace.to_owned());
        let statements = Definition::of(server);
        let [kinds, columns] = look(server, kind);
        let table = server.converse(DEFINE, move |client| async move {
            client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
            lock_tables(&client, &namespace).await?;
            let found = Table::of_rows(&kinds.ask(&client).await?, &columns.ask(&client).await?)?;
            let mut maker = Maker { client: &client, sql: &statements, kind: &kind_text, table: Table::default() };
            match found {
                Some(table) => maker.table = table,
                None => maker.make().await?,
            }
            maker.extend(&wanted).await?;
            let table = maker.table;
            client.batch_execute("COMMIT").await?;
            Ok(table)
        })?;
        lock(&self.0).insert(kind.to_owned(), Arc::new(table));
        Ok(())
    }

    /// The next rows of entries that may meet a condition.
    pub(super) fn select(
        &self,
        server: &Server,
        (kind, filter): (&str, &Filter),
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Option<Vec<Row>>> {
        let mut known = self.known(kind);
        for _ in 0..TRIES {
            let table = match known.take() {
                Some(table) => table,
                None => match self.load(server, kind)? {
                    Some(table) => table,
                    None => return Ok(Some(Vec::new())),
                },
            };
            let Some(statement) = selection(server, (kind, &table), filter, after, limit) else {
                // What others have written down since may not change that: types are never forgotten.
                return Ok(None);
            };
            let [version, _] = look(server, kind);
            let found = server.ask(SCAN, (Lane::Slow, Around::Snapshot), vec![version, statement])?;
            let [version, rows] = &found[..] else { return Ok(None) };
            let version = version.first().map(|row| row.try_get::<_, i64>(1)).transpose();
            if version.map_err(|error| SCAN.failed(error))? == Some(table.version) {
                return rows_of(rows).map(Some).map_err(|error| SCAN.failed(error));
            }
        }
        Ok(None)
    }
}

fn selection(
    server: &Server,
    (kind, table): (&str, &Table),
    filter: &Filter,
    after: Option<&[u8]>,
    limit: usize,
) -> Option<Statement> {
    let condition = condition(filter, kind, &table.columns, on_placed)?;
    // The name of a column may have the sign of the schema.
    let mut sql = String::new();
    for (at, part) in condition.sql.split(PLACE).enumerate() {
        if at > 0 {
            sql.push_str(&format!("${}", at + 2));
        }
        sql.push_str(part);
    }
    let begin = server.statement("SELECT e.key, e.content, e.used_at FROM @.entries e JOIN @.").into_sql();
    let whole = format!(
        "{begin}{} c ON c.entry_key = e.key WHERE c.entry_key > $1 AND ({sql}) ORDER BY c.entry_key LIMIT $2",
        quoted(&table.name)
    );
    let statement =
        Statement::raw(whole).bind(after.unwrap_or_default().to_vec(), Type::BYTEA).bind(limit_of(limit), Type::INT8);
    Some(condition.values.into_iter().fold(statement, |statement, value| {
        let value_type = value.sql_type();
        statement.bind_boxed(value.into_sql(), value_type)
    }))
}

/// The types of a value, in a column that may be there.
fn types_of(value: &Value, column: Option<&Column>) -> Types {
    let column_type = ColumnType::of(value);
    let types = column_type.map_or(Types::FOREIGN, Types::of);
    let place = match column {
        Some(Column { name: None, .. }) => None,
        Some(column) => column.column_type,
        None => column_type,
    };
    match (value, place.and_then(|place| placed(value, place, column.is_some_and(|column| column.indexed)))) {
        (Value::Null, _) => Types::default(),
        (_, Some(_)) => types,
        (_, None) => types.and(Types::UNPLACED),
    }
}

/// Statements that put the custom metadata of new rows beside them, one for each kind.
pub(super) fn put(server: &Server, changes: &[Numbered<'_>], kinds: &Kinds) -> Vec<Statement> {
    let mut rows: HashMap<&str, Vec<(i32, &crate::value::Metadata)>> = HashMap::new();
    for (n, change) in changes {
        for row in change.row.iter().flat_map(|(_, facts)| &facts.custom) {
            rows.entry(&row.kind).or_default().push((*n, &row.columns));
        }
    }
    let tables = rows.into_iter().filter_map(|(kind, rows)| Some((kinds.known(kind)?, rows)));
    tables.map(|(table, rows)| put_into(server, &table, &rows)).collect()
}

fn put_into(server: &Server, table: &Table, rows: &[(i32, &crate::value::Metadata)]) -> Statement {
    let mut names = vec!["entry_key".to_owned()];
    let mut values = vec!["c.key".to_owned()];
    let mut arrays: Vec<(Box<dyn ToSql + Send + Sync>, Type)> = Vec::new();
    for (name, column) in &table.columns {
        let (Some(column_name), Some(column_type)) = (&column.name, column.column_type) else { continue };
        let value = |row: &&(i32, &crate::value::Metadata)| {
            row.1.get(name).and_then(|value| placed(value, column_type, column.indexed))
        };
        let column_values: Vec<Option<Bound>> = rows.iter().map(|row| value(&row)).collect();
        if column_values.iter().any(Option::is_some) {
            arrays.push(array(column_type, column_values));
            names.push(quoted(column_name));
            values.push(format!("v.v{}", arrays.len()));
        }
    }
    let places: Vec<_> = (0..arrays.len()).map(|n| format!(", ${}", n + 2)).collect();
    let called: Vec<_> = (0..arrays.len()).map(|n| format!(", v{}", n + 1)).collect();
    let begin = server.statement("INSERT INTO @.").into_sql();
    let behind = server.statement("JOIN @.changes c ON c.tx = pg_current_xact_id()::text::bigint AND c.n = v.n");
    // Of two rows of one kind, which nobody makes, the first stays.
    let sql = format!(
        "{begin}{} ({}) SELECT {} FROM unnest($1{}) AS v (n{}) {} ON CONFLICT DO NOTHING",
        quoted(&table.name),
        names.join(", "),
        values.join(", "),
        places.concat(),
        called.concat(),
        behind.into_sql()
    );
    let numbers: Vec<i32> = rows.iter().map(|(n, _)| *n).collect();
    let statement = Statement::raw(sql).bind(numbers, Type::INT4_ARRAY);
    arrays.into_iter().fold(statement, |statement, (values, value_type)| statement.bind_boxed(values, value_type))
}

/// What a maker says, with the name of the schema in it.
struct Definition {
    begin: String,
    names: String,
    kind: String,
    column: String,
    types: String,
    indexed: String,
    version: String,
    entries: String,
}

impl Definition {
    fn of(server: &Server) -> Self {
        let sql = |sql: &str| server.statement(sql).into_sql();
        Self {
            begin: sql("@."),
            names: sql("SELECT table_name FROM @.kinds"),
            kind: sql("INSERT INTO @.kinds (name, table_name, version) VALUES ($1, $2, 1)"),
            column: sql("INSERT INTO @.kind_columns (kind, name, column_name, column_type, types, indexed) \
                         VALUES ($1, $2, $3, $4, $5, FALSE)"),
            types: sql("UPDATE @.kind_columns SET types = $3 WHERE kind = $1 AND name = $2"),
            indexed: sql("UPDATE @.kind_columns SET indexed = TRUE WHERE kind = $1 AND name = $2"),
            version: sql("UPDATE @.kinds SET version = version + 1 WHERE name = $1 RETURNING version"),
            entries: sql("@.entries"),
        }
    }
}

/// Makes tables and columns, in a transaction that nobody else makes some in.
struct Maker<'a> {
    client: &'a Client,
    sql: &'a Definition,
    kind: &'a str,
    table: Table,
}

impl Maker<'_> {
    fn statement(&self, sql: &str) -> Statement {
        Statement::raw(sql.to_owned()).bind(self.kind.as_bytes().to_vec(), Type::BYTEA)
    }

    fn table_name(&self) -> String {
        format!("{}{}", self.sql.begin, quoted(&self.table.name))
    }

    async fn make(&mut self) -> Result<(), Refusal> {
        let rows = Statement::raw(self.sql.names.clone()).ask(self.client).await?;
        let names = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
        let is_taken = |name: &str| Ok::<_, Error>(names.iter().any(|taken| taken == name));
        self.table.name = free_name(&format!("custom_{}", self.kind), LONGEST_NAME, is_taken)?;
        self.statement(&self.sql.kind).bind(self.table.name.clone(), Type::TEXT).ask(self.client).await?;
        let sql = format!(
            "CREATE TABLE {} (entry_key bytea PRIMARY KEY REFERENCES {} (key) ON DELETE CASCADE)",
            self.table_name(),
            self.sql.entries
        );
        Ok(self.client.batch_execute(&sql).await?)
    }

    async fn extend(&mut self, wanted: &Kept) -> Result<(), Refusal> {
        for (name, column_type, value, indexed) in wanted {
            let wanted = Wanted { name, column_type: *column_type, value: value.as_ref(), indexed: *indexed };
            if self.table.has(&wanted) {
                continue;
            }
            if !self.table.columns.contains_key(name) {
                self.add(&wanted).await?;
            }
            self.widen(&wanted).await?;
            if *indexed {
                self.index(name).await?;
            }
        }
        let rows = self.statement(&self.sql.version).ask(self.client).await?;
        self.table.version = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
        Ok(())
    }

    async fn add(&mut self, wanted: &Wanted<'_>) -> Result<(), Refusal> {
        let has_room = self.table.columns.len() < MOST_COLUMNS;
        let place = wanted.column_type.filter(|_| has_room);
        let mut column_name = None;
        if let Some(place) = place {
            let columns = &self.table.columns;
            let is_taken = |name: &str| {
                let there = columns.values().filter_map(|column| column.name.as_deref());
                Ok::<_, Error>(TAKEN.into_iter().chain(there).any(|taken| taken == name))
            };
            let free = free_name(wanted.name, LONGEST_NAME, is_taken)?;
            let (table, sql_type) = (self.table_name(), sql_type(place));
            let sql = format!("ALTER TABLE {table} ADD COLUMN {} {sql_type}", quoted(&free));
            self.client.batch_execute(&sql).await?;
            column_name = Some(free);
        }
        let types = if column_name.is_some() { Types::default() } else { Types::UNPLACED };
        let insert = self.statement(&self.sql.column).bind(wanted.name.as_bytes().to_vec(), Type::BYTEA);
        let insert = insert.bind(column_name.clone(), Type::TEXT).bind(place.map(|place| place as i32), Type::INT4);
        insert.bind(types.0, Type::INT8).ask(self.client).await?;
        let column = Column { name: column_name, column_type: place, types, indexed: false };
        self.table.columns.insert(wanted.name.to_owned(), column);
        Ok(())
    }

    async fn widen(&mut self, wanted: &Wanted<'_>) -> Result<(), Refusal> {
        let Some(column) = self.table.columns.get_mut(wanted.name) else { return Ok(()) };
        let types = column.types.and(wanted.types(Some(column)));
        if types == column.types {
            return Ok(());
        }
        column.types = types;
        let update = self.statement(&self.sql.types).bind(wanted.name.as_bytes().to_vec(), Type::BYTEA);
        update.bind(types.0, Type::INT8).ask(self.client).await?;
        Ok(())
    }

    async fn index(&mut self, name: &str) -> Result<(), Refusal> {
        let Some(column) = self.table.columns.get(name).filter(|column| !column.indexed) else { return Ok(()) };
        let Some(column_name) = &column.name else { return Ok(()) };
        let (table, column_name) = (self.table_name(), quoted(column_name));
        if column.column_type == Some(ColumnType::Text) {
            // An index has no place for long texts. Those that come later are kept out of the table.
            let longest = super::place::LONGEST_INDEXED;
            let sql = format!("SELECT FROM {table} WHERE octet_length({column_name}) > {longest} LIMIT 1");
            if !Statement::raw(sql).ask(self.client).await?.is_empty() {
                return Ok(());
            }
        }
        self.client.batch_execute(&format!("CREATE INDEX ON {table} ({column_name})")).await?;
        let update = self.statement(&self.sql.indexed).bind(name.as_bytes().to_vec(), Type::BYTEA);
        update.ask(self.client).await?;
        if let Some(column) = self.table.columns.get_mut(name) {
            column.indexed = true;
        }
        Ok(())
    }
}
