//! What an engine knows of custom metadata: its kinds, the entries that a query selects, and unique columns.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, PoisonError, RwLock};

use super::PutOptions;
use super::engine::Engine;
use super::removal::EntryScan;
use crate::engine::UniqueTurn;
use crate::entry::{Details, Entry, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::{Group, Record};
use crate::query::{Admitted, Field, Filter, Order, Rank, Schema, Span};
use crate::value::Value;

/// What an engine knows of custom metadata.
#[derive(Debug, Default)]
pub(super) struct Custom {
    kinds: Kinds,
    unique: UniqueValues,
}

impl Custom {
    /// Whether this type of a kind was registered.
    fn knows(&self, schema: &'static Schema) -> bool {
        self.kinds.knows_type(schema)
    }
}

/// What is known of the kinds of custom metadata: from their types, where this process has used them, and from rows.
#[derive(Debug, Default)]
pub(super) struct Kinds(RwLock<BTreeMap<String, Kind>>);

#[derive(Debug, Default)]
struct Kind {
    columns: BTreeSet<String>,
    indexed: BTreeSet<String>,
    unique: BTreeSet<String>,
    /// The types it is known from; there may be several, of several versions.
    schemas: Vec<&'static Schema>,
}

impl Kinds {
    fn with<R>(&self, kind: &str, ask: impl FnOnce(&Kind) -> R) -> Option<R> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(kind).map(ask)
    }

    fn knows_type(&self, schema: &'static Schema) -> bool {
        let same = |known: &&'static Schema| std::ptr::eq(*known, schema) || *known == schema;
        self.with(schema.name, |kind| kind.schemas.iter().any(same)) == Some(true)
    }

    /// A type of this kind is used from now on.
    fn register(&self, schema: &'static Schema) {
        if self.knows_type(schema) {
            return;
        }
        let mut kinds = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.entry(schema.name.to_owned()).or_default();
        for column in schema.columns {
            kind.columns.insert(column.name.to_owned());
            if column.indexed {
                kind.indexed.insert(column.name.to_owned());
            }
            if column.unique {
                kind.unique.insert(column.name.to_owned());
            }
        }
        kind.schemas.push(schema);
    }

    fn learn(&self, kind: &str, columns: BTreeSet<String>) {
        let mut kinds = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kinds.entry(kind.to_owned()).or_default().columns.extend(columns);
    }

    pub(super) fn is_indexed(&self, kind: &str, column: &str) -> bool {
        self.with(kind, |kind| kind.indexed.contains(column)) == Some(true)
    }

    pub(super) fn unique_columns(&self, kind: &str) -> Vec<String> {
        self.with(kind, |kind| kind.unique.iter().cloned().collect()).unwrap_or_default()
    }

    fn knows(&self, kind: &str, column: Option<&str>) -> bool {
        self.with(kind, |kind| column.is_none_or(|column| kind.columns.contains(column))) == Some(true)
    }

    fn names(&self) -> BTreeSet<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

impl Engine {
    /// A type of custom metadata is used from now on.
    ///
    /// # Errors
    /// Those of [`Index::define`](crate::engine::index::Index::define).
    pub(super) fn register(&self, schema: &'static Schema) -> Result<()> {
        if !self.custom().knows(schema) {
            self.store().index().define(schema)?;
            self.custom().kinds.register(schema);
        }
        Ok(())
    }

    /// That there is a kind of this name, and a column that a field names without knowing its type.
    ///
    /// What is not known from a type is looked for in the rows: in all of the kind, and for the sake of the message in all
    /// that there are.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument), with the names that there are.
    pub(super) fn check_names(&self, kind: &str, fields: &[&Field]) -> Result<()> {
        self.check_name(kind, None)?;
        for field in fields {
            if let Some((kind, column, None)) = field.as_column() {
                self.check_name(kind, Some(column))?;
            }
        }
        Ok(())
    }

    fn check_name(&self, kind: &str, column: Option<&str>) -> Result<()> {
        let kinds = &self.custom().kinds;
        if kinds.knows(kind, column) {
            return Ok(());
        }
        if let Some(columns) = self.columns_in_rows(kind)? {
            kinds.learn(kind, columns);
        }
        match column {
            _ if kinds.knows(kind, column) => Ok(()),
            Some(column) if kinds.knows(kind, None) => {
                let known = kinds.with(kind, |kind| listed(&kind.columns)).unwrap_or_default();
                Err(unknown(&format!("custom metadata {kind:?} has no column {column:?}; it has {known}")))
            }
            _ => {
                let known = listed(&(&self.kinds_in_entries()? | &kinds.names()));
                Err(unknown(&format!("there is no custom metadata {kind:?}; there is {known}")))
            }
        }
    }

    /// The columns of all rows of a kind; `None` if there is no row.
    fn columns_in_rows(&self, kind: &str) -> Result<Option<BTreeSet<String>>> {
        let mut columns: Option<BTreeSet<String>> = None;
        self.each(EntryScan::Of(Group::kind(kind)), |_, record| {
            if let Some(row) = record.entry()?.details.row(kind) {
                columns.get_or_insert_default().extend(row.keys().cloned());
            }
            Ok(())
        })?;
        Ok(columns)
    }

    fn kinds_in_entries(&self) -> Result<BTreeSet<String>> {
        let mut kinds = BTreeSet::new();
        self.each(EntryScan::All, |_, record| {
            kinds.extend(record.core_and_names()?.1.kinds.into_iter().map(str::to_owned));
            Ok(())
        })?;
        Ok(kinds)
    }
}

fn listed(names: &BTreeSet<String>) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
}

fn unknown(message: &str) -> CacheError {
    CacheError::new(ErrorKind::InvalidArgument, message)
}

const PAGE: usize = 256;
/// So many more than wanted are kept before the rest is dropped, so that sorting is worth it.
const SPARE: usize = 1024;

/// What a query asks for.
#[derive(Clone, Debug)]
pub(super) struct Spec {
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
    /// What an order over a column gave.
    Keys(Vec<IndexKey>),
    /// What the backend selects, behind this key.
    Selected(Option<IndexKey>),
    /// Nothing more.
    End,
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
        spec.schema.map_or(Ok(()), |schema| self.register(schema))?;
        self.check_names(&spec.kind, &fields)?;
        let mut source = self.source(spec)?;
        while let Some(page) = self.next_page(&spec.kind, &spec.filter, &mut source)? {
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
        let _together = self.store().index().together_with_others();
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
                && let Some(source) = self.source_of(&spec.kind, &admitted)?
            {
                return Ok(source);
            }
        }
        Ok(if self.store().index().keeps_columns() { Source::Selected(None) } else { Source::Kind(None) })
    }

    /// Where entries come from that meet a condition on one column, if that can be told without a look at all of the kind.
    fn source_of(&self, kind: &str, admitted: &Admitted<'_>) -> Result<Option<Source>> {
        let index = self.store().index();
        if index.keeps_columns() {
            return Ok(Some(Source::Selected(None)));
        }
        let keys = index.candidates(kind, admitted)?;
        Ok(keys.map(|keys| Source::Keys(keys.into_iter().rev().collect())))
    }

    /// The next records, which may be none where those of some keys are gone; `None` at the end.
    fn next_page(&self, kind: &str, filter: &Filter, source: &mut Source) -> Result<Option<Vec<(IndexKey, Record)>>> {
        let index = self.store().index();
        match source {
            Source::End => Ok(None),
            Source::Selected(after) => match index.select(kind, filter, after.as_ref(), PAGE)? {
                Some((page, last)) => {
                    *source = last.map_or(Source::End, |last| Source::Selected(Some(last)));
                    Ok(Some(page))
                }
                // It cannot tell, or not any more: the rest is looked at one by one.
                None => {
                    *source = Source::Kind(after.take());
                    self.next_page(kind, filter, source)
                }
            },
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

/// A value of a unique column, in which no two entries may have the same: kind, column, value.
type UniqueValue = (String, String, Rank);

/// The unique values that puts under way have reserved. A put reserves all of its unique values, or waits until it can; then
/// it looks whether another entry has one of them, and stores its own. So of two puts of one value the later one finds the
/// entry of the first.
#[derive(Debug, Default)]
pub(super) struct UniqueValues {
    reserved: Mutex<BTreeSet<UniqueValue>>,
    freed: Condvar,
}

/// Unique values that are reserved until this is dropped.
pub(super) struct Reserved<'c> {
    held: Held<'c>,
    _in_all_processes: UniqueTurn<'c>,
}

/// Those of this process.
struct Held<'c> {
    all: &'c UniqueValues,
    values: Vec<UniqueValue>,
}

impl UniqueValues {
    fn reserve(&self, wanted: Vec<UniqueValue>) -> Reserved<'_> {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        while wanted.iter().any(|value| reserved.contains(value)) {
            reserved = self.freed.wait(reserved).unwrap_or_else(PoisonError::into_inner);
        }
        reserved.extend(wanted.iter().cloned());
        drop(reserved);
        Reserved { held: Held { all: self, values: wanted }, _in_all_processes: UniqueTurn::default() }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut reserved = self.all.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.retain(|value| !self.values.contains(value));
        drop(reserved);
        self.all.freed.notify_all();
    }
}

impl Engine {
    /// Reserves the unique values of an entry for as long as it takes to store it. `moved_from` is the key of an entry that
    /// goes when this one is there.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if another entry that has not expired has one of them.
    pub(super) fn reserve_unique(
        &self,
        key: &IndexKey,
        details: &Details,
        moved_from: Option<&IndexKey>,
    ) -> Result<Option<Reserved<'_>>> {
        let Some(reserved) = self.hold_unique(details) else { return Ok(None) };
        for value in &reserved.held.values {
            if let Some(holder) = self.holder(value, key, moved_from)? {
                return Err(taken(value, &holder));
            }
        }
        Ok(Some(reserved))
    }

    /// Reserves the unique values of an entry that is there, for as long as it takes to change it: nobody else gets one of
    /// them meanwhile because it expires.
    pub(super) fn hold_unique(&self, details: &Details) -> Option<Reserved<'_>> {
        // Nearly all entries have none.
        let wanted = if details.kinds.is_empty() { Vec::new() } else { self.unique_values(details) };
        if wanted.is_empty() {
            return None;
        }
        let reserved = self.custom().unique.reserve(wanted);
        Some(Reserved { _in_all_processes: self.store().unique_turn(), ..reserved })
    }

    /// Whether a value among these rows must be unique.
    pub(super) fn has_unique(&self, options: &PutOptions) -> bool {
        let of_rows = |kind: &str| !self.custom().kinds.unique_columns(kind).is_empty();
        options
            .custom
            .iter()
            .any(|(schema, _)| schema.columns.iter().any(|column| column.unique) || of_rows(schema.name))
    }

    fn unique_values(&self, details: &Details) -> Vec<UniqueValue> {
        let mut values = Vec::new();
        for (kind, row) in details.custom() {
            for column in self.custom().kinds.unique_columns(kind) {
                // Null and NaN equal nothing, not even themselves.
                let value = row.get(&column).filter(|value| !value.is_null() && value.partial_cmp(value).is_some());
                values.extend(value.map(|value| (kind.to_owned(), column.clone(), Rank(value.clone()))));
            }
        }
        values
    }

    /// Another entry that has a reserved value.
    fn holder(&self, unique: &UniqueValue, key: &IndexKey, moved_from: Option<&IndexKey>) -> Result<Option<IndexKey>> {
        let (kind, column, value) = unique;
        let filter = Field::custom(kind, column).eq(value.0.clone());
        let admitted = Admitted { column, column_type: None, spans: vec![Span::at(value.0.clone())] };
        let mut source = self.source_of(kind, &admitted)?.unwrap_or(Source::Kind(None));
        while let Some(page) = self.next_page(kind, &filter, &mut source)? {
            for (other, record) in page.into_iter().filter(|(_, record)| record.is_believed()) {
                if other == *key || Some(&other) == moved_from {
                    continue;
                }
                let entry = record.entry()?;
                let has = entry.details.row(kind).and_then(|row| row.get(column)) == Some(&value.0);
                if has && !self.is_expired(&entry) {
                    return Ok(Some(other));
                }
            }
        }
        Ok(None)
    }
}

fn taken((kind, column, value): &UniqueValue, holder: &IndexKey) -> CacheError {
    let shown: String = format!("{:?}", value.0.to_string()).chars().take(128).collect();
    let message = format!(
        "column {column:?} of custom metadata {kind:?} is unique, and entry {holder} has {shown} there: nothing was stored; \
         remove that entry or choose another value"
    );
    CacheError::new(ErrorKind::Conflict, message)
}
