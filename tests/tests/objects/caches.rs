//! Caches whose values are in a bucket.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use cacheness::backend::BackendOptions;
use cacheness::{Cache, CacheConfig, cached};
use cacheness_tests::{noise, scratch};
use log::{LevelFilter, Log, Metadata, Record};

use super::proxy::{Network, Proxy};
use super::server::{BUCKET, Server, TIMEOUT, config};

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
        assert!(cache.get::<Vec<u8>>("kept").unwrap_err().is_storage(), "it is not known to be gone");
        assert!(cache.put("new", &noise(5, LARGE)).unwrap_err().is_storage());
        cache.put("small", &7u8).unwrap();
        assert_eq!(cache.get("small").unwrap(), Some(7u8), "it lies in the index");
        let begun = Instant::now();
        assert_eq!(computed(&cache, 3), 3 * LARGE as u64);
        assert!(begun.elapsed() < 4 * TIMEOUT, "{:?}", begun.elapsed());
        proxy.becomes(Network::Works);
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

#[test]
fn what_a_killed_process_left_is_removed_by_the_one_that_has_the_prefix_and_by_no_other() {
    let Some(server) = Server::start() else { return };
    let dir = scratch();
    let blob = || super::server::bucket(server.port);
    let cache = Cache::new(config(dir.path(), server.port)).unwrap();
    cache.put("large", &noise(8, LARGE)).unwrap();
    let left_over = cacheness::backend::BlobName::unique();
    blob().write(&left_over, &[b"left over"], cacheness::config::Durability::Interval).unwrap();
    cache.close().unwrap();
    Cache::new(config(dir.path(), server.port)).unwrap().close().unwrap();
    assert_eq!(server.blobs().len(), 2, "after a clean close nobody looks");
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let cache = Cache::new(config(dir.path(), server.port)).unwrap();
    assert!(cache.get::<Vec<u8>>("large").unwrap().unwrap() == noise(8, LARGE), "made anew from what is in the bucket");
    assert_eq!(server.blobs().len(), 1);
}

#[test]
fn blobs_without_a_row_stay_where_other_machines_may_share_the_rows() {
    let Some(server) = Server::start() else { return };
    let [rows, one, other] = [scratch(), scratch(), scratch()];
    let shared = |dir: &std::path::Path| {
        let database = rows.path().join("rows.sqlite3").display().to_string();
        config(dir, server.port).with_backend("sqlite").with_database_url(database)
    };
    let first = Cache::new(shared(one.path())).unwrap();
    first.put("large", &noise(9, LARGE)).unwrap();
    let begun = cacheness::backend::BlobName::unique();
    super::server::bucket(server.port).write(&begun, &[b"about to get a row"], Default::default()).unwrap();
    let second = Cache::new(shared(other.path())).unwrap();
    assert!(second.get::<Vec<u8>>("large").unwrap().unwrap() == noise(9, LARGE));
    assert_eq!(server.blobs().len(), 2);
    second.put("large", &noise(10, LARGE)).unwrap();
    assert!(first.get::<Vec<u8>>("large").unwrap().unwrap() == noise(10, LARGE));
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
    let error = cache.get::<Vec<u8>>("large").unwrap_err();
    let options =
        config.blob.options.iter().fold(BackendOptions::new(), |all, (name, value)| all.with(name, value.clone()));
    let blobs = super::server::bucket(server.port);
    let shown = format!("{cache:?} {config:?} {options:?} {blobs:?} {error} {error:?}");
    assert!(shown.contains(BUCKET) && !shown.contains("MARKED"), "{shown}");
    let logged = LOGGED.0.lock().unwrap();
    assert!(logged.contains("127.0.0.1") && !logged.contains("MARKED"), "{logged}");
}
