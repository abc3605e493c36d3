//! `cacheness.toml`: what a cache directory says of itself.

use std::path::Path;

use crate::blob_name::BlobName;
use crate::config::Durability;
use crate::digest;
use crate::error::{CacheError, ErrorKind, Result};
use crate::vfs::Vfs;
use crate::vfs::publish::publish;
use crate::vfs::read::read_whole;

/// The format that this release writes. A directory of a newer one is refused; there is no older one.
const FORMAT: u32 = 1;
const FILE_NAME: &str = "cacheness.toml";
/// A manifest is a few lines; more is not one.
const MAX_LEN: u64 = 4096;

/// Checks the handshake of a directory, and writes it into a new one. A damaged one is written anew: what it would have
/// told is also in every record and every blob.
///
/// # Errors
/// [`Config`](ErrorKind::Config) if a newer release wrote the directory.
pub(super) fn shake_hands(vfs: &dyn Vfs, root: &Path) -> Result<()> {
    match read(vfs, root).as_deref().and_then(format_of) {
        Some(format) if format > FORMAT => Err(CacheError::new(
            ErrorKind::Config,
            format!(
                "{} has format {format}, this release of cacheness reads up to {FORMAT}: use the newer release or \
                 another directory",
                root.display()
            ),
        )),
        Some(_) => Ok(()),
        None => write(vfs, root),
    }
}

fn read(vfs: &dyn Vfs, root: &Path) -> Option<String> {
    String::from_utf8(read_whole(vfs, &root.join(FILE_NAME), MAX_LEN).ok()??).ok()
}

fn write(vfs: &dyn Vfs, root: &Path) -> Result<()> {
    let body = format!("# A cache directory of cacheness.\nformat = {FORMAT}\nid = \"{}\"\n", BlobName::unique());
    let text = format!("{body}checksum = \"{:016x}\"\n", digest::checksum(body.as_bytes()));
    publish(vfs, root, &root.join(FILE_NAME), &[text.as_bytes()], Durability::Immediate)
}

/// The format a manifest names; `None` if the manifest is damaged.
fn format_of(text: &str) -> Option<u32> {
    let (body, sum) = text.split_at_checked(text.find("checksum = \"")?)?;
    let expected = format!("checksum = \"{:016x}\"\n", digest::checksum(body.as_bytes()));
    if sum != expected {
        return None;
    }
    body.lines().find_map(|line| line.strip_prefix("format = "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::vfs::RealVfs;
    use crate::vfs::root::prepare_root;

    fn with_format(format: u32) -> String {
        let body = format!("format = {format}\n");
        format!("{body}checksum = \"{:016x}\"\n", digest::checksum(body.as_bytes()))
    }

    #[test]
    fn a_newer_format_is_refused_and_a_damaged_manifest_is_written_anew() {
        let root = tempfile::tempdir().unwrap();
        let (vfs, dir) = (RealVfs::new(), root.path().canonicalize().unwrap());
        prepare_root(&vfs, &dir).unwrap();
        let path = root.path().join(FILE_NAME);
        shake_hands(&vfs, &dir).unwrap();
        let first = fs::read_to_string(&path).unwrap();
        shake_hands(&vfs, &dir).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), first, "the id stays");

        fs::write(&path, first.replace("format = 1", "format = 9")).unwrap();
        shake_hands(&vfs, &dir).unwrap();
        assert_eq!(format_of(&fs::read_to_string(&path).unwrap()), Some(1), "a changed digit is damage");

        fs::write(&path, with_format(FORMAT + 1)).unwrap();
        let error = shake_hands(&vfs, &dir).unwrap_err();
        assert!(error.is_config() && error.to_string().contains("newer release"), "{error}");
    }
}
