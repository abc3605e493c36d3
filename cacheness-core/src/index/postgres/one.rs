//! A change by itself, which most are, as one statement between `BEGIN` and `COMMIT`: to parse and plan a statement takes a
//! server longer than to run it.
//!
//! What is to be put in comes from what was taken out, so the one is done before the other. Groups follow by a statement of their
//! own: what refers to the row that was taken out goes at the end of the statement, under whatever key it stands by then.

use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};

use super::rows::{LARGEST, footprint, shard_of};
use super::schema::lock_number;
use super::server::{Around, Server, Statement};
use crate::clock::Timestamp;
use crate::index::backend::{Applied, Change, Expected};
use crate::index::handle::Uses;

/// `made` has one line if the change is made, with what was there before.
const ONE: &str = "
WITH gone AS (~gone), made AS MATERIALIZED (~made), noted AS (
    INSERT INTO @.changes (n, writer, key, created_before, used_before, entries, bytes)
    SELECT 0, $2, $1, created_at, used_at,
           ($9 IS NOT NULL)::integer - (footprint IS NOT NULL)::integer, coalesce($9, 0) - coalesce(footprint, 0)
    FROM made WHERE $9 IS NOT NULL OR footprint IS NOT NULL
    RETURNING entries, bytes
), ~put counted AS (
    UPDATE @.totals t SET entries = t.entries + n.entries, bytes = t.bytes + n.bytes FROM noted n
    WHERE t.shard = $3 AND (n.entries <> 0 OR n.bytes <> 0) RETURNING t.shard, t.bytes
)
SELECT EXISTS (SELECT FROM made), (SELECT content FROM made),
       (SELECT sum(coalesce(c.bytes, t.bytes))::bigint FROM @.totals t LEFT JOIN counted c ON c.shard = t.shard)
";

const PUT: &str = "entry AS (
    INSERT INTO @.entries (key, content, created_at, expires_at, used_at, blob_bytes, footprint)
    SELECT $1, $4, $5, $6, CASE WHEN created_at = $5 THEN coalesce($7, used_at) END, $8, $9 FROM made
),";

const GROUPS: &str = "
INSERT INTO @.groups (number, entry_key)
SELECT DISTINCT g.number, c.key FROM unnest($1) AS g (number)
JOIN @.changes c ON c.tx = pg_current_xact_id()::text::bigint AND c.n = 0
";

/// Whether these changes are one that is made so. One with custom metadata may wait for a unique value of another
/// transaction, which then must not wait for the line with the totals.
pub(super) fn only<'a, 'c>(changes: &'a [Change<'c>]) -> Option<&'a Change<'c>> {
    match changes {
        [change] if change.row.is_none_or(|(_, facts)| facts.custom.is_empty()) => Some(change),
        _ => None,
    }
}

/// The transaction around the statements of a change.
pub(super) fn around(change: &Change<'_>) -> Around {
    Around::WriteOne(lock_number(change.key))
}

pub(super) fn statements(server: &Server, change: &Change<'_>, writer: i64, uses: &Uses) -> Vec<Statement> {
    let (gone, made, expected) = match change.expected {
        Expected::Anything => (
            "DELETE FROM @.entries WHERE key = $1 RETURNING content, created_at, used_at, footprint",
            "SELECT gone.* FROM (SELECT) AS one LEFT JOIN gone ON TRUE",
            None,
        ),
        Expected::Absent => (
            "SELECT FROM @.entries WHERE key = $1",
            "SELECT NULL::bytea AS content, NULL::bigint AS created_at, NULL::bigint AS used_at, \
             NULL::bigint AS footprint WHERE NOT EXISTS (SELECT FROM gone)",
            None,
        ),
        Expected::Bytes(bytes) => (
            "DELETE FROM @.entries WHERE key = $1 AND content = $10 RETURNING content, created_at, used_at, footprint",
            "SELECT * FROM gone",
            Some(bytes.to_vec()),
        ),
    };
    let put = if change.row.is_some() { PUT } else { "" };
    let sql = ONE.replace("~gone", gone).replace("~made", made).replace("~put", put);
    let facts = change.row.map(|(_, facts)| facts);
    let statement = server
        .statement(&sql)
        .bind(change.key.to_vec(), Type::BYTEA)
        .bind(writer, Type::INT8)
        .bind(shard_of(writer), Type::INT4)
        .bind(change.row.map(|(row, _)| row.to_vec()), Type::BYTEA)
        .bind(facts.map(|facts| facts.created_at.as_micros()), Type::INT8)
        .bind(facts.and_then(|facts| facts.expires_at).map(Timestamp::as_micros), Type::INT8)
        .bind(uses.of(change.key), Type::INT8)
        .bind(facts.map(|facts| facts.blob_bytes.min(LARGEST).cast_signed()), Type::INT8)
        .bind(change.row.map(|(row, facts)| footprint(row, facts)), Type::INT8)
        .bind(expected, Type::BYTEA);
    let groups: Vec<i64> = facts.iter().flat_map(|facts| &facts.groups).map(|group| group.cast_signed()).collect();
    let groups = (!groups.is_empty()).then(|| server.statement(GROUPS).bind(groups, Type::INT8_ARRAY));
    [statement].into_iter().chain(groups).collect()
}

/// What the change did, and what all rows take after it.
pub(super) fn applied(rows: &[Vec<Row>]) -> Result<(Applied, Option<u64>), Error> {
    let Some(row) = rows.first().and_then(|rows| rows.first()) else { return Ok((Applied::NOT_MADE, None)) };
    let bytes = row.try_get::<_, Option<i64>>(2)?.map(|bytes| u64::try_from(bytes).unwrap_or(0));
    let applied = if row.try_get(0)? { Applied::made(row.try_get(1)?) } else { Applied::NOT_MADE };
    Ok((applied, bytes))
}
