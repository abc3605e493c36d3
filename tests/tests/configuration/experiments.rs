//! What can be observed of a cache from outside.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cacheness::backend::{BackendOptions, MemoryMetadata, MetadataBackend, register_metadata_backend};
use cacheness::{Cache, CacheConfig, PutOptions, Result, params};

use super::files;

/// Where the system does not tell what is to be observed.
pub(super) const UNKNOWN: &str = "unknown";

fn open(config: &CacheConfig) -> Cache {
    Cache::new(config.clone()).unwrap()
}

fn text(len: usize) -> String {
    (0..)
        .map(|n| format!("row {n} of {}, ", n * n % 977))
        .flat_map(String::into_bytes)
        .map(char::from)
        .take(len)
        .collect()
}

fn noise(len: usize) -> Vec<u8> {
    cacheness_tests::value_of(20).into_iter().cycle().take(len).collect()
}

fn outcome<T>(result: Result<T>) -> String {
    result.map_or_else(|error| format!("{} error", error.kind()), |_| "accepted".to_owned())
}

/// Which directories the cache made.
pub(super) fn place(dir: &Path, config: &CacheConfig) -> String {
    let cache = open(config);
    cache.put("key", &1).unwrap();
    cache.close().unwrap();
    let made = |name: &str| !files(&dir.join(name)).is_empty();
    format!("cache: {}, elsewhere: {}", made("cache"), made("elsewhere"))
}

pub(super) fn place_of_rows(dir: &Path, config: &CacheConfig) -> String {
    let cache = open(config);
    cache.put("key", &1).unwrap();
    cache.close().unwrap();
    let made = ["cache/index.sqlite3", "elsewhere.db"].map(|name| dir.join(name).exists());
    format!("{made:?}")
}

static ADDRESS: Mutex<Option<String>> = Mutex::new(None);

/// The name of a backend that notes its address.
pub(super) fn told_its_address() -> &'static str {
    let open = |options: &BackendOptions| {
        *ADDRESS.lock().unwrap() = options.text("connection_url")?.map(str::to_owned);
        Ok(Arc::new(MemoryMetadata::new()) as Arc<dyn MetadataBackend>)
    };
    // It may be there from another experiment.
    let _ = register_metadata_backend("told-its-address", open, "notes its address");
    "told-its-address"
}

pub(super) fn address_that_a_backend_gets(_: &Path, config: &CacheConfig) -> String {
    open(config).close().unwrap();
    format!("{:?}", ADDRESS.lock().unwrap())
}

/// What becomes of a process that finds the directory in use.
pub(super) fn as_second_process(_: &Path, config: &CacheConfig) -> String {
    let dir = &config.storage.cache_dir;
    let mut holder = cacheness_tests::probe(env!("CARGO_BIN_EXE_probe"), dir, &["hold"]);
    let mut holder = holder.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let opened = cacheness::Cache::new(config.clone()).map(|cache| cache.put("key", &1).is_ok());
    holder.kill().unwrap();
    holder.wait().unwrap();
    format!("{:?}", opened.map_err(|error| error.kind()))
}

/// How many of ten entries of 200 kB stay.
pub(super) fn entries_left(_: &Path, config: &CacheConfig) -> String {
    let cache = open(config);
    (0..10).for_each(|n| drop(cache.put(n, &noise(200_000)).unwrap()));
    let stats = cache.get_stats().unwrap();
    format!("{} entries, {} evicted", stats.entries, stats.evictions)
}

pub(super) fn expired_entries_after_opening(_: &Path, config: &CacheConfig) -> String {
    let cache = open(config);
    cache.put_with("key", &1, PutOptions::new().ttl(Duration::from_micros(1))).unwrap();
    while cache.exists("key").unwrap() {}
    cache.close().unwrap();
    let cache = open(config);
    format!("{} entries", cache.get_stats().unwrap().entries)
}

pub(super) fn blob_files(dir: &Path, config: &CacheConfig) -> String {
    let cache = open(config);
    cache.put("key", &1).unwrap();
    format!("{} files", files(&dir.join("cache/blobs")).len())
}

/// Whether an entry is signed. The key lies where this experiment says, not where the user has one.
pub(super) fn signature(dir: &Path, config: &CacheConfig) -> String {
    let config = match config.security.signing {
        true => config.clone().with_signing_key_file(dir.join("signing.key")),
        false => config.clone(),
    };
    let cache = open(&config);
    cache.put("key", &1).unwrap();
    let (_, entry) = cache.get_with_metadata::<i32>("key").unwrap().unwrap();
    format!("signed: {}", entry.entry_signature().is_some())
}

pub(super) fn keys_made(dir: &Path, config: &CacheConfig) -> String {
    open(config);
    let made = |name: &str| dir.join(name).exists();
    format!("one: {}, other: {}", made("one.key"), made("other.key"))
}

/// Puts an entry as another configuration says, and opens the directory as this one says.
fn after(before: &CacheConfig, config: &CacheConfig) -> Cache {
    let cache = open(before);
    cache.put("key", &1).unwrap();
    cache.close().unwrap();
    open(config)
}

fn with_former_key(dir: &Path, config: &CacheConfig) -> CacheConfig {
    CacheConfig::new(&config.storage.cache_dir).with_signing_key_file(dir.join("former.key"))
}

pub(super) fn what_a_former_key_signed(dir: &Path, config: &CacheConfig) -> String {
    // Made before it is read as a former one; a signed directory would not have a key made.
    fs::write(dir.join("signing.key"), "5".repeat(64)).unwrap();
    cacheness_tests::only_for_owner(&dir.join("signing.key"));
    format!("{:?}", after(&with_former_key(dir, config), config).get::<i32>("key").unwrap())
}

pub(super) fn what_nobody_signed(_: &Path, config: &CacheConfig) -> String {
    let unsigned = CacheConfig::new(&config.storage.cache_dir);
    format!("{:?}", after(&unsigned, config).get::<i32>("key").unwrap())
}

pub(super) fn entries_that_are_not_believed(_: &Path, config: &CacheConfig) -> String {
    let cache = after(&CacheConfig::new(&config.storage.cache_dir), config);
    let read = cache.get::<i32>("key").unwrap();
    format!("{read:?}, {} entries left", cache.len().unwrap())
}

/// Whether a copy of the directory, as a kill would leave it, has the entry.
fn is_on_disk(dir: &Path) -> bool {
    let copy = tempfile::tempdir_in(dir).unwrap();
    let to = copy.path().join("copy");
    // Files may go while they are copied.
    if cacheness_tests::copy_dir(&dir.join("cache"), &to).is_err() {
        return false;
    }
    Cache::open(to).is_ok_and(|cache| cache.exists("key").unwrap())
}

pub(super) fn on_disk_at_once(dir: &Path, config: &CacheConfig) -> String {
    let cache = open(config);
    cache.put("key", &1).unwrap();
    format!("on disk: {}", is_on_disk(dir))
}

/// Waits long for what should come, and not long for what should come in a minute.
pub(super) fn on_disk_after_a_while(dir: &Path, config: &CacheConfig) -> String {
    let cache = open(config);
    cache.put("key", &1).unwrap();
    let patience = Duration::from_secs(if config.flush_interval() < Duration::from_secs(1) { 60 } else { 1 });
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if is_on_disk(dir) {
            return "on disk".to_owned();
        }
    }
    "not yet on disk".to_owned()
}

pub(super) fn key_params(_: &Path, config: &CacheConfig) -> String {
    let cache = open(config);
    cache.put(params! { run: 42 }, &1).unwrap();
    let (_, entry) = cache.get_with_metadata::<i32>(params! { run: 42 }).unwrap().unwrap();
    format!("{:?}", entry.cache_key_params())
}

/// What a flipped bit in the middle of a value's file leads to.
pub(super) fn a_damaged_value(dir: &Path, config: &CacheConfig) -> String {
    let cache = open(config);
    let value = noise(20_000);
    cache.put("key", &value).unwrap();
    let file: PathBuf = files(&dir.join("cache/blobs")).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    match cache.get::<Vec<u8>>("key").unwrap() {
        None => "a miss".to_owned(),
        Some(found) => format!("returned, right: {}", found == value),
    }
}

/// Whether the index, read once, must be read from its files again.
pub(super) fn bytes_read_again(dir: &Path, config: &CacheConfig) -> String {
    let file = dir.join("cache.toml");
    config.clone().with_inline_bytes(65_536).with_codec(cacheness::config::Codec::None).to_file(&file).unwrap();
    let program = env!("CARGO_BIN_EXE_probe");
    let mut probe = cacheness_tests::probe(program, &dir.join("cache"), &["read-twice", "20000", "1000"]);
    let output = probe.env("CACHENESS_CONFIG", file).output().unwrap();
    assert!(output.status.success(), "{}", cacheness_tests::errors_of(&output));
    if !Path::new("/proc/self/io").exists() {
        return UNKNOWN.to_owned();
    }
    let bytes: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    format!("more than 1 MB of 20 read again: {}", bytes > 1_000_000)
}

/// Which of eleven values are the very same object at the second look. The first is looked at between them.
pub(super) fn in_memory_again(_: &Path, config: &CacheConfig) -> String {
    let cache = open(config);
    let look = |n: u8| cache.get::<Arc<Vec<u8>>>(n).unwrap().unwrap();
    (0..11_u8).for_each(|n| drop(cache.put(n, &Arc::new(noise(100_000))).unwrap()));
    let first: Vec<_> = (0..11).map(|n| (look(n), look(0)).0).collect();
    let again: Vec<_> =
        [0].into_iter().chain((1..11).rev()).filter(|n| Arc::ptr_eq(&first[usize::from(*n)], &look(*n))).collect();
    format!("{again:?} are still there")
}

pub(super) fn told_of_memory(_: &Path, config: &CacheConfig) -> String {
    format!("{:?}", open(config).get_stats().unwrap().memory.map(|memory| memory.entries))
}

fn stored_as(cache: &Cache, put: impl FnOnce(&Cache)) -> String {
    put(cache);
    let entry = cache.get_with_metadata::<String>("key").unwrap().map(|(_, entry)| entry);
    let entry = entry.or_else(|| cache.get_with_metadata::<Vec<u32>>("key").unwrap().map(|(_, entry)| entry)).unwrap();
    format!("{} bytes by {}", entry.size(), entry.codec())
}

pub(super) fn text_as_stored(_: &Path, config: &CacheConfig) -> String {
    stored_as(&open(config), |cache| drop(cache.put("key", &text(50_000)).unwrap()))
}

pub(super) fn numbers_as_stored(_: &Path, config: &CacheConfig) -> String {
    let numbers: Vec<u32> = (0..20_000_u32).map(|n| n * n % 977).collect();
    stored_as(&open(config), |cache| drop(cache.put("key", &numbers).unwrap()))
}

pub(super) fn a_changed_file_in_a_key(dir: &Path, config: &CacheConfig) -> String {
    let cache = open(config);
    let file = dir.join("argument");
    fs::write(&file, "before").unwrap();
    cache.put(file.as_path(), &1).unwrap();
    fs::write(&file, "after").unwrap();
    format!("found: {}", cache.exists(file.as_path()).unwrap())
}

pub(super) fn reading_an_unchanged_file_again(dir: &Path, config: &CacheConfig) -> String {
    // What this thread has read, as the kernel counts it.
    let read = || {
        let counters = fs::read_to_string("/proc/thread-self/io").ok()?;
        counters.lines().find_map(|line| line.strip_prefix("rchar: "))?.parse::<u64>().ok()
    };
    if read().is_none() {
        return UNKNOWN.to_owned();
    }
    let (cache, file) = (open(config), dir.join("argument"));
    fs::write(&file, vec![7; 1 << 20]).unwrap();
    // Until the times of the file are old enough to be believed.
    std::thread::sleep(std::time::Duration::from_millis(3200));
    cache.exists(file.as_path()).unwrap();
    let before = read().unwrap();
    cache.exists(file.as_path()).unwrap();
    format!("read again: {}", read().unwrap() - before > 1 << 20)
}

pub(super) fn a_nested_key(_: &Path, config: &CacheConfig) -> String {
    outcome(open(config).put(vec![vec!["a"]], &1))
}

pub(super) fn a_long_key(_: &Path, config: &CacheConfig) -> String {
    outcome(open(config).put("x".repeat(100), &1))
}

pub(super) fn a_long_value(_: &Path, config: &CacheConfig) -> String {
    outcome(open(config).put("key", &"x".repeat(100)))
}

pub(super) fn a_long_description(_: &Path, config: &CacheConfig) -> String {
    outcome(open(config).put_with("key", &1, PutOptions::new().description("x".repeat(100))))
}

pub(super) fn time_to_live(_: &Path, config: &CacheConfig) -> String {
    let cache = open(config);
    cache.put("key", &1).unwrap();
    let (_, entry) = cache.get_with_metadata::<i32>("key").unwrap().unwrap();
    format!("{:?}", entry.ttl())
}

pub(super) fn what_writes(_: &Path, config: &CacheConfig) -> String {
    let cache = open(config);
    cache.put("key", &1).unwrap();
    let (_, entry) = cache.get_with_metadata::<i32>("key").unwrap().unwrap();
    entry.handler_used().to_owned()
}

/// Whether others on a server can tell that a body runs.
pub(super) fn leases_while_a_body_runs(_: &Path, config: &CacheConfig) -> String {
    let Ok(server) = cacheness_tests::servers::redis() else { return UNKNOWN.to_owned() };
    let namespace = server.namespace();
    let config = config.clone().with_backend("redis").with_connection_url(server.url());
    let config = config.with_metadata_option("deadline_ms", 10_000);
    let cache = open(&config.with_metadata_option("namespace", namespace.as_str()));
    let leases = || {
        let told = server.tell(&format!("HKEYS cacheness:{{{namespace}}}:state")).unwrap();
        told.matches("lease.flight").count()
    };
    format!("{} leases", cache.get_or_insert_with("key", leases).unwrap())
}

/// The body waits, though not for ever, for another call that waits for it.
pub(super) fn runs_of_a_body_that_waits_for_its_waiter(_: &Path, config: &CacheConfig) -> String {
    let (cache, runs) = (open(config), AtomicUsize::new(0));
    let (cache, runs) = (&cache, &runs);
    let (ran, other_ran) = channel();
    std::thread::scope(|threads| {
        let other = move || {
            cache.get_or_insert_with("key", move || {
                runs.fetch_add(1, Ordering::SeqCst);
                ran.send(()).unwrap();
                1
            })
        };
        let patience = Duration::from_secs(if config.single_flight_wait_ms < 1000 { 60 } else { 1 });
        let made = cache.get_or_insert_with("key", move || {
            runs.fetch_add(1, Ordering::SeqCst);
            threads.spawn(other);
            let _ = other_ran.recv_timeout(patience);
            1
        });
        assert_eq!(made.unwrap(), 1);
    });
    format!("{} runs", runs.load(Ordering::SeqCst))
}

/// The configuration with a namespace of its own; `None` where there is no server.
fn in_a_namespace(config: &CacheConfig) -> Option<CacheConfig> {
    let server = cacheness_tests::servers::redis().ok()?;
    let config = config.clone().with_metadata_option("deadline_ms", 10_000);
    Some(config.with_metadata_option("namespace", server.namespace()))
}

/// Whether everything, some or nothing of what was put is kept here.
pub(super) fn copies_here(_: &Path, config: &CacheConfig) -> String {
    const VALUES: u64 = 40;
    let Some(config) = in_a_namespace(config) else { return UNKNOWN.to_owned() };
    let cache = Cache::new(config).unwrap();
    (0..VALUES).for_each(|n| _ = cache.put(n, &cacheness_tests::noise(n, 50_000)).unwrap());
    format!("{:?}", cache.get_stats().unwrap().local.map(|local| local.entries.cmp(&VALUES)))
}

/// What a machine is given of a key, a moment after another one has removed it.
pub(super) fn what_was_removed_elsewhere(_: &Path, config: &CacheConfig) -> String {
    let Some(config) = in_a_namespace(config) else { return UNKNOWN.to_owned() };
    let here = Cache::new(config.clone()).unwrap();
    let elsewhere = cacheness_tests::seen_from_elsewhere(&config.storage.cache_dir);
    let mut far = config.with_cache_dir(elsewhere.path());
    far.local.dir = None;
    let far = Cache::new(far).unwrap();
    here.put("k", &1u64).unwrap();
    assert!(far.invalidate("k").unwrap());
    std::thread::sleep(std::time::Duration::from_millis(50));
    format!("{:?}", here.get::<u64>("k").unwrap())
}
