use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

use super::super::engine::Engine;
use super::super::walk::Way;
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::Group;
use crate::query::{Field, Schema};

/// What is known of the kinds of custom metadata: from their types, where this process has used them, and from rows.
#[derive(Debug, Default)]
pub(in crate::cache) struct Kinds(RwLock<BTreeMap<String, Kind>>);

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

    /// A type of this kind is used from now on.
    pub(super) fn register(&self, schema: &'static Schema) {
        let same = |known: &&'static Schema| std::ptr::eq(*known, schema) || *known == schema;
        if self.with(schema.name, |kind| kind.schemas.iter().any(same)) == Some(true) {
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
        self.each(Way::Of(Group::kind(kind)), |_, record| {
            if let Some(row) = record.entry()?.details.row(kind) {
                columns.get_or_insert_default().extend(row.keys().cloned());
            }
            Ok(())
        })?;
        Ok(columns)
    }

    fn kinds_in_entries(&self) -> Result<BTreeSet<String>> {
        let mut kinds = BTreeSet::new();
        self.each(Way::All, |_, record| {
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
