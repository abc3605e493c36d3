//! Queries and listings, for tasks.

use std::collections::{BTreeMap, VecDeque};

use super::AsyncCache;
#[cfg(doc)]
use crate::cache::Cache;
use crate::cache::{Entries, Found, Query};
use crate::entry::Entry;
use crate::error::{CacheError, Result};
use crate::key::ToKey;
use crate::query::{CustomMetadata, Filter, Measure, Number, Order};
use crate::util::threads::blocking;
use crate::value::{Metadata, Value};

/// A [`Query`] whose calls are futures; rows are read away from the executor.
///
/// ```
/// # use cacheness::query::{Column, ColumnSchema, Schema};
/// # use cacheness::{AsyncCache, CustomMetadata, Metadata, PutOptions, Result};
/// # struct Run { minutes: u32 }
/// # impl Run { const MINUTES: Column<Run, u32> = Column::new("runs", "minutes"); }
/// # impl CustomMetadata for Run {
/// #     const SCHEMA: &'static Schema = &Schema::new("runs", &[ColumnSchema::of::<u32>("minutes")]);
/// #     fn to_row(&self) -> Metadata { [("minutes".to_owned(), self.minutes.into())].into() }
/// #     fn from_row(row: &Metadata) -> Result<Self> { Ok(Self { minutes: Self::SCHEMA.read(row, "minutes")? }) }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let cache = AsyncCache::in_memory();
/// cache.put_with("one", &1, PutOptions::new().custom(&Run { minutes: 90 })).await?;
/// let long = cache.query::<Run>().filter(Run::MINUTES.gt(60)).all().await?;
/// assert_eq!(long[0].minutes, 90);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a query reads nothing until it is asked for its rows"]
pub struct AsyncQuery<E>(Query<E>);

/// Custom metadata.
impl AsyncCache {
    /// As [`Cache::query`].
    pub fn query<E: CustomMetadata>(&self) -> AsyncQuery<E> {
        AsyncQuery(self.0.query())
    }

    /// As [`Cache::query_custom`].
    pub fn query_custom(&self, kind: impl Into<String>) -> AsyncQuery<Metadata> {
        AsyncQuery(self.0.query_custom(kind))
    }

    /// As [`Cache::migrate_custom_metadata_tables`].
    ///
    /// # Errors
    /// As [`Cache::migrate_custom_metadata_tables`].
    pub async fn migrate_custom_metadata_tables<E: CustomMetadata>(&self) -> Result<()> {
        self.run(|cache| cache.migrate_custom_metadata_tables::<E>()).await
    }

    /// As [`Cache::get_custom`].
    ///
    /// # Errors
    /// As [`Cache::get_custom`].
    pub fn get_custom<E: CustomMetadata + Send>(&self, key: impl ToKey) -> impl Future<Output = Result<Option<E>>> {
        self.by_key(key, |cache, key| cache.get_custom(key))
    }

    /// As [`Cache::get_custom_metadata_for_entry`].
    ///
    /// # Errors
    /// As [`Cache::get_custom_metadata_for_entry`].
    pub fn get_custom_metadata_for_entry(
        &self,
        key: impl ToKey,
    ) -> impl Future<Output = Result<BTreeMap<String, Metadata>>> {
        self.by_key(key, |cache, key| cache.get_custom_metadata_for_entry(key))
    }
}

impl<E: Send + 'static> AsyncQuery<E> {
    /// As [`Query::filter`].
    pub fn filter(self, filter: Filter) -> Self {
        Self(self.0.filter(filter))
    }

    /// As [`Query::matching`].
    pub fn matching<N: Into<String>, V: Into<Value>>(self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(self.0.matching(pairs))
    }

    /// As [`Query::order_by`].
    pub fn order_by(self, order: Order) -> Self {
        Self(self.0.order_by(order))
    }

    /// As [`Query::limit`].
    pub fn limit(self, limit: usize) -> Self {
        Self(self.0.limit(limit))
    }

    /// As [`Query::offset`].
    pub fn offset(self, offset: usize) -> Self {
        Self(self.0.offset(offset))
    }

    /// As [`Query::all`].
    ///
    /// # Errors
    /// As [`Query::all`].
    pub async fn all(&self) -> Result<Vec<Found<E>>> {
        self.run(|query| query.all()).await
    }

    /// As [`Query::first`].
    ///
    /// # Errors
    /// As [`Query::all`].
    pub async fn first(&self) -> Result<Option<Found<E>>> {
        self.run(|query| query.first()).await
    }

    /// As [`Query::count`].
    ///
    /// # Errors
    /// As [`Query::all`].
    pub async fn count(&self) -> Result<u64> {
        self.run(|query| query.count()).await
    }

    /// As [`Query::avg`].
    ///
    /// # Errors
    /// As [`Query::all`].
    pub async fn avg<M: Measure<Value: Number>>(&self, of: M) -> Result<Option<f64>> {
        let field = of.into_field();
        self.run(move |query| query.total(&field)).await.map(|total| total.average())
    }

    /// As [`Query::sum`].
    ///
    /// # Errors
    /// As [`Query::all`].
    pub async fn sum<M: Measure<Value: Number>>(&self, of: M) -> Result<<M::Value as Number>::Sum> {
        let field = of.into_field();
        self.run(move |query| query.total(&field)).await.map(|total| M::Value::sum(&total))
    }

    /// As [`Query::min`].
    ///
    /// # Errors
    /// As [`Query::all`].
    pub async fn min<M: Measure<Value: Send + 'static>>(&self, of: M) -> Result<Option<M::Value>> {
        let field = of.into_field();
        self.run(move |query| query.end::<M>(&field, |new, old| new < old)).await
    }

    /// As [`Query::max`].
    ///
    /// # Errors
    /// As [`Query::all`].
    pub async fn max<M: Measure<Value: Send + 'static>>(&self, of: M) -> Result<Option<M::Value>> {
        let field = of.into_field();
        self.run(move |query| query.end::<M>(&field, |new, old| new > old)).await
    }

    /// As [`Query::delete`].
    ///
    /// # Errors
    /// As [`Query::delete`].
    pub async fn delete(&self) -> Result<u64> {
        self.run(|query| query.delete()).await
    }

    async fn run<R: Send + 'static>(&self, ask: impl FnOnce(&Query<E>) -> Result<R> + Send + 'static) -> Result<R> {
        let query = self.0.clone();
        blocking(move || ask(&query)).await
    }
}

const PAGE: usize = 256;

/// The entries of a cache, newest first, read in pages away from the executor; see [`Entries`].
///
/// ```
/// use cacheness::AsyncCache;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> cacheness::Result<()> {
/// let cache = AsyncCache::in_memory();
/// cache.put("one", &1u8).await?;
/// let mut entries = cache.list_entries();
/// while let Some(entry) = entries.next().await {
///     println!("{}", entry?.cache_key());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a list reads nothing until it is asked for entries"]
pub struct AsyncEntries {
    rest: Entries,
    page: VecDeque<Entry>,
    failed: Option<CacheError>,
}

impl AsyncEntries {
    pub(super) fn of(cache: &AsyncCache) -> Self {
        Self { rest: cache.0.list_entries(), page: VecDeque::new(), failed: None }
    }

    /// As [`Entries::matching`].
    pub fn matching(self, filter: Filter) -> Self {
        Self { rest: self.rest.matching(filter), ..self }
    }

    /// As [`Entries::after`].
    pub fn after(self, entry: &Entry) -> Self {
        Self { rest: self.rest.after(entry), page: VecDeque::new(), failed: None }
    }

    /// The next entry; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Entry>> {
        if self.page.is_empty() && self.failed.is_none() {
            self.fill(PAGE).await;
        }
        self.page.pop_front().map(Ok).or_else(|| self.failed.take().map(Err))
    }

    /// The next entries, up to `limit`; fewer only at the end.
    ///
    /// # Errors
    /// [`Metadata`](crate::ErrorKind::Metadata), [`Closed`](crate::ErrorKind::Closed).
    pub async fn page(&mut self, limit: usize) -> Result<Vec<Entry>> {
        if self.page.len() < limit && self.failed.is_none() {
            self.fill(limit - self.page.len()).await;
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(self.page.drain(..limit.min(self.page.len())).collect()),
        }
    }

    async fn fill(&mut self, count: usize) {
        let mut rest = self.rest.clone();
        let (read, rest) = blocking(move || (rest.by_ref().take(count).collect::<Vec<_>>(), rest)).await;
        self.rest = rest;
        for entry in read {
            match entry {
                Ok(entry) => self.page.push_back(entry),
                Err(error) => self.failed = Some(error),
            }
        }
    }
}
