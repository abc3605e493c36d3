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

mod tracer;

use std::any::type_name;
use std::cell::RefCell;
use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};
use std::mem::discriminant;

use serde::{Serialize, ser};

use super::guard::MAX_DEPTH;
use crate::key::is_unordered;
use crate::util::digest::checksum;
use tracer::{Compound, Tracer};

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

// What a value shows to serde, part by part, to tell how two values differ, and people where. Only for values in doubt.

/// Parts that are noted of one value.
const MAX_PARTS: usize = 20_000;

/// One part: where it is, what it is, of which type, and its contents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    place: String,
    kind: Kind,
    of: &'static str,
    contents: u64,
}

#[derive(Default)]
struct Notes {
    place: String,
    types: Vec<&'static str>,
    parts: Vec<Part>,
}

thread_local! {
    static NOTES: RefCell<Notes> = RefCell::default();
}

/// While a part is traced.
struct Within {
    before: Option<usize>,
}

impl Drop for Within {
    #[inline]
    fn drop(&mut self) {
        let Some(before) = self.before else { return };
        NOTES.with_borrow_mut(|notes| {
            notes.place.truncate(before);
            notes.types.pop();
        });
    }
}

/// Begins a part.
#[inline]
fn enter_part<const VIEW: u8, T: ?Sized>(label: &str) -> Within {
    if VIEW < JOURNAL {
        return Within { before: None };
    }
    let before = NOTES.with_borrow_mut(|notes| {
        let before = notes.place.len();
        if before > 0 && !label.is_empty() && !label.starts_with('[') {
            notes.place.push('.');
        }
        notes.place.push_str(label);
        notes.types.push(type_name::<T>());
        before
    });
    Within { before: Some(before) }
}

/// Notes what the part that began last is.
#[inline]
fn note_part<const VIEW: u8>(kind: Kind, contents: u64) {
    if VIEW < JOURNAL {
        return;
    }
    NOTES.with_borrow_mut(|notes| {
        if notes.parts.len() < MAX_PARTS {
            let of = notes.types.last().copied().unwrap_or_default();
            notes.parts.push(Part { place: notes.place.clone(), kind, of, contents });
        }
    });
}

/// How two values differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Difference {
    None,
    /// Elements came in another order.
    Order,
    /// A part, as people are told. None if there are very many parts.
    Part(Option<String>),
}

/// The hash of a value, whatever its order, and its parts.
fn parts_of<T: Serialize>(value: &T) -> (Option<u64>, Vec<Part>) {
    NOTES.take();
    NOTES.with_borrow_mut(|notes| notes.types.push(type_name::<T>()));
    let traced = trace::<JOURNAL>(value);
    (traced.ok().map(|trace| trace.hash), NOTES.take().parts)
}

/// How two values differ in what they show. Slow: each part is noted.
pub(super) fn difference<T: Serialize>(written: &T, read: &T) -> Difference {
    let ((one, mut written), (other, mut read)) = (parts_of(written), parts_of(read));
    if one.is_none() || one != other {
        written.sort();
        read.sort();
        return Difference::Part(first_difference(&written, &read));
    }
    if written == read { Difference::None } else { Difference::Order }
}

fn first_difference(written: &[Part], read: &[Part]) -> Option<String> {
    let (one, other) = written.iter().zip(read).find(|(one, other)| one != other)?;
    let place = if one.place.is_empty() { "the value itself".to_owned() } else { format!("`{}`", one.place) };
    Some(if one.place != other.place || (one.kind, one.of) == (other.kind, other.of) {
        format!("became another value: {place}, {:?} of `{}`, did not come back as it was", one.kind, one.of)
    } else {
        let (was, is) = ((one.kind, one.of), (other.kind, other.of));
        format!("became another value: {place} was {:?} of `{}` and became {:?} of `{}`", was.0, was.1, is.0, is.1)
    })
}

// Tags of internally tagged enums, as they are seen while a value is traced.

/// A tag: the struct it stands in, the name of its field, and its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag {
    within: u64,
    field: u64,
    text: u64,
}

impl Tag {
    /// What stands for a text: as the tracer has it.
    pub(super) fn mark_of(text: &str) -> u64 {
        mix(mix(Kind::Str as u64, 0), checksum(text.as_bytes()))
    }

    pub(super) fn is(self, field: u64, text: u64) -> bool {
        (self.field, self.text) == (field, text)
    }

    /// What stands for the field, whatever its text is.
    pub(super) fn of_any_text(self) -> Self {
        Self { text: 0, ..self }
    }

    pub(super) fn mark(self) -> u64 {
        mix(self.within, mix(self.field, self.text))
    }
}

thread_local! {
    static TAGS: RefCell<Vec<Tag>> = const { RefCell::new(Vec::new()) };
}

/// Notes a part if it is a tag: only serde's derive writes a bare `str`; a field is at least a reference to one.
#[inline]
fn note_tag<const VIEW: u8, T: ?Sized>(within: u64, field: impl FnOnce() -> u64, text: u64) {
    if VIEW == CONTENTS && type_name::<T>() == "str" {
        TAGS.with_borrow_mut(|tags| tags.push(Tag { within, field: field(), text }));
    }
}

/// The contents of a value, and its tags.
pub(super) fn trace_with_tags(value: &impl Serialize) -> Result<(Trace, Vec<Tag>), Untraceable> {
    TAGS.take();
    let trace = trace::<CONTENTS>(value)?;
    Ok((trace, TAGS.take()))
}
