mod asynchronous;
mod changes;
mod compute;
mod custom;
mod entries;
mod forged;
mod handlers;
mod large;
mod native;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::*;
use crate::clock::ManualClock;
use crate::params;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    station: String,
    celsius: f64,
}

fn reading(n: u32) -> Reading {
    Reading { station: format!("station {n}"), celsius: f64::from(n) / 10.0 }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn with_manual_clock() -> (Cache, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    (Cache::with_clock(clock.clone()), clock)
}

#[test]
fn a_value_is_there_after_the_cache_was_closed_and_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let key = params! { city: "London", day: 3 };
    cache.put(&key, &reading(1)).unwrap();
    cache.close().unwrap();
    assert!(cache.get::<Reading>(&key).unwrap_err().is_closed());
    cache.close().unwrap();

    let cache = Cache::open(dir.path()).unwrap();
    assert_eq!(cache.get::<Reading>(params! { day: 3, city: "London" }).unwrap(), Some(reading(1)));
    assert_eq!(cache.get::<Reading>(params! { day: 4, city: "London" }).unwrap(), None);
    let (_, entry) = cache.get_with_metadata::<Reading>(&key).unwrap().unwrap();
    assert_eq!(entry.cache_key(), key.to_key().unwrap().to_string());
    assert!(entry.data_type().ends_with("Reading"));
    assert_eq!(entry.cache_key_params().len(), 2);
}

#[test]
fn dropping_the_last_handle_closes_the_cache_and_frees_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = Cache::open(dir.path()).unwrap();
    let second = Cache::open(dir.path()).unwrap();
    first.put("one", &1u8).unwrap();
    assert_eq!(second.get::<u8>("one").unwrap(), Some(1), "two opens share one engine");
    drop(first);
    assert_eq!(second.get::<u8>("one").unwrap(), Some(1));
    second.close().unwrap();
    assert!(dir.path().join("index.clean").exists());
    assert_eq!(Cache::open(dir.path()).unwrap().get::<u8>("one").unwrap(), Some(1));
}

#[test]
fn threads_that_open_and_drop_one_directory_never_meet_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        for n in 0..8u32 {
            let dir = dir.path();
            scope.spawn(move || {
                for round in 0..10u32 {
                    let cache = Cache::open(dir).unwrap();
                    cache.put((n, round), &round).unwrap();
                    assert_eq!(cache.get::<u32>((n, round)).unwrap(), Some(round));
                }
            });
        }
    });
    assert_eq!(Cache::open(dir.path()).unwrap().get_stats().unwrap().entries, 80);
}

#[test]
fn an_index_whose_file_a_child_still_has_for_a_moment_is_opened_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    Cache::open(dir.path()).unwrap().put("one", &1u8).unwrap();
    // As between the fork and the program that the child is to run.
    let file = std::fs::File::open(dir.path().join("index/db")).unwrap();
    file.try_lock().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(Duration::from_millis(300));
            drop(file);
        });
        assert_eq!(Cache::open(dir.path()).unwrap().get::<u8>("one").unwrap(), Some(1));
    });
}

/// What a reader with its own time to live finds, from the store and from memory alike.
fn narrowed(cache: &Cache, key: &Key, ttl: Option<Duration>) -> Option<u8> {
    let stored = cache.get_by_key::<u8>(key, ttl, ValueCodec::stored(), Attempt::First).unwrap();
    for _ in 0..2 {
        let kept = cache.get_by_key::<u8>(key, ttl, ValueCodec::in_memory(), Attempt::First).unwrap();
        assert_eq!(kept, stored, "memory says the same");
    }
    stored
}

#[test]
fn an_entry_expires_at_its_time_to_live_and_a_reader_may_narrow_it() {
    let (cache, clock) = with_manual_clock();
    cache.put_with("short", &1u8, PutOptions::new().ttl(seconds(10))).unwrap();
    cache.put("forever", &2u8).unwrap();
    clock.advance(seconds(10) - Duration::from_micros(1));
    assert_eq!(cache.get::<u8>("short").unwrap(), Some(1));
    clock.advance(Duration::from_micros(1));
    assert_eq!(cache.get::<u8>("short").unwrap(), None, "expired means now >= expires_at");
    assert!(!cache.exists("short").unwrap());
    let key = "forever".to_key().unwrap();
    assert_eq!(narrowed(&cache, &key, Some(seconds(11))), Some(2));
    assert_eq!(narrowed(&cache, &key, Some(seconds(5))), None);
    assert_eq!(narrowed(&cache, &"short".to_key().unwrap(), Some(seconds(1000))), None, "never widened");
}

#[test]
fn an_entry_tells_when_it_was_last_read() {
    let (cache, clock) = with_manual_clock();
    cache.put("one", &1u8).unwrap();
    let stored = clock.now();
    clock.advance(seconds(5));
    let (_, entry) = cache.get_with_metadata::<u8>("one").unwrap().unwrap();
    assert_eq!(entry.created_at(), stored);
    assert_eq!(entry.accessed_at(), stored.after(seconds(5)));
}

#[test]
fn cleanup_removes_what_expired_and_nothing_else() {
    let (cache, clock) = with_manual_clock();
    for n in 0..500u64 {
        cache.put_with(n, &n, PutOptions::new().ttl(seconds(n + 1))).unwrap();
    }
    clock.advance(seconds(400));
    assert_eq!(cache.cleanup_expired().unwrap(), 400);
    assert_eq!(cache.cleanup_expired().unwrap(), 0);
    assert_eq!(cache.get_stats().unwrap().entries, 100);
}

#[test]
fn a_default_time_to_live_holds_for_puts_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(CacheConfig::new(dir.path()).with_ttl(seconds(60))).unwrap();
    cache.put("one", &1u8).unwrap();
    let (_, entry) = cache.get_with_metadata::<u8>("one").unwrap().unwrap();
    assert_eq!(entry.ttl(), Some(seconds(60)));
    assert_eq!(entry.expires_at(), Some(entry.created_at().after(seconds(60))));
}

#[test]
fn a_value_of_another_type_is_a_miss() {
    let cache = Cache::in_memory();
    cache.put("one", &1u32).unwrap();
    assert_eq!(cache.get::<i32>("one").unwrap(), None);
    assert_eq!(cache.get::<String>("one").unwrap(), None);
    assert_eq!(cache.get::<u32>("one").unwrap(), Some(1));
}

#[test]
fn a_stored_none_is_a_hit() {
    let cache = Cache::in_memory();
    cache.put("nothing", &None::<u32>).unwrap();
    assert_eq!(cache.get::<Option<u32>>("nothing").unwrap(), Some(None));
}

#[test]
fn the_least_recently_used_go_first_and_the_cache_comes_down_to_80_percent() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(CacheConfig::new(dir.path()).with_max_size_mb(1).with_codec(crate::Codec::None)).unwrap();
    let value = |n: u32| vec![n.to_le_bytes(); 16 << 8];
    for n in 0..70u32 {
        cache.put(n, &value(n)).unwrap();
        assert_eq!(cache.get::<Vec<[u8; 4]>>(0u32).unwrap(), Some(value(0)), "the one in use stays");
    }
    let stats = cache.get_stats().unwrap();
    assert!(stats.evictions > 0 && stats.size_bytes <= 1 << 20, "{stats:?}");
    assert_eq!(cache.get::<Vec<[u8; 4]>>(69u32).unwrap(), Some(value(69)));
    assert_eq!(cache.get::<Vec<[u8; 4]>>(1u32).unwrap(), None, "the oldest went");
}

#[test]
fn no_single_put_removes_the_fifth_that_goes_and_later_puts_remove_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(CacheConfig::new(dir.path()).with_max_size_mb(1)).unwrap();
    let evictions = || cache.get_stats().unwrap().evictions;
    let mut n = 0u32;
    let mut put = || {
        let before = evictions();
        cache.put(n, &n).unwrap();
        n += 1;
        evictions() - before
    };
    while put() == 0 {}
    let at_limit = cache.get_stats().unwrap();
    assert!(at_limit.evictions * 10 < at_limit.entries, "far less than a fifth: {at_limit:?}");
    assert!(at_limit.size_bytes <= 1 << 20, "{at_limit:?}");
    let mut removed = 0;
    while cache.get_stats().unwrap().size_bytes * 5 > (1 << 20) * 4 {
        let now = put();
        assert!(now > 0, "every put goes on until four fifths are left");
        removed += now;
    }
    assert!((at_limit.evictions + removed) * 6 > at_limit.entries);
    put();
    assert_eq!(put(), 0, "and there it ends");
}

#[test]
fn an_entry_of_nearly_the_whole_cache_stays_when_it_is_put() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(CacheConfig::new(dir.path()).with_max_size_mb(1).with_codec(crate::Codec::None)).unwrap();
    for n in 0..10u32 {
        cache.put(n, &vec![[1u8; 4]; 16 << 8]).unwrap();
    }
    let large = vec![[2u8; 4]; 240 << 10];
    cache.put("large", &large).unwrap();
    assert_eq!(cache.get::<Vec<[u8; 4]>>("large").unwrap(), Some(large));
    assert_eq!(cache.get_stats().unwrap().entries, 1);
}

#[test]
fn a_value_larger_than_the_cache_is_refused_and_pushes_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(CacheConfig::new(dir.path()).with_max_size_mb(1).with_codec(crate::Codec::None)).unwrap();
    cache.put("one", &1u8).unwrap();
    let error = cache.put("huge", &vec![0u8; 2 << 20]).unwrap_err();
    assert!(error.is_limit() && error.to_string().contains("max_cache_size_mb"), "{error}");
    assert_eq!(cache.get::<u8>("one").unwrap(), Some(1));
}

#[test]
fn the_limit_counts_what_an_entry_takes_beside_its_value() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(CacheConfig::new(dir.path()).with_max_size_mb(1)).unwrap();
    for n in 0..12_000u32 {
        cache.put(n, &()).unwrap();
    }
    let stats = cache.get_stats().unwrap();
    assert!(stats.evictions > 1000 && stats.size_bytes <= 1 << 20, "{stats:?}");
}

#[test]
fn clear_removes_every_entry_and_no_foreign_file() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    for n in 0..600u32 {
        cache.put(n, &n).unwrap();
    }
    cache.put("large", &vec![7u64; 10_000]).unwrap();
    fs::write(dir.path().join("mine.txt"), "mine").unwrap();
    assert_eq!(cache.clear().unwrap(), 601);
    assert_eq!(cache.get_stats().unwrap().entries, 0);
    assert_eq!(fs::read(dir.path().join("mine.txt")).unwrap(), b"mine");
}

#[test]
fn invalidate_says_whether_there_was_an_entry() {
    let cache = Cache::in_memory();
    cache.put("one", &1u8).unwrap();
    assert!(cache.invalidate("one").unwrap());
    assert!(!cache.invalidate("one").unwrap());
    assert!(!cache.exists("one").unwrap());
}

#[test]
fn statistics_count_hits_misses_puts_and_sizes() {
    let cache = Cache::in_memory();
    cache.put("k", &"four".to_owned()).unwrap();
    cache.get::<String>("k").unwrap();
    cache.get::<String>("k").unwrap();
    cache.get::<String>("other").unwrap();
    cache.get::<u8>("k").unwrap();
    let stats = cache.get_stats().unwrap();
    assert_eq!((stats.hits, stats.misses, stats.puts, stats.entries), (2, 2, 1, 1));
    assert!((stats.hit_rate() - 0.5).abs() < 1e-9);
    assert!(stats.size_bytes > 0);
}

#[test]
fn the_entries_of_a_function_are_listed_and_cleared_apart() {
    let cache = Cache::in_memory();
    for n in 0..300u32 {
        let function = if n % 3 == 0 { "app::f" } else { "app::g" };
        cache.put_with(n, &n, PutOptions::new().function(function)).unwrap();
    }
    assert_eq!(cache.function_entries("app::f").unwrap().len(), 100);
    assert_eq!(cache.clear_function("app::f").unwrap(), 100);
    assert_eq!(cache.clear_function("app::f").unwrap(), 0);
    assert_eq!(cache.get_stats().unwrap().entries, 200);
}

#[test]
fn an_invalid_configuration_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("cache");
    let error = Cache::new(CacheConfig::new(&place).with_max_size_mb(0)).unwrap_err();
    assert!(error.is_config(), "{error}");
    assert!(!place.exists());
}

#[test]
fn a_durable_put_is_there_without_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let config = CacheConfig::new(dir.path()).with_durability(crate::Durability::Immediate);
    let cache = Cache::new(config).unwrap();
    cache.put("one", &1u8).unwrap();
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), &copy.path().join("cache"));
    assert_eq!(Cache::open(copy.path().join("cache")).unwrap().get::<u8>("one").unwrap(), Some(1));
}

#[test]
fn clearing_ends_while_others_go_on_putting() {
    let cache = Cache::in_memory();
    let cleared = AtomicBool::new(false);
    let start = std::time::Instant::now();
    thread::scope(|scope| {
        for part in 0..3u32 {
            let (cache, cleared) = (&cache, &cleared);
            scope.spawn(move || {
                for n in 0.. {
                    cache.put((part, n), &n).unwrap();
                    if cleared.load(Ordering::Relaxed) || start.elapsed() > seconds(10) {
                        return;
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(50));
        cache.clear().unwrap();
        cleared.store(true, Ordering::Relaxed);
    });
    assert!(start.elapsed() < seconds(10), "it ended when the puts did");
}

#[test]
fn threads_that_put_side_by_side_leave_the_cache_within_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(CacheConfig::new(dir.path()).with_max_size_mb(1).with_codec(crate::Codec::None)).unwrap();
    for round in 0..10u32 {
        thread::scope(|scope| {
            for part in 0..4u32 {
                let cache = &cache;
                scope.spawn(move || {
                    for n in 0..40u32 {
                        cache.put((round, part, n), &vec![[n as u8; 4]; 16 << 8]).unwrap();
                    }
                });
            }
        });
        let size = cache.get_stats().unwrap().size_bytes;
        assert!(size <= 1 << 20, "{size} bytes in round {round}");
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let (kind, target) = (item.file_type().unwrap(), to.join(item.file_name()));
        if kind.is_dir() {
            copy_dir(&item.path(), &target);
        } else if kind.is_file() {
            fs::copy(item.path(), target).unwrap();
        }
    }
}

fn bytes_below(dir: &std::path::Path) -> u64 {
    let items = std::fs::read_dir(dir).unwrap().map(|item| item.unwrap());
    items
        .map(|item| if item.path().is_dir() { bytes_below(&item.path()) } else { item.metadata().unwrap().len() })
        .sum()
}

#[test]
fn small_values_take_no_more_of_the_disk_than_the_limit_and_room_comes_back_after_a_clear() {
    const LIMIT_MB: u64 = 4;
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(CacheConfig::new(dir.path()).with_max_size_mb(LIMIT_MB)).unwrap();
    for n in 0..8_000u64 {
        cache.put(n, &[n as u8; 100].to_vec()).unwrap();
        if n % 500 == 0 {
            cache.flush().unwrap();
        }
    }
    cache.flush().unwrap();
    let index = || bytes_below(&dir.path().join("index"));
    // What was written since the last look at the files comes on top.
    assert!(index() <= (LIMIT_MB + 3) << 20, "{} bytes", index());
    assert!(cache.get_stats().unwrap().entries > 1000);
    cache.clear().unwrap();
    cache.flush().unwrap();
    // The thread that flushes may be at it in its own time.
    let until = Instant::now() + Duration::from_secs(30);
    while index() > 2 << 20 {
        assert!(Instant::now() < until, "{} bytes after a clear", index());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_argument_a_conflict_and_a_configuration_are_told_apart() {
    let cache = Cache::in_memory();
    let zero = cache.put_with("k", &1u8, PutOptions::new().ttl(Duration::ZERO)).unwrap_err();
    assert!(zero.is_invalid_argument() && !zero.is_config(), "{zero}");
    let unknown = cache.put_with("k", &1u8, PutOptions::new().handler("none")).unwrap_err();
    assert!(unknown.is_invalid_argument(), "{unknown}");
    let twice = cache.get::<u8>(crate::params! { a: 1, a: 2 }).unwrap_err();
    assert!(twice.is_invalid_argument(), "{twice}");

    let dir = tempfile::tempdir().unwrap();
    let _open = Cache::new(CacheConfig::new(dir.path()).with_max_size_mb(1)).unwrap();
    let other = Cache::new(CacheConfig::new(dir.path()).with_max_size_mb(2)).unwrap_err();
    assert!(other.is_conflict() && !other.is_config(), "{other}");
    let none = Cache::new(CacheConfig::new(dir.path()).with_max_size_mb(0)).unwrap_err();
    assert!(none.is_config() && !none.is_conflict(), "{none}");
}
