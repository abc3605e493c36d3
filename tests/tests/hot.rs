//! What a hit costs, counted and not timed: allocations, and calls of the system that read or write.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use allocation_counter::{AllocationInfo, measure};
use cacheness::key::ToKey;
use cacheness::{Cache, CacheConfig, cached};

#[cached(cache = cache, ttl = 3600, skip(cache))]
fn number(cache: &Cache, id: u64, name: &str) -> u64 {
    id + name.len() as u64
}

/// How often this process has asked the system to read and to write.
fn reads_and_writes() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/io").ok()?;
    let count = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some((count("syscr:")?, count("syscw:")?))
}

/// Reads and writes of some work, without those of the measurement. Nothing else runs in this process meanwhile.
fn system_calls(work: impl Fn()) -> Option<(u64, u64)> {
    let delta = |work: &dyn Fn()| {
        let before = reads_and_writes()?;
        work();
        let after = reads_and_writes()?;
        Some((after.0 - before.0, after.1 - before.1))
    };
    let (measurement, all) = (delta(&|| ())?, delta(&work)?);
    Some((all.0 - measurement.0, all.1 - measurement.1))
}

fn allocations(info: &AllocationInfo) -> u64 {
    info.count_total
}

fn hits_in_memory_take_no_allocation_and_no_system_call(dir: &Path) {
    let cache = Cache::open(dir).unwrap();
    let calls = || (0..1000).for_each(|id| assert_eq!(number(&cache, id, "Zermatt"), id + 7));
    (0..2).for_each(|_| calls());
    let key = 5_u64.to_key().unwrap();
    cache.put(&key, &7_u64).unwrap();
    let gets = || (0..1000).for_each(|_| assert_eq!(cache.get::<u64>(&key).unwrap(), Some(7)));
    gets();
    // The flusher rests from here on: what was put is on the disk.
    cache.flush().unwrap();
    std::thread::sleep(cache.config().flush_interval() * 2);
    calls();
    gets();
    for (name, work) in [("#[cached]", &calls as &dyn Fn()), ("Cache::get", &gets)] {
        assert_eq!(allocations(&measure(work)), 0, "{name}, 1000 hits");
        match system_calls(work) {
            Some(counts) => assert_eq!(counts, (0, 0), "{name}, 1000 hits"),
            None => cacheness_tests::skip("the system does not count reads and writes (/proc/self/io)"),
        }
    }
    let memory = cache.get_stats().unwrap().memory.unwrap();
    assert!(memory.hits >= 7000, "or this measured something else: {memory:?}");
}

fn hits_on_disk_take_one_read_of_a_file_and_no_write(dir: &Path) {
    let config = CacheConfig::new(dir).with_memory_cache(false);
    let cache = Cache::new(config).unwrap();
    let values: Vec<_> = (0..100).map(|n| cacheness_tests::value_of(70 + 700 * n)).collect();
    values.iter().enumerate().for_each(|(n, value)| drop(cache.put(n, value).unwrap()));
    cache.flush().unwrap();
    std::thread::sleep(cache.config().flush_interval() * 2);
    let hits =
        || values.iter().enumerate().for_each(|(n, value)| assert!(cache.get(n).unwrap().as_ref() == Some(value)));
    hits();
    match system_calls(hits) {
        Some((reads, writes)) => assert!(reads <= 100 && writes == 0, "100 hits: {reads} reads, {writes} writes"),
        None => cacheness_tests::skip("the system does not count reads and writes (/proc/self/io)"),
    }
}

/// One test: others beside it would count.
#[test]
fn hits_do_no_more_than_they_must() {
    let dir = cacheness_tests::scratch();
    hits_in_memory_take_no_allocation_and_no_system_call(&dir.path().join("memory"));
    hits_on_disk_take_one_read_of_a_file_and_no_write(&dir.path().join("disk"));
}
