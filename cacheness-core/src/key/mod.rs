//! Values and arguments become keys.
//!
//! # The canonical encoding
//!
//! A value begins with a [tag] that tells its type. What follows has a width that the tag fixes, or begins with
//! its length or the number of its parts; nothing is ever found by looking for a separator. So a reader would always
//! know what comes next, which is why two different values never have one encoding: the encoding can be read in one way.
//!
//! ```text
//! key       = value*                                        made from a value
//!           | FUNCTION blob option option (argument value*)*  made from a function and its arguments
//!           | PARAMS number (blob blob)*                    names, and identities of the values alone
//!           followed, if it mentions paths, by CONTENTS content*
//!           | value HASHED (0 blob | 1 digest)              with what the value told a hasher
//! argument  = ARGUMENT | NAMED_ARGUMENT blob
//! value     = scalar tag, bytes in little-endian order
//!           | STR blob | C_STR blob | OS_STR blob
//!           | NONE | SOME value | OK value | ERR value
//!           | PACKED_SEQUENCE scalar tag, number, bytes     a list of scalars; arrays alike
//!           | SEQUENCE number value* | ARRAY .. | TUPLE ..
//!           | SET number value*                             sorted by their encoding
//!           | MAP number (value value)*                     sorted by their encoding
//!           | ORDERED_MAP (1 value value)* 0                in the order of their owner
//!           | NDARRAY number number* value                  dimensions, lengths of axes, elements as a sequence
//!           | UNIT_STRUCT blob number | TUPLE_STRUCT blob number value* | STRUCT blob number (blob value)*
//!           | UNIT_VARIANT blob blob number | TUPLE_VARIANT .. | STRUCT_VARIANT ..
//!           | PATH number | PATH_HERE content | ..
//! content   = 0 | 1 digest | 2 digest | 3 blob              missing, file, directory, keyed by its text
//! number    = seven bits a byte, the lowest first; blob = number bytes; option = 0 | 1 blob
//! ```
//!
//! What is *not* told apart: borrowed and owned values; the collections that hold the same list, set or map; arrays of
//! ndarray whose elements lie otherwise in memory; empty lists, sets and maps, and `None`s, by a type that they have no
//! value of. A list of references to scalars is the one borrowed value with another key than the owned one, since only a
//! list of scalars can be written in one piece.

#[cfg(feature = "ndarray")]
mod arrays;
mod containers;
mod content;
mod identity;
mod params;
mod serialize;
#[cfg(feature = "arrow")]
mod tables;
#[cfg(test)]
mod tests;
mod values;
mod writer;

use std::fmt;

pub use content::{get_size_mb, hash_content, hash_file_path};
pub use identity::Key;
pub use params::Params;
pub(crate) use params::{plain_value, text_value};
pub(crate) use serialize::is_unordered;
pub use serialize::{SerdeKey, serialize_key};
#[cfg(feature = "arrow")]
pub(crate) use tables::encode_table;
pub use writer::{KeyFields, KeyWriter};

use crate::config::{CacheConfig, Limits, MAX_DEPTH, VerifyPaths};
use crate::error::Result;
use identity::Inline;
use identity::Sink;
use values::KeyList;

/// A value that can be part of a key. Derive it, or let the type implement [`serde::Serialize`].
///
/// An implementation writes exactly one value, and the same bytes in every process and on every machine: nothing that
/// depends on addresses, on the order of a hash map or on a random number. Several parts are written as a tuple of
/// references or as a [record](KeyWriter::record).
///
/// Two values of one type have the same key exactly when they are the same value, and values of different types never
/// do; but a borrowed value has the key of the owned one, and it does not matter which collection holds the same
/// elements. Floats are compared by their bits, with one NaN: `-0.0` is not `0.0`.
///
/// A [`Path`](std::path::Path) is keyed by its *content*: by the bytes of a file, or the relative names and contents of
/// everything in a directory, wherever that lies. A missing path, an empty file and an empty directory are three
/// different keys. Links are followed for the path itself; inside a directory they count by the text of their target.
/// Of directories of caches and blob stores inside a directory all that these keep there is left out, as if it were not
/// there: a call must not change its own key by what it stores. Other files in them
/// count. A file is read when it has changed, see [`VerifyPaths`](crate::VerifyPaths).
///
/// ```
/// use cacheness::CacheKey;
/// use cacheness::key::{KeyWriter, ToKey};
///
/// struct Celsius(f64);
///
/// impl CacheKey for Celsius {
///     fn encode(&self, writer: &mut KeyWriter) {
///         ("Celsius", self.0).encode(writer);
///     }
/// }
///
/// assert_ne!(Celsius(20.0).to_key()?, Celsius(21.0).to_key()?);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a key",
    note = "derive `CacheKey` for it, implement `serde::Serialize` and wrap it in `SerdeKey`, or leave it out of the key"
)]
pub trait CacheKey {
    /// Writes the value. Errors are kept by the writer.
    fn encode(&self, writer: &mut KeyWriter);

    /// Whether code that is not ours may run while a value is written, and panic. A call shields itself then, which
    /// takes as long as writing a number.
    #[doc(hidden)]
    #[inline]
    fn may_panic(&self) -> bool {
        true
    }

    /// Writes all `count` values of a list, given in parts. Scalars write them side by side.
    #[doc(hidden)]
    fn encode_list<'a>(list: KeyList, count: usize, parts: impl Iterator<Item = &'a [Self]>, writer: &mut KeyWriter)
    where
        Self: Sized + 'a,
    {
        let tag = match list {
            KeyList::Sequence => tag::SEQUENCE,
            KeyList::Array => tag::ARRAY,
        };
        writer.counted(tag, count, |writer| {
            for item in parts.flatten() {
                item.encode(writer);
                if writer.failed() {
                    break;
                }
            }
        });
    }
}

/// What a cache can be asked for: any [`CacheKey`] value, [`params!`](crate::params), or a finished [`Key`].
///
/// ```
/// use cacheness::key::ToKey;
/// use cacheness::params;
///
/// let key = "London".to_key()?;
/// assert_eq!(key.to_key()?, key);
/// assert_ne!(params! { city: "London" }.to_key()?, key);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
pub trait ToKey {
    /// Encodes the key into an empty writer, which brings limits and settings.
    fn to_key_with(&self, writer: KeyWriter) -> PendingKey;

    /// The key itself, if it is one already.
    #[doc(hidden)]
    #[inline]
    fn as_key(&self) -> Option<&Key> {
        None
    }

    /// Makes the key with the default limits. Blocks while the contents of paths are read.
    ///
    /// # Errors
    ///
    /// Those of [`PendingKey::resolve`].
    #[inline]
    fn to_key(&self) -> Result<Key> {
        self.to_key_with(KeyWriter::new()).resolve()
    }
}

impl<T: CacheKey + ?Sized> ToKey for T {
    #[inline]
    fn to_key_with(&self, mut writer: KeyWriter) -> PendingKey {
        self.encode(&mut writer);
        writer.finish()
    }

    /// Without a [`PendingKey`], which would only be moved about.
    #[inline]
    fn to_key(&self) -> Result<Key> {
        let mut writer = KeyWriter::new();
        self.encode(&mut writer);
        writer.into_key()
    }
}

impl ToKey for Key {
    fn to_key_with(&self, _: KeyWriter) -> PendingKey {
        PendingKey::ready(self.clone())
    }

    #[inline]
    fn as_key(&self) -> Option<&Key> {
        Some(self)
    }
}

impl ToKey for &Key {
    fn to_key_with(&self, writer: KeyWriter) -> PendingKey {
        (**self).to_key_with(writer)
    }

    #[inline]
    fn as_key(&self) -> Option<&Key> {
        Some(self)
    }
}

impl ToKey for &Params {
    fn to_key_with(&self, writer: KeyWriter) -> PendingKey {
        (**self).to_key_with(writer)
    }
}

// A key that is encoded but may still have to read files.

/// An encoded key whose paths are still to be read, so that an async caller can do that away from its executor.
///
/// ```
/// use std::path::Path;
/// use cacheness::key::{KeyWriter, ToKey};
///
/// assert!(!"London".to_key_with(KeyWriter::new()).needs_io());
///
/// let pending = Path::new("no such file").to_key_with(KeyWriter::new());
/// assert!(pending.needs_io());
/// let key = pending.resolve()?;
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[must_use = "a pending key does nothing until it is resolved"]
pub struct PendingKey(State);

enum State {
    Ready(Key),
    Encoded(KeyWriter),
}

impl std::fmt::Debug for PendingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingKey").field("needs_io", &self.needs_io()).finish_non_exhaustive()
    }
}

impl PendingKey {
    #[inline]
    fn encoded(writer: KeyWriter) -> Self {
        Self(State::Encoded(writer))
    }

    fn ready(key: Key) -> Self {
        Self(State::Ready(key))
    }

    /// Whether [`resolve`](Self::resolve) has to read files or directories.
    #[inline]
    pub fn needs_io(&self) -> bool {
        match &self.0 {
            State::Ready(_) => false,
            State::Encoded(writer) => writer.needs_io(),
        }
    }

    /// The same key, by these rules; refused by [`resolve`](Self::resolve) if it breaks them.
    #[inline]
    pub(crate) fn within(mut self, rules: &KeyRules) -> Self {
        if let State::Encoded(writer) = &mut self.0 {
            writer.narrow(rules);
        }
        self
    }

    /// Reads what is left to read and makes the key. Blocks if [`needs_io`](Self::needs_io).
    ///
    /// # Errors
    ///
    /// The first error of the encoding: `Storage` if a path cannot be read or is neither a file nor a directory,
    /// `Limit` if the key is too large or nested too deeply, `Serialization` if a value could not be encoded,
    /// `InvalidArgument` if a parameter is named twice.
    #[inline]
    pub fn resolve(mut self) -> Result<Key> {
        match &mut self.0 {
            State::Ready(key) => Ok(key.clone()),
            State::Encoded(writer) => writer.key(),
        }
    }
}

// What a cache asks of the keys it is given.

/// Bounds and choices of the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyRules {
    /// The longest encoding, in bytes.
    pub(crate) max_bytes: u64,
    /// The deepest nesting of values.
    pub(crate) max_depth: u16,
    /// Whether a path is keyed by what lies there, or by its text.
    pub(crate) path_content: bool,
    /// When a file is read again.
    pub(crate) verify: VerifyPaths,
}

impl KeyRules {
    /// Within these limits, and otherwise the defaults.
    #[inline]
    pub(crate) const fn within(limits: &Limits) -> Self {
        Self {
            max_bytes: limits.max_key_bytes,
            max_depth: MAX_DEPTH,
            path_content: true,
            verify: VerifyPaths::WhenChanged,
        }
    }
}

impl CacheConfig {
    /// What a cache with this configuration asks of its keys.
    pub(crate) fn key_rules(&self) -> KeyRules {
        KeyRules {
            max_depth: self.serialization.max_collection_depth,
            path_content: self.serialization.hash_path_content,
            verify: self.serialization.verify_paths,
            ..KeyRules::within(&self.limits)
        }
    }
}

/// What the keys of one function begin with, written once and for all.
#[derive(Clone, Copy)]
pub(crate) struct Scope(Inline);

impl Scope {
    /// `None` if it is long.
    pub(crate) fn of(function: &str, prefix: Option<&str>, version: Option<&str>) -> Option<Self> {
        let mut writer = KeyWriter::new();
        writer.scope(function, prefix, version);
        match writer.written()? {
            Sink::Inline(inline) => Some(Self(*inline)),
            Sink::Heap(_) | Sink::Hashed(_) | Sink::Kept(_) => None,
        }
    }

    #[inline]
    fn encoding(&self) -> &[u8] {
        self.0.encoding()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// The first byte of everything in a canonical encoding.
///
/// A tag is never given a second meaning and never renumbered: stored entries are found by the bytes that it starts.
mod tag {
    macro_rules! tags {
        ($($name:ident = $value:literal,)+) => {
            $(
                #[allow(dead_code, reason = "some are of types that come with features")]
                pub(super) const $name: u8 = $value;
            )+

            #[cfg(test)]
            const ALL: &[u8] = &[$($value),+];
        };
    }

    tags! {
        UNIT = 0x01,
        BOOL = 0x02,
        CHAR = 0x03,
        PHANTOM = 0x04,

        U8 = 0x10,
        U16 = 0x11,
        U32 = 0x12,
        U64 = 0x13,
        U128 = 0x14,
        USIZE = 0x15,
        I8 = 0x18,
        I16 = 0x19,
        I32 = 0x1a,
        I64 = 0x1b,
        I128 = 0x1c,
        ISIZE = 0x1d,
        F32 = 0x20,
        F64 = 0x21,
        COMPLEX_F32 = 0x22,
        COMPLEX_F64 = 0x23,
        NON_ZERO = 0x28,
        WRAPPING = 0x29,
        SATURATING = 0x2a,
        REVERSE = 0x2b,
        ORDERING = 0x2c,

        STR = 0x30,
        C_STR = 0x31,
        OS_STR = 0x32,
        // A path whose content is appended at the end of the key.
        PATH = 0x33,
        // A path whose content follows at once.
        PATH_HERE = 0x34,

        NONE = 0x40,
        SOME = 0x41,
        OK = 0x42,
        ERR = 0x43,

        SEQUENCE = 0x50,
        PACKED_SEQUENCE = 0x51,
        ARRAY = 0x52,
        PACKED_ARRAY = 0x53,
        TUPLE = 0x54,
        SET = 0x55,
        MAP = 0x56,
        // A map whose order counts: each entry behind a one, and a zero at the end.
        ORDERED_MAP = 0x57,
        NDARRAY = 0x58,

        UNIT_STRUCT = 0x60,
        TUPLE_STRUCT = 0x61,
        STRUCT = 0x62,
        UNIT_VARIANT = 0x63,
        TUPLE_VARIANT = 0x64,
        STRUCT_VARIANT = 0x65,

        DURATION = 0x70,
        SYSTEM_TIME = 0x71,
        IPV4 = 0x72,
        IPV6 = 0x73,
        IP = 0x74,
        SOCKET_V4 = 0x75,
        SOCKET_V6 = 0x76,
        SOCKET = 0x77,
        RANGE = 0x78,
        RANGE_INCLUSIVE = 0x79,
        RANGE_FROM = 0x7a,
        RANGE_TO = 0x7b,
        RANGE_TO_INCLUSIVE = 0x7c,
        RANGE_FULL = 0x7d,
        BOUND_INCLUDED = 0x7e,
        BOUND_EXCLUDED = 0x7f,
        BOUND_UNBOUNDED = 0x80,

        // Not values, so that no value can be taken for one of these.
        FUNCTION = 0xf0,
        ARGUMENT = 0xf1,
        NAMED_ARGUMENT = 0xf2,
        PARAMS = 0xf3,
        CONTENTS = 0xf4,
        // Behind a value: what it told a hasher.
        HASHED = 0xf5,
    }

    #[cfg(test)]
    mod tests {
        use crate::key::tag::ALL;

        #[test]
        fn no_two_tags_share_a_number() {
            let distinct: std::collections::BTreeSet<_> = ALL.iter().collect();
            assert_eq!(distinct.len(), ALL.len());
        }
    }
}
