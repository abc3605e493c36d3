//! What is done now and then to a cache of 10,000 small entries.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use cacheness::{Cache, CacheConfig, PutOptions};
use cacheness_benches::{Bench, repeat, station, timed};

const ENTRIES: u64 = 10_000;

fn main() {
    let mut bench = Bench::new("upkeep", env!("CARGO_TARGET_TMPDIR"));
    let dir = bench.dir("cache");
    let cache = open(&dir);
    for id in 0..ENTRIES {
        cache.put_with(("station", id), &station(id), PutOptions::new().ttl(Duration::from_secs(3600))).unwrap();
    }
    let python = bench.python();
    let list = |_| {
        let mut keys: Vec<String> = Vec::new();
        let mut last = None;
        loop {
            let page = cache.keys(last.as_ref(), 1000).unwrap();
            keys.extend(page.iter().map(ToString::to_string));
            last = match page.last() {
                Some(key) => Some(key.clone()),
                None => break,
            };
        }
        assert_eq!(keys.len() as u64, ENTRIES);
    };
    bench
        .work("list the keys of 10,000 entries")
        .ours(repeat(list))
        .python("diskcache 5.6", 1.0, &python, "diskcache.list")
        .run();
    bench
        .work("statistics of 10,000 entries")
        .ours(repeat(|_| _ = black_box(cache.get_stats().unwrap())))
        .python("diskcache 5.6", 1.0, &python, "diskcache.statistics")
        .run();
    bench
        .work("cleanup of 10,000 entries, none expired")
        .ours(repeat(|_| assert_eq!(cache.cleanup_expired().unwrap(), 0)))
        .python("diskcache 5.6", 1.0, &python, "diskcache.cleanup")
        .run();
    cache.close().unwrap();
    bench
        .work("open with 10,000 entries")
        .ours(|calls| (0..calls).map(|_| open_once(&dir)).sum())
        .python("diskcache 5.6", 1.0, &python, "diskcache.open")
        .run();
}

fn open(dir: &Path) -> Cache {
    Cache::new(CacheConfig::new(dir)).unwrap()
}

/// The seconds until it is open and says how many entries it has.
fn open_once(dir: &Path) -> f64 {
    let mut opened = None;
    let seconds = timed(|| {
        let cache = open(dir);
        assert_eq!(cache.len().unwrap(), ENTRIES);
        opened = Some(cache);
    });
    opened.unwrap().close().unwrap();
    seconds
}
