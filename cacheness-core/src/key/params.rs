//! Named parameters as a key.

use std::fmt::{self, Debug, Write};

use super::identity::Noted;
use super::writer::Notes;
use super::{CacheKey, Key, KeyRules, KeyWriter, PendingKey, ToKey, tag};
use crate::config::Limits;
use crate::error::{CacheError, ErrorKind, Result};
use crate::value::Value;

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
struct Excerpt(String);

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

// What is noted of a parameter for listings and filters: its value where that is a plain one, else its `Debug` text.

/// The longest encoding that is taken apart, enough for a text of 1,024 bytes: what is longer is no plain value.
const LONGEST_PLAIN: u64 = 1024 + 16;

/// First byte of an identity that holds the encoding itself.
const WHOLE: u8 = 0;

/// The value of a parameter with this key and this `Debug` text.
pub(super) fn noted(key: &Key, text: String) -> Value {
    if let Some(value) = key.identity().strip_prefix(&[WHOLE]).and_then(plain) {
        return value;
    }
    unquoted(&text).map_or(Value::Text(text), Value::Text)
}

/// The plain value that `encode` writes, if it writes one: a scalar, a text, a path or nothing. Reads no files: the
/// thread may poll futures.
pub(crate) fn plain_value(encode: impl FnOnce(&mut KeyWriter)) -> Option<Value> {
    let limits = Limits { max_key_bytes: LONGEST_PLAIN, ..Limits::DEFAULT };
    let mut writer = KeyWriter::with_rules(KeyRules { path_content: false, ..KeyRules::within(&limits) });
    encode(&mut writer);
    let encoding = writer.written()?.bytes()?;
    match (encoding, writer.only_path()) {
        ([tag::PATH, _] | [tag::SOME, tag::PATH, _], Some(path)) => Some(path.to_string_lossy().into_owned().into()),
        _ => plain(encoding),
    }
}

/// The text of a parameter that is no plain value: the beginning of its `Debug` output.
pub(crate) fn text_value<T: std::fmt::Debug + ?Sized>(value: &T) -> Value {
    let text = Excerpt::of(value);
    unquoted(&text).map_or(Value::Text(text), Value::Text)
}

/// The value that an encoding stands for, if that is a scalar, a text or nothing.
fn plain(encoding: &[u8]) -> Option<Value> {
    let (&first, rest) = encoding.split_first()?;
    Some(match first {
        tag::NONE if rest.is_empty() => Value::Null,
        tag::SOME | tag::NON_ZERO => plain(rest)?,
        tag::BOOL => Value::Bool(u8::from_le_bytes(rest.try_into().ok()?) != 0),
        tag::CHAR => char::from_u32(u32::from_le_bytes(rest.try_into().ok()?))?.into(),
        tag::U8 => u8::from_le_bytes(rest.try_into().ok()?).into(),
        tag::U16 => u16::from_le_bytes(rest.try_into().ok()?).into(),
        tag::U32 => u32::from_le_bytes(rest.try_into().ok()?).into(),
        tag::U64 | tag::USIZE => u64::from_le_bytes(rest.try_into().ok()?).into(),
        tag::I8 => i8::from_le_bytes(rest.try_into().ok()?).into(),
        tag::I16 => i16::from_le_bytes(rest.try_into().ok()?).into(),
        tag::I32 => i32::from_le_bytes(rest.try_into().ok()?).into(),
        tag::I64 | tag::ISIZE => i64::from_le_bytes(rest.try_into().ok()?).into(),
        tag::F32 => f32::from_le_bytes(rest.try_into().ok()?).into(),
        tag::F64 => f64::from_le_bytes(rest.try_into().ok()?).into(),
        tag::STR => text(rest)?.into(),
        _ => return None,
    })
}

/// The text behind its length, of which each byte but the last has its top bit set.
fn text(blob: &[u8]) -> Option<&str> {
    let end = blob.iter().position(|byte| byte & 0x80 == 0)?;
    let (len, bytes) = blob.split_at(end + 1);
    let len =
        len.iter().rev().try_fold(0_usize, |len, byte| len.checked_mul(0x80)?.checked_add(usize::from(byte & 0x7f)))?;
    if len == bytes.len() { std::str::from_utf8(bytes).ok() } else { None }
}

/// The text that a `Debug` output quotes, if it is one quoted text and nothing was cut off.
fn unquoted(debug: &str) -> Option<String> {
    let mut inside = debug.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut text = String::new();
    while let Some(next) = inside.next() {
        text.push(match next {
            '"' => return None,
            '\\' => match inside.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                'u' => unicode(&mut inside)?,
                other @ ('\\' | '"' | '\'') => other,
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(text)
}

/// The rest of an escape like `\u{1f600}`.
fn unicode(inside: &mut std::str::Chars<'_>) -> Option<char> {
    let rest = inside.as_str().strip_prefix('{')?;
    let (digits, behind) = rest.split_once('}')?;
    *inside = behind.chars();
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::{CacheKey, Params, ToKey};

    fn noted_of<T: CacheKey + std::fmt::Debug>(value: T) -> Value {
        Params::new().with("p", &value).to_key().unwrap().params()[0].1.clone()
    }

    #[test]
    fn plain_parameters_are_noted_as_values_and_others_as_text() {
        assert_eq!(noted_of(42u8), Value::Int(42));
        assert_eq!(noted_of(-7i64), Value::Int(-7));
        assert_eq!(noted_of(u64::MAX), Value::UInt(u64::MAX));
        assert_eq!(noted_of(0.5f32), Value::Float(0.5));
        assert_eq!(noted_of(true), Value::Bool(true));
        assert_eq!(noted_of('é'), Value::Text("é".into()));
        assert_eq!(noted_of("exp_001"), Value::Text("exp_001".into()));
        assert_eq!(noted_of(Some(3)), Value::Int(3));
        assert!(noted_of(None::<u32>).is_null());
        assert_eq!(noted_of(vec![1, 2]), Value::Text("[1, 2]".into()));
        assert_eq!(noted_of(std::path::Path::new("no such file")), Value::Text("no such file".into()));
    }

    #[test]
    fn no_file_is_read_for_a_note() {
        let path = std::path::Path::new("src/lib.rs");
        let set = std::collections::HashSet::from([path]);
        let read = || crate::key::content::READS.get();
        let before = read();
        assert_eq!(plain_value(|writer| path.encode(writer)), Some(Value::Text("src/lib.rs".into())));
        assert_eq!(plain_value(|writer| set.encode(writer)), None);
        assert_eq!(read(), before);
    }

    proptest! {
        #[test]
        fn every_text_is_noted_as_it_is_unless_it_was_cut(text in "\\PC{0,100}|[\\x00-\\x7f]{0,120}") {
            prop_assert_eq!(noted_of(text.as_str()), Value::Text(text));
        }
    }
}
