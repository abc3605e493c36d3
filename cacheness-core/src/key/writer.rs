//! The writer that turns values into the canonical encoding.

mod parts;

use std::path::{Path, PathBuf};

use super::content::Content;
use super::identity::Sink;
use super::identity::{Noted, Source, Sources};
use super::{CacheKey, Key, KeyRules, PendingKey, Scope, tag};
use crate::config::{Limits, VerifyPaths};
use crate::error::{CacheError, ErrorKind, Result};

/// Collects the canonical encoding of values and becomes a [`Key`].
///
/// Errors do not interrupt the encoding. The first one is kept, everything after it is ignored, and
/// [`PendingKey::resolve`] returns it: a key larger than the limit or nested deeper than 128 values, or than the cache
/// allows ([`ErrorKind::Limit`]), a container that did not write as many values as it announced
/// ([`ErrorKind::Serialization`]), a path that cannot be read ([`ErrorKind::Storage`]).
///
/// ```
/// use cacheness::CacheKey;
/// use cacheness::key::{KeyWriter, ToKey};
///
/// let mut writer = KeyWriter::new();
/// "London".encode(&mut writer);
/// assert_eq!(writer.finish().resolve()?, "London".to_key()?);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
pub struct KeyWriter {
    sink: Sink,
    length: u64,
    rules: KeyRules,
    /// Values written so far into the innermost open container.
    written: u64,
    depth: u16,
    deepest: u16,
    /// Most keys have none.
    files: Option<Box<Files>>,
    params: Option<Noted>,
    error: Option<CacheError>,
}

/// The kind and number of the fields of a struct or of an enum variant, see [`KeyWriter::record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFields {
    /// No fields and no parentheses or braces.
    Unit,
    /// So many fields without names.
    Positional(usize),
    /// So many fields with names.
    Named(usize),
}

/// What is restored when a container closes.
#[must_use]
pub(super) struct Frame {
    outer_written: u64,
}

/// What has been written so far is not shown: it may hold secrets.
impl std::fmt::Debug for KeyWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyWriter").finish_non_exhaustive()
    }
}

impl KeyWriter {
    /// A writer with the default limits, which keys paths by content.
    #[inline]
    pub fn new() -> Self {
        Self::with_limits(&Limits::DEFAULT)
    }

    /// A writer that accepts at most `limits.max_key_bytes` bytes.
    #[inline]
    pub fn with_limits(limits: &Limits) -> Self {
        Self::with_rules(KeyRules::within(limits))
    }

    #[inline]
    pub(crate) fn with_rules(rules: KeyRules) -> Self {
        Self {
            sink: Sink::new(),
            length: 0,
            rules,
            written: 0,
            depth: 0,
            deepest: 0,
            files: None,
            params: None,
            error: None,
        }
    }

    /// Whether a path is keyed by what lies there (the default), or by its own text.
    #[must_use]
    pub fn with_path_content(mut self, hash_path_content: bool) -> Self {
        self.rules.path_content = hash_path_content;
        self
    }

    /// Ends the encoding. The contents of paths are still to be read.
    #[inline]
    pub fn finish(self) -> PendingKey {
        PendingKey::encoded(self)
    }

    /// Writes a string.
    #[inline]
    pub fn write_str(&mut self, value: &str) {
        self.written += 1;
        self.tagged_blob(tag::STR, value.as_bytes());
    }

    /// Ends the encoding and makes the key. Blocks if it has to read the contents of paths.
    ///
    /// # Errors
    ///
    /// Those of [`PendingKey::resolve`].
    #[inline]
    pub fn into_key(mut self) -> Result<Key> {
        self.key()
    }

    /// Writes `()`.
    pub fn write_unit(&mut self) {
        self.value(&[tag::UNIT]);
    }

    /// Writes `None`.
    #[inline]
    pub fn write_none(&mut self) {
        self.value(&[tag::NONE]);
    }

    /// Writes a struct, or a variant of an enum. `name` is the path of the type; `fields` announces how many values
    /// `encode` writes: by [`field`](Self::field) if they have names, by [`CacheKey::encode`] if they do not.
    ///
    /// ```
    /// use cacheness::CacheKey;
    /// use cacheness::key::{KeyFields, KeyWriter};
    ///
    /// struct City { name: String, population: u64, notes: String }
    ///
    /// impl CacheKey for City {
    ///     fn encode(&self, writer: &mut KeyWriter) {
    ///         writer.record("my_crate::City", None, KeyFields::Named(2), |writer| {
    ///             writer.field("name", &self.name);
    ///             writer.field("population", &self.population);
    ///         });
    ///     }
    /// }
    /// ```
    pub fn record(&mut self, name: &str, variant: Option<&str>, fields: KeyFields, encode: impl FnOnce(&mut Self)) {
        let count = self.record_head(name, variant, fields);
        self.nested(count, encode);
    }

    /// Writes one named field of a [`record`](Self::record).
    pub fn field<T: CacheKey + ?Sized>(&mut self, name: &str, value: &T) {
        self.blob(name.as_bytes());
        value.encode(self);
    }

    /// Begins the key of a function: the first thing in a writer, followed by its arguments.
    ///
    /// `function` names it with everything that sets it apart from others: crate, modules, implementing type, type and
    /// const parameters. A key made from values alone never equals one that begins so.
    pub fn scope(&mut self, function: &str, prefix: Option<&str>, version: Option<&str>) {
        if self.length > 0 {
            let message = format!("the key of `{function}` does not begin with its scope: call `scope` first");
            return self.fail(CacheError::new(ErrorKind::InvalidArgument, message));
        }
        self.tagged_blob(tag::FUNCTION, function.as_bytes());
        self.optional_blob(prefix);
        self.optional_blob(version);
    }

    /// Announces the next argument of a function, whose encoding follows.
    #[inline]
    pub fn argument(&mut self) {
        self.append(&[tag::ARGUMENT]);
    }

    /// Announces an argument by its name, so that others may be left out.
    #[inline]
    pub fn named_argument(&mut self, name: &str) {
        self.tagged_blob(tag::NAMED_ARGUMENT, name.as_bytes());
    }

    /// What was written, unless there was an error.
    pub(super) fn written(&self) -> Option<&Sink> {
        self.error.is_none().then_some(&self.sink)
    }

    /// Whether nothing has been written yet.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Begins a key of a function.
    #[inline]
    pub(crate) fn begin_with(&mut self, scope: &Scope) {
        let encoding = scope.encoding();
        self.length = encoding.len() as u64;
        self.sink.append(encoding);
    }

    /// What tells the key apart, if no more needs to be done to know that: most keys are short and have no paths.
    #[inline]
    pub(crate) fn identity(&self) -> Option<&[u8]> {
        if self.error.is_some() || self.files.is_some() {
            return None;
        }
        self.sink.identity()
    }

    /// Makes the key, reading what is left to read. In place, so that the buffer need not move.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<Key> {
        if self.files.is_some() {
            self.append_contents();
        }
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let (hash, identity) = self.sink.finish();
        let sources = self.files.take().map_or(Sources::none(), |files| Sources::of(files.read, self.rules.verify));
        Ok(Key::from_parts(hash, identity, self.params.take()).made_of(sources))
    }

    /// Keeps `error` if it is the first one.
    #[cold]
    pub(crate) fn fail(&mut self, error: CacheError) {
        self.error.get_or_insert(error);
    }

    /// Whether the rest of the encoding is in vain.
    #[inline]
    pub(super) fn failed(&self) -> bool {
        self.error.is_some()
    }
}

impl Default for KeyWriter {
    fn default() -> Self {
        Self::new()
    }
}

// Containers without an order, or of a length that nobody knows before the end.

/// A container whose elements are kept until all are known.
#[must_use]
pub(super) struct Collection {
    frame: Frame,
    outer_sink: Sink,
    outer_length: u64,
    ends: Vec<usize>,
}

impl KeyWriter {
    /// Begins to keep what is written. Paths are read at once until [`close_sorted`](Self::close_sorted) or
    /// [`close_listed`](Self::close_listed), since their contents decide the order.
    pub(super) fn collect(&mut self) -> Collection {
        Collection {
            frame: self.open(),
            outer_sink: std::mem::replace(&mut self.sink, Sink::kept()),
            outer_length: self.length,
            ends: Vec::new(),
        }
    }

    /// Ends an element of the collection.
    pub(super) fn end_element(&mut self, collection: &mut Collection) {
        collection.ends.push(self.kept().len());
    }

    /// Writes the elements, of `values` values each, sorted by their encoding.
    pub(super) fn close_sorted(&mut self, tag: u8, values: u64, collection: Collection) {
        self.close_collection(tag, values, collection, |elements| elements.sort_unstable());
    }

    /// Writes the elements in their order.
    pub(super) fn close_listed(&mut self, tag: u8, collection: Collection) {
        self.close_collection(tag, 1, collection, |_| {});
    }

    fn close_collection(&mut self, tag: u8, values: u64, collection: Collection, order: impl FnOnce(&mut [&[u8]])) {
        let Collection { frame, outer_sink, outer_length, ends } = collection;
        let Sink::Kept(bytes) = std::mem::replace(&mut self.sink, outer_sink) else { return };
        self.close(frame, values * ends.len() as u64);
        // While kept they counted against the limit; now they count again, where they belong.
        self.length = outer_length;
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let mut elements: Vec<&[u8]> = starts.zip(&ends).filter_map(|(start, &end)| bytes.get(start..end)).collect();
        order(&mut elements);
        self.value(&[tag]);
        self.number(elements.len() as u64);
        elements.into_iter().for_each(|element| self.append(element));
    }

    fn kept(&self) -> &[u8] {
        match &self.sink {
            Sink::Kept(bytes) => bytes,
            _ => &[],
        }
    }
}

// Paths, whose contents are read at the end or not at all, and parameters, which may mention them.

/// The files that a key is made of.
#[derive(Clone, Default)]
struct Files {
    /// To be read at the end.
    left: Vec<PathBuf>,
    read: Vec<Source>,
}

/// What a part of a key leaves for the whole of it.
#[derive(Clone, Default)]
pub(super) struct Notes {
    files: Option<Box<Files>>,
    deepest: u16,
}

/// Paths and parameters.
impl KeyWriter {
    pub(super) fn write_path(&mut self, path: &Path) {
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
    fn check_paths_read(&mut self) {
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
    pub(super) fn set_params(&mut self, params: Noted) {
        self.params = Some(params);
    }

    /// What must be known of a part that was encoded by a writer of its own.
    pub(super) fn take_notes(&mut self) -> Notes {
        Notes { files: self.files.take(), deepest: self.deepest }
    }

    /// Takes up a part that was encoded by a writer of its own.
    pub(super) fn note(&mut self, part: &Notes) {
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
    pub(super) fn only_path(&self) -> Option<&Path> {
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

    pub(super) fn needs_io(&self) -> bool {
        self.rules.path_content && !self.failed() && (!self.files_left().is_empty() || self.must_read_again())
    }

    /// Whether something was read before it was known that nothing remembered is to be trusted.
    fn must_read_again(&self) -> bool {
        self.rules.verify == VerifyPaths::Always && !self.files_read().is_empty()
    }

    #[cold]
    fn append_contents(&mut self) {
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
