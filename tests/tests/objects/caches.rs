//! Caches whose values are in a bucket.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use cacheness::backend::{BackendOptions, BlobName};
use cacheness::cache::Expired;
use cacheness::config::Durability;
use cacheness::{Cache, CacheConfig, Field, PutOptions, cached};
use cacheness_tests::proxy::{Network, Proxy};
use cacheness_tests::{noise, scratch, servers};
use log::{LevelFilter, Log, Metadata, Record};

use super::server::{BUCKET, Server, TIMEOUT, bucket, config};

const LARGE: usize = 300_000;

/// Waits until the bucket has so many blobs.
fn until_blobs(server: &Server, expected: usize) {
    let begun = Instant::now();
    while server.blobs().len() != expected {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", server.blobs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn values_are_in_the_bucket_and_a_put_and_a_get_are_one_request_each() {
    let Some(server) = Server::start() else { return };
    let (proxy, dir) = (Proxy::before(server.port), scratch());
    let value = noise(1, 1 << 20);
    let cache = Cache::new(config(dir.path(), proxy.port)).unwrap();
    proxy.forget();
    cache.put("large", &value).unwrap();
    assert_eq!(proxy.requests().len(), 1, "{:?}", proxy.requests());
    proxy.forget();
    assert!(cache.get::<Vec<u8>>("large").unwrap().unwrap() == value);
    assert_eq!(proxy.requests().len(), 1, "{:?}", proxy.requests());
    cache.close().unwrap();
    assert_eq!(server.blobs().len(), 1);
    assert!(cacheness_tests::files_below(&dir.path().join("blobs")).unwrap_or_default().is_empty());

    let cache = Cache::new(config(dir.path(), proxy.port)).unwrap();
    assert!(cache.get::<Vec<u8>>("large").unwrap().unwrap() == value, "after it was opened again");
    cache.put("large", &noise(2, LARGE)).unwrap();
    until_blobs(&server, 1);
    assert!(cache.invalidate("large").unwrap());
    until_blobs(&server, 0);
    assert_eq!(cache.get::<Vec<u8>>("large").unwrap(), None);
}

#[test]
fn a_batch_asks_for_all_rows_at_once_and_for_several_values_at_a_time() {
    let Some(server) = Server::start() else { return };
    let Ok(rows) = servers::Redis::start(&[]).map_err(|why| servers::skip(&why)) else { return };
    let (proxy, dir) = (Proxy::before(server.port), scratch());
    let config = config(dir.path(), proxy.port).with_backend("redis").with_connection_url(rows.url());
    let cache = Cache::new(config.with_metadata_option("deadline_ms", 10_000)).unwrap();
    let value = |n: u64| if n.is_multiple_of(4) { noise(n, LARGE) } else { noise(n, 100) };
    (0..100u64).for_each(|n| drop(cache.put(n, &value(n)).unwrap()));
    let questions = || {
        let told = rows.tell("INFO commandstats").unwrap();
        let calls = told.lines().find_map(|line| line.strip_prefix("cmdstat_mget:calls="));
        calls.map_or(0, |rest| rest.split(',').next().unwrap().parse::<u64>().unwrap())
    };
    proxy.becomes(Network::Slow(Duration::from_millis(100)));
    proxy.forget();
    let before = questions();
    let found = cache.get_batch::<Vec<u8>, _>(0..101u64).unwrap();
    assert_eq!((questions() - before, proxy.requests().len()), (1, 25));
    assert!(proxy.most_at_once() > 2, "{}", proxy.most_at_once());
    for (n, (_, found)) in (0..100u64).zip(&found) {
        assert!(found.as_ref() == Some(&value(n)), "{n}");
    }
    assert!(found[100].1.is_none());
    let stats = cache.get_stats().unwrap();
    assert_eq!((stats.hits, stats.misses), (100, 1));
}

#[test]
fn values_of_a_batch_are_written_several_at_a_time_and_a_bucket_out_of_reach_is_one_error() {
    let Some(server) = Server::start() else { return };
    let Ok(rows) = servers::redis().map_err(|why| servers::skip(&why)) else { return };
    let (proxy, dirs) = (Proxy::before(server.port), [scratch(), scratch()]);
    let far = |config: CacheConfig| {
        let config =
            config.with_backend("redis").with_connection_url(rows.url()).with_metadata_option("deadline_ms", 10_000);
        config.with_metadata_option("namespace", rows.namespace())
    };
    for (n, dir) in dirs.iter().enumerate() {
        let config = config(dir.path(), proxy.port).with_blob_option("prefix", format!("batch-{n}"));
        let cache = Cache::new(if n == 0 { far(config) } else { config }).unwrap();
        cache.put("first", &noise(0, LARGE)).unwrap();
        proxy.becomes(Network::Slow(Duration::from_millis(100)));
        proxy.forget();
        let values: Vec<Vec<u8>> =
            (0..100).map(|n: u64| noise(n, if n.is_multiple_of(4) { LARGE } else { 100 })).collect();
        cache.put_batch((0u64..).zip(&values)).unwrap();
        assert_eq!(proxy.requests().len(), 25, "{:?}", proxy.requests());
        assert!(proxy.most_at_once() > 2, "{}", proxy.most_at_once());
        proxy.becomes(Network::Works);
        assert!((0u64..).zip(&values).all(|(n, value)| cache.get::<Vec<u8>>(n).unwrap().as_ref() == Some(value)));
        assert_eq!(cache.get_stats().unwrap().puts, 101);

        proxy.becomes(Network::BlackHole);
        let begun = Instant::now();
        let keys = (0u64..).map(|n| format!("new {n}"));
        assert!(cache.put_batch(keys.zip(&values)).unwrap_err().is_unavailable());
        assert!(begun.elapsed() < 3 * TIMEOUT, "{:?}", begun.elapsed());
        let stats = cache.get_stats().unwrap();
        assert_eq!((stats.outages, stats.entries), (1, 101), "the first one needs the bucket");
        proxy.becomes(Network::Works);
    }
}

#[test]
fn an_entry_tells_the_etag_of_its_object_and_is_found_by_it() {
    let Some(server) = Server::start() else { return };
    let dir = scratch();
    let cache = Cache::new(config(dir.path(), server.port)).unwrap();
    let tag = |key: &str| {
        let entry = cache.get_metadata(key, Expired::Skip).unwrap().unwrap();
        assert_eq!(entry.metadata().get("owner"), Some(&"me".into()), "what the user said stays");
        entry.s3_etag().map(str::to_owned)
    };
    for (key, value) in [("large", noise(20, LARGE)), ("long", noise(21, 20 << 20)), ("small", noise(22, 10))] {
        cache.put_with(key, &value, PutOptions::new().metadata("owner", "me")).unwrap();
    }
    let first = tag("large").unwrap();
    let told = server.ask(&format!("GET /{BUCKET}?list-type=2"));
    assert!(first.len() == 32 && told.contains(&first), "{told}");
    assert!(tag("long").unwrap().ends_with("-3"), "of three parts: {:?}", tag("long"));
    assert_eq!(tag("small"), None);
    let found = cache.list_entries().matching(Field::metadata("s3_etag").eq(first.as_str()));
    assert_eq!(found.count(), 1);
    assert!(cache.update_data("large", &noise(23, LARGE)).unwrap());
    assert_ne!(tag("large").unwrap(), first, "another value has another one");
    assert!(cache.update_data("large", &b"small now".to_vec()).unwrap());
    assert_eq!(tag("large"), None, "there is no object any more");
}

#[test]
fn long_values_and_vectors_of_numbers_come_back() {
    let Some(server) = Server::start() else { return };
    let dir = scratch();
    let cache = Cache::new(config(dir.path(), server.port)).unwrap();
    let numbers: Vec<f64> = (0..3_000_000).map(|n| f64::from(n).sqrt()).collect();
    cache.put("bytes", &noise(3, 20 << 20)).unwrap();
    cache.put("numbers", &numbers).unwrap();
    assert!(cache.get::<Vec<u8>>("bytes").unwrap().unwrap() == noise(3, 20 << 20));
    assert!(cache.get::<Vec<f64>>("numbers").unwrap().unwrap() == numbers);
}

#[test]
fn a_cache_opens_and_computes_while_the_bucket_is_out_of_reach_and_stores_afterwards() {
    let Some(server) = Server::start() else { return };
    let (proxy, dir) = (Proxy::before(server.port), scratch());
    let cache = Cache::new(config(dir.path(), proxy.port)).unwrap();
    cache.put("kept", &noise(4, LARGE)).unwrap();
    cache.close().unwrap();

    for network in [Network::Refuses, Network::BlackHole] {
        proxy.becomes(network);
        let cache = Cache::new(config(dir.path(), proxy.port)).unwrap();
        assert_eq!(cache.get::<Vec<u8>>("kept").unwrap(), None, "a miss");
        assert!(cache.put("new", &noise(5, LARGE)).unwrap_err().is_unavailable());
        assert!(cache.get_stats().unwrap().outages >= 2, "both are counted");
        cache.put("small", &7u8).unwrap();
        assert_eq!(cache.get("small").unwrap(), Some(7u8), "it lies in the index");
        let begun = Instant::now();
        assert_eq!(computed(&cache, 3), 3 * LARGE as u64);
        assert!(begun.elapsed() < 4 * TIMEOUT, "{:?}", begun.elapsed());
        proxy.becomes(Network::Works);
        // It is not asked again at once.
        let begun = Instant::now();
        while cache.get::<Vec<u8>>("kept").unwrap().is_none() {
            assert!(begun.elapsed() < 10 * TIMEOUT);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(cache.get::<Vec<u8>>("kept").unwrap().unwrap() == noise(4, LARGE));
        cache.put("new", &noise(5, LARGE)).unwrap();
        assert!(cache.get::<Vec<u8>>("new").unwrap().unwrap() == noise(5, LARGE));
        cache.close().unwrap();
    }
}

fn computed(cache: &Cache, n: u64) -> u64 {
    #[cached(cache = cache, skip(cache))]
    fn values(cache: &Cache, n: u64) -> Vec<u64> {
        vec![n; LARGE]
    }
    values(cache, n).into_iter().sum()
}

#[test]
fn a_prefix_belongs_to_one_index() {
    let Some(server) = Server::start() else { return };
    let [one, other] = [scratch(), scratch()];
    let cache = Cache::new(config(one.path(), server.port)).unwrap();
    cache.put("large", &noise(6, LARGE)).unwrap();
    let error = Cache::new(config(other.path(), server.port)).unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("choose another blob.options.prefix"), "{error}");
    let beside = config(other.path(), server.port).with_blob_option("prefix", "other");
    Cache::new(beside).unwrap().put("large", &noise(7, LARGE)).unwrap();
    assert!(cache.get::<Vec<u8>>("large").unwrap().is_some());
    assert_eq!(server.blobs().len(), 2);
}

/// Says to a test that it is another process: the port of the server, and the directory.
const KILLED: [&str; 2] = ["PORT_OF_A_KILLED_PROCESS", "DIRECTORY_OF_A_KILLED_PROCESS"];

#[test]
fn what_a_killed_process_left_is_removed_when_its_index_is_opened() {
    if let [Some(port), Some(dir)] = KILLED.map(std::env::var_os) {
        let port = port.to_str().unwrap().parse().unwrap();
        let cache = Cache::new(config(dir.as_ref(), port)).unwrap();
        cache.put("large", &noise(8, LARGE)).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        bucket(port).write(&BlobName::unique(), &[b"without a row"], Durability::Interval).unwrap();
        // As a kill does: nobody closes it.
        std::process::abort();
    }
    let Some(server) = Server::start() else { return };
    let dir = scratch();
    let mut process = std::process::Command::new(std::env::current_exe().unwrap());
    let test = "caches::what_a_killed_process_left_is_removed_when_its_index_is_opened";
    process.args(["--exact", test]).env(KILLED[0], server.port.to_string()).env(KILLED[1], dir.path());
    assert!(!process.output().unwrap().status.success());
    assert_eq!(server.blobs().len(), 2);
    let cache = Cache::new(config(dir.path(), server.port)).unwrap();
    assert_eq!(server.blobs().len(), 1);
    assert!(cache.get::<Vec<u8>>("large").unwrap().unwrap() == noise(8, LARGE));
}

#[test]
fn an_index_that_is_lost_is_made_anew_from_the_bucket() {
    let Some(server) = Server::start() else { return };
    let dir = scratch();
    let cache = Cache::new(config(dir.path(), server.port)).unwrap();
    cache.put("large", &noise(8, LARGE)).unwrap();
    cache.close().unwrap();
    bucket(server.port).write(&BlobName::unique(), &[b"not one of ours"], Durability::Interval).unwrap();
    Cache::new(config(dir.path(), server.port)).unwrap().close().unwrap();
    assert_eq!(server.blobs().len(), 2, "after a clean close nobody looks");
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let cache = Cache::new(config(dir.path(), server.port)).unwrap();
    assert!(cache.get::<Vec<u8>>("large").unwrap().unwrap() == noise(8, LARGE));
    assert_eq!(server.blobs().len(), 1);
}

#[test]
fn blobs_without_a_row_stay_until_they_are_old_where_other_machines_may_share_the_rows() {
    let Some(server) = Server::start() else { return };
    let [rows, one, other] = [scratch(), scratch(), scratch()];
    let shared = |dir: &std::path::Path| {
        let database = rows.path().join("rows.sqlite3").display().to_string();
        config(dir, server.port).with_backend("sqlite").with_database_url(database)
    };
    let first = Cache::new(shared(one.path())).unwrap();
    first.put("large", &noise(9, LARGE)).unwrap();
    let begun = BlobName::unique();
    bucket(server.port).write(&begun, &[b"about to get a row"], Durability::Interval).unwrap();
    let second = Cache::new(shared(other.path())).unwrap();
    assert!(second.get::<Vec<u8>>("large").unwrap().unwrap() == noise(9, LARGE));
    assert_eq!(server.blobs().len(), 2);
    second.put("large", &noise(10, LARGE)).unwrap();
    assert!(first.get::<Vec<u8>>("large").unwrap().unwrap() == noise(10, LARGE));
    // Until they are old: the first one to change something notes when to look for such.
    let files = ["rows.sqlite3", "rows.sqlite3-wal"].map(|name| rows.path().join(name));
    let holds = |bytes: &[u8]| bytes.windows(15).any(|part| part == b"cacheness.swept");
    let begun = std::time::Instant::now();
    while !files.iter().any(|file| std::fs::read(file).is_ok_and(|bytes| holds(&bytes))) {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "nobody looks for blobs without a row");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn an_index_that_ends_with_the_process_is_refused_before_a_bucket() {
    let config = CacheConfig::new("dir").with_blob_backend("s3").with_blob_option("bucket", "b").with_backend("memory");
    let error = config.validate().unwrap_err().to_string();
    assert!(error.contains("blob.backend is \"s3\": each opening would read every blob"), "{error}");
    let faulty = CacheConfig::new("dir").with_blob_backend("s3").with_blob_option("timeout_ms", 1);
    let error = faulty.validate().unwrap_err().to_string();
    assert!(error.contains("blob.options.bucket: this backend needs it"), "{error}");
}

/// Keeps what is logged by anybody.
struct Kept(Mutex<String>);

impl Log for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push_str(&format!("{} {}\n", record.target(), record.args()));
    }

    fn flush(&self) {}
}

static LOGGED: Kept = Kept(Mutex::new(String::new()));

#[test]
fn no_secret_is_logged_or_shown() {
    log::set_logger(&LOGGED).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let Some(server) = Server::start() else { return };
    let (proxy, dir) = (Proxy::before(server.port), scratch());
    let config = config(dir.path(), proxy.port);
    let cache = Cache::new(config.clone()).unwrap();
    cache.put("large", &noise(11, LARGE)).unwrap();
    cache.get::<Vec<u8>>("large").unwrap().unwrap();
    proxy.becomes(Network::Refuses);
    let error = cache.put("large", &noise(12, LARGE)).unwrap_err();
    let options =
        config.blob.options.iter().fold(BackendOptions::new(), |all, (name, value)| all.with(name, value.clone()));
    let blobs = bucket(server.port);
    let shown = format!("{cache:?} {config:?} {options:?} {blobs:?} {error} {error:?}");
    assert!(shown.contains(BUCKET) && !shown.contains("MARKED"), "{shown}");
    let logged = LOGGED.0.lock().unwrap();
    assert!(logged.contains("127.0.0.1") && !logged.contains("MARKED"), "{logged}");
}
