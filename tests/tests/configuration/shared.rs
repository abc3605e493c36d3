//! One directory opened twice in a process: its handles share an engine, so that two configurations cannot both hold.

use std::path::Path;
use std::time::Duration;

use cacheness::config::Durability;
use cacheness::{AsyncCache, Cache, CacheConfig};

fn first(dir: &Path) -> Cache {
    Cache::new(CacheConfig::new(dir).with_max_size_mb(100)).unwrap()
}

#[test]
fn a_second_opening_with_another_limit_is_an_error_that_names_the_field_and_both_values() {
    let dir = tempfile::tempdir().unwrap();
    let cache = first(dir.path());
    let error = Cache::new(CacheConfig::new(dir.path()).with_max_size_mb(2)).unwrap_err();
    assert!(error.is_conflict());
    assert!(error.to_string().contains("storage.max_cache_size_mb is 2 here and 100 in force"), "{error}");
    assert_eq!(cache.config().max_bytes(), 100 << 20);
    cache.close().unwrap();
    let again = Cache::new(CacheConfig::new(dir.path()).with_max_size_mb(2)).unwrap();
    assert_eq!(again.config().max_bytes(), 2 << 20, "the refused opening left no handle behind");
}

#[test]
fn whatever_handles_share_and_differs_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let _first = first(dir.path());
    let same = || CacheConfig::new(dir.path()).with_max_size_mb(100);
    for (name, config) in [
        ("durability", same().with_durability(Durability::Immediate)),
        ("storage.inline_bytes", same().with_inline_bytes(0)),
        ("storage.flush_interval_ms", same().with_flush_interval(Duration::from_millis(7))),
        ("metadata.page_cache_mb", same().with_page_cache_mb(16)),
        ("metadata.enable_memory_cache", same().with_memory_cache(false)),
        ("metadata.backend", same().with_backend("memory").with_blob_backend("filesystem")),
        ("handlers.priority", same().with_handler_priority(["messagepack"])),
    ] {
        match Cache::new(config) {
            Err(error) => {
                assert!(error.is_conflict() && error.to_string().contains(name), "{error}")
            }
            Ok(_) => panic!("{name} is ignored"),
        }
    }
    Cache::new(same()).unwrap();
}

#[test]
fn opening_by_the_directory_alone_takes_what_is_in_force_by_any_of_its_paths() {
    let dir = tempfile::tempdir().unwrap();
    let _first = first(dir.path());
    let paths = [dir.path().join("."), dir.path().join("blobs/.."), {
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        link
    }];
    for path in paths {
        let second = Cache::open(&path).unwrap();
        assert_eq!(second.config().max_bytes(), 100 << 20, "{}", path.display());
        assert!(Cache::new(CacheConfig::new(&path).with_max_size_mb(2)).is_err());
    }
}

#[test]
fn what_every_handle_has_for_itself_may_differ() {
    let dir = tempfile::tempdir().unwrap();
    let first = first(dir.path());
    let ttl = Duration::from_secs(60);
    let second = Cache::new(first.config().clone().with_ttl(ttl)).unwrap();
    assert_eq!((first.config().default_ttl(), second.config().default_ttl()), (None, Some(ttl)));
    second.put("one", &1u8).unwrap();
    assert!(first.remaining_ttl("one").unwrap().is_some_and(|left| left <= ttl));
}

#[tokio::test]
async fn an_asynchronous_handle_agrees_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let _first = first(dir.path());
    assert!(AsyncCache::new(CacheConfig::new(dir.path()).with_max_size_mb(2)).await.unwrap_err().is_conflict());
    let second = AsyncCache::open(dir.path()).await.unwrap();
    assert_eq!(second.blocking().config().max_bytes(), 100 << 20);
}
