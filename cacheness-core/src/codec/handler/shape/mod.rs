//! What a value consists of, as one number: a serializer that writes nothing.
//!
//! The shape ([`SHAPE`]) covers kinds of primitives, names of structs, fields and variants with their order, `Some` and
//! `None`, and lengths; not the contents of strings and numbers. [`CONTENTS`] covers these too. Elements of sequences and
//! maps count in any order, since a `HashMap` comes out in another order than it went in.
//!
//! It runs at each read from disk, so it allocates nothing and costs a few multiplications per value: a vector of numbers
//! is one multiplication in all, since the compiler sees that all elements are the same. The numbers are written to disk:
//! a change of anything here makes every stored value a miss.
//!
//! [`PROOF`] covers also the names of the Rust types that a value shows on its way: an untagged `Day(NaiveDate)` shows
//! another one than `Text(String)`; and the order of elements, unless their owner is known by its name to have none, as a
//! `HashMap`. Two such numbers are compared at once and never written.

mod compound;
mod journal;
mod tag;
mod tracer;

use std::any::type_name;
use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};
use std::mem::discriminant;

use serde::{Serialize, ser};

use self::compound::Compound;
pub(super) use self::journal::Difference;
pub(super) use self::tag::{Tag, trace_with_tags};
use self::tracer::Tracer;
use super::guard::MAX_DEPTH;
use crate::key::is_unordered;

/// What has been found out about a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trace {
    /// The shape.
    pub(super) hash: u64,
    /// Its length as bincode.
    pub(super) size: u64,
    /// Elements of its sequences and maps, at all levels.
    pub(super) elements: u64,
    /// Whether only a format that describes itself can express it: it leaves out fields or does not know its length.
    pub(super) needs_names: bool,
}

/// What of a value is covered.
pub(super) const SHAPE: u8 = 0;
pub(super) const CONTENTS: u8 = 1;
pub(super) const PROOF: u8 = 2;
/// As [`PROOF`], but in any order, and each part is noted.
const JOURNAL: u8 = 3;

/// What of a value `VIEW` covers.
pub(super) fn trace<const VIEW: u8>(value: &impl Serialize) -> Result<Trace, Untraceable> {
    value.serialize(Tracer::<VIEW>::of(value, 0))
}

/// The trace of a vector of `len` numbers that each have the trace `each`.
pub(super) fn trace_of_repeated(each: Trace, len: u64) -> Trace {
    Compound::<SHAPE>::of_repeated(each, len)
}

/// How two values differ in what they show. Slow: each part is noted.
pub(super) fn difference<T: Serialize>(written: &T, read: &T) -> Difference {
    journal::difference(written, read)
}

/// Which variant of an enum a value is; 0 of anything else. Serde does not show it of untagged and internally tagged ones.
pub(super) fn variant<T>(value: &T) -> u64 {
    let mut index = Index(0);
    discriminant(value).hash(&mut index);
    index.0.wrapping_mul(0x9fb2_1c65_1e98_df25)
}

struct Index(u64);

impl Hasher for Index {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = (self.0 << 8) | u64::from(*byte));
    }

    #[inline]
    fn write_isize(&mut self, index: isize) {
        self.0 = index as u64;
    }
}

/// What stands for a type where types count.
#[inline]
fn type_mark<const VIEW: u8, T: ?Sized>() -> u64 {
    if VIEW >= PROOF { name(type_name::<T>()) } else { 0 }
}

/// Whether the order of the elements of this type means nothing. Names that end in no `>` have no elements of their own
/// choice, which the compiler sees.
#[inline]
fn in_any_order<const VIEW: u8, T: ?Sized>() -> bool {
    VIEW == PROOF && type_name::<T>().ends_with('>') && is_unordered(type_name::<T>())
}

/// The trace of a part of this type.
#[inline]
fn with_type<const VIEW: u8, T: ?Sized>(part: Trace) -> Trace {
    if VIEW >= PROOF { Trace { hash: mix(part.hash, type_mark::<VIEW, T>()), ..part } } else { part }
}

/// Why there is no trace.
#[derive(Debug)]
pub(super) enum Untraceable {
    TooDeep,
    /// The type's `Serialize` says so.
    Refused(String),
}

impl Display for Untraceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooDeep => write!(f, "it is nested more than {MAX_DEPTH} levels deep"),
            Self::Refused(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Untraceable {}

impl ser::Error for Untraceable {
    fn custom<T: Display>(message: T) -> Self {
        Self::Refused(message.to_string())
    }
}

/// The numbers are part of what is written to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Bool = 1,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Str,
    Bytes,
    None,
    Some,
    Unit,
    UnitStruct,
    UnitVariant,
    NewtypeStruct,
    NewtypeVariant,
    Seq,
    Tuple,
    TupleStruct,
    TupleVariant,
    Map,
    Struct,
    StructVariant,
    /// Text that `Display` makes: a date, an address.
    Displayed,
}

/// Lengths and variant indexes as bincode writes them.
const LENGTH: u64 = 8;
const INDEX: u64 = 4;

pub(super) const fn mix(a: u64, b: u64) -> u64 {
    let product = (a ^ 0x9e37_79b9_7f4a_7c15) as u128 * (b ^ 0xd1b5_4a32_d192_ed03) as u128;
    (product as u64) ^ (product >> 64) as u64
}

/// A name of the program's source. Short and constant: cheaper folded than hashed.
#[inline]
fn name(text: &str) -> u64 {
    let (whole, rest) = text.as_bytes().as_chunks::<8>();
    let hash = whole.iter().fold(text.len() as u64, |hash, chunk| mix(hash, u64::from_le_bytes(*chunk)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(hash, u64::from_le_bytes(last))
}
