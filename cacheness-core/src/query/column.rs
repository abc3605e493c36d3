//! Typed columns of custom metadata, and sums over their values.

use std::fmt;
use std::marker::PhantomData;

use super::Filter;
use super::field::Field;
use super::order::Order;
use super::schema::{ColumnField, ColumnValue};
use crate::value::Value;

/// A column of custom metadata of type `E`, for a field of type `F`. The derive of
/// [`CustomMetadata`](crate::CustomMetadata) makes one for each field.
///
/// Its methods make conditions on entries, which a query takes, and everything else that takes a [`Filter`]. Conditions on
/// several kinds may be put together: they speak of the same entry. An entry without a value in the column, or without
/// metadata of the kind, is met by none of them but [`is_null`](Self::is_null).
///
/// ```
/// # use cacheness::query::{Column, ColumnSchema, Schema};
/// # use cacheness::{Cache, CustomMetadata, Metadata, PutOptions, Result};
/// # struct Run { minutes: u32 }
/// # impl Run { const MINUTES: Column<Run, u32> = Column::new("runs", "minutes"); }
/// # impl CustomMetadata for Run {
/// #     const SCHEMA: &'static Schema = &Schema::new("runs", &[ColumnSchema::of::<u32>("minutes")]);
/// #     fn to_row(&self) -> Metadata { [("minutes".to_owned(), self.minutes.into())].into() }
/// #     fn from_row(row: &Metadata) -> Result<Self> { Ok(Self { minutes: Self::SCHEMA.read(row, "minutes")? }) }
/// # }
/// # fn main() -> Result<()> {
/// let cache = Cache::in_memory();
/// for minutes in [30, 60, 90] {
///     cache.put_with(minutes, &minutes, PutOptions::new().custom(&Run { minutes }))?;
/// }
/// let longest_first = cache.query::<Run>().filter(Run::MINUTES.ge(60)).order_by(Run::MINUTES.desc()).all()?;
/// assert_eq!(longest_first.iter().map(|run| run.minutes).collect::<Vec<_>>(), [90, 60]);
/// assert_eq!(cache.delete_matching(&Run::MINUTES.in_([30, 90]))?, 2);
/// # Ok(())
/// # }
/// ```
pub struct Column<E, F> {
    kind: &'static str,
    name: &'static str,
    of: PhantomData<fn() -> (E, F)>,
}

/// What values of a column are compared with.
type Operand<'a, F> = <<F as ColumnField>::Value as ColumnValue>::Operand<'a>;

impl<E, F> Column<E, F> {
    /// The column of this name in the kind of this name.
    pub const fn new(kind: &'static str, name: &'static str) -> Self {
        Self { kind, name, of: PhantomData }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<E, F: ColumnField> Column<E, F> {
    /// Entries whose value equals this one.
    pub fn eq(self, value: Operand<'_, F>) -> Filter {
        Field::from(self).eq(value)
    }

    /// Entries that have another value than this one.
    pub fn ne(self, value: Operand<'_, F>) -> Filter {
        Field::from(self).ne(value)
    }

    /// Entries whose value is less.
    pub fn lt(self, value: Operand<'_, F>) -> Filter {
        Field::from(self).lt(value)
    }

    /// Entries whose value is less or equal.
    pub fn le(self, value: Operand<'_, F>) -> Filter {
        Field::from(self).le(value)
    }

    /// Entries whose value is greater.
    pub fn gt(self, value: Operand<'_, F>) -> Filter {
        Field::from(self).gt(value)
    }

    /// Entries whose value is greater or equal.
    pub fn ge(self, value: Operand<'_, F>) -> Filter {
        Field::from(self).ge(value)
    }

    /// Entries whose value is one of these.
    pub fn in_<'a>(self, values: impl IntoIterator<Item = Operand<'a, F>>) -> Filter {
        Field::from(self).is_in(values)
    }

    /// Entries without a value.
    pub fn is_null(self) -> Filter {
        Field::from(self).is_missing()
    }

    /// Entries with a value.
    pub fn is_not_null(self) -> Filter {
        Field::from(self).is_present()
    }

    /// The least value first; entries without one come last.
    pub fn asc(self) -> Order {
        Field::from(self).asc()
    }

    /// The greatest value first; entries without one come last.
    pub fn desc(self) -> Order {
        Field::from(self).desc()
    }
}

impl<E, F: ColumnField<Value = String>> Column<E, F> {
    /// Entries whose text is what the pattern says: `%` stands for any text, `_` for one character, and a backslash takes
    /// the meaning from the character behind it. Upper and lower case differ.
    pub fn like(self, pattern: &str) -> Filter {
        Field::from(self).like(pattern)
    }

    /// Entries whose text begins with this one.
    pub fn starts_with(self, start: &str) -> Filter {
        Field::from(self).starts_with(start)
    }

    /// Entries whose text has this one in it.
    pub fn contains(self, part: &str) -> Filter {
        Field::from(self).contains(part)
    }
}

impl<E, F: ColumnField> From<Column<E, F>> for Field {
    fn from(column: Column<E, F>) -> Self {
        Self::typed(column.kind, column.name, F::TYPE)
    }
}

impl<E, F> Clone for Column<E, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E, F> Copy for Column<E, F> {}

impl<E, F> fmt::Debug for Column<E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Column({:?}, {:?})", self.kind, self.name)
    }
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
