use std::fs;

use super::*;
use crate::config::{Durability, Limits};

fn message_of(result: Result<CacheConfig>) -> String {
    let error = result.unwrap_err();
    assert!(error.is_config(), "{error}");
    error.to_string()
}

fn unusual() -> CacheConfig {
    let limits = Limits { max_key_bytes: 1000, ..Limits::DEFAULT };
    CacheConfig::for_api("some where/ü")
        .with_max_size_mb(7)
        .with_durability(Durability::Immediate)
        .with_backend("memory")
        .with_blob_backend("filesystem")
        .with_handler_priority(["csv", "messagepack"])
        .with_limits(limits)
}

#[test]
fn every_configuration_comes_back_from_its_text() {
    let endless = CacheConfig::default().with_max_size_mb(u64::MAX);
    for config in
        [CacheConfig::default(), endless, unusual(), CacheConfig::for_size("s"), CacheConfig::for_performance("p")]
    {
        assert_eq!(CacheConfig::from_toml(&config.to_toml().unwrap()).unwrap(), config);
        assert_eq!(CacheConfig::from_json(&config.to_json().unwrap()).unwrap(), config);
    }
    assert_eq!(CacheConfig::from_toml("").unwrap(), CacheConfig::default());
    assert_eq!(CacheConfig::from_json("{}").unwrap(), CacheConfig::default());
}

#[test]
fn a_file_is_written_whole_and_read_by_its_extension() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["cache.toml", "cache.json"] {
        let path = dir.path().join(name);
        CacheConfig::default().to_file(&path).unwrap();
        unusual().to_file(&path).unwrap();
        assert_eq!(CacheConfig::from_file(&path).unwrap(), unusual());
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left behind");
    assert!(fs::read_to_string(dir.path().join("cache.json")).unwrap().starts_with('{'));
}

#[test]
fn a_configuration_with_faults_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache.toml");
    CacheConfig::default().to_file(&path).unwrap();
    let error = CacheConfig::default().with_max_size_mb(0).to_file(&path).unwrap_err();
    assert!(error.is_config() && error.to_string().contains("max_cache_size_mb is 0"), "{error}");
    assert_eq!(CacheConfig::from_file(&path).unwrap(), CacheConfig::default());
    let error = CacheConfig::default().to_file(dir.path().join("missing/cache.toml")).unwrap_err();
    assert!(error.is_storage() && error.to_string().contains("missing"), "{error}");
}

#[test]
fn an_error_tells_line_field_and_the_nearest_name() {
    let toml = |text| message_of(CacheConfig::from_toml(text));
    let json = |text| message_of(CacheConfig::from_json(text));
    for (message, expected) in [
        (
            toml("default_ttl_seconds = 5\n\n[storage]\ncache_dri = 'x'\n"),
            "TOML:4: storage.cache_dri: there is no field `cache_dri`, did you mean `cache_dir`? (known here: cache_dir, ",
        ),
        (
            toml("[storrage]\ncache_dir = 'x'\n"),
            "TOML:1: storrage: there is no field `storrage`, did you mean `storage`?",
        ),
        (toml("[colours]\n"), "TOML:1: colours: there is no field `colours` (known here: storage, metadata, blob, "),
        (
            json("{\n\"metadata\": {\n\"bakend\": \"sled\"}}"),
            "JSON:3: metadata.bakend: there is no field `bakend`, did you mean `backend`?",
        ),
        (toml("[limits]\nmax_key_bytes = 'big'\n"), "TOML:2: limits.max_key_bytes: invalid type: string"),
        (json("{\"limits\": {\n\"max_key_bytes\": \"big\"}}"), "JSON:2: limits.max_key_bytes: invalid type: string"),
        (
            toml("durability = 'sometimes'"),
            "TOML:1: durability: unknown variant `sometimes`, expected `interval` or `immediate`",
        ),
        (
            toml("[compression]\ncodec = 'zip'"),
            "TOML:2: compression.codec: compression codec `zip` is not known; choose",
        ),
        (json("[1]"), "JSON:1: "),
        (toml("storage = 3"), "TOML:1: storage: invalid type: integer `3`"),
        (toml("[storage\n"), "TOML:1: "),
        (json("{} {}"), "JSON:1: trailing characters"),
        (json(""), "JSON:1: EOF while parsing a value"),
    ] {
        assert!(message.contains(expected), "{message}\nlacks\n{expected}");
    }
}

#[test]
fn a_size_below_zero_names_its_field() {
    for (part, field) in [
        ("storage", "max_cache_size_mb"),
        ("storage", "inline_bytes"),
        ("storage", "flush_interval_ms"),
        ("metadata", "page_cache_mb"),
        ("compression", "level"),
        ("compression", "threshold_bytes"),
        ("compression", "numbers_level"),
        ("serialization", "max_collection_depth"),
        ("limits", "max_key_bytes"),
        ("limits", "max_value_bytes"),
        ("limits", "max_header_bytes"),
    ] {
        let expected = format!(": {part}.{field}: invalid value: integer `-5`");
        let toml = message_of(CacheConfig::from_toml(&format!("[{part}]\n{field} = -5")));
        let json = message_of(CacheConfig::from_json(&format!("{{\"{part}\": {{\"{field}\": -5}}}}")));
        for message in [toml, json] {
            assert!(message.contains(&expected) && message.contains("must not be negative"), "{message}");
        }
    }
}

#[test]
fn a_field_that_is_there_twice_is_refused() {
    for text in [
        "default_ttl_seconds = 1\ndefault_ttl_seconds = 2",
        "[blob]\n[blob]",
        "[limits]\nmax_key_bytes = 1\nmax_key_bytes = 1",
    ] {
        let message = message_of(CacheConfig::from_toml(text));
        assert!(message.contains("duplicate") && message.contains("leave one"), "{message}");
    }
    let message = message_of(CacheConfig::from_json("{\"limits\": {\"max_key_bytes\": 1,\n\"max_key_bytes\": 1}}"));
    assert!(message.contains("JSON:2: limits: duplicate field `max_key_bytes`: it is there twice"), "{message}");
    let message = message_of(CacheConfig::from_json("{\"blob\": {}, \"blob\": {}}"));
    assert!(message.contains("JSON:1: duplicate field `blob`"), "{message}");
}

#[test]
fn a_file_that_is_no_configuration_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let refusal = |name: &str| message_of(CacheConfig::from_file(path(name)));
    fs::write(path("cache.yaml"), "").unwrap();
    fs::write(path("latin.toml"), b"# \xe4").unwrap();
    fs::write(path("typo.toml"), "\n\nstorrage = 1").unwrap();
    fs::create_dir(path("dir.toml")).unwrap();
    File::create(path("huge.json")).unwrap().set_len(10 << 30).unwrap();
    for (name, expected) in [
        ("missing.toml", "cannot be read"),
        ("cache.yaml", "name it .toml or .json"),
        ("latin.toml", "is not UTF-8"),
        ("typo.toml", ":3: storrage: there is no field"),
        ("dir.toml", "is not a file"),
        ("huge.json", "is longer than the 1048576 bytes"),
    ] {
        let message = refusal(name);
        assert!(message.contains(name) && message.contains(expected), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe.toml");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(message_of(CacheConfig::from_file(&path)).contains("is not a file"));
}

#[test]
fn the_nearest_name_is_told_if_it_is_near() {
    let known = ["cache_dir", "max_cache_size_mb", "inline_bytes"];
    assert_eq!(nearest("cache_dri", &known), Some("cache_dir"));
    assert_eq!(nearest("max_size_mb", &known), None);
    assert_eq!(nearest("max_cache_size", &known), Some("max_cache_size_mb"));
    assert_eq!(nearest("inlinebytes", &known), Some("inline_bytes"));
    assert_eq!(nearest("", &known), None);
    assert_eq!(nearest(&"x".repeat(1 << 20), &known), None);
    assert_eq!(nearest("x", &[]), None);
}

#[test]
fn distances_count_changes() {
    for (from, to, expected) in
        [("", "", 0), ("abc", "abc", 0), ("abc", "acb", 1), ("abc", "ab", 1), ("", "ab", 2), ("xbcd", "abce", 2)]
    {
        assert_eq!((distance(from, to), distance(to, from)), (expected, expected), "{from} {to}");
    }
}
