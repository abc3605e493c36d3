//! The tables of a schema, and how an opening finds or makes them.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

use super::server::Server;
use super::{QUICK, quoted};
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::digest;
use crate::util::remote::Call;

const OPEN: Call = Call::new(ErrorKind::Metadata, "open the tables in PostgreSQL");

/// Of the tables below. Another layout is another number.
const VERSION: i32 = 1;
/// `xid8` came with this one.
const OLDEST_SERVER: i32 = 130_000;
/// Totals are kept in so many parts, so that handles seldom wait for each other.
pub(super) const SHARDS: i64 = 16;
/// The class of our advisory locks: `chns`.
pub(super) const LOCKS: i32 = 0x6368_6e73;

/// `cacheness` tells a schema of ours from that of another program, and which changes are forgotten.
///
/// A change is one line in `changes`, written with it; `tx` is its transaction, `n` its place there. What follows from it is
/// done by later statements of the same transaction, which find the changes that were made by these lines.
const TABLES: &str = "
CREATE TABLE @.cacheness (version integer NOT NULL, forgotten bigint NOT NULL);

CREATE TABLE @.entries (
    key bytea PRIMARY KEY,
    created_at bigint NOT NULL,
    expires_at bigint,
    used_at bigint,
    blob_bytes bigint NOT NULL,
    footprint bigint NOT NULL,
    content bytea NOT NULL
);
ALTER TABLE @.entries ALTER COLUMN content SET STORAGE EXTERNAL;
CREATE INDEX entries_by_creation ON @.entries (created_at, key);
CREATE INDEX entries_by_expiry ON @.entries (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX entries_by_use ON @.entries (coalesce(used_at, created_at));

CREATE TABLE @.groups (
    number bigint NOT NULL,
    entry_key bytea NOT NULL REFERENCES @.entries (key) ON DELETE CASCADE,
    PRIMARY KEY (number, entry_key)
);
CREATE INDEX groups_by_entry ON @.groups (entry_key);

CREATE TABLE @.changes (
    tx bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    n integer NOT NULL,
    writer bigint NOT NULL,
    key bytea NOT NULL,
    created_before bigint,
    used_before bigint,
    entries integer NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (tx, n)
);

CREATE TABLE @.totals (shard integer PRIMARY KEY, entries bigint NOT NULL, bytes bigint NOT NULL);

CREATE TABLE @.state (name text PRIMARY KEY, value bytea NOT NULL);

CREATE TABLE @.kinds (name bytea PRIMARY KEY, table_name text NOT NULL UNIQUE, version bigint NOT NULL);
CREATE TABLE @.kind_columns (
    kind bytea NOT NULL REFERENCES @.kinds (name),
    name bytea NOT NULL,
    column_name text,
    column_type integer,
    types bigint NOT NULL,
    indexed boolean NOT NULL,
    PRIMARY KEY (kind, name)
);
";

/// Finds the tables, or makes them.
///
/// # Errors
/// [`Conflict`](ErrorKind::Conflict) if the schema belongs to another program or another release;
/// [`Config`](ErrorKind::Config) if the server cannot have them; [`Metadata`](ErrorKind::Metadata).
pub(super) fn open(server: &Server, namespace: &str) -> Result<()> {
    let look = || {
        server
            .statement(
                "SELECT current_setting('server_version_num')::integer, current_setting('server_encoding'), \
                 to_regclass($2) IS NOT NULL, EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace($1))",
            )
            .bind(quoted(namespace), Type::TEXT)
            .bind(format!("{}.cacheness", quoted(namespace)), Type::TEXT)
    };
    let version = || server.statement("SELECT version FROM @.cacheness");
    if is_there(&server.ask_one(OPEN, QUICK, look())?, namespace)? {
        return check_version(&server.ask_one(OPEN, QUICK, version())?, namespace);
    }
    let (look, version) = (look(), version());
    let tables = server.statement(TABLES).into_sql();
    let first = format!(
        "INSERT INTO @.cacheness VALUES ({VERSION}, 0); \
         INSERT INTO @.totals SELECT shard, 0, 0 FROM generate_series(0, {}) AS shard",
        SHARDS - 1
    );
    let first = server.statement(&first).into_sql();
    let namespace = namespace.to_owned();
    server.converse(OPEN, move |client| async move {
        // Whoever comes second finds the tables.
        client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        lock_tables(&client, &namespace).await?;
        if is_there(&look.ask(&client).await?, &namespace)? {
            return Ok(check_version(&version.ask(&client).await?, &namespace)?);
        }
        let schema = format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(&namespace));
        for sql in [&schema, &tables, &first] {
            client.batch_execute(sql).await?;
        }
        Ok(client.batch_execute("COMMIT").await?)
    })
}

/// Until the end of the transaction nobody else changes the tables of a schema.
pub(super) async fn lock_tables(client: &Client, namespace: &str) -> Result<(), Error> {
    client.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCKS}, {})", table_lock(namespace))).await
}

fn table_lock(namespace: &str) -> i32 {
    lock_number(&[b"tables ", namespace.as_bytes()].concat())
}

/// The number of an advisory lock, within our class.
pub(super) fn lock_number(of: &[u8]) -> i32 {
    // The lower half of a checksum is as good as all of it.
    (digest::checksum(of) as u32).cast_signed()
}

/// Whether the schema has tables of ours.
fn is_there(found: &[Row], namespace: &str) -> Result<bool> {
    let Some(row) = found.first() else { return Ok(false) };
    let facts = || -> Result<(i32, String, bool, bool), Error> {
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
    };
    let (version, encoding, ours, anything) = facts().map_err(|error| OPEN.failed(error))?;
    if version < OLDEST_SERVER {
        let message = "the server is older than PostgreSQL 13, from which on it can be used";
        return Err(CacheError::new(ErrorKind::Config, message));
    }
    if encoding != "UTF8" {
        let message = format!("the PostgreSQL database has the encoding {encoding}: choose one with UTF8");
        return Err(CacheError::new(ErrorKind::Config, message));
    }
    if anything && !ours {
        let message = format!(
            "the schema {namespace:?} of the PostgreSQL database has tables of another program: set \
             metadata.options.namespace to another name"
        );
        return Err(CacheError::new(ErrorKind::Conflict, message));
    }
    Ok(ours)
}

fn check_version(found: &[Row], namespace: &str) -> Result<()> {
    let version = found.first().map_or(Ok(0), |row| row.try_get::<_, i32>(0)).map_err(|error| OPEN.failed(error))?;
    if version == VERSION {
        return Ok(());
    }
    let age = if version > VERSION { "a newer" } else { "an older" };
    let message = format!(
        "the tables in the schema {namespace:?} of the PostgreSQL database have the layout {version} of {age} release, and \
         this one reads {VERSION}: use that release, or set metadata.options.namespace to another name"
    );
    Err(CacheError::new(ErrorKind::Conflict, message))
}
