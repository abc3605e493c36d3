//! Files are read again when they have changed, and not otherwise.

use std::collections::HashSet;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::content::READS;
use super::super::{KeyRules, KeyWriter, ToKey};
use super::{Key, key};
use crate::config::{Limits, VerifyPaths};

/// Longer than what counts as one tick of the clock.
fn settle() {
    sleep(Duration::from_millis(120));
}

/// How many files `work` reads.
fn reads<R>(work: impl FnOnce() -> R) -> (u64, R) {
    let before = READS.get();
    let result = work();
    (READS.get() - before, result)
}

/// Whether the temporary directory is on a file system whose times are believed.
fn remembers(dir: &Path) -> bool {
    let probe = dir.join("probe");
    fs::write(&probe, "probe").unwrap();
    settle();
    key(&probe);
    let remembers = reads(|| key(&probe)).0 == 0;
    fs::remove_file(&probe).unwrap();
    if !remembers {
        println!("SKIPPED: every file is read again on this file system");
    }
    remembers
}

#[test]
fn an_unchanged_file_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    if !remembers(dir.path()) {
        return;
    }
    let file = dir.path().join("file");
    fs::write(&file, "content").unwrap();
    fs::hard_link(&file, dir.path().join("link")).unwrap();
    settle();
    let (first, before) = reads(|| key(&file));
    let (again, after) = reads(|| (key(&file), key(dir.path().join("link"))));
    assert_eq!((first, again), (1, 0));
    assert_eq!(after, (before.clone(), before));
}

#[test]
fn a_tree_is_read_once_and_then_what_changed_in_it() {
    let dir = tempfile::tempdir().unwrap();
    if !remembers(dir.path()) {
        return;
    }
    let tree = dir.path().join("tree");
    for sub in 0..4 {
        fs::create_dir_all(tree.join(format!("{sub}"))).unwrap();
        (0..25).for_each(|n| fs::write(tree.join(format!("{sub}/{n}")), format!("{sub}.{n}")).unwrap());
    }
    settle();
    let (first, before) = reads(|| key(&tree));
    assert_eq!((first, reads(|| key(&tree))), (100, (0, before.clone())));
    fs::write(tree.join("2/7"), "other").unwrap();
    settle();
    let (changed, after) = reads(|| key(&tree));
    assert_eq!(changed, 1);
    assert_ne!(after, before);
}

#[test]
fn every_kind_of_change_is_another_key_and_the_old_content_the_old_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let write = |text: &str| fs::write(&file, text).unwrap();
    write("aaaa");
    let long_ago = File::open(&file).unwrap().metadata().unwrap().modified().unwrap() - Duration::from_secs(1000);
    let set_back =
        || File::options().write(true).open(&file).unwrap().set_times(FileTimes::new().set_modified(long_ago));
    set_back().unwrap();
    settle();
    let before = key(&file);
    let changes: [(&str, &dyn Fn()); 4] = [
        ("in place", &|| write("bbbb")),
        ("in place, with its time set back", &|| {
            write("bbbb");
            set_back().unwrap();
        }),
        ("replaced by one of the same length and time", &|| {
            let other = dir.path().join("other");
            fs::write(&other, "bbbb").unwrap();
            File::options()
                .write(true)
                .open(&other)
                .unwrap()
                .set_times(FileTimes::new().set_modified(long_ago))
                .unwrap();
            fs::rename(other, &file).unwrap();
        }),
        ("through a second name", &|| {
            let other = dir.path().join("second");
            fs::hard_link(&file, &other).unwrap();
            fs::write(&other, "bbbb").unwrap();
            fs::remove_file(&other).unwrap();
        }),
    ];
    for (how, change) in changes {
        change();
        assert_ne!(key(&file), before, "{how}, at once");
        settle();
        assert_ne!(key(&file), before, "{how}, later");
        write("aaaa");
        assert_eq!(key(&file), before, "{how}, and back");
        set_back().unwrap();
        settle();
        assert_eq!(key(&file), before, "{how}, and back, later");
    }
}

#[test]
fn a_file_that_changes_faster_than_the_clock_ticks_is_never_mistaken() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let begun = Instant::now();
    let mut keys = HashSet::new();
    let mut written = 0_u32;
    while begun.elapsed() < Duration::from_millis(300) {
        fs::write(&file, written.to_le_bytes()).unwrap();
        keys.insert(key(&file));
        written += 1;
    }
    assert_eq!(keys.len(), written as usize);
}

#[test]
fn who_does_not_trust_has_every_file_read_at_every_call() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "content").unwrap();
    settle();
    let before = key(&file);
    let rules = KeyRules { verify: VerifyPaths::Always, ..KeyRules::within(&Limits::DEFAULT) };
    let early = || file.to_key_with(KeyWriter::with_rules(rules)).resolve().unwrap();
    let late = |value: &dyn ToKey| {
        let pending = value.to_key_with(KeyWriter::new()).within(&rules);
        assert!(pending.needs_io());
        pending.resolve().unwrap()
    };
    assert_eq!(reads(|| (early(), late(&file))), (2, (before.clone(), before)));
    let set = HashSet::from([&file]);
    let known = key(&set);
    if !remembers(dir.path()) {
        return;
    }
    assert_eq!(reads(|| late(&set)), (1, known), "what was read before the rules were known is read again");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_tells_no_length_is_read_at_every_call() {
    let read = |path: &str| reads(|| Path::new(path).to_key()).0;
    for path in ["/proc/self/stat", "/proc/uptime", "/proc/cpuinfo"] {
        settle();
        assert_eq!((read(path), read(path)), (1, 1), "{path}");
    }
}

#[test]
fn a_key_knows_whether_its_files_are_what_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let (file, missing) = (dir.path().join("file"), dir.path().join("missing"));
    let set = HashSet::from([file.clone()]);
    let params = || crate::params! { file: file, set: set };
    let keys = || -> [Key; 5] {
        fs::write(&file, "before").unwrap();
        [key(&file), key(&set), params().to_key().unwrap(), key((&missing, 1)), key(dir.path())]
    };
    let told = |keys: &[Key; 5]| keys.each_ref().map(|key| key.check_sources().is_ok());
    let same = keys();
    assert_eq!(told(&same), [true; 5]);
    fs::write(&file, "after").unwrap();
    assert_eq!(told(&same), [false, false, false, true, false], "changed");
    let gone = keys();
    fs::remove_file(&file).unwrap();
    assert_eq!(told(&gone), [false, false, false, true, false], "removed");
    let made = keys();
    fs::write(&missing, "").unwrap();
    assert_eq!(told(&made), [true, true, true, false, false], "made");
    let error = made[3].check_sources().unwrap_err();
    assert!(error.is_storage() && error.to_string().contains("missing"), "{error}");
    assert!(!key(1).has_sources() && key(1).check_sources().is_ok());
}

#[test]
fn a_large_file_has_the_digest_of_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large");
    let bytes: Vec<u8> = (0..(9_u32 << 20) / 4 + 3).flat_map(u32::to_le_bytes).collect();
    fs::write(&file, &bytes).unwrap();
    let expected = crate::util::digest::hex(&crate::util::digest::identity(&bytes));
    assert_eq!(crate::hash_file_path(&file).unwrap(), expected);
}

#[test]
fn a_large_tree_has_one_key_however_many_threads_walk_it() {
    let dir = tempfile::tempdir().unwrap();
    let tree = |name: &str, top: &str| {
        let tree = dir.path().join(name);
        for sub in 0..20 {
            fs::create_dir_all(tree.join(format!("{top}{sub}"))).unwrap();
            fs::write(tree.join(format!("{top}{sub}/file")), sub.to_string()).unwrap();
        }
        fs::create_dir_all(tree.join(format!("{top}0/flat"))).unwrap();
        (0..1200).for_each(|n| fs::write(tree.join(format!("{top}0/flat/{n}")), n.to_string()).unwrap());
        tree
    };
    let (wide, same) = (tree("wide", ""), tree("same", ""));
    let deep = tree("deep", "inside/");
    assert_eq!(key(&wide), key(&same));
    assert_eq!(key(&wide), key(deep.join("inside")), "walked from the top");
    let inside = key(&deep);
    fs::write(wide.join("0/flat/700"), "changed").unwrap();
    fs::write(deep.join("inside/0/flat/700"), "changed").unwrap();
    assert_ne!(key(&wide), key(&same));
    assert_ne!(key(&deep), inside);
    fs::remove_file(same.join("19/file")).unwrap();
    fs::write(same.join("0/flat/700"), "changed").unwrap();
    assert_ne!(key(&wide), key(&same));
}
