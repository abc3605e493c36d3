//! What conditions are about: typed columns of custom metadata, and fields of an entry by their names.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use super::order::Order;
use super::schema::{ColumnField, ColumnType, ColumnValue, another_type};
use super::{Filter, Test};
use crate::entry::Entry;
use crate::error::{CacheError, ErrorKind, Result};
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

/// What a [`Filter`] looks at: a value of the user's metadata, a column of custom metadata, a parameter of the key, or what
/// the cache itself knows of an entry.
///
/// A name is a name, whatever characters it has. The methods make filters. They compare by kind as [`Value`] does, so
/// that `1` is `1.0` and never `"1"`: a value of another kind is [another value](Self::ne), and in no order. An entry that
/// lacks the field is met by none of them but [`is_missing`](Self::is_missing).
///
/// ```
/// use cacheness::query::EntryField;
/// use cacheness::{Cache, Field, PutOptions, params};
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = Cache::in_memory();
/// cache.put_with(params! { run: 1 }, &vec![0u8; 2000], PutOptions::new().metadata("accuracy", 0.91))?;
/// cache.put_with(params! { run: 2 }, &vec![0u8; 3000], PutOptions::new().metadata("accuracy", 0.85))?;
///
/// let good = Field::metadata("accuracy").ge(0.9);
/// let late = Field::param("run").gt(1) & Field::from(EntryField::RawSize).gt(1000);
/// assert_eq!(cache.list_entries().matching(good).count(), 1);
/// assert_eq!(cache.delete_matching(&late)?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Field(Place);

#[derive(Clone, Debug, PartialEq)]
enum Place {
    Metadata(String),
    Param(String),
    Entry(EntryField),
    Any(String, Option<EntryField>),
    Custom { kind: Cow<'static, str>, column: Cow<'static, str>, column_type: Option<ColumnType> },
}

impl Field {
    /// A value of the user's metadata, by its name.
    pub fn metadata(name: impl Into<String>) -> Self {
        Self(Place::Metadata(name.into()))
    }

    /// A named parameter of the key, or a named argument of the cached function, if the configuration keeps them
    /// (`metadata.store_cache_key_params`). Entries that have none of this name meet no condition on it: those put
    /// while the configuration kept none, those of `skip`ped arguments, and those of functions with another name for it.
    pub fn param(name: impl Into<String>) -> Self {
        Self(Place::Param(name.into()))
    }

    /// A column of custom metadata, by the names of its kind and of itself. Where the type is known,
    /// [`Column`](crate::Column) is the same with types.
    pub fn custom(kind: impl Into<String>, column: impl Into<String>) -> Self {
        Self(Place::Custom { kind: kind.into().into(), column: column.into().into(), column_type: None })
    }

    pub(super) fn typed(kind: &'static str, column: &'static str, column_type: ColumnType) -> Self {
        Self(Place::Custom { kind: kind.into(), column: column.into(), column_type: Some(column_type) })
    }

    /// What goes by this name: the user's metadata, else a parameter of the key, else what the cache knows.
    pub fn any(name: impl Into<String>) -> Self {
        let name = name.into();
        let known = EntryField::named(&name);
        Self(Place::Any(name, known))
    }

    /// Entries whose value equals this one.
    pub fn eq(self, value: impl Into<Value>) -> Filter {
        Filter::on(self, Test::Eq(value.into()))
    }

    /// Entries that have another value than this one; those without any are not met.
    pub fn ne(self, value: impl Into<Value>) -> Filter {
        Filter::on(self, Test::Ne(value.into()))
    }

    /// Entries whose value is less.
    pub fn lt(self, value: impl Into<Value>) -> Filter {
        Filter::on(self, Test::Lt(value.into()))
    }

    /// Entries whose value is less or equal.
    pub fn le(self, value: impl Into<Value>) -> Filter {
        Filter::on(self, Test::Le(value.into()))
    }

    /// Entries whose value is greater.
    pub fn gt(self, value: impl Into<Value>) -> Filter {
        Filter::on(self, Test::Gt(value.into()))
    }

    /// Entries whose value is greater or equal.
    pub fn ge(self, value: impl Into<Value>) -> Filter {
        Filter::on(self, Test::Ge(value.into()))
    }

    /// Entries whose value is one of these.
    pub fn is_in<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Filter {
        Filter::on(self, Test::In(values.into_iter().map(Into::into).collect()))
    }

    /// Entries whose value is a text that begins with this one.
    pub fn starts_with(self, start: impl Into<String>) -> Filter {
        Filter::on(self, Test::StartsWith(start.into()))
    }

    /// Entries whose value is a text with this text in it, or a list with this text as one of its items.
    pub fn contains(self, part: impl Into<String>) -> Filter {
        Filter::on(self, Test::Contains(part.into()))
    }

    /// Entries whose value is a text that the pattern matches as a whole: `%` stands for any text, `_` for one character,
    /// and a backslash takes the meaning from the character behind it. Upper and lower case differ.
    pub fn like(self, pattern: impl Into<String>) -> Filter {
        Filter::on(self, Test::Like(pattern.into()))
    }

    /// Entries that have the field, with whatever value but null.
    pub fn is_present(self) -> Filter {
        Filter::on(self, Test::Present)
    }

    /// Entries that lack the field, or have null in it.
    pub fn is_missing(self) -> Filter {
        !self.is_present()
    }

    /// The least value first; entries without one come last.
    pub fn asc(self) -> Order {
        Order::by(self, false)
    }

    /// The greatest value first; entries without one come last.
    pub fn desc(self) -> Order {
        Order::by(self, true)
    }

    /// The name and type of the column, if it is one of this kind.
    pub(super) fn column_of(&self, kind: &str) -> Option<(&str, Option<ColumnType>)> {
        let (of, column, column_type) = self.as_column()?;
        (of == kind).then_some((column, column_type))
    }

    /// Kind, name and type, if it is a column.
    pub(crate) fn as_column(&self) -> Option<(&str, &str, Option<ColumnType>)> {
        match &self.0 {
            Place::Custom { kind, column, column_type } => Some((kind, column, *column_type)),
            _ => None,
        }
    }

    /// That the entry has no value in this column, or one of the type that it must have.
    ///
    /// # Errors
    /// [`Serialization`](ErrorKind::Serialization) if it has another one.
    pub(crate) fn check_type(&self, entry: &Entry) -> Result<()> {
        let Some((kind, column, Some(column_type))) = self.as_column() else { return Ok(()) };
        match entry.details.row(kind).and_then(|row| row.get(column)) {
            Some(value) if !column_type.holds(value) => {
                let message = format!("entry {}: {}", entry.key, another_type(kind, column, value, column_type));
                Err(CacheError::new(ErrorKind::Serialization, message))
            }
            _ => Ok(()),
        }
    }

    /// The value that an entry has in this field.
    pub(crate) fn of<'e>(&self, entry: &'e Entry) -> Option<Cow<'e, Value>> {
        let value = match &self.0 {
            Place::Metadata(name) => entry.metadata().get(name).map(Cow::Borrowed),
            Place::Param(name) => param(entry, name),
            Place::Entry(field) => field.of(entry).map(Cow::Owned),
            Place::Any(name, known) => {
                let noted = entry.metadata().get(name).map(Cow::Borrowed).or_else(|| param(entry, name));
                noted.or_else(|| known.and_then(|field| field.of(entry)).map(Cow::Owned))
            }
            Place::Custom { kind, column, .. } => {
                entry.details.row(kind).and_then(|row| row.get(&**column)).map(Cow::Borrowed)
            }
        };
        value.filter(|value| !value.is_null())
    }
}

fn param<'e>(entry: &'e Entry, name: &str) -> Option<Cow<'e, Value>> {
    let found = entry.cache_key_params().iter().find(|(other, _)| other == name);
    found.map(|(_, value)| Cow::Borrowed(value))
}

impl From<EntryField> for Field {
    fn from(field: EntryField) -> Self {
        Self(Place::Entry(field))
    }
}

macro_rules! entry_fields {
    ($($(#[$doc:meta])* $field:ident = $name:literal: |$entry:ident| $value:expr,)+) => {
        /// What the cache itself knows of an entry.
        ///
        /// Has a name as text, too:
        ///
        /// ```
        /// use cacheness::query::EntryField;
        ///
        /// assert_eq!("created_at".parse::<EntryField>()?, EntryField::CreatedAt);
        /// let error = "creatd_at".parse::<EntryField>().unwrap_err();
        /// assert!(error.is_invalid_argument() && error.to_string().contains("created_at"));
        /// # Ok::<(), cacheness::CacheError>(())
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EntryField {
            $($(#[$doc])* $field,)+
        }

        impl EntryField {
            pub(super) const ALL: &[Self] = &[$(Self::$field),+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$field => $name,)+
                }
            }

            fn of(self, entry: &Entry) -> Option<Value> {
                match self {
                    $(Self::$field => { let $entry = entry; $value })+
                }
            }
        }
    };
}

entry_fields! {
    /// The name in listings: 16 hex digits.
    CacheKey = "cache_key": |entry| Some(entry.cache_key().into()),
    /// When the value was stored; compare with a [`Timestamp`](crate::Timestamp).
    CreatedAt = "created_at": |entry| Some(entry.created_at().into()),
    /// When the value was last read or stored; compare with a [`Timestamp`](crate::Timestamp).
    AccessedAt = "accessed_at": |entry| Some(entry.accessed_at().into()),
    /// When the value expires; compare with a [`Timestamp`](crate::Timestamp). Missing where it never does.
    ExpiresAt = "expires_at": |entry| entry.expires_at().map(Value::from),
    /// The time to live, in seconds. Missing where there is none.
    Ttl = "ttl": |entry| entry.ttl().map(|ttl| ttl.as_secs_f64().into()),
    /// Bytes of the value as stored.
    Size = "size": |entry| Some(entry.size().into()),
    /// Bytes of the value before compression.
    RawSize = "raw_size": |entry| Some(entry.raw_size().into()),
    /// How the value was compressed.
    Codec = "codec": |entry| Some(entry.codec().into()),
    /// The type of the value, as the compiler writes it.
    DataType = "data_type": |entry| Some(entry.data_type().into()),
    /// The function whose result it is. Missing where it is none.
    Function = "function": |entry| entry.function().map(Value::from),
    /// The prefix. Missing where there is none.
    Prefix = "prefix": |entry| entry.prefix().map(Value::from),
    /// The description. Missing where there is none.
    Description = "description": |entry| entry.description().map(Value::from),
    /// The tags, as a list: `contains` finds one.
    Tags = "tags": |entry| Some(entry.tags().into()),
    /// XXH3-64 of the stored bytes.
    FileHash = "file_hash": |entry| Some(entry.file_hash().into()),
}

impl EntryField {
    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }
}

impl fmt::Display for EntryField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for EntryField {
    type Err = CacheError;

    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if entries have no field of this name, with the names that there are.
    fn from_str(name: &str) -> Result<Self> {
        Self::named(name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|field| field.name()).collect();
            let message = format!("entries have no field `{name}`; choose one of: {}", known.join(", "));
            CacheError::new(ErrorKind::InvalidArgument, message)
        })
    }
}
