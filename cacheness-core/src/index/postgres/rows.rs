//! Changes of rows as statements of one transaction, all sent at once.
//!
//! First the keys are locked, in one order for everybody, so that what the later statements find does not change meanwhile
//! and no two transactions wait for each other. Then the changes whose expected row is there are noted in `changes`, and what
//! they take out is deleted, with all that belongs to it. The later statements put in what those lines say.

use std::collections::HashMap;

use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};

use super::custom::{self, Kinds};
use super::schema::{LOCKS, SHARDS, lock_number};
use super::server::{Server, Statement};
use crate::clock::Timestamp;
use crate::index::backend::{Applied, Change, Expected, Facts};
use crate::index::handle::Uses;

/// What a row takes beside its bytes: its key, which stands in four trees, and its places in the others.
const ROW_OVERHEAD: u64 = 256;
/// What one entry may count with, so that sums of them fit.
pub(super) const LARGEST: u64 = 1 << 48;

pub(super) fn footprint_of(row: u64, blob: u64) -> u64 {
    row.saturating_add(ROW_OVERHEAD).saturating_add(blob)
}

/// A change and its place in the transaction.
pub(super) type Numbered<'a> = (i32, Change<'a>);

/// The changes in rounds, in each of which a key stands once.
fn rounds<'a>(changes: &[Change<'a>]) -> Vec<Vec<Numbered<'a>>> {
    let mut rounds: Vec<Vec<Numbered<'a>>> = Vec::new();
    let mut met: HashMap<&[u8], usize> = HashMap::new();
    for (n, change) in (0i32..).zip(changes) {
        let round = met.entry(change.key).or_default();
        if rounds.len() == *round {
            rounds.push(Vec::new());
        }
        rounds[*round].push((n, *change));
        *round += 1;
    }
    rounds
}

/// The statements that make changes, and which of them tell what was done.
pub(super) struct Plan {
    pub(super) statements: Vec<Statement>,
    tellers: Vec<usize>,
    changes: usize,
}

impl Plan {
    /// `kinds` has the tables of all custom metadata in the changes.
    pub(super) fn of(server: &Server, changes: &[Change<'_>], writer: i64, uses: &Uses, kinds: &Kinds) -> Self {
        let mut statements = vec![lock(server, changes)];
        let mut tellers = Vec::new();
        for round in rounds(changes) {
            tellers.push(statements.len());
            statements.push(take(server, &round, writer));
            let new: Vec<_> = round.into_iter().filter(|(_, change)| change.row.is_some()).collect();
            if !new.is_empty() {
                statements.push(put(server, &new, uses));
                statements.extend(custom::put(server, &new, kinds));
            }
        }
        statements.push(count(server, writer));
        Self { statements, tellers, changes: changes.len() }
    }

    /// What the changes did, by the rows that the statements gave.
    pub(super) fn applied(tellers: &[usize], changes: usize, rows: &[Vec<Row>]) -> Result<Vec<Applied>, Error> {
        let mut applied = vec![Applied::NOT_MADE; changes];
        for row in tellers.iter().filter_map(|teller| rows.get(*teller)).flatten() {
            let n: i32 = row.try_get(0)?;
            let previous: Option<Vec<u8>> = row.try_get(1)?;
            if let Some(applied) = usize::try_from(n).ok().and_then(|n| applied.get_mut(n)) {
                *applied = Applied::made(previous);
            }
        }
        Ok(applied)
    }

    /// What all rows take after the changes.
    pub(super) fn bytes(rows: &[Vec<Row>]) -> Result<Option<u64>, Error> {
        let row = rows.last().and_then(|rows| rows.first());
        let bytes = row.map(|row| row.try_get::<_, Option<i64>>(0)).transpose()?.flatten();
        Ok(bytes.map(|bytes| u64::try_from(bytes).unwrap_or(0)))
    }

    pub(super) fn into_parts(self) -> (Vec<Statement>, Vec<usize>, usize) {
        (self.statements, self.tellers, self.changes)
    }
}

fn lock(server: &Server, changes: &[Change<'_>]) -> Statement {
    let mut numbers: Vec<_> = changes.iter().map(|change| server.lock_of(change.key)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let sql = format!("SELECT count(pg_advisory_xact_lock({LOCKS}, number)) FROM unnest($1) AS number");
    server.statement(&sql).bind(numbers, Type::INT4_ARRAY)
}

impl Server {
    /// The number of the lock of a key. Keys may share one, also with those of another schema.
    fn lock_of(&self, key: &[u8]) -> i32 {
        lock_number(key)
    }
}

const TAKE: &str = "
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest($1, $2, $3, $4, $5) AS w (n, key, mode, expected, footprint)
), old AS MATERIALIZED (
    SELECT w.n, e.key, e.content, e.created_at, e.used_at, e.footprint FROM wanted w JOIN @.entries e ON e.key = w.key
), made AS MATERIALIZED (
    SELECT w.n, w.key, w.footprint, o.content, o.created_at, o.used_at, o.footprint AS footprint_before
    FROM wanted w LEFT JOIN old o ON o.n = w.n
    WHERE w.mode = 0 OR (w.mode = 1 AND o.key IS NULL) OR (w.mode = 2 AND o.content = w.expected)
), gone AS (
    DELETE FROM @.entries e USING made m WHERE e.key = m.key
), noted AS (
    INSERT INTO @.changes (n, writer, key, created_before, used_before, entries, bytes)
    SELECT n, $6, key, created_at, used_at,
           (footprint IS NOT NULL)::integer - (footprint_before IS NOT NULL)::integer,
           coalesce(footprint, 0) - coalesce(footprint_before, 0)
    FROM made WHERE footprint IS NOT NULL OR footprint_before IS NOT NULL
)
SELECT n, content FROM made
";

fn take(server: &Server, changes: &[Numbered<'_>], writer: i64) -> Statement {
    let expected = |change: &Change<'_>| match change.expected {
        Expected::Anything => (0i16, None),
        Expected::Absent => (1, None),
        Expected::Bytes(bytes) => (2, Some(bytes.to_vec())),
    };
    let (modes, bytes): (Vec<_>, Vec<_>) = changes.iter().map(|(_, change)| expected(change)).unzip();
    let footprint = |change: &Change<'_>| change.row.map(|(row, facts)| footprint(row, facts));
    server
        .statement(TAKE)
        .bind(each(changes, |n, _| n), Type::INT4_ARRAY)
        .bind(each(changes, |_, change| change.key.to_vec()), Type::BYTEA_ARRAY)
        .bind(modes, Type::INT2_ARRAY)
        .bind(bytes, Type::BYTEA_ARRAY)
        .bind(each(changes, |_, change| footprint(change)), Type::INT8_ARRAY)
        .bind(writer, Type::INT8)
}

/// What is known of the use of a row stays with it while it is the same value, which is one of the same creation.
const PUT: &str = "
WITH entry AS (
    INSERT INTO @.entries (key, content, created_at, expires_at, used_at, blob_bytes, footprint)
    SELECT c.key, w.content, w.created_at, w.expires_at,
           CASE WHEN c.created_before = w.created_at THEN coalesce(w.used_at, c.used_before) END,
           w.blob_bytes, w.footprint
    FROM unnest($1, $2, $3, $4, $5, $6, $7)
         AS w (n, content, created_at, expires_at, used_at, blob_bytes, footprint)
    JOIN @.changes c ON c.tx = pg_current_xact_id()::text::bigint AND c.n = w.n
)
INSERT INTO @.groups (number, entry_key)
SELECT DISTINCT g.number, c.key FROM unnest($8, $9) AS g (n, number)
JOIN @.changes c ON c.tx = pg_current_xact_id()::text::bigint AND c.n = g.n
";

fn put(server: &Server, changes: &[Numbered<'_>], uses: &Uses) -> Statement {
    let facts = |change: &Change<'_>| change.row.map(|(_, facts)| facts.clone()).unwrap_or_default();
    let all: Vec<Facts> = changes.iter().map(|(_, change)| facts(change)).collect();
    let contents = each(changes, |_, change| change.row.map_or_else(Vec::new, |(row, _)| row.to_vec()));
    let footprints: Vec<_> = contents.iter().zip(&all).map(|(row, facts)| footprint(row, facts)).collect();
    let of_groups = changes.iter().zip(&all).flat_map(|((n, _), facts)| facts.groups.iter().map(|group| (*n, *group)));
    let (members, groups): (Vec<i32>, Vec<i64>) = of_groups.map(|(n, group)| (n, group.cast_signed())).unzip();
    server
        .statement(PUT)
        .bind(each(changes, |n, _| n), Type::INT4_ARRAY)
        .bind(contents, Type::BYTEA_ARRAY)
        .bind(all.iter().map(|facts| facts.created_at.as_micros()).collect::<Vec<_>>(), Type::INT8_ARRAY)
        .bind(all.iter().map(|facts| facts.expires_at.map(Timestamp::as_micros)).collect::<Vec<_>>(), Type::INT8_ARRAY)
        .bind(each(changes, |_, change| uses.of(change.key)), Type::INT8_ARRAY)
        .bind(all.iter().map(|facts| facts.blob_bytes.min(LARGEST).cast_signed()).collect::<Vec<_>>(), Type::INT8_ARRAY)
        .bind(footprints, Type::INT8_ARRAY)
        .bind(members, Type::INT4_ARRAY)
        .bind(groups, Type::INT8_ARRAY)
}

/// Last, because others may wait for the line: until the commit and no longer. Tells what all rows take then.
const COUNT: &str = "
WITH d AS (
    SELECT sum(entries)::bigint AS entries, sum(bytes)::bigint AS bytes
    FROM @.changes WHERE tx = pg_current_xact_id()::text::bigint
), counted AS (
    UPDATE @.totals t SET entries = t.entries + d.entries, bytes = t.bytes + d.bytes FROM d
    WHERE t.shard = $1 AND (d.entries <> 0 OR d.bytes <> 0) RETURNING t.shard, t.bytes
)
SELECT sum(coalesce(c.bytes, t.bytes))::bigint FROM @.totals t LEFT JOIN counted c ON c.shard = t.shard
";

fn count(server: &Server, writer: i64) -> Statement {
    server.statement(COUNT).bind(shard_of(writer), Type::INT4)
}

pub(super) fn shard_of(writer: i64) -> i32 {
    writer.rem_euclid(SHARDS) as i32
}

pub(super) fn footprint(row: &[u8], facts: &Facts) -> i64 {
    footprint_of(row.len() as u64, facts.blob_bytes).min(LARGEST).cast_signed()
}

/// One value for each change, to be bound as an array.
pub(super) fn each<T>(changes: &[Numbered<'_>], mut value: impl FnMut(i32, &Change<'_>) -> T) -> Vec<T> {
    changes.iter().map(|(n, change)| value(*n, change)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_once_in_each_round() {
        let change = |key: &'static [u8]| Change { key, expected: Expected::Anything, row: None };
        let changes = [change(b"a"), change(b"b"), change(b"a"), change(b"a"), change(b"c")];
        let numbers: Vec<Vec<i32>> =
            rounds(&changes).iter().map(|round| round.iter().map(|(n, _)| *n).collect()).collect();
        assert_eq!(numbers, [vec![0, 1, 4], vec![2], vec![3]]);
    }
}
