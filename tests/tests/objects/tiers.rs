//! Rows on a Redis server and values in a bucket, with copies on this machine.

use cacheness::{Cache, CacheConfig};
use cacheness_tests::proxy::{Network, Proxy};
use cacheness_tests::{noise, on_redis, scratch};

use super::server::{Server, config};

const VALUES: u64 = 8;

fn value(n: u64) -> Vec<u8> {
    // One of them is longer than what is read by one request.
    noise(n, if n == 0 { 9 << 20 } else { 100_000 })
}

fn with_tier(config: CacheConfig, place: &std::path::Path) -> CacheConfig {
    config.with_local_tier(place.join("near")).with_local_lease(std::time::Duration::from_secs(3600))
}

#[test]
fn a_value_of_a_bucket_is_fetched_once_and_is_here_for_the_next_process_and_while_the_bucket_is_away() {
    let Some(server) = Server::start() else { return };
    let Some(shared) = on_redis(config("unused".as_ref(), server.port)) else { return };
    let (there, here, proxy) = (scratch(), scratch(), Proxy::before(server.port));
    let far = Cache::new(shared.clone().with_cache_dir(there.path())).unwrap();
    (0..VALUES).for_each(|n| _ = far.put(n, &value(n)).unwrap());
    let endpoint = format!("http://127.0.0.1:{}", proxy.port);
    let near = shared.with_cache_dir(here.path().join("cache")).with_blob_option("endpoint", endpoint);
    let near = with_tier(near, here.path());
    let cache = Cache::new(near.clone()).unwrap();
    let all_are_there = |cache: &Cache| (0..VALUES).all(|n| cache.get::<Vec<u8>>(n).unwrap() == Some(value(n)));
    proxy.forget();
    assert!(all_are_there(&cache));
    assert!(proxy.requests().len() >= VALUES as usize);
    proxy.forget();
    assert!(all_are_there(&cache));
    cache.put("own", &value(1)).unwrap();
    assert_eq!(cache.get::<Vec<u8>>("own").unwrap(), Some(value(1)));
    let asked = proxy.requests();
    assert!(asked.len() == 1 && asked[0].starts_with("PUT"), "{asked:?}");
    cache.close().unwrap();

    let cache = Cache::new(near).unwrap();
    proxy.becomes(Network::Refuses);
    proxy.forget();
    assert!(all_are_there(&cache));
    assert_eq!(proxy.requests(), Vec::<String>::new());
    proxy.becomes(Network::Works);
    far.put(1u64, &value(100)).unwrap();
    assert!(cache.invalidate(2u64).unwrap());
    assert_eq!(cache.get::<Vec<u8>>(2u64).unwrap(), None);
}
