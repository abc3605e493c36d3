//! Hashes and sizes of contents, for whoever names or measures things as the cache does.

use std::fs;
use std::io::{self, ErrorKind as IoKind};
use std::path::{Path, PathBuf};

use crate::config::VerifyPaths;
use crate::config::limits::Limits;
use crate::error::{CacheError, ErrorKind, Result};
use crate::key::{Content, KeyWriter, ToKey};
use crate::util::digest::{self, hex};

/// Sets directories apart from files that have the bytes of a listing in them. Part of every hash: never changed.
const DIRECTORY: &str = "cacheness 2026-11-24 hash of a directory";

/// The hash of any content as 64 hexadecimal digits: BLAKE3 of its canonical encoding as a key.
///
/// The same value has the same hash in every process and on every machine, and values or types that differ have different
/// ones, also chosen ones: a hash can stand for its content. A type that only implements `serde::Serialize` is wrapped in
/// [`SerdeKey`](crate::SerdeKey). A [`Path`] counts by what lies there, as in keys; [`hash_file_path`] is for files alone.
/// Content of any size is hashed; it is not held twice.
///
/// # Errors
/// [`Serialization`](ErrorKind::Serialization) if it cannot be encoded, [`Limit`](ErrorKind::Limit) if it is nested deeper
/// than 128 values, [`Storage`](ErrorKind::Storage) if it contains a path that cannot be read.
///
/// ```
/// use cacheness::key::SerdeKey;
/// use cacheness::hash_content;
///
/// #[derive(serde::Serialize)]
/// struct City { name: &'static str }
///
/// assert_eq!(hash_content("London")?, hash_content(&String::from("London"))?);
/// assert_ne!(hash_content(&("ab", "c"))?, hash_content(&("a", "bc"))?);
/// assert_ne!(hash_content(&1)?, hash_content(&1.0)?);
/// assert_eq!(hash_content(&SerdeKey(City { name: "London" }))?.len(), 64);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
pub fn hash_content<T: ToKey + ?Sized>(content: &T) -> Result<String> {
    let limits = Limits { max_key_bytes: u64::MAX, ..Limits::DEFAULT };
    let key = content.to_key_with(KeyWriter::with_limits(&limits)).resolve()?;
    Ok(hex(&key.digest()))
}

/// The hash of what lies at a path, as 64 hexadecimal digits.
///
/// Of a file it is BLAKE3 of its bytes, as `b3sum` prints it. Of a directory it is a hash of the relative names and the
/// contents of everything in it, sorted by name, wherever the directory lies; a link inside counts by the text of its
/// target. Directories of caches and blob stores inside of it are left out. An empty directory has a hash of its own, and
/// every empty directory the same. What lies there is read at every call.
///
/// # Errors
/// [`Storage`](ErrorKind::Storage) naming what does not exist, cannot be read, or is neither a file nor a directory;
/// [`Limit`](ErrorKind::Limit) if directories are nested too deeply.
///
/// ```
/// use cacheness::hash_file_path;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = std::env::temp_dir().join(format!("cacheness-doc-hash-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// std::fs::write(dir.join("one.csv"), "a,b")?;
/// std::fs::write(dir.join("two.csv"), "a,b")?;
/// assert_eq!(hash_file_path(dir.join("one.csv"))?, hash_file_path(dir.join("two.csv"))?);
/// assert!(hash_file_path(dir.join("three.csv")).is_err());
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok(())
/// # }
/// ```
pub fn hash_file_path(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    match Content::of(path, VerifyPaths::Always)? {
        Content::Missing => Err(missing(path, None)),
        Content::File(digest) => Ok(hex(&digest)),
        Content::Directory(digest) => Ok(hex(&digest::identity_within(DIRECTORY, &digest))),
    }
}

/// What a file takes, in megabytes of 1,048,576 bytes.
///
/// Of a directory it is the sum of all files below it, by their length and not by the blocks of the file system. A link
/// is followed if it is the path itself; inside a directory links, pipes and the directories themselves count nothing.
/// What is removed while it is counted does not count.
///
/// # Errors
/// [`Storage`](ErrorKind::Storage) naming what does not exist or cannot be read.
///
/// ```
/// use cacheness::get_size_mb;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let file = std::env::temp_dir().join(format!("cacheness-doc-size-{}", std::process::id()));
/// std::fs::write(&file, vec![0; 524_288])?;
/// assert_eq!(get_size_mb(&file)?, 0.5);
/// # std::fs::remove_file(&file)?;
/// # Ok(())
/// # }
/// ```
pub fn get_size_mb(path: impl AsRef<Path>) -> Result<f64> {
    let path = path.as_ref();
    let found = fs::metadata(path).map_err(|error| unreadable(path, error))?;
    let bytes = if found.is_dir() { size_below(path)? } else { found.len() };
    Ok(bytes as f64 / f64::from(1u32 << 20))
}

fn size_below(top: &Path) -> Result<u64> {
    let (mut total, mut left) = (0u64, vec![top.to_owned()]);
    while let Some(dir) = left.pop() {
        match add_files(&dir, &mut total, &mut left) {
            Err(error) if error.kind() == IoKind::NotFound && dir != top => {}
            counted => counted.map_err(|error| unreadable(&dir, error))?,
        }
    }
    Ok(total)
}

fn add_files(dir: &Path, total: &mut u64, left: &mut Vec<PathBuf>) -> io::Result<()> {
    for item in fs::read_dir(dir)? {
        let item = item?;
        match item.metadata() {
            Ok(found) if found.is_dir() => left.push(item.path()),
            Ok(found) if found.is_file() => *total = total.saturating_add(found.len()),
            Ok(_) => {}
            Err(error) if error.kind() == IoKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn unreadable(path: &Path, cause: io::Error) -> CacheError {
    if cause.kind() == IoKind::NotFound {
        return missing(path, Some(cause));
    }
    let message = format!("`{}` cannot be read ({cause}): make it readable", path.display());
    CacheError::caused_by(ErrorKind::Storage, message, cause)
}

fn missing(path: &Path, cause: Option<io::Error>) -> CacheError {
    let message = format!("there is no file or directory `{}`: check the path", path.display());
    match cause {
        Some(cause) => CacheError::caused_by(ErrorKind::Storage, message, cause),
        None => CacheError::new(ErrorKind::Storage, message),
    }
}

#[cfg(test)]
mod tests {
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
        let large = vec![7u8; (Limits::DEFAULT.max_key_bytes + 1) as usize];
        assert!(large.to_key().unwrap_err().is_limit());
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
        let Content::Directory(digest) = Content::of(dir.path(), VerifyPaths::Always).unwrap() else {
            panic!("it is one")
        };
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
}
