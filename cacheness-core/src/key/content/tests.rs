use super::*;
use crate::key::SerdeKey;
use crate::params;

#[test]
fn a_hash_is_blake3_of_the_canonical_encoding_whatever_its_length() {
    let tag = "".to_key().unwrap().identity()[1];
    for text in ["a".to_owned(), "a".repeat(126), "a".repeat(127), "a".repeat(100_000)] {
        let mut encoding = vec![tag];
        let mut len = text.len();
        while len >= 0x80 {
            encoding.push(len as u8 | 0x80);
            len >>= 7;
        }
        encoding.push(len as u8);
        encoding.extend_from_slice(text.as_bytes());
        assert_eq!(hash_content(&text).unwrap(), hex(&digest::identity(&encoding)), "{} bytes", text.len());
    }
}

#[test]
fn hashes_are_the_same_in_every_build() {
    let dir = tempfile::tempdir().unwrap();
    let empty = hash_file_path(dir.path()).unwrap();
    fs::write(dir.path().join("a"), "1").unwrap();
    let hashes = [
        hash_content("London").unwrap(),
        hash_content(&("London", 7, None::<u8>)).unwrap(),
        empty,
        hash_file_path(dir.path()).unwrap(),
    ];
    assert_eq!(
        hashes,
        [
            "f8c547d3ef83adef62fe5a910da55f9ada2a23a573dcc0a5919072db3f088f18",
            "43c4b724a2ac98bb952a52346ae6cb4d75663451f6781dd2d0f66e416d2e450b",
            "7aebb744e2675f45143cfeeb53f6de441df0ab641d7f72e9f282222856565996",
            "e9335dac6f9b0f706901bfc2296faa1ed3c47ca31ec0710a6e0e9da458d3f633",
        ]
    );
}

#[test]
fn values_and_types_are_told_apart() {
    let all = [
        hash_content(&1).unwrap(),
        hash_content(&1u8).unwrap(),
        hash_content(&1.0).unwrap(),
        hash_content(&true).unwrap(),
        hash_content("1").unwrap(),
        hash_content(&["1"]).unwrap(),
        hash_content(&()).unwrap(),
        hash_content(&SerdeKey(Some(1))).unwrap(),
        hash_content(&params! { one: 1 }).unwrap(),
        hash_content(&vec![1u8; 200]).unwrap(),
        hash_content(&vec![2u8; 200]).unwrap(),
    ];
    assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
    assert!(all.iter().all(|hash| hash.len() == 64));
}

#[test]
fn inputs_made_to_share_one_xxh3_have_hashes_of_their_own() {
    let made = |d: u32| {
        let mut bytes = [0; 512];
        bytes[..4].copy_from_slice(&[0xb8, 0xfe, 0x6c, 0x39]);
        bytes[4..8].copy_from_slice(&d.to_le_bytes());
        bytes[64..68].copy_from_slice(&[0x7c, 0x01, 0x81, 0x2c]);
        bytes[68..72].copy_from_slice(&(0x8000_0000u32 - d).to_le_bytes());
        bytes
    };
    assert_eq!(digest::checksum(&made(1)), digest::checksum(&made(2)), "the family is one");
    assert_ne!(hash_content(&made(1)).unwrap(), hash_content(&made(2)).unwrap());
}

#[test]
fn content_over_the_limit_of_keys_is_hashed() {
    let large = vec![7u8; 100_000];
    let limits = Limits { max_key_bytes: 99_999, ..Limits::DEFAULT };
    assert!(large.to_key_with(KeyWriter::with_limits(&limits)).resolve().unwrap_err().is_limit());
    assert_eq!(hash_content(&large).unwrap().len(), 64);
}

#[test]
fn what_cannot_be_encoded_is_an_error() {
    struct Refuses;
    impl serde::Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    assert!(hash_content(&SerdeKey(Refuses)).unwrap_err().is_serialization());
}

#[test]
fn a_file_has_the_hash_of_its_bytes_wherever_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("data");
    fs::write(&file, "").unwrap();
    assert_eq!(
        hash_file_path(&file).unwrap(),
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        "the published BLAKE3 of nothing"
    );
    fs::write(&file, "a,b").unwrap();
    assert_eq!(hash_file_path(&file).unwrap(), hex(&digest::identity(b"a,b")));
}

#[test]
fn every_empty_directory_has_one_hash_and_it_is_not_that_of_its_path() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let empty = hash_file_path(one.path()).unwrap();
    assert_eq!(hash_file_path(other.path()).unwrap(), empty);
    let file = other.path().join("empty");
    fs::write(&file, "").unwrap();
    assert_ne!(hash_file_path(&file).unwrap(), empty);
    assert_ne!(hash_file_path(other.path()).unwrap(), empty);
}

#[test]
fn a_directory_is_its_relative_names_and_contents() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fill = |dir: &Path| {
        fs::create_dir(dir.join("sub")).unwrap();
        fs::write(dir.join("sub/b"), "2").unwrap();
        fs::write(dir.join("a"), "1").unwrap();
    };
    [&one, &other].iter().for_each(|dir| fill(dir.path()));
    let before = hash_file_path(one.path()).unwrap();
    assert_eq!(hash_file_path(other.path()).unwrap(), before);
    fs::rename(other.path().join("a"), other.path().join("c")).unwrap();
    assert_ne!(hash_file_path(other.path()).unwrap(), before);
    fs::write(one.path().join("sub/b"), "3").unwrap();
    assert_ne!(hash_file_path(one.path()).unwrap(), before);
}

#[test]
fn no_file_has_the_hash_of_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let Content::Directory(digest) = Content::of(dir.path(), VerifyPaths::Always).unwrap() else { panic!("it is one") };
    let hash = hash_file_path(dir.path()).unwrap();
    let file = dir.path().join("file");
    for bytes in [&[][..], &digest, &[DIRECTORY.as_bytes(), &digest].concat()] {
        fs::write(&file, bytes).unwrap();
        assert_ne!(hash_file_path(&file).unwrap(), hash);
    }
}

#[test]
fn a_missing_path_is_an_error_that_names_it() {
    let path = Path::new("no such file");
    for error in [hash_file_path(path).unwrap_err(), get_size_mb(path).unwrap_err()] {
        assert!(error.is_storage() && error.to_string().contains("`no such file`"), "{error}");
    }
}

#[test]
fn a_size_counts_all_files_below_and_follows_no_link() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("deep/inside")).unwrap();
    assert_eq!(get_size_mb(dir.path()).unwrap(), 0.0);
    fs::write(dir.path().join("a"), vec![0; 1 << 20]).unwrap();
    fs::write(dir.path().join("deep/inside/b"), vec![0; 1 << 19]).unwrap();
    assert_eq!(get_size_mb(dir.path().join("a")).unwrap(), 1.0);
    assert_eq!(get_size_mb(dir.path()).unwrap(), 1.5);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(dir.path(), dir.path().join("deep/up")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("a"), dir.path().join("link")).unwrap();
        assert_eq!(get_size_mb(dir.path()).unwrap(), 1.5);
        assert_eq!(get_size_mb(dir.path().join("link")).unwrap(), 1.0, "the path itself is followed");
    }
}
