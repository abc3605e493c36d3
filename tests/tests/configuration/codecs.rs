use cacheness::config::Codec;
use cacheness::{Cache, CacheConfig};

/// Every codec, at every level and without one.
fn settings() -> impl Iterator<Item = (Codec, Option<u8>)> {
    Codec::ALL.iter().flat_map(|&codec| {
        let levels = codec.levels().into_iter().flatten().map(Some);
        levels.chain([None]).map(move |level| (codec, level))
    })
}

#[test]
fn a_codec_and_level_that_the_configuration_accepts_work_at_put_and_get() {
    let text = "some of this repeats, and some of it does not; ".repeat(3000);
    let numbers: Vec<f64> = (0..10_000).map(|n| f64::from(n % 100)).collect();
    let mut tried = 0;
    for (codec, level) in settings() {
        let mut config = CacheConfig::in_memory().with_numbers_codec(codec).with_codec(codec);
        (config.compression.level, config.compression.numbers_level) = (level, level);
        let cache = Cache::new(config).unwrap();
        cache.put("text", &text).unwrap();
        cache.put("numbers", &numbers).unwrap();
        let (text_back, as_text) = cache.get_with_metadata::<String>("text").unwrap().unwrap();
        let (numbers_back, as_numbers) = cache.get_with_metadata::<Vec<f64>>("numbers").unwrap().unwrap();
        assert!(text_back == text && numbers_back == numbers, "{codec} {level:?}");
        assert_eq!((as_text.codec(), as_numbers.codec()), (codec.name(), codec.name()), "{level:?}");
        tried += 1;
    }
    assert_eq!(tried, 1 + 1 + 23 + 10 + 10, "none, lz4, zstd, gzip, blosclz");
}

#[test]
fn what_one_codec_wrote_is_read_under_the_configuration_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let value = "some of this repeats; ".repeat(5000);
    for codec in Codec::ALL {
        let cache = Cache::new(CacheConfig::new(dir.path()).with_codec(*codec)).unwrap();
        cache.put(codec.name(), &value).unwrap();
        for earlier in Codec::ALL.iter().take_while(|earlier| *earlier != codec) {
            assert!(cache.get::<String>(earlier.name()).unwrap().as_ref() == Some(&value), "{earlier} under {codec}");
        }
        cache.close().unwrap();
    }
}

#[test]
fn the_codec_of_numbers_is_not_that_of_bytes_and_texts() {
    let cache = Cache::new(CacheConfig::in_memory().with_codec(Codec::Gzip).with_numbers_codec(Codec::Zstd)).unwrap();
    cache.put("numbers", &vec![1_u32; 5000]).unwrap();
    cache.put("bytes", &vec![1_u8; 5000]).unwrap();
    cache.put("text", &"x".repeat(5000)).unwrap();
    assert_eq!(cache.get_with_metadata::<Vec<u32>>("numbers").unwrap().unwrap().1.codec(), "zstd");
    assert_eq!(cache.get_with_metadata::<Vec<u8>>("bytes").unwrap().unwrap().1.codec(), "gzip");
    assert_eq!(cache.get_with_metadata::<String>("text").unwrap().unwrap().1.codec(), "gzip");
}

#[test]
fn blosclz_sorts_the_bytes_of_numbers_and_a_damaged_buffer_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let numbers: Vec<u32> = (0..200_000).map(|n: u32| n * 7 / 3).collect();
    let stored = |codec| {
        let cache = Cache::new(CacheConfig::in_memory().with_numbers_codec(codec)).unwrap();
        cache.put("numbers", &numbers.iter().map(|n| n ^ (n & 64)).collect::<Vec<_>>()).unwrap();
        cache.get_with_metadata::<Vec<u32>>("numbers").unwrap().unwrap().1.size()
    };
    let (sorted, as_they_lie) = (stored(Codec::Blosclz), stored(Codec::Gzip));
    assert!(sorted * 4 < as_they_lie, "{sorted} and {as_they_lie} bytes");

    let open = || {
        let config = CacheConfig::new(dir.path()).with_codec(Codec::Blosclz).with_inline_bytes(0);
        Cache::new(config.with_memory_cache(false)).unwrap()
    };
    for seed in 0..20_usize {
        let cache = open();
        cache.put("numbers", &numbers).unwrap();
        cache.close().unwrap();
        let blob = cacheness_tests::files_below(&dir.path().join("blobs")).unwrap().pop().unwrap();
        let mut bytes = std::fs::read(&blob).unwrap();
        let at = bytes.len() * (seed + 1) / 21;
        bytes[at] ^= 1 << (seed % 8);
        std::fs::write(&blob, bytes).unwrap();
        assert_eq!(open().get::<Vec<u32>>("numbers").unwrap(), None, "byte {at}");
    }
}
