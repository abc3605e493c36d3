//! Finding the entries that a query asks for.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::ControlFlow;

use super::super::engine::Engine;
use crate::entry::{Entry, IndexKey};
use crate::error::Result;
use crate::index::{Group, Record};
use crate::query::{Field, Filter, Order, Schema};
use crate::value::Value;

const PAGE: usize = 256;
/// So many more than wanted are kept before the rest is dropped, so that sorting is worth it.
const SPARE: usize = 1024;

/// What a query asks for.
#[derive(Clone, Debug)]
pub(in crate::cache) struct Spec {
    pub(super) kind: Cow<'static, str>,
    /// Of the type, if the query is one of a type.
    pub(super) schema: Option<&'static Schema>,
    pub(super) filter: Filter,
    pub(super) orders: Vec<Order>,
    pub(super) offset: usize,
    pub(super) limit: Option<usize>,
}

/// An entry with what decides its place.
struct Placed {
    by: Vec<Option<Value>>,
    entry: Entry,
}

/// Where entries come from, in the order of their keys.
enum Source {
    /// All of the kind, behind the key of the last one that was seen.
    Kind(Option<IndexKey>),
    /// What an order over a column told.
    Keys(Vec<IndexKey>),
}

impl Spec {
    fn fields<'s>(&'s self, measured: Option<&'s Field>) -> Vec<&'s Field> {
        let orders = self.orders.iter().map(Order::field);
        self.filter.fields().into_iter().chain(orders).chain(measured).collect()
    }

    /// So many are looked for: those that are passed over, and those that are wanted.
    fn sought(&self) -> usize {
        self.limit.map_or(usize::MAX, |limit| limit.saturating_add(self.offset))
    }

    fn compare(&self, a: &Placed, b: &Placed) -> Ordering {
        let terms = self.orders.iter().zip(a.by.iter().zip(&b.by));
        let unequal = terms.map(|(order, (a, b))| order.compare(a.as_ref(), b.as_ref())).find(|found| found.is_ne());
        unequal.unwrap_or_else(|| a.entry.key.cmp(&b.entry.key))
    }

    /// The first of these, in order.
    fn first_of(&self, found: &mut Vec<Placed>) {
        found.sort_by(|a, b| self.compare(a, b));
        found.truncate(self.sought());
    }
}

impl Engine {
    /// The entries that a query asks for.
    pub(super) fn select(&self, spec: &Spec) -> Result<Vec<Entry>> {
        let (sought, mut found) = (spec.sought(), Vec::new());
        let in_order_of_keys = spec.orders.is_empty();
        self.each_match(spec, None, |entry, _| {
            let by = spec.orders.iter().map(|order| order.key(&entry)).collect();
            found.push(Placed { by, entry });
            match in_order_of_keys {
                true if found.len() >= sought => return Ok(ControlFlow::Break(())),
                false if found.len() >= sought.saturating_mul(2).saturating_add(SPARE) => spec.first_of(&mut found),
                _ => {}
            }
            Ok(ControlFlow::Continue(()))
        })?;
        spec.first_of(&mut found);
        Ok(found.into_iter().skip(spec.offset).map(|placed| placed.entry).collect())
    }

    /// Visits the entries that meet the conditions of a query, in the order of their keys, whatever its own order and limit.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if a name is not known; [`Serialization`](crate::ErrorKind::Serialization) if an
    /// entry that is looked at has a value of another type in a column that the query names.
    pub(super) fn each_match(
        &self,
        spec: &Spec,
        measured: Option<&Field>,
        mut visit: impl FnMut(Entry, &Record) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let fields = spec.fields(measured);
        spec.schema.iter().for_each(|schema| self.custom().kinds.register(schema));
        self.check_names(&spec.kind, &fields)?;
        let mut source = self.source(spec)?;
        while let Some(page) = self.next_page(&spec.kind, &mut source)? {
            for (_, record) in page {
                let Some(entry) = self.matching(spec, &fields, &record)? else { continue };
                if visit(entry, &record)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The entry of a record, if it is one that the query asks for.
    pub(super) fn matching(&self, spec: &Spec, fields: &[&Field], record: &Record) -> Result<Option<Entry>> {
        if !record.is_believed() {
            return Ok(None);
        }
        let entry = self.describe(record)?;
        if self.is_expired(&entry) || entry.details.row(&spec.kind).is_none() {
            return Ok(None);
        }
        fields.iter().try_for_each(|field| field.check_type(&entry))?;
        Ok(Some(entry).filter(|entry| spec.filter.matches(entry)))
    }

    /// Removes the entries that meet the conditions of a query; returns how many.
    pub(super) fn remove_matches(&self, spec: &Spec) -> Result<u64> {
        let (fields, mut removed) = (spec.fields(None), 0);
        self.each_match(spec, None, |entry, record| {
            let wanted = |record: &Record| self.matching(spec, &fields, record).map(|entry| entry.is_some());
            removed += u64::from(self.remove_while(&entry.key, record, wanted)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(removed)
    }

    fn source(&self, spec: &Spec) -> Result<Source> {
        for admitted in spec.filter.admits(&spec.kind) {
            if self.custom().kinds.is_indexed(&spec.kind, admitted.column)
                && let Some(mut keys) = self.store().index().candidates(&spec.kind, &admitted)?
            {
                keys.reverse();
                return Ok(Source::Keys(keys));
            }
        }
        Ok(Source::Kind(None))
    }

    /// The next records, which may be none where those of some keys are gone; `None` at the end.
    fn next_page(&self, kind: &str, source: &mut Source) -> Result<Option<Vec<(IndexKey, Record)>>> {
        let index = self.store().index();
        match source {
            Source::Kind(after) => {
                let page = index.group(Group::kind(kind), after.as_ref(), PAGE)?;
                let Some((last, _)) = page.last() else { return Ok(None) };
                *after = Some(last.clone());
                Ok(Some(page))
            }
            Source::Keys(keys) if keys.is_empty() => Ok(None),
            Source::Keys(keys) => {
                let mut wanted = keys.split_off(keys.len().saturating_sub(PAGE));
                wanted.reverse();
                index.of_keys(&wanted).map(Some)
            }
        }
    }
}
