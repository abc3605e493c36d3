//! What a user may note beside an entry: plain typed values, kept with it, filtered by later.

use std::borrow::Cow;
use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;

/// The values noted beside one entry, by name.
pub type Metadata = BTreeMap<String, Value>;

/// A value of user metadata.
///
/// Made by `From` out of booleans, numbers, text, times, options, lists and maps:
///
/// ```
/// use cacheness::{Metadata, Value};
///
/// let metadata = Metadata::from([
///     ("city".to_owned(), "London".into()),
///     ("attempts".to_owned(), 3.into()),
///     ("scores".to_owned(), vec![0.5, 0.75].into()),
///     ("region".to_owned(), None::<&str>.into()),
/// ]);
/// assert_eq!(metadata["attempts"], Value::Int(3));
/// assert_eq!(metadata["scores"].to_string(), "[0.5, 0.75]");
/// ```
///
/// Two values are compared by kind: numbers with numbers, exactly, whether they have a fraction or not; text with text
/// by its bytes; times with times; lists and maps item by item. Values of different kinds are neither equal nor in any order, and neither
/// is NaN with anything:
///
/// ```
/// # use cacheness::Value;
/// assert_eq!(Value::from(1), Value::from(1.0));
/// assert!(Value::from(9_007_199_254_740_993_i64) > Value::from(9_007_199_254_740_992.0));
/// assert_ne!(Value::from(1), Value::from("1"));
/// assert_eq!(Value::from(1).partial_cmp(&Value::from("1")), None);
/// ```
///
/// Lists and maps may stand inside each other 32 deep; encoding or decoding deeper ones is an error.
//
// Entries on disk hold the position of a variant: new ones go to the end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Value {
    /// Nothing: what `None` becomes.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number too large for [`Int`](Self::Int). `From` chooses `Int` wherever it can hold the number.
    UInt(u64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
    /// Values in order.
    #[serde(serialize_with = "serialize_nested", deserialize_with = "deserialize_nested")]
    List(Vec<Value>),
    /// Values by name.
    #[serde(serialize_with = "serialize_nested", deserialize_with = "deserialize_nested")]
    Map(BTreeMap<String, Value>),
    /// A point in time.
    Timestamp(Timestamp),
    /// A length of time.
    Duration(Duration),
}

impl Value {
    /// Whether this is [`Null`](Self::Null).
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The truth value, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The whole number, if this is one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        self.whole().and_then(|number| i64::try_from(number).ok())
    }

    /// The whole number, if this is one that fits.
    pub fn as_u64(&self) -> Option<u64> {
        self.whole().and_then(|number| u64::try_from(number).ok())
    }

    /// The number, if this is one; a whole one beyond 2⁵³ is rounded.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            _ => self.whole().map(|number| number as f64),
        }
    }

    /// The point in time, if this is one.
    pub fn as_timestamp(&self) -> Option<Timestamp> {
        if let Self::Timestamp(time) = self { Some(*time) } else { None }
    }

    /// The length of time, if this is one.
    pub fn as_duration(&self) -> Option<Duration> {
        if let Self::Duration(time) = self { Some(*time) } else { None }
    }

    /// The text, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn whole(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some((*number).into()),
            Self::UInt(number) => Some((*number).into()),
            _ => None,
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Null, Self::Null) => Some(Ordering::Equal),
            (Self::Bool(a), Self::Bool(b)) => a.partial_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.partial_cmp(b),
            (Self::List(a), Self::List(b)) => a.partial_cmp(b),
            (Self::Map(a), Self::Map(b)) => a.partial_cmp(b),
            (Self::Timestamp(a), Self::Timestamp(b)) => a.partial_cmp(b),
            (Self::Duration(a), Self::Duration(b)) => a.partial_cmp(b),
            _ => compare_numbers(self, other),
        }
    }
}

fn compare_numbers(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Float(a), b) => compare_mixed(b.whole()?, *a).map(Ordering::reverse),
        (a, Value::Float(b)) => compare_mixed(a.whole()?, *b),
        (a, b) => a.whole()?.partial_cmp(&b.whole()?),
    }
}

/// Without rounding: a float's whole part fits an `i128`, or is far outside every whole number there is.
fn compare_mixed(whole: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    match whole.cmp(&(float.trunc() as i128)) {
        Ordering::Equal => 0.0.partial_cmp(&float.fract()),
        unequal => Some(unequal),
    }
}

/// For people: text as it is, but quoted inside lists and maps.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            _ => fmt::Debug::fmt(&Inner(self), f),
        }
    }
}

/// A value as it stands inside others.
struct Inner<'a>(&'a Value);

impl fmt::Debug for Inner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => fmt::Display::fmt(value, f),
            Value::Int(number) => fmt::Display::fmt(number, f),
            Value::UInt(number) => fmt::Display::fmt(number, f),
            Value::Float(number) => fmt::Debug::fmt(number, f),
            Value::Text(text) => fmt::Debug::fmt(text, f),
            Value::List(values) => f.debug_list().entries(values.iter().map(Inner)).finish(),
            Value::Map(values) => {
                f.debug_map().entries(values.iter().map(|(name, value)| (name, Inner(value)))).finish()
            }
            Value::Timestamp(time) => fmt::Debug::fmt(time, f),
            Value::Duration(time) => fmt::Debug::fmt(time, f),
        }
    }
}

/// `From` by way of a type that another conversion takes without loss.
macro_rules! from_by_way_of {
    ($way:ty as $convert:expr; $($from:ty),+) => { $(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                let convert: fn($way) -> Value = $convert;
                convert(value.into())
            }
        }
    )+ };
}

from_by_way_of!(bool as Value::Bool; bool);
from_by_way_of!(i64 as Value::Int; i8, i16, i32, i64, u8, u16, u32);
from_by_way_of!(f64 as Value::Float; f32, f64);
from_by_way_of!(String as Value::Text; String, &String, &str, &mut str, Box<str>, Cow<'_, str>, char);

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or(Self::UInt(number), Self::Int)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        // No machine that Rust runs on counts further than 64 bits.
        Self::from(number as u64)
    }
}

impl From<isize> for Value {
    fn from(number: isize) -> Self {
        Self::Int(number as i64)
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Timestamp(time)
    }
}

/// To the microsecond.
impl From<SystemTime> for Value {
    fn from(time: SystemTime) -> Self {
        Self::Timestamp(time.into())
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Self::Duration(time)
    }
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::Null
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        values.into_iter().collect()
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    fn from(values: [T; N]) -> Self {
        values.into_iter().collect()
    }
}

impl<T: Clone + Into<Value>> From<&[T]> for Value {
    fn from(values: &[T]) -> Self {
        values.iter().cloned().collect()
    }
}

impl<K: Into<String>, T: Into<Value>> From<BTreeMap<K, T>> for Value {
    fn from(values: BTreeMap<K, T>) -> Self {
        Self::Map(values.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl<K: Into<String>, T: Into<Value>, S> From<HashMap<K, T, S>> for Value {
    fn from(values: HashMap<K, T, S>) -> Self {
        Self::Map(values.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl<T: Into<Value>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

// Lists and maps, encoded and decoded to a limited depth: two bytes from a disk are enough for one more level, and a
// stack that runs out ends the process.

const DEEPEST: usize = 32;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// One level; leaves it when dropped, also by a panic.
struct Level;

impl Level {
    fn enter() -> Result<Self, String> {
        let depth = DEPTH.get();
        if depth == DEEPEST {
            return Err(format!("metadata is nested more than {DEEPEST} deep"));
        }
        DEPTH.set(depth + 1);
        Ok(Self)
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

fn serialize_nested<T: Serialize, S: Serializer>(values: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let _level = Level::enter().map_err(serde::ser::Error::custom)?;
    values.serialize(serializer)
}

fn deserialize_nested<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let _level = Level::enter().map_err(serde::de::Error::custom)?;
    T::deserialize(deserializer)
}

#[cfg(test)]
mod tests;
