//! The tables of a database.

use rusqlite::Connection;

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
CREATE TABLE changes (number INTEGER PRIMARY KEY, writer INTEGER NOT NULL, key BLOB NOT NULL);

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
