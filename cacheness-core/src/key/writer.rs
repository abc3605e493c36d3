//! The writer that turns values into the canonical encoding.

mod parts;
mod paths;

use super::identity::Noted;
use super::rules::KeyRules;
use super::scope::Scope;
use super::sink::Sink;
use super::sources::Sources;
use super::{CacheKey, Key, PendingKey, tag};
use crate::config::limits::Limits;
use crate::error::{CacheError, ErrorKind, Result};

use self::paths::Files;

pub(in crate::key) use paths::Notes;

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
    pub(super) sink: Sink,
    pub(super) length: u64,
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
