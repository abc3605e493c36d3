//! What a type of custom metadata looks like, and the types that its columns may have: plain data.

use std::time::{Duration, SystemTime};

use crate::clock::Timestamp;
use crate::error::{CacheError, ErrorKind, Result};
use crate::value::{Metadata, Value};

/// Typed metadata beside entries, with columns that can be queried: `#[derive(CustomMetadata)]` and
/// `#[metadata(name = "experiments")]` on a struct.
///
/// A column has the type of its field: booleans, integers up to 64 bits, `f32`, `f64`, `String`,
/// [`Timestamp`](crate::Timestamp), `SystemTime` (to the microsecond), `Duration`, whatever implements [`ColumnValue`](crate::ColumnValue), and
/// `Option` of those. For each field the derive adds a constant to the struct, named as the field in capitals and as
/// visible as that, of type [`Column`](crate::Column): `Experiment::ACCURACY`.
///
/// A row is written whole and carries the names of its columns, so that a type may change:
///
/// - A field that is new is `None` in older rows, or the default of its type with `#[metadata(default)]`; without either,
///   reading such a row is an error. In conditions and orders older rows have null there.
/// - A field that is gone is ignored.
/// - A field whose type is another one now makes reading an older row an error, which names the kind, the column and both
///   types.
///
/// By hand:
///
/// ```
/// use cacheness::query::{Column, ColumnSchema, Schema};
/// use cacheness::{Cache, CustomMetadata, Metadata, PutOptions, Result};
///
/// struct Run {
///     minutes: u32,
/// }
///
/// impl Run {
///     const MINUTES: Column<Run, u32> = Column::new("runs", "minutes");
/// }
///
/// impl CustomMetadata for Run {
///     const SCHEMA: &'static Schema = &Schema::new("runs", &[ColumnSchema::of::<u32>("minutes").indexed()]);
///
///     fn to_row(&self) -> Metadata {
///         [("minutes".to_owned(), self.minutes.into())].into()
///     }
///
///     fn from_row(row: &Metadata) -> Result<Self> {
///         Ok(Self { minutes: Self::SCHEMA.read(row, "minutes")? })
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let cache = Cache::in_memory();
/// cache.put_with("run 1", &"a result".to_owned(), PutOptions::new().custom(&Run { minutes: 90 }))?;
/// let long = cache.query::<Run>().filter(Run::MINUTES.gt(60)).all()?;
/// assert_eq!((long.len(), long[0].minutes), (1, 90));
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not custom metadata",
    label = "this type has no columns",
    note = "derive `CustomMetadata` for a struct with named fields"
)]
#[doc(alias = "CustomMetadataBase")]
pub trait CustomMetadata: Sized + 'static {
    /// The name of the kind, and its columns.
    const SCHEMA: &'static Schema;

    /// The values by the names of the columns.
    fn to_row(&self) -> Metadata;

    /// The value that a row was made of, perhaps by another version of the type.
    ///
    /// # Errors
    /// [`Serialization`](ErrorKind::Serialization) if a column has another type, or none of the values it must have.
    fn from_row(row: &Metadata) -> Result<Self>;
}

/// The name of a kind of custom metadata, and its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Schema {
    /// The name of the kind, by which queries find its rows. A name is data: it may have any characters, but some.
    pub name: &'static str,
    /// The columns.
    pub columns: &'static [ColumnSchema],
}

/// One column of a kind of custom metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColumnSchema {
    /// Its name.
    pub name: &'static str,
    /// Of which type its values are.
    pub column_type: ColumnType,
    /// Whether a row may have null there.
    pub nullable: bool,
    /// Whether no two entries may have the same value there. Such a column is indexed, too.
    pub unique: bool,
    /// Whether conditions on it find their rows without a look at all of the kind.
    pub indexed: bool,
}

/// Of which type the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ColumnType {
    /// True or false.
    Bool,
    /// A whole number of up to 64 bits.
    Integer,
    /// A number with a fraction.
    Float,
    /// Text.
    Text,
    /// A point in time.
    Timestamp,
    /// A length of time.
    Duration,
}

impl ColumnType {
    /// Its name, as errors write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Text => "text",
            Self::Timestamp => "timestamp",
            Self::Duration => "duration",
        }
    }

    /// The type of a stored value; `None` for null, lists and maps.
    pub(crate) const fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(_) => Some(Self::Bool),
            Value::Int(_) | Value::UInt(_) => Some(Self::Integer),
            Value::Float(_) => Some(Self::Float),
            Value::Text(_) => Some(Self::Text),
            Value::Timestamp(_) => Some(Self::Timestamp),
            Value::Duration(_) => Some(Self::Duration),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether a stored value is of this type, or null.
    pub(crate) fn holds(self, value: &Value) -> bool {
        value.is_null() || Self::of(value) == Some(self)
    }
}

/// The type of a stored value, for errors.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match (ColumnType::of(value), value) {
        (Some(column_type), _) => column_type.name(),
        (None, Value::List(_)) => "list",
        (None, Value::Map(_)) => "map",
        (None, _) => "null",
    }
}

impl ColumnSchema {
    /// A column for fields of this type.
    pub const fn of<F: ColumnField>(name: &'static str) -> Self {
        Self::new(name, F::TYPE, F::NULLABLE)
    }

    /// A column of this type, which may have null or not.
    pub const fn new(name: &'static str, column_type: ColumnType, nullable: bool) -> Self {
        Self { name, column_type, nullable, unique: false, indexed: false }
    }

    /// No two entries may have the same value there.
    #[must_use]
    pub const fn unique(self) -> Self {
        Self { unique: true, indexed: true, ..self }
    }

    /// Conditions on it find their rows without a look at all of the kind.
    #[must_use]
    pub const fn indexed(self) -> Self {
        Self { indexed: true, ..self }
    }
}

impl Schema {
    /// A kind with this name and these columns.
    pub const fn new(name: &'static str, columns: &'static [ColumnSchema]) -> Self {
        Self { name, columns }
    }

    /// The value of a field from a row, for [`CustomMetadata::from_row`].
    ///
    /// # Errors
    /// [`Serialization`](ErrorKind::Serialization) if the row has a value of another type, or none and the field needs one.
    pub fn read<F: ColumnField>(&self, row: &Metadata, column: &str) -> Result<F> {
        let value = row.get(column).unwrap_or(&Value::Null);
        F::from_value(value).ok_or_else(|| self.unreadable::<F>(column, value))
    }

    /// [`read`](Self::read) that gives the default of the type where the row has no value.
    ///
    /// # Errors
    /// [`Serialization`](ErrorKind::Serialization) if the row has a value of another type.
    #[doc(alias = "migrate_custom_metadata_tables")]
    pub fn read_or_default<F: ColumnField + Default>(&self, row: &Metadata, column: &str) -> Result<F> {
        match row.get(column) {
            None | Some(Value::Null) => Ok(F::default()),
            Some(_) => self.read(row, column),
        }
    }

    fn unreadable<F: ColumnField>(&self, column: &str, value: &Value) -> CacheError {
        let wanted = F::TYPE;
        let message = if value.is_null() {
            format!(
                "column `{column}` of custom metadata `{}` has no value in this row, and the type needs one ({}): let the \
                 field be an `Option`, or give it `#[metadata(default)]`",
                self.name,
                wanted.name()
            )
        } else if wanted.holds(value) {
            let shown: String = value.to_string().chars().take(64).collect();
            format!(
                "column `{column}` of custom metadata `{}` has {shown}, which is not a `{}`",
                self.name,
                std::any::type_name::<F>()
            )
        } else {
            another_type(self.name, column, value, wanted)
        };
        CacheError::new(ErrorKind::Serialization, message)
    }
}

/// What to say of a value that a column of this type cannot have.
pub(crate) fn another_type(kind: &str, column: &str, value: &Value, wanted: ColumnType) -> String {
    format!(
        "column `{column}` of custom metadata `{kind}` is {} in this row, and {} in the type: give the field another name, \
         or store the entries anew",
        type_name(value),
        wanted.name()
    )
}

// The types that columns of custom metadata may have.

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
