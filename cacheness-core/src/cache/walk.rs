//! Ways through the entries, page by page: no way holds a lock while an entry is looked at, or loads them all.

use std::collections::VecDeque;
use std::fmt;

use super::Cache;
use super::engine::Engine;
use crate::clock::Timestamp;
use crate::entry::{Entry, IndexKey};
use crate::error::Result;
use crate::index::{Group, Record};
use crate::query::Filter;

const PAGE: usize = 256;

/// Which entries a way goes through.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// All, by their keys.
    All,
    /// All, and what is there without being believed.
    Everything,
    /// Those of a group, by their keys.
    Of(Group),
}

impl Engine {
    /// Visits entries once each. What others put behind the cursor meanwhile is not visited, so that it ends.
    pub(super) fn each(&self, way: Way, mut visit: impl FnMut(&IndexKey, &Record) -> Result<()>) -> Result<()> {
        let index = self.store().index();
        let mut after: Option<IndexKey> = None;
        loop {
            let page = match way {
                Way::All | Way::Everything => index.scan(after.as_ref(), PAGE)?,
                Way::Of(group) => index.group(group, after.as_ref(), PAGE)?,
            };
            let mut seen = page.iter().filter(|(_, record)| record.is_believed() || matches!(way, Way::Everything));
            seen.try_for_each(|(key, record)| visit(key, record))?;
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// Visits entries and does something to those that are wanted; returns to how many it was done.
    pub(super) fn each_wanted(
        &self,
        way: Way,
        mut wanted: impl FnMut(&Entry) -> bool,
        act: impl Fn(&IndexKey, &Record) -> Result<bool>,
    ) -> Result<u64> {
        let mut done = 0;
        self.each(way, |key, record| {
            if wanted(&self.describe(record)?) {
                done += u64::from(act(key, record)?);
            }
            Ok(())
        })?;
        Ok(done)
    }

    /// Removes the wanted entries of a group or all; returns how many.
    pub(super) fn remove_wanted(&self, way: Way, mut wanted: impl FnMut(&Entry) -> bool) -> Result<u64> {
        let mut removed = 0;
        self.each(way, |key, record| {
            removed += u64::from(self.remove_while(key, record, |record| Ok(wanted(&self.describe(record)?)))?);
            Ok(())
        })?;
        Ok(removed)
    }

    /// Removes an entry as long as its record is a wanted one; says whether it did.
    pub(super) fn remove_while(
        &self,
        key: &IndexKey,
        record: &Record,
        mut wanted: impl FnMut(&Record) -> Result<bool>,
    ) -> Result<bool> {
        let mut record = record.clone();
        while wanted(&record)? {
            if self.store().remove_expected(key, &record)? {
                return Ok(true);
            }
            // Touched or replaced meanwhile: is it still one of those?
            match self.store().find(key)? {
                Some(found) => record = found.record,
                None => break,
            }
        }
        Ok(false)
    }

    pub(super) fn clear(&self) -> Result<u64> {
        let mut removed = 0;
        self.each(Way::Everything, |key, _| {
            removed += u64::from(self.store().remove(key)?);
            Ok(())
        })?;
        Ok(removed)
    }

    /// Removes what has expired, page after page until none is left, or none of a page could be removed.
    pub(super) fn cleanup_expired(&self) -> Result<u64> {
        let now = self.now();
        let mut total = 0;
        loop {
            let mut removed = 0;
            for (key, record) in self.store().index().expired(now, PAGE)? {
                removed += u64::from(self.store().remove_expected(&key, &record)?);
            }
            if removed == 0 {
                return Ok(total);
            }
            total += removed;
        }
    }
}

/// The entries of a cache, newest first, read from the index in pages while they are asked for.
///
/// Also entries that have expired and were not cleaned up yet. An entry that is stored or touched while the list is
/// read moves to its beginning, and is not met any more if that lies behind. After an error the list is at its end.
///
/// ```
/// use cacheness::{Cache, Field, PutOptions};
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = Cache::in_memory();
/// for n in 0..1000u32 {
///     cache.put_with(n, &n, PutOptions::new().metadata("even", n % 2 == 0))?;
/// }
/// let page: Vec<_> = cache.list_entries().take(100).collect::<Result<_, _>>()?;
/// let next: Vec<_> = cache.list_entries().after(&page[99]).take(100).collect::<Result<_, _>>()?;
/// assert_eq!(next.len(), 100);
/// assert_eq!(cache.list_entries().matching(Field::metadata("even").eq(true)).count(), 500);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a list reads nothing until it is iterated"]
pub struct Entries {
    cache: Cache,
    filter: Option<Filter>,
    page: VecDeque<(IndexKey, Record)>,
    after: Option<(Timestamp, IndexKey)>,
    ended: bool,
}

impl Entries {
    pub(super) fn of(cache: &Cache) -> Self {
        Self { cache: cache.clone(), filter: None, page: VecDeque::new(), after: None, ended: false }
    }

    /// Only entries that meet this condition, too.
    pub fn matching(mut self, filter: Filter) -> Self {
        self.filter = Some(match self.filter {
            Some(before) => before & filter,
            None => filter,
        });
        self
    }

    /// Begins behind an entry that was seen before: with the last one of a page, the next page.
    ///
    /// A list that was read from already, also to its end, goes on behind this entry, wherever it was, and keeps its
    /// conditions.
    pub fn after(mut self, entry: &Entry) -> Self {
        self.after = Some((entry.created_at(), entry.key.clone()));
        self.page.clear();
        self.ended = false;
        self
    }

    /// The next entry, wanted or not; `None` at the end.
    fn step(&mut self) -> Result<Option<Entry>> {
        let engine = self.cache.engine()?;
        if self.page.is_empty() {
            let after = self.after.as_ref().map(|(at, key)| (*at, key));
            self.page = engine.store().index().newest(after, PAGE)?.into();
        }
        let Some((key, record)) = self.page.pop_front() else { return Ok(None) };
        let entry = engine.describe(&record)?;
        self.after = Some((entry.created_at(), key));
        Ok(Some(entry))
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let step = self.step();
            self.ended = !matches!(step, Ok(Some(_)));
            let entry = step.transpose()?;
            match (&entry, &self.filter) {
                (Ok(entry), Some(filter)) if !filter.matches(entry) => {}
                _ => return Some(entry),
            }
        }
        None
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("cache", &self.cache).field("filter", &self.filter).finish_non_exhaustive()
    }
}
