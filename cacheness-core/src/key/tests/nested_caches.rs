//! A cache inside a directory is no part of the directory's content.

use std::fs;

use super::key;
use crate::blob_store::BlobStore;
use crate::cache::Cache;
use crate::key::ToKey;
use crate::key::hash_file_path;

#[test]
fn directories_of_caches_and_stores_are_left_out_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().join("project");
    fs::create_dir_all(project.join("src")).unwrap();
    fs::write(project.join("src/main"), "code").unwrap();
    let (before, hash) = (key(&project), hash_file_path(&project).unwrap());
    let cache = Cache::open(project.join("cache")).unwrap();
    let store = BlobStore::open(project.join("src/store")).unwrap();
    for n in 0..3 {
        cache.put(n, &vec![n; 10_000]).unwrap();
        store.put(&n).unwrap();
        assert_eq!((key(&project), hash_file_path(&project).unwrap()), (before.clone(), hash.clone()), "put {n}");
    }
    drop((cache, store));
    assert_eq!(key(&project), before, "closed");
    fs::write(project.join("src/main"), "other code").unwrap();
    assert_ne!(key(&project), before);
    fs::write(project.join("src/main"), "code").unwrap();

    fs::write(project.join("cacheness.toml"), "format = 1\n").unwrap();
    let with_file = key(&project);
    assert_ne!(with_file, before, "a file of this name at the top counts");
    fs::write(project.join("src/cacheness.toml"), "format = 1\nkind = \"cache\"\n").unwrap();
    let with_claim = key(&project);
    assert_ne!(with_claim, with_file, "the name alone proves nothing");
    fs::write(project.join("src/main"), "other code").unwrap();
    assert_ne!(key(&project), with_claim);
}

#[test]
fn what_lies_beside_a_cache_in_its_directory_counts() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().join("project");
    let data = project.join("data");
    fs::create_dir_all(data.join("sub")).unwrap();
    fs::write(data.join("input.csv"), "1").unwrap();
    fs::write(data.join("sub/lock"), "1").unwrap();
    let before = key(&project);
    let cache = Cache::open(&data).unwrap();
    for n in 0..3 {
        cache.put(n, &vec![n; 10_000]).unwrap();
        assert_eq!(key(&project), before, "put {n}");
    }
    cache.close().unwrap();
    assert_eq!(key(&project), before, "closed");
    for (file, text) in [("input.csv", "2"), ("sub/lock", "2"), ("new.csv", "1")] {
        let before = key(&project);
        fs::write(data.join(file), text).unwrap();
        assert_ne!(key(&project), before, "{file}");
    }
}

#[test]
fn a_cache_that_is_itself_the_argument_counts_by_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let keys = [1, 2].map(|n| {
        let place = dir.path().join(n.to_string());
        let cache = Cache::open(&place).unwrap();
        cache.put(n, &vec![n; 100_000]).unwrap();
        cache.close().unwrap();
        (key(&place), key(place.join("blobs")))
    });
    assert_ne!(keys[0], keys[1]);
    assert!(key(dir.path()) == tempfile::tempdir().unwrap().path().to_key().unwrap(), "there is nothing else in it");
}
