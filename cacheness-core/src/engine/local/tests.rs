use std::path::Path;
use std::sync::atomic::AtomicUsize;

use super::rows::TieredRows;
use super::*;
use crate::clock::{Clock, SystemClock};
use crate::config::CacheConfig;
use crate::entry::{Entry, IndexKey, sample};
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::backend::{Applied, Change, Changes, Expected, Row, Scan, Swap, Totals, Traits};
use crate::index::{MemoryMetadata, Payload, Record, conformance};
use crate::key::ToKey;
use crate::util::threads::lock;

/// Rows that several machines share.
#[derive(Debug, Default)]
struct Server {
    rows: MemoryMetadata,
    /// Who has changed which key.
    log: Mutex<Vec<(usize, Vec<u8>)>>,
    is_down: AtomicBool,
    /// How often rows were read.
    reads: AtomicUsize,
    machines: AtomicUsize,
    epoch: AtomicU64,
}

/// One of the machines.
#[derive(Debug)]
struct Machine {
    server: Arc<Server>,
    number: usize,
    closed: AtomicBool,
}

impl Server {
    fn machine(self: &Arc<Self>) -> Machine {
        let number = self.machines.fetch_add(1, Ordering::SeqCst);
        Machine { server: Arc::clone(self), number, closed: AtomicBool::new(false) }
    }

    fn reads_of<R>(&self, work: impl FnOnce() -> R) -> (R, usize) {
        let before = self.reads.load(Ordering::SeqCst);
        let done = work();
        (done, self.reads.load(Ordering::SeqCst) - before)
    }
}

impl Machine {
    fn rows(&self) -> Result<&MemoryMetadata> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(CacheError::new(ErrorKind::Closed, "closed"));
        }
        match self.server.is_down.load(Ordering::SeqCst) {
            true => Err(CacheError::new(ErrorKind::Unavailable, "down")),
            false => Ok(&self.server.rows),
        }
    }
}

impl MetadataBackend for Machine {
    fn traits(&self) -> Traits {
        Traits::new("far").shared().waits().persistent()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.server.reads.fetch_add(1, Ordering::SeqCst);
        self.rows()?.get(key)
    }

    fn apply(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>> {
        let mut log = lock(&self.server.log);
        let applied = self.rows()?.apply(changes)?;
        let made = changes.iter().zip(&applied).filter(|(_, applied)| applied.made);
        log.extend(made.map(|(change, _)| (self.number, change.key.to_vec())));
        Ok(applied)
    }

    fn page(&self, scan: &Scan<'_>, limit: usize) -> Result<Vec<Row>> {
        self.rows()?.page(scan, limit)
    }

    fn used(&self, uses: &[(&[u8], Timestamp)]) -> Result<()> {
        self.rows()?.used(uses)
    }

    fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>> {
        self.rows()?.last_used(key)
    }

    fn totals(&self) -> Result<Totals> {
        self.rows()?.totals()
    }

    fn state(&self, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> {
        self.rows()?.state(name, swap)
    }

    fn epoch(&self) -> u64 {
        self.server.epoch.load(Ordering::SeqCst)
    }

    fn changes(&self, since: u64) -> Result<Changes> {
        self.rows()?;
        let log = lock(&self.server.log);
        let mark = log.len() as u64 + 1;
        let missed = (1..=mark).contains(&since).then(|| &log[since as usize - 1..]);
        let others = |missed: &[(usize, Vec<u8>)]| {
            missed.iter().filter(|(by, _)| *by != self.number).map(|(_, key)| key.clone()).collect()
        };
        Ok(Changes { mark, keys: missed.map(others) })
    }

    fn flush(&self) -> Result<()> {
        self.rows().map(drop)
    }

    fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

const LEASE: Duration = Duration::from_millis(20);

fn config() -> CacheConfig {
    CacheConfig::default().with_local_lease(LEASE).with_page_cache_mb(16)
}

fn tier_by(dir: &Path, config: &CacheConfig, server: &Arc<Server>) -> Result<TieredRows> {
    let tier = Tier::open_in(dir, config, Arc::new(server.machine()), &Arc::default())?;
    Ok(TieredRows { tier: Arc::new(tier) })
}

fn tier(dir: &Path, server: &Arc<Server>) -> TieredRows {
    tier_by(dir, &config(), server).unwrap()
}

fn key(n: u64) -> IndexKey {
    IndexKey::of(&n.to_key().unwrap())
}

fn record(n: u64, value: &[u8]) -> Record {
    let mut entry = Entry { key: key(n), ..sample::entry("k") };
    let len = value.len() as u64;
    (entry.core.stored_size, entry.core.raw_size) = (len, len);
    Record::new(&entry, &Payload::Inline(value), 1 << 20, Signing::off()).unwrap()
}

fn put(rows: &dyn MetadataBackend, n: u64, value: &[u8]) {
    let record = record(n, value);
    let facts = record.facts().unwrap();
    let row = Some((record.as_bytes(), &facts));
    rows.apply(&[Change { key: key(n).as_bytes(), expected: Expected::Anything, row }]).unwrap();
}

fn remove(rows: &dyn MetadataBackend, n: u64) {
    rows.apply(&[Change { key: key(n).as_bytes(), expected: Expected::Anything, row: None }]).unwrap();
}

fn get(rows: &dyn MetadataBackend, n: u64) -> Option<Vec<u8>> {
    let bytes = rows.get(key(n).as_bytes()).unwrap()?;
    match Record::from_stored(&key(n), bytes, Signing::off()).unwrap().payload().unwrap() {
        Payload::Inline(value) => Some(value.to_vec()),
        Payload::Blob(_) => unreachable!(),
    }
}

#[test]
fn rows_with_a_tier_before_them_conform() {
    let (server, dir) = (Arc::<Server>::default(), tempfile::tempdir().unwrap());
    conformance::metadata_backend(|| match tier_by(dir.path(), &config(), &server) {
        Ok(rows) => Ok(Arc::new(rows)),
        Err(error) if error.is_locked() => Ok(Arc::new(server.machine())),
        Err(error) => Err(error),
    });
}

#[test]
fn a_copy_answers_without_the_server_until_others_have_changed_its_row() {
    let (server, dir) = (Arc::<Server>::default(), tempfile::tempdir().unwrap());
    let (near, far) = (tier(dir.path(), &server), server.machine());
    put(&far, 1, b"one");
    let (found, reads) = server.reads_of(|| [get(&near, 1), get(&near, 1), get(&near, 1)]);
    assert!(found.iter().all(|found| found.as_deref() == Some(b"one")) && reads == 1, "{reads}");
    put(&near, 2, b"own");
    assert_eq!(server.reads_of(|| get(&near, 2)), (Some(b"own".to_vec()), 0), "what it has put itself");
    put(&far, 1, b"other");
    std::thread::sleep(LEASE);
    assert_eq!(server.reads_of(|| get(&near, 1)), (Some(b"other".to_vec()), 1));
    remove(&far, 1);
    std::thread::sleep(LEASE);
    assert_eq!(get(&near, 1), None);
    let stats = near.tier.stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (3, 3, 1), "{stats:?}");
}

#[test]
fn a_server_that_is_down_lets_copies_be_used_and_those_of_an_earlier_process_wait_for_it() {
    let (server, dir) = (Arc::<Server>::default(), tempfile::tempdir().unwrap());
    let near = tier(dir.path(), &server);
    put(&near, 1, b"one");
    // It was asked since, and tells the next process nothing of this change.
    std::thread::sleep(LEASE);
    assert!(get(&near, 1).is_some());
    server.is_down.store(true, Ordering::SeqCst);
    std::thread::sleep(LEASE * 2);
    assert_eq!(get(&near, 1).as_deref(), Some(&b"one"[..]));
    near.close().unwrap();
    drop(near);
    let near = tier(dir.path(), &server);
    assert!(near.get(key(1).as_bytes()).unwrap_err().is_unavailable());
    server.is_down.store(false, Ordering::SeqCst);
    assert_eq!(server.reads_of(|| get(&near, 1)), (Some(b"one".to_vec()), 0));
}

/// Opens a tier again after a close or a kill, with other changes in between.
fn again(closed: bool) -> (Option<Vec<u8>>, Option<Vec<u8>>, usize) {
    let (server, dir) = (Arc::<Server>::default(), tempfile::tempdir().unwrap());
    let (near, far) = (tier(dir.path(), &server), server.machine());
    (1..=3).for_each(|n| put(&near, n, b"before"));
    std::thread::sleep(LEASE);
    assert!(get(&near, 2).is_some());
    near.tier.flush();
    put(&near, 3, b"own");
    if closed {
        near.close().unwrap();
    }
    drop(near);
    put(&far, 1, b"after");
    remove(&far, 3);
    let near = tier(dir.path(), &server);
    let (second, reads) = server.reads_of(|| get(&near, 2));
    assert_eq!(get(&near, 3), None);
    (get(&near, 1), second, reads)
}

#[test]
fn what_changed_while_nobody_listened_is_not_served_after_a_close_nor_after_a_kill() {
    for closed in [true, false] {
        let (changed, unchanged, reads) = again(closed);
        assert_eq!((changed.as_deref(), unchanged.as_deref()), (Some(&b"after"[..]), Some(&b"before"[..])));
        assert_eq!(reads, 0, "what did not change was not asked for; closed: {closed}");
    }
}

#[test]
fn copies_of_other_rows_are_compared_before_they_are_believed_and_all_in_the_end() {
    let (one, other, dir) = (Arc::<Server>::default(), Arc::<Server>::default(), tempfile::tempdir().unwrap());
    let near = tier(dir.path(), &one);
    (0..200).for_each(|n| put(&near, n, b"one"));
    near.close().unwrap();
    drop(near);
    (0..200).for_each(|n| put(&other.machine(), n, if n % 2 == 0 { b"one" } else { b"two" }));
    let near = tier(dir.path(), &other);
    assert_eq!(get(&near, 1).as_deref(), Some(&b"two"[..]));
    assert!(near.tier.turns.is_doubtful());
    for _ in 0..5 {
        std::thread::sleep(LEASE);
        get(&near, 1);
    }
    assert!(!near.tier.turns.is_doubtful(), "64 at a time");
    let (found, reads) = server_reads(&other, &near);
    assert!(
        found.iter().enumerate().all(|(n, found)| found.as_deref() == Some(if n % 2 == 0 { b"one" } else { b"two" }))
    );
    assert_eq!(reads, 0);
    near.close().unwrap();
    drop(near);
    assert_eq!(server_reads(&other, &tier(dir.path(), &other)).1, 0, "nor in the next process");
}

fn server_reads(server: &Server, rows: &TieredRows) -> (Vec<Option<Vec<u8>>>, usize) {
    server.reads_of(|| (0..200).map(|n| get(rows, n)).collect())
}

#[test]
fn what_the_server_has_missed_itself_is_doubted() {
    let (server, dir) = (Arc::<Server>::default(), tempfile::tempdir().unwrap());
    let near = tier(dir.path(), &server);
    put(&near, 1, b"one");
    // As after an outage, in which the server has gone back to what it knew before.
    server.rows.apply(&[Change { key: key(1).as_bytes(), expected: Expected::Anything, row: None }]).unwrap();
    server.epoch.fetch_add(1, Ordering::SeqCst);
    std::thread::sleep(LEASE);
    assert_eq!(get(&near, 1), None);
}

#[test]
fn a_change_of_which_nobody_knows_whether_it_is_made_leaves_no_copy() {
    let (server, dir) = (Arc::<Server>::default(), tempfile::tempdir().unwrap());
    let near = tier(dir.path(), &server);
    put(&near, 1, b"one");
    server.is_down.store(true, Ordering::SeqCst);
    let record = record(1, b"late");
    let facts = record.facts().unwrap();
    let row = Some((record.as_bytes(), &facts));
    let key_of_it = key(1);
    let change = Change { key: key_of_it.as_bytes(), expected: Expected::Anything, row };
    near.apply(&[change]).unwrap_err();
    server.is_down.store(false, Ordering::SeqCst);
    assert_eq!(get(&near, 1).as_deref(), Some(&b"one"[..]), "not yet");
    // It was on its way, and as a change of its own nobody tells it.
    server.rows.apply(&[change]).unwrap();
    assert_eq!(get(&near, 1).as_deref(), Some(&b"late"[..]));
}

#[test]
fn copies_stay_below_their_limit_and_the_least_used_go() {
    let (server, dir) = (Arc::<Server>::default(), tempfile::tempdir().unwrap());
    let near = tier_by(dir.path(), &config().with_local_max_size_mb(1), &server).unwrap();
    let value = vec![7; 10_000];
    for n in 0..100 {
        put(&near, n, &value);
        near.used(&[(key(0).as_bytes(), SystemClock.now())]).unwrap();
        assert!(near.tier.stats().size_bytes <= 1 << 20);
    }
    assert_eq!(server.rows.totals().unwrap().entries, 100, "the rows stay");
    assert_eq!(server.reads_of(|| get(&near, 0).is_some()), (true, 0));
    assert_eq!(server.reads_of(|| get(&near, 1).is_some()), (true, 1));
    put(&near, 1000, &vec![7; 300_000]);
    assert_eq!(server.reads_of(|| get(&near, 1000).is_some()), (true, 1), "more than a quarter of all");
}

#[test]
fn a_second_tier_in_one_directory_is_refused_and_a_cache_is_none() {
    let (server, dir) = (Arc::<Server>::default(), tempfile::tempdir().unwrap());
    let near = tier(dir.path(), &server);
    assert!(tier_by(dir.path(), &config(), &server).is_err_and(|error| error.is_locked()));
    near.close().unwrap();
    assert!(tier_by(dir.path(), &config(), &server).is_ok());
    let cache = tempfile::tempdir().unwrap();
    crate::cache::Cache::open(cache.path()).unwrap().close().unwrap();
    assert!(tier_by(cache.path(), &config(), &server).is_err_and(|error| error.is_conflict()));
    assert!(crate::cache::Cache::open(dir.path()).unwrap_err().is_conflict());
}

/// Threads on two machines that put, remove and read; none is given what was acknowledged to be gone for longer than a lease.
#[test]
fn nothing_is_served_that_was_acknowledged_to_be_gone_for_longer_than_the_lease() {
    const KEYS: usize = 8;
    let (server, dir) = (Arc::<Server>::default(), tempfile::tempdir().unwrap());
    let near: Arc<dyn MetadataBackend> = Arc::new(tier(dir.path(), &server));
    let far: Arc<dyn MetadataBackend> = Arc::new(server.machine());
    // Of each key: its number of changes, and when the last ones were acknowledged.
    let acknowledged: Vec<Mutex<Vec<Instant>>> = (0..KEYS).map(|_| Mutex::new(vec![Instant::now()])).collect();
    (0..KEYS).for_each(|n| put(&*far, n as u64, &0u64.to_le_bytes()));
    let end = Instant::now() + Duration::from_millis(1500);
    std::thread::scope(|scope| {
        for (thread, rows) in [&near, &far, &near, &far].into_iter().enumerate() {
            let acknowledged = &acknowledged;
            scope.spawn(move || {
                let mut state = thread as u64 + 1;
                while Instant::now() < end {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let n = (state >> 33) as usize % KEYS;
                    // One thread changes a key, so that its values are in order.
                    let (own, begin) = (n % 4 == thread, Instant::now());
                    if own && (state >> 50).is_multiple_of(16) {
                        let version = lock(&acknowledged[n]).len() as u64;
                        put(&**rows, n as u64, &version.to_le_bytes());
                        lock(&acknowledged[n]).push(Instant::now());
                    } else if let Some(found) = get(&**rows, n as u64) {
                        let version = u64::from_le_bytes(found.try_into().unwrap()) as usize;
                        let next = lock(&acknowledged[n]).get(version + 1).copied();
                        let late = next.map_or(Duration::ZERO, |next| begin.saturating_duration_since(next));
                        let allowed = if own { Duration::ZERO } else { LEASE };
                        assert!(late <= allowed, "version {version} of {n} was gone for {late:?}");
                    }
                    if (state >> 40).is_multiple_of(4096) {
                        rows.flush().unwrap();
                    }
                }
            });
        }
    });
}
