//! Values with a file format of their own: which file they become, and what is made of it.

mod packed;
mod sealed;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::*;
use crate::codec::handler::{HandlerError, Kind, Taken};
use crate::codec::native::Source;
use crate::codec::native::sealed::Sealed;
use crate::codec::native::{InMemory, Native, NativeFormat, NativeOptions};
use crate::config::{Codec, Durability};
use crate::security::SigningKey;
use crate::util::threads::WORTH_TWO;

/// Bytes as a file that has them and nothing else: of a tensor or of a table, by what is asked for.
#[derive(Clone, Debug, PartialEq)]
struct Plain(Vec<u8>);

impl Sealed for Plain {}

impl Native for Plain {
    const FORMATS: &'static [NativeFormat] = &[NativeFormat::SafeTensors, NativeFormat::Arrow];

    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn write(&self, options: NativeOptions, to: &mut (dyn Write + Send)) -> Result<(), HandlerError> {
        match self.0.first() {
            Some(b'!') => return Err("column `a` holds what the format does not".into()),
            Some(b'?') => panic!("on purpose"),
            _ => {}
        }
        to.write_all(options.format.name().as_bytes())?;
        Ok(self.0.chunks(100_000).try_for_each(|part| to.write_all(part))?)
    }

    fn read(format: NativeFormat, mut from: Source, _: u64) -> Result<Self, HandlerError> {
        let mut name = vec![0; format.name().len()];
        from.read_exact(&mut name)?;
        if name != format.name().as_bytes() {
            return Err("another format".into());
        }
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        Ok(Self(bytes))
    }
}

const LARGE: usize = 3 << 20;

fn noise(len: usize) -> Plain {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8 | 1
    };
    Plain((0..len).map(|_| next()).collect())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(|entry| below(entry.unwrap().path())).collect()
}

fn blobs(dir: &Path) -> Vec<String> {
    let extension = |path: &PathBuf| path.extension().unwrap().to_str().unwrap().to_owned();
    let mut found: Vec<_> = files(&dir.join("blobs")).iter().map(extension).collect();
    found.sort();
    found
}

fn config(dir: &Path) -> CacheConfig {
    CacheConfig::new(dir)
}

fn is_stored(cache: &Cache, key: &str, value: &Plain) -> bool {
    let codec = ValueCodec::native();
    cache.get_by_key::<Plain>(&cache.key(key).unwrap(), None, codec, Attempt::First).unwrap().as_ref() == Some(value)
}

#[test]
fn a_value_of_any_size_comes_back_from_memory_from_disk_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [0, 1, 1000, 5000, 200_000, LARGE];
    let cache = Cache::new(config(dir.path())).unwrap();
    for size in sizes {
        cache.put_native(size, &noise(size)).unwrap();
        assert_eq!(cache.get_native(size).unwrap(), Some(noise(size)), "{size}");
        assert_eq!(cache.get_native(size).unwrap(), Some(noise(size)), "{size} out of memory");
        let entry = cache.get_metadata(size, Expired::Skip).unwrap().unwrap();
        assert_eq!((entry.handler_used(), entry.raw_size()), ("safetensors", size as u64 + 11));
    }
    drop(cache);
    let cache = Cache::new(config(dir.path())).unwrap();
    sizes.into_iter().for_each(|size| assert_eq!(cache.get_native(size).unwrap(), Some(noise(size)), "{size}"));
}

#[test]
fn a_large_value_is_a_file_that_other_tools_open_and_a_sidecar_and_both_go_with_the_entry() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(config(dir.path())).unwrap();
    for size in [200_000, LARGE] {
        cache.put_native("k", &noise(size)).unwrap();
        let file = cache.open_file("k").unwrap().unwrap();
        assert!(!file.is_copy() && file.path().starts_with(dir.path().canonicalize().unwrap()));
        assert_eq!(file.format(), Some(NativeFormat::SafeTensors));
        assert_eq!(fs::read(file.path()).unwrap(), [b"safetensors", &noise(size).0[..]].concat());
    }
    cache.flush().unwrap();
    assert_eq!(blobs(dir.path()), ["entry", "safetensors"]);
    assert!(cache.invalidate("k").unwrap());
    cache.flush().unwrap();
    assert_eq!(blobs(dir.path()), [""; 0]);
    assert!(cache.open_file("k").unwrap().is_none());
}

#[test]
fn a_value_that_is_no_file_here_is_copied_to_one_for_as_long_as_it_is_held() {
    let small = tempfile::tempdir().unwrap();
    let compressed = tempfile::tempdir().unwrap();
    for (config, len) in [
        (CacheConfig::new(small.path()), 100),
        (CacheConfig::in_memory(), LARGE),
        (CacheConfig::new(compressed.path()).with_arrays_codec(Codec::Lz4), 4 * LARGE),
    ] {
        let cache = Cache::new(config).unwrap();
        let value = Plain(vec![5; len]);
        cache.put_native("k", &value).unwrap();
        assert!(is_stored(&cache, "k", &value));
        let file = cache.open_file("k").unwrap().unwrap();
        assert!(file.is_copy());
        assert_eq!(fs::read(&file).unwrap(), [b"safetensors", &value.0[..]].concat());
        let path = file.path().to_owned();
        drop(file);
        assert!(!path.exists());
    }
    let stored: u64 = files(&compressed.path().join("blobs")).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(stored < LARGE as u64, "{stored}");
}

#[test]
fn a_value_of_serde_is_no_file_and_says_how_it_would_be_one() {
    let cache = Cache::in_memory();
    cache.put("k", &1u8).unwrap();
    let error = cache.open_file("k").unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.to_string().contains("put_native"), "{error}");
}

#[test]
fn a_value_that_its_format_cannot_hold_is_refused_by_name_and_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(config(dir.path())).unwrap();
    cache.put_native("k", &noise(LARGE)).unwrap();
    for (first, says) in [(b'!', "column `a` holds"), (b'?', "it panicked: on purpose")] {
        for len in [10, LARGE] {
            let mut value = noise(len);
            value.0[0] = first;
            let error = cache.put_native("k", &value).unwrap_err();
            assert!(error.is_handler() && error.to_string().contains(says), "{error}");
        }
    }
    assert!(is_stored(&cache, "k", &noise(LARGE)));
    assert!(files(&dir.path().join("staging")).is_empty());
}

#[test]
fn a_value_over_a_limit_is_refused_before_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.limits.max_value_bytes = LARGE as u64 - 1;
    let cache = Cache::new(config).unwrap();
    let error = cache.put_native("k", &noise(LARGE)).unwrap_err();
    assert!(error.is_limit() && error.to_string().contains("Plain"), "{error}");
    assert_eq!(blobs(dir.path()), [""; 0]);
    drop(cache);
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(CacheConfig::new(dir.path()).with_max_size_mb(2)).unwrap();
    cache.put("other", &1u8).unwrap();
    let error = cache.put_native("k", &noise(LARGE)).unwrap_err();
    assert!(error.is_limit() && error.to_string().contains("max_cache_size_mb"), "{error}");
    assert_eq!((blobs(dir.path()), cache.get("other").unwrap()), (vec![], Some(1u8)), "nobody was evicted");
}

#[test]
fn the_configuration_chooses_between_formats_and_a_disabled_one_neither_writes_nor_reads() {
    let dir = tempfile::tempdir().unwrap();
    let used = |cache: &Cache| cache.get_metadata("k", Expired::Skip).unwrap().unwrap().handler_used().to_owned();
    let first = Cache::new(config(dir.path()).with_handler_priority(["arrow"])).unwrap();
    first.put_native("k", &noise(10)).unwrap();
    assert_eq!(used(&first), "arrow");
    first.put_native_with("k", &noise(10), PutOptions::new().handler("safetensors")).unwrap();
    assert_eq!(used(&first), "safetensors");
    let error = first.put_native_with("k", &noise(10), PutOptions::new().handler("parquet")).unwrap_err();
    assert!(error.to_string().contains("arrow, safetensors"), "{error}");
    drop(first);
    let second = Cache::new(config(dir.path()).with_disabled_handlers(["safetensors"])).unwrap();
    assert_eq!(second.get_native::<Plain>("k").unwrap(), None);
    second.put_native("k", &noise(10)).unwrap();
    assert_eq!(used(&second), "arrow");
    drop(second);
    let third = Cache::new(config(dir.path()).with_disabled_handlers(["safetensors", "arrow"])).unwrap();
    let error = third.put_native("k", &noise(10)).unwrap_err();
    assert!(error.is_handler() && error.to_string().contains("handlers.disabled"), "{error}");
}

#[test]
fn a_flipped_bit_in_either_file_is_a_miss_and_the_value_is_stored_anew() {
    let dir = tempfile::tempdir().unwrap();
    for extension in ["entry", "safetensors"] {
        for place in [0, 1, 2] {
            let cache = Cache::new(config(dir.path())).unwrap();
            cache.put_native("k", &noise(LARGE)).unwrap();
            cache.flush().unwrap();
            let is_meant = |path: &PathBuf| path.extension().is_some_and(|found| found == extension);
            let file = files(&dir.path().join("blobs")).into_iter().find(is_meant).unwrap();
            let mut bytes = fs::read(&file).unwrap();
            let at = [0, bytes.len() / 2, bytes.len() - 1][place];
            bytes[at] ^= 1;
            fs::write(&file, bytes).unwrap();
            assert!(cache.open_file("k").unwrap().is_none(), "{extension} {place}");
            assert_eq!(cache.get_native::<Plain>("k").unwrap(), None, "{extension} {place}");
        }
    }
}

#[test]
fn an_index_is_made_anew_from_sidecars_also_where_entries_are_signed() {
    let dir = tempfile::tempdir().unwrap();
    for key in [None, Some(SigningKey::from_bytes([3; 32]))] {
        let dir = dir.path().join(key.is_some().to_string());
        let mut config = config(&dir).with_durability(Durability::Immediate);
        if let Some(key) = key {
            config = config.with_signing_key(key);
        }
        let cache = Cache::new(config.clone()).unwrap();
        cache.put_native("large", &noise(LARGE)).unwrap();
        cache.put_native("small", &noise(200_000)).unwrap();
        cache.close().unwrap();
        fs::remove_dir_all(dir.join("index")).unwrap();
        let cache = Cache::new(config).unwrap();
        assert!(is_stored(&cache, "large", &noise(LARGE)) && is_stored(&cache, "small", &noise(200_000)));
        assert!(!cache.open_file("large").unwrap().unwrap().is_copy());
    }
}

#[test]
fn a_copied_entry_and_one_in_another_cache_have_files_of_their_own() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = Cache::new(config(one.path())).unwrap();
    cache.put_native("a", &noise(LARGE)).unwrap();
    assert!(cache.copy("a", "b").unwrap());
    let target = Cache::new(config(other.path())).unwrap();
    migrate_cache(&cache, &target).unwrap();
    for (cache, key) in [(&cache, "b"), (&target, "a"), (&target, "b")] {
        assert!(is_stored(cache, key, &noise(LARGE)));
        assert!(!cache.open_file(key).unwrap().unwrap().is_copy());
    }
    assert!(cache.rename("b", "c").unwrap() && is_stored(&cache, "c", &noise(LARGE)));
}

#[test]
fn a_registered_handler_of_the_type_comes_before_its_formats() {
    struct Reversed;
    impl crate::codec::handler::Handler for Reversed {
        type Value = Plain;

        fn name(&self) -> &str {
            "reversed"
        }

        fn write(&self, value: &Plain, to: &mut dyn io::Write) -> Result<(), HandlerError> {
            Ok(to.write_all(&value.0.iter().rev().copied().collect::<Vec<_>>())?)
        }

        fn read(&self, from: &mut dyn io::Read) -> Result<Plain, HandlerError> {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes)?;
            bytes.reverse();
            Ok(Plain(bytes))
        }
    }
    let cache = Cache::in_memory();
    cache.register_handler(Reversed, 0).unwrap();
    cache.put_native("k", &noise(50)).unwrap();
    assert!(is_stored(&cache, "k", &noise(50)));
    let entry = cache.get_metadata("k", Expired::Skip).unwrap().unwrap();
    assert_eq!(entry.handler_used(), "reversed");
    assert!(cache.open_file("k").unwrap().unwrap().format().is_none());
    assert!(cache.unregister_handler("npy").unwrap_err().to_string().contains("built in"));
}

#[test]
fn values_of_one_type_by_serde_and_in_files_are_misses_for_each_other() {
    let cache = Cache::in_memory();
    cache.put("k", &vec![1u8]).unwrap();
    assert_eq!(cache.get_native::<Plain>("k").unwrap(), None);
    cache.put_native("k", &noise(5)).unwrap();
    assert_eq!(cache.get::<Vec<u8>>("k").unwrap(), None);
}

/// Numbers behind a head that says how long it is, which may be wrong.
#[derive(Clone, Debug, PartialEq)]
struct Counted {
    head: Vec<u8>,
    numbers: Vec<u64>,
}

impl Counted {
    fn of(head: usize, numbers: Vec<u64>) -> Self {
        Self { head: [&(head as u64).to_le_bytes()[..], &vec![b'h'; head - 8]].concat(), numbers }
    }

    fn head_len(start: &[u8]) -> Option<u64> {
        Some(u64::from_le_bytes(*start.first_chunk()?)).filter(|len| *len < 1000)
    }
}

impl Sealed for Counted {}

impl Native for Counted {
    const FORMATS: &'static [NativeFormat] = &[NativeFormat::Npy];

    fn size(&self) -> u64 {
        8 * self.numbers.len() as u64
    }

    fn write(&self, _: NativeOptions, to: &mut (dyn Write + Send)) -> Result<(), HandlerError> {
        to.write_all(&self.head)?;
        Ok(to.write_all(bytemuck::cast_slice(&self.numbers))?)
    }

    fn in_memory(&self, _: NativeOptions) -> Result<Option<InMemory<'_>>, HandlerError> {
        Ok(Some((self.head.clone(), bytemuck::cast_slice(&self.numbers))))
    }

    fn taken(_: NativeFormat) -> Option<Taken> {
        Some(Taken::Array(Kind::U64, Self::head_len))
    }

    fn read(_: NativeFormat, mut from: Source, _: u64) -> Result<Self, HandlerError> {
        let mut start = [0; 8];
        from.read_exact(&mut start)?;
        let len = Self::head_len(&start).ok_or("no head")?;
        let mut head = start.to_vec();
        from.by_ref().take(len - 8).read_to_end(&mut head)?;
        let large = from.len() > 128 << 10;
        match from.take_numbers() {
            Some(numbers) => Ok(Self { head, numbers }),
            None if large => Err("it was not read where it stays".into()),
            None => {
                let mut bytes = Vec::new();
                from.read_to_end(&mut bytes)?;
                Ok(Self { head, numbers: bytemuck::pod_collect_to_vec(&bytes) })
            }
        }
    }
}

fn stored_counted(cache: &Cache) -> Option<Counted> {
    cache.get_by_key(&cache.key("k").unwrap(), None, ValueCodec::native(), Attempt::First).unwrap()
}

#[test]
fn numbers_behind_a_head_are_read_where_they_stay_from_a_file_from_memory_and_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let of = |codec| CacheConfig::new(dir.path().join(format!("{codec}"))).with_arrays_codec(codec);
    for config in [of(Codec::None), of(Codec::Lz4), CacheConfig::in_memory()] {
        let cache = Cache::new(config).unwrap();
        for len in [0, 5, 30_000, WORTH_TWO / 8 + 7] {
            for head in [8, 128, 200] {
                let value = Counted::of(head, (0..len as u64).collect());
                cache.put_native("k", &value).unwrap();
                assert!(stored_counted(&cache).as_ref() == Some(&value), "{len} numbers behind {head} bytes");
            }
        }
    }
}

#[test]
fn a_damaged_file_of_numbers_is_a_miss_wherever_the_damage_is_and_so_is_one_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(config(dir.path())).unwrap();
    let value = Counted::of(128, (0..1_200_000).collect());
    for at in [0, 7, 100, 128, 5_000_000, 128 + 8 * 1_200_000 - 1] {
        cache.put_native("k", &value).unwrap();
        cache.flush().unwrap();
        let path = cache.open_file("k").unwrap().unwrap().path().to_owned();
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        assert_eq!(stored_counted(&cache), None, "byte {at}");
        assert!(!path.exists(), "it is set aside");
    }
    // What was stored is no file of the type, which its reader tells, and nobody calls it damaged.
    for head in [vec![0xff; 128], 3_u64.to_le_bytes().to_vec()] {
        cache.put_native("k", &Counted { head, numbers: (0..30_000).collect() }).unwrap();
        assert_eq!(stored_counted(&cache), None);
        assert!(cache.open_file("k").unwrap().is_some());
    }
}

#[test]
fn the_file_of_a_value_is_the_one_that_was_believed_and_not_one_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path()).with_signing_key(SigningKey::from_bytes([3; 32]));
    let cache = Cache::new(config).unwrap();
    cache.put_native("k", &noise(LARGE)).unwrap();
    cache.flush().unwrap();
    let body = cache.open_file("k").unwrap().unwrap().path().to_owned();
    let (genuine, sidecar) = (fs::read(&body).unwrap(), fs::read(body.with_extension("entry")).unwrap());
    let head_len = u64::from_le_bytes(sidecar[sidecar.len() - 32..][..8].try_into().unwrap()) as usize;
    let (head, tail) = sidecar[..sidecar.len() - 32].split_at(head_len);
    fs::write(body.with_extension("blob"), [head, &genuine, tail].concat()).unwrap();
    fs::write(&body, vec![b'f'; genuine.len()]).unwrap();
    let file = cache.open_file("k").unwrap().unwrap();
    assert!(fs::read(file.path()).unwrap() == genuine, "the file is forged");
}
