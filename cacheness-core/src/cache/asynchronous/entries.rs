use std::collections::VecDeque;

use super::AsyncCache;
use crate::cache::Entries;
use crate::entry::Entry;
use crate::error::{CacheError, Result};
use crate::query::Filter;
use crate::util::threads::blocking;

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
