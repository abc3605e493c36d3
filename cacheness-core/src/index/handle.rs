//! What a handle of a shared database has of its own: a number, and uses of rows that are not written yet; and how much it asks for
//! at once.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::backend::Row;
#[cfg(any(feature = "postgresql", feature = "redis"))]
use super::backend::{Change, changes_within};
use crate::clock::Timestamp;
use crate::util::digest;
use crate::util::threads::lock;

/// A number for each handle, also in a child that was forked with it: tells its changes from those of others.
#[derive(Debug)]
pub(super) struct Writer {
    number: AtomicI64,
    process: AtomicI64,
}

impl Writer {
    pub(super) fn new() -> Self {
        let (number, process) = (AtomicI64::new(random()), AtomicI64::new(i64::from(std::process::id())));
        Self { number, process }
    }

    /// Takes another number: a change whose answer was lost may be made later, and then it is told as one of others.
    #[cfg(any(feature = "postgresql", feature = "redis"))]
    pub(super) fn renew(&self) {
        self.number.store(random(), Ordering::SeqCst);
    }

    pub(super) fn number(&self) -> i64 {
        let process = i64::from(std::process::id());
        if self.process.swap(process, Ordering::SeqCst) != process {
            self.number.store(random(), Ordering::SeqCst);
        }
        self.number.load(Ordering::SeqCst)
    }
}

fn random() -> i64 {
    // The process id and the time are in the name.
    digest::checksum(digest::unique_name().as_bytes()).cast_signed()
}

/// Uses that wait in memory at most, and for how long, before they are written.
pub(super) const USES: usize = 1024;
const USES_WAIT: Duration = Duration::from_secs(5);
/// So many are remembered where they cannot be written.
const MOST_USES: usize = 8 * USES;

/// Uses of rows that are not written yet. One that gets lost makes eviction less wise and nothing else.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    by_key: HashMap<Vec<u8>, i64>,
    since: Option<Instant>,
}

impl Uses {
    /// Notes uses; says whether it is time to write all of them, which it is if there are no more.
    pub(super) fn note(&self, uses: &[(&[u8], Timestamp)]) -> bool {
        let mut pending = lock(&self.0);
        for (key, at) in uses {
            if pending.by_key.len() < MOST_USES || pending.by_key.contains_key(*key) {
                pending.by_key.insert(key.to_vec(), at.as_micros());
            }
        }
        let since = *pending.since.get_or_insert_with(Instant::now);
        uses.is_empty() || pending.by_key.len() >= USES || since.elapsed() >= USES_WAIT
    }

    /// Those that are to be written now.
    pub(super) fn take_all(&self) -> HashMap<Vec<u8>, i64> {
        let mut pending = lock(&self.0);
        pending.since = None;
        std::mem::take(&mut pending.by_key)
    }

    /// What is known of the use of a row and not written yet.
    pub(super) fn of(&self, key: &[u8]) -> Option<i64> {
        lock(&self.0).by_key.get(key).copied()
    }

    pub(super) fn take(&self, key: &[u8]) -> Option<i64> {
        lock(&self.0).by_key.remove(key)
    }

    /// Rows with the uses that are not written yet.
    pub(super) fn told(&self, mut rows: Vec<Row>) -> Vec<Row> {
        let pending = lock(&self.0);
        if !pending.by_key.is_empty() {
            for row in &mut rows {
                row.used_at = pending.by_key.get(&*row.key).copied().map(Timestamp::from_micros).or(row.used_at);
            }
        }
        rows
    }
}

#[cfg(any(feature = "postgresql", feature = "sqlite"))]
pub(super) fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The first key behind all that begin with this one, if there is one.
pub(super) fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// So many bytes of rows are changed at once at most.
#[cfg(any(feature = "postgresql", feature = "redis"))]
const BATCH_BYTES: u64 = 8 << 20;

/// How many of these changes are made at once, the next time. In PostgreSQL each takes a lock, of which a server has room for 64 for each
/// of its connections; while Redis makes them, it does nothing else.
#[cfg(any(feature = "postgresql", feature = "redis"))]
pub(super) fn batch_of(changes: &[Change<'_>]) -> usize {
    changes_within(BATCH_BYTES, changes.iter().map(|change| change.row.map_or(0, |(row, _)| row.len() as u64)))
}
