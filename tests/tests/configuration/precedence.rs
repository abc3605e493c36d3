//! What the default cache of a process is configured by.

use std::path::Path;

use cacheness::CacheConfig;
use cacheness_tests::{errors_of, probe, warnings};

const PROGRAM: &str = env!("CARGO_BIN_EXE_probe");

/// The configuration of a process's default cache, with these variables set.
pub(super) fn configured(dir: &Path, variables: &[(&str, &str)]) -> CacheConfig {
    let mut probe = probe(PROGRAM, dir, &["configuration"]);
    let output = probe.envs(variables.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", errors_of(&output));
    CacheConfig::from_json(std::str::from_utf8(&output.stdout).unwrap()).unwrap()
}

#[test]
fn of_default_file_and_environment_the_later_beats_the_earlier() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.json");
    std::fs::write(&file, r#"{"default_ttl_seconds": 60, "storage": {"max_cache_size_mb": 200}}"#).unwrap();
    let by_file = ("CACHENESS_CONFIG", file.to_str().unwrap());
    let by_variable = ("CACHENESS_MAX_SIZE_MB", "300");
    let config = |variables: &[_]| configured(&dir.path().join("cache"), variables);
    assert_eq!(config(&[]).storage.max_cache_size_mb, 10_000);
    assert_eq!(config(&[by_file]).storage.max_cache_size_mb, 200);
    assert_eq!(config(&[by_variable]).storage.max_cache_size_mb, 300);
    let all = config(&[by_file, by_variable]);
    assert_eq!((all.storage.max_cache_size_mb, all.default_ttl_seconds), (300, Some(60.0)));
}

#[test]
fn a_file_that_cannot_be_used_leaves_the_functions_running_and_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.toml");
    std::fs::write(&file, "[storage]\nmax_cache_size_mb = -1\n").unwrap();
    let output = probe(PROGRAM, dir.path(), &["call", "3"]).env("CACHENESS_CONFIG", &file).output().unwrap();
    assert!(output.status.success(), "{}", errors_of(&output));
    let [warning] = &warnings(&output)[..] else { panic!("one warning, not {}", errors_of(&output)) };
    for part in ["CACHENESS_CONFIG is ", "settings.toml:2: storage.max_cache_size_mb: ", "must not be negative"] {
        assert!(warning.contains(part), "{part} is missing in {warning}");
    }
}
