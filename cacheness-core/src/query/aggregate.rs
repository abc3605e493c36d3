//! Sums and ends of the values of a column.

use super::column::Column;
use super::field::Field;
use super::value::{ColumnField, ColumnValue};
use crate::value::Value;

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
