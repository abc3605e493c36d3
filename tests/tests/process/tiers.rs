//! A directory of one machine before rows and values that several machines share: what is answered here, and until when.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cacheness::backend::{BlobBackend, MemoryBlobs, register_blob_backend};
use cacheness::{Cache, CacheConfig, PutOptions};
use cacheness_tests::{errors_of, files_below, noise, on_postgres, on_redis, probe, scratch, servers, value_of};
use tempfile::TempDir;

/// What a machine that is busy with other tests may take beyond what is promised.
const GRACE: Duration = Duration::from_millis(1500);
const LARGE: usize = 100_000;

/// Stands before a server and counts what is said to it.
struct Wire {
    port: u16,
    said: Arc<AtomicU64>,
}

impl Wire {
    fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let said = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&said);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", server));
                let Ok(server) = server.and_then(|server| Ok((server.try_clone()?, server))) else { continue };
                let (back, counted) = (client.try_clone().unwrap(), Arc::clone(&counted));
                thread::spawn(move || carry(client, server.0, || _ = counted.fetch_add(1, Ordering::SeqCst)));
                thread::spawn(move || carry(server.1, back, || {}));
            }
        });
        Self { port, said }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// How often something was said meanwhile: round trips, where one thread works.
    fn trips<R>(&self, work: impl FnOnce() -> R) -> (R, u64) {
        let before = self.said.load(Ordering::SeqCst);
        let done = work();
        (done, self.said.load(Ordering::SeqCst) - before)
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, heard: impl Fn()) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        heard();
        if to.write_all(&bytes[..len]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Rows in a namespace, and values that all machines see: one of them with a tier, and others.
struct Shared {
    config: CacheConfig,
    blobs: String,
    values: MemoryBlobs,
}

impl Shared {
    fn over(config: Option<CacheConfig>) -> Option<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let (values, blobs) = (MemoryBlobs::new(), format!("shared-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let opened = values.clone();
        register_blob_backend(&blobs, move |_| Ok(Arc::new(opened.clone())), "values of a test").unwrap();
        Some(Self { config: config?.with_blob_backend(&blobs).with_memory_cache(false), blobs, values })
    }

    fn on_each_server() -> Vec<Self> {
        let base = CacheConfig::default;
        [on_redis(base()), on_postgres(base())].into_iter().filter_map(Self::over).collect()
    }

    fn machine(&self) -> (TempDir, CacheConfig) {
        let dir = scratch();
        let config = self.config.clone().with_cache_dir(dir.path().join("cache"));
        (dir, config)
    }

    fn near(&self, dir: &Path, lease: Duration) -> CacheConfig {
        let config = self.config.clone().with_cache_dir(dir.join("cache"));
        config.with_local_tier(dir.join("near")).with_local_lease(lease)
    }

    /// Loses all values where the machines have them.
    fn lose_values(&self) {
        let names = self.values.page(None, 10_000).unwrap();
        names.into_iter().for_each(|blob| _ = self.values.remove(&blob.name).unwrap());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = cacheness::backend::unregister_blob_backend(&self.blobs);
    }
}

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn within_the_lease_a_hit_is_no_round_trip_and_large_values_are_here_too() {
    let Ok(server) = servers::redis().map_err(|why| servers::skip(&why)) else { return };
    let wire = Wire::before(server.port());
    let config = CacheConfig::default().with_backend("redis").with_metadata_option("deadline_ms", 10_000);
    let config = config.with_metadata_option("namespace", server.namespace());
    let far = Shared::over(Some(config.clone().with_connection_url(server.url()))).unwrap();
    let (_dir, elsewhere) = far.machine();
    let elsewhere = Cache::new(elsewhere).unwrap();
    for n in 0..20u64 {
        elsewhere.put(n, &noise(n, if n % 2 == 0 { 100 } else { LARGE })).unwrap();
    }
    let dir = scratch();
    // Uses are told to the server with each flush.
    let near = far.near(dir.path(), LONG).with_connection_url(wire.url()).with_flush_interval(Duration::from_secs(60));
    let here = Cache::new(near).unwrap();
    let read = || (0..20u64).filter(|n| here.get::<Vec<u8>>(*n).unwrap().is_some()).count();
    let (found, trips) = wire.trips(read);
    assert!(found == 20 && trips >= 20, "{found} {trips}");
    far.lose_values();
    assert_eq!(wire.trips(read), (20, 0));
    here.put("own", &noise(7, LARGE)).unwrap();
    far.lose_values();
    assert_eq!(wire.trips(|| here.get::<Vec<u8>>("own").unwrap().map(|value| value.len())), (Some(LARGE), 0));
    let stats = here.get_stats().unwrap();
    let local = stats.local.unwrap();
    assert_eq!((stats.hits, local.hits, local.misses, local.entries), (41, 21, 20, 21), "{local:?}");
    assert_eq!((local.value_hits, local.value_misses), (11, 10), "{local:?}");
    assert!(local.size_bytes > 11 * LARGE as u64, "{local:?}");
}

#[test]
fn an_invalidation_elsewhere_is_heard_of_within_the_lease_also_by_values_in_memory() {
    for shared in Shared::on_each_server() {
        for memory in [false, true] {
            let (_there, far) = shared.machine();
            let dir = scratch();
            let here = Cache::new(shared.near(dir.path(), SHORT).with_memory_cache(memory)).unwrap();
            let far = Cache::new(far).unwrap();
            for round in 0..5u64 {
                let large = round % 2 == 0;
                far.put("k", &noise(round, if large { LARGE } else { 10 })).unwrap();
                let begun = Instant::now();
                while here.get::<Vec<u8>>("k").unwrap() != Some(noise(round, if large { LARGE } else { 10 })) {
                    assert!(begun.elapsed() < SHORT + GRACE, "the new value is not heard of");
                    thread::sleep(Duration::from_millis(5));
                }
                assert!(far.invalidate("k").unwrap());
                let begun = Instant::now();
                while here.get::<Vec<u8>>("k").unwrap().is_some() {
                    assert!(begun.elapsed() < SHORT + GRACE, "the invalidation is not heard of");
                    thread::sleep(Duration::from_millis(5));
                }
            }
            here.put_with("tagged", &1u64, PutOptions::new().tag("t")).unwrap();
            assert_eq!(here.get::<u64>("tagged").unwrap(), Some(1));
            assert_eq!(here.invalidate_tag("t").unwrap(), 1);
            assert_eq!(here.get::<u64>("tagged").unwrap(), None, "its own at once");
            assert_eq!((here.clear().unwrap(), far.get_stats().unwrap().entries), (0, 0));
        }
    }
}

#[test]
fn while_the_server_is_away_what_is_here_is_a_hit_until_it_expires() {
    let Ok(server) = servers::Redis::start(&[]).map_err(|why| servers::skip(&why)) else { return };
    let config = CacheConfig::default().with_backend("redis").with_connection_url(server.url());
    let shared = Shared::over(Some(config)).unwrap();
    let dir = scratch();
    let here = Cache::new(shared.near(dir.path(), SHORT).with_metadata_option("deadline_ms", 2000)).unwrap();
    here.put("small", &1u64).unwrap();
    here.put("large", &noise(1, LARGE)).unwrap();
    here.put_with("mortal", &1u64, PutOptions::new().ttl(Duration::from_secs(4))).unwrap();
    let stored = Instant::now();
    assert_eq!(here.get::<u64>("mortal").unwrap(), Some(1));
    drop(server);
    thread::sleep(SHORT * 2);
    assert_eq!(here.get::<u64>("small").unwrap(), Some(1));
    assert_eq!(here.get::<Vec<u8>>("large").unwrap().map(|value| value.len()), Some(LARGE));
    assert_eq!(here.get::<u64>("other").unwrap(), None);
    assert!(here.invalidate("small").unwrap_err().is_unavailable());
    assert!(here.put("small", &2u64).unwrap_err().is_unavailable());
    thread::sleep(Duration::from_secs(4).saturating_sub(stored.elapsed()));
    assert_eq!(here.get::<u64>("mortal").unwrap(), None, "it has expired");
    assert!(here.get::<Vec<u8>>("large").unwrap().is_some());
    let _unreachable = here.close();
}

#[test]
fn what_changed_while_no_process_was_here_is_not_served_and_the_rest_is_asked_for_by_one_question() {
    for shared in Shared::on_each_server() {
        let (_there, far) = shared.machine();
        let (far, dir) = (Cache::new(far).unwrap(), scratch());
        let here = Cache::new(shared.near(dir.path(), LONG)).unwrap();
        for n in 0..30u64 {
            here.put(n, &noise(n, if n % 3 == 0 { LARGE } else { 50 })).unwrap();
        }
        here.close().unwrap();
        (0..10u64).for_each(|n| _ = far.put(n, &noise(n + 1000, 50)).unwrap());
        (10..20u64).for_each(|n| assert!(far.invalidate(n).unwrap()));
        let here = Cache::new(shared.near(dir.path(), LONG)).unwrap();
        let get = |n: u64| here.get::<Vec<u8>>(n).unwrap();
        assert!((0..10).all(|n| get(n) == Some(noise(n + 1000, 50))));
        assert!((10..20).all(|n| get(n).is_none()));
        let before = here.get_stats().unwrap().local.unwrap();
        assert!((20..30).all(|n| get(n) == Some(noise(n, if n % 3 == 0 { LARGE } else { 50 }))));
        let after = here.get_stats().unwrap().local.unwrap();
        let (hits, misses) = (after.hits - before.hits, after.misses - before.misses);
        // PostgreSQL tells the last changes once more while another transaction is open.
        let is_exact = shared.config.metadata.backend == "redis";
        assert!(hits + misses == 10 && hits > 0 && (misses == 0 || !is_exact), "{hits} hits, {misses} misses");
    }
}

/// Processes are killed while reads fill their tier, and what they leave is right, also for what changes meanwhile.
#[test]
fn kills_in_the_middle_of_filling_leave_nothing_wrong() {
    let Ok(server) = servers::redis().map_err(|why| servers::skip(&why)) else { return };
    let (dir, namespace) = (scratch(), server.namespace());
    let settings = dir.path().join("settings.toml");
    let text = format!("[metadata.options]\nnamespace = '{namespace}'\ndeadline_ms = 10000\n[local]\nlease_ms = 50\n");
    std::fs::write(&settings, text).unwrap();
    let place = dir.path().join("cache");
    let start = |local: &str| {
        let mut process = probe(crate::PROBE, &place, &["call", "400"]);
        process.env("CACHENESS_CONFIG", &settings).env("CACHENESS_BACKEND", "redis");
        process.env("CACHENESS_LOCAL_DIR", dir.path().join(local)).env("CACHENESS_CONNECTION_URL", server.url());
        process
    };
    let output = start("first").output().unwrap();
    assert!(output.status.success(), "{}", errors_of(&output));
    let mut state = 4711u64;
    for _ in 0..25 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut process = start("near").stderr(std::process::Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(20 + (state >> 33) % 150));
        let _ = process.kill();
        process.wait().unwrap();
    }
    // Each call compares its result with what it has to be.
    let output = start("near").output().unwrap();
    assert!(output.status.success() && cacheness_tests::bodies(&output) == 0, "{}", errors_of(&output));
    let config = CacheConfig::new(&place).with_backend("redis").with_connection_url(server.url());
    let config = config.with_metadata_option("namespace", namespace).with_metadata_option("deadline_ms", 10_000);
    let cache = Cache::new(config).unwrap();
    assert_eq!(cache.clear().unwrap(), 400);
    let output = start("near").output().unwrap();
    assert_eq!(cacheness_tests::bodies(&output), 400, "nothing is served that was removed meanwhile");
    assert_eq!(value_of(0).len(), 20_000, "some of them are files");
}

#[test]
fn a_copy_that_is_damaged_is_read_from_where_all_machines_have_it() {
    let Some(shared) = Shared::over(on_redis(CacheConfig::default())) else { return };
    let dir = scratch();
    let here = Cache::new(shared.near(dir.path(), LONG)).unwrap();
    let value = |n: u64| noise(n, LARGE + n as usize * 100_000);
    (0..6u64).for_each(|n| _ = here.put(n, &value(n)).unwrap());
    let files = || files_below(&dir.path().join("near/blobs")).unwrap_or_default();
    assert_eq!(files().len(), 6);
    for round in 0..3 {
        for (n, file) in files().into_iter().enumerate() {
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            match (round + n) % 3 {
                0 => bytes[middle] ^= 1,
                1 => bytes.truncate(middle),
                _ => bytes.clear(),
            }
            std::fs::write(&file, bytes).unwrap();
        }
        assert!((0..6).all(|n| here.get::<Vec<u8>>(n).unwrap().as_ref() == Some(&value(n))), "round {round}");
    }
    let stats = here.get_stats().unwrap();
    assert_eq!((stats.errors, stats.misses, stats.entries), (0, 0, 6));
    std::fs::remove_dir_all(dir.path().join("near/blobs")).unwrap();
    assert!((0..6).all(|n| here.get::<Vec<u8>>(n).unwrap().as_ref() == Some(&value(n))), "all files are gone");
}

#[test]
fn with_a_key_a_forged_copy_is_not_believed_and_costs_nothing() {
    let Some(mut shared) = Shared::over(on_redis(CacheConfig::default())) else { return };
    let dir = scratch();
    let key = dir.path().join("signing.key");
    shared.config = shared.config.clone().with_signing_key_file(&key);
    let here = Cache::new(shared.near(dir.path(), LONG)).unwrap();
    here.put("one", &noise(1, LARGE)).unwrap();
    here.put("two", &noise(2, LARGE)).unwrap();
    let files = files_below(&dir.path().join("near/blobs")).unwrap();
    let bytes: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    // Each is one that was signed, of another key.
    std::fs::write(&files[0], &bytes[1]).unwrap();
    std::fs::write(&files[1], &bytes[0]).unwrap();
    assert!(here.get::<Vec<u8>>("one").unwrap() == Some(noise(1, LARGE)));
    assert!(here.get::<Vec<u8>>("two").unwrap() == Some(noise(2, LARGE)));
    assert_eq!(here.get_stats().unwrap().errors, 0);
}

#[test]
fn a_second_cache_with_the_same_tier_goes_on_without_it() {
    let Some(shared) = Shared::over(on_redis(CacheConfig::default())) else { return };
    let (dir, second_dir) = (scratch(), scratch());
    let here = Cache::new(shared.near(dir.path(), LONG)).unwrap();
    let second = Cache::new(shared.near(dir.path(), LONG).with_cache_dir(second_dir.path())).unwrap();
    here.put("k", &1u64).unwrap();
    assert_eq!(second.get::<u64>("k").unwrap(), Some(1));
    assert!(here.get_stats().unwrap().local.is_some() && second.get_stats().unwrap().local.is_none());
    here.close().unwrap();
    second.close().unwrap();
    let second = Cache::new(shared.near(dir.path(), LONG).with_cache_dir(second_dir.path())).unwrap();
    assert!(second.get_stats().unwrap().local.is_some(), "when the first one is closed");
}

#[test]
fn what_is_here_stays_below_its_limit_and_what_all_machines_have_is_not_touched() {
    let Some(shared) = Shared::over(on_redis(CacheConfig::default())) else { return };
    let dir = scratch();
    let here = Cache::new(shared.near(dir.path(), LONG).with_local_max_size_mb(2)).unwrap();
    let bytes = || {
        let files = files_below(&dir.path().join("near/blobs")).unwrap_or_default();
        files.iter().map(|file| std::fs::metadata(file).map_or(0, |found| found.len())).sum::<u64>()
    };
    for n in 0..60u64 {
        here.put(n, &noise(n, LARGE)).unwrap();
        assert!(bytes() <= 2 << 20, "{}", bytes());
    }
    assert!((0..60).all(|n| here.get::<Vec<u8>>(n).unwrap() == Some(noise(n, LARGE))));
    assert!(bytes() > 1 << 20 && bytes() <= 2 << 20, "{}", bytes());
    here.put("large", &noise(100, 1 << 20)).unwrap();
    assert!(here.get::<Vec<u8>>("large").unwrap().is_some() && bytes() <= 2 << 20);
    assert_eq!(here.get_stats().unwrap().entries, 61);
}

/// One machine has a tier and the other has none; both change the same keys at random, and read them.
#[test]
fn nothing_is_served_that_was_acknowledged_to_be_gone_for_longer_than_the_lease() {
    const KEYS: usize = 6;
    for shared in Shared::on_each_server() {
        let (_there, far) = shared.machine();
        let (far, dir) = (Cache::new(far).unwrap(), scratch());
        let here = Cache::new(shared.near(dir.path(), SHORT).with_memory_cache(true)).unwrap();
        // Of each key: when its values were acknowledged.
        let changes: Vec<Mutex<Vec<Instant>>> = (0..KEYS).map(|_| Mutex::default()).collect();
        let large = |n: usize, version: u64| noise(version, if n.is_multiple_of(2) { 16 } else { 10_000 });
        let put = |cache: &Cache, n: usize| {
            // One at a time, so that values of a key are in order.
            let mut changes = changes[n].lock().unwrap();
            let version = changes.len() as u64;
            cache.put(n as u64, &(version, large(n, version))).unwrap();
            changes.push(Instant::now());
        };
        (0..KEYS).for_each(|n| put(&far, n));
        let end = Instant::now() + Duration::from_secs(4);
        thread::scope(|scope| {
            for (thread, cache) in [&here, &far, &here, &here].into_iter().enumerate() {
                let (changes, put) = (&changes, &put);
                scope.spawn(move || {
                    let mut state = thread as u64 + 99;
                    while Instant::now() < end {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let n = (state >> 33) as usize % KEYS;
                        if (state >> 50).is_multiple_of(64) && thread < 3 {
                            put(cache, n);
                            continue;
                        }
                        let begun = Instant::now();
                        let Some((version, value)) = cache.get::<(u64, Vec<u8>)>(n as u64).unwrap() else { continue };
                        assert_eq!(value, large(n, version));
                        let next = changes[n].lock().unwrap().get(version as usize + 1).copied();
                        let late = next.map_or(Duration::ZERO, |next| begun.saturating_duration_since(next));
                        assert!(late <= SHORT, "a value of {n} was gone for {late:?}");
                    }
                });
            }
        });
        let local = here.get_stats().unwrap().local.unwrap();
        assert!(local.hits > 0 && local.misses > 0, "{local:?}");
    }
}
