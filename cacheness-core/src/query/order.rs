//! Orders of entries and of values, and the ranges of values that a condition admits.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Bound;
use std::time::Duration;

use super::field::Field;
use super::schema::ColumnType;
use super::{Filter, Node, Test, like_prefix};
use crate::clock::Timestamp;
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
            (Some(a), Some(b)) if self.descending => compare(b, a),
            (Some(a), Some(b)) => compare(a, b),
            (a, b) if self.nulls_first => a.is_some().cmp(&b.is_some()),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}

// One order over all values: by kind, then within the kind. Filters compare by kind alone; a list that is sorted by a
// column, and an index over it, need a place for every value.

/// A value by its place in the order.
#[derive(Clone, Debug)]
pub(crate) struct Rank(pub(crate) Value);

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

impl Rank {
    /// The first place of the values that are comparable with this one.
    fn first_like(value: &Value) -> Option<Self> {
        first_of(class(value))
    }

    /// The place behind the last of the values that are comparable with this one.
    fn behind_like(value: &Value) -> Option<Self> {
        first_of(class(value) + 1)
    }
}

/// Kinds in their order. Numbers are one kind, whether they have a fraction or not.
const fn class(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => 2,
        Value::Text(_) => 3,
        Value::Timestamp(_) => 4,
        Value::Duration(_) => 5,
        Value::List(_) => 6,
        Value::Map(_) => 7,
    }
}

fn first_of(class: u8) -> Option<Rank> {
    Some(Rank(match class {
        0 => Value::Null,
        1 => Value::Bool(false),
        2 => Value::Float(f64::NEG_INFINITY),
        3 => Value::Text(String::new()),
        4 => Value::Timestamp(Timestamp::MIN),
        5 => Value::Duration(Duration::ZERO),
        6 => Value::List(Vec::new()),
        _ => return None,
    }))
}

/// Which of two values comes first: null, false, true, numbers (NaN behind all others), texts, points in time, lengths of
/// time, lists, maps.
pub(crate) fn compare(a: &Value, b: &Value) -> Ordering {
    let within = || match (a, b) {
        (Value::List(a), Value::List(b)) => lists(a, b),
        (Value::Map(a), Value::Map(b)) => {
            let pairs = |map: &std::collections::BTreeMap<String, Value>| -> Vec<Value> {
                map.iter().flat_map(|(name, value)| [Value::from(name), value.clone()]).collect()
            };
            lists(&pairs(a), &pairs(b))
        }
        _ => a.partial_cmp(b).unwrap_or_else(|| is_nan(a).cmp(&is_nan(b))),
    };
    class(a).cmp(&class(b)).then_with(within)
}

fn lists(a: &[Value], b: &[Value]) -> Ordering {
    let unequal = a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
    unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn is_nan(value: &Value) -> bool {
    matches!(value, Value::Float(number) if number.is_nan())
}

// Which values of a column a condition admits, so that an index over the column need not be read from end to end.

/// Values from one place to another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) start: Bound<Rank>,
    pub(crate) end: Bound<Rank>,
}

/// What a condition says of one column: all entries that meet it have a value in one of the spans.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Admitted<'f> {
    pub(crate) column: &'f str,
    /// The type that values of the column must have, if the condition says so.
    pub(crate) column_type: Option<ColumnType>,
    pub(crate) spans: Vec<Span>,
}

impl Span {
    /// One value.
    pub(crate) fn at(value: Value) -> Self {
        Self { start: Bound::Included(Rank(value.clone())), end: Bound::Included(Rank(value)) }
    }

    /// Whether there is a place between the ends: a range that has none may not be asked of a tree.
    fn is_possible(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Included(start), Bound::Included(end)) => start <= end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
                start < end
            }
            _ => true,
        }
    }

    fn is_one_value(&self) -> bool {
        matches!((&self.start, &self.end), (Bound::Included(start), Bound::Included(end)) if start == end)
    }

    fn and(&self, other: &Self) -> Self {
        Self { start: later(&self.start, &other.start), end: earlier(&self.end, &other.end) }
    }
}

fn later(a: &Bound<Rank>, b: &Bound<Rank>) -> Bound<Rank> {
    match (a, b) {
        (Bound::Unbounded, bound) | (bound, Bound::Unbounded) => bound.clone(),
        (Bound::Included(x) | Bound::Excluded(x), Bound::Included(y) | Bound::Excluded(y)) => {
            let takes_b = y > x || (y == x && matches!(b, Bound::Excluded(_)));
            if takes_b { b.clone() } else { a.clone() }
        }
    }
}

fn earlier(a: &Bound<Rank>, b: &Bound<Rank>) -> Bound<Rank> {
    match (a, b) {
        (Bound::Unbounded, bound) | (bound, Bound::Unbounded) => bound.clone(),
        (Bound::Included(x) | Bound::Excluded(x), Bound::Included(y) | Bound::Excluded(y)) => {
            let takes_b = y < x || (y == x && matches!(b, Bound::Excluded(_)));
            if takes_b { b.clone() } else { a.clone() }
        }
    }
}

impl Admitted<'_> {
    /// How few entries this may leave; less is better.
    fn roughness(&self) -> usize {
        let one = self.spans.iter().filter(|span| span.is_one_value()).count();
        if one == self.spans.len() { one } else { usize::MAX }
    }

    fn narrow(&mut self, spans: Vec<Span>) {
        // Two long lists would make a longer one; either of them is right, too.
        if self.spans.len() > 1 && spans.len() > 1 {
            return;
        }
        let both = self.spans.iter().flat_map(|one| spans.iter().map(move |other| one.and(other)));
        self.spans = both.filter(Span::is_possible).collect();
    }
}

impl Filter {
    /// What the condition says of each column of a kind, the most precise first. Only what must hold of every entry that
    /// meets it is told: alternatives and negations are not.
    pub(crate) fn admits(&self, kind: &str) -> Vec<Admitted<'_>> {
        let mut found: Vec<Admitted<'_>> = Vec::new();
        self.node().each_needed(&mut |field: &Field, test: &Test| {
            let Some((column, column_type)) = field.column_of(kind) else { return };
            let Some(spans) = spans(test) else { return };
            match found.iter_mut().find(|admitted| admitted.column == column) {
                Some(admitted) => {
                    admitted.column_type = admitted.column_type.or(column_type);
                    admitted.narrow(spans);
                }
                None => found.push(Admitted { column, column_type, spans }),
            }
        });
        found.sort_by_key(Admitted::roughness);
        found
    }
}

impl Node {
    /// Visits the tests that all must hold.
    fn each_needed<'f>(&'f self, visit: &mut impl FnMut(&'f Field, &'f Test)) {
        match self {
            Self::On(field, test) => visit(field, test),
            Self::All(nodes) => nodes.iter().for_each(|node| node.each_needed(visit)),
            Self::Any(nodes) => {
                if let [only] = nodes.as_slice() {
                    only.each_needed(visit);
                }
            }
            Self::Not(_) => {}
        }
    }
}

/// The values that a test can hold of; `None` if that cannot be told by places in the order.
fn spans(test: &Test) -> Option<Vec<Span>> {
    let like = |value: &Value, span: Span| {
        let whole =
            Span { start: Bound::Included(Rank::first_like(value)?), end: Bound::Excluded(Rank::behind_like(value)?) };
        Some(Some(span.and(&whole)).filter(Span::is_possible).into_iter().collect())
    };
    let (from, to) = (|start| Span { start, end: Bound::Unbounded }, |end| Span { start: Bound::Unbounded, end });
    match test {
        Test::Eq(value) => like(value, Span::at(value.clone())),
        Test::Lt(value) => like(value, to(Bound::Excluded(Rank(value.clone())))),
        Test::Le(value) => like(value, to(Bound::Included(Rank(value.clone())))),
        Test::Gt(value) => like(value, from(Bound::Excluded(Rank(value.clone())))),
        Test::Ge(value) => like(value, from(Bound::Included(Rank(value.clone())))),
        Test::In(values) => Some(values.iter().cloned().map(Span::at).collect()),
        Test::StartsWith(start) => Some(vec![beginning_with(start)]),
        Test::Like(pattern) => Some(vec![beginning_with(&like_prefix(pattern))]),
        Test::Ne(_) | Test::Contains(_) | Test::Present => None,
    }
}

/// The texts that begin with this one.
fn beginning_with(start: &str) -> Span {
    let text = Value::from(start);
    let end = successor(start).map(|end| Rank(end.into())).or_else(|| Rank::behind_like(&text));
    Span { start: Bound::Included(Rank(text)), end: end.map_or(Bound::Unbounded, Bound::Excluded) }
}

/// The first text behind all that begin with this one, if there is one.
pub(crate) fn successor(start: &str) -> Option<String> {
    let mut text = start.to_owned();
    while let Some(last) = text.pop() {
        // A range of characters leaps over what is none.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_place_and_only_one() {
        let values: Vec<Value> = vec![
            Value::Null,
            false.into(),
            true.into(),
            f64::NEG_INFINITY.into(),
            i64::MIN.into(),
            0.into(),
            0.5.into(),
            u64::MAX.into(),
            f64::INFINITY.into(),
            f64::NAN.into(),
            "".into(),
            "a".into(),
            "b".into(),
            Timestamp::MIN.into(),
            Timestamp::MAX.into(),
            Duration::ZERO.into(),
            Duration::MAX.into(),
            Value::List(Vec::new()),
            vec![f64::NAN].into(),
            vec!["a"].into(),
            Value::Map([("a".to_owned(), f64::NAN.into())].into()),
            Value::Map([("b".to_owned(), 1.into())].into()),
        ];
        for (i, a) in values.iter().enumerate() {
            for (j, b) in values.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
        assert_eq!(
            (compare(&1.into(), &1.0.into()), compare(&0.0.into(), &(-0.0).into())),
            (Ordering::Equal, Ordering::Equal)
        );
    }

    #[test]
    fn the_values_of_a_kind_lie_between_its_ends() {
        for value in [true.into(), f64::NAN.into(), "\u{10ffff}".into(), Timestamp::MAX.into(), Duration::MAX.into()] {
            let value: Value = value;
            assert!(Rank::first_like(&value).unwrap() <= Rank(value.clone()), "{value:?}");
            assert!(Rank(value.clone()) < Rank::behind_like(&value).unwrap(), "{value:?}");
        }
    }

    fn field(column: &str) -> Field {
        Field::custom("runs", column)
    }

    fn of<'f>(filter: &'f Filter, column: &str) -> Option<Vec<Span>> {
        filter
            .admits("runs")
            .into_iter()
            .find(|admitted: &Admitted<'f>| admitted.column == column)
            .map(|found| found.spans)
    }

    fn included(value: impl Into<Value>) -> Bound<Rank> {
        Bound::Included(Rank(value.into()))
    }

    fn excluded(value: impl Into<Value>) -> Bound<Rank> {
        Bound::Excluded(Rank(value.into()))
    }

    #[test]
    fn tests_on_one_column_narrow_each_other() {
        let filter = field("n").ge(3) & field("n").lt(7) & field("n").gt(3);
        assert_eq!(of(&filter, "n"), Some(vec![Span { start: excluded(3), end: excluded(7) }]));
        assert_eq!(of(&(field("n").is_in([1, 5, 9]) & field("n").gt(4)), "n").map(|spans| spans.len()), Some(2));
        for nothing in [
            field("n").gt(7) & field("n").lt(3),
            field("n").gt(3) & field("n").le(3),
            field("n").eq("a") & field("n").eq(1),
        ] {
            assert_eq!(of(&nothing, "n"), Some(Vec::new()), "{nothing:?}");
        }
    }

    #[test]
    fn a_bound_on_one_side_ends_with_the_kind_of_value() {
        let span = of(&field("n").lt("b"), "n").unwrap().remove(0);
        assert_eq!(span, Span { start: included(""), end: excluded("b") });
    }

    #[test]
    fn alternatives_and_negations_say_nothing_of_all_entries() {
        for filter in
            [field("n").eq(1) | field("m").eq(2), !field("n").eq(1), field("n").ne(1), field("n").is_present()]
        {
            assert_eq!(of(&filter, "n"), None, "{filter:?}");
        }
        let one = (field("n").eq(1) | field("m").eq(2)) & field("m").eq(3);
        assert_eq!((of(&one, "n"), of(&one, "m")), (None, Some(vec![Span::at(3.into())])));
    }

    #[test]
    fn other_kinds_and_other_fields_are_left_out() {
        let filter = Field::custom("others", "n").eq(1) & Field::metadata("n").eq(1);
        assert!(filter.admits("runs").is_empty());
    }

    #[test]
    fn texts_with_a_beginning_lie_together() {
        let span = |end| Some(vec![Span { start: included("ab"), end }]);
        assert_eq!(of(&field("t").starts_with("ab"), "t"), span(excluded("ac")));
        assert_eq!(of(&field("t").like("ab%d_"), "t"), span(excluded("ac")));
        assert_eq!(successor("a\u{d7ff}").unwrap(), "a\u{e000}", "the numbers between are no characters");
        assert_eq!(successor("a\u{10ffff}").unwrap(), "b");
        assert_eq!(successor("\u{10ffff}"), None);
    }

    #[test]
    fn the_column_that_leaves_the_fewest_comes_first() {
        let filter = field("a").gt(1) & field("b").is_in([1, 2]) & field("c").eq(1);
        let order: Vec<_> = filter.admits("runs").into_iter().map(|admitted| admitted.column).collect();
        assert_eq!(order, ["c", "b", "a"]);
    }
}
