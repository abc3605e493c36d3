use std::cmp::Ordering;
use std::ops::{BitAnd, BitOr, Not};

use super::field::Field;
use super::like;
use crate::entry::Entry;
use crate::value::Value;

/// A condition on entries, made by the methods of [`Field`] and put together by `&`, `|` and `!`.
///
/// ```
/// use cacheness::Field;
/// use cacheness::query::Filter;
///
/// let project = Field::any("project").eq("ml_models");
/// let filter = project & !(Field::metadata("accuracy").lt(0.9) | Field::metadata("draft").eq(true));
///
/// // All of several names and values, as in a listing of what must match:
/// let all = Filter::matching([("experiment", "exp_001"), ("model_type", "xgboost")]);
/// # let _ = (filter, all);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a filter does nothing until entries are listed, touched or deleted by it"]
pub struct Filter(Node);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    On(Field, Test),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
}

/// What is asked of the value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    Eq(Value),
    Ne(Value),
    Lt(Value),
    Le(Value),
    Gt(Value),
    Ge(Value),
    In(Vec<Value>),
    StartsWith(String),
    Contains(String),
    Like(String),
    Present,
}

impl Filter {
    pub(super) fn on(field: Field, test: Test) -> Self {
        Self(Node::On(field, test))
    }

    /// Every entry.
    pub fn everything() -> Self {
        Self(Node::All(Vec::new()))
    }

    /// Entries where each of these names, taken as [`Field::any`], has the value beside it.
    pub fn matching<N: Into<String>, V: Into<Value>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(Node::All(pairs.into_iter().map(|(name, value)| Field::any(name).eq(value).0).collect()))
    }

    pub(super) fn node(&self) -> &Node {
        &self.0
    }

    /// The fields that the condition looks at.
    pub(crate) fn fields(&self) -> Vec<&Field> {
        let mut fields = Vec::new();
        self.0.collect_fields(&mut fields);
        fields
    }

    /// Whether an entry meets the condition.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.0.matches(entry)
    }
}

impl Node {
    fn matches(&self, entry: &Entry) -> bool {
        match self {
            Self::On(field, test) => field.of(entry).is_some_and(|value| test.holds(&value)),
            Self::Not(node) => !node.matches(entry),
            Self::All(nodes) => nodes.iter().all(|node| node.matches(entry)),
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(entry)),
        }
    }
}

impl Node {
    fn collect_fields<'f>(&'f self, fields: &mut Vec<&'f Field>) {
        match self {
            Self::On(field, _) => fields.push(field),
            Self::Not(node) => node.collect_fields(fields),
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().for_each(|node| node.collect_fields(fields)),
        }
    }
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        let order = |other: &Value| value.partial_cmp(other);
        match self {
            Self::Eq(other) => value == other,
            Self::Ne(other) => value != other,
            Self::Lt(other) => order(other).is_some_and(Ordering::is_lt),
            Self::Le(other) => order(other).is_some_and(Ordering::is_le),
            Self::Gt(other) => order(other).is_some_and(Ordering::is_gt),
            Self::Ge(other) => order(other).is_some_and(Ordering::is_ge),
            Self::In(others) => others.contains(value),
            Self::StartsWith(start) => value.as_str().is_some_and(|text| text.starts_with(start)),
            Self::Contains(part) => match value {
                Value::Text(text) => text.contains(part),
                Value::List(items) => items.iter().any(|item| item.as_str() == Some(part)),
                _ => false,
            },
            Self::Like(pattern) => value.as_str().is_some_and(|text| like::matches(pattern, text)),
            Self::Present => true,
        }
    }
}

/// Both conditions.
impl BitAnd for Filter {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        match self.0 {
            Node::All(mut nodes) => {
                nodes.push(other.0);
                Self(Node::All(nodes))
            }
            node => Self(Node::All(vec![node, other.0])),
        }
    }
}

/// Either condition, or both.
impl BitOr for Filter {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        match self.0 {
            Node::Any(mut nodes) => {
                nodes.push(other.0);
                Self(Node::Any(nodes))
            }
            node => Self(Node::Any(vec![node, other.0])),
        }
    }
}

/// The opposite.
impl Not for Filter {
    type Output = Self;

    fn not(self) -> Self {
        Self(Node::Not(Box::new(self.0)))
    }
}
