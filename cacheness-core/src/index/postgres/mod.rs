//! A metadata backend over PostgreSQL: rows in the schema of a database that many machines share.
//!
//! A read is one statement and one round trip. Changes are one transaction whose statements are sent together, with all that
//! follows from them: places in the orders, groups, custom metadata, totals, and lines in `changes`, by which other handles
//! know what they must not believe any longer.

mod custom;
mod one;
mod place;
mod rows;
mod schema;
#[cfg(test)]
mod select_tests;
mod server;
#[cfg(test)]
mod tests;
#[cfg(feature = "postgresql-tls")]
mod tls;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row as Found};

use super::backend::{Applied, Change, Changes, MetadataBackend, Row, Scan, Swap, Totals, Traits};
use super::columns::quoted;
use super::guard::Known;
use super::handle::{Uses, Writer, batch_of, behind, limit_of};
use crate::clock::Timestamp;
use crate::config::backends::BackendOptions;
use crate::config::postgresql::PostgresOptions;
use crate::config::servers::TLS_CA_FILE;
use crate::error::{ErrorKind, Result};
use crate::query::{Filter, Schema};
use crate::util::remote::Call;
use custom::Kinds;
use rows::{Plan, shard_of};
use server::{Around, Lane, Server, Statement};

/// So many changes are remembered at least, for handles that ask what others have changed.
const REMEMBERED: i64 = 4096;
/// After so many of its own a handle forgets older ones.
const FORGET_EVERY: u64 = 512;
/// More changed keys than this are not told one by one.
const MOST_TOLD: i64 = 10_000;

const READ: Call = Call::new(ErrorKind::Metadata, "read rows from PostgreSQL");
const WRITE: Call = Call::new(ErrorKind::Metadata, "change rows in PostgreSQL");
const SCAN: Call = Call::new(ErrorKind::Metadata, "scan rows in PostgreSQL");
const COUNT: Call = Call::new(ErrorKind::Metadata, "count rows in PostgreSQL");
const USES: Call = Call::new(ErrorKind::Metadata, "note uses of rows in PostgreSQL");
const STATE: Call = Call::new(ErrorKind::Metadata, "read or change a state in PostgreSQL");
const FOLLOW: Call = Call::new(ErrorKind::Metadata, "read changes from PostgreSQL");
const FLUSH: Call = Call::new(ErrorKind::Metadata, "flush rows in PostgreSQL");

const QUICK: (Lane, Around) = (Lane::Fast, Around::Nothing);
const LONG: (Lane, Around) = (Lane::Slow, Around::Snapshot);

/// Rows in a PostgreSQL database.
pub(crate) struct PostgresMetadata {
    server: Server,
    namespace: String,
    writer: Writer,
    uses: Uses,
    kinds: Kinds,
    /// Whether something was changed that may not be on the disk of the server yet.
    unflushed: AtomicBool,
    /// Changes since older ones were forgotten.
    changes: AtomicU64,
    /// What all rows took after the last change of this handle; `u64::MAX` before the first one.
    bytes: AtomicU64,
}

impl fmt::Debug for PostgresMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a password.
        f.debug_struct("PostgresMetadata").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl PostgresMetadata {
    pub(super) const KNOWN: Known = Known {
        traits: Traits::new("postgresql").persistent().shared().waits().columns(),
        footprint: rows::footprint_of,
    };

    /// Opens the tables of a namespace in the database that the options name, or makes them.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if an option makes no sense, or the database cannot have the tables;
    /// [`Conflict`](ErrorKind::Conflict) if the schema belongs to another program or another release;
    /// [`Metadata`](ErrorKind::Metadata) if the server cannot be reached.
    pub(crate) fn open(options: &BackendOptions) -> Result<Self> {
        let settings = PostgresOptions::of(options)?;
        let namespace = settings.namespace.clone();
        let server = Server::new(settings).map_err(|rule| options.refused(TLS_CA_FILE, &rule))?;
        schema::open(&server, &namespace)?;
        Ok(Self {
            server,
            namespace,
            writer: Writer::new(),
            uses: Uses::default(),
            kinds: Kinds::default(),
            unflushed: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            bytes: AtomicU64::new(u64::MAX),
        })
    }

    fn rows(&self, statement: Statement) -> Result<Vec<Row>> {
        let found = self.server.ask_one(SCAN, LONG, statement)?;
        rows_of(&found).map(|rows| self.uses.told(rows)).map_err(|error| SCAN.failed(error))
    }

    /// Writes the uses that wait. Rows that others are writing meanwhile are passed over.
    fn uses_statement(&self) -> Option<Statement> {
        const SQL: &str = "
            UPDATE @.entries e SET used_at = u.at FROM (
                SELECT e.key, u.at FROM unnest($1, $2) AS u (key, at) JOIN @.entries e ON e.key = u.key
                WHERE e.created_at <= u.at ORDER BY e.key FOR UPDATE OF e SKIP LOCKED
            ) AS u WHERE e.key = u.key";
        let uses = self.uses.take_all();
        if uses.is_empty() {
            return None;
        }
        let (keys, times): (Vec<_>, Vec<_>) = uses.into_iter().unzip();
        Some(self.server.statement(SQL).bind(keys, Type::BYTEA_ARRAY).bind(times, Type::INT8_ARRAY))
    }

    fn write_uses(&self) -> Result<()> {
        let Some(statement) = self.uses_statement() else { return Ok(()) };
        self.server.ask(USES, (Lane::Slow, Around::Write), vec![statement]).map(drop)
    }

    /// Forgets changes that nobody will ask for, if there are many new ones.
    fn forget_statement(&self) -> Option<Statement> {
        const SQL: &str = "
            WITH last AS (SELECT tx FROM @.changes ORDER BY tx DESC, n DESC OFFSET $1 LIMIT 1),
            gone AS (DELETE FROM @.changes c USING last WHERE c.tx < last.tx)
            UPDATE @.cacheness SET forgotten = greatest(forgotten, last.tx) FROM last";
        if self.changes.load(Ordering::Relaxed) < FORGET_EVERY {
            return None;
        }
        self.changes.store(0, Ordering::Relaxed);
        Some(self.server.statement(SQL).bind(REMEMBERED, Type::INT8))
    }

    fn apply_batch(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>> {
        self.unflushed.store(true, Ordering::SeqCst);
        self.changes.fetch_add(changes.len() as u64, Ordering::Relaxed);
        let (applied, bytes) = match one::only(changes) {
            Some(change) => self.apply_one(change).map(|(applied, bytes)| (vec![applied], bytes))?,
            None => self.apply_many(changes)?,
        };
        if let Some(bytes) = bytes {
            self.bytes.store(bytes, Ordering::SeqCst);
        }
        for (change, applied) in changes.iter().zip(&applied) {
            if applied.made {
                self.uses.take(change.key);
            }
        }
        Ok(applied)
    }

    fn apply_one(&self, change: &Change<'_>) -> Result<(Applied, Option<u64>)> {
        let statements = one::statements(&self.server, change, self.writer.number(), &self.uses);
        let found = self.server.ask(WRITE, (Lane::Fast, one::around(change)), statements)?;
        one::applied(&found).map_err(|error| WRITE.failed(error))
    }

    fn apply_many(&self, changes: &[Change<'_>]) -> Result<(Vec<Applied>, Option<u64>)> {
        self.kinds.prepare(&self.server, &self.namespace, changes)?;
        let plan = Plan::of(&self.server, changes, self.writer.number(), &self.uses, &self.kinds);
        let (statements, tellers, count) = plan.into_parts();
        let lane = if changes.len() > 1 { Lane::Slow } else { Lane::Fast };
        let found = self.server.ask(WRITE, (lane, Around::Write), statements).inspect_err(|_| self.kinds.forget())?;
        let told = Plan::applied(&tellers, count, &found).and_then(|applied| Ok((applied, Plan::bytes(&found)?)));
        told.map_err(|error| WRITE.failed(error))
    }
}

/// Rows as they come from a statement: key, bytes and last use.
fn rows_of(found: &[Found]) -> Result<Vec<Row>, Error> {
    let row = |found: &Found| {
        let used_at = found.try_get::<_, Option<i64>>(2)?.map(Timestamp::from_micros);
        Ok(Row { used_at, ..Row::new(found.try_get::<_, &[u8]>(0)?.into(), found.try_get(1)?) })
    };
    found.iter().map(row).collect()
}

impl MetadataBackend for PostgresMetadata {
    fn traits(&self) -> Traits {
        Self::KNOWN.traits
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let statement = self.server.statement("SELECT content FROM @.entries WHERE key = $1");
        let found = self.server.ask_one(READ, QUICK, statement.bind(key.to_vec(), Type::BYTEA))?;
        found.first().map(|row| row.try_get(0)).transpose().map_err(|error| READ.failed(error))
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let statement = self.server.statement(
            "SELECT e.content FROM unnest($1) WITH ORDINALITY AS w (key, n) LEFT JOIN @.entries e ON e.key = w.key \
             ORDER BY w.n",
        );
        let wanted: Vec<_> = keys.iter().map(|key| key.to_vec()).collect();
        let found =
            self.server.ask_one(READ, (Lane::Slow, Around::Nothing), statement.bind(wanted, Type::BYTEA_ARRAY))?;
        found.iter().map(|row| row.try_get(0)).collect::<Result<_, Error>>().map_err(|error| READ.failed(error))
    }

    fn apply(&self, mut changes: &[Change<'_>]) -> Result<Vec<Applied>> {
        let mut applied = Vec::with_capacity(changes.len());
        while !changes.is_empty() {
            let (batch, rest) = changes.split_at(batch_of(changes));
            applied.extend(self.apply_batch(batch).inspect_err(|_| self.writer.renew())?);
            changes = rest;
        }
        Ok(applied)
    }

    fn page(&self, scan: &Scan<'_>, limit: usize) -> Result<Vec<Row>> {
        let limit = limit_of(limit);
        let sql =
            |sql: &str| self.server.statement(&format!("SELECT e.key, e.content, e.used_at FROM @.entries e {sql}"));
        let bytes = |after: Option<&[u8]>| after.unwrap_or_default().to_vec();
        let statement = match *scan {
            Scan::Keys { after } => sql("WHERE e.key > $1 ORDER BY e.key LIMIT $2").bind(bytes(after), Type::BYTEA),
            Scan::Prefix(prefix) => match behind(prefix) {
                Some(end) => sql("WHERE e.key >= $1 AND e.key < $2 ORDER BY e.key LIMIT $3")
                    .bind(prefix.to_vec(), Type::BYTEA)
                    .bind(end, Type::BYTEA),
                None => sql("WHERE e.key >= $1 ORDER BY e.key LIMIT $2").bind(prefix.to_vec(), Type::BYTEA),
            },
            Scan::Expired { now } => {
                sql("WHERE e.expires_at <= $1 ORDER BY e.expires_at LIMIT $2").bind(now.as_micros(), Type::INT8)
            }
            Scan::LeastUsed => {
                self.write_uses()?;
                sql("ORDER BY coalesce(e.used_at, e.created_at) LIMIT $1")
            }
            Scan::Newest { before: None } => sql("ORDER BY e.created_at DESC, e.key DESC LIMIT $1"),
            Scan::Newest { before: Some((at, key)) } => {
                sql("WHERE (e.created_at, e.key) < ($1, $2) ORDER BY e.created_at DESC, e.key DESC LIMIT $3")
                    .bind(at.as_micros(), Type::INT8)
                    .bind(key.to_vec(), Type::BYTEA)
            }
            Scan::Group { group, after } => {
                sql("JOIN @.groups g ON g.entry_key = e.key WHERE g.number = $1 AND g.entry_key > $2 \
                 ORDER BY g.entry_key LIMIT $3")
                .bind(group.cast_signed(), Type::INT8)
                .bind(bytes(after), Type::BYTEA)
            }
        };
        self.rows(statement.bind(limit, Type::INT8))
    }

    fn keys(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<std::sync::Arc<[u8]>>> {
        let statement = self
            .server
            .statement("SELECT key FROM @.entries WHERE key > $1 ORDER BY key LIMIT $2")
            .bind(after.unwrap_or_default().to_vec(), Type::BYTEA)
            .bind(limit_of(limit), Type::INT8);
        let found = self.server.ask_one(SCAN, LONG, statement)?;
        let key = |row: &Found| row.try_get::<_, &[u8]>(0).map(Into::into);
        found.iter().map(key).collect::<Result<_, Error>>().map_err(|error| SCAN.failed(error))
    }

    fn select(&self, kind: &str, filter: &Filter, after: Option<&[u8]>, limit: usize) -> Result<Option<Vec<Row>>> {
        let rows = self.kinds.select(&self.server, (kind, filter), after, limit)?;
        Ok(rows.map(|rows| self.uses.told(rows)))
    }

    fn define(&self, schema: &Schema) -> Result<()> {
        self.kinds.define(&self.server, &self.namespace, schema)
    }

    fn used(&self, uses: &[(&[u8], Timestamp)]) -> Result<()> {
        self.uses.note(uses);
        // By a call of its own, for which nobody waits.
        if uses.is_empty() { self.write_uses() } else { Ok(()) }
    }

    fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>> {
        let statement = self.server.statement("SELECT used_at FROM @.entries WHERE key = $1");
        let found = self.server.ask_one(READ, QUICK, statement.bind(key.to_vec(), Type::BYTEA))?;
        let Some(row) = found.first() else { return Ok(None) };
        let stored: Option<i64> = row.try_get(0).map_err(|error| READ.failed(error))?;
        Ok(self.uses.of(key).or(stored).map(Timestamp::from_micros))
    }

    fn totals(&self) -> Result<Totals> {
        let statement = self.server.statement(
            "SELECT sum(entries)::bigint, sum(bytes)::bigint, (SELECT min(created_at) FROM @.entries), \
             (SELECT max(created_at) FROM @.entries) FROM @.totals",
        );
        let found = self.server.ask_one(COUNT, QUICK, statement)?;
        let told = |row: &Found| {
            let time = |at| Ok(row.try_get::<_, Option<i64>>(at)?.map(Timestamp::from_micros));
            let number =
                |at| Ok(row.try_get::<_, Option<i64>>(at)?.and_then(|sum| u64::try_from(sum).ok()).unwrap_or(0));
            let created = time(2)?.zip(time(3)?);
            Ok(Totals { entries: number(0)?, bytes: number(1)?, created, lost: 0 })
        };
        let totals = found.first().map(told).transpose();
        totals.map(Option::unwrap_or_default).map_err(|error: Error| COUNT.failed(error))
    }

    fn bytes(&self) -> Result<u64> {
        match self.bytes.load(Ordering::SeqCst) {
            u64::MAX => Ok(self.totals()?.bytes),
            bytes => Ok(bytes),
        }
    }

    fn footprint(&self, row: u64, blob: u64) -> u64 {
        rows::footprint_of(row, blob)
    }

    fn state(&self, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> {
        let named = |sql: &str| self.server.statement(sql).bind(name.to_owned(), Type::TEXT);
        let put = |statement: Statement, value: &[u8]| statement.bind(value.to_vec(), Type::BYTEA);
        let change = match swap {
            None | Some(Swap { expected: None, new: None }) => None,
            Some(Swap { expected: None, new: Some(new) }) => {
                Some(put(named("INSERT INTO @.state (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING"), new))
            }
            Some(Swap { expected: Some(expected), new: Some(new) }) => {
                let update = named("UPDATE @.state SET value = $3 WHERE name = $1 AND value = $2");
                Some(put(put(update, expected), new))
            }
            Some(Swap { expected: Some(expected), new: None }) => {
                Some(put(named("DELETE FROM @.state WHERE name = $1 AND value = $2"), expected))
            }
        };
        let around = if change.is_some() { Around::Write } else { Around::Nothing };
        if change.is_some() {
            self.unflushed.store(true, Ordering::SeqCst);
        }
        let look = named("SELECT value FROM @.state WHERE name = $1");
        let found = self.server.ask(STATE, (Lane::Fast, around), change.into_iter().chain([look]).collect())?;
        let row = found.last().and_then(|rows| rows.first());
        row.map(|row| row.try_get(0)).transpose().map_err(|error| STATE.failed(error))
    }

    /// Transactions get their numbers when they begin to write, and commit in another order. So all that is there from the
    /// oldest one on that had not ended when the mark was made is told, some of it twice.
    fn epoch(&self) -> u64 {
        self.server.reconnections()
    }

    fn changes(&self, since: u64) -> Result<Changes> {
        let statement = self
            .server
            .statement(
                "SELECT pg_snapshot_xmin(s)::text::bigint, (SELECT forgotten FROM @.cacheness), \
                 ARRAY(SELECT DISTINCT key FROM @.changes WHERE tx >= $1 AND writer <> $2 LIMIT $3) \
                 FROM pg_current_snapshot() AS s",
            )
            .bind(i64::try_from(since).unwrap_or(i64::MAX), Type::INT8)
            .bind(self.writer.number(), Type::INT8)
            .bind(MOST_TOLD + 1, Type::INT8);
        let found = self.server.ask_one(FOLLOW, QUICK, statement)?;
        let told = |row: &Found| {
            let (mark, forgotten): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let (mark, forgotten) = (mark.unsigned_abs(), forgotten.unsigned_abs());
            // A mark of a time to come is one of another server.
            let known = (forgotten..=mark).contains(&since) && since > 0;
            let keys = if known { Some(row.try_get::<_, Vec<Vec<u8>>>(2)?) } else { None };
            Ok(Changes { mark, keys: keys.filter(|keys| keys.len() as i64 <= MOST_TOLD) })
        };
        let changes = found.first().map(told).transpose().map_err(|error: Error| FOLLOW.failed(error))?;
        Ok(changes.unwrap_or(Changes::UNKNOWN))
    }

    fn flush(&self) -> Result<()> {
        let statements: Vec<_> = self.uses_statement().into_iter().chain(self.forget_statement()).collect();
        if !statements.is_empty()
            && let Err(error) = self.server.ask(USES, (Lane::Slow, Around::Write), statements)
        {
            if error.is_closed() {
                return Err(error);
            }
            log::debug!("the uses of entries are not noted: {error}");
        }
        if !self.unflushed.swap(false, Ordering::SeqCst) {
            return self.server.check_open();
        }
        // A commit that waits for the disk has all earlier ones there, too.
        let touch = self.server.statement("UPDATE @.totals SET entries = entries WHERE shard = $1");
        let touch = touch.bind(shard_of(self.writer.number()), Type::INT4);
        let flushed = self.server.ask(FLUSH, (Lane::Slow, Around::Durable), vec![touch]);
        flushed.map(drop).inspect_err(|_| self.unflushed.store(true, Ordering::SeqCst))
    }

    fn close(&self) -> Result<()> {
        if self.server.is_closed() {
            return Ok(());
        }
        let flushed = self.flush();
        self.server.close();
        flushed
    }
}
