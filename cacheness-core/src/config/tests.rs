use std::time::Duration;

use super::*;

#[test]
fn the_defaults_are_those_that_are_documented() {
    let config = CacheConfig::default();
    assert_eq!(config.storage.cache_dir, PathBuf::from("./cache"));
    assert_eq!(config.max_bytes(), 10_000 * 1_048_576);
    assert!(!config.storage.cleanup_on_init);
    assert_eq!(config.storage.inline_bytes, 4096);
    assert_eq!(config.flush_interval(), Duration::from_millis(500));
    assert_eq!((config.metadata.backend.as_str(), config.metadata.store_cache_key_params), ("sled", true));
    assert_eq!(config.page_cache_bytes(), 512 * 1_048_576);
    assert_eq!((config.compression.codec, config.compression.threshold_bytes), (Codec::Lz4, 1024));
    assert_eq!((config.durability, config.limits), (Durability::Interval, Limits::DEFAULT));
    assert_eq!((config.default_ttl(), config.single_flight_wait()), (None, Duration::from_secs(3)));
}

#[test]
fn numbers_are_compressed_as_other_values_unless_told_otherwise() {
    let mut config = CacheConfig::default();
    let of = |codec, level| Compression { codec, level };
    assert_eq!(config.number_compression(), of(Codec::Lz4, None));
    config.compression.level = Some(5);
    assert_eq!(config.number_compression(), of(Codec::Lz4, Some(5)));
    config.compression.numbers_level = Some(9);
    assert_eq!(config.number_compression(), of(Codec::Lz4, Some(9)));
    config.compression.numbers_codec = Some(Codec::None);
    assert_eq!(config.number_compression(), of(Codec::None, Some(9)));
    config.compression.numbers_level = None;
    assert_eq!(config.number_compression(), of(Codec::None, None));
    assert_eq!(config.value_compression(), of(Codec::Lz4, Some(5)));
}

#[test]
fn a_ttl_no_duration_can_hold_is_the_longest_and_a_senseless_one_is_none_at_all() {
    let ttl = |seconds| CacheConfig { default_ttl_seconds: Some(seconds), ..CacheConfig::default() }.default_ttl();
    assert_eq!(ttl(1e30), Some(Duration::MAX));
    assert_eq!(CacheConfig::default().with_ttl(Duration::MAX).default_ttl(), Some(Duration::MAX));
    for senseless in [-1.0, f64::NAN, f64::NEG_INFINITY] {
        assert_eq!(ttl(senseless), Some(Duration::ZERO), "{senseless}");
    }
}

#[test]
fn a_configuration_survives_serde_and_a_missing_field_takes_its_default() {
    let config = CacheConfig::for_api("dir").with_max_size_mb(7).with_durability(Durability::Immediate);
    let bytes = rmp_serde::to_vec_named(&config).unwrap();
    assert_eq!(rmp_serde::from_slice::<CacheConfig>(&bytes).unwrap(), config);

    #[derive(Serialize)]
    struct Partial {
        default_ttl_seconds: u32,
    }
    let bytes = rmp_serde::to_vec_named(&Partial { default_ttl_seconds: 5 }).unwrap();
    let expected = CacheConfig::default().with_ttl(Duration::from_secs(5));
    assert_eq!(rmp_serde::from_slice::<CacheConfig>(&bytes).unwrap(), expected);
}

#[test]
fn an_unknown_field_is_refused_by_name_at_every_level() {
    #[derive(Serialize)]
    struct Typo<T> {
        storage: T,
    }
    #[derive(Serialize)]
    struct Storage {
        cache_dri: &'static str,
    }
    let bytes = rmp_serde::to_vec_named(&Typo { storage: Storage { cache_dri: "x" } }).unwrap();
    let message = rmp_serde::from_slice::<CacheConfig>(&bytes).unwrap_err().to_string();
    assert!(message.contains("cache_dri"), "{message}");
}

#[test]
fn a_name_that_is_no_directory_of_its_own_is_refused_with_the_name() {
    for name in ["", ".", "..", "a/b", "/etc", "../up", "a\\b", "C:", "C:name", "a\0b", "a\nb"] {
        let error = CacheConfig::for_user(name).unwrap_err();
        assert!(error.is_config() && error.to_string().contains(&format!("{name:?}")), "{name:?}: {error}");
    }
    for name in ["app", "my-app", "org.example.app", "...", "Wetter für alle"] {
        assert!(CacheConfig::for_user(name).unwrap().storage.cache_dir.ends_with(name), "{name:?}");
    }
}

#[test]
fn what_differs_is_told_with_both_values_and_what_every_handle_has_for_itself_is_not() {
    let in_force = CacheConfig::new("a").with_max_size_mb(100);
    let mut other = in_force.clone().with_cache_dir("b").with_ttl(Duration::from_secs(5));
    other.storage.cleanup_on_init = true;
    other.metadata.store_cache_key_params = false;
    other.serialization.hash_path_content = false;
    other.limits.max_key_bytes = 7;
    assert!(other.differences(&in_force).is_empty());
    assert_eq!(other.clone().sharing(&in_force), other);
    let wanted = other.clone().with_max_size_mb(2).with_inline_bytes(0);
    assert_eq!(
        wanted.differences(&in_force),
        ["storage.max_cache_size_mb is 2 here and 100 in force", "storage.inline_bytes is 0 here and 4096 in force"]
    );
    assert_eq!(wanted.sharing(&in_force), other);
}

#[test]
fn a_choice_that_is_the_default_is_no_difference() {
    let named = CacheConfig::new("a").with_blob_backend("filesystem");
    assert!(named.differences(&CacheConfig::new("a")).is_empty());
}
