//! Files that were cut, doubled, deleted or replaced by something else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use cacheness_tests::{copy_cache, files_below, scratch};

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
