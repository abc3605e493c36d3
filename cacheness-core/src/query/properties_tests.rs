//! Conditions on columns against the same conditions written in Rust.

use proptest::prelude::*;

use super::*;
use crate::entry::{Details, Entry, sample};
use crate::value::{Metadata, Value};

#[derive(Clone, Debug)]
pub(crate) struct Run {
    label: Option<String>,
    minutes: Option<i64>,
    score: Option<f64>,
}

const LABEL: Column<Run, String> = Column::new("runs", "label");
const MINUTES: Column<Run, i64> = Column::new("runs", "minutes");
const SCORE: Column<Run, f64> = Column::new("runs", "score");

#[derive(Clone, Copy, Debug)]
pub(crate) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Compare {
    fn holds<T: PartialOrd>(self, a: &T, b: &T) -> bool {
        match self {
            Self::Eq => a == b,
            Self::Ne => a != b,
            Self::Lt => a < b,
            Self::Le => a <= b,
            Self::Gt => a > b,
            Self::Ge => a >= b,
        }
    }

    fn on<E, C: ColumnValue + ColumnField<Value = C>>(self, column: Column<E, C>, value: C::Operand<'_>) -> Filter {
        match self {
            Self::Eq => column.eq(value),
            Self::Ne => column.ne(value),
            Self::Lt => column.lt(value),
            Self::Le => column.le(value),
            Self::Gt => column.gt(value),
            Self::Ge => column.ge(value),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Condition {
    Label(Compare, String),
    Minutes(Compare, i64),
    Score(Compare, f64),
    Begins(String),
    MinutesIn(Vec<i64>),
    NoMinutes,
    SomeLabel,
    Not(Box<Condition>),
    Both(Box<Condition>, Box<Condition>),
    Either(Box<Condition>, Box<Condition>),
}

impl Condition {
    fn holds(&self, run: &Run) -> bool {
        match self {
            Self::Label(compare, text) => run.label.as_ref().is_some_and(|label| compare.holds(label, text)),
            Self::Minutes(compare, number) => run.minutes.is_some_and(|minutes| compare.holds(&minutes, number)),
            Self::Score(compare, number) => run.score.is_some_and(|score| compare.holds(&score, number)),
            Self::Begins(start) => run.label.as_ref().is_some_and(|label| label.starts_with(start)),
            Self::MinutesIn(numbers) => run.minutes.is_some_and(|minutes| numbers.contains(&minutes)),
            Self::NoMinutes => run.minutes.is_none(),
            Self::SomeLabel => run.label.is_some(),
            Self::Not(condition) => !condition.holds(run),
            Self::Both(a, b) => a.holds(run) && b.holds(run),
            Self::Either(a, b) => a.holds(run) || b.holds(run),
        }
    }

    pub(crate) fn filter(&self) -> Filter {
        match self {
            Self::Label(compare, text) => compare.on(LABEL, text),
            Self::Minutes(compare, number) => compare.on(MINUTES, *number),
            Self::Score(compare, number) => compare.on(SCORE, *number),
            Self::Begins(start) => LABEL.starts_with(start),
            Self::MinutesIn(numbers) => MINUTES.in_(numbers.iter().copied()),
            Self::NoMinutes => MINUTES.is_null(),
            Self::SomeLabel => LABEL.is_not_null(),
            Self::Not(condition) => !condition.filter(),
            Self::Both(a, b) => a.filter() & b.filter(),
            Self::Either(a, b) => a.filter() | b.filter(),
        }
    }
}

fn compares() -> impl Strategy<Value = Compare> {
    use Compare::*;
    prop::sample::select(vec![Eq, Ne, Lt, Le, Gt, Ge])
}

fn labels() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "ab", "abc", "b", "a\u{10ffff}", "a\u{10ffff}b"]).prop_map(str::to_owned)
}

fn minutes() -> impl Strategy<Value = i64> {
    prop::sample::select(vec![i64::MIN, -1, 0, 1, 2, 3, i64::MAX])
}

fn scores() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![f64::NEG_INFINITY, -0.5, -0.0, 0.0, 1.0, 1.5, f64::INFINITY, f64::NAN])
}

pub(crate) fn runs() -> impl Strategy<Value = Run> {
    let run = (prop::option::of(labels()), prop::option::of(minutes()), prop::option::of(scores()));
    run.prop_map(|(label, minutes, score)| Run { label, minutes, score })
}

pub(crate) fn conditions() -> impl Strategy<Value = Condition> {
    let one = prop_oneof![
        (compares(), labels()).prop_map(|(compare, text)| Condition::Label(compare, text)),
        (compares(), minutes()).prop_map(|(compare, number)| Condition::Minutes(compare, number)),
        (compares(), scores()).prop_map(|(compare, number)| Condition::Score(compare, number)),
        labels().prop_map(Condition::Begins),
        prop::collection::vec(minutes(), 0..4).prop_map(Condition::MinutesIn),
        Just(Condition::NoMinutes),
        Just(Condition::SomeLabel),
    ];
    one.prop_recursive(4, 24, 2, |inner| {
        let pair = || (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
        prop_oneof![
            inner.clone().prop_map(|condition| Condition::Not(Box::new(condition))),
            pair().prop_map(|(a, b)| Condition::Both(a, b)),
            pair().prop_map(|(a, b)| Condition::Either(a, b)),
        ]
    })
}

pub(crate) fn entry_of(run: &Run) -> Entry {
    let row: Metadata = [
        ("label".to_owned(), Value::from(run.label.clone())),
        ("minutes".to_owned(), run.minutes.into()),
        ("score".to_owned(), run.score.into()),
    ]
    .into();
    let details = Details { kinds: vec!["runs".to_owned()], rows: vec![row], ..Details::default() };
    Entry { details, ..sample::entry("one") }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_condition_on_columns_is_what_the_same_condition_is_in_rust(run in runs(), condition in conditions()) {
        prop_assert_eq!(condition.filter().matches(&entry_of(&run)), condition.holds(&run));
    }

    #[test]
    fn whatever_meets_a_condition_lies_in_the_spans_that_it_admits(run in runs(), condition in conditions()) {
        let (filter, entry) = (condition.filter(), entry_of(&run));
        let admits = if filter.matches(&entry) { filter.admits("runs") } else { Vec::new() };
        for admitted in admits {
            let value = Rank(entry.details.row("runs").unwrap()[admitted.column].clone());
            let within = |span: &Span| {
                std::ops::RangeBounds::contains(&(span.start.clone(), span.end.clone()), &value)
            };
            prop_assert!(admitted.spans.iter().any(within), "{value:?} is not in {admitted:?}");
        }
    }
}
