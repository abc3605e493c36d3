//! Large values, which are read straight to where they are wanted.

use std::fs;
use std::path::{Path, PathBuf};

use super::changes::walk;
use super::*;
use crate::util::threads::WORTH_TWO;

fn noise(len: usize) -> Vec<u64> {
    (0..len as u64).map(|n| crate::util::digest::checksum(&n.to_le_bytes())).collect()
}

/// Every get reads the store.
fn without_memory(dir: &Path) -> CacheConfig {
    CacheConfig::new(dir).with_memory_cache(false)
}

/// A cache of one value, whose file is its only one.
fn cache_of<T: crate::Storable>(
    value: &T,
    config: impl Fn(CacheConfig) -> CacheConfig,
) -> (tempfile::TempDir, Cache, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(config(without_memory(dir.path()))).unwrap();
    cache.put("k", value).unwrap();
    let file = walk(&dir.path().join("blobs")).remove(0);
    (dir, cache, file)
}

/// Sizes in bytes on both sides of what is read at once and of what two threads read.
const SIZES: [usize; 5] = [100 << 10, (128 << 10) - 8, (128 << 10) + 8, WORTH_TWO - 8, WORTH_TWO + (300 << 10)];

#[test]
fn vectors_of_numbers_of_every_size_come_back_from_files_and_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    for cache in [Cache::new(without_memory(dir.path())).unwrap(), Cache::in_memory()] {
        for size in SIZES {
            let words = noise(size / 8);
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let floats: Vec<f32> = words.iter().map(|word| *word as f32).collect();
            cache.put("words", &words).unwrap();
            cache.put("bytes", &bytes).unwrap();
            cache.put("floats", &floats).unwrap();
            assert!(cache.get::<Vec<u64>>("words").unwrap() == Some(words), "{size}");
            assert!(cache.get::<Vec<u8>>("bytes").unwrap() == Some(bytes), "{size}");
            assert!(cache.get::<Vec<f32>>("floats").unwrap() == Some(floats), "{size}");
            assert_eq!(cache.get_metadata("words", Expired::Skip).unwrap().unwrap().codec(), "none");
            assert_eq!(cache.get::<Vec<i64>>("words").unwrap(), None, "another type");
        }
    }
}

#[test]
fn what_compresses_comes_back_where_it_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(without_memory(dir.path())).unwrap();
    for len in [1000, 200_000, WORTH_TWO / 8 + 5] {
        let floats: Vec<f64> = (0..len).map(|n| n as f64).collect();
        let bytes: Vec<u8> = (0..8 * len).map(|n| (n / 700) as u8).collect();
        cache.put("floats", &floats).unwrap();
        cache.put("bytes", &bytes).unwrap();
        assert!(cache.get::<Vec<f64>>("floats").unwrap() == Some(floats), "{len}");
        assert!(cache.get::<Vec<u8>>("bytes").unwrap() == Some(bytes), "{len}");
        for key in ["floats", "bytes"] {
            let entry = cache.get_metadata(key, Expired::Skip).unwrap().unwrap();
            assert_eq!(entry.codec(), "lz4", "{key} of {len}");
            assert!(entry.size() * 25 < entry.raw_size(), "{key} of {len}: {} bytes", entry.size());
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_large_file_is_a_miss() {
    for size in [(128 << 10) + 8, WORTH_TWO + 8] {
        let words = noise(size / 8);
        let (dir, cache, file) = cache_of(&words, |config| config);
        let len = fs::metadata(&file).unwrap().len() as usize;
        for at in [0, 20, 200, len / 3, len / 2, len - 33, len - 20, len - 1] {
            cache.put("k", &words).unwrap();
            cache.flush().unwrap();
            let file = walk(&dir.path().join("blobs")).remove(0);
            let mut bytes = fs::read(&file).unwrap();
            bytes[at] ^= 4;
            fs::write(&file, &bytes).unwrap();
            assert_eq!(cache.get::<Vec<u64>>("k").unwrap(), None, "byte {at} of {len}");
        }
    }
}

#[test]
fn a_large_file_that_was_cut_off_or_goes_on_is_a_miss() {
    for size in [(128 << 10) + 8, WORTH_TWO + 8] {
        let words = noise(size / 8);
        for change in [-1000, -1, 1, 1000i64] {
            let (_dir, cache, path) = cache_of(&words, |config| config);
            let len = fs::metadata(&path).unwrap().len();
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(len.checked_add_signed(change).unwrap()).unwrap();
            assert_eq!(cache.get::<Vec<u64>>("k").unwrap(), None, "{change} bytes");
        }
    }
}

#[test]
fn the_file_of_another_value_is_a_miss() {
    let words = noise(50_000);
    let (_one, cache, file) = cache_of(&words, |config| config);
    let (_other, _, other) = cache_of(&words[1..].to_vec(), |config| config);
    fs::copy(other, file).unwrap();
    assert_eq!(cache.get::<Vec<u64>>("k").unwrap(), None);
}

#[test]
fn without_verification_a_payload_is_returned_as_it_is_and_its_length_is_checked() {
    let words = noise(50_000);
    let (_dir, cache, file) =
        cache_of(&words, |config| config.with_verified_integrity(false).with_durability(crate::Durability::Immediate));
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert_eq!(cache.get::<Vec<u64>>("k").unwrap().map(|read| read.len()), Some(words.len()));
    // The length before the elements, where nothing else would find it.
    let length = bytes.windows(8).position(|window| window == (words.len() as u64).to_le_bytes());
    bytes[length.unwrap()] ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert_eq!(cache.get::<Vec<u64>>("k").unwrap(), None);
}

#[test]
fn a_value_over_the_limit_of_the_reader_is_an_error_before_memory_is_taken() {
    let (dir, cache, _) = cache_of(&noise(50_000), |config| config);
    cache.close().unwrap();
    let limits = crate::Limits { max_value_bytes: 300_000, ..crate::Limits::DEFAULT };
    let cache = Cache::new(without_memory(dir.path()).with_limits(limits)).unwrap();
    assert!(cache.get::<Vec<u64>>("k").unwrap_err().is_limit());
}
