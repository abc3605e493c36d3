//! One change of a row, with all that follows from it, in the transaction of the caller.

use rusqlite::{Connection, OptionalExtension, params};

use super::custom;
use crate::clock::{Timestamp, monotonic_micros};
use crate::index::backend::{Applied, Change, Facts};

/// So many changes are remembered at least, for handles that ask what others have changed.
pub(super) const REMEMBERED: i64 = 4096;
/// Older ones go all at once, now and then.
pub(super) const FORGET_EVERY: i64 = 512;
/// What a row takes beside its bytes: its key, which stands in four trees, and its places in the others.
const ROW_OVERHEAD: u64 = 256;
/// What one entry may count with, so that sums of them fit.
const LARGEST: u64 = 1 << 48;

/// What a change finds.
struct There {
    id: i64,
    row: Vec<u8>,
    created_at: i64,
    used_at: Option<i64>,
    /// Of how many kinds there is custom metadata beside it.
    kinds: i64,
}

fn there(connection: &Connection, key: &[u8]) -> rusqlite::Result<Option<There>> {
    let mut select =
        connection.prepare_cached("SELECT id, row, created_at, used_at, kinds FROM entries WHERE key = ?1")?;
    let there = select.query_row([key], |row| {
        Ok(There {
            id: row.get(0)?,
            row: row.get_ref(1)?.as_blob()?.to_vec(),
            created_at: row.get(2)?,
            used_at: row.get(3)?,
            kinds: row.get(4)?,
        })
    });
    there.optional()
}

/// The handle that makes a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing {
    pub(super) number: i64,
    /// Whether other handles have written lately.
    pub(super) has_neighbours: bool,
}

/// Makes a change. `take_use` takes what is known of the use of its row and not written yet; `writer` is the handle that makes
/// it, where others are to be told.
pub(super) fn apply(
    connection: &Connection,
    change: &Change<'_>,
    writer: Option<Writing>,
    take_use: impl FnOnce() -> Option<i64>,
) -> rusqlite::Result<Applied> {
    let unsettled = match writer {
        Some(writer) if writer.has_neighbours => is_unsettled(connection, change.key)?,
        _ => false,
    };
    make(connection, change, writer, take_use).map(|applied| Applied { unsettled, ..applied })
}

fn make(
    connection: &Connection,
    change: &Change<'_>,
    writer: Option<Writing>,
    take_use: impl FnOnce() -> Option<i64>,
) -> rusqlite::Result<Applied> {
    let there = there(connection, change.key)?;
    if !change.expected.is_met_by(there.as_ref().map(|there| &there.row[..])) {
        return Ok(Applied::NOT_MADE);
    }
    match (change.row, &there) {
        (None, None) => return Ok(Applied::made(None)),
        (None, Some(there)) => {
            // What belongs to it goes with it.
            connection.prepare_cached("DELETE FROM entries WHERE id = ?1")?.execute([there.id])?;
            take_use();
        }
        (Some((row, facts)), None) => {
            take_use();
            insert(connection, change.key, row, facts)?;
            add_groups(connection, change.key, &facts.groups)?;
            custom::add(connection, change.key, &facts.custom)?;
        }
        (Some((row, facts)), Some(there)) => {
            let same = there.created_at == facts.created_at.as_micros();
            let used_at = take_use().or(there.used_at).filter(|_| same);
            update(connection, there.id, used_at, row, facts)?;
            change_groups(connection, change.key, &facts.groups)?;
            if there.kinds > 0 {
                custom::remove(connection, change.key)?;
            }
            custom::add(connection, change.key, &facts.custom)?;
        }
    }
    if let Some(writer) = writer {
        note_change(connection, change.key, writer.number)?;
    }
    Ok(Applied::made(there.map(|there| there.row)))
}

fn note_change(connection: &Connection, key: &[u8], writer: i64) -> rusqlite::Result<()> {
    let mut note = connection.prepare_cached("INSERT INTO changes (writer, at, key) VALUES (?1, ?2, ?3)")?;
    let number = note.insert(params![writer, monotonic_micros(), key])?;
    if number % FORGET_EVERY == 0 {
        connection.prepare_cached("DELETE FROM changes WHERE number <= ?1")?.execute([number - REMEMBERED])?;
    }
    Ok(())
}

/// Whether the row was changed so lately that the change may not be acknowledged yet.
fn is_unsettled(connection: &Connection, key: &[u8]) -> rusqlite::Result<bool> {
    let mut last = connection.prepare_cached("SELECT at, key FROM changes ORDER BY number DESC")?;
    let (mut rows, now) = (last.query([])?, monotonic_micros());
    for _ in 0..MOST_LOOKED_AT {
        let Some(row) = rows.next()? else { return Ok(false) };
        // One of a time to come is from before the system was started anew.
        let at: i64 = row.get(0)?;
        if !(now - UNSETTLED_MICROS..=now).contains(&at) {
            return Ok(false);
        }
        if row.get_ref(1)?.as_blob()? == key {
            return Ok(true);
        }
    }
    // To wait is right in any case.
    Ok(true)
}

/// By then a change is committed and acknowledged, unless its process was stopped.
pub(super) const UNSETTLED_MICROS: i64 = 1_000_000;
const MOST_LOOKED_AT: usize = 1024;

fn footprint(row: &[u8], facts: &Facts) -> i64 {
    footprint_of(row.len() as u64, facts.blob_bytes).min(LARGEST).cast_signed()
}

pub(super) fn footprint_of(row: u64, blob: u64) -> u64 {
    row.saturating_add(ROW_OVERHEAD).saturating_add(blob)
}

fn blob_bytes(facts: &Facts) -> i64 {
    facts.blob_bytes.min(LARGEST).cast_signed()
}

fn insert(connection: &Connection, key: &[u8], row: &[u8], facts: &Facts) -> rusqlite::Result<()> {
    const SQL: &str = "INSERT INTO entries (key, created_at, expires_at, blob_bytes, footprint, kinds, row) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let expires_at = facts.expires_at.map(Timestamp::as_micros);
    let created_at = facts.created_at.as_micros();
    let (footprint, kinds) = (footprint(row, facts), facts.custom.len() as i64);
    let params = params![key, created_at, expires_at, blob_bytes(facts), footprint, kinds, row];
    connection.prepare_cached(SQL)?.execute(params).map(drop)
}

fn update(connection: &Connection, id: i64, used_at: Option<i64>, row: &[u8], facts: &Facts) -> rusqlite::Result<()> {
    const SQL: &str = "UPDATE entries SET created_at = ?2, expires_at = ?3, used_at = ?4, blob_bytes = ?5, footprint = ?6, \
                       kinds = ?7, row = ?8 WHERE id = ?1";
    let expires_at = facts.expires_at.map(Timestamp::as_micros);
    let created_at = facts.created_at.as_micros();
    let (footprint, kinds) = (footprint(row, facts), facts.custom.len() as i64);
    let params = params![id, created_at, expires_at, used_at, blob_bytes(facts), footprint, kinds, row];
    connection.prepare_cached(SQL)?.execute(params).map(drop)
}

fn add_groups(connection: &Connection, key: &[u8], groups: &[u64]) -> rusqlite::Result<()> {
    if groups.is_empty() {
        return Ok(());
    }
    let mut add = connection.prepare_cached("INSERT OR IGNORE INTO groups (number, entry_key) VALUES (?1, ?2)")?;
    groups.iter().try_for_each(|group| add.execute(params![group.cast_signed(), key]).map(drop))
}

fn change_groups(connection: &Connection, key: &[u8], groups: &[u64]) -> rusqlite::Result<()> {
    let mut select = connection.prepare_cached("SELECT number FROM groups WHERE entry_key = ?1 ORDER BY number")?;
    let there: Vec<i64> = select.query_map([key], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut wanted: Vec<i64> = groups.iter().map(|group| group.cast_signed()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if there == wanted {
        return Ok(());
    }
    connection.prepare_cached("DELETE FROM groups WHERE entry_key = ?1")?.execute([key])?;
    add_groups(connection, key, groups)
}

// The tables of a database.

/// `chns`: tells a database of ours from that of another program.
pub(super) const APPLICATION: i64 = 0x6368_6e73;
/// Of the tables below. Another layout is another number.
pub(super) const VERSION: i64 = 1;

/// A row is large beside its key, so that rows lie in a tree by number and the order of keys is an index. The bytes of a row
/// come last: what stands before is found without them.
///
/// The totals follow by triggers, and what belongs to a row goes with it, also where somebody removes rows by another tool.
const TABLES: &str = "
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    used_at INTEGER,
    blob_bytes INTEGER NOT NULL,
    footprint INTEGER NOT NULL,
    kinds INTEGER NOT NULL,
    row BLOB NOT NULL
);
CREATE INDEX entries_by_creation ON entries (created_at, key);
CREATE INDEX entries_by_expiry ON entries (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX entries_by_use ON entries (ifnull(used_at, created_at));

CREATE TABLE groups (
    number INTEGER NOT NULL,
    entry_key BLOB NOT NULL REFERENCES entries (key) ON DELETE CASCADE,
    PRIMARY KEY (number, entry_key)
) WITHOUT ROWID;
CREATE INDEX groups_by_entry ON groups (entry_key);

CREATE TABLE totals (entries INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO totals VALUES (0, 0);
CREATE TRIGGER entries_inserted AFTER INSERT ON entries BEGIN
    UPDATE totals SET entries = entries + 1, bytes = bytes + new.footprint;
END;
CREATE TRIGGER entries_deleted AFTER DELETE ON entries BEGIN
    UPDATE totals SET entries = entries - 1, bytes = bytes - old.footprint;
END;
CREATE TRIGGER entries_resized AFTER UPDATE OF footprint ON entries WHEN new.footprint <> old.footprint BEGIN
    UPDATE totals SET bytes = bytes + new.footprint - old.footprint;
END;

CREATE TABLE state (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE changes (number INTEGER PRIMARY KEY, writer INTEGER NOT NULL, at INTEGER NOT NULL, key BLOB NOT NULL);

CREATE TABLE kinds (name TEXT PRIMARY KEY, table_name TEXT NOT NULL UNIQUE COLLATE NOCASE) WITHOUT ROWID;
CREATE TABLE kind_columns (
    kind TEXT NOT NULL REFERENCES kinds (name),
    name TEXT NOT NULL,
    column_name TEXT COLLATE NOCASE,
    types INTEGER NOT NULL,
    indexed INTEGER NOT NULL,
    PRIMARY KEY (kind, name),
    UNIQUE (kind, column_name)
) WITHOUT ROWID;
";

/// Makes the tables, in the transaction of the caller.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", VERSION)
}

/// Looks at the beginning of each table: a file of which a part is missing is found here.
pub(super) fn check(connection: &Connection) -> rusqlite::Result<()> {
    for table in ["entries", "groups", "totals", "state", "changes", "kinds", "kind_columns"] {
        connection.prepare(&format!("SELECT * FROM {table} LIMIT 1"))?.exists([])?;
    }
    connection.query_row("SELECT entries FROM totals", [], |_| Ok(()))
}
