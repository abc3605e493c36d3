//! The backends that a configuration may name, and the options that they are opened with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::secret::redacted;
use super::{AZURE, FILESYSTEM, GCS, JSON, MEMORY, POSTGRESQL, REDIS, S3, SLED, SQLITE, SQLITE_MEMORY};
use crate::error::{CacheError, ErrorKind, Result};

/// The names that `metadata.backend` may have.
pub(crate) static METADATA: Names = Names {
    field: "metadata",
    built_in: &[
        BuiltIn::always(SLED),
        BuiltIn::always(MEMORY),
        BuiltIn::by_feature(JSON, "json", cfg!(feature = "json")),
        BuiltIn::by_feature(SQLITE, "sqlite", cfg!(feature = "sqlite")),
        BuiltIn::by_feature(SQLITE_MEMORY, "sqlite", cfg!(feature = "sqlite")),
        BuiltIn::by_feature(POSTGRESQL, "postgresql", cfg!(feature = "postgresql")),
        BuiltIn::by_feature(REDIS, "redis", cfg!(feature = "redis")),
    ],
    registered: RwLock::new(BTreeSet::new()),
};

/// The names that `blob.backend` may have.
pub(crate) static BLOB: Names = Names {
    field: "blob",
    built_in: &[
        BuiltIn::always(FILESYSTEM),
        BuiltIn::always(MEMORY),
        BuiltIn::by_feature(S3, "s3", cfg!(feature = "s3")),
        BuiltIn::by_feature(GCS, "gcs", cfg!(feature = "gcs")),
        BuiltIn::by_feature(AZURE, "azure", cfg!(feature = "azure")),
    ],
    registered: RwLock::new(BTreeSet::new()),
};

/// The names that there are of one kind of backend.
#[derive(Debug)]
pub(crate) struct Names {
    /// The part of the configuration.
    field: &'static str,
    built_in: &'static [BuiltIn],
    registered: RwLock<BTreeSet<String>>,
}

/// A backend of this crate.
#[derive(Clone, Copy, Debug)]
struct BuiltIn {
    name: &'static str,
    /// The feature that brings it, where it is not compiled in.
    missing: Option<&'static str>,
}

impl BuiltIn {
    const fn always(name: &'static str) -> Self {
        Self { name, missing: None }
    }

    const fn by_feature(name: &'static str, feature: &'static str, is_there: bool) -> Self {
        Self { name, missing: if is_there { None } else { Some(feature) } }
    }
}

impl Names {
    /// Whether there is such a backend. The error is half a sentence to put behind the name of what held it.
    pub(crate) fn known(&self, name: &str) -> Result<(), String> {
        let missing = self.built_in.iter().find(|known| known.name == name).and_then(|known| known.missing);
        if let Some(feature) = missing {
            return Err(format!("this backend needs the cargo feature `{feature}` of cacheness"));
        }
        let registered = self.registered.read().unwrap_or_else(PoisonError::into_inner);
        if self.is_built_in(name) || registered.contains(name) {
            return Ok(());
        }
        let all: Vec<_> = self.compiled_in().chain(registered.iter().map(String::as_str)).collect();
        let (last, others) = all.split_last().map_or(("", &[][..]), |(last, others)| (*last, others));
        Err(format!("no such backend, choose {} or {last}", others.join(", ")))
    }

    pub(super) fn is_built_in(&self, name: &str) -> bool {
        self.built_in.iter().any(|known| known.name == name)
    }

    fn compiled_in(&self) -> impl Iterator<Item = &str> {
        self.built_in.iter().filter(|known| known.missing.is_none()).map(|known| known.name)
    }

    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if the name is taken; [`InvalidArgument`](ErrorKind::InvalidArgument) if it is empty
    /// or that of a built-in one.
    fn add(&self, name: &str) -> Result<()> {
        let refused = |kind, why: &str| {
            let message = format!("the {} backend {name:?} cannot be registered: {why}", self.field);
            Err(CacheError::new(kind, message))
        };
        if name.trim().is_empty() {
            return refused(ErrorKind::InvalidArgument, "it needs a name");
        }
        if self.is_built_in(name) {
            return refused(ErrorKind::InvalidArgument, "a built-in one has this name, choose another");
        }
        let mut registered = self.registered.write().unwrap_or_else(PoisonError::into_inner);
        match registered.insert(name.to_owned()) {
            true => Ok(()),
            false => refused(ErrorKind::Conflict, "it is registered already, unregister it first"),
        }
    }
}

/// How a backend is opened.
type Open<B> = dyn Fn(&BackendOptions) -> Result<Arc<B>> + Send + Sync;

/// What others have registered of one kind of backend.
pub(crate) struct Registry<B: ?Sized + 'static> {
    names: &'static Names,
    known: RwLock<BTreeMap<String, Registered<B>>>,
}

struct Registered<B: ?Sized> {
    open: Arc<Open<B>>,
    description: String,
}

impl<B: ?Sized> Registry<B> {
    pub(crate) const fn new(names: &'static Names) -> Self {
        Self { names, known: RwLock::new(BTreeMap::new()) }
    }

    pub(crate) fn register(&self, name: &str, open: Arc<Open<B>>, description: &str) -> Result<()> {
        self.names.add(name)?;
        let registered = Registered { open, description: description.to_owned() };
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), registered);
        Ok(())
    }

    pub(crate) fn unregister(&self, name: &str) -> Result<bool> {
        if self.names.is_built_in(name) {
            let message = format!("the {} backend `{name}` is built in and cannot be unregistered", self.names.field);
            return Err(CacheError::new(ErrorKind::InvalidArgument, message));
        }
        self.names.registered.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        let gone = self.known.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        // Dropped without the lock: its `Drop` is the code of somebody else.
        Ok(gone.is_some())
    }

    /// Opens a registered backend; `None` if none has this name.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if none has this name; those of the backend.
    pub(crate) fn open(&self, name: &str, options: &BackendOptions) -> Result<Arc<B>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).map(|known| known.open.clone());
        // Without the lock: it may register others.
        let Some(open) = known else {
            let rule = self.names.known(name).err().unwrap_or_else(|| "it was unregistered meanwhile".to_owned());
            let message = format!("{}.backend is {name:?}: {rule}", self.names.field);
            return Err(CacheError::new(ErrorKind::Config, message));
        };
        open(options)
    }

    /// The built-in ones with these descriptions, and those that were registered.
    pub(crate) fn list(&self, built_in: impl Fn(&str) -> &'static str) -> Vec<BackendInfo> {
        let info = |name: &str, description: &str, builtin| BackendInfo {
            name: name.to_owned(),
            description: description.to_owned(),
            builtin,
        };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let built_in = self.names.compiled_in().map(|name| info(name, built_in(name), true));
        built_in.chain(known.iter().map(|(name, known)| info(name, &known.description, false))).collect()
    }
}

/// A backend that a configuration may name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendInfo {
    /// Its name.
    pub name: String,
    /// What it is, in a sentence.
    pub description: String,
    /// Whether it is part of this crate.
    pub builtin: bool,
}

/// An option of a backend: `metadata.options.…` or `blob.options.…` in a configuration.
///
/// A text is shown without the password of a URL that it is.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OptionValue {
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// A text.
    Text(String),
}

impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "{:?}", redacted(value)),
        }
    }
}

impl fmt::Debug for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(value) => f.debug_tuple("Flag").field(value).finish(),
            Self::Integer(value) => f.debug_tuple("Integer").field(value).finish(),
            Self::Float(value) => f.debug_tuple("Float").field(value).finish(),
            Self::Text(value) => f.debug_tuple("Text").field(&redacted(value)).finish(),
        }
    }
}

impl From<bool> for OptionValue {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}

impl From<i64> for OptionValue {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<f64> for OptionValue {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for OptionValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for OptionValue {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

/// What a backend is opened with: the directory of the cache, and the options of the configuration.
///
/// ```
/// use cacheness::backend::BackendOptions;
///
/// let options = BackendOptions::new().with("url", "http://localhost:8080").with("retries", 3);
/// assert_eq!(options.text("url")?, Some("http://localhost:8080"));
/// assert_eq!(options.integer("retries")?, Some(3));
/// assert_eq!(options.only(&["url"]).unwrap_err().to_string(), "options.retries: there is no such option, choose url");
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct BackendOptions {
    /// `metadata` or `blob`, where they are those of a configuration.
    field: Option<&'static str>,
    dir: Option<PathBuf>,
    values: BTreeMap<String, OptionValue>,
    /// Tells the cache that opens it from all others, where that is not to share what it finds.
    owner: Option<String>,
}

impl fmt::Debug for BackendOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = Shown(&self.values);
        f.debug_struct("BackendOptions").field("dir", &self.dir).field("values", &values).finish_non_exhaustive()
    }
}

/// Options as they may be shown: without the values of those that are secret by their name.
pub(crate) struct Shown<'a>(pub(crate) &'a BTreeMap<String, OptionValue>);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name, shown(name, value)))).finish()
    }
}

/// A value as it may be shown.
pub(super) fn shown(name: &str, value: &OptionValue) -> String {
    if is_secret(name) { "(secret)".to_owned() } else { value.to_string() }
}

/// Whether the value of an option of this name is told to nobody.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // What a key is called by, or where it lies, is not the key.
    let names_one = ["_id", "_path", "_file"].iter().any(|end| name.ends_with(end));
    !names_one && ["secret", "password", "token", "key", "credential"].iter().any(|word| name.contains(word))
}

impl BackendOptions {
    /// No directory and no options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The options of a part of a configuration.
    pub(crate) fn of(names: &Names, dir: &Path, values: &BTreeMap<String, OptionValue>) -> Self {
        Self { field: Some(names.field), dir: Some(dir.to_path_buf()), values: values.clone(), owner: None }
    }

    /// Sets which cache it is that opens the backend.
    pub(crate) fn owned_by(mut self, owner: Option<String>) -> Self {
        self.owner = owner;
        self
    }

    #[cfg(feature = "objects")]
    pub(crate) fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// Sets the directory.
    #[must_use]
    pub fn with_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Sets an option.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<OptionValue>) -> Self {
        self.values.insert(name.into(), value.into());
        self
    }

    /// The directory of the cache. It is there, it is the cache's alone, and no other process has it open.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if none was given.
    pub fn dir(&self) -> Result<&Path> {
        self.dir.as_deref().ok_or_else(|| CacheError::new(ErrorKind::Config, "this backend needs a directory"))
    }

    /// All options by their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OptionValue)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// A text.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the option is none.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.values.get(name) {
            None => Ok(None),
            Some(OptionValue::Text(value)) => Ok(Some(value)),
            Some(other) => Err(self.refused(name, &format!("{} is not a string", shown(name, other)))),
        }
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if it is not.
    pub fn required_text(&self, name: &str) -> Result<&str> {
        self.text(name)?.ok_or_else(|| self.refused(name, "this backend needs it"))
    }

    /// A whole number.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the option is none.
    pub fn integer(&self, name: &str) -> Result<Option<i64>> {
        match self.values.get(name) {
            None => Ok(None),
            Some(OptionValue::Integer(value)) => Ok(Some(*value)),
            Some(other) => Err(self.refused(name, &format!("{} is not a whole number", shown(name, other)))),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the option is none of them.
    pub fn flag(&self, name: &str) -> Result<Option<bool>> {
        match self.values.get(name) {
            None => Ok(None),
            Some(OptionValue::Flag(value)) => Ok(Some(*value)),
            Some(other) => Err(self.refused(name, &format!("{} is not true or false", shown(name, other)))),
        }
    }

    /// Checks that there is no option but these: one that is misspelt is not to be passed over.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config), naming the first other one.
    pub fn only(&self, names: &[&str]) -> Result<()> {
        match self.values.keys().find(|name| !names.contains(&name.as_str())) {
            None => Ok(()),
            Some(other) if names.is_empty() => Err(self.refused(other, "this backend has no options")),
            Some(other) => Err(self.refused(other, &format!("there is no such option, choose {}", names.join(" or ")))),
        }
    }

    pub(crate) fn refused(&self, name: &str, rule: &str) -> CacheError {
        let part = self.field.map_or(String::new(), |field| format!("{field}."));
        CacheError::new(ErrorKind::Config, format!("{part}options.{name}: {rule}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_lists_those_that_are_there_and_a_known_one_its_feature() {
        static NAMES: Names = Names {
            field: "metadata",
            built_in: &[
                BuiltIn::always("sled"),
                BuiltIn::always("memory"),
                BuiltIn::by_feature("sqlite", "sqlite", false),
            ],
            registered: RwLock::new(BTreeSet::new()),
        };
        let registry: Registry<str> = Registry::new(&NAMES);
        assert_eq!(NAMES.known("sledd").unwrap_err(), "no such backend, choose sled or memory");
        registry.register("mine", Arc::new(|_| Ok(Arc::from("opened"))), "one of mine").unwrap();
        assert_eq!(NAMES.known("sledd").unwrap_err(), "no such backend, choose sled, memory or mine");
        let rule = "this backend needs the cargo feature `sqlite` of cacheness";
        assert_eq!(NAMES.known("sqlite").unwrap_err(), rule);
        let error = registry.open("sqlite", &BackendOptions::new()).unwrap_err();
        assert_eq!(error.to_string(), format!("metadata.backend is \"sqlite\": {rule}"));
        assert_eq!(&*registry.open("mine", &BackendOptions::new()).unwrap(), "opened");
        assert_eq!(registry.list(|_| "built in").len(), 3);

        for (name, why) in
            [("mine", "registered already"), ("sled", "built-in"), ("sqlite", "built-in"), (" ", "a name")]
        {
            let error = registry.register(name, Arc::new(|_| Ok(Arc::from(""))), "").unwrap_err();
            let kind = if name == "mine" { ErrorKind::Conflict } else { ErrorKind::InvalidArgument };
            assert!(error.kind() == kind && error.to_string().contains(why), "{error}");
        }
        assert!(registry.unregister("sled").unwrap_err().is_invalid_argument());
        assert!(registry.unregister("mine").unwrap() && !registry.unregister("mine").unwrap());
        assert!(registry.open("mine", &BackendOptions::new()).is_err());
    }

    #[test]
    fn an_option_of_another_type_is_refused_with_its_name() {
        let options =
            BackendOptions::of(&BLOB, Path::new("dir"), &BTreeMap::new()).with("bucket", 3).with("tls", "yes");
        let messages =
            [options.text("bucket").unwrap_err(), options.flag("tls").unwrap_err()].map(|error| error.to_string());
        assert_eq!(
            messages,
            ["blob.options.bucket: 3 is not a string", "blob.options.tls: \"yes\" is not true or false"]
        );
        assert_eq!(options.required_text("key").unwrap_err().to_string(), "blob.options.key: this backend needs it");
        assert_eq!(options.integer("bucket").unwrap(), Some(3));
        assert_eq!(options.only(&[]).unwrap_err().to_string(), "blob.options.bucket: this backend has no options");
    }

    #[test]
    fn an_option_that_is_secret_by_its_name_is_not_shown() {
        let options = BackendOptions::new().with("bucket", "weather").with("access_key_id", "known");
        let options = options.with("secret_access_key", 77_777).with("sas_token", "77777");
        let shown = format!("{options:?}");
        assert!(shown.contains("weather") && shown.contains("known") && !shown.contains("77777"), "{shown}");
        let error = options.text("secret_access_key").unwrap_err().to_string();
        assert_eq!(error, "options.secret_access_key: (secret) is not a string");
    }
}
