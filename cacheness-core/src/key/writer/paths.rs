//! Paths, whose contents are read at the end or not at all, and parameters, which may mention them.

use std::path::{Path, PathBuf};

use super::KeyWriter;
use crate::error::{CacheError, ErrorKind};
use crate::key::VerifyPaths;
use crate::key::content::Content;
use crate::key::identity::Noted;
use crate::key::sink::Sink;
use crate::key::sources::Source;
use crate::key::tag;

/// What a part of a key leaves for the whole of it.
#[derive(Clone, Default)]
pub(in crate::key) struct Notes {
    paths: Vec<PathBuf>,
    sources: Vec<Source>,
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
        match Content::of(path, self.rules.verify) {
            Err(error) => self.fail(error),
            Ok(content) => {
                self.append(&[content.kind()]);
                self.append(content.digest());
                self.sources.push(Source { path: path.to_owned(), content });
            }
        }
    }

    /// What a path's content has become part of cannot be keyed by the path's text any more.
    #[inline]
    pub(super) fn check_paths_read(&mut self) {
        if !self.sources.is_empty() && !self.rules.path_content {
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
        let (paths, sources) = (std::mem::take(&mut self.paths), std::mem::take(&mut self.sources));
        Notes { paths, sources, deepest: self.deepest }
    }

    /// Takes up a part that was encoded by a writer of its own.
    pub(in crate::key) fn note(&mut self, part: &Notes) {
        self.paths.extend(part.paths.iter().cloned());
        self.deepest = self.deepest.max(part.deepest);
        self.sources.extend(part.sources.iter().cloned());
        self.check_depth(part.deepest);
        self.check_paths_read();
    }

    /// The path that was written, if it was one.
    pub(in crate::key) fn only_path(&self) -> Option<&Path> {
        match &self.paths[..] {
            [path] => Some(path),
            _ => None,
        }
    }

    pub(in crate::key) fn needs_io(&self) -> bool {
        self.rules.path_content && !self.failed() && (!self.paths.is_empty() || self.must_read_again())
    }

    /// Whether something was read before it was known that nothing remembered is to be trusted.
    fn must_read_again(&self) -> bool {
        self.rules.verify == VerifyPaths::Always && !self.sources.is_empty()
    }

    #[cold]
    pub(super) fn append_contents(&mut self) {
        if self.must_read_again()
            && let Err(error) = self.sources.iter().try_for_each(|source| source.check(VerifyPaths::Always))
        {
            self.fail(error);
        }
        if self.paths.is_empty() {
            return;
        }
        self.append(&[tag::CONTENTS]);
        std::mem::take(&mut self.paths).iter().for_each(|path| self.append_content(path));
    }
}
