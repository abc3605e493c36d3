//! Large files, of which each part is believed by itself.

use std::cell::RefCell;
use std::io::{Seek, SeekFrom};

use super::*;

thread_local! {
    /// A file that is written over when the next value is read, before it is.
    static WRITTEN_OVER: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// A value of which the last bytes alone are read.
#[derive(Clone, Debug, PartialEq)]
struct End(Vec<u8>);

const END: u64 = 10;

impl Sealed for End {}

impl Native for End {
    const FORMATS: &'static [NativeFormat] = &[NativeFormat::Parquet];

    fn size(&self) -> u64 {
        LARGE as u64
    }

    fn write(&self, _: NativeOptions, to: &mut (dyn Write + Send)) -> Result<(), HandlerError> {
        to.write_all(&noise(LARGE).0)?;
        Ok(to.write_all(&self.0)?)
    }

    fn read(_: NativeFormat, mut from: Source, _: u64) -> Result<Self, HandlerError> {
        WRITTEN_OVER.take().iter().for_each(|path| flip(path, -1));
        let mut end = Vec::new();
        from.seek(SeekFrom::End(-(END as i64)))?;
        from.read_to_end(&mut end)?;
        Ok(Self(end))
    }
}

fn end() -> End {
    End((0..END as u8).collect())
}

fn stored_end(cache: &Cache, key: &str) -> Option<End> {
    cache.get_native(key).unwrap()
}

/// Flips a bit, so many bytes from the beginning or before the end.
fn flip(path: &Path, at: isize) {
    let mut bytes = fs::read(path).unwrap();
    let len = bytes.len();
    let at = if at < 0 { len - at.unsigned_abs() } else { at.unsigned_abs() };
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

/// Caches without values in memory: as they are, signed, and both without a look at checksums.
fn caches(dir: &Path) -> [(&'static str, Cache); 4] {
    [("plain", false, true), ("signed", true, true), ("trusting", false, false), ("signed, trusting", true, false)].map(
        |(name, is_signed, verify)| {
            let mut config = config(&dir.join(name)).with_memory_cache(false);
            config.metadata.verify_cache_integrity = verify;
            if is_signed {
                config = config.with_signing_key(SigningKey::from_bytes([3; 32]));
            }
            (name, Cache::new(config).unwrap())
        },
    )
}

fn file(cache: &Cache, key: &str) -> PathBuf {
    cache.flush().unwrap();
    cache.open_file(key).unwrap().unwrap().path().to_owned()
}

#[test]
fn a_part_of_a_large_file_is_read_and_believed_without_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    for (name, cache) in caches(dir.path()) {
        cache.put_native("k", &end()).unwrap();
        let path = file(&cache, "k");
        flip(&path, 5);
        assert_eq!(stored_end(&cache, "k"), Some(end()), "{name}: the part that is read is sound");
        assert!(cache.open_file("k").unwrap().is_none(), "{name}: the whole is not");
    }
}

#[test]
fn damage_in_a_part_that_is_read_is_a_miss_and_the_file_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    for (name, cache) in caches(dir.path()) {
        cache.put_native("k", &end()).unwrap();
        let path = file(&cache, "k");
        flip(&path, -3);
        if name == "trusting" {
            assert_ne!(stored_end(&cache, "k"), Some(end()), "it was told not to look");
            continue;
        }
        assert_eq!(stored_end(&cache, "k"), None, "{name}");
        assert!(!path.exists(), "{name}");
        assert!(cache.get_metadata("k", Expired::Include).unwrap().is_none(), "{name}");
        cache.put_native("k", &end()).unwrap();
        assert_eq!(stored_end(&cache, "k"), Some(end()), "{name}");
    }
}

#[test]
fn damage_anywhere_in_a_file_that_is_read_whole_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    for (name, cache) in caches(dir.path()).into_iter().filter(|(name, _)| *name != "trusting") {
        for at in [0, 300_000, LARGE as isize / 2, -1] {
            cache.put_native("k", &noise(LARGE)).unwrap();
            let path = file(&cache, "k");
            flip(&path, at);
            assert_eq!(cache.get_native::<Plain>("k").unwrap(), None, "{name}, byte {at}");
            assert!(!path.exists(), "{name}, byte {at}");
        }
    }
}

#[test]
fn a_file_that_is_written_over_after_it_was_opened_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    for (name, cache) in caches(dir.path()).into_iter().filter(|(name, _)| *name != "trusting") {
        cache.put_native("k", &end()).unwrap();
        WRITTEN_OVER.set(Some(file(&cache, "k")));
        assert_eq!(stored_end(&cache, "k"), None, "{name}");
    }
}

#[test]
fn parts_are_believed_by_the_blob_that_they_are_of_also_after_a_copy_a_migration_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for (name, cache) in caches(dir.path()) {
        cache.put_native("a", &end()).unwrap();
        assert!(cache.copy("a", "b").unwrap());
        let target = Cache::new(config(&dir.path().join("target").join(name)).with_memory_cache(false)).unwrap();
        migrate_cache(&cache, &target).unwrap();
        let (config, target_config) = (cache.config().clone(), target.config().clone());
        drop((cache, target));
        for (config, key) in [(&config, "a"), (&config, "b"), (&target_config, "a"), (&target_config, "b")] {
            let cache = Cache::new(config.clone()).unwrap();
            flip(&file(&cache, key), 5);
            assert_eq!(stored_end(&cache, key), Some(end()), "{name}, {key}");
        }
    }
}

#[test]
fn the_part_of_another_file_is_not_believed_where_entries_are_signed() {
    let dir = tempfile::tempdir().unwrap();
    let [_, (_, cache), ..] = caches(dir.path());
    cache.put_native("one", &end()).unwrap();
    cache.put_native("other", &End(vec![9; END as usize])).unwrap();
    let (one, other) = (file(&cache, "one"), file(&cache, "other"));
    fs::copy(other, one).unwrap();
    assert_eq!(stored_end(&cache, "one"), None);
}
