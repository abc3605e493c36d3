use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::cache::{Cache, Expired, PutOptions};
use crate::clock::ManualClock;
use crate::config::CacheConfig;
use crate::params;

/// A small, a large and a described entry; one that never expires.
fn filled(cache: &Cache) {
    cache.put("small", &1u8).unwrap();
    cache.put("large", &vec![1.5f64; 50_000]).unwrap();
    let options = PutOptions::new().ttl(Duration::from_secs(60)).metadata("accuracy", 0.5).tag("t").description("d");
    cache.put_with(params! { run: 1 }, &"text".to_owned(), options).unwrap();
}

fn is_filled(cache: &Cache, like: &Cache) {
    assert_eq!(cache.len().unwrap(), 3);
    assert_eq!(cache.get::<u8>("small").unwrap(), Some(1));
    assert_eq!(cache.get::<Vec<f64>>("large").unwrap(), Some(vec![1.5; 50_000]));
    assert_eq!(cache.get::<String>(params! { run: 1 }).unwrap().as_deref(), Some("text"));
    let entry = |cache: &Cache| cache.get_metadata(params! { run: 1 }, Expired::Skip).unwrap().unwrap();
    let (here, there) = (entry(cache), entry(like));
    assert_eq!((here.core, here.details), (there.core, there.details));
}

#[test]
fn a_cache_moves_between_memory_and_disk_with_everything_that_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, disk, back) = (Cache::in_memory(), Cache::open(dir.path()).unwrap(), Cache::in_memory());
    filled(&memory);
    let moved = migrate_cache(&memory, &disk).unwrap();
    assert_eq!((moved.copied, moved.total, moved.seen()), (3, 3, 3));
    is_filled(&disk, &memory);
    assert_eq!(migrate_cache(&disk, &back).unwrap().copied, 3);
    is_filled(&back, &memory);
}

#[test]
fn an_interrupted_migration_goes_on_and_newer_entries_stay() {
    let clock = Arc::new(ManualClock::default());
    let (old, new) = (Cache::with_clock(clock.clone()), Cache::with_clock(clock.clone()));
    for n in 0..100u32 {
        old.put(n, &n).unwrap();
    }
    clock.advance(Duration::from_secs(1));
    new.put(7u32, &7000u32).unwrap();
    let mut steps = 0;
    let stopped = migrate_cache_with(&old, &new, |so_far| {
        steps += 1;
        if so_far.seen() == 40 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((steps, stopped.unwrap().seen()), (40, 40));
    let rest = migrate_cache(&old, &new).unwrap();
    assert_eq!((rest.seen(), new.len().unwrap()), (100, 100));
    assert!(rest.present >= 40, "{rest:?}");
    assert_eq!(new.get::<u32>(7u32).unwrap(), Some(7000), "the newer one");
    assert_eq!(old.len().unwrap(), 100);
}

#[test]
fn what_expired_or_is_too_large_for_the_new_cache_is_left_behind_and_counted() {
    let clock = Arc::new(ManualClock::default());
    let (old, limits) =
        (Cache::with_clock(clock.clone()), crate::Limits { max_value_bytes: 100, ..crate::Limits::DEFAULT });
    let new = Cache::with_clock_in(CacheConfig::in_memory().with_limits(limits).with_inline_bytes(0), clock.clone());
    let new = new.unwrap();
    old.put_with("short", &1u8, PutOptions::new().ttl(Duration::from_secs(1))).unwrap();
    old.put("long", &2u8).unwrap();
    let noise: Vec<u64> = (0..1000u64).map(|n| (n * n).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    old.put("large", &noise).unwrap();
    clock.advance(Duration::from_secs(1));
    let moved = migrate_cache(&old, &new).unwrap();
    assert_eq!((moved.copied, moved.expired, moved.refused), (1, 1, 1), "{moved:?}");
    assert_eq!(new.len().unwrap(), 1);
}

#[cfg(feature = "archive")]
mod archive {
    use super::*;

    fn exported(cache: &Cache) -> Vec<u8> {
        let mut archive = Vec::new();
        cache.export(&mut archive).unwrap();
        archive
    }

    #[test]
    fn an_archive_gives_back_every_entry() {
        let (cache, other) = (Cache::in_memory(), Cache::in_memory());
        filled(&cache);
        let archive = exported(&cache);
        assert_eq!(other.import(archive.as_slice()).unwrap().copied, 3);
        is_filled(&other, &cache);
        assert_eq!(other.import(archive.as_slice()).unwrap().present, 3, "once is enough");
    }

    #[test]
    fn a_cache_without_a_largest_value_takes_in_what_it_wrote_and_no_sum_overflows() {
        let limits = crate::Limits { max_value_bytes: u64::MAX, ..crate::Limits::DEFAULT };
        let dir = tempfile::tempdir().unwrap();
        for config in [CacheConfig::in_memory(), CacheConfig::new(dir.path()).with_inline_bytes(0)] {
            let unbounded = || Cache::new(config.clone().with_limits(limits)).unwrap();
            let (cache, source) = (unbounded(), Cache::in_memory());
            filled(&source);
            let brought = cache.import(exported(&source).as_slice()).unwrap();
            assert_eq!((brought.copied, brought.refused, brought.damaged), (3, 0, 0));
            is_filled(&cache, &source);
            assert_eq!(Cache::in_memory().import(exported(&cache).as_slice()).unwrap().copied, 3);
        }
    }

    #[test]
    fn an_archive_that_was_cut_off_is_an_error_and_what_came_before_is_whole() {
        let cache = Cache::in_memory();
        filled(&cache);
        let archive = exported(&cache);
        for len in (0..archive.len()).step_by(1 + archive.len() / 200) {
            let other = Cache::in_memory();
            let error = other.import(&archive[..len]).unwrap_err();
            assert!(error.is_integrity(), "cut at {len}: {error:?}");
            assert!(other.get::<u8>("small").unwrap().is_none_or(|value| value == 1));
        }
    }

    #[test]
    fn a_flipped_bit_never_gives_another_value() {
        let cache = Cache::in_memory();
        filled(&cache);
        let archive = exported(&cache);
        for bit in (0..archive.len() * 8).step_by(1 + archive.len() / 50) {
            let mut flipped = archive.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let other = Cache::in_memory();
            let _ = other.import(flipped.as_slice());
            assert!(other.get::<u8>("small").unwrap().is_none_or(|value| value == 1), "bit {bit}");
            let large = other.get::<Vec<f64>>("large").unwrap();
            assert!(large.is_none_or(|value| value == vec![1.5; 50_000]), "bit {bit}");
        }
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let tar_of_something_else = {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_path("readme").unwrap();
            header.set_size(2);
            header.set_cksum();
            tar.append(&header, &b"hi"[..]).unwrap();
            zstd::encode_all(tar.into_inner().unwrap().as_slice(), 1).unwrap()
        };
        for bytes in [&b""[..], b"not an archive", &tar_of_something_else] {
            let error = Cache::in_memory().import(bytes).unwrap_err();
            assert!(error.is_integrity(), "{error:?}");
        }
    }

    #[test]
    fn a_member_of_many_zeros_takes_no_more_memory_than_a_value_may_have() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_path(name).unwrap();
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            tar.append(&header, bytes).unwrap();
        };
        add("cacheness-archive.toml", b"format = 1\n");
        add("entries/0.blob", &vec![0; 32 << 20]);
        let archive = zstd::encode_all(tar.into_inner().unwrap().as_slice(), 3).unwrap();
        let limits = crate::Limits { max_value_bytes: 1 << 20, ..crate::Limits::DEFAULT };
        let cache = Cache::new(CacheConfig::in_memory().with_limits(limits)).unwrap();
        let brought = cache.import(archive.as_slice()).unwrap();
        assert_eq!((brought.refused, brought.copied), (1, 0));
    }
}
