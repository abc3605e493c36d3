//! Custom metadata, for tasks.

use std::collections::BTreeMap;

use super::AsyncCache;
#[cfg(doc)]
use crate::cache::Cache;
use crate::cache::{Found, Query};
use crate::error::Result;
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
