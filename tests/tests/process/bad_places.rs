//! A directory, a disk, a value or a variable that cannot be used: a clear error from `Cache`, and from a cached function
//! its own result with one warning.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use cacheness::Cache;
use cacheness_tests::{bodies, errors_of, probe, run, skip, warnings};

use crate::PROBE;

/// Calls 20 cached functions with the cache in a place it cannot use.
fn answers_with_one_warning(dir: &Path, expected: &str) {
    let output = run(PROBE, dir, &["call", "20"]);
    assert!(output.status.success(), "{}", errors_of(&output));
    assert_eq!(bodies(&output), 20);
    let warnings = warnings(&output);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(expected), "{warnings:?}");
}

#[test]
fn a_directory_that_others_may_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    let error = Cache::open(dir.path()).unwrap_err();
    assert!(error.is_storage() && error.to_string().contains("chmod go-w"), "{error}");
    answers_with_one_warning(dir.path(), "chmod go-w");
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    if chown(dir.path(), Some(65534), Some(65534)).is_err() {
        skip("only root can give a directory away");
        return;
    }
    let error = Cache::open(dir.path()).unwrap_err();
    assert!(error.is_storage() && error.to_string().contains("user 65534"), "{error}");
    answers_with_one_warning(dir.path(), "user 65534");
}

#[test]
fn a_directory_that_its_owner_may_not_write_costs_the_cache_and_not_the_calls() {
    let dir = tempfile::tempdir().unwrap();
    if chown(dir.path(), Some(65534), Some(65534)).is_err() {
        skip("only root can become another user");
        return;
    }
    fs::set_permissions(dir.path(), Permissions::from_mode(0o500)).unwrap();
    let mut as_nobody = probe("setpriv", dir.path(), &["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    let output = match as_nobody.args([PROBE, "call", "20"]).output() {
        Ok(output) if !matches!(output.status.code(), Some(126 | 127)) => output,
        _ => {
            skip("the probe cannot be started as another user");
            return;
        }
    };
    assert!(output.status.success(), "{}", errors_of(&output));
    assert_eq!(bodies(&output), 20);
    let warnings = warnings(&output);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("Permission denied"), "{warnings:?}");
}

#[test]
fn a_path_that_is_a_file_is_refused_and_the_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(Cache::open(&file).unwrap_err().is_storage());
    assert!(Cache::open(file.join("below")).unwrap_err().is_storage());
    answers_with_one_warning(&file, "not a directory");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_directory_that_is_missing_is_made_with_its_parents() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    Cache::open(&deep).unwrap().put("one", &1u8).unwrap();
    assert_eq!(Cache::open(&deep).unwrap().get::<u8>("one").unwrap(), Some(1));
}

/// A file system of its own, gone when dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn tmpfs(at: &'a Path, options: &str) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn on_a_full_disk_every_call_is_answered_and_after_room_was_made_the_cache_works_again() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_mounted) = Mounted::tmpfs(dir.path(), "size=4m,mode=0700") else {
        skip("a small file system needs root");
        return;
    };
    let cache = dir.path().join("cache");
    assert!(run(PROBE, &cache, &["call", "5"]).status.success());
    let filler = dir.path().join("filler");
    fs::write(&filler, vec![0; 8 << 20]).unwrap_err();
    let full = run(PROBE, &cache, &["call", "60"]);
    assert!(full.status.success(), "{}", errors_of(&full));
    assert!(!warnings(&full).is_empty(), "{}", errors_of(&full));
    fs::remove_file(&filler).unwrap();
    assert!(run(PROBE, &cache, &["call", "10"]).status.success());
    assert_eq!(bodies(&run(PROBE, &cache, &["call", "10"])), 0, "what fits is kept again");
}

#[test]
fn a_cache_that_met_a_full_disk_works_again_without_being_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_mounted) = Mounted::tmpfs(dir.path(), "size=6m,mode=0700") else {
        skip("a small file system needs root");
        return;
    };
    let cache = Cache::open(dir.path().join("cache")).unwrap();
    let filler = dir.path().join("filler");
    fs::write(&filler, vec![0; 8 << 20]).unwrap_err();
    let small = |n: u64| vec![n as u8; 3000];
    assert!((0..5000).any(|n| cache.put(n, &small(n)).and_then(|_| cache.flush()).is_err()), "the disk is full");
    fs::remove_file(&filler).unwrap();
    let start = std::time::Instant::now();
    while cache.put("after", &small(7)).and_then(|_| cache.flush()).is_err() {
        assert!(start.elapsed().as_secs() < 20, "there is room again and the cache still fails");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(cache.get::<Vec<u8>>("after").unwrap(), Some(small(7)));
    cache.close().unwrap();
}

#[test]
fn on_a_read_only_file_system_every_call_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_mounted) = Mounted::tmpfs(dir.path(), "size=12m,mode=0700") else {
        skip("a file system of its own needs root");
        return;
    };
    let cache = dir.path().join("cache");
    assert!(run(PROBE, &cache, &["call", "5"]).status.success());
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(dir.path()).status().unwrap();
    assert!(remounted.success());
    answers_with_one_warning(&cache, "Read-only");
}

#[test]
fn a_bad_environment_variable_is_named_with_its_value_and_the_functions_still_answer() {
    let dir = tempfile::tempdir().unwrap();
    for (name, value) in [
        ("CACHENESS_MAX_SIZE_MB", "plenty"),
        ("CACHENESS_DEFAULT_TTL_SECONDS", "-3"),
        ("CACHENESS_BACKEND", "oracle"),
        ("CACHENESS_COMPRESSION_CODEC", "zip"),
        ("CACHENESS_COMPRESSION_LEVEL", "99"),
        ("CACHENESS_DISABLE", "perhaps"),
    ] {
        let output = probe(PROBE, dir.path(), &["call", "3"]).env(name, value).output().unwrap();
        assert!(output.status.success(), "{}", errors_of(&output));
        assert_eq!(bodies(&output), 3);
        let warnings = warnings(&output);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(name) && warnings[0].contains(value), "{warnings:?}");
    }
}

#[test]
fn a_signing_key_that_is_lost_or_open_to_others_turns_the_cache_off_and_no_new_one_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let (key, place) = (dir.path().join("signing.key"), dir.path().join("cache"));
    let call = || probe(PROBE, &place, &["call", "3"]).env("CACHENESS_SIGNING_KEY_FILE", &key).output().unwrap();
    assert_eq!((bodies(&call()), bodies(&call())), (3, 0), "the key is made by the first run and found by the second");
    let text = fs::read(&key).unwrap();
    let answers_without = |reason: &str| {
        let output = call();
        assert!(output.status.success(), "{}", errors_of(&output));
        assert_eq!(bodies(&output), 3);
        let warnings = warnings(&output);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("signing.key") && warnings[0].contains(reason), "{warnings:?}");
        assert!(!warnings[0].contains(std::str::from_utf8(&text[..16]).unwrap()), "no key in a log");
    };
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    answers_without("chmod 600");
    fs::remove_file(&key).unwrap();
    answers_without("put the file back");
    assert!(!key.exists());
    fs::write(&key, &text).unwrap();
    cacheness_tests::only_for_owner(&key);
    assert_eq!(bodies(&call()), 0, "with the key back, everything is there");
    let holds_key = |file: &Path| {
        let bytes = fs::read(file).unwrap();
        bytes.windows(16).any(|part| part == &text[..16])
    };
    assert!(
        !cacheness_tests::files_below(&place).unwrap().iter().any(|file| holds_key(file)),
        "no key in the directory"
    );
}

#[test]
fn a_lost_key_is_not_replaced_in_silence_by_way_of_another_directory() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("signing.key");
    let call = |place: &str| {
        let place = dir.path().join(place);
        probe(PROBE, &place, &["call", "3"]).env("CACHENESS_SIGNING_KEY_FILE", &key).output().unwrap()
    };
    assert_eq!(bodies(&call("old")), 3);
    fs::remove_file(&key).unwrap();
    assert_eq!(bodies(&call("new")), 3, "a directory that is new has a key made");
    let output = call("old");
    assert_eq!(bodies(&output), 3);
    let warnings = warnings(&output);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("old") && warnings[0].contains("previous_key_files"), "{warnings:?}");
}

#[test]
fn a_disabled_cache_stores_nothing_and_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("cache");
    for _ in 0..2 {
        let output = probe(PROBE, &place, &["call", "3"]).env("CACHENESS_DISABLE", "1").output().unwrap();
        assert_eq!(bodies(&output), 3);
        assert!(warnings(&output).is_empty());
    }
    assert!(!place.exists());
}

#[test]
fn a_value_that_does_not_serialise_is_returned_with_one_warning_that_names_its_type() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(PROBE, dir.path(), &["unserialisable"]);
    assert!(output.status.success(), "{}", errors_of(&output));
    assert_eq!(bodies(&output), 3);
    let warnings = warnings(&output);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("Refuses") && warnings[0].contains("stays where it is"), "{warnings:?}");
}

#[test]
fn a_key_over_the_limit_is_told_once_with_both_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(PROBE, dir.path(), &["long-key"]);
    assert!(output.status.success(), "{}", errors_of(&output));
    assert_eq!(bodies(&output), 3);
    let warnings = warnings(&output);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("1000") && warnings[0].contains("max_key_bytes"), "{warnings:?}");
}

#[test]
fn a_missing_file_is_an_argument_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    for expected in [1, 0] {
        let output = run(PROBE, dir.path(), &["key-of-a-file", "/does/not/exist"]);
        assert!(output.status.success() && warnings(&output).is_empty(), "{}", errors_of(&output));
        assert_eq!(bodies(&output), expected);
    }
}
