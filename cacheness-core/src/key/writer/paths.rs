//! Paths, whose contents are read at the end or not at all, and parameters, which may mention them.

use std::path::{Path, PathBuf};

use super::KeyWriter;
use crate::config::VerifyPaths;
use crate::error::{CacheError, ErrorKind};
use crate::key::content::Content;
use crate::key::identity::Noted;
use crate::key::sink::Sink;
use crate::key::sources::Source;
use crate::key::tag;

/// The files that a key is made of.
#[derive(Clone, Default)]
pub(super) struct Files {
    /// To be read at the end.
    left: Vec<PathBuf>,
    pub(super) read: Vec<Source>,
}

/// What a part of a key leaves for the whole of it.
#[derive(Clone, Default)]
pub(in crate::key) struct Notes {
    files: Option<Box<Files>>,
    deepest: u16,
}

/// Paths and parameters.
impl KeyWriter {
    pub(in crate::key) fn write_path(&mut self, path: &Path) {
        if let Sink::Kept(_) = self.sink {
            self.value(&[tag::PATH_HERE]);
            return self.append_content(path);
        }
        self.value(&[tag::PATH]);
        let left = &mut self.files.get_or_insert_default().left;
        left.push(path.to_owned());
        let before = left.len() as u64 - 1;
        self.number(before);
    }

    fn append_content(&mut self, path: &Path) {
        if self.failed() {
            return;
        }
        if !self.rules.path_content {
            self.append(&[Content::NAMED]);
            return self.blob(path.as_os_str().as_encoded_bytes());
        }
        match Content::of(path, self.rules.verify) {
            Err(error) => self.fail(error),
            Ok(content) => {
                self.append(&[content.kind()]);
                self.append(content.digest());
                self.files.get_or_insert_default().read.push(Source { path: path.to_owned(), content });
            }
        }
    }

    /// What a path's content has become part of cannot be keyed by the path's text any more.
    #[inline]
    pub(super) fn check_paths_read(&mut self) {
        if self.files.is_some() && !self.rules.path_content && !self.files_read().is_empty() {
            self.read_too_early();
        }
    }

    #[cold]
    fn read_too_early(&mut self) {
        let message = "a path inside a map or a set was keyed by its content before the cache and its \
                       `serialization.hash_path_content = false` were known: hand over a list, or the path's text";
        self.fail(CacheError::new(ErrorKind::InvalidArgument, message));
    }

    /// The parameters of a key that is not made from one value.
    pub(in crate::key) fn set_params(&mut self, params: Noted) {
        self.params = Some(params);
    }

    /// What must be known of a part that was encoded by a writer of its own.
    pub(in crate::key) fn take_notes(&mut self) -> Notes {
        Notes { files: self.files.take(), deepest: self.deepest }
    }

    /// Takes up a part that was encoded by a writer of its own.
    pub(in crate::key) fn note(&mut self, part: &Notes) {
        if let Some(of_part) = &part.files {
            let files = self.files.get_or_insert_default();
            files.left.extend(of_part.left.iter().cloned());
            files.read.extend(of_part.read.iter().cloned());
        }
        self.deepest = self.deepest.max(part.deepest);
        self.check_depth(part.deepest);
        self.check_paths_read();
    }

    /// The path that was written, if it was one.
    pub(in crate::key) fn only_path(&self) -> Option<&Path> {
        match self.files_left() {
            [path] => Some(path),
            _ => None,
        }
    }

    fn files_left(&self) -> &[PathBuf] {
        self.files.as_ref().map_or(&[], |files| &files.left)
    }

    /// What was read already, since the encoding was to be sorted.
    fn files_read(&self) -> &[Source] {
        self.files.as_ref().map_or(&[], |files| &files.read)
    }

    pub(in crate::key) fn needs_io(&self) -> bool {
        self.rules.path_content && !self.failed() && (!self.files_left().is_empty() || self.must_read_again())
    }

    /// Whether something was read before it was known that nothing remembered is to be trusted.
    fn must_read_again(&self) -> bool {
        self.rules.verify == VerifyPaths::Always && !self.files_read().is_empty()
    }

    #[cold]
    pub(super) fn append_contents(&mut self) {
        if self.must_read_again()
            && let Err(error) = self.files_read().iter().try_for_each(|source| source.check(VerifyPaths::Always))
        {
            self.fail(error);
        }
        let left = self.files.as_mut().map_or_else(Vec::new, |files| std::mem::take(&mut files.left));
        if left.is_empty() {
            return;
        }
        self.append(&[tag::CONTENTS]);
        left.iter().for_each(|path| self.append_content(path));
    }
}
