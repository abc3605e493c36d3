//! Paths, whose contents are read at the end or not at all, and parameters, which may mention them.

use std::path::{Path, PathBuf};

use super::KeyWriter;
use crate::error::{CacheError, ErrorKind};
use crate::key::content::Content;
use crate::key::identity::Noted;
use crate::key::sink::Sink;
use crate::key::tag;

/// What a part of a key leaves for the whole of it.
#[derive(Clone, Default)]
pub(in crate::key) struct Notes {
    paths: Vec<PathBuf>,
    deepest: u16,
    has_read: bool,
}

/// Paths and parameters.
impl KeyWriter {
    pub(in crate::key) fn write_path(&mut self, path: &Path) {
        if let Sink::Kept(_) = self.sink {
            self.value(&[tag::PATH_HERE]);
            self.has_read |= self.rules.path_content;
            return self.append_content(path);
        }
        self.value(&[tag::PATH]);
        self.number(self.paths.len() as u64);
        self.paths.push(path.to_owned());
    }

    fn append_content(&mut self, path: &Path) {
        if self.failed() {
            return;
        }
        if !self.rules.path_content {
            self.append(&[Content::NAMED]);
            return self.blob(path.as_os_str().as_encoded_bytes());
        }
        match Content::of(path) {
            Err(error) => self.fail(error),
            Ok(content) => {
                self.append(&[content.kind()]);
                self.append(content.digest());
            }
        }
    }

    /// What a path's content has become part of cannot be keyed by the path's text any more.
    #[inline]
    pub(super) fn check_paths_read(&mut self, has_read: bool) {
        if has_read && !self.rules.path_content {
            self.read_too_early();
        }
    }

    #[cold]
    fn read_too_early(&mut self) {
        let message = "a path inside a map or a set was keyed by its content before the cache and its \
                       `serialization.hash_path_content = false` were known: hand over a list, or the path's text";
        self.fail(CacheError::new(ErrorKind::Config, message));
    }

    /// The parameters of a key that is not made from one value.
    pub(in crate::key) fn set_params(&mut self, params: Noted) {
        self.params = Some(params);
    }

    /// What must be known of a part that was encoded by a writer of its own.
    pub(in crate::key) fn take_notes(&mut self) -> Notes {
        Notes { paths: std::mem::take(&mut self.paths), deepest: self.deepest, has_read: self.has_read }
    }

    /// Takes up a part that was encoded by a writer of its own.
    pub(in crate::key) fn note(&mut self, part: &Notes) {
        self.paths.extend(part.paths.iter().cloned());
        self.deepest = self.deepest.max(part.deepest);
        self.has_read |= part.has_read;
        self.check_depth(part.deepest);
        self.check_paths_read(part.has_read);
    }

    pub(in crate::key) fn needs_io(&self) -> bool {
        self.rules.path_content && !self.paths.is_empty() && !self.failed()
    }

    #[cold]
    pub(super) fn append_contents(&mut self) {
        self.append(&[tag::CONTENTS]);
        std::mem::take(&mut self.paths).iter().for_each(|path| self.append_content(path));
    }
}
