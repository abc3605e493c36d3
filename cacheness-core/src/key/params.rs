//! Named parameters as a key.

use std::fmt::{self, Debug, Write};

use super::identity::Noted;
use super::noted::noted;
use super::writer::Notes;
use super::{CacheKey, Key, KeyWriter, PendingKey, ToKey, tag};
use crate::error::{CacheError, ErrorKind, Result};

/// The longest text kept of a parameter, in bytes; what it stands for is part of the key as a whole.
const MAX_TEXT: usize = 1024;

/// Named parameters that make a key, see [`params!`](crate::params).
///
/// ```
/// use cacheness::key::{Params, ToKey};
/// use cacheness::params;
///
/// let built = Params::new().with("run", &42).with("experiment", "exp_001");
/// assert_eq!(built.to_key()?, params! { experiment: "exp_001", run: 42 }.to_key()?);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[doc(alias = "kwargs")]
#[derive(Clone, Default)]
pub struct Params {
    entries: Vec<Param>,
}

#[derive(Clone)]
struct Param {
    name: String,
    text: String,
    /// The key of the value alone, without the contents of its paths.
    value: Result<Key>,
    notes: Notes,
}

impl Params {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter. A name that is there already makes [`to_key`](ToKey::to_key) fail.
    ///
    /// Where [`Key::params`] shows a text, it is at most the first 1,024 bytes of the value's `Debug` output.
    #[must_use]
    pub fn with<T: CacheKey + Debug + ?Sized>(mut self, name: impl Into<String>, value: &T) -> Self {
        let mut writer = KeyWriter::new();
        value.encode(&mut writer);
        let notes = writer.take_notes();
        self.entries.push(Param { name: name.into(), text: Excerpt::of(value), value: writer.key(), notes });
        self
    }

    fn sorted(&self) -> Result<Vec<(&Param, &Key)>> {
        let with_key = |param| Param::key(param).map(|key| (param, key));
        let mut sorted = self.entries.iter().map(with_key).collect::<Result<Vec<_>>>()?;
        sorted.sort_by_key(|(param, _)| &param.name);
        match sorted.windows(2).find(|pair| pair[0].0.name == pair[1].0.name) {
            None => Ok(sorted),
            Some(pair) => Err(doubled(&pair[0].0.name)),
        }
    }
}

impl Param {
    fn key(&self) -> Result<&Key> {
        self.value.as_ref().map_err(Clone::clone)
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries.iter().map(|param| (&param.name, &param.text))).finish()
    }
}

impl ToKey for Params {
    fn to_key_with(&self, mut writer: KeyWriter) -> PendingKey {
        match self.sorted() {
            Err(error) => writer.fail(error),
            Ok(sorted) => write_params(&mut writer, &sorted),
        }
        writer.finish()
    }
}

fn write_params(writer: &mut KeyWriter, sorted: &[(&Param, &Key)]) {
    writer.append(&[tag::PARAMS]);
    writer.number(sorted.len() as u64);
    for (param, key) in sorted {
        writer.blob(param.name.as_bytes());
        writer.blob(key.identity());
    }
    let params: Noted =
        sorted.iter().map(|(param, key)| (param.name.clone(), noted(key, param.text.clone()))).collect();
    writer.set_params(params);
    sorted.iter().for_each(|(param, _)| writer.note(&param.notes));
}

fn doubled(name: &str) -> CacheError {
    CacheError::new(
        ErrorKind::InvalidArgument,
        format!("the parameter `{name}` is given twice: name each parameter once"),
    )
}

/// The beginning of a `Debug` output, which is not produced any further.
pub(super) struct Excerpt(String);

impl Excerpt {
    pub(super) fn of<T: Debug + ?Sized>(value: &T) -> String {
        let mut excerpt = Self(String::new());
        if write!(excerpt, "{value:?}").is_err() {
            excerpt.0.push('…');
        }
        excerpt.0
    }
}

impl Write for Excerpt {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let free = MAX_TEXT - self.0.len();
        let end = (0..=text.len().min(free)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        self.0.push_str(&text[..end]);
        if end == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Named parameters as a key. Their order does not matter; a name given twice is an error.
///
/// Values implement [`CacheKey`] and [`Debug`].
///
/// ```
/// use cacheness::key::ToKey;
/// use cacheness::params;
///
/// let key = params! { experiment: "exp_001", run: 42 }.to_key()?;
/// assert_eq!(key, params! { run: 42, experiment: "exp_001" }.to_key()?);
/// assert_eq!(key.params()[0], ("experiment".into(), "exp_001".into()));
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[macro_export]
macro_rules! params {
    ($($name:ident: $value:expr),* $(,)?) => {
        $crate::Params::new()$(.with(stringify!($name).trim_start_matches("r#"), &$value))*
    };
}
