//! Keys of types that only implement [`Serialize`].

use std::any::type_name;
use std::fmt::{self, Display};
use std::path::Path;

use serde::ser::{self, Serialize, SerializeMap, SerializeSeq, Serializer};

use super::writer::{Collection, Frame};
use super::{CacheKey, KeyFields, KeyWriter, tag};
use crate::error::{CacheError, ErrorKind};

/// Writes a value as its `Serialize` implementation describes it: with names of types, fields and variants, and every
/// integer width by itself.
///
/// Some types are known by their names, wherever `Serialize` passes them on as they are (as a field, in a list, an option, a
/// newtype or a pointer): a `HashMap`, `HashSet`, `BTreeMap` or `BTreeSet` of the standard library counts without an order,
/// and a [`Path`](std::path::Path) by its content. Any other map counts in its order, so that an `IndexMap` is its order too.
///
/// What `Serialize` does not tell cannot be part of the key. Derive [`CacheKey`] for types that contain one of these:
/// - what is left out or written in another form: fields with `#[serde(skip)]`, `skip_serializing_if` or `with`, the variant
///   of an untagged enum. The arguments of cached functions also count by their `Hash`, if they implement it, and an enum
///   that is itself the argument by its variant;
/// - a `HashMap` or `HashSet` under `#[serde(flatten)]`, `#[serde(transparent)]` or `with`, or in an untagged variant: its
///   order counts and changes with every process, so that nothing is ever found;
/// - a path under `#[serde(transparent)]`, `with` or in an untagged variant: it counts by its text, and the key does not
///   follow what lies there;
/// - types of one name in two modules, or an array and a tuple of one type: serde sees no difference.
///
/// A failing implementation is kept by the writer as an error of kind `Serialization`.
///
/// ```
/// use cacheness::key::{KeyWriter, serialize_key};
///
/// let mut writer = KeyWriter::new();
/// serialize_key(&("London", 7), &mut writer);
/// let key = writer.finish().resolve()?;
/// # Ok::<(), cacheness::CacheError>(())
/// ```
pub fn serialize_key<T: Serialize + ?Sized>(value: &T, writer: &mut KeyWriter) {
    if let Err(Stop::Refused(message)) = value.serialize(Encoder::of::<T>(writer)) {
        let message = format!("a value cannot be serialized into a key: {message}");
        writer.fail(CacheError::new(ErrorKind::Serialization, message));
    }
}

/// Makes a value that only implements [`Serialize`] part of a key, see [`serialize_key`].
///
/// ```
/// use cacheness::key::{SerdeKey, ToKey};
///
/// #[derive(serde::Serialize)]
/// struct City { name: &'static str }
///
/// let key = ("population", SerdeKey(City { name: "London" })).to_key()?;
/// assert_ne!(key, ("population", SerdeKey(City { name: "Paris" })).to_key()?);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SerdeKey<T: ?Sized>(pub T);

impl<T: Serialize + ?Sized> CacheKey for SerdeKey<T> {
    fn encode(&self, writer: &mut KeyWriter) {
        serialize_key(&self.0, writer);
    }
}

/// Why an implementation has to stop.
#[derive(Debug)]
enum Stop {
    /// The writer keeps the reason.
    Failed,
    /// The implementation itself gave this one.
    Refused(String),
}

impl Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "the key is too large or nested too deeply",
            Self::Refused(message) => message,
        })
    }
}

impl std::error::Error for Stop {}

impl ser::Error for Stop {
    fn custom<T: Display>(message: T) -> Self {
        Self::Refused(message.to_string())
    }
}

/// Whether to go on: a writer that has failed ignores what follows.
fn go_on(writer: &KeyWriter) -> Result<(), Stop> {
    if writer.failed() { Err(Stop::Failed) } else { Ok(()) }
}

struct Encoder<'w> {
    writer: &'w mut KeyWriter,
    /// Of the type that is serialised.
    type_name: &'static str,
}

impl<'w> Encoder<'w> {
    fn of<T: ?Sized>(writer: &'w mut KeyWriter) -> Self {
        Self { writer, type_name: type_name::<T>() }
    }

    fn value(self, write: impl FnOnce(&mut KeyWriter)) -> Result<(), Stop> {
        write(self.writer);
        go_on(self.writer)
    }

    /// The one value inside another.
    fn inner<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Stop> {
        let frame = self.writer.open();
        go_on(self.writer)?;
        value.serialize(Encoder::of::<T>(self.writer))?;
        self.writer.close(frame, 1);
        go_on(self.writer)
    }

    fn parts(self, count: u64) -> Result<Parts<'w>, Stop> {
        let frame = self.writer.open();
        go_on(self.writer)?;
        Ok(Parts { writer: self.writer, frame, count })
    }

    fn record(self, name: &str, variant: Option<&str>, fields: KeyFields) -> Result<Parts<'w>, Stop> {
        let count = self.writer.record_head(name, variant, fields);
        self.parts(count)
    }

    fn elements(self) -> Result<Elements<'w>, Stop> {
        let collection = self.writer.collect();
        go_on(self.writer)?;
        Ok(Elements { writer: self.writer, collection })
    }
}

macro_rules! scalars {
    ($($method:ident($type:ty) => $write:ident;)+) => {
        $(fn $method(self, value: $type) -> Result<(), Stop> {
            self.value(|writer| writer.$write(value))
        })+
    };
}

impl<'w> Serializer for Encoder<'w> {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = Sequence<'w>;
    type SerializeTuple = Parts<'w>;
    type SerializeTupleStruct = Parts<'w>;
    type SerializeTupleVariant = Parts<'w>;
    type SerializeMap = Entries<'w>;
    type SerializeStruct = Parts<'w>;
    type SerializeStructVariant = Parts<'w>;

    scalars! {
        serialize_bool(bool) => write_bool;
        serialize_i8(i8) => write_i8;
        serialize_i16(i16) => write_i16;
        serialize_i32(i32) => write_i32;
        serialize_i64(i64) => write_i64;
        serialize_i128(i128) => write_i128;
        serialize_u8(u8) => write_u8;
        serialize_u16(u16) => write_u16;
        serialize_u32(u32) => write_u32;
        serialize_u64(u64) => write_u64;
        serialize_u128(u128) => write_u128;
        serialize_f32(f32) => write_f32;
        serialize_f64(f64) => write_f64;
        serialize_char(char) => write_char;
        serialize_bytes(&[u8]) => write_bytes;
    }

    fn serialize_str(self, text: &str) -> Result<(), Stop> {
        if is_path(self.type_name) {
            self.value(|writer| writer.write_path(Path::new(text)))
        } else {
            self.value(|writer| writer.write_str(text))
        }
    }

    fn serialize_unit(self) -> Result<(), Stop> {
        self.value(KeyWriter::write_unit)
    }

    fn serialize_none(self) -> Result<(), Stop> {
        self.value(KeyWriter::write_none)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Stop> {
        self.writer.value(&[tag::SOME]);
        self.inner(value)
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Stop> {
        self.record(name, None, KeyFields::Unit)?.end()
    }

    fn serialize_unit_variant(self, name: &'static str, _: u32, variant: &'static str) -> Result<(), Stop> {
        self.record(name, Some(variant), KeyFields::Unit)?.end()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Stop> {
        self.writer.record_head(name, None, KeyFields::Positional(1));
        self.inner(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        self.writer.record_head(name, Some(variant), KeyFields::Positional(1));
        self.inner(value)
    }

    fn serialize_seq(self, count: Option<usize>) -> Result<Sequence<'w>, Stop> {
        if is_unordered_set(self.type_name) {
            return Ok(Sequence::Set(self.elements()?));
        }
        let Some(count) = count else { return Ok(Sequence::OfUnknownLength(self.elements()?)) };
        self.writer.value(&[tag::SEQUENCE]);
        self.writer.number(count as u64);
        Ok(Sequence::OfKnownLength(self.parts(count as u64)?))
    }

    fn serialize_tuple(self, count: usize) -> Result<Parts<'w>, Stop> {
        self.writer.value(&[tag::TUPLE]);
        self.writer.number(count as u64);
        self.parts(count as u64)
    }

    fn serialize_tuple_struct(self, name: &'static str, count: usize) -> Result<Parts<'w>, Stop> {
        self.record(name, None, KeyFields::Positional(count))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Parts<'w>, Stop> {
        self.record(name, Some(variant), KeyFields::Positional(count))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries<'w>, Stop> {
        if is_unordered_map(self.type_name) {
            return Ok(Entries::Unordered(self.elements()?));
        }
        self.writer.value(&[tag::ORDERED_MAP]);
        Ok(Entries::Ordered(self.parts(0)?))
    }

    fn serialize_struct(self, name: &'static str, count: usize) -> Result<Parts<'w>, Stop> {
        self.record(name, None, KeyFields::Named(count))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Parts<'w>, Stop> {
        self.record(name, Some(variant), KeyFields::Named(count))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The parts of a container that announced how many there are.
struct Parts<'w> {
    writer: &'w mut KeyWriter,
    frame: Frame,
    count: u64,
}

impl Parts<'_> {
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        value.serialize(Encoder::of::<T>(self.writer))
    }

    fn named<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Stop> {
        self.writer.blob(name.as_bytes());
        self.part(value)
    }

    fn end(self) -> Result<(), Stop> {
        self.writer.close(self.frame, self.count);
        go_on(self.writer)
    }
}

/// The parts of a container that is written when all are known.
struct Elements<'w> {
    writer: &'w mut KeyWriter,
    collection: Collection,
}

impl Elements<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        value.serialize(Encoder::of::<T>(self.writer))?;
        self.writer.end_element(&mut self.collection);
        Ok(())
    }
}

enum Sequence<'w> {
    OfKnownLength(Parts<'w>),
    OfUnknownLength(Elements<'w>),
    Set(Elements<'w>),
}

impl SerializeSeq for Sequence<'_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        match self {
            Self::OfKnownLength(parts) => parts.part(value),
            Self::OfUnknownLength(elements) | Self::Set(elements) => elements.element(value),
        }
    }

    fn end(self) -> Result<(), Stop> {
        match self {
            Self::OfKnownLength(parts) => parts.end(),
            Self::OfUnknownLength(Elements { writer, collection }) => {
                writer.close_listed(tag::SEQUENCE, collection);
                go_on(writer)
            }
            Self::Set(Elements { writer, collection }) => {
                writer.close_sorted(tag::SET, 1, collection);
                go_on(writer)
            }
        }
    }
}

enum Entries<'w> {
    /// `count` is that of the values so far.
    Ordered(Parts<'w>),
    Unordered(Elements<'w>),
}

impl SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Stop> {
        match self {
            Self::Ordered(parts) => {
                parts.count += 2;
                parts.writer.append(&[1]);
                parts.part(key)
            }
            Self::Unordered(elements) => key.serialize(Encoder::of::<T>(elements.writer)),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        match self {
            Self::Ordered(parts) => parts.part(value),
            Self::Unordered(elements) => elements.element(value),
        }
    }

    fn end(self) -> Result<(), Stop> {
        match self {
            Self::Ordered(parts) => {
                parts.writer.append(&[0]);
                parts.end()
            }
            Self::Unordered(Elements { writer, collection }) => {
                writer.close_sorted(tag::MAP, 2, collection);
                go_on(writer)
            }
        }
    }
}

macro_rules! serialize_parts {
    ($($trait:ident::$method:ident)+) => {
        $(impl ser::$trait for Parts<'_> {
            type Ok = ();
            type Error = Stop;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
                self.part(value)
            }

            fn end(self) -> Result<(), Stop> {
                Parts::end(self)
            }
        })+
    };
}

serialize_parts!(SerializeTuple::serialize_element SerializeTupleStruct::serialize_field SerializeTupleVariant::serialize_field);

macro_rules! serialize_named_parts {
    ($($trait:ident)+) => {
        $(impl ser::$trait for Parts<'_> {
            type Ok = ();
            type Error = Stop;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Stop> {
                self.named(name, value)
            }

            fn end(self) -> Result<(), Stop> {
                Parts::end(self)
            }
        })+
    };
}

serialize_named_parts!(SerializeStruct SerializeStructVariant);

// What the name of a type tells where nothing else of it is known: `Serialize` shows a map, but not whether the order of
// its entries means something, and a text, but not whether it is a path.

/// Pointers and cells that serialise as what is in them.
const TRANSPARENT: [&str; 9] = [
    "alloc::boxed::Box<",
    "alloc::rc::Rc<",
    "alloc::sync::Arc<",
    "alloc::borrow::Cow<",
    "core::cell::Cell<",
    "core::cell::RefCell<",
    "core::cmp::Reverse<",
    "std::sync::poison::mutex::Mutex<",
    "std::sync::poison::rwlock::RwLock<",
];

/// Maps and sets that have no order, or that of their keys. Whatever is not named here may have been ordered by its owner.
const MAPS: [&str; 5] = [
    "std::collections::hash::map::HashMap<",
    "alloc::collections::btree::map::BTreeMap<",
    "hashbrown::map::HashMap<",
    "ahash::hash_map::AHashMap<",
    "dashmap::DashMap<",
];
const SETS: [&str; 5] = [
    "std::collections::hash::set::HashSet<",
    "alloc::collections::btree::set::BTreeSet<",
    "hashbrown::set::HashSet<",
    "ahash::hash_set::AHashSet<",
    "dashmap::set::DashSet<",
];

const PATHS: [&str; 4] = ["std::path::Path", "std::path::PathBuf", "camino::Utf8Path", "camino::Utf8PathBuf"];

/// Whether the order of a map's entries means nothing.
fn is_unordered_map(name: &str) -> bool {
    let name = inside(name);
    MAPS.iter().any(|map| name.starts_with(map))
}

/// Whether the order of a sequence's elements means nothing.
fn is_unordered_set(name: &str) -> bool {
    let name = inside(name);
    SETS.iter().any(|set| name.starts_with(set))
}

/// Whether the order of what is in it means nothing.
pub(crate) fn is_unordered(name: &str) -> bool {
    let name = inside(name);
    MAPS.iter().chain(&SETS).any(|of| name.starts_with(of))
}

/// Whether a text is a path.
fn is_path(name: &str) -> bool {
    let name = name.trim_end_matches('>');
    // Asked of every text: most are none by their last letters.
    (name.ends_with("Path") || name.ends_with("PathBuf")) && PATHS.contains(&inside(name))
}

/// The name without the pointers around it.
fn inside(mut name: &str) -> &str {
    loop {
        let rest = name.strip_prefix('&').or_else(|| TRANSPARENT.iter().find_map(|around| name.strip_prefix(around)));
        let Some(rest) = rest else { return name };
        let rest = rest.strip_prefix("'_ ").or_else(|| rest.strip_prefix("'_, ")).unwrap_or(rest);
        name = rest.strip_prefix("mut ").unwrap_or(rest);
    }
}

#[cfg(test)]
mod tests;
