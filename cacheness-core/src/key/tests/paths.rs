//! Paths are keyed by what lies there.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::{KeyWriter, ToKey};
use super::{Key, key};
use crate::config::Limits;
use crate::params;

fn directory() -> TempDir {
    TempDir::new().unwrap()
}

fn file(directory: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn the_content_of_a_file_is_the_key_and_its_place_is_not() {
    let (here, there) = (directory(), directory());
    let one = file(&here, "data.csv", "a,b");
    let copy = file(&there, "deep/inside/other.txt", "a,b");
    let before = key(&one);
    assert_eq!(key(&copy), before);
    assert_eq!(key(one.as_path()), before);
    fs::write(&one, "a,c").unwrap();
    assert_ne!(key(&one), before);
    fs::write(&one, "a,b").unwrap();
    assert_eq!(key(&one), before);
}

#[test]
fn a_file_larger_than_the_read_buffer_is_read_to_its_end() {
    let here = directory();
    let mut content = vec![1; 300_000];
    let one = key(file(&here, "one", &content));
    content[299_999] = 2;
    assert_ne!(key(file(&here, "two", &content)), one);
}

#[test]
fn missing_empty_file_and_empty_directory_are_three_keys() {
    let here = directory();
    let empty = file(&here, "empty", "");
    let all = [key(here.path().join("missing")), key(&empty), key(directory().path()), key(Path::new(""))];
    assert_eq!(all[0], all[3], "an empty path is a missing one");
    assert_eq!(all[..3].iter().collect::<std::collections::HashSet<_>>().len(), 3);
    assert_eq!(key(empty.join("below a file")), all[0]);
}

#[test]
fn two_missing_paths_have_one_key_and_a_string_has_another() {
    assert_eq!(key(Path::new("no such file")), key(Path::new("nor this")));
    assert_ne!(key(Path::new("no such file")), key("no such file"));
}

fn tree(files: &[(&str, &str)]) -> Key {
    let here = directory();
    files.iter().for_each(|(name, content)| drop(file(&here, name, content)));
    key(here.path())
}

#[test]
fn a_directory_is_its_names_and_contents() {
    let one = tree(&[("a", "1"), ("sub/b", "2")]);
    assert_eq!(tree(&[("sub/b", "2"), ("a", "1")]), one);
    for other in [
        &[("a", "1"), ("sub/b", "3")][..],
        &[("a", "1"), ("sub/c", "2")],
        &[("a", "1"), ("bus/b", "2")],
        &[("a", "1"), ("b", "2")],
        &[("a", "1"), ("sub/b", "2"), ("sub/c", "")],
        &[("a", "1")],
        &[("a1", ""), ("sub/b", "2")],
        &[],
    ] {
        assert_ne!(tree(other), one, "{other:?}");
    }
}

#[test]
fn an_empty_directory_inside_counts() {
    let here = directory();
    let before = key(here.path());
    fs::create_dir(here.path().join("sub")).unwrap();
    assert_ne!(key(here.path()), before);
}

#[test]
fn a_file_that_looks_like_a_listing_is_not_a_directory() {
    let here = directory();
    let listing = [&[1][..], &1_u64.to_le_bytes(), b"a", &crate::util::digest::identity(b"1")].concat();
    assert_ne!(key(file(&here, "listing", listing)), tree(&[("a", "1")]));
}

#[test]
fn reading_waits_until_the_key_is_resolved() {
    let here = directory();
    let path = file(&here, "data", "before");
    let pending = (&path, 1).to_key_with(KeyWriter::new());
    assert!(pending.needs_io());
    fs::write(&path, "after").unwrap();
    assert_eq!(pending.resolve().unwrap(), key((&path, 1)));
    assert!(!1.to_key_with(KeyWriter::new()).needs_io());
}

#[test]
fn paths_are_told_apart_by_their_position() {
    let here = directory();
    let (a, b) = (file(&here, "a", "1"), file(&here, "b", "2"));
    assert_ne!(key((&a, &b)), key((&b, &a)));
    assert_ne!(key((&a, &a)), key((&a, &b)));
    assert_ne!(key(vec![&a]), key(vec![&a, &a]));
    assert_ne!(key((Some(&a), "x")), key((&a, "x")));
}

#[test]
fn paths_in_sets_and_maps_are_read_and_sorted_by_content() {
    let (here, there) = (directory(), directory());
    let set = BTreeSet::from([file(&here, "a", "1"), file(&here, "b", "2")]);
    let renamed = BTreeSet::from([file(&there, "a", "2"), file(&there, "b", "1")]);
    assert_eq!(key(&set), key(&renamed));
    let map = |path: &Path| HashMap::from([("input", path.to_owned())]);
    assert_eq!(key(map(&here.path().join("a"))), key(map(&there.path().join("b"))));
    assert_ne!(key(map(&here.path().join("a"))), key(map(&there.path().join("a"))));
}

#[test]
fn parameters_read_their_paths_late() {
    let here = directory();
    let path = file(&here, "data", "before");
    let params = params! { input: path, run: 1 };
    assert!(params.to_key_with(KeyWriter::new()).needs_io());
    let before = params.to_key().unwrap();
    assert_eq!(params.to_key().unwrap(), before);
    fs::write(&path, "after").unwrap();
    assert_ne!(params.to_key().unwrap(), before);
}

#[test]
fn without_content_the_text_of_the_path_is_the_key() {
    let here = directory();
    let path = file(&here, "data", "before");
    let by_text = |value: &dyn ToKey| {
        let pending = value.to_key_with(KeyWriter::new().with_path_content(false));
        assert!(!pending.needs_io());
        pending.resolve().unwrap()
    };
    let before = by_text(&path);
    fs::write(&path, "after").unwrap();
    assert_eq!(by_text(&path), before);
    assert_ne!(by_text(&here.path().join("other")), before);
    assert_ne!(by_text(&Path::new("x")), key("x"));
    let set = |name: &str| BTreeSet::from([here.path().join(name)]);
    assert_ne!(by_text(&set("data")), by_text(&set("other")));
    assert_ne!(by_text(&params! { path: path }), by_text(&params! { path: here.path().join("other") }));
}

#[test]
fn the_limit_holds_for_the_contents_too() {
    let limits = Limits { max_key_bytes: 30, ..Limits::DEFAULT };
    let here = directory();
    let path = file(&here, "data", "1");
    let error = path.to_key_with(KeyWriter::with_limits(&limits)).resolve().unwrap_err();
    assert!(error.is_limit());
}

#[test]
fn a_directory_nested_too_deeply_is_refused() {
    let here = directory();
    let deep: PathBuf = (0..200).map(|_| "d").collect();
    fs::create_dir_all(here.path().join(deep)).unwrap();
    assert!(here.path().to_key().unwrap_err().is_limit());
}

#[cfg(unix)]
mod unix {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_link_is_followed_when_it_is_the_path_itself() {
        let here = directory();
        let target = file(&here, "target", "1");
        let link = here.path().join("link");
        symlink(&target, &link).unwrap();
        assert_eq!(key(&link), key(&target));
        fs::remove_file(&target).unwrap();
        assert_eq!(key(&link), key(here.path().join("missing")));
    }

    #[test]
    fn a_link_inside_a_directory_counts_by_its_target_so_that_loops_end() {
        let with_link = |target: &str| {
            let here = directory();
            symlink(target, here.path().join("link")).unwrap();
            key(here.path())
        };
        assert_eq!(with_link("."), with_link("."));
        assert_ne!(with_link("."), with_link(".."));
        assert_ne!(with_link("."), tree(&[("link", ".")]));
    }

    #[test]
    fn a_path_that_links_to_itself_is_an_error() {
        let here = directory();
        let link = here.path().join("loop");
        symlink(&link, &link).unwrap();
        let error = link.to_key().unwrap_err();
        assert!(error.is_storage() && error.to_string().contains("loop"), "{error}");
    }

    #[test]
    fn names_that_are_not_text_are_told_apart() {
        let named = |name: &[u8]| {
            let here = directory();
            fs::write(here.path().join(OsStr::from_bytes(name)), "").unwrap();
            key(here.path())
        };
        assert_ne!(named(b"\xff"), named(b"\xfe"));
    }

    #[test]
    fn a_pipe_or_socket_is_an_error_and_nobody_waits_for_it() {
        let here = directory();
        let pipe = here.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let _socket = UnixListener::bind(here.path().join("socket")).unwrap();
        for path in [&pipe, &here.path().join("socket"), here.path(), Path::new("/dev/null")] {
            let error = path.to_key().unwrap_err();
            assert!(error.is_storage() && error.to_string().contains("neither a file nor a directory"), "{error}");
        }
    }

    #[test]
    fn an_unreadable_file_is_an_error_that_names_it() {
        use std::os::unix::fs::PermissionsExt;
        let here = directory();
        let secret = file(&here, "secret", "1");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
        if fs::read(&secret).is_ok() {
            println!("SKIPPED: this user may read every file");
            return;
        }
        for path in [secret.as_path(), here.path()] {
            let error = path.to_key().unwrap_err();
            assert!(error.is_storage() && error.to_string().contains("secret"), "{error}");
            assert!(std::error::Error::source(&error).is_some());
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_fails_while_it_is_read_is_an_error_that_names_it() {
        let error = Path::new("/proc/self/mem").to_key().unwrap_err();
        assert!(error.is_storage() && error.to_string().contains("/proc/self/mem"), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
}
