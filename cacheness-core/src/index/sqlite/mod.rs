//! A metadata backend over SQLite: rows in a file that several processes share, or in memory.
//!
//! Every change is one transaction with all that follows from it: places in the orders, groups, totals, and a line in
//! `changes`, by which other handles know what they must not believe any longer. A commit survives the end of the process
//! at once, and a power cut from the next flush on.

mod custom;
mod open;
mod pool;
mod rows;
#[cfg(test)]
mod select_tests;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, Params, params, params_from_iter};

use super::backend::{Applied, Change, Changes, MetadataBackend, Row, Scan, Swap, Totals, Traits};
use super::columns::quoted;
use super::handle::{Uses, Writer, behind, limit_of};
use crate::clock::{Timestamp, monotonic_micros};
use crate::config::backends::BackendOptions;
use crate::config::sqlite::SqliteOptions;
use crate::error::{CacheError, ErrorKind, Result};
use crate::query::{Filter, Schema};
use crate::util::threads::lock;
use open::DatabaseFile;
use pool::Pool;

/// Commits of so many pages are brought into the database by a flush, and no fewer.
const CHECKPOINT_PAGES: i64 = 1000;

/// Rows in a SQLite database.
#[derive(Debug)]
pub(crate) struct SqliteMetadata {
    pool: Arc<Pool>,
    /// Tells the changes of this handle from those of others.
    writer: Writer,
    uses: Uses,
    others: Mutex<Others>,
    /// Whether a sync has failed: what it was to bring to the disk may be lost, though the next one says nothing.
    unsynced: AtomicBool,
}

/// When others were last seen to have written.
#[derive(Debug, Default)]
struct Others {
    version: i64,
    seen: i64,
}

impl SqliteMetadata {
    /// Opens the database in the directory of the options, or the one that they name.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if an option makes no sense; [`Storage`](ErrorKind::Storage) if the file cannot be read
    /// or written, or lies on a network; [`Conflict`](ErrorKind::Conflict) if it belongs to another program or a newer
    /// release; [`Locked`](ErrorKind::Locked) if another process holds it for too long. Damage of the database in the
    /// directory is not an error: it is set aside, with one warning.
    pub(crate) fn open(options: &BackendOptions) -> Result<Self> {
        let settings = SqliteOptions::of(options)?;
        Ok(Self::over(open::open(|| options.dir().map(std::path::Path::to_path_buf), &settings)?))
    }

    /// Rows in memory, which end with the handle.
    pub(crate) fn in_memory() -> Result<Self> {
        Ok(Self::over(open::in_memory()?))
    }

    fn over(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            writer: Writer::new(),
            uses: Uses::default(),
            others: Mutex::default(),
            unsynced: AtomicBool::new(false),
        }
    }

    /// Writes the uses that wait.
    fn write_uses(&self) -> Result<()> {
        let uses = self.uses.take_all();
        if uses.is_empty() {
            return Ok(());
        }
        self.pool.write(|connection| {
            // A use from before the creation was one of another value of this key.
            let mut update =
                connection.prepare_cached("UPDATE entries SET used_at = ?2 WHERE key = ?1 AND created_at <= ?2")?;
            uses.iter().try_for_each(|(key, at)| update.execute(params![key, at]).map(drop))
        })
    }

    fn rows(&self, sql: &str, params: impl Params) -> Result<Vec<Row>> {
        self.pool.read(|connection| rows_of(connection, sql, params)).map(|rows| self.uses.told(rows))
    }

    /// Whether others have written in the time in which a change may not be acknowledged yet.
    fn have_others_written(&self, connection: &Connection) -> rusqlite::Result<bool> {
        // Changes with each commit of another connection.
        let version: i64 = connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        let (mut others, now) = (lock(&self.others), monotonic_micros());
        if others.version != version {
            *others = Others { version, seen: now };
        }
        Ok(now - others.seen <= rows::UNSETTLED_MICROS)
    }

    /// Brings what was committed to the disk.
    fn sync(&self, file: &DatabaseFile) -> Result<()> {
        // The log is no file that SQLite locks: to open and close it takes nobody's lock away.
        // Some systems sync only what may be written.
        let synced = match File::options().write(true).open(file.wal()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => opened.and_then(|wal| wal.sync_data()),
        };
        if let Err(error) = synced {
            self.unsynced.store(true, Ordering::SeqCst);
            let message = format!("cannot bring {} to the disk: {error}", file.wal().display());
            return Err(CacheError::caused_by(ErrorKind::Storage, message, error));
        }
        if self.unsynced.load(Ordering::SeqCst) {
            // Written anew, to another file.
            let (busy, in_log, in_database) = self.checkpoint("FULL")?;
            if busy || in_database < in_log {
                let message = format!("{} could not be written and is in use: it is tried again", file.wal().display());
                return Err(CacheError::new(ErrorKind::Storage, message));
            }
            self.unsynced.store(false, Ordering::SeqCst);
            return Ok(());
        }
        let (_, in_log, in_database) = self.checkpoint("NOOP")?;
        if in_log - in_database >= CHECKPOINT_PAGES {
            self.checkpoint("PASSIVE")?;
        }
        Ok(())
    }

    /// Brings commits from the log into the database. Whether somebody was in the way, and how many pages there are in the log,
    /// and of those in the database.
    fn checkpoint(&self, mode: &str) -> Result<(bool, i64, i64)> {
        self.pool.upkeep(|connection| {
            let mut statement = connection.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
            statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        })
    }
}

/// The rows that a statement gives: key, bytes and last use.
fn rows_of(connection: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params, |row| {
        let key: Arc<[u8]> = row.get_ref(0)?.as_blob()?.into();
        let used_at = row.get::<_, Option<i64>>(2)?.map(Timestamp::from_micros);
        Ok(Row { used_at, ..Row::new(key, row.get_ref(1)?.as_blob()?.to_vec()) })
    })?;
    rows.collect()
}

impl MetadataBackend for SqliteMetadata {
    fn traits(&self) -> Traits {
        match self.pool.place().is_memory() {
            true => Traits::new("sqlite_memory").columns(),
            false => Traits::new("sqlite").persistent().shared().columns(),
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.pool.read(|connection| row_of(connection, key))
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.pool.read(|connection| keys.iter().map(|key| row_of(connection, key)).collect())
    }

    fn apply(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>> {
        let number = (!self.pool.place().is_memory()).then(|| self.writer.number());
        self.pool.write(|connection| {
            let writer = match number {
                Some(number) => Some(rows::Writing { number, has_neighbours: self.have_others_written(connection)? }),
                None => None,
            };
            let apply = |change: &Change<'_>| {
                let take_use = || self.uses.take(change.key);
                rows::apply(connection, change, writer, take_use)
            };
            changes.iter().map(apply).collect()
        })
    }

    fn page(&self, scan: &Scan<'_>, limit: usize) -> Result<Vec<Row>> {
        let limit = limit_of(limit);
        match *scan {
            Scan::Keys { after } => self.rows(
                "SELECT key, row, used_at FROM entries WHERE key > ?1 ORDER BY key LIMIT ?2",
                params![after.unwrap_or_default(), limit],
            ),
            Scan::Prefix(prefix) => match behind(prefix) {
                Some(end) => self.rows(
                    "SELECT key, row, used_at FROM entries WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3",
                    params![prefix, end, limit],
                ),
                None => self.rows(
                    "SELECT key, row, used_at FROM entries WHERE key >= ?1 ORDER BY key LIMIT ?2",
                    params![prefix, limit],
                ),
            },
            Scan::Expired { now } => self.rows(
                "SELECT key, row, used_at FROM entries WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2",
                params![now.as_micros(), limit],
            ),
            Scan::LeastUsed => {
                self.write_uses()?;
                self.rows(
                    "SELECT key, row, used_at FROM entries ORDER BY ifnull(used_at, created_at) LIMIT ?1",
                    params![limit],
                )
            }
            Scan::Newest { before: None } => self.rows(
                "SELECT key, row, used_at FROM entries ORDER BY created_at DESC, key DESC LIMIT ?1",
                params![limit],
            ),
            Scan::Newest { before: Some((at, key)) } => self.rows(
                "SELECT key, row, used_at FROM entries WHERE (created_at, key) < (?1, ?2) \
                 ORDER BY created_at DESC, key DESC LIMIT ?3",
                params![at.as_micros(), key, limit],
            ),
            Scan::Group { group, after } => self.rows(
                "SELECT entries.key, entries.row, entries.used_at FROM groups \
                 CROSS JOIN entries ON entries.key = groups.entry_key \
                 WHERE groups.number = ?1 AND groups.entry_key > ?2 ORDER BY groups.entry_key LIMIT ?3",
                params![group.cast_signed(), after.unwrap_or_default(), limit],
            ),
        }
    }

    fn keys(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        self.pool.read(|connection| {
            let mut select =
                connection.prepare_cached("SELECT key FROM entries WHERE key > ?1 ORDER BY key LIMIT ?2")?;
            let params = params![after.unwrap_or_default(), limit_of(limit)];
            let keys = select.query_map(params, |row| Ok(Arc::from(row.get_ref(0)?.as_blob()?)))?;
            keys.collect()
        })
    }

    fn select(&self, kind: &str, filter: &Filter, after: Option<&[u8]>, limit: usize) -> Result<Option<Vec<Row>>> {
        self.pool
            .read(|connection| {
                // Table, types and rows as of one moment.
                let transaction = connection.unchecked_transaction()?;
                let Some(table) = custom::Table::of(&transaction, kind)? else { return Ok(Some(Vec::new())) };
                let Some(condition) = custom::condition(filter, kind, &table) else { return Ok(None) };
                let sql = format!(
                    "SELECT entries.key, entries.row, entries.used_at FROM {} AS c \
                     CROSS JOIN entries ON entries.key = c.entry_key \
                     WHERE c.entry_key > ? AND ({}) ORDER BY c.entry_key LIMIT ?",
                    quoted(&table.name),
                    condition.sql
                );
                let after = Sql::Blob(after.unwrap_or_default().to_vec());
                let values = [after].into_iter().chain(condition.values).chain([Sql::Integer(limit_of(limit))]);
                rows_of(&transaction, &sql, params_from_iter(values)).map(Some)
            })
            .map(|rows| rows.map(|rows| self.uses.told(rows)))
    }

    fn define(&self, schema: &Schema) -> Result<()> {
        if self.pool.read(|connection| custom::is_defined(connection, schema))? {
            return Ok(());
        }
        self.pool.write(|connection| custom::define(connection, schema))
    }

    fn used(&self, uses: &[(&[u8], Timestamp)]) -> Result<()> {
        let is_time = self.uses.note(uses);
        if is_time { self.write_uses() } else { Ok(()) }
    }

    fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>> {
        let stored = self.pool.read(|connection| {
            let mut select = connection.prepare_cached("SELECT used_at FROM entries WHERE key = ?1")?;
            select.query_row([key], |row| row.get::<_, Option<i64>>(0)).optional()
        })?;
        // Of a row that is not there nothing is known.
        let used_at = stored.map(|stored| self.uses.of(key).or(stored));
        Ok(used_at.flatten().map(Timestamp::from_micros))
    }

    fn totals(&self) -> Result<Totals> {
        const SQL: &str = "SELECT entries, bytes, (SELECT min(created_at) FROM entries), \
                           (SELECT max(created_at) FROM entries) FROM totals";
        self.pool.read(|connection| {
            connection.prepare_cached(SQL)?.query_row([], |row| {
                let time = |at: Option<i64>| at.map(Timestamp::from_micros);
                let number = |at| row.get::<_, i64>(at).map(|number| u64::try_from(number).unwrap_or(0));
                let created = time(row.get(2)?).zip(time(row.get(3)?));
                Ok(Totals { entries: number(0)?, bytes: number(1)?, created, lost: 0 })
            })
        })
    }

    fn footprint(&self, row: u64, blob: u64) -> u64 {
        rows::footprint_of(row, blob)
    }

    fn state(&self, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> {
        let there = |connection: &Connection| {
            let mut select = connection.prepare_cached("SELECT value FROM state WHERE name = ?1")?;
            select.query_row([name], |row| row.get::<_, Vec<u8>>(0)).optional()
        };
        let Some(swap) = swap else { return self.pool.read(there) };
        self.pool.write(|connection| {
            let before = there(connection)?;
            if before.as_deref() != swap.expected {
                return Ok(before);
            }
            match swap.new {
                Some(new) => {
                    let mut put =
                        connection.prepare_cached("INSERT OR REPLACE INTO state (name, value) VALUES (?1, ?2)")?;
                    put.execute(params![name, new])?;
                }
                None => drop(connection.prepare_cached("DELETE FROM state WHERE name = ?1")?.execute([name])?),
            }
            Ok(swap.new.map(<[u8]>::to_vec))
        })
    }

    fn changes(&self, since: u64) -> Result<Changes> {
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        let writer = self.writer.number();
        self.pool.read(|connection| {
            let last = "SELECT ifnull(max(number), 0) FROM changes";
            let mark = connection.prepare_cached(last)?.query_row([], |row| row.get::<_, i64>(0))?;
            let told = |keys| Changes { mark: mark.unsigned_abs(), keys };
            if mark == since {
                return Ok(told(Some(Vec::new())));
            }
            if mark < since {
                // It is another database than before.
                return Ok(told(None));
            }
            let mut select = connection.prepare_cached(
                "SELECT DISTINCT key FROM changes WHERE number > ?1 AND number <= ?2 AND writer <> ?3",
            )?;
            let keys = select.query_map(params![since, mark, writer], |row| row.get(0))?;
            let keys = keys.collect::<rusqlite::Result<Vec<_>>>()?;
            // Asked afterwards: what has been forgotten meanwhile may be missing above.
            let first = "SELECT ifnull(min(number), 0) FROM changes";
            let first = connection.prepare_cached(first)?.query_row([], |row| row.get::<_, i64>(0))?;
            Ok(told((first <= since + 1).then_some(keys)))
        })
    }

    fn flush(&self) -> Result<()> {
        self.pool.follow();
        if let Err(error) = self.write_uses() {
            if error.is_closed() {
                return Err(error);
            }
            log::debug!("the uses of entries are not noted: {error}");
        }
        match self.pool.place().file() {
            Some(file) => self.sync(file),
            None => self.pool.read(|_| Ok(())),
        }
    }

    fn close(&self) -> Result<()> {
        if self.pool.is_closed() {
            return Ok(());
        }
        let flushed = self.flush();
        if flushed.is_ok() && !self.pool.place().is_memory() {
            // So that the file is whole without what lies beside it, if nobody else is using it.
            let _ = self.pool.upkeep(|connection| {
                connection.busy_timeout(Duration::ZERO)?;
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            });
        }
        self.pool.close();
        flushed
    }
}

fn row_of(connection: &Connection, key: &[u8]) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut select = connection.prepare_cached("SELECT row FROM entries WHERE key = ?1")?;
    select.query_row([key], |row| Ok(row.get_ref(0)?.as_blob()?.to_vec())).optional()
}
