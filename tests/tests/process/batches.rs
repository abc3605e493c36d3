//! Many entries in one call, with their rows on a server: how often that is asked, and what is stored when something is at fault.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cacheness::backend::{
    Applied, Change, MemoryMetadata, MetadataBackend, Row, Scan, Swap, Totals, Traits, register_metadata_backend,
};
use cacheness::clock::Timestamp;
use cacheness::{Cache, CacheConfig, CacheError, CustomMetadata, ErrorKind, PutOptions, Result};
use cacheness_tests::proxy::{Network, Proxy};
use cacheness_tests::{files_below, noise, scratch, servers};
use tempfile::TempDir;

/// So many entries have one round trip.
const AT_ONCE: u64 = 64;
const LARGE: usize = 100_000;

/// A server behind a wire of its own, and a namespace there.
struct Far {
    wire: Proxy,
    config: CacheConfig,
}

impl Far {
    fn on_each_server() -> Vec<Self> {
        let redis = servers::redis()
            .map(|server| Self::behind(server.port(), "redis", "redis://127.0.0.1:", &server.namespace()));
        let postgres = servers::postgres().map(|server| {
            Self::behind(server.port(), "postgresql", "postgresql://cacheness@127.0.0.1:", &server.namespace())
        });
        [redis, postgres].into_iter().filter_map(|far| far.map_err(|why| servers::skip(&why)).ok()).collect()
    }

    fn behind(port: u16, backend: &str, url: &str, namespace: &str) -> Self {
        let wire = Proxy::before(port);
        let database = if backend == "redis" { "0" } else { "postgres" };
        let config = CacheConfig::default().with_backend(backend).with_metadata_option("namespace", namespace);
        let config = config.with_connection_url(format!("{url}{}/{database}", wire.port));
        // Uses are told to the server with each flush.
        let config = config.with_flush_interval(Duration::from_secs(60)).with_memory_cache(false);
        Self { wire, config: config.with_metadata_option("deadline_ms", 10_000) }
    }

    fn open(&self, configure: impl FnOnce(CacheConfig) -> CacheConfig) -> Opened {
        let dir = scratch();
        let config = configure(self.config.clone()).with_cache_dir(dir.path().join("cache"));
        Opened { cache: Cache::new(config).unwrap(), dir }
    }
}

/// A cache, and its directory, which goes after it.
struct Opened {
    cache: Cache,
    dir: TempDir,
}

impl Opened {
    fn files(&self) -> usize {
        files_below(&self.dir.path().join("cache/blobs")).unwrap_or_default().len()
    }
}

fn put_all(cache: &Cache, keys: impl IntoIterator<Item = u64>) -> Result<()> {
    let values: Vec<u64> = keys.into_iter().collect();
    cache.put_batch(values.iter().map(|n| (*n, n))).map(drop)
}

/// Statements and scripts are known to the server, and nothing else asks it any more.
fn warm_up(cache: &Cache, wire: &Proxy) {
    put_all(cache, 0..2 * AT_ONCE).unwrap();
    assert_eq!(cache.delete_batch(0..2 * AT_ONCE).unwrap(), 2 * AT_ONCE);
    let (begun, mut alone) = (Instant::now(), 0);
    while alone < 3 {
        assert!(begun.elapsed() < Duration::from_secs(60));
        let ((), trips) = wire.trips(|| drop(cache.put("warm", &alone).unwrap()));
        alone = if trips == 1 { alone + 1 } else { 0 };
        thread::sleep(Duration::from_millis(20));
    }
    cache.clear().unwrap();
}

#[test]
fn many_entries_are_put_and_removed_by_a_round_trip_for_64() {
    for far in Far::on_each_server() {
        let opened = far.open(|config| config);
        let cache = &opened.cache;
        warm_up(cache, &far.wire);
        let before = cache.get_stats().unwrap();
        let backend = before.backend;
        for what in ["new", "replaced"] {
            let ((), trips) = far.wire.trips(|| put_all(cache, 0..100).unwrap());
            assert_eq!(trips, 2, "{backend}: {what}");
        }
        let stats = cache.get_stats().unwrap();
        assert_eq!((stats.entries, stats.puts), (100, before.puts + 200), "{backend}");
        let found = cache.get_batch::<u64, _>(0..100u64).unwrap();
        assert!(found.into_iter().zip(0..).all(|((_, found), n)| found == Some(n)), "{backend}");
        let (removed, trips) = far.wire.trips(|| cache.delete_batch(0..100u64).unwrap());
        assert_eq!((removed, trips), (100, 2), "{backend}");
        assert_eq!(cache.get_stats().unwrap().entries, 0);
    }
}

#[test]
fn of_a_key_that_stands_twice_in_a_batch_the_last_value_counts_and_no_other_has_a_file() {
    for far in Far::on_each_server() {
        let opened = far.open(|config| config.with_flush_interval(Duration::from_millis(20)));
        let cache = &opened.cache;
        let values: Vec<Vec<u8>> = (0..5).map(|n| noise(n, LARGE)).collect();
        cache.put("one", &values[4]).unwrap();
        let keys = ["one", "two", "one", "one"];
        assert_eq!(cache.put_batch(keys.into_iter().zip(&values)).unwrap().len(), 4);
        assert!(cache.get::<Vec<u8>>("one").unwrap().as_ref() == Some(&values[3]));
        assert!(cache.get::<Vec<u8>>("two").unwrap().as_ref() == Some(&values[1]));
        assert_eq!((cache.len().unwrap(), cache.get_stats().unwrap().puts), (2, 5));
        let until_files = |expected: usize| {
            let begun = Instant::now();
            while opened.files() != expected {
                assert!(begun.elapsed() < Duration::from_secs(30), "{} files", opened.files());
                thread::sleep(Duration::from_millis(10));
            }
        };
        until_files(2);
        assert_eq!(cache.delete_batch(["one", "none", "two", "one"]).unwrap(), 2);
        until_files(0);
    }
}

#[test]
fn values_in_memory_go_before_a_batch_changes_their_rows() {
    for far in Far::on_each_server() {
        let opened = far.open(|config| config.with_memory_cache(true));
        let cache = &opened.cache;
        put_all(cache, 0..10).unwrap();
        assert!((0..10u64).all(|n| cache.get::<u64>(n).unwrap() == Some(n) && cache.get::<u64>(n).unwrap() == Some(n)));
        cache.put_batch((0..10u64).map(|n| (n, &77u64))).unwrap();
        assert!((0..10u64).all(|n| cache.get::<u64>(n).unwrap() == Some(77)));
        assert_eq!(cache.delete_batch(0..10u64).unwrap(), 10);
        assert!((0..10u64).all(|n| cache.get::<u64>(n).unwrap().is_none()));
    }
}

/// They take the same keys in different orders, and none waits for another one for ever.
#[test]
fn batches_of_several_threads_leave_memory_and_rows_alike() {
    const KEYS: u64 = 40;
    for far in Far::on_each_server() {
        let opened = far.open(|config| config.with_memory_cache(true));
        let cache = &opened.cache;
        thread::scope(|scope| {
            for thread in 0..4u64 {
                scope.spawn(move || {
                    for round in 0..25u64 {
                        let key = |n: u64| (n * [7, 33, 11, 27][thread as usize] + round) % KEYS;
                        let value = (thread, round);
                        match round % 3 {
                            0 => drop(cache.put_batch((0..30).map(|n| (key(n), &value))).unwrap()),
                            1 => drop(cache.get_batch::<(u64, u64), _>((0..30).map(key)).unwrap()),
                            _ => _ = cache.delete_batch((0..5).map(key)).unwrap(),
                        }
                    }
                });
            }
        });
        for n in 0..KEYS {
            let memory = cache.get::<(u64, u64)>(n).unwrap();
            assert_eq!(memory, cache.get_stored::<(u64, u64)>(n).unwrap(), "{n}");
        }
    }
}

#[test]
fn values_before_one_that_is_too_large_are_stored_and_none_behind_it() {
    for far in Far::on_each_server() {
        let opened = far.open(|config| config.with_max_size_mb(1));
        let cache = &opened.cache;
        let values: Vec<Vec<u8>> = (0..10).map(|n| noise(n, if n == 6 { 2 << 20 } else { 50_000 })).collect();
        assert!(cache.put_batch((0u64..).zip(&values)).unwrap_err().is_limit());
        let stored: Vec<_> = (0..10u64).map(|n| cache.exists(n).unwrap()).collect();
        assert_eq!(stored, (0..10).map(|n| n < 6).collect::<Vec<_>>());
        let stats = cache.get_stats().unwrap();
        assert_eq!((stats.puts, stats.errors, opened.files()), (6, 1, 6));
    }
}

#[test]
fn room_is_made_for_a_batch_when_it_is_stored_and_its_last_entry_stays() {
    for far in Far::on_each_server() {
        let opened = far.open(|config| config.with_max_size_mb(1));
        let cache = &opened.cache;
        let values: Vec<Vec<u8>> = (0..30).map(|n| noise(n, LARGE)).collect();
        cache.put_batch((0u64..).zip(&values)).unwrap();
        let stats = cache.get_stats().unwrap();
        assert!(stats.size_bytes <= 1 << 20 && stats.entries > 3 && stats.evictions == 30 - stats.entries, "{stats:?}");
        assert!(cache.exists(29u64).unwrap());
    }
}

#[derive(Clone, Debug, CustomMetadata)]
#[metadata(name = "batched")]
struct Batched {
    #[metadata(unique)]
    serial: i64,
}

#[test]
fn a_value_that_must_be_unique_is_that_of_the_first_entry_of_a_batch() {
    let postgres = Far::on_each_server().into_iter().find(|far| far.config.metadata.backend == "postgresql");
    let Some(far) = postgres else { return };
    let opened = far.open(|config| config);
    let options = PutOptions::new().custom(&Batched { serial: 7 });
    let put = || opened.cache.put_batch_with([("a", &1u8), ("b", &2), ("a", &3)], &options);
    assert!(put().unwrap_err().is_conflict());
    assert_eq!((opened.cache.get::<u8>("a").unwrap(), opened.cache.get::<u8>("b").unwrap()), (Some(1), None));
}

#[test]
fn what_a_batch_has_put_is_in_the_local_tier_too() {
    for far in Far::on_each_server() {
        let near = scratch();
        let opened = far.open(|config| config.with_local_tier(near.path()).with_local_lease(Duration::from_secs(3600)));
        let cache = &opened.cache;
        warm_up(cache, &far.wire);
        put_all(cache, 0..100).unwrap();
        let (found, trips) =
            far.wire.trips(|| (0..100u64).filter(|n| cache.get::<u64>(*n).unwrap() == Some(*n)).count());
        assert_eq!((found, trips), (100, 0));
        assert_eq!(cache.delete_batch(0..100u64).unwrap(), 100);
        assert!((0..100u64).all(|n| cache.get::<u64>(n).unwrap().is_none()));
    }
}

#[test]
fn a_server_that_does_not_answer_costs_a_batch_one_deadline_and_one_error() {
    for far in Far::on_each_server() {
        let opened = far.open(|config| config.with_metadata_option("deadline_ms", 300));
        let cache = &opened.cache;
        warm_up(cache, &far.wire);
        far.wire.becomes(Network::BlackHole);
        let begun = Instant::now();
        assert!(put_all(cache, 0..200).unwrap_err().is_unavailable());
        assert!(cache.delete_batch(0..200u64).unwrap_err().is_unavailable());
        // In PostgreSQL what takes longer may take ten times as long.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(cache.get_stats().map_or(1, |stats| stats.outages), 1);
    }
}

/// Rows behind what takes for a network: what it was given at once, and what it refuses.
#[derive(Clone, Debug)]
struct Picky {
    rows: Arc<MemoryMetadata>,
    given: Arc<Mutex<Vec<usize>>>,
    is_away: Arc<AtomicBool>,
}

impl Picky {
    fn refuses(change: &Change<'_>) -> bool {
        change.key.windows(8).any(|part| part == b"at fault")
    }
}

#[rustfmt::skip]
impl MetadataBackend for Picky {
    fn traits(&self) -> Traits { Traits::new("picky").shared().waits() }
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> { self.rows.get(key) }
    fn apply(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>> {
        self.given.lock().unwrap().push(changes.len());
        if self.is_away.load(Ordering::SeqCst) {
            return Err(CacheError::new(ErrorKind::Unavailable, "it is away"));
        }
        if changes.iter().any(Self::refuses) {
            return Err(CacheError::new(ErrorKind::Metadata, "one of them is at fault"));
        }
        self.rows.apply(changes)
    }
    fn page(&self, scan: &Scan<'_>, limit: usize) -> Result<Vec<Row>> { self.rows.page(scan, limit) }
    fn used(&self, uses: &[(&[u8], Timestamp)]) -> Result<()> { self.rows.used(uses) }
    fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>> { self.rows.last_used(key) }
    fn totals(&self) -> Result<Totals> { self.rows.totals() }
    fn state(&self, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> { self.rows.state(name, swap) }
    fn flush(&self) -> Result<()> { self.rows.flush() }
    fn close(&self) -> Result<()> { self.rows.close() }
}

#[test]
fn values_before_a_row_that_the_server_refuses_are_stored_and_none_behind_it() {
    let rows = Picky { rows: Arc::new(MemoryMetadata::new()), given: Arc::default(), is_away: Arc::default() };
    let opened = rows.clone();
    register_metadata_backend("picky", move |_| Ok(Arc::new(opened.clone())), "for a test").unwrap();
    let dir = scratch();
    let cache = Cache::new(CacheConfig::new(dir.path()).with_backend("picky").with_memory_cache(false)).unwrap();
    let keys: Vec<String> = (0..100).map(|n| if n == 70 { "at fault".to_owned() } else { n.to_string() }).collect();
    let values: Vec<Vec<u8>> = (0..100).map(|n| noise(n, if n % 2 == 0 { 10 } else { 20_000 })).collect();
    let put = || cache.put_batch(keys.iter().map(String::as_str).zip(&values));
    assert!(put().unwrap_err().is_metadata());
    assert_eq!(*rows.given.lock().unwrap(), [64, 36, 1, 1, 1, 1, 1, 1, 1]);
    for (n, (key, value)) in keys.iter().zip(&values).enumerate() {
        assert!(cache.get::<Vec<u8>>(key.as_str()).unwrap().as_ref() == Some(value).filter(|_| n < 70), "{n}");
    }
    let stats = cache.get_stats().unwrap();
    assert_eq!((stats.entries, stats.puts, stats.errors, stats.outages), (70, 70, 1, 0));

    rows.given.lock().unwrap().clear();
    rows.is_away.store(true, Ordering::SeqCst);
    assert!(put().unwrap_err().is_unavailable());
    assert_eq!((rows.given.lock().unwrap().len(), cache.get_stats().unwrap().outages), (1, 1));
    rows.is_away.store(false, Ordering::SeqCst);
    let all: HashSet<_> = keys.iter().map(String::as_str).filter(|key| *key != "at fault").collect();
    assert_eq!(cache.delete_batch(all).unwrap(), 70);
}
