//! Hits in memory.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;

use cacheness::{Cache, CacheConfig, Key, set_default_cache};
use cacheness_benches::{Bench, Random, repeat};

mod ours {
    use cacheness::cached;
    use cacheness_benches::Station;

    #[cached(ttl = 3600)]
    pub(crate) fn number(id: u64, name: String) -> u64 {
        id + name.len() as u64
    }

    #[cached(ttl = 3600)]
    pub(crate) fn station(id: u64, name: &str) -> Station {
        Station { name: name.to_owned(), ..cacheness_benches::station(id) }
    }

    #[cached(ttl = 3600)]
    pub(crate) fn plain(id: u64) -> u64 {
        id + 1
    }
}

mod theirs {
    use cached::macros::{cached, concurrent_cached};
    use cacheness_benches::Station;

    #[cached(ttl_secs = 3600)]
    pub(crate) fn number(id: u64, name: String) -> u64 {
        id + name.len() as u64
    }

    #[cached(ttl_secs = 3600)]
    pub(crate) fn station(id: u64, name: &str) -> Station {
        Station { name: name.to_owned(), ..cacheness_benches::station(id) }
    }

    #[concurrent_cached(ttl_secs = 3600)]
    pub(crate) fn plain(id: u64) -> u64 {
        id + 1
    }
}

const KEYS: u64 = 10_000;

fn main() {
    let mut bench = Bench::new("memory", env!("CARGO_TARGET_TMPDIR"));
    let cache = Cache::new(CacheConfig::new(bench.dir("cache"))).unwrap();
    set_default_cache(cache.clone());
    functions(&mut bench);
    raw(&mut bench, &cache);
    cache.close().unwrap();
}

fn functions(bench: &mut Bench) {
    bench
        .work("memory hit, (u64, String) -> u64, one key")
        .ours(repeat(|_| _ = black_box(ours::number(black_box(7), "Zermatt".to_owned()))))
        .peer("cached 4.1", 1.0, repeat(|_| _ = black_box(theirs::number(black_box(7), "Zermatt".to_owned()))))
        .run();
    bench
        .work("memory hit, (u64, &str) -> struct, one key")
        .ours(repeat(|_| _ = black_box(ours::station(black_box(7), "Zermatt"))))
        .peer("cached 4.1", 1.0, repeat(|_| _ = black_box(theirs::station(black_box(7), "Zermatt"))))
        .run();
    let order = order();
    let id = |call: u64| order[(call % KEYS) as usize];
    (0..KEYS).for_each(|id| drop((ours::station(id, "Zermatt"), theirs::station(id, "Zermatt"))));
    bench
        .work("memory hit, (u64, &str) -> struct, 10,000 keys")
        .ours(repeat(|call| _ = black_box(ours::station(id(call), "Zermatt"))))
        .peer("cached 4.1", 1.0, repeat(|call| _ = black_box(theirs::station(id(call), "Zermatt"))))
        .run();
    bench
        .work("memory hit, u64 -> u64, sharded, one key")
        .ours(repeat(|_| _ = black_box(ours::plain(black_box(7)))))
        .peer("cached 4.1 concurrent", 1.2, repeat(|_| _ = black_box(theirs::plain(black_box(7)))))
        .run();
}

/// The tier without the attribute: a key that is ready, a number.
fn raw(bench: &mut Bench, cache: &Cache) {
    let size = KEYS as usize * 2;
    let keys: Vec<Key> = order().into_iter().map(|id| cache.put(("raw", id), &id).unwrap()).collect();
    let order = order();
    // With the hasher that it has by default. Its lock is that of std, as in the engine.
    let (hasher, lifecycle) = (foldhash::fast::RandomState::default(), quick_cache::sync::DefaultLifecycle::default());
    let quick = quick_cache::sync::Cache::with(size, size as u64, quick_cache::UnitWeighter, hasher, lifecycle);
    let foyer: foyer_memory::Cache<u64, u64> = foyer_memory::CacheBuilder::new(size).build();
    let moka = moka::sync::Cache::<u64, u64>::new(size as u64);
    for &id in &order {
        quick.insert(id, id);
        foyer.insert(id, id);
        moka.insert(id, id);
    }
    let at = |call: u64| (call % KEYS) as usize;
    bench
        .work("raw memory get, a ready key, 10,000 keys")
        .ours(repeat(|call| assert!(cache.get::<u64>(&keys[at(call)]).unwrap().is_some())))
        .peer("quick_cache 0.7", 1.5, repeat(|call| assert!(quick.get(&order[at(call)]).is_some())))
        .peer("foyer-memory 0.22", None, repeat(|call| assert!(foyer.get(&order[at(call)]).is_some())))
        .peer("moka 0.12", None, repeat(|call| assert!(moka.get(&order[at(call)]).is_some())))
        .run();
}

/// Every key once, in no order.
fn order() -> Vec<u64> {
    let mut order: Vec<u64> = (0..KEYS).collect();
    let mut random = Random::new(3);
    (1..order.len()).for_each(|at| order.swap(at, random.below(at as u64 + 1) as usize));
    order
}
