//! What a value consists of, as one number: a serializer that writes nothing.
//!
//! The shape covers kinds of primitives, names of structs, fields and variants with their order, `Some` and `None`, and
//! lengths; not the contents of strings and numbers. With `CONTENTS` it covers these too. Elements of sequences and maps
//! count in any order, since a `HashMap` comes out in another order than it went in.
//!
//! It runs at each read from disk, so it allocates nothing and costs a few multiplications per value: a vector of numbers
//! is one multiplication in all, since the compiler sees that all elements are the same. The numbers are written to disk:
//! a change of anything here makes every stored value a miss.

mod compound;
mod tracer;

use std::fmt::{self, Display};

use serde::{Serialize, ser};

use self::compound::Compound;
use self::tracer::Tracer;
use super::guard::MAX_DEPTH;

/// What has been found out about a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trace {
    /// The shape.
    pub(super) hash: u64,
    /// Its length as bincode.
    pub(super) size: u64,
    /// Elements of its sequences and maps, at all levels.
    pub(super) elements: u64,
    /// One bit for each kind of value, and one for the variants, seen anywhere in it (some variants share a bit).
    pub(super) marks: u64,
}

/// The mark of a value that leaves out fields or does not know its length.
const NEEDS_NAMES: u64 = 1;
/// Bits of marks from this one on stand for variants.
const VARIANT_MARKS: u32 = 32;

impl Trace {
    /// Whether only a format that describes itself can express it.
    pub(super) fn needs_names(&self) -> bool {
        self.marks & NEEDS_NAMES != 0
    }

    fn variant_mark(hash: u64) -> u64 {
        1 << (VARIANT_MARKS + (hash >> 59) as u32)
    }
}

/// The shape of a value, or its contents too.
pub(super) fn trace<const CONTENTS: bool>(value: &impl Serialize) -> Result<Trace, Untraceable> {
    value.serialize(Tracer::<CONTENTS>::at(0))
}

/// The trace of a vector of `len` numbers that each have the trace `each`.
pub(super) fn trace_of_repeated(each: Trace, len: u64) -> Trace {
    Compound::<false>::of_repeated(each, len)
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

/// Each is a bit of the marks; bit 0 is [`NEEDS_NAMES`].
#[derive(Clone, Copy)]
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
}

/// Lengths and variant indexes as bincode writes them.
const LENGTH: u64 = 8;
const INDEX: u64 = 4;

const fn mix(a: u64, b: u64) -> u64 {
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
