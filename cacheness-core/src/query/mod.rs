//! Questions about entries as plain data: conditions on fields and on columns of custom metadata, orders and sums, and
//! whether an entry meets them. No I/O.

mod field;
mod order;
#[cfg(test)]
pub(crate) mod properties_tests;
mod schema;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::ops::{BitAnd, BitOr, Not};
use std::str::Chars;

pub use field::{Column, EntryField, Field};
pub use order::Order;
#[cfg(any(feature = "postgresql", feature = "sqlite"))]
pub(crate) use order::successor;
pub(crate) use order::{Admitted, Rank, Span};
pub use schema::{ColumnField, ColumnSchema, ColumnType, ColumnValue, CustomMetadata, Schema};

use crate::entry::Entry;
use crate::error::Result;
use crate::value::Value;

impl Entry {
    /// The custom metadata of type `E` that was stored with it; `None` if there is none of that kind.
    ///
    /// # Errors
    /// [`Serialization`](crate::ErrorKind::Serialization) if it was stored by another version of the type, which this one
    /// cannot read.
    pub fn custom<E: CustomMetadata>(&self) -> Result<Option<E>> {
        self.details.row(E::SCHEMA.name).map(E::from_row).transpose()
    }
}

// Conditions on entries, and patterns of `like`.

/// A condition on entries, made by the methods of [`Field`] and put together by `&`, `|` and `!`.
///
/// ```
/// use cacheness::Field;
/// use cacheness::query::Filter;
///
/// let project = Field::any("project").eq("ml_models");
/// let filter = project & !(Field::metadata("accuracy").lt(0.9) | Field::metadata("draft").eq(true));
///
/// // All of several names and values, as in a listing of what must match:
/// let all = Filter::matching([("experiment", "exp_001"), ("model_type", "xgboost")]);
/// # let _ = (filter, all);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a filter does nothing until entries are listed, touched or deleted by it"]
pub struct Filter(Node);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    On(Field, Test),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
}

/// What is asked of the value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    Eq(Value),
    Ne(Value),
    Lt(Value),
    Le(Value),
    Gt(Value),
    Ge(Value),
    In(Vec<Value>),
    StartsWith(String),
    Contains(String),
    Like(String),
    Present,
}

impl Filter {
    fn on(field: Field, test: Test) -> Self {
        Self(Node::On(field, test))
    }

    /// Every entry.
    pub fn everything() -> Self {
        Self(Node::All(Vec::new()))
    }

    /// Entries where each of these names, taken as [`Field::any`], has the value beside it.
    pub fn matching<N: Into<String>, V: Into<Value>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(Node::All(pairs.into_iter().map(|(name, value)| Field::any(name).eq(value).0).collect()))
    }

    pub(crate) fn node(&self) -> &Node {
        &self.0
    }

    /// The fields that the condition looks at.
    pub(crate) fn fields(&self) -> Vec<&Field> {
        let mut fields = Vec::new();
        self.0.collect_fields(&mut fields);
        fields
    }

    /// Whether an entry meets the condition.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.0.matches(entry)
    }
}

impl Node {
    fn matches(&self, entry: &Entry) -> bool {
        match self {
            Self::On(field, test) => field.of(entry).is_some_and(|value| test.holds(&value)),
            Self::Not(node) => !node.matches(entry),
            Self::All(nodes) => nodes.iter().all(|node| node.matches(entry)),
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(entry)),
        }
    }
}

impl Node {
    fn collect_fields<'f>(&'f self, fields: &mut Vec<&'f Field>) {
        match self {
            Self::On(field, _) => fields.push(field),
            Self::Not(node) => node.collect_fields(fields),
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().for_each(|node| node.collect_fields(fields)),
        }
    }
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        let order = |other: &Value| value.partial_cmp(other);
        match self {
            Self::Eq(other) => value == other,
            Self::Ne(other) => value != other,
            Self::Lt(other) => order(other).is_some_and(Ordering::is_lt),
            Self::Le(other) => order(other).is_some_and(Ordering::is_le),
            Self::Gt(other) => order(other).is_some_and(Ordering::is_gt),
            Self::Ge(other) => order(other).is_some_and(Ordering::is_ge),
            Self::In(others) => others.contains(value),
            Self::StartsWith(start) => value.as_str().is_some_and(|text| text.starts_with(start)),
            Self::Contains(part) => match value {
                Value::Text(text) => text.contains(part),
                Value::List(items) => items.iter().any(|item| item.as_str() == Some(part)),
                _ => false,
            },
            Self::Like(pattern) => value.as_str().is_some_and(|text| like_matches(pattern, text)),
            Self::Present => true,
        }
    }
}

/// Both conditions.
impl BitAnd for Filter {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        match self.0 {
            Node::All(mut nodes) => {
                nodes.push(other.0);
                Self(Node::All(nodes))
            }
            node => Self(Node::All(vec![node, other.0])),
        }
    }
}

/// Either condition, or both.
impl BitOr for Filter {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        match self.0 {
            Node::Any(mut nodes) => {
                nodes.push(other.0);
                Self(Node::Any(nodes))
            }
            node => Self(Node::Any(vec![node, other.0])),
        }
    }
}

/// The opposite.
impl Not for Filter {
    type Output = Self;

    fn not(self) -> Self {
        Self(Node::Not(Box::new(self.0)))
    }
}

// Patterns of `like`: `%` stands for any text, `_` for one character, and a backslash takes the meaning from the
// character behind it.

#[derive(Clone, Copy, PartialEq)]
enum Part {
    AnyText,
    AnyCharacter,
    Character(char),
}

/// The parts of a pattern, read while they are asked for. A backslash at the end stands for itself.
#[derive(Clone)]
struct Parts<'p>(Chars<'p>);

impl Iterator for Parts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        Some(match self.0.next()? {
            '%' => Part::AnyText,
            '_' => Part::AnyCharacter,
            '\\' => Part::Character(self.0.next().unwrap_or('\\')),
            other => Part::Character(other),
        })
    }
}

fn parts(pattern: &str) -> Parts<'_> {
    Parts(pattern.chars())
}

/// Whether the whole text is what the pattern says. Takes at most the product of both lengths: after a mismatch only the
/// last `%` is tried again.
fn like_matches(pattern: &str, text: &str) -> bool {
    let (mut wanted, mut rest) = (parts(pattern), text.chars());
    let mut retry: Option<(Parts<'_>, Chars<'_>)> = None;
    loop {
        let (before, part) = (rest.clone(), wanted.next());
        let goes_on = match part {
            Some(Part::AnyText) => {
                retry = Some((wanted.clone(), before));
                true
            }
            Some(Part::AnyCharacter) => rest.next().is_some(),
            Some(Part::Character(character)) => rest.next() == Some(character),
            None if before.as_str().is_empty() => return true,
            None => false,
        };
        if !goes_on {
            let Some((behind, from)) = &mut retry else { return false };
            if from.next().is_none() {
                return false;
            }
            (wanted, rest) = (behind.clone(), from.clone());
        }
    }
}

/// The text that everything begins with that the pattern matches.
pub(crate) fn like_prefix(pattern: &str) -> String {
    parts(pattern)
        .map_while(|part| if let Part::Character(character) = part { Some(character) } else { None })
        .collect()
}

// Sums and ends of the values of a column.

/// What can be summed up over the entries of a query: a [`Column`], or a [`Field`].
pub trait Measure {
    /// What its values are.
    type Value;

    /// The same as a field.
    fn into_field(self) -> Field;

    /// One of its values from a stored one.
    fn read(value: Value) -> Option<Self::Value>;
}

impl<E, F: ColumnField> Measure for Column<E, F> {
    type Value = F::Value;

    fn into_field(self) -> Field {
        self.into()
    }

    fn read(value: Value) -> Option<F::Value> {
        <F::Value as ColumnValue>::from_value(&value)
    }
}

impl Measure for Field {
    type Value = Value;

    fn into_field(self) -> Field {
        self
    }

    fn read(value: Value) -> Option<Value> {
        Some(value)
    }
}

/// Values that can be added.
#[diagnostic::on_unimplemented(
    message = "values of type `{Self}` cannot be added",
    label = "a sum and an average need numbers"
)]
pub trait Number {
    /// What their sum is: exact where they are whole.
    type Sum;

    /// Their sum.
    fn sum(total: &Total) -> Self::Sum;
}

/// A sum of numbers while it is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Total {
    whole: i128,
    fractions: f64,
    any_fraction: bool,
    count: u64,
}

impl Total {
    /// Adds a value, if it is a number.
    pub(crate) fn add(&mut self, value: &Value) {
        match value {
            // As many numbers of 64 bits as would overflow this fit into no memory.
            Value::Int(number) => self.whole = self.whole.saturating_add((*number).into()),
            Value::UInt(number) => self.whole = self.whole.saturating_add((*number).into()),
            Value::Float(number) => {
                self.fractions += number;
                self.any_fraction = true;
            }
            _ => return,
        }
        self.count += 1;
    }

    fn as_f64(&self) -> f64 {
        self.whole as f64 + self.fractions
    }

    pub(crate) fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.as_f64() / self.count as f64)
    }
}

macro_rules! numbers {
    ($($type:ty),+: $sum:ty, |$total:ident| $read:expr) => { $(
        impl Number for $type {
            type Sum = $sum;

            fn sum($total: &Total) -> $sum {
                $read
            }
        }
    )+ };
}

numbers!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize: i128, |total| total.whole);
numbers!(f32, f64: f64, |total| total.as_f64());

/// Whole where all of them were and the sum is one of 64 bits, else with a fraction.
impl Number for Value {
    type Sum = Self;

    fn sum(total: &Total) -> Self {
        match (total.any_fraction, i64::try_from(total.whole), u64::try_from(total.whole)) {
            (false, Ok(whole), _) => whole.into(),
            (false, _, Ok(whole)) => whole.into(),
            _ => total.as_f64().into(),
        }
    }
}
