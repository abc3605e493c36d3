//! One bit of one file, as a disk that ages or a cable that is loose would flip it.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::Once;

use cacheness_tests::{copy_cache, files_below, scratch};

use crate::{Opening, config, examine, examine_as, filled, filled_as, values};

/// Panics inside sled are caught by the cache, and would fill the output.
fn silence_panics_of_sled() {
    static SILENCE: Once = Once::new();
    SILENCE.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !panic.location().is_some_and(|place| place.file().contains("sled-0.34.7")) {
                usual(panic);
            }
        }));
    });
}

/// Flips one random bit per round in a fresh copy of a closed directory.
fn sweep(config: Opening, count: u64, sessions: u64, flips: u64, seed: u64) {
    silence_panics_of_sled();
    let original = scratch();
    filled_as(config, original.path(), count, sessions);
    let files: Vec<_> = files_below(original.path()).unwrap();
    let files: Vec<_> = files.iter().map(|file| file.strip_prefix(original.path()).unwrap()).collect();
    let lengths: Vec<u64> = files.iter().map(|file| original.path().join(file).metadata().unwrap().len()).collect();
    let right = values(count);
    let (mut state, mut hits, mut misses) = (seed, 0, 0);
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..flips {
        // Half of the flips go to a file chosen evenly, so that small ones are hit; half to a byte chosen evenly.
        let file =
            if round % 2 == 0 { random(files.len() as u64) } else { weighted(&lengths, random(lengths.iter().sum())) };
        let (file, len) = (files[file as usize], lengths[file as usize]);
        if len == 0 {
            continue;
        }
        let (at, bit) = (random(len), random(8));
        let copy = scratch();
        copy_cache(original.path(), copy.path()).unwrap();
        flip(&copy.path().join(file), at, bit);
        let outcome = catch_unwind(AssertUnwindSafe(|| examine_as(config, copy.path(), &right)));
        let place = format!("{} byte {at} bit {bit}, seed {seed}, round {round}", file.display());
        match outcome {
            Ok(Ok(seen)) => (hits, misses) = (hits + seen.hits, misses + seen.misses),
            Ok(Err(error)) => panic!("{place}: the caller got an error: {error:?}"),
            Err(panic) => panic!("{place}: {}", text_of(&*panic)),
        }
    }
    eprintln!("{count} entries: {flips} flips, {hits} right values, {misses} misses, 0 wrong");
    assert!(hits > misses * 20, "one flip must not cost more than a few entries: {hits} hits, {misses} misses");
}

fn weighted(lengths: &[u64], mut at: u64) -> u64 {
    for (index, len) in lengths.iter().enumerate() {
        if at < *len {
            return index as u64;
        }
        at -= len;
    }
    0
}

fn flip(path: &Path, at: u64, bit: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at as usize] ^= 1 << bit;
    // Not written in place: the file may be shared with the original.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic reached the caller".to_owned())
}

#[test]
fn a_flip_in_a_small_cache_is_never_a_wrong_value_a_panic_or_an_error() {
    sweep(config, 30, 2, 3500, 1);
}

#[test]
fn a_flip_in_a_cache_of_some_hundred_entries_is_never_a_wrong_value_a_panic_or_an_error() {
    sweep(config, 400, 3, 1300, 2);
}

#[test]
fn a_flip_in_a_cache_of_several_index_segments_is_never_a_wrong_value_a_panic_or_an_error() {
    sweep(config, 9000, 2, 200, 3);
}

#[test]
fn a_flip_in_a_signed_cache_is_never_a_wrong_value_a_panic_or_an_error() {
    let signed: Opening = |dir| config(dir).with_signing_key(cacheness::config::SigningKey::from_bytes([1; 32]));
    sweep(signed, 30, 2, 1000, 4);
}

/// The sweep must not be blind: damage that the checks cannot see has to make it fail.
#[test]
fn the_sweep_notices_a_value_that_is_not_the_right_one() {
    let dir = scratch();
    filled(dir.path(), 5, 1);
    let cache = cacheness::Cache::new(config(dir.path())).unwrap();
    cache.put(3u64, &vec![1u8, 2, 3]).unwrap();
    cache.close().unwrap();
    silence_panics_of_sled();
    assert!(catch_unwind(AssertUnwindSafe(|| examine(dir.path(), &values(5)))).is_err());
}
