//! The points of the plots: latency against the number of entries, throughput against the size of a value.
//!
//! Numbers as arguments are the numbers of entries instead of a thousand to a million.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::cell::Cell;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use cached::{ConcurrentCachedExt, RedbCache};
use cacheness::{Cache, CacheConfig};
use cacheness_benches::{Bench, Random, Station, random_numbers, repeat, station, timed};

const TTL: Duration = Duration::from_secs(3600);
const MOST_BYTES: u64 = 1_000_000_000;
/// Peers that hold several copies of a value are not given more.
const MOST_BYTES_OF_PEERS: u64 = 100_000_000;

#[cached::macros::cached(ttl_secs = 3600)]
fn remembered(id: u64) -> Station {
    station(id)
}

fn main() {
    let mut bench = Bench::new("curves", env!("CARGO_TARGET_TMPDIR"));
    let entries = match bench.numbers() {
        [] => bench.full_or(vec![1_000, 10_000, 100_000, 1_000_000], vec![1_000]),
        numbers => numbers.to_vec(),
    };
    entries.into_iter().for_each(|entries| latency(&mut bench, entries));
    let most = bench.full_or(MOST_BYTES, 10_000);
    (2..)
        .map(|digits| 10u64.pow(digits))
        .take_while(|bytes| *bytes <= most)
        .for_each(|bytes| throughput(&mut bench, bytes));
}

fn latency(bench: &mut Bench, entries: u64) {
    let (dir, redb_dir) = (bench.dir(&format!("cache-{entries}")), bench.dir(&format!("redb-{entries}")));
    fill(&dir, entries);
    fill_redb(&redb_dir, entries);
    let (cache, redb) = (Cache::new(config(&dir)).unwrap(), redb(&redb_dir, true));
    // All is read once, so that what can be in memory is.
    (0..entries).for_each(|id| drop((cache.get::<Station>(("station", id)).unwrap(), redb.get(&id).unwrap())));
    let new = Cell::new(entries);
    let next = || new.replace(new.get() + 1);
    let mut random = Random::new(5);
    let mut others = Random::new(5);
    bench
        .work("hit")
        .contestant(
            "cacheness, disk hit",
            repeat(|_| {
                assert!(cache.get::<Station>(("station", random.below(entries))).unwrap().is_some());
            }),
        )
        .contestant("cached redb, hit", repeat(|_| assert!(redb.get(&others.below(entries)).unwrap().is_some())))
        .contestant(
            "cacheness, miss",
            repeat(|_| {
                let id = next();
                black_box(cache.get_or_insert_with(("station", id), || station(id)).unwrap());
            }),
        )
        .contestant(
            "cached redb, miss (durable)",
            repeat(|_| {
                let id = next();
                assert!(redb.get(&id).unwrap().is_none());
                redb.set(id, station(id)).unwrap();
            }),
        )
        .plot("latency", entries as f64);
    cache.close().unwrap();
    in_memory(bench, &dir, entries);
    std::fs::remove_dir_all(dir).unwrap();
    drop(redb);
    std::fs::remove_dir_all(redb_dir).unwrap();
}

/// The same entries with the tier in memory, after each was read once.
fn in_memory(bench: &mut Bench, dir: &Path, entries: u64) {
    // Room for all: by default 100,000 values stay.
    let config = CacheConfig::new(dir).with_memory_cache_maxsize(entries * 2).with_memory_cache_mb(2048);
    let cache = Cache::new(config).unwrap();
    let mut random = Random::new(5);
    let mut get = move |id: Option<u64>| {
        let id = id.unwrap_or_else(|| random.below(entries));
        assert!(cache.get::<Station>(("station", id)).unwrap().is_some());
    };
    (0..entries).for_each(|id| get(Some(id)));
    (0..entries).for_each(|id| drop(remembered(id)));
    let mut others = Random::new(5);
    bench
        .work("hit in memory")
        .contestant("cacheness, memory hit", repeat(|_| get(None)))
        .contestant("cached, memory hit", repeat(|_| _ = black_box(remembered(others.below(entries)))))
        .plot("latency", entries as f64);
}

fn fill(dir: &Path, entries: u64) {
    let cache = Cache::new(config(dir)).unwrap();
    (0..entries).for_each(|id| drop(cache.put(("station", id), &station(id)).unwrap()));
    cache.close().unwrap();
}

/// What is read comes from the disk.
fn config(dir: &Path) -> CacheConfig {
    CacheConfig::new(dir).with_ttl(TTL).with_memory_cache(false)
}

fn fill_redb(dir: &Path, entries: u64) {
    let redb = redb(dir, false);
    (0..entries).for_each(|id| drop(redb.set(id, station(id)).unwrap()));
    redb.flush().unwrap();
}

fn redb(dir: &Path, durable: bool) -> RedbCache<u64, Station> {
    RedbCache::builder("stations").ttl(TTL).disk_dir(dir).durable(durable).build().unwrap()
}

/// Numbers that do not compress: nothing is gained by looking at them twice.
fn throughput(bench: &mut Bench, bytes: u64) {
    let numbers = random_numbers(bytes as usize / 8);
    let cache = Cache::new(config(&bench.dir(&format!("values-{bytes}")))).unwrap();
    let put = |calls| {
        let seconds = timed(|| (0..calls).for_each(|_| drop(cache.put("numbers", &numbers).unwrap())));
        // What is left to write is not to be written in another's turn.
        cache.flush().unwrap();
        seconds
    };
    let python = bench.python();
    let peers = bytes <= MOST_BYTES_OF_PEERS;
    let rounds = if bytes >= MOST_BYTES_OF_PEERS { 3 } else { 7 };
    let order = |work: &str| format!("{work}.random.{}", numbers.len());
    let mut work = bench.work("put").bytes(bytes).rounds(rounds).contestant("cacheness, put", put);
    if peers {
        work = work.python("joblib, put", None, &python, &order("joblib.put"));
        work = work.python("diskcache, put", None, &python, &order("diskcache.put"));
    }
    work.plot("throughput", bytes as f64);
    let get = repeat(|_| assert!(cache.get::<Vec<f64>>("numbers").unwrap().is_some()));
    let mut work = bench.work("get").bytes(bytes).rounds(rounds).contestant("cacheness, get", get);
    if peers {
        work = work.python("joblib, get", None, &python, &order("joblib.get"));
        work = work.python("diskcache, get", None, &python, &order("diskcache.get_numbers"));
    }
    work.plot("throughput", bytes as f64);
    cache.close().unwrap();
}
