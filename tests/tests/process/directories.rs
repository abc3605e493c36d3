//! Directories that are not what they seem: of somebody else, without their lock file, replaced while they are in use.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cacheness::blob::Repair;
use cacheness::config::SecondProcess;
use cacheness::{BlobStore, Cache, CacheConfig};
use cacheness_tests::{bodies, copy_dir, errors_of, files_below, probe, run, skip, value_of, warnings};

use crate::PROBE;
use crate::neighbours::Holder;

const BLOBS: &str = env!("CARGO_BIN_EXE_blobs");

/// Every file below a directory, with its bytes.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files_below(dir).unwrap().into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

/// A directory of another program, which keeps its data under names that a cache uses, too.
fn of_another_program() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["index/db", "index/conf", "staging/00112233445566778899aabbccddeeff.part", "notes.txt"] {
        let file = dir.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "somebody else's").unwrap();
    }
    dir
}

#[test]
fn a_directory_of_another_program_is_refused_by_name_and_no_byte_of_it_changes() {
    let dir = of_another_program();
    let before = contents(dir.path());
    for error in [Cache::open(dir.path()).unwrap_err(), BlobStore::open(dir.path()).unwrap_err()] {
        let message = error.to_string();
        assert!(
            error.is_storage() && message.contains("index, staging") && message.contains("Name another"),
            "{message}"
        );
    }
    let output = run(PROBE, dir.path(), &["call", "20"]);
    assert!(output.status.success(), "{}", errors_of(&output));
    let warnings = warnings(&output);
    assert_eq!((bodies(&output), warnings.len()), (20, 1), "{warnings:?}");
    assert!(warnings[0].contains("not known to be a directory of cacheness"), "{warnings:?}");
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn a_directory_with_other_files_beside_becomes_a_cache_and_keeps_them() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".gitignore"), "*").unwrap();
    Cache::open(dir.path()).unwrap().put("one", &1u8).unwrap();
    assert_eq!(Cache::open(dir.path()).unwrap().get::<u8>("one").unwrap(), Some(1));
    assert_eq!(fs::read(dir.path().join(".gitignore")).unwrap(), b"*");
}

#[test]
fn the_default_cache_in_a_directory_of_a_blob_store_goes_on_in_memory_and_the_store_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    BlobStore::open(dir.path()).unwrap().put_with("seven", &7u8).unwrap();
    let before = contents(dir.path());
    let output = run(PROBE, dir.path(), &["call", "20"]);
    let warnings = warnings(&output);
    assert!(output.status.success() && warnings.len() == 1, "{}", errors_of(&output));
    assert!(warnings[0].contains("directory of a blob store"), "{warnings:?}");
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn the_default_cache_uses_a_directory_that_the_program_has_open_as_it_is_open_and_tells_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(PROBE, dir.path(), &["open-with-another-limit"]);
    let warnings = warnings(&output);
    assert!(output.status.success() && warnings.len() == 1, "{}", errors_of(&output));
    assert!(warnings[0].contains("storage.max_cache_size_mb is 10000 here and 100 in force"), "{warnings:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), (100 << 20).to_string());
    assert_eq!(bodies(&run(PROBE, dir.path(), &["call", "3"])), 0, "they are on the disk");
}

fn alone(dir: &Path) -> CacheConfig {
    CacheConfig::new(dir).with_second_process(SecondProcess::Refuse)
}

#[test]
fn a_directory_whose_lock_file_was_removed_stays_that_of_the_process_which_has_it() {
    let bound = Duration::from_secs(3);
    for (program, open) in [
        (PROBE, (|dir: &Path| Cache::new(alone(dir)).map(drop)) as fn(&Path) -> cacheness::Result<()>),
        (BLOBS, |dir| alone_with_blobs(dir).map(drop)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let holder = Holder::by(program, dir.path());
        fs::remove_file(dir.path().join("lock")).unwrap();
        let start = Instant::now();
        let error = open(dir.path()).unwrap_err();
        assert!(error.is_locked() && start.elapsed() < bound, "{error:?} after {:?}", start.elapsed());
        let start = Instant::now();
        let second = run(PROBE, dir.path(), &["call", "5"]);
        // It joins the owner of a cache, and does without the directory of a blob store.
        let warned = usize::from(program == BLOBS);
        let warnings = warnings(&second);
        assert_eq!((bodies(&second), warnings.len()), (5, warned), "{warnings:?}");
        assert!(start.elapsed() < bound, "{:?}", start.elapsed());
        drop(holder);
        open(dir.path()).expect("a killed process leaves no lock");
    }
}

#[test]
fn of_processes_that_open_a_new_directory_at_once_one_has_it_and_all_answer() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("new");
    let start = || probe(PROBE, &place, &["call", "3"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let all: Vec<_> = (0..6).map(|_| start()).collect();
    for child in all {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", errors_of(&output));
        let warnings = warnings(&output);
        assert!(warnings.iter().all(|warning| warning.contains("another process")), "{warnings:?}");
    }
    Cache::open(&place).unwrap();
}

/// Opens a store that does not share its directory with other processes.
fn alone_with_blobs(dir: &Path) -> cacheness::Result<BlobStore> {
    BlobStore::builder().dir(dir).content_addressable(true).open()
}

#[test]
fn a_stream_that_another_process_is_writing_outlives_an_attempt_to_open_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = probe(BLOBS, dir.path(), &["stream-in-two-parts"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "half");
    assert!(alone_with_blobs(dir.path()).unwrap_err().is_locked());
    fs::remove_file(dir.path().join("lock")).unwrap();
    assert!(alone_with_blobs(dir.path()).unwrap_err().is_locked());
    drop(BlobStore::open(dir.path()).expect("one that is content with others joins"));
    child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    assert_eq!(said.next().unwrap().unwrap(), "whole");
    assert!(child.wait().unwrap().success());
    let stream = BlobStore::open(dir.path()).unwrap().get::<Vec<u8>>("stream").unwrap();
    assert!(stream.is_some_and(|bytes| bytes.len() == 200_000));
}

/// A place for a directory that others take, and the three ways in which they do.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("place")
    }

    fn moved(&self) -> PathBuf {
        self.0.path().join("moved")
    }

    /// Another directory with values of its own, to be put there.
    fn other(&self, fill: impl Fn(&Path)) -> PathBuf {
        let other = self.0.path().join("other");
        fill(&other);
        other
    }
}

fn filled_cache(dir: &Path) {
    let cache = Cache::open(dir).unwrap();
    (100..110).for_each(|n| drop(cache.put(n, &value_of(n)).unwrap()));
    cache.close().unwrap();
}

fn filled_store(dir: &Path) {
    let store = BlobStore::open(dir).unwrap();
    (100..110).for_each(|n| drop(store.put_with(n.to_string(), &value_of(n)).unwrap()));
    store.close().unwrap();
}

#[test]
fn a_cache_whose_directory_was_moved_goes_on_in_it_and_leaves_the_one_in_its_place_alone() {
    let place = Place::new();
    let other = place.other(filled_cache);
    let cache = Cache::new(CacheConfig::new(place.path()).with_inline_bytes(16)).unwrap();
    cache.put("before", &value_of(1)).unwrap();
    fs::rename(place.path(), place.moved()).unwrap();
    fs::rename(&other, place.path()).unwrap();
    let before = contents(&place.path());
    cache.put("after", &value_of(2)).unwrap();
    cache.flush().unwrap();
    assert_eq!(cache.get::<Vec<u8>>("before").unwrap(), Some(value_of(1)));
    assert_eq!(contents(&place.path()), before);
    let second = Cache::open(place.path()).unwrap();
    assert_eq!(second.get::<Vec<u8>>(105u64).unwrap(), Some(value_of(105)), "the path means the other one now");
    assert_eq!(second.get::<Vec<u8>>("before").unwrap(), None);
    second.close().unwrap();
    let before = contents(&place.path());
    cache.close().unwrap();
    assert_eq!(contents(&place.path()), before);
    let moved = Cache::open(place.moved()).unwrap();
    assert_eq!(moved.get::<Vec<u8>>("after").unwrap(), Some(value_of(2)), "nothing is lost");
}

#[test]
fn a_store_whose_directory_was_replaced_repairs_its_own_and_never_the_other() {
    let place = Place::new();
    let other = place.other(filled_store);
    let store = BlobStore::open(place.path()).unwrap();
    store.put_with("mine", &value_of(1)).unwrap();
    fs::rename(place.path(), place.moved()).unwrap();
    copy_dir(&other, &place.path()).unwrap();
    let before = contents(&place.path());
    assert!(store.verify(Repair::Yes).unwrap().is_whole());
    store.put_with("later", &value_of(2)).unwrap();
    store.close().unwrap();
    assert_eq!(contents(&place.path()), before);
    let theirs = BlobStore::open(place.path()).unwrap();
    assert_eq!((theirs.len().unwrap(), theirs.verify(Repair::Yes).unwrap().is_whole()), (10, true));
    let mine = BlobStore::open(place.moved()).unwrap();
    assert_eq!(mine.get::<Vec<u8>>("later").unwrap(), Some(value_of(2)));
}

#[test]
fn a_store_whose_files_were_replaced_in_place_refuses_to_repair_and_to_mark_what_is_not_its_own() {
    let place = Place::new();
    let other = place.other(filled_store);
    let store = BlobStore::open(place.path()).unwrap();
    store.put_with("mine", &value_of(1)).unwrap();
    for item in fs::read_dir(place.path()).unwrap().map(|item| item.unwrap().path()) {
        if item.is_dir() { fs::remove_dir_all(item).unwrap() } else { fs::remove_file(item).unwrap() }
    }
    copy_dir(&other, &place.path()).unwrap();
    let before = contents(&place.path());
    let error = store.verify(Repair::Yes).unwrap_err();
    assert!(error.is_storage() && error.to_string().contains("was replaced"), "{error}");
    assert!(store.close().unwrap_err().to_string().contains("was replaced"));
    assert_eq!(contents(&place.path()), before);
    assert_eq!(BlobStore::open(place.path()).unwrap().len().unwrap(), 10);
}

#[test]
fn a_directory_that_was_removed_while_it_was_in_use_is_made_anew_by_the_next_opening() {
    let place = Place::new();
    let cache = Cache::new(CacheConfig::new(place.path()).with_inline_bytes(16)).unwrap();
    cache.put("gone", &value_of(1)).unwrap();
    fs::remove_dir_all(place.path()).unwrap();
    assert!(cache.put("nowhere", &value_of(2)).unwrap_err().is_storage());
    let second = Cache::open(place.path()).unwrap();
    second.put("anew", &value_of(3)).unwrap();
    let _ = cache.close();
    second.close().unwrap();
    let third = Cache::open(place.path()).unwrap();
    assert_eq!(third.get::<Vec<u8>>("anew").unwrap(), Some(value_of(3)));
    assert_eq!(third.get::<Vec<u8>>("gone").unwrap(), None);
}

#[test]
fn a_directory_that_was_emptied_while_it_was_in_use_is_still_a_cache_afterwards() {
    let place = Place::new();
    let cache = Cache::new(CacheConfig::new(place.path()).with_inline_bytes(16)).unwrap();
    cache.put("gone", &value_of(1)).unwrap();
    for item in fs::read_dir(place.path()).unwrap().map(|item| item.unwrap().path()) {
        if item.is_dir() { fs::remove_dir_all(item).unwrap() } else { fs::remove_file(item).unwrap() }
    }
    cache.put("later", &value_of(2)).unwrap();
    assert!(place.path().join("cacheness.toml").exists(), "a kill from here on leaves a directory that is ours");
    let _ = cache.close();
    let again = Cache::open(place.path()).unwrap();
    again.put("anew", &value_of(3)).unwrap();
    assert_eq!(again.get::<Vec<u8>>("anew").unwrap(), Some(value_of(3)));
}

#[cfg(unix)]
#[test]
fn a_link_that_is_turned_to_another_directory_changes_nothing_for_who_has_the_first_one_open() {
    let place = Place::new();
    let [one, two, link] = ["one", "two", "link"].map(|name| place.0.path().join(name));
    fs::create_dir(&one).unwrap();
    std::os::unix::fs::symlink(&one, &link).unwrap();
    let first = Cache::open(&link).unwrap();
    first.put("number", &1u8).unwrap();
    fs::remove_file(&link).unwrap();
    fs::create_dir(&two).unwrap();
    std::os::unix::fs::symlink(&two, &link).unwrap();
    let second = Cache::open(&link).unwrap();
    second.put("number", &2u8).unwrap();
    first.close().unwrap();
    second.close().unwrap();
    for (dir, number) in [(one, 1), (two, 2)] {
        assert_eq!(Cache::open(dir).unwrap().get::<u8>("number").unwrap(), Some(number));
    }
}

/// Runs a story in a shell that limits the size of files to so many blocks of 512 bytes.
fn with_limited_files(blocks: u64, dir: &Path, story: &str) -> std::process::Output {
    let script = format!("ulimit -f {blocks}; exec {PROBE} {story}");
    probe("sh", dir, &["-c", &script]).output().unwrap()
}

#[test]
fn a_limit_for_the_size_of_files_costs_the_cache_and_never_ends_the_program() {
    for blocks in [0, 1, 100, 2048, 16_384] {
        let dir = tempfile::tempdir().unwrap();
        let output = with_limited_files(blocks, &dir.path().join("cache"), "call 300");
        assert!(output.status.success(), "{blocks} blocks: {:?}, {}", output.status, errors_of(&output));
        let warnings = warnings(&output);
        assert_eq!((bodies(&output), warnings.len()), (300, 1), "{blocks} blocks: {warnings:?}");
        assert!(warnings[0].contains("ulimit -f") || warnings[0].contains("file too large"), "{warnings:?}");
    }
}

#[test]
fn a_cache_that_grows_up_to_the_limit_for_the_size_of_files_ends_in_order_and_keeps_what_it_has() {
    if Command::new("sh").args(["-c", "ulimit -f 70000"]).output().is_ok_and(|output| !output.status.success()) {
        skip("the limit for the size of files is lower already");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // 35 MB: room for the index and some 19 MB of values in it.
    let output = with_limited_files(70_000, dir.path(), "read-twice 60000 1000");
    assert!(!output.status.success(), "it is told that there is no room");
    assert!(output.status.code().is_some(), "and not ended by a signal: {:?}", output.status);
    assert!(errors_of(&output).contains("ulimit -f"), "{}", errors_of(&output));
    let cache = Cache::open(dir.path()).unwrap();
    assert!(cache.get_stats().unwrap().entries > 1000);
}

#[cfg(all(unix, not(target_vendor = "apple")))]
#[test]
fn the_directory_of_the_user_is_where_the_system_keeps_caches() {
    let dir = tempfile::tempdir().unwrap();
    let said = |home: &str, caches: Option<&str>| {
        let mut probe = probe(PROBE, dir.path(), &["user-directory", "weather"]);
        probe.env("HOME", home).env_remove("XDG_CACHE_HOME").envs(caches.map(|caches| ("XDG_CACHE_HOME", caches)));
        String::from_utf8(probe.output().unwrap().stdout).unwrap().trim().to_owned()
    };
    assert_eq!(said("/home/ada", None), "/home/ada/.cache/weather");
    assert_eq!(said("/home/ada", Some("/fast/caches")), "/fast/caches/weather");
    assert_eq!(said("/home/ada", Some("caches")), "/home/ada/.cache/weather", "a relative one means nothing");
    let nowhere = said("home/ada", None);
    assert!(nowhere.contains("\"weather\"") && nowhere.contains("no home directory"), "{nowhere}");
}

#[test]
fn who_is_isolated_opens_no_directory_and_is_not_turned_off_by_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("never");
    let output = probe(PROBE, &place, &["call-isolated", "3"]).env("CACHENESS_DISABLE", "1").output().unwrap();
    assert!(output.status.success() && !place.exists(), "{}", errors_of(&output));
    assert_eq!(bodies(&output), 3, "the second call of each is a hit");
}
