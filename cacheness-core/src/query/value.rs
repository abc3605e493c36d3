//! The types that columns of custom metadata may have.

use std::time::{Duration, SystemTime};

use super::schema::{ColumnType, Schema};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::value::{Metadata, Value};

/// A type of values in a column of custom metadata.
///
/// Implement it for a type of your own, such as an enum that is stored as text:
///
/// ```
/// use cacheness::Value;
/// use cacheness::query::{ColumnType, ColumnValue};
///
/// #[derive(Clone, Copy, PartialEq)]
/// enum Stage {
///     Draft,
///     Final,
/// }
///
/// impl From<Stage> for Value {
///     fn from(stage: Stage) -> Self {
///         match stage {
///             Stage::Draft => "draft".into(),
///             Stage::Final => "final".into(),
///         }
///     }
/// }
///
/// impl ColumnValue for Stage {
///     const TYPE: ColumnType = ColumnType::Text;
///     type Operand<'a> = Self;
///
///     fn to_value(&self) -> Value {
///         (*self).into()
///     }
///
///     fn from_value(value: &Value) -> Option<Self> {
///         [Self::Draft, Self::Final].into_iter().find(|stage| stage.to_value() == *value)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a column of custom metadata",
    label = "no column can have this type",
    note = "columns are booleans, integers up to 64 bits, `f32`, `f64`, `String`, `Timestamp`, `SystemTime`, `Duration`, \
            `Option` of those, or types that implement `ColumnValue`"
)]
pub trait ColumnValue: Sized {
    /// Of which type the stored values are.
    const TYPE: ColumnType;

    /// What the values of the column are compared with in conditions.
    type Operand<'a>: Into<Value>;

    /// The value as it is stored: one of [`TYPE`](Self::TYPE).
    fn to_value(&self) -> Value;

    /// The value that was stored; `None` if it was none of this type.
    fn from_value(value: &Value) -> Option<Self>;
}

/// A type of fields in custom metadata: a [`ColumnValue`], or an `Option` of one.
///
/// It is implemented for all of them, and by nothing else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a column of custom metadata",
    label = "no column can have this type",
    note = "columns are booleans, integers up to 64 bits, `f32`, `f64`, `String`, `Timestamp`, `SystemTime`, `Duration`, \
            `Option` of those, or types that implement `ColumnValue`"
)]
pub trait ColumnField: Sized {
    /// The values of the column, where it has one.
    type Value: ColumnValue;

    /// Of which type the stored values are.
    const TYPE: ColumnType = <Self::Value as ColumnValue>::TYPE;

    /// Whether the column may have none.
    const NULLABLE: bool;

    /// The value as it is stored.
    fn to_value(&self) -> Value;

    /// The value that was stored; `None` if it was none of this type.
    fn from_value(value: &Value) -> Option<Self>;

    /// As [`Schema::read`].
    ///
    /// # Errors
    /// As [`Schema::read`].
    fn read(schema: &Schema, row: &Metadata, column: &str) -> Result<Self> {
        schema.read(row, column)
    }

    /// As [`Schema::read_or_default`].
    ///
    /// # Errors
    /// As [`Schema::read_or_default`].
    fn read_or_default(schema: &Schema, row: &Metadata, column: &str) -> Result<Self>
    where
        Self: Default,
    {
        schema.read_or_default(row, column)
    }
}

#[diagnostic::do_not_recommend]
impl<T: ColumnValue> ColumnField for T {
    type Value = T;
    const NULLABLE: bool = false;

    fn to_value(&self) -> Value {
        ColumnValue::to_value(self)
    }

    fn from_value(value: &Value) -> Option<Self> {
        ColumnValue::from_value(value)
    }
}

#[diagnostic::do_not_recommend]
impl<T: ColumnValue> ColumnField for Option<T> {
    type Value = T;
    const NULLABLE: bool = true;

    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, ColumnValue::to_value)
    }

    fn from_value(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::from_value(value).map(Some) }
    }
}

macro_rules! columns {
    ($($type:ty: $column:ident, |$value:ident| $read:expr;)+) => { $(
        impl ColumnValue for $type {
            const TYPE: ColumnType = ColumnType::$column;
            type Operand<'a> = Self;

            fn to_value(&self) -> Value {
                (*self).into()
            }

            fn from_value($value: &Value) -> Option<Self> {
                $read
            }
        }
    )+ };
}

macro_rules! integers {
    ($($type:ty),+) => {
        columns! { $($type: Integer, |value| match value {
            Value::Int(number) => (*number).try_into().ok(),
            Value::UInt(number) => (*number).try_into().ok(),
            _ => None,
        };)+ }
    };
}

integers!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);

columns! {
    bool: Bool, |value| value.as_bool();
    f64: Float, |value| if let Value::Float(number) = value { Some(*number) } else { None };
    f32: Float, |value| if let Value::Float(number) = value { as_f32(*number) } else { None };
    Timestamp: Timestamp, |value| value.as_timestamp();
    SystemTime: Timestamp, |value| value.as_timestamp().map(SystemTime::from);
    Duration: Duration, |value| value.as_duration();
}

/// Without loss: a column that was `f64` before may have numbers that `f32` has not.
fn as_f32(number: f64) -> Option<f32> {
    let narrow = number as f32;
    (number.is_nan() || f64::from(narrow) == number).then_some(narrow)
}

impl ColumnValue for String {
    const TYPE: ColumnType = ColumnType::Text;
    type Operand<'a> = &'a str;

    fn to_value(&self) -> Value {
        self.into()
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}
