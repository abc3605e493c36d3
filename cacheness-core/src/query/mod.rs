//! Questions about entries as plain data: conditions on fields and on columns of custom metadata, orders and sums, and
//! whether an entry meets them. No I/O.

mod column;
mod field;
mod order;
#[cfg(test)]
pub(crate) mod properties_tests;
mod schema;

use std::cmp::Ordering;
use std::ops::{BitAnd, BitOr, Not};
use std::str::Chars;

pub use column::{Column, Measure, Number, Total};
pub use field::{EntryField, Field};
pub use order::Order;
#[cfg(feature = "sqlite")]
pub(crate) use order::successor;
pub(crate) use order::{Admitted, Rank, Span};
pub use schema::{ColumnField, ColumnSchema, ColumnType, ColumnValue, CustomMetadata, Schema};

use crate::entry::Entry;
use crate::error::Result;
use crate::value::Value;

impl Entry {
    /// The custom metadata of type `E` that was stored with it; `None` if there is none of that kind.
    ///
    /// # Errors
    /// [`Serialization`](crate::ErrorKind::Serialization) if it was stored by another version of the type, which this one
    /// cannot read.
    pub fn custom<E: CustomMetadata>(&self) -> Result<Option<E>> {
        self.details.row(E::SCHEMA.name).map(E::from_row).transpose()
    }
}

// Conditions on entries, and patterns of `like`.

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
pub(crate) enum Node {
    On(Field, Test),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
}

/// What is asked of the value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
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
    fn on(field: Field, test: Test) -> Self {
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

    pub(crate) fn node(&self) -> &Node {
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
            Self::Like(pattern) => value.as_str().is_some_and(|text| like_matches(pattern, text)),
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

// Patterns of `like`: `%` stands for any text, `_` for one character, and a backslash takes the meaning from the
// character behind it.

#[derive(Clone, Copy, PartialEq)]
enum Part {
    AnyText,
    AnyCharacter,
    Character(char),
}

/// The parts of a pattern, read while they are asked for. A backslash at the end stands for itself.
#[derive(Clone)]
struct Parts<'p>(Chars<'p>);

impl Iterator for Parts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        Some(match self.0.next()? {
            '%' => Part::AnyText,
            '_' => Part::AnyCharacter,
            '\\' => Part::Character(self.0.next().unwrap_or('\\')),
            other => Part::Character(other),
        })
    }
}

fn parts(pattern: &str) -> Parts<'_> {
    Parts(pattern.chars())
}

/// Whether the whole text is what the pattern says. Takes at most the product of both lengths: after a mismatch only the
/// last `%` is tried again.
fn like_matches(pattern: &str, text: &str) -> bool {
    let (mut wanted, mut rest) = (parts(pattern), text.chars());
    let mut retry: Option<(Parts<'_>, Chars<'_>)> = None;
    loop {
        let (before, part) = (rest.clone(), wanted.next());
        let goes_on = match part {
            Some(Part::AnyText) => {
                retry = Some((wanted.clone(), before));
                true
            }
            Some(Part::AnyCharacter) => rest.next().is_some(),
            Some(Part::Character(character)) => rest.next() == Some(character),
            None if before.as_str().is_empty() => return true,
            None => false,
        };
        if !goes_on {
            let Some((behind, from)) = &mut retry else { return false };
            if from.next().is_none() {
                return false;
            }
            (wanted, rest) = (behind.clone(), from.clone());
        }
    }
}

/// The text that everything begins with that the pattern matches.
pub(crate) fn like_prefix(pattern: &str) -> String {
    parts(pattern)
        .map_while(|part| if let Part::Character(character) = part { Some(character) } else { None })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::entry::{Core, Details, Entry, IndexKey, sample};
    use crate::key::ToKey;
    use crate::value::Value;

    fn entry() -> Entry {
        let key = crate::params! { run: 42, name: "exp_001", size: "large" }.to_key().unwrap();
        Entry {
            key: IndexKey::of(&key),
            core: Core {
                raw_size: 300,
                stored_size: 200,
                checksum: 3,
                ..sample::core(Timestamp::from_micros(1_000_000), Some(Duration::from_secs(60)))
            },
            details: Details {
                data_type: "u64".into(),
                tags: vec!["red".into(), "blue".into()],
                metadata: [
                    ("accuracy".to_owned(), Value::from(0.5)),
                    ("epochs".to_owned(), 10.into()),
                    ("empty".to_owned(), Value::Null),
                    ("a'; DROP TABLE entries; --".to_owned(), true.into()),
                ]
                .into(),
                params: key.params().to_vec(),
                ..Details::default()
            },
            accessed_at: None,
            signature: None,
        }
    }

    fn met(filter: Filter) -> bool {
        filter.matches(&entry())
    }

    #[test]
    fn metadata_parameters_and_technical_fields_are_compared_alike() {
        assert!(met(Field::metadata("accuracy").eq(0.5)));
        assert!(met(Field::metadata("epochs").ge(10.0)) && !met(Field::metadata("epochs").gt(10)));
        assert!(met(Field::param("run").lt(43)) && met(Field::param("name").eq("exp_001")));
        assert!(met(Field::from(EntryField::Size).le(200)) && !met(Field::from(EntryField::Size).lt(200)));
        assert!(met(Field::from(EntryField::CreatedAt).eq(Timestamp::from_micros(1_000_000))));
        assert!(met(Field::from(EntryField::Ttl).eq(60)));
    }

    #[test]
    fn values_of_another_kind_are_neither_equal_nor_in_any_order() {
        assert!(!met(Field::metadata("epochs").eq("10")));
        assert!(!met(Field::metadata("epochs").lt("99")) && !met(Field::metadata("epochs").gt("0")));
        assert!(met(Field::metadata("epochs").ne("10")));
    }

    #[test]
    fn a_field_that_is_missing_meets_nothing_but_the_question_whether_it_is() {
        for name in ["nothing", "empty"] {
            let field = || Field::metadata(name);
            for filter in [field().eq(1), field().ne(1), field().lt(1), field().is_in([1]), field().is_present()] {
                assert!(!met(filter.clone()), "{filter:?}");
            }
            assert!(met(field().is_missing()) && met(!field().eq(1)));
        }
        assert!(met(Field::from(EntryField::Function).is_missing()));
    }

    #[test]
    fn any_name_is_looked_up_in_metadata_then_parameters_then_the_entry_itself() {
        assert!(met(Field::any("accuracy").eq(0.5)));
        assert!(met(Field::any("size").eq("large")), "the parameter stands before the field of the entry");
        assert!(met(Field::any("data_type").eq("u64")));
        assert!(!met(Field::any("no such name").is_present()));
    }

    #[test]
    fn a_name_is_data_whatever_is_in_it() {
        assert!(met(Field::metadata("a'; DROP TABLE entries; --").eq(true)));
        assert!(!met(Field::metadata("a.b[0]").is_present()));
    }

    #[test]
    fn texts_and_lists_are_searched() {
        assert!(met(Field::param("name").starts_with("exp_")) && !met(Field::param("name").starts_with("001")));
        assert!(met(Field::param("name").contains("p_0")));
        assert!(
            met(Field::from(EntryField::Tags).contains("blue")) && !met(Field::from(EntryField::Tags).contains("blu"))
        );
        assert!(met(Field::metadata("epochs").is_in([9, 10])) && !met(Field::metadata("epochs").is_in([9, 11])));
    }

    #[test]
    fn filters_are_put_together() {
        let (yes, no) = (|| Field::metadata("epochs").eq(10), || Field::metadata("epochs").eq(11));
        assert!(met(yes() & yes() & yes()) && !met(yes() & yes() & no()));
        assert!(met(no() | no() | yes()) && !met(no() | no()));
        assert!(met(!no()) && !met(!yes()) && met(!(yes() & no())));
        assert!(met(Filter::everything()));
        assert!(met(Filter::matching([("name", "exp_001")])));
        assert!(!met(Filter::matching([("name", "exp_001"), ("size", "small")])));
    }

    #[test]
    fn an_unknown_field_of_entries_is_refused_with_those_that_there_are() {
        for field in EntryField::ALL {
            assert_eq!(field.name().parse::<EntryField>().unwrap(), *field);
        }
        let error = "created".parse::<EntryField>().unwrap_err();
        assert!(error.is_invalid_argument() && error.to_string().contains("created_at, accessed_at"), "{error}");
    }

    #[test]
    fn percent_is_any_text_and_underscore_one_character() {
        for (pattern, text) in [
            ("", ""),
            ("%", ""),
            ("%", "é"),
            ("a%", "a"),
            ("%b", "aab"),
            ("a_c", "aéc"),
            ("%a%b%", "xaxbx"),
            ("%%", "x"),
        ] {
            assert!(like_matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("_", ""), ("_", "ab"), ("a%", "ba"), ("%b", "ba"), ("A", "a"), ("a%b", "a")]
        {
            assert!(!like_matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_backslash_takes_the_meaning_from_what_follows() {
        assert!(like_matches(r"100\%", "100%") && !like_matches(r"100\%", "1000"));
        assert!(like_matches(r"a\_b", "a_b") && !like_matches(r"a\_b", "axb"));
        assert!(like_matches(r"a\\b", r"a\b") && like_matches(r"a\", r"a\"));
        assert_eq!(
            (like_prefix(r"a\%b_c"), like_prefix("%a"), like_prefix("abc")),
            ("a%b".into(), "".into(), "abc".into())
        );
    }

    #[test]
    fn a_pattern_that_nearly_matches_everywhere_ends_soon() {
        assert!(!like_matches(&"%a".repeat(40), &"a".repeat(5_000).replace("aaaaa", "aaaab").replace('a', "b")));
        assert!(!like_matches(&format!("{}b", "%a".repeat(30)), &"a".repeat(3_000)));
    }

    /// The same by the definition, without a thought of time.
    fn by_definition(pattern: &[Part], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([Part::AnyText, behind @ ..], _) => (0..=text.len()).any(|from| by_definition(behind, &text[from..])),
            ([Part::AnyCharacter, behind @ ..], [_, rest @ ..]) => by_definition(behind, rest),
            ([Part::Character(wanted), behind @ ..], [first, rest @ ..]) if wanted == first => {
                by_definition(behind, rest)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_matches_what_the_definition_matches(pattern in r"[ab%_\\]{0,7}", text in r"[ab%\\]{0,7}") {
            let (all, characters): (Vec<_>, Vec<_>) = (parts(&pattern).collect(), text.chars().collect());
            prop_assert_eq!(like_matches(&pattern, &text), by_definition(&all, &characters));
            if like_matches(&pattern, &text) {
                prop_assert!(text.starts_with(&like_prefix(&pattern)));
            }
        }
    }
}
