//! What a get from the local tier before a Redis server costs beside one from an index of this machine.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::path::Path;

use cacheness::{Cache, CacheConfig};
use cacheness_benches::{Bench, RedisServer, Station, repeat, station};

const ENTRIES: u64 = 2_000;
const LARGE: u64 = 100;
const LARGE_BYTES: usize = 200_000;

fn main() {
    let mut bench = Bench::new("local", env!("CARGO_TARGET_TMPDIR"));
    let Some(server) = RedisServer::start(&bench.dir("server")) else {
        println!("SKIPPED: redis-server is not installed");
        return;
    };
    let on_server = |dir: &Path| {
        let config = CacheConfig::new(dir).with_backend("redis").with_connection_url(&*server.url);
        // What a busy machine takes is measured, not refused.
        config.with_metadata_option("deadline_ms", 10_000).with_metadata_option("namespace", name_of(dir))
    };
    let tiered = open(on_server(&bench.dir("tiered")).with_local_tier(bench.dir("near")));
    let direct = open(on_server(&bench.dir("direct")));
    let sled = open(CacheConfig::new(bench.dir("sled")));
    let sqlite = open(CacheConfig::new(bench.dir("sqlite")).with_backend("sqlite"));
    let get = |cache: &Cache| {
        let cache = cache.clone();
        repeat(move |id| _ = black_box(cache.get::<Station>(id % ENTRIES).unwrap().unwrap()))
    };
    bench
        .work("get, small struct, from the local tier")
        .ours(get(&tiered))
        .peer("an index of sled alone", 1.5, get(&sled))
        .peer("an index of SQLite alone", None, get(&sqlite))
        .peer("Redis, without a tier", None, get(&direct))
        .run();
    let get = |cache: &Cache| {
        let cache = cache.clone();
        repeat(move |id| _ = black_box(cache.get::<Vec<u8>>(large_key(id % LARGE)).unwrap().unwrap()))
    };
    bench
        .work("get, 200 kB of bytes, from the local tier")
        .bytes(LARGE_BYTES as u64)
        .ours(get(&tiered))
        .peer("an index of sled alone", 1.2, get(&sled))
        .run();
    let put = |cache: &Cache| {
        let cache = cache.clone();
        repeat(move |id| _ = cache.put(ENTRIES + id, &station(id)).unwrap())
    };
    bench
        .work("put of a new key, small struct, through the local tier")
        .ours(put(&tiered))
        .peer("Redis, without a tier", None, put(&direct))
        .run();
    for cache in [tiered, direct, sled, sqlite] {
        cache.close().unwrap();
    }
}

fn name_of(dir: &Path) -> String {
    dir.file_name().unwrap().to_string_lossy().into_owned()
}

fn large_key(id: u64) -> (&'static str, u64) {
    ("large", id)
}

/// A cache with entries, without values in memory.
fn open(config: CacheConfig) -> Cache {
    let cache = Cache::new(config.with_memory_cache(false).with_max_size_mb(100_000)).unwrap();
    (0..ENTRIES).for_each(|id| _ = cache.put(id, &station(id)).unwrap());
    let bytes = |id: u64| (0..LARGE_BYTES).map(|at| ((at as u64 * (id + 1)) >> 3) as u8).collect::<Vec<_>>();
    (0..LARGE).for_each(|id| _ = cache.put(large_key(id), &bytes(id)).unwrap());
    cache
}
