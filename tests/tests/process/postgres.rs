//! One PostgreSQL database, and several caches and processes.

use std::path::Path;
use std::time::{Duration, Instant};

use cacheness::{Cache, CacheConfig, CustomMetadata, Field, PutOptions};
use cacheness_tests::{bodies, on_postgres, probe, scratch, seen_from_elsewhere, servers};

/// A cache in a directory with its rows in a namespace, if there is a server.
fn config(dir: &Path, namespace: &str) -> Option<CacheConfig> {
    on_postgres(CacheConfig::new(dir)).map(|config| config.with_metadata_option("namespace", namespace))
}

fn namespace() -> String {
    servers::postgres().map_or_else(|_| "none".to_owned(), servers::Postgres::namespace)
}

fn large(n: u8) -> Vec<u8> {
    vec![n; 100_000]
}

#[test]
fn files_that_no_row_names_stay_since_they_may_be_those_of_another_machine() {
    let (dir, one, other) = (scratch(), namespace(), namespace());
    let Some(config_of_one) = config(dir.path(), &one) else { return };
    let config_of_other = config(dir.path(), &other).unwrap();
    let cache = Cache::new(config_of_one.clone()).unwrap();
    cache.put("k", &large(1)).unwrap();
    cache.close().unwrap();
    for round in 0..2 {
        // Alone in the directory, with rows that name none of the files: at first there are none at all.
        let cache = Cache::new(config_of_other.clone()).unwrap();
        assert_eq!(cache.get::<Vec<u8>>("k").unwrap(), None, "{round}: nothing is taken up");
        cache.put("of the other", &large(2)).unwrap();
        cache.close().unwrap();
    }
    let cache = Cache::new(config_of_one).unwrap();
    assert_eq!(cache.get("k").unwrap(), Some(large(1)));
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
    assert_eq!(here.get_stats().unwrap().backend, "postgresql");
}

#[test]
fn rows_are_refused_to_another_directory_which_has_not_their_files() {
    let (one, other, namespace) = (scratch(), scratch(), namespace());
    let Some(here) = config(one.path(), &namespace) else { return };
    let here = Cache::new(here).unwrap();
    here.put("k", &large(1)).unwrap();
    let error = Cache::new(config(other.path(), &namespace).unwrap()).unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("belong to another cache directory"), "{error}");
    assert_eq!(here.get("k").unwrap(), Some(large(1)));
}

#[derive(Debug, PartialEq, CustomMetadata)]
#[metadata(name = "runs")]
struct Run {
    #[metadata(unique)]
    name: String,
    accuracy: f64,
}

#[test]
fn custom_metadata_is_queried_by_what_another_process_may_have_written() {
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
}

#[test]
fn processes_one_after_the_other_hit_what_the_first_one_stored() {
    let (dir, settings) = (scratch(), scratch());
    let Ok(server) = servers::postgres().map_err(|why| servers::skip(&why)) else { return };
    let file = settings.path().join("settings.toml");
    let text = format!("[metadata.options]\nnamespace = '{}'\ndeadline_ms = 10000\n", namespace());
    std::fs::write(&file, text).unwrap();
    let ran = |expected| {
        let mut process = probe(crate::PROBE, dir.path(), &["call", "20"]);
        process.env("CACHENESS_CONFIG", &file).env("CACHENESS_BACKEND", "postgresql");
        let output = process.env("CACHENESS_CONNECTION_URL", server.url()).output().unwrap();
        assert!(output.status.success());
        assert_eq!(bodies(&output), expected, "{}", cacheness_tests::errors_of(&output));
    };
    ran(20);
    ran(0);
}

#[test]
fn without_its_server_functions_run_at_once_and_an_invalidation_is_an_error() {
    let dir = scratch();
    let url = "postgresql://me:hunter2@127.0.0.1:1/caches";
    let mut process = probe(crate::PROBE, dir.path(), &["call", "500"]);
    process.env("CACHENESS_BACKEND", "postgresql").env("CACHENESS_CONNECTION_URL", url);
    let begin = Instant::now();
    let output = process.output().unwrap();
    let errors = cacheness_tests::errors_of(&output);
    assert!(output.status.success() && !errors.contains("hunter2"), "{errors}");
    assert_eq!(bodies(&output), 500);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let warnings = cacheness_tests::warnings(&output).len();
    assert!((1..=3).contains(&warnings), "{errors}");

    let config = CacheConfig::new(dir.path()).with_backend("postgresql").with_connection_url(url);
    let cache = Cache::new(config).unwrap();
    assert!(cache.invalidate("k").unwrap_err().is_unavailable());
    cache.close().unwrap();
}
