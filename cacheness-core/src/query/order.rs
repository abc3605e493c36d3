use std::borrow::Cow;
use std::cmp::Ordering;

use super::field::Field;
use super::rank;
use crate::entry::Entry;
use crate::value::Value;

/// In which order a query returns entries, made by [`Column::asc`](crate::Column::asc) and [`Field::desc`] and their like.
///
/// Values come by kind: false before true, numbers by size with NaN behind all others, texts by their bytes, times.
/// Entries that have no value come last, in both directions, unless [`nulls_first`](Self::nulls_first) says otherwise.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "an order does nothing until a query has it"]
pub struct Order {
    field: Field,
    descending: bool,
    nulls_first: bool,
}

impl Order {
    pub(super) fn by(field: Field, descending: bool) -> Self {
        Self { field, descending, nulls_first: false }
    }

    /// Entries without a value come first.
    pub fn nulls_first(self) -> Self {
        Self { nulls_first: true, ..self }
    }

    pub(crate) fn field(&self) -> &Field {
        &self.field
    }

    /// What of an entry decides its place.
    pub(crate) fn key(&self, entry: &Entry) -> Option<Value> {
        self.field.of(entry).map(Cow::into_owned)
    }

    /// Which of two such values comes first.
    pub(crate) fn compare(&self, a: Option<&Value>, b: Option<&Value>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) if self.descending => rank::compare(b, a),
            (Some(a), Some(b)) => rank::compare(a, b),
            (a, b) if self.nulls_first => a.is_some().cmp(&b.is_some()),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}
