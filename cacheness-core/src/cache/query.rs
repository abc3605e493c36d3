//! Queries over custom metadata: typed rows beside entries.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{ControlFlow, Deref};

use super::custom::Spec;
use super::{Cache, Expired};
use crate::entry::Entry;
use crate::error::{CacheError, ErrorKind, Result};
use crate::key::{Key, KeyWriter, PendingKey, ToKey};
use crate::query::{CustomMetadata, Field, Filter, Measure, Number, Order, Rank, Schema, Total};
use crate::value::{Metadata, Value};

/// Rows of custom metadata of one kind, those that meet conditions, in an order. Made by [`Cache::query`] and
/// [`Cache::query_custom`]; reads nothing until one of [`all`](Self::all), [`first`](Self::first), [`count`](Self::count) and
/// their like is called, which each read anew.
///
/// Entries that have expired are not found. The rest of an entry may be asked for as well: conditions and orders take any
/// [`Field`], also columns of another kind that the same entry has.
///
/// A condition on a column with `#[metadata(index)]` or `#[metadata(unique)]` that tells equal values, some of several, a
/// range or the beginning of a text, reads the entries that it admits; without such a condition a query reads all of its
/// kind, and none of another. What an index over a column needs is read once in a process, at its first use.
#[must_use = "a query reads nothing until it is asked for its rows"]
pub struct Query<E> {
    cache: Cache,
    spec: Spec,
    read: fn(&Metadata) -> Result<E>,
}

/// Custom metadata.
impl Cache {
    /// A query over the custom metadata of type `E`.
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
    /// for (name, minutes) in [("short", 30), ("long", 90)] {
    ///     cache.put_with(name, &name.to_owned(), PutOptions::new().custom(&Run { minutes }))?;
    /// }
    /// let longest = cache.query::<Run>().order_by(Run::MINUTES.desc()).first()?.expect("there are two");
    /// assert_eq!(longest.minutes, 90);
    /// assert_eq!(cache.get::<String>(&longest)?.as_deref(), Some("long"));
    /// assert_eq!(cache.query::<Run>().filter(Run::MINUTES.lt(60)).count()?, 1);
    /// assert_eq!(cache.query::<Run>().avg(Run::MINUTES)?, Some(60.0));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "query_custom_session")]
    pub fn query<E: CustomMetadata>(&self) -> Query<E> {
        Query::over(self, E::SCHEMA.name.into(), Some(E::SCHEMA), E::from_row)
    }

    /// A query over the custom metadata of the kind with this name, whose rows come as they are stored: columns by their
    /// names. Names are data.
    ///
    /// ```
    /// # use cacheness::query::{ColumnSchema, Schema};
    /// # use cacheness::{Cache, CustomMetadata, Field, Metadata, PutOptions, Result};
    /// # struct Run { minutes: u32 }
    /// # impl CustomMetadata for Run {
    /// #     const SCHEMA: &'static Schema = &Schema::new("runs", &[ColumnSchema::of::<u32>("minutes")]);
    /// #     fn to_row(&self) -> Metadata { [("minutes".to_owned(), self.minutes.into())].into() }
    /// #     fn from_row(row: &Metadata) -> Result<Self> { Ok(Self { minutes: Self::SCHEMA.read(row, "minutes")? }) }
    /// # }
    /// # fn main() -> Result<()> {
    /// # let cache = Cache::in_memory();
    /// # cache.put_with("one", &1, PutOptions::new().custom(&Run { minutes: 90 }))?;
    /// let rows = cache.query_custom("runs").matching([("minutes", 90)]).all()?;
    /// assert_eq!(rows[0]["minutes"], 90.into());
    /// let none = cache.query_custom("runs").filter(Field::custom("runs", "minutes").gt(90));
    /// assert_eq!(none.count()?, 0);
    ///
    /// let error = cache.query_custom("rums").count().unwrap_err();
    /// assert!(error.to_string().contains("\"runs\""), "{error}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Calls of the query fail with [`InvalidArgument`](ErrorKind::InvalidArgument) if there is no such kind, with those that there are, or no
    /// such column, with those of the kind.
    pub fn query_custom(&self, kind: impl Into<String>) -> Query<Metadata> {
        Query::over(self, kind.into().into(), None, |row| Ok(row.clone()))
    }

    /// Makes the table of a kind of custom metadata, the columns that it lacks and the indexes of its type, where the backend
    /// keeps tables, as `sqlite` does. The first put and the first query of the type do so by themselves: this is for who
    /// wants it done before, say to look at the tables with another tool. With other backends there is nothing to do.
    ///
    /// ```
    /// # use cacheness::query::{ColumnSchema, Schema};
    /// # use cacheness::{Cache, CustomMetadata, Metadata, Result};
    /// # struct Run { minutes: u32 }
    /// # impl CustomMetadata for Run {
    /// #     const SCHEMA: &'static Schema = &Schema::new("runs", &[ColumnSchema::of::<u32>("minutes")]);
    /// #     fn to_row(&self) -> Metadata { [("minutes".to_owned(), self.minutes.into())].into() }
    /// #     fn from_row(row: &Metadata) -> Result<Self> { Ok(Self { minutes: Self::SCHEMA.read(row, "minutes")? }) }
    /// # }
    /// # fn main() -> Result<()> {
    /// let cache = Cache::in_memory();
    /// cache.migrate_custom_metadata_tables::<Run>()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage), [`Metadata`](ErrorKind::Metadata) and [`Locked`](ErrorKind::Locked) from the backend;
    /// [`Closed`](ErrorKind::Closed).
    pub fn migrate_custom_metadata_tables<E: CustomMetadata>(&self) -> Result<()> {
        self.engine()?.register(E::SCHEMA)
    }

    /// The custom metadata of type `E` that the entry of a key has; `None` if it has none of that kind, or if there is no
    /// entry that has not expired.
    ///
    /// # Errors
    /// As [`get_metadata`](Self::get_metadata); [`Serialization`](ErrorKind::Serialization) if it was stored by another
    /// version of the type, which this one cannot read.
    pub fn get_custom<E: CustomMetadata>(&self, key: impl ToKey) -> Result<Option<E>> {
        let entry = self.get_metadata(key, Expired::Skip)?;
        entry.map_or(Ok(None), |entry| entry.custom())
    }

    /// All custom metadata that the entry of a key has, by the names of the kinds; empty if there is no entry that has not
    /// expired.
    ///
    /// # Errors
    /// As [`get_metadata`](Self::get_metadata).
    pub fn get_custom_metadata_for_entry(&self, key: impl ToKey) -> Result<BTreeMap<String, Metadata>> {
        let entry = self.get_metadata(key, Expired::Skip)?;
        let rows = |entry: &Entry| -> BTreeMap<String, Metadata> {
            entry.custom_metadata().map(|(kind, row)| (kind.to_owned(), row.clone())).collect()
        };
        Ok(entry.as_ref().map(rows).unwrap_or_default())
    }
}

impl<E> Query<E> {
    fn over(
        cache: &Cache,
        kind: std::borrow::Cow<'static, str>,
        schema: Option<&'static Schema>,
        read: fn(&Metadata) -> Result<E>,
    ) -> Self {
        let (filter, orders) = (Filter::everything(), Vec::new());
        Self { cache: cache.clone(), spec: Spec { kind, schema, filter, orders, offset: 0, limit: None }, read }
    }

    /// Only entries that meet this condition, too.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.spec.filter = self.spec.filter & filter;
        self
    }

    /// Only entries where each of these columns of the kind has the value beside it, too.
    pub fn matching<N: Into<String>, V: Into<Value>>(self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let kind = self.spec.kind.clone().into_owned();
        pairs.into_iter().fold(self, |query, (name, value)| query.filter(Field::custom(&kind, name).eq(value)))
    }

    /// In this order; a further one decides where those before leave two entries equal. Where all do, and where there is
    /// none, entries come in an order of their keys that does not change.
    pub fn order_by(mut self, order: Order) -> Self {
        self.spec.orders.push(order);
        self
    }

    /// At most so many rows.
    pub fn limit(mut self, limit: usize) -> Self {
        self.spec.limit = Some(limit);
        self
    }

    /// Not the first so many rows.
    pub fn offset(mut self, offset: usize) -> Self {
        self.spec.offset = offset;
        self
    }

    /// The rows, with their entries.
    ///
    /// # Errors
    /// [`Serialization`](ErrorKind::Serialization) if a row cannot be read as the type, or has a value of another type in a
    /// column that the query names; [`InvalidArgument`](ErrorKind::InvalidArgument) if a kind or a column is named that is not known;
    /// [`Metadata`](ErrorKind::Metadata), [`Closed`](ErrorKind::Closed).
    pub fn all(&self) -> Result<Vec<Found<E>>> {
        let entries = self.cache.engine()?.select(&self.spec)?;
        entries.into_iter().map(|entry| self.read(entry)).collect()
    }

    /// The first row.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub fn first(&self) -> Result<Option<Found<E>>> {
        let first = Self { spec: self.spec.clone(), cache: self.cache.clone(), read: self.read };
        let limit = self.spec.limit.map_or(1, |limit| limit.min(1));
        Ok(first.limit(limit).all()?.into_iter().next())
    }

    /// How many rows meet the conditions. Offset and limit do not matter, here and in what is made of many rows.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub fn count(&self) -> Result<u64> {
        let mut count = 0;
        self.cache.engine()?.each_match(&self.spec, None, |_, _| {
            count += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(count)
    }

    /// The average of a column; `None` if no row has a value there.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub fn avg<M: Measure<Value: Number>>(&self, of: M) -> Result<Option<f64>> {
        Ok(self.total(&of.into_field())?.average())
    }

    /// The sum of a column: exact for whole numbers, nothing for no rows.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub fn sum<M: Measure<Value: Number>>(&self, of: M) -> Result<<M::Value as Number>::Sum> {
        Ok(M::Value::sum(&self.total(&of.into_field())?))
    }

    /// The least value of a column; `None` if no row has one.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub fn min<M: Measure>(&self, of: M) -> Result<Option<M::Value>> {
        self.end::<M>(&of.into_field(), |new, old| new < old)
    }

    /// The greatest value of a column; `None` if no row has one. NaN is greater than all numbers.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub fn max<M: Measure>(&self, of: M) -> Result<Option<M::Value>> {
        self.end::<M>(&of.into_field(), |new, old| new > old)
    }

    /// Removes the entries that meet the conditions, all of them; returns how many. An entry that is replaced while it is
    /// looked at is looked at again.
    ///
    /// # Errors
    /// As [`all`](Self::all); [`Storage`](ErrorKind::Storage). What was removed before the error is gone.
    pub fn delete(&self) -> Result<u64> {
        self.cache.engine()?.remove_matches(&self.spec)
    }

    fn read(&self, entry: Entry) -> Result<Found<E>> {
        let empty = Metadata::new();
        let read = (self.read)(entry.details.row(&self.spec.kind).unwrap_or(&empty));
        let value = read.map_err(|error| {
            CacheError::caused_by(error.kind(), format!("entry {}: {error}", entry.cache_key()), error.clone())
        })?;
        Ok(Found { value, entry })
    }

    fn each_value(&self, field: &Field, mut visit: impl FnMut(&Value)) -> Result<()> {
        self.cache.engine()?.each_match(&self.spec, Some(field), |entry, _| {
            field.of(&entry).iter().for_each(|value| visit(value));
            Ok(ControlFlow::Continue(()))
        })
    }

    pub(super) fn total(&self, field: &Field) -> Result<Total> {
        let mut total = Total::default();
        self.each_value(field, |value| total.add(value))?;
        Ok(total)
    }

    pub(super) fn end<M: Measure>(
        &self,
        field: &Field,
        replaces: fn(&Rank, &Rank) -> bool,
    ) -> Result<Option<M::Value>> {
        let mut end: Option<Rank> = None;
        self.each_value(field, |value| {
            let new = Rank(value.clone());
            if end.as_ref().is_none_or(|old| replaces(&new, old)) {
                end = Some(new);
            }
        })?;
        let Some(Rank(value)) = end else { return Ok(None) };
        let shown = value.to_string();
        M::read(value).map(Some).ok_or_else(|| {
            let message = format!("{shown} in a column that a query names does not fit the type of the column");
            CacheError::new(ErrorKind::Serialization, message)
        })
    }
}

impl<E> Clone for Query<E> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), spec: self.spec.clone(), read: self.read }
    }
}

impl<E> fmt::Debug for Query<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("cache", &self.cache).field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// A row that a query found, with the entry it belongs to. It is as good as a key: `cache.get(&found)` gives the value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Found<E> {
    /// The row.
    pub value: E,
    /// The entry that it was stored with.
    pub entry: Entry,
}

impl<E> Found<E> {
    /// The entry's name in listings: 16 hex digits. Rows of several kinds with one name belong to one entry.
    pub fn cache_key(&self) -> String {
        self.entry.cache_key()
    }

    /// The key of the entry.
    ///
    /// # Errors
    /// As [`Entry::key`].
    pub fn key(&self) -> Result<Key> {
        self.entry.key()
    }
}

impl<E> Deref for Found<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.value
    }
}

impl<E> ToKey for &Found<E> {
    fn to_key_with(&self, writer: KeyWriter) -> PendingKey {
        self.entry.to_key_with(writer)
    }
}
