//! What the index tells of entries, and removing them by it.

use std::sync::Mutex;

use super::*;
use crate::engine::Store;
use crate::entry::Entry;
use crate::index::{Call, Watched};
use crate::key::ToKey;
use crate::query::{EntryField, Field, Filter};
use crate::storage::blob::MemoryBlobs;

fn filled(count: u32) -> (Cache, Arc<ManualClock>) {
    let (cache, clock) = with_manual_clock();
    for n in 0..count {
        clock.advance(seconds(1));
        let options = PutOptions::new().metadata("even", n % 2 == 0).metadata("n", n).tag(format!("tag {}", n % 3));
        cache.put_with(params! { n: n, project: "ml" }, &n, options.prefix("p")).unwrap();
    }
    (cache, clock)
}

fn numbers(entries: impl Iterator<Item = Result<Entry>>) -> Vec<u64> {
    entries.map(|entry| entry.unwrap().metadata()["n"].as_u64().unwrap()).collect()
}

#[test]
fn entries_are_listed_newest_first_and_in_pages() {
    let (cache, clock) = filled(1000);
    assert_eq!(numbers(cache.list_entries()), (0..1000).rev().collect::<Vec<_>>());
    let mut seen = Vec::new();
    let mut list = cache.list_entries();
    loop {
        let page: Vec<Entry> = list.take(70).collect::<Result<_>>().unwrap();
        let Some(last) = page.last() else { break };
        list = cache.list_entries().after(last);
        seen.extend(numbers(page.iter().cloned().map(Ok)));
    }
    assert_eq!(seen, (0..1000).rev().collect::<Vec<_>>());
    clock.advance(seconds(1));
    cache.touch(params! { n: 5u32, project: "ml" }).unwrap();
    assert_eq!(numbers(cache.iter().take(2)), [5, 999], "what was touched counts as new");
}

/// Each entry is also asked when it was last used. Every index has that in memory, so that it is no read.
#[test]
fn a_list_reads_the_index_once_a_page_and_not_once_an_entry() {
    let counts = Arc::new(Mutex::new((0, 0)));
    let seen = Arc::clone(&counts);
    let index = Watched::new(move |call| {
        let mut counts = seen.lock().unwrap();
        match call {
            Call::Read => counts.0 += 1,
            Call::Page => counts.1 += 1,
            _ => {}
        }
        Ok(())
    });
    let config = CacheConfig::in_memory();
    let store = Store::of_parts(Arc::new(index), Arc::new(MemoryBlobs::new()), &config);
    let cache = Cache::over(Arc::new(Engine::new(store, &config, Arc::new(SystemClock))), config);
    for n in 0..1000u32 {
        cache.put_with(n, &n, PutOptions::new().metadata("n", n).function("f")).unwrap();
    }
    // Pages of 256, and the empty one that tells the end.
    let reads_of = |list: &dyn Fn() -> usize| {
        *counts.lock().unwrap() = (0, 0);
        assert_eq!(list(), 1000);
        let (single, pages) = *counts.lock().unwrap();
        assert!(single == 0 && pages <= 5, "{single} reads of one entry, {pages} of pages");
    };
    reads_of(&|| cache.list_entries().count());
    reads_of(&|| cache.list_entries().matching(Field::metadata("n").ge(0)).count());
    reads_of(&|| cache.function_entries("f").unwrap().len());
}

#[test]
fn a_list_that_has_begun_goes_on_behind_the_entry_it_is_told_and_keeps_its_filter() {
    let (cache, _) = filled(1000);
    let all: Vec<Entry> = cache.list_entries().collect::<Result<_>>().unwrap();
    let begun = |read: usize| {
        let mut list = cache.list_entries().matching(Field::metadata("even").eq(true));
        assert_eq!(list.by_ref().take(read).count(), read);
        list
    };
    // In the middle of a page, at the end of one, when the end was met.
    for read in [0, 1, 100, 128, 500] {
        assert_eq!(numbers(begun(read).after(&all[9]).take(3)), [988, 986, 984], "back, {read} read");
        assert_eq!(numbers(begun(read).after(&all[899]).take(3)), [98, 96, 94], "ahead, {read} read");
        assert!(numbers(begun(read).after(&all[999])).is_empty(), "{read} read");
    }
    let mut ended = begun(500);
    assert!(ended.next().is_none());
    assert_eq!(numbers(ended.after(&all[0]).take(2)), [998, 996], "one that had ended begins again");
}

#[test]
fn entries_of_one_moment_are_listed_once_each() {
    let cache = with_manual_clock().0;
    for n in 0..700u32 {
        cache.put_with(n, &n, PutOptions::new().metadata("n", n)).unwrap();
    }
    let mut seen = numbers(cache.list_entries());
    seen.sort_unstable();
    assert_eq!(seen, (0..700).collect::<Vec<_>>());
}

#[test]
fn a_list_is_filtered_by_metadata_by_parameters_and_by_what_the_entry_is() {
    let (cache, _) = filled(600);
    let list = |filter| numbers(cache.list_entries().matching(filter));
    assert_eq!(list(Field::metadata("n").lt(4) & Field::metadata("even").eq(true)), [2, 0]);
    assert_eq!(list(Field::param("n").ge(598)), [599, 598]);
    assert_eq!(list(Field::from(EntryField::Tags).contains("tag 1") & Field::any("n").lt(5)), [4, 1]);
    assert_eq!(cache.list_entries().matching(Filter::matching([("project", "ml")])).count(), 600);
    let twice = cache.list_entries().matching(Field::any("n").lt(9)).matching(Field::any("n").gt(6));
    assert_eq!(numbers(twice), [8, 7]);
}

#[test]
fn a_list_of_a_closed_cache_says_so_once_and_ends() {
    let (cache, _) = filled(10);
    let mut list = cache.list_entries();
    list.next().unwrap().unwrap();
    cache.close().unwrap();
    assert!(list.next().unwrap().unwrap_err().is_closed());
    assert!(list.next().is_none());
}

#[test]
fn an_entry_is_found_by_its_name_and_is_a_key() {
    let (cache, clock) = with_manual_clock();
    let name = cache.put_with("seven", &7u8, PutOptions::new().ttl(seconds(5))).unwrap().to_string();
    let entry = cache.get_entry(&name).unwrap().unwrap();
    assert_eq!(entry.cache_key(), name);
    assert_eq!(entry.key().unwrap(), "seven".to_key().unwrap());
    assert_eq!(cache.get::<u8>(&entry).unwrap(), Some(7));
    clock.advance(seconds(5));
    assert!(cache.get_entry(&name).unwrap().is_some(), "an expired one is an entry until it is cleaned up");
    assert_eq!(cache.get_metadata("seven", Expired::Skip).unwrap(), None);
    assert!(cache.get_metadata("seven", Expired::Include).unwrap().is_some());
    assert!(cache.invalidate_by_cache_key(&name).unwrap());
    assert!(!cache.invalidate_by_cache_key(&name).unwrap());
    assert_eq!(cache.get_entry(&name).unwrap(), None);
}

#[test]
fn an_entry_whose_key_is_long_is_a_key_as_well() {
    let cache = Cache::in_memory();
    let long = "x".repeat(5000);
    let name = cache.put(long.as_str(), &1u8).unwrap().to_string();
    assert_eq!(cache.get::<u8>(&cache.get_entry(&name).unwrap().unwrap()).unwrap(), Some(1));
}

#[test]
fn an_entry_tells_what_wrote_it_and_what_compression_made_of_it() {
    let cache = Cache::in_memory();
    cache.put("text", &"again ".repeat(2000)).unwrap();
    cache.put("json", &serde_json::json!({ "a": 1 })).unwrap();
    let entry = |key| cache.get_metadata(key, Expired::Skip).unwrap().unwrap();
    let info = entry("text").compression_info();
    assert_eq!((info.codec, info.raw_size), ("lz4", 12_008));
    assert!(info.stored_size == entry("text").size() && info.ratio() < 0.1, "{info:?}");
    assert_eq!((entry("text").handler_used(), entry("json").handler_used()), ("bincode", "messagepack"));
    assert_eq!(entry("json").compression_info().codec, "none");
}

#[test]
fn what_is_no_name_of_an_entry_is_refused() {
    let cache = Cache::in_memory();
    for name in ["", "0123", "0123456789abcdeg", "+123456789abcdef", "../../etc/passwd", "0123456789abcdef0"] {
        let error = cache.get_entry(name).unwrap_err();
        assert!(error.is_invalid_argument() && error.to_string().contains("16 hex digits"), "{name}: {error}");
        assert!(cache.invalidate_by_cache_key(name).unwrap_err().is_invalid_argument());
    }
}

#[test]
fn metadata_is_read_without_counting_as_a_hit_or_a_miss() {
    let (cache, _) = filled(3);
    cache.get_metadata(params! { n: 1u32, project: "ml" }, Expired::Skip).unwrap().unwrap();
    cache.get_metadata("none", Expired::Skip).unwrap();
    let stats = cache.get_stats().unwrap();
    assert_eq!((stats.hits, stats.misses), (0, 0));
}

#[test]
fn the_time_that_is_left_is_told() {
    let (cache, clock) = with_manual_clock();
    cache.put_with("short", &1u8, PutOptions::new().ttl(seconds(10))).unwrap();
    cache.put("forever", &1u8).unwrap();
    clock.advance(seconds(4));
    assert_eq!(cache.remaining_ttl("short").unwrap(), Some(seconds(6)));
    assert_eq!(cache.remaining_ttl("forever").unwrap(), None, "it never expires");
    assert_eq!(cache.remaining_ttl("nothing").unwrap(), None);
    for key in ["short", "forever"] {
        let options = PutOptions { ttl: cache.remaining_ttl(key).unwrap(), ..PutOptions::new() };
        cache.put_with("copied", &1u8, options).unwrap();
        assert_eq!(cache.remaining_ttl("copied").unwrap(), cache.remaining_ttl(key).unwrap(), "{key}");
    }
    clock.advance(seconds(6));
    assert_eq!(cache.remaining_ttl("short").unwrap(), None);
}

#[test]
fn statistics_tell_the_oldest_and_the_newest_entry() {
    let (cache, clock) = filled(5);
    let start = Clock::now(&ManualClock::default());
    let stats = cache.get_stats().unwrap();
    assert_eq!((stats.oldest, stats.newest), (Some(start.after(seconds(1))), Some(start.after(seconds(5)))));
    cache.invalidate(params! { n: 0u32, project: "ml" }).unwrap();
    clock.advance(seconds(10));
    cache.put("late", &1u8).unwrap();
    let stats = cache.get_stats().unwrap();
    assert_eq!((stats.oldest, stats.newest), (Some(start.after(seconds(2))), Some(start.after(seconds(15)))));
    assert_eq!((cache.len().unwrap(), cache.is_empty().unwrap()), (5, false));
    cache.clear().unwrap();
    let stats = cache.get_stats().unwrap();
    assert_eq!((stats.oldest, stats.newest), (None, None));
    assert!(cache.is_empty().unwrap());
}

#[test]
fn tags_and_prefixes_are_invalidated_apart_and_exactly() {
    let (cache, _) = filled(600);
    assert_eq!(cache.invalidate_tag("tag").unwrap(), 0, "a part of a tag is another tag");
    assert_eq!(cache.invalidate_tag("tag 1").unwrap(), 200);
    assert_eq!(cache.invalidate_prefix("tag 2").unwrap(), 0, "a tag is no prefix");
    cache.put_with("other", &1u8, PutOptions::new().prefix("pp")).unwrap();
    assert_eq!(cache.invalidate_prefix("p").unwrap(), 400);
    assert_eq!(cache.len().unwrap(), 1);
}

#[test]
fn entries_are_deleted_by_a_function_and_by_a_filter() {
    let (cache, clock) = filled(600);
    assert_eq!(cache.delete_matching(&Field::metadata("n").lt(100)).unwrap(), 100);
    assert_eq!(cache.delete_matching(&Filter::matching([("project", "other")])).unwrap(), 0);
    let old = clock.now().before(seconds(100));
    assert_eq!(cache.delete_where(|entry| entry.created_at() < old).unwrap(), 399);
    assert_eq!(cache.delete_where(|_| true).unwrap(), 101);
    assert!(cache.is_empty().unwrap());
}

#[test]
fn a_function_that_deletes_by_may_use_the_cache_itself() {
    let (cache, _) = filled(20);
    let removed = cache.delete_where(|entry| {
        cache.put("meanwhile", &1u8).unwrap();
        cache.get::<u32>(entry).unwrap() == Some(3)
    });
    assert_eq!(removed.unwrap(), 1);
}

#[test]
fn keys_are_listed_page_by_page_each_once() {
    let dir = tempfile::tempdir().unwrap();
    for cache in [Cache::in_memory(), Cache::open(dir.path()).unwrap()] {
        let mut put: Vec<Key> = (0..1000_u32).map(|n| cache.put(("n", n), &n).unwrap()).collect();
        let (mut listed, mut pages) = (Vec::<Key>::new(), 0);
        loop {
            let page = cache.keys(listed.last(), 300).unwrap();
            if page.is_empty() {
                break;
            }
            listed.extend(page);
            pages += 1;
        }
        assert_eq!((pages, listed.len()), (4, 1000));
        let by_name = |key: &Key| key.to_string();
        put.sort_by_key(by_name);
        listed.sort_by_key(by_name);
        assert_eq!(listed, put);
        assert_eq!(cache.keys(None, usize::MAX).unwrap().len(), 1000);
        assert!(cache.keys(None, 0).unwrap().is_empty());
        cache.close().unwrap();
        assert!(cache.keys(None, 1).unwrap_err().is_closed());
    }
}

#[test]
fn a_hit_reads_the_index_once_and_one_in_memory_not_at_all() {
    let reads = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&reads);
    let index = Watched::new(move |call| {
        if matches!(call, Call::Read | Call::Page) {
            *seen.lock().unwrap() += 1;
        }
        Ok(())
    });
    let config = CacheConfig::in_memory();
    let store = Store::of_parts(Arc::new(index), Arc::new(MemoryBlobs::new()), &config);
    let cache = Cache::over(Arc::new(Engine::new(store, &config, Arc::new(SystemClock))), config);
    cache.put("small", &7u32).unwrap();
    cache.put("large", &vec![7u8; 100_000]).unwrap();
    let reads_of = |hit: &dyn Fn()| {
        *reads.lock().unwrap() = 0;
        hit();
        *reads.lock().unwrap()
    };
    assert_eq!(reads_of(&|| assert_eq!(cache.get_stored::<u32>("small").unwrap(), Some(7))), 1);
    assert_eq!(reads_of(&|| assert!(cache.get_stored::<Vec<u8>>("large").unwrap().is_some())), 1);
    assert_eq!(reads_of(&|| assert_eq!(cache.get::<u32>("small").unwrap(), Some(7))), 1, "it comes into memory");
    assert_eq!(reads_of(&|| assert_eq!(cache.get::<u32>("small").unwrap(), Some(7))), 0);
}
