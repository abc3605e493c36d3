//! One Redis server, and several caches and processes.

use std::path::Path;

use cacheness::{Cache, CacheConfig, CustomMetadata, Field, PutOptions};
use cacheness_tests::{bodies, errors_of, noise, on_redis, probe, scratch, seen_from_elsewhere, servers};

/// A cache in a directory with its rows in a namespace, if there is a server.
fn config(dir: &Path, namespace: &str) -> Option<CacheConfig> {
    on_redis(CacheConfig::new(dir)).map(|config| config.with_metadata_option("namespace", namespace))
}

fn namespace() -> String {
    servers::redis().map_or_else(|_| "none".to_owned(), servers::Redis::namespace)
}

#[test]
fn caches_that_see_one_directory_share_what_lies_in_the_rows() {
    let (one, namespace) = (scratch(), namespace());
    let Some(here) = config(one.path(), &namespace) else { return };
    let here = Cache::new(here.with_memory_cache(false)).unwrap();
    let other = seen_from_elsewhere(one.path());
    let there = Cache::new(config(other.path(), &namespace).unwrap().with_memory_cache(false)).unwrap();
    here.put("k", &1u64).unwrap();
    assert_eq!(there.get::<u64>("k").unwrap(), Some(1));
    there.put("k", &2u64).unwrap();
    assert_eq!(here.get::<u64>("k").unwrap(), Some(2));
    assert!(here.invalidate("k").unwrap());
    assert_eq!(there.get::<u64>("k").unwrap(), None);
    here.put_with("k", &3u64, PutOptions::new().tag("t")).unwrap();
    assert_eq!(there.get::<u64>("k").unwrap(), Some(3));
    assert_eq!(there.invalidate_tag("t").unwrap(), 1);
    assert_eq!(here.get::<u64>("k").unwrap(), None);
    assert_eq!(here.get_stats().unwrap().backend, "redis");
}

#[test]
fn an_emptied_server_is_an_empty_cache_also_for_values_in_memory() {
    let Ok(server) = servers::Redis::start(&[]).map_err(|why| servers::skip(&why)) else { return };
    let dir = scratch();
    let config = CacheConfig::new(dir.path()).with_backend("redis").with_connection_url(server.url());
    let cache = Cache::new(config.with_metadata_option("deadline_ms", 10_000)).unwrap();
    cache.put("k", &1u64).unwrap();
    assert_eq!(cache.get::<u64>("k").unwrap(), Some(1));
    server.tell("FLUSHALL").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(cache.get::<u64>("k").unwrap(), None);
    cache.put("k", &2u64).unwrap();
    assert_eq!(cache.get::<u64>("k").unwrap(), Some(2));
}

#[test]
fn a_put_and_a_get_are_a_round_trip_each() {
    let Ok(server) = servers::Redis::start(&[]).map_err(|why| servers::skip(&why)) else { return };
    let dir = scratch();
    let config = CacheConfig::new(dir.path()).with_backend("redis").with_connection_url(server.url());
    let config = config.with_memory_cache(false).with_flush_interval(std::time::Duration::from_secs(60));
    let config = config.with_metadata_option("deadline_ms", 10_000).with_metadata_option("namespace", "t");
    let cache = Cache::new(config).unwrap();
    // So that the scripts are known.
    cache.put("first", &1u64).unwrap();
    cache.put("second", &1u64).unwrap();
    // Whoever comes first notes when to look for blobs without a row.
    let begun = std::time::Instant::now();
    while !server.tell("HKEYS cacheness:{t}:state").unwrap().contains("cacheness.swept") {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let count = |prefix: &str| -> u64 {
        let answer = server.tell("INFO commandstats").unwrap();
        let calls = answer.lines().filter(|line| line.starts_with(prefix)).filter_map(|line| {
            line.split_once("calls=")
                .and_then(|(_, rest)| rest.split(',').next())
                .and_then(|calls| calls.parse::<u64>().ok())
        });
        calls.sum::<u64>()
    };
    let (scripts, reads) = (count("cmdstat_evalsha:"), count("cmdstat_mget:"));
    for n in 0..10u64 {
        cache.put(n, &n).unwrap();
    }
    // Each script reads once by the same command.
    assert_eq!((count("cmdstat_evalsha:") - scripts, count("cmdstat_mget:") - reads), (10, 10));
    for n in 0..10u64 {
        assert_eq!(cache.get::<u64>(n).unwrap(), Some(n));
    }
    assert_eq!((count("cmdstat_evalsha:") - scripts, count("cmdstat_mget:") - reads), (10, 20));
}

#[test]
fn one_process_at_a_time_makes_room_and_another_one_where_that_is_gone() {
    let Ok(server) = servers::Redis::start(&[]).map_err(|why| servers::skip(&why)) else { return };
    let dir = scratch();
    let config = CacheConfig::new(dir.path()).with_backend("redis").with_connection_url(server.url());
    let config = config.with_metadata_option("deadline_ms", 10_000).with_metadata_option("namespace", "t");
    let cache = Cache::new(config.with_memory_cache(false).with_max_size_mb(1)).unwrap();
    server.tell("HSET cacheness:{t}:state lease.evictor another-process").unwrap();
    let put = |n: u64| drop(cache.put(n, &noise(n, 100_000)).unwrap());
    (0..20).for_each(put);
    let evictions = || cache.get_stats().unwrap().evictions;
    assert_eq!((cache.len().unwrap(), evictions()), (20, 0), "the other one makes room");
    let begun = std::time::Instant::now();
    while evictions() == 0 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60));
        std::thread::sleep(std::time::Duration::from_millis(100));
        put(20);
    }
    assert!(cache.len().unwrap() < 12, "then this one does");
}

#[derive(Debug, PartialEq, CustomMetadata)]
#[metadata(name = "runs")]
struct Run {
    name: String,
    #[metadata(index)]
    accuracy: f64,
}

#[derive(Debug, PartialEq, CustomMetadata)]
#[metadata(name = "named")]
struct Named {
    #[metadata(unique)]
    name: String,
}

#[test]
fn custom_metadata_is_queried_and_a_unique_column_is_refused_with_the_reason() {
    let (one, namespace) = (scratch(), namespace());
    let Some(here) = config(one.path(), &namespace) else { return };
    let here = Cache::new(here).unwrap();
    let other = seen_from_elsewhere(one.path());
    let there = Cache::new(config(other.path(), &namespace).unwrap()).unwrap();
    for (n, accuracy) in [0.5, 0.75, 0.9].into_iter().enumerate() {
        let run = Run { name: n.to_string(), accuracy };
        here.put_with(n, &accuracy, PutOptions::new().custom(&run)).unwrap();
    }
    let good = there.query::<Run>().filter(Field::custom("runs", "accuracy").ge(0.75)).count().unwrap();
    assert_eq!(good, 2);
    let named = Named { name: "a".to_owned() };
    let error = here.put_with("named", &1, PutOptions::new().custom(&named)).unwrap_err();
    assert!(error.is_invalid_argument(), "{error}");
    let message = error.to_string();
    assert!(
        ["\"name\"", "\"named\"", "`redis`", "`postgresql`"].iter().all(|part| message.contains(part)),
        "{message}"
    );
    assert_eq!(here.get::<i32>("named").unwrap(), None);
}

#[test]
fn processes_one_after_the_other_hit_what_the_first_one_stored() {
    let (dir, settings) = (scratch(), scratch());
    let Ok(server) = servers::redis().map_err(|why| servers::skip(&why)) else { return };
    let file = settings.path().join("settings.toml");
    let text = format!("[metadata.options]\nnamespace = '{}'\ndeadline_ms = 10000\n", namespace());
    std::fs::write(&file, text).unwrap();
    let ran = |expected| {
        let mut process = probe(crate::PROBE, dir.path(), &["call", "20"]);
        process.env("CACHENESS_CONFIG", &file).env("CACHENESS_BACKEND", "redis");
        let output = process.env("CACHENESS_CONNECTION_URL", server.url()).output().unwrap();
        assert!(output.status.success());
        assert_eq!(bodies(&output), expected, "{}", errors_of(&output));
    };
    ran(20);
    ran(0);
}
