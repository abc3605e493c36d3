use std::fs;

use super::*;
use crate::storage::vfs::root::TAGS;
use crate::storage::vfs::{Fault, RealVfs, Repeat, SimVfs};

fn with_format(format: u32) -> String {
    sealed(&format!("format = {format}\n"))
}

/// A directory of a kind, and what is called to open it.
fn opened(kind: Kind) -> (tempfile::TempDir, RealVfs, std::path::PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let (vfs, dir) = (RealVfs::new(), root.path().canonicalize().unwrap());
    assert_eq!(open(&vfs, &dir, kind).unwrap(), Manifest::Known);
    (root, vfs, dir)
}

/// Claims a directory and reads its manifest, as a store does.
fn open(vfs: &dyn Vfs, dir: &Path, kind: Kind) -> Result<Manifest> {
    claim(vfs, dir, kind)?;
    make_rooms(vfs, dir)?;
    shake_hands(vfs, dir, kind)
}

/// Writes both, manifest and copy.
fn overwrite(dir: &Path, text: &str) {
    [MANIFEST, MANIFEST_COPY].iter().for_each(|name| fs::write(dir.join(name), text).unwrap());
}

/// Everything below a directory, with its bytes.
fn contents(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for item in fs::read_dir(dir).unwrap().map(|item| item.unwrap()) {
        match item.file_type().unwrap().is_dir() {
            true => {
                found.push((item.path(), Vec::new()));
                found.extend(contents(&item.path()));
            }
            false => found.push((item.path(), fs::read(item.path()).unwrap())),
        }
    }
    found.sort();
    found
}

#[test]
fn a_directory_with_something_of_others_under_our_names_is_refused_and_stays_as_it_is() {
    for name in OTHER_NAMES.iter().chain(["index/db", "blobs/ab/x.blob", MANIFEST].iter()) {
        let root = tempfile::tempdir().unwrap();
        let (vfs, dir) = (RealVfs::new(), root.path().canonicalize().unwrap());
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "somebody else's").unwrap();
        let before = contents(&dir);
        for kind in [Kind::Cache, Kind::BlobStore] {
            let error = claim(&vfs, &dir, kind).unwrap_err();
            let first = name.split('/').next().unwrap();
            assert!(error.is_storage() && error.to_string().contains(first), "{name}: {error}");
            assert_eq!(contents(&dir), before, "{name}");
        }
    }
}

#[test]
fn files_of_others_beside_are_no_reason_to_refuse_and_stay() {
    let root = tempfile::tempdir().unwrap();
    let (vfs, dir) = (RealVfs::new(), root.path().canonicalize().unwrap());
    let others = [".gitignore", "indexes", "cacheness.toml.orig", "notes.part"].map(|name| dir.join(name));
    others.iter().for_each(|path| fs::write(path, "*").unwrap());
    open(&vfs, &dir, Kind::Cache).unwrap();
    assert!(others.iter().all(|path| fs::read(path).unwrap() == b"*"));
}

#[test]
fn what_is_no_file_in_the_place_of_the_manifest_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (vfs, dir) = (RealVfs::new(), root.path().canonicalize().unwrap());
    fs::create_dir(dir.join(MANIFEST)).unwrap();
    assert!(claim(&vfs, &dir, Kind::Cache).unwrap_err().is_storage());
    fs::remove_dir(dir.join(MANIFEST)).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("/nowhere", dir.join(MANIFEST)).unwrap();
        assert!(claim(&vfs, &dir, Kind::Cache).unwrap_err().is_storage());
    }
}

#[test]
fn a_manifest_that_was_lost_is_taken_from_its_copy_and_where_both_are_an_empty_one_says_that_the_directory_is_ours() {
    let (root, vfs, dir) = opened(Kind::Cache);
    let path = root.path().join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    let damage: [fn(&Path); 3] = [
        |file| fs::write(file, "torn").unwrap(),
        |file| fs::write(file, "").unwrap(),
        |file| fs::remove_file(file).unwrap(),
    ];
    for (damage, name) in damage.iter().flat_map(|damage| [MANIFEST, MANIFEST_COPY].map(|name| (damage, name))) {
        damage(&root.path().join(name));
        assert_eq!(open(&vfs, &dir, Kind::Cache).unwrap(), Manifest::Known);
        assert!([MANIFEST, MANIFEST_COPY].iter().all(|name| fs::read_to_string(dir.join(name)).unwrap() == text));
    }
    fs::remove_file(root.path().join(MANIFEST_COPY)).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(claim(&vfs, &dir, Kind::Cache).unwrap_err().to_string().contains("empty file"));
    fs::write(&path, "").unwrap();
    assert_eq!(open(&vfs, &dir, Kind::Cache).unwrap(), Manifest::Lost);
    assert_ne!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_crash_at_any_step_of_the_first_opening_leaves_a_directory_that_opens() {
    let dir = Path::new("/cache");
    for call in 0..40 {
        let vfs = SimVfs::new();
        vfs.make_dir(dir).unwrap();
        vfs.sync_dir(Path::new("/")).unwrap();
        vfs.fail_at(call, Fault::Kind(std::io::ErrorKind::Other), Repeat::Sticky);
        let _ = open(&vfs, dir, Kind::Cache);
        vfs.clear_faults();
        for seed in 0..20 {
            let after = vfs.crash(seed);
            open(&after, dir, Kind::Cache).unwrap_or_else(|error| panic!("call {call}, seed {seed}: {error}"));
        }
    }
}

#[test]
fn of_two_that_open_a_new_directory_at_once_one_manifest_stays() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().canonicalize().unwrap();
    std::thread::scope(|scope| {
        (0..8).for_each(|_| drop(scope.spawn(|| claim(&RealVfs::new(), &dir, Kind::Cache).unwrap())));
    });
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "and nothing is left beside it");
}

#[test]
fn a_directory_of_another_format_is_refused_and_stays_as_it_is() {
    for (format, why) in [(FORMAT + 1, "newer release"), (FORMAT - 1, "before the first release")] {
        let (_root, vfs, dir) = opened(Kind::Cache);
        overwrite(&dir, &with_format(format));
        let before = contents(&dir);
        let error = claim(&vfs, &dir, Kind::Cache).unwrap_err();
        assert!(error.is_conflict() && error.to_string().contains(why), "{error}");
        assert_eq!(contents(&dir), before);
    }
}

#[test]
fn that_a_note_of_the_key_was_lost_is_known_until_a_key_is_noted_again() {
    let (_root, vfs, dir) = opened(Kind::Cache);
    note_signer(&vfs, &dir, Kind::Cache, "0123456789abcdef").unwrap();
    overwrite(&dir, "");
    for _ in 0..3 {
        assert_eq!(shake_hands(&vfs, &dir, Kind::Cache).unwrap(), Manifest::Lost);
        assert_eq!(signed_with(&vfs, &dir), None);
    }
    note_signer(&vfs, &dir, Kind::Cache, "fedcba9876543210").unwrap();
    assert_eq!(shake_hands(&vfs, &dir, Kind::Cache).unwrap(), Manifest::Known);
    assert_eq!(signed_with(&vfs, &dir).as_deref(), Some("fedcba9876543210"));
}

#[test]
fn the_key_that_signs_is_noted_beside_what_was_said_before() {
    let (root, vfs, dir) = opened(Kind::Cache);
    assert_eq!(signed_with(&vfs, &dir), None);
    let text = || fs::read_to_string(root.path().join(MANIFEST)).unwrap();
    let id = text().lines().find(|line| line.starts_with("id = ")).unwrap().to_owned();
    for key in ["0123456789abcdef", "fedcba9876543210"] {
        note_signer(&vfs, &dir, Kind::Cache, key).unwrap();
        assert_eq!(signed_with(&vfs, &dir).as_deref(), Some(key));
        shake_hands(&vfs, &dir, Kind::Cache).unwrap();
        assert!(text().contains(&id) && text().matches("signed_with").count() == 1, "{}", text());
    }
}

#[test]
fn a_directory_of_one_kind_is_refused_to_the_other_and_stays_as_it_is() {
    let (root, vfs, dir) = opened(Kind::BlobStore);
    let error = claim(&vfs, &dir, Kind::Cache).unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("directory of a blob store"), "{error}");
    shake_hands(&vfs, &dir, Kind::BlobStore).unwrap();
    overwrite(root.path(), &with_format(FORMAT));
    shake_hands(&vfs, &dir, Kind::Cache).unwrap();
    assert!(shake_hands(&vfs, &dir, Kind::BlobStore).is_err(), "without a kind it is a cache's");
}

#[test]
fn every_name_that_a_cache_uses_is_one_that_may_be_in_the_way() {
    let root = tempfile::tempdir().unwrap();
    let cache = crate::Cache::open(root.path()).unwrap();
    cache.put("one", &1u8).unwrap();
    cache.get::<u8>("one").unwrap();
    cache.flush().unwrap();
    let names = || fs::read_dir(root.path()).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
    let mut used: Vec<_> = names().collect();
    cache.close().unwrap();
    used.extend(names());
    // Tags of others are none.
    used.retain(|name| TAGS.iter().all(|(tag, _)| name != tag));
    assert!(used.iter().all(|name| name == MANIFEST || OTHER_NAMES.contains(&name.as_str())), "{used:?}");
}
