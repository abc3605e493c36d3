//! `cacheness.toml`: what a cache directory says of itself.

use std::path::Path;

use crate::blob_name::BlobName;
use crate::config::Durability;
use crate::error::{CacheError, ErrorKind, Result};
use crate::handshake::{FILE_NAME, MAX_LEN, body_of, format_of, text_of};
use crate::vfs::Vfs;
use crate::vfs::publish::publish;
use crate::vfs::read::read_whole;
use crate::vfs::root::BLOBS;

/// The format that this release writes. A directory of a newer one is refused; there is no older one.
const FORMAT: u32 = 1;
/// Begins the line that tells the key.
const SIGNER: &str = "signed_with = \"";
/// In place of that line where it was lost: without it, the second opening would find a directory that was never signed.
const SIGNER_LOST: &str = "signed_with = \"\"";

/// Who a directory belongs to. One does not open that of the other: a cache removes entries when it is full or when they
/// are old, a store never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cache,
    BlobStore,
}

impl Kind {
    /// What sets its signatures apart from those of the other.
    pub(super) fn domain(self) -> u8 {
        match self {
            Self::Cache => b'c',
            Self::BlobStore => b'b',
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::BlobStore => "blob store",
        }
    }
}

/// Checks the handshake of a directory, and writes it into a new one. A damaged one is written anew: what it would have
/// told is also in every record and every blob, but for the key that they are signed with.
///
/// # Errors
/// [`Config`](ErrorKind::Config) if a newer release wrote the directory, or it is one of the other kind.
pub(super) fn shake_hands(vfs: &dyn Vfs, root: &Path, kind: Kind) -> Result<Manifest> {
    let text = read(vfs, root);
    let refused = |why: String| Err(CacheError::new(ErrorKind::Config, format!("{} {why}", root.display())));
    match text.as_deref().and_then(body_of).and_then(|body| Some((format_of(body)?, kind_of(body)))) {
        Some((format, _)) if format > FORMAT => refused(format!(
            "has format {format}, this release of cacheness reads up to {FORMAT}: use the newer release or another \
             directory"
        )),
        Some((_, found)) if found != kind.name() => {
            refused(format!("is the directory of a {found}, not of a {}: name another directory", kind.name()))
        }
        Some(_) => Ok(if is_signer_lost(text.as_deref()) { Manifest::Lost } else { Manifest::Known }),
        None if text.is_some() || has_contents(vfs, root) => {
            write(vfs, root, &format!("{}{SIGNER_LOST}\n", new_body(kind)))?;
            Ok(Manifest::Lost)
        }
        None => write(vfs, root, &new_body(kind)).map(|()| Manifest::New),
    }
}

/// What a directory said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manifest {
    /// It is new.
    New,
    /// It has a manifest.
    Known,
    /// It had one: what it said of keys is not known any more. So it stays until a key is noted again.
    Lost,
}

/// Whether somebody has used the directory before. What can not be listed counts as used.
fn has_contents(vfs: &dyn Vfs, root: &Path) -> bool {
    let has_any = |name: &str| match vfs.list(&root.join(name)) {
        Ok(found) => !found.is_empty(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    };
    has_any("index") || has_any(BLOBS)
}

/// The key that the directory was last signed with, by its id; `None` if it was not signed yet.
pub(super) fn signed_with(vfs: &dyn Vfs, root: &Path) -> Option<String> {
    let text = read(vfs, root)?;
    body_of(&text)?.lines().find_map(signer_of).filter(|signer| !signer.is_empty()).map(str::to_owned)
}

fn is_signer_lost(text: Option<&str>) -> bool {
    text.and_then(body_of).is_some_and(|body| body.lines().any(|line| line == SIGNER_LOST))
}

/// Notes the key that the directory is signed with from now on. A key that is lost later is then not replaced in silence.
///
/// # Errors
/// [`Storage`](ErrorKind::Storage).
pub(super) fn note_signer(vfs: &dyn Vfs, root: &Path, kind: Kind, key_id: &str) -> Result<()> {
    if signed_with(vfs, root).is_some_and(|noted| noted == key_id) {
        return Ok(());
    }
    let text = read(vfs, root);
    let body = text.as_deref().and_then(body_of).map_or_else(|| new_body(kind), str::to_owned);
    let rest: String = body.lines().filter(|line| signer_of(line).is_none()).map(|line| format!("{line}\n")).collect();
    write(vfs, root, &format!("{rest}{SIGNER}{key_id}\"\n"))
}

fn read(vfs: &dyn Vfs, root: &Path) -> Option<String> {
    String::from_utf8(read_whole(vfs, &root.join(FILE_NAME), MAX_LEN).ok()??).ok()
}

fn new_body(kind: Kind) -> String {
    let (kind, id) = (kind.name(), BlobName::unique());
    format!("# A directory of cacheness.\nformat = {FORMAT}\nkind = \"{kind}\"\nid = \"{id}\"\n")
}

fn write(vfs: &dyn Vfs, root: &Path, body: &str) -> Result<()> {
    let text = text_of(body);
    publish(vfs, root, &root.join(FILE_NAME), &[text.as_bytes()], Durability::Immediate)
}

fn signer_of(line: &str) -> Option<&str> {
    line.strip_prefix(SIGNER)?.strip_suffix('"')
}

/// A manifest without a kind is that of a cache.
fn kind_of(body: &str) -> &str {
    let kind = body.lines().find_map(|line| line.strip_prefix("kind = \"")?.strip_suffix('"'));
    kind.unwrap_or(Kind::Cache.name())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::vfs::RealVfs;
    use crate::vfs::root::prepare_root;

    fn with_format(format: u32) -> String {
        text_of(&format!("format = {format}\n"))
    }

    #[test]
    fn a_newer_format_is_refused_and_a_damaged_manifest_is_written_anew() {
        let root = tempfile::tempdir().unwrap();
        let (vfs, dir) = (RealVfs::new(), root.path().canonicalize().unwrap());
        prepare_root(&vfs, &dir).unwrap();
        let path = root.path().join(FILE_NAME);
        assert_eq!(shake_hands(&vfs, &dir, Kind::Cache).unwrap(), Manifest::New);
        let first = fs::read_to_string(&path).unwrap();
        assert_eq!(shake_hands(&vfs, &dir, Kind::Cache).unwrap(), Manifest::Known);
        assert_eq!(fs::read_to_string(&path).unwrap(), first, "the id stays");

        fs::write(&path, first.replace("format = 1", "format = 9")).unwrap();
        assert_eq!(shake_hands(&vfs, &dir, Kind::Cache).unwrap(), Manifest::Lost);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(body_of(&text).and_then(format_of), Some(1), "a changed digit is damage");

        fs::write(&path, with_format(FORMAT + 1)).unwrap();
        let error = shake_hands(&vfs, &dir, Kind::Cache).unwrap_err();
        assert!(error.is_config() && error.to_string().contains("newer release"), "{error}");
    }

    #[test]
    fn that_a_note_of_the_key_was_lost_is_known_until_a_key_is_noted_again() {
        let root = tempfile::tempdir().unwrap();
        let (vfs, dir) = (RealVfs::new(), root.path().canonicalize().unwrap());
        prepare_root(&vfs, &dir).unwrap();
        shake_hands(&vfs, &dir, Kind::Cache).unwrap();
        note_signer(&vfs, &dir, Kind::Cache, "0123456789abcdef").unwrap();
        fs::write(root.path().join(FILE_NAME), "torn").unwrap();
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
        let root = tempfile::tempdir().unwrap();
        let (vfs, dir) = (RealVfs::new(), root.path().canonicalize().unwrap());
        prepare_root(&vfs, &dir).unwrap();
        shake_hands(&vfs, &dir, Kind::Cache).unwrap();
        assert_eq!(signed_with(&vfs, &dir), None);
        let text = || fs::read_to_string(root.path().join(FILE_NAME)).unwrap();
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
        let root = tempfile::tempdir().unwrap();
        let (vfs, dir) = (RealVfs::new(), root.path().canonicalize().unwrap());
        prepare_root(&vfs, &dir).unwrap();
        shake_hands(&vfs, &dir, Kind::BlobStore).unwrap();
        let error = shake_hands(&vfs, &dir, Kind::Cache).unwrap_err();
        assert!(error.is_config() && error.to_string().contains("directory of a blob store"), "{error}");
        shake_hands(&vfs, &dir, Kind::BlobStore).unwrap();
        fs::write(root.path().join(FILE_NAME), with_format(FORMAT)).unwrap();
        shake_hands(&vfs, &dir, Kind::Cache).unwrap();
        assert!(shake_hands(&vfs, &dir, Kind::BlobStore).is_err(), "without a kind it is a cache's");
    }
}
