//! How far an index has come that is made of what is left of another: the file `index.rebuilding`.
//!
//! | content | a crash has left | the next opening |
//! |---|---|---|
//! | empty | a whole index, and blobs that no record may name | opens the index and takes up the blobs |
//! | `damaged` | a damaged index | carries over what can be believed of it |
//! | `aside` | its whole copy in `quarantine/index`, and part of a new index | begins a new one from the copy |
//!
//! The marker of the clean close and the orders beside it prove what is current in a damaged index. They stay until the
//! new index agrees with its blobs, so that an opening that fails or is killed takes nothing from the next one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{is_file, storage};
use crate::error::Result;
use crate::index::files::replace_file;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rebuilding {
    No,
    BlobsLeft,
    Damaged,
    Aside,
}

fn place(root: &Path) -> PathBuf {
    root.join("index.rebuilding")
}

impl Rebuilding {
    pub(super) fn read(root: &Path) -> Self {
        let place = place(root);
        if fs::symlink_metadata(&place).is_err() {
            return Self::No;
        }
        // What is no file, or says something else, says at least that there was one.
        match is_file(&place).then(|| fs::read(&place).unwrap_or_default()).as_deref() {
            Some(b"damaged") => Self::Damaged,
            Some(b"aside") => Self::Aside,
            _ => Self::BlobsLeft,
        }
    }

    /// Begins an index where there was none.
    pub(super) fn begin(root: &Path) -> Result<()> {
        fs::write(place(root), "").map_err(|error| storage(root, "cannot begin to rebuild the index", error))
    }

    /// Notes a state, on the disk and at once: there is never half of one.
    pub(super) fn note(self, root: &Path) -> Result<()> {
        let content = match self {
            Self::No => return Self::end(root),
            Self::BlobsLeft => "",
            Self::Damaged => "damaged",
            Self::Aside => "aside",
        };
        replace_file(&place(root), content.as_bytes())
            .map_err(|error| storage(root, "cannot note how far the index is rebuilt", error))
    }

    fn end(root: &Path) -> Result<()> {
        match fs::remove_file(place(root)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(storage(root, "cannot end to rebuild the index", error))
            }
            _ => Ok(()),
        }
    }
}
