//! Hits from the disk, without the tier in memory, and misses.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;

use cacheness::{Cache, CacheConfig, set_default_cache};
use cacheness_benches::{Bench, repeat};

mod ours {
    use cacheness::cached;
    use cacheness_benches::{Station, megabytes_of_bytes};

    #[cached(ttl = 3600, memory = false)]
    pub(crate) fn station(id: u64) -> Station {
        cacheness_benches::station(id)
    }

    /// With all defaults, as a user has it.
    #[cached(ttl = 3600)]
    pub(crate) fn missed(id: u64) -> Station {
        cacheness_benches::station(id)
    }

    #[cached(ttl = 3600, memory = false)]
    pub(crate) fn bytes(id: u64) -> Vec<u8> {
        let mut bytes = megabytes_of_bytes(1);
        bytes[0] = id as u8;
        bytes
    }
}

mod theirs {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    use cached::macros::concurrent_cached;
    use cached::{RedbCache, RedbCacheError};
    use cacheness_benches::{Station, megabytes_of_bytes};

    pub(crate) static DIR: OnceLock<PathBuf> = OnceLock::new();

    fn open<V: serde::Serialize + serde::de::DeserializeOwned>(name: &str) -> RedbCache<u64, V> {
        RedbCache::builder(name).ttl_secs(3600).disk_dir(DIR.get().unwrap()).build().unwrap()
    }

    #[concurrent_cached(ty = "RedbCache<u64, Station>", create = { open("stations") })]
    pub(crate) fn station(id: u64) -> Result<Station, RedbCacheError> {
        Ok(cacheness_benches::station(id))
    }

    #[concurrent_cached(ty = "RedbCache<u64, Vec<u8>>", create = { open("bytes") })]
    pub(crate) fn bytes(id: u64) -> Result<Vec<u8>, RedbCacheError> {
        let mut bytes = megabytes_of_bytes(1);
        bytes[0] = id as u8;
        Ok(bytes)
    }
}

const STATIONS: u64 = 2_000;
const BLOBS: u64 = 16;

fn main() {
    let mut bench = Bench::new("disk", env!("CARGO_TARGET_TMPDIR"));
    let cache = Cache::new(CacheConfig::new(bench.dir("cache"))).unwrap();
    set_default_cache(cache.clone());
    theirs::DIR.set(bench.dir("redb")).unwrap();
    hit(&mut bench);
    miss(&mut bench);
    megabyte(&mut bench);
    cache.close().unwrap();
}

fn hit(bench: &mut Bench) {
    let (python, stations) = (bench.python(), bench.full_or(STATIONS, 200));
    (0..stations).for_each(|id| drop((ours::station(id), theirs::station(id).unwrap())));
    bench
        .work("disk hit, small struct, 2,000 entries")
        .ours(repeat(|call| _ = black_box(ours::station(call * 7 % stations))))
        .peer("cached 4.1 redb", 1.5, repeat(|call| _ = black_box(theirs::station(call * 7 % stations).unwrap())))
        .python("diskcache 5.6 get", 0.1, &python, "diskcache.get")
        .python("diskcache 5.6 memoize", None, &python, "diskcache.memoize_hit")
        .python("joblib 1.6", None, &python, "joblib.hit")
        .run();
}

/// The body is all but empty: what is left is the look, the encoding and the storing.
fn miss(bench: &mut Bench) {
    let python = bench.python();
    bench
        .work("miss, small struct, a new key each")
        .ours(repeat(|call| _ = black_box(ours::missed(call))))
        .peer("cached 4.1 redb, durable", None, repeat(|call| _ = black_box(theirs::station(1 << 32 | call).unwrap())))
        .python("diskcache 5.6 set", 0.25, &python, "diskcache.set")
        .python("diskcache 5.6 memoize", None, &python, "diskcache.memoize_miss")
        .python("joblib 1.6", None, &python, "joblib.miss")
        .run();
}

fn megabyte(bench: &mut Bench) {
    let python = bench.python();
    (0..BLOBS).for_each(|id| drop((ours::bytes(id), theirs::bytes(id).unwrap())));
    bench
        .work("disk hit, 1 MiB of random bytes")
        .ours(repeat(|call| _ = black_box(ours::bytes(call % BLOBS))))
        .peer("cached 4.1 redb", None, repeat(|call| _ = black_box(theirs::bytes(call % BLOBS).unwrap())))
        .python("diskcache 5.6", 0.6, &python, "diskcache.get_bytes")
        .python("joblib 1.6", None, &python, "joblib.get_bytes")
        .run();
}
