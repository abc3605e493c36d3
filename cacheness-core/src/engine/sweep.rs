//! The sweep of blobs that no row names, where machines share rows and blobs.
//!
//! A process that is killed between a blob and its row leaves the blob, and a Redis may let go of rows on its own. A cache on
//! one machine looks for such blobs when it is opened; here nobody is ever alone with them, so one process at a time looks
//! for those that are old.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::index::Index;
use super::recover::{forget_referenced, is_left_over};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::Limits;
use crate::error::Result;
use crate::format::Rules;
use crate::index::backend::{MetadataBackend, Swap};
use crate::security::Signing;
use crate::storage::BlobName;
use crate::storage::blob::{BlobBackend, BlobInfo};
use crate::util::digest::unique_name;
use crate::util::threads::lock;

/// Between two sweeps, of all processes together.
const BETWEEN: Duration = Duration::from_secs(60 * 60);
/// A blob without a row that is older has none to come: clocks differ by less, and no put takes so long from the one to the
/// other. If one does, its value is a miss.
const OLD: Duration = Duration::from_secs(10 * 60);
/// Where the rows say when somebody began to sweep: microseconds since 1970, and a name of that very change.
const STATE: &str = "cacheness.swept";
/// So many blobs are looked for at once, so that a large bucket takes no more memory than a small one.
const AT_ONCE: usize = 64 << 10;
const PAGE: usize = 1000;

/// Sweeps now and then.
#[derive(Debug)]
pub(super) struct Sweep {
    limits: Limits,
    signing: Arc<Signing>,
    /// When this process last looked whether it is time.
    looked: Mutex<Option<Instant>>,
}

impl Sweep {
    pub(super) fn new(limits: Limits, signing: Arc<Signing>) -> Arc<Self> {
        Arc::new(Self { limits, signing, looked: Mutex::default() })
    }

    /// Sweeps on a thread of its own if it is time and nobody else does. No call waits for that.
    pub(super) fn begin_if_due(self: &Arc<Self>, index: &Arc<Index>, blobs: &Arc<dyn BlobBackend>) {
        {
            let mut looked = lock(&self.looked);
            if looked.is_some_and(|at| at.elapsed() < BETWEEN) {
                return;
            }
            *looked = Some(Instant::now());
        }
        let (sweep, index, blobs) = (Arc::clone(self), Arc::clone(index), Arc::clone(blobs));
        let work = move || {
            let rules = Rules { limits: &sweep.limits, signing: &sweep.signing };
            let now = SystemClock.now();
            let swept = claim(index.backend(), now).and_then(|claim| match claim {
                Some(claim) => run(&index, &*blobs, rules, now, &|| claim.holds(&index)),
                None => Ok(0),
            });
            match swept {
                Ok(0) => {}
                Ok(removed) => log::debug!("{removed} blobs that no row named were removed"),
                Err(error) => log::debug!("blobs that no row names stay for now: {error}"),
            }
        };
        // Without a thread it is the turn of another process.
        let _started = thread::Builder::new().name("cacheness-sweep".to_owned()).spawn(work);
    }
}

/// The turn of this process to sweep, and the rows by whose word it does so.
#[derive(Debug)]
struct Claim {
    state: Vec<u8>,
    epoch: u64,
}

impl Claim {
    /// Whether these are still the rows that were asked: others, such as those of an empty server in the place of theirs, name
    /// none of the blobs.
    ///
    /// # Errors
    /// Those of the backend.
    fn holds(&self, index: &Index) -> Result<bool> {
        let there = index.backend().state(STATE, None)?;
        Ok(there.as_ref() == Some(&self.state) && index.backend().epoch() == self.epoch)
    }
}

/// Claims the turn to sweep, if it is time.
///
/// # Errors
/// Those of the backend.
fn claim(rows: &dyn MetadataBackend, now: Timestamp) -> Result<Option<Claim>> {
    let epoch = rows.epoch();
    let there = rows.state(STATE, None)?;
    let began = there.as_deref().and_then(|text| std::str::from_utf8(text).ok()?.split(' ').next()?.parse().ok());
    let began = began.map(Timestamp::from_micros);
    // A time to come is that of a wrong clock.
    let is_due = began.is_none_or(|began| now.since(began) >= BETWEEN || began.since(now) >= BETWEEN);
    if !is_due {
        return Ok(None);
    }
    let state = format!("{} {}", now.as_micros(), unique_name()).into_bytes();
    let swap = Swap { expected: there.as_deref(), new: Some(&state) };
    let is_mine = rows.state(STATE, Some(swap))?.as_ref() == Some(&state);
    // Rows that say nothing may be those of an empty server that stands in for another one, whose rows name the blobs.
    Ok((is_mine && began.is_some()).then_some(Claim { state, epoch }))
}

/// Removes old blobs that no row names; returns how many.
///
/// # Errors
/// Those of rows and blobs.
fn run(
    index: &Index,
    blobs: &dyn BlobBackend,
    rules: Rules<'_>,
    now: Timestamp,
    holds: &dyn Fn() -> Result<bool>,
) -> Result<u64> {
    let (mut after, mut removed): (Option<BlobName>, u64) = (None, 0);
    let is_old = |blob: &BlobInfo| blob.written_at.is_some_and(|at| now.since(at) >= OLD);
    loop {
        let mut names = HashSet::new();
        while names.len() < AT_ONCE {
            let page = blobs.page(after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            names.extend(page.into_iter().filter(is_old).map(|blob| blob.name));
        }
        if names.is_empty() {
            return Ok(removed);
        }
        if forget_referenced(index, &mut names)? {
            // Any of them may be that of a record of a newer release.
            return Ok(removed);
        }
        let left: Vec<_> = names.into_iter().filter(|name| is_left_over(blobs, name, rules)).collect();
        for some in left.chunks(PAGE) {
            if !holds()? {
                return Ok(removed);
            }
            blobs.remove_many(some)?;
            removed += some.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CacheConfig, CacheStorageConfig, Durability};
    use crate::engine::{Store, prepare};
    use crate::entry::sample;
    use crate::index::MemoryMetadata;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(i64::try_from(micros).unwrap())
    }

    #[test]
    fn one_process_sweeps_and_not_again_for_a_while_nor_just_after_rows_have_begun() {
        let rows = MemoryMetadata::new();
        let hour = u64::try_from(BETWEEN.as_micros()).unwrap();
        let claim = |rows: &MemoryMetadata, now| claim(rows, now).map(|claim| claim.is_some());
        assert!(!claim(&rows, at(hour)).unwrap(), "rows that say nothing may be those of another server");
        assert!(!claim(&rows, at(2 * hour - 1)).unwrap());
        assert!(claim(&rows, at(2 * hour)).unwrap());
        assert!(!claim(&rows, at(2 * hour)).unwrap(), "somebody has begun");
        assert!(claim(&rows, at(3 * hour)).unwrap());
        assert!(claim(&rows, at(hour)).unwrap(), "a clock was far ahead");
    }

    #[test]
    fn old_blobs_without_a_row_go_and_all_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let config = CacheConfig {
            storage: CacheStorageConfig { inline_bytes: 0, ..Default::default() },
            ..CacheConfig::new(dir.path())
        };
        let store = Store::open(prepare(dir.path()).unwrap(), &config).unwrap();
        let (entry, key) = (sample::entry("kept"), sample::entry("kept").key);
        store.put(entry, vec![1u8; 100], u64::MAX, None).unwrap();
        let name = BlobName::unique();
        store.blobs.write(&name, &[b"of nobody"], Durability::Interval).unwrap();
        let sweep = |after: Duration| {
            run(&store.index, &*store.blobs, store.rules(), SystemClock.now().after(after), &|| Ok(after < OLD * 3))
                .unwrap()
        };
        assert_eq!(sweep(Duration::ZERO), 0, "its row may be about to come");
        assert_eq!(sweep(OLD * 3), 0, "these are not the rows that were asked");
        assert_eq!(sweep(OLD * 2), 1);
        assert_eq!(sweep(OLD * 2), 0);
        let mut found = store.find(&key).unwrap().unwrap();
        assert!(store.load(&key, &mut found, |_| None).unwrap().is_some());
        assert!(store.blobs.open(&name).unwrap().is_none());
    }
}
