//! What a type of custom metadata looks like: plain data.

use super::value::ColumnField;
use crate::error::{CacheError, ErrorKind, Result};
use crate::value::{Metadata, Value};

/// Typed metadata beside entries, with columns that can be queried: `#[derive(CustomMetadata)]` and
/// `#[metadata(name = "experiments")]` on a struct.
///
/// A column has the type of its field: booleans, integers up to 64 bits, `f32`, `f64`, `String`,
/// [`Timestamp`](crate::Timestamp), `SystemTime` (to the microsecond), `Duration`, whatever implements [`ColumnValue`](crate::ColumnValue)(crate::ColumnValue), and
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
    message = "`{Self}` is no custom metadata",
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
                "column `{column}` of custom metadata `{}` has {shown}, which is no `{}`",
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
