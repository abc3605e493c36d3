//! Files that were cut, doubled, deleted or replaced by something else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use cacheness::Cache;
use cacheness_tests::{copy_cache, copy_dir, files_below, scratch, value_of};

use crate::{examine, filled, values};

const COUNT: u64 = 40;

/// Damages every file of a closed directory in turn and looks at what is left.
fn each_file(damage: impl Fn(&Path)) {
    let original = scratch();
    filled(original.path(), COUNT, 2);
    let right = values(COUNT);
    for file in files_below(original.path()).unwrap() {
        let copy = scratch();
        copy_cache(original.path(), copy.path()).unwrap();
        let name = file.strip_prefix(original.path()).unwrap();
        // A file of its own: blobs are shared with the original.
        let file = copy.path().join(name);
        let bytes = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        fs::write(&file, bytes).unwrap();
        damage(&file);
        examine(copy.path(), &right).unwrap_or_else(|error| panic!("{}: {error:?}", name.display()));
    }
}

#[test]
fn a_file_that_is_missing_costs_at_most_its_own_entries() {
    each_file(|file| fs::remove_file(file).unwrap());
}

#[test]
fn a_file_that_is_empty_is_survived() {
    each_file(|file| fs::write(file, "").unwrap());
}

#[test]
fn a_file_cut_anywhere_is_survived() {
    for part in 1..8 {
        each_file(|file| {
            let bytes = fs::read(file).unwrap();
            fs::write(file, &bytes[..bytes.len() * part / 8]).unwrap();
        });
    }
}

#[test]
fn a_file_that_was_written_twice_is_survived() {
    each_file(|file| fs::write(file, fs::read(file).unwrap().repeat(2)).unwrap());
}

#[test]
fn a_blob_replaced_by_a_link_a_pipe_or_a_directory_is_a_miss_and_never_followed_or_waited_for() {
    let outside = scratch();
    let target = outside.path().join("target");
    fs::write(&target, "mine").unwrap();
    let replace: [&dyn Fn(&PathBuf); 3] = [
        &|file| symlink(&target, file).unwrap(),
        &|file| assert!(Command::new("mkfifo").arg(file).status().unwrap().success()),
        &|file| fs::create_dir(file).unwrap(),
    ];
    for replacement in replace {
        let dir = scratch();
        filled(dir.path(), COUNT, 1);
        for blob in files_below(&dir.path().join("blobs")).unwrap() {
            fs::remove_file(&blob).unwrap();
            replacement(&blob);
        }
        let seen = examine(dir.path(), &values(COUNT)).unwrap();
        assert_eq!((seen.hits, seen.misses), (32, 8), "{seen:?}");
    }
    assert_eq!(fs::read(&target).unwrap(), b"mine");
}

#[test]
fn junk_in_the_directory_is_neither_read_nor_removed() {
    let dir = scratch();
    filled(dir.path(), COUNT, 1);
    for place in ["junk", "blobs/junk", "blobs/ab/junk.blob", "staging/junk", "quarantine/junk"] {
        let path = dir.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "mine").unwrap();
    }
    let seen = examine(dir.path(), &values(COUNT)).unwrap();
    assert_eq!((seen.hits, seen.misses), (COUNT, 0));
    for place in ["junk", "blobs/junk", "blobs/ab/junk.blob", "staging/junk", "quarantine/junk"] {
        assert_eq!(fs::read(dir.path().join(place)).unwrap(), b"mine", "{place}");
    }
}

/// A directory as a kill leaves it, with everything on the disk that was put.
fn killed() -> tempfile::TempDir {
    let (dir, copy) = (scratch(), scratch());
    filled(dir.path(), COUNT - 1, 1);
    let cache = Cache::open(dir.path()).unwrap();
    cache.put(COUNT - 1, &value_of(COUNT - 1)).unwrap();
    cache.flush().unwrap();
    copy_dir(dir.path(), copy.path()).unwrap();
    assert!(!copy.path().join("index.clean").exists());
    copy
}

/// What sled can do without in an index.
fn dispensable(dir: &Path) -> Vec<PathBuf> {
    let files = files_below(&dir.join("index")).unwrap();
    let found: Vec<_> = files.into_iter().filter(|file| !file.ends_with("db")).collect();
    assert!(found.len() >= 2, "settings and a snapshot: {found:?}");
    found
}

#[test]
fn after_a_kill_settings_and_snapshots_of_the_index_may_be_damaged_and_nothing_is_lost() {
    let (original, right) = (killed(), values(COUNT));
    for file in dispensable(original.path()) {
        let (name, whole) = (file.strip_prefix(original.path()).unwrap(), fs::read(&file).unwrap());
        let bits = whole.len() * 8;
        for bit in (0..bits).step_by(bits.div_ceil(24)) {
            let copy = scratch();
            copy_cache(original.path(), copy.path()).unwrap();
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(copy.path().join(name), flipped).unwrap();
            let seen = examine(copy.path(), &right).unwrap_or_else(|error| panic!("{name:?} bit {bit}: {error}"));
            assert_eq!((seen.hits, seen.misses), (COUNT, 0), "{name:?} bit {bit}");
        }
    }
}

/// Its name, and what it does to a file.
type Way = (&'static str, Box<dyn Fn(&Path)>);

/// Ways to damage a file as a whole.
fn ways() -> Vec<Way> {
    let made_of = |bytes: fn(Vec<u8>) -> Vec<u8>| {
        move |file: &Path| {
            let whole = fs::read(file).unwrap_or_default();
            fs::remove_file(file).unwrap_or_default();
            fs::write(file, bytes(whole)).unwrap();
        }
    };
    let gone = |file: &Path| fs::remove_file(file).unwrap_or_default();
    vec![
        ("missing", Box::new(gone)),
        ("empty", Box::new(made_of(|_| Vec::new()))),
        ("one byte", Box::new(made_of(|whole| whole.into_iter().take(1).collect()))),
        ("half", Box::new(made_of(|whole| whole[..whole.len() / 2].to_vec()))),
        ("all but one", Box::new(made_of(|whole| whole[..whole.len().saturating_sub(1)].to_vec()))),
        ("twice", Box::new(made_of(|whole| whole.repeat(2)))),
        ("junk", Box::new(made_of(|whole| vec![b'9'; whole.len().max(40)]))),
        ("directory", Box::new(move |file| (gone(file), fs::create_dir(file).unwrap()).1)),
        ("dangling link", Box::new(move |file| (gone(file), symlink("nowhere", file).unwrap()).1)),
        (
            "pipe",
            Box::new(move |file| {
                gone(file);
                assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
            }),
        ),
    ]
}

#[test]
fn after_a_kill_or_a_close_no_damage_of_a_file_of_the_index_keeps_the_cache_from_opening() {
    let right = values(COUNT);
    let closed = scratch();
    filled(closed.path(), COUNT, 2);
    for original in [killed(), closed] {
        let mut files = dispensable(original.path());
        let beside = ["index.clean", "index.orders", "index.used", "index.rebuilding", "index/db"];
        files.extend(beside.map(|name| original.path().join(name)));
        for file in &files {
            for (way, damage) in ways() {
                let copy = scratch();
                copy_dir(original.path(), copy.path()).unwrap();
                let name = file.strip_prefix(original.path()).unwrap();
                damage(&copy.path().join(name));
                let seen = examine(copy.path(), &right).unwrap_or_else(|error| panic!("{way} {name:?}: {error}"));
                let is_spared = !name.ends_with("db") && seen.misses > 0;
                assert!(!is_spared, "{way} {name:?}: {seen:?}");
                assert!(seen.hits >= COUNT / 5, "{way} {name:?}: the values in files are there: {seen:?}");
            }
        }
        let copy = scratch();
        copy_dir(original.path(), copy.path()).unwrap();
        fs::remove_dir_all(copy.path().join("index")).unwrap();
        fs::write(copy.path().join("index"), "no directory").unwrap();
        assert!(examine(copy.path(), &right).unwrap().hits >= COUNT / 5);
    }
}
