//! One change of a row, with all that follows from it, in the transaction of the caller.

use rusqlite::{Connection, OptionalExtension, params};

use super::custom;
use crate::clock::Timestamp;
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

/// Makes a change. `take_use` takes what is known of the use of its row and not written yet; `writer` is the handle that makes
/// it, where others are to be told.
pub(super) fn apply(
    connection: &Connection,
    change: &Change<'_>,
    writer: Option<i64>,
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
        note_change(connection, change.key, writer)?;
    }
    Ok(Applied::made(there.map(|there| there.row)))
}

fn note_change(connection: &Connection, key: &[u8], writer: i64) -> rusqlite::Result<()> {
    let mut note = connection.prepare_cached("INSERT INTO changes (writer, key) VALUES (?1, ?2)")?;
    let number = note.insert(params![writer, key])?;
    if number % FORGET_EVERY == 0 {
        connection.prepare_cached("DELETE FROM changes WHERE number <= ?1")?.execute([number - REMEMBERED])?;
    }
    Ok(())
}

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
