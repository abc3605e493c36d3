//! Directories that belong to a cache or a blob store.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Once;

use crate::config::handshake;
use crate::util::report;

pub(super) use crate::config::handshake::FILE_NAME as MANIFEST;

/// Whether a directory says of itself that it is one of ours. Its name alone proves nothing.
pub(super) fn is_one(directory: &Path) -> bool {
    read_manifest(directory).as_deref().and_then(handshake::body_of).and_then(handshake::format_of).is_some()
}

/// Whether something in such a directory is ours by its name. All else there is its owner's.
pub(super) fn is_name(name: &OsStr) -> bool {
    name == MANIFEST || handshake::NAMES.iter().any(|ours| name == *ours)
}

/// Whether something in such a directory is a tag as we write it. One that says something else is its owner's.
pub(super) fn is_tag(directory: &Path, name: &OsStr) -> bool {
    let tag = handshake::TAGS.iter().find(|(tag, _)| name == *tag);
    tag.is_some_and(|(_, text)| read_start(&directory.join(name)).as_deref() == Some(*text))
}

fn read_manifest(directory: &Path) -> Option<String> {
    read_start(&directory.join(MANIFEST))
}

fn read_start(path: &Path) -> Option<String> {
    // Opening a pipe would wait for its writer.
    if !fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    File::open(path).ok()?.take(handshake::MAX_LEN).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Tells once that an argument is the directory of a cache, or lies in one: it counts by its content as any other does,
/// but that of a cache in use changes with every call.
pub(super) fn tell_if_inside(directory: &Path) {
    static TOLD: Once = Once::new();
    if TOLD.is_completed() {
        return;
    }
    let Ok(real) = fs::canonicalize(directory) else { return };
    if let Some(cache) = real.ancestors().find(|above| is_one(above)) {
        TOLD.call_once(|| {
            report::emit(&format!(
                "cacheness: `{}` counts by its content and lies in the cache directory `{}`: while that is in use, every \
                 put changes the key and nothing is found again; leave it out with `skip(..)`, or name another directory",
                directory.display(),
                cache.display()
            ));
        });
    }
}
