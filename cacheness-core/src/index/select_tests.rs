//! That a statement finds whatever meets a condition, for backends that keep custom metadata as columns of SQL.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::entry::{Details, Entry, IndexKey, sample};
use crate::index::backend::{Change, Expected, MetadataBackend};
use crate::index::record::{Payload, Record};
use crate::key::ToKey;
use crate::query::{Field, Filter};
use crate::security::Signing;
use crate::value::{Metadata, Value};

pub(super) fn put(rows: &dyn MetadataBackend, entry: &Entry) {
    let record = Record::new(entry, &Payload::Inline(b"v"), 1 << 20, Signing::off()).unwrap();
    let facts = record.facts_and_columns().unwrap();
    let row = Some((record.as_bytes(), &facts));
    rows.apply(&[Change { key: entry.key.as_bytes(), expected: Expected::Anything, row }]).unwrap();
}

pub(super) fn named(key: impl ToKey, entry: Entry) -> Entry {
    Entry { key: IndexKey::of(&key.to_key().unwrap()), ..entry }
}

pub(super) fn with_rows(key: &str, rows: &[(&str, &[(&str, Value)])]) -> Entry {
    let row = |values: &[(&str, Value)]| -> Metadata {
        values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    };
    let (kinds, rows) = rows.iter().map(|(kind, values)| ((*kind).to_owned(), row(values))).unzip();
    named(key, Entry { details: Details { kinds, rows, ..Details::default() }, ..sample::entry(key) })
}

pub(super) fn selected(rows: &dyn MetadataBackend, filter: &Filter) -> Option<Vec<Arc<[u8]>>> {
    let found = rows.select("runs", filter, None, usize::MAX).unwrap()?;
    Some(found.into_iter().map(|row| row.key).collect())
}

/// The keys of entries that meet a condition and were not found.
pub(super) fn missed(rows: &dyn MetadataBackend, entries: &[Entry], filter: &Filter) -> usize {
    let Some(found) = selected(rows, filter) else { return 0 };
    assert!(found.is_sorted());
    let is_missed = |entry: &&Entry| filter.matches(entry) && !found.iter().any(|key| **key == *entry.key.as_bytes());
    entries.iter().filter(is_missed).count()
}

fn values() -> Vec<Value> {
    vec![
        Value::Null,
        false.into(),
        true.into(),
        i64::MIN.into(),
        0.into(),
        1.into(),
        9_007_199_254_740_993_i64.into(),
        i64::MAX.into(),
        (i64::MAX.unsigned_abs() + 1).into(),
        u64::MAX.into(),
        f64::NEG_INFINITY.into(),
        (-0.0).into(),
        1.5.into(),
        9_007_199_254_740_992.0.into(),
        9_223_372_036_854_775_808.0.into(),
        f64::NAN.into(),
        "".into(),
        "1".into(),
        "ab\0c".into(),
        "\u{10ffff}".into(),
        Timestamp::from_micros(1).into(),
        Timestamp::MAX.into(),
        Duration::from_nanos(1).into(),
        Duration::MAX.into(),
        vec!["ab"].into(),
    ]
}

fn tests_on(operand: &Value) -> Vec<Filter> {
    let field = || Field::custom("runs", "v");
    let text = operand.as_str().unwrap_or("a").to_owned();
    let value = || operand.clone();
    vec![
        field().eq(value()),
        field().ne(value()),
        field().lt(value()),
        field().le(value()),
        field().gt(value()),
        field().ge(value()),
        field().is_in([value(), Value::from(1), Value::from("ab\0c")]),
        field().starts_with(text.clone()),
        field().contains(text.clone()),
        field().like(format!("{text}%")),
        field().is_present(),
        Field::custom("others", "v").eq(value()),
        Field::custom("runs", "unknown").eq(value()),
        Field::any("size").eq(value()),
    ]
}

pub(super) fn values_of_every_type_and_of_several_in_one_column_are_selected_as_the_engine_compares_them(
    open: impl Fn() -> Arc<dyn MetadataBackend>,
) {
    let all = values();
    let of = |class: fn(&Value) -> bool| all.iter().filter(|value| value.is_null() || class(value)).cloned().collect();
    let mixes: Vec<Vec<Value>> = vec![
        of(|value| matches!(value, Value::Bool(_))),
        of(|value| matches!(value, Value::Int(_))),
        of(|value| matches!(value, Value::Int(_) | Value::UInt(_))),
        of(|value| matches!(value, Value::Float(number) if !number.is_nan())),
        of(|value| value.as_f64().is_some()),
        of(|value| matches!(value, Value::Int(_) | Value::Bool(_) | Value::Timestamp(_))),
        of(|value| matches!(value, Value::Text(_))),
        of(|value| matches!(value, Value::Timestamp(_))),
        of(|value| matches!(value, Value::Duration(_))),
        all.clone(),
    ];
    for mix in mixes {
        let rows = open();
        let entry = |(n, value): (usize, &Value)| with_rows(&n.to_string(), &[("runs", &[("v", value.clone())])]);
        let entries: Vec<_> = mix.iter().enumerate().map(entry).collect();
        entries.iter().for_each(|entry| put(&*rows, entry));
        for operand in &all {
            for filter in tests_on(operand) {
                for filter in [filter.clone(), !filter.clone(), !(!filter.clone() & Filter::everything())] {
                    assert_eq!(missed(&*rows, &entries, &filter), 0, "{filter:?} over {mix:?}");
                }
            }
        }
    }
}

pub(super) fn a_condition_that_sql_can_tell_leaves_the_others_out(rows: &dyn MetadataBackend) {
    for n in 0..100i64 {
        let label = format!("run {n:03}");
        put(rows, &with_rows(&label, &[("runs", &[("n", n.into()), ("label", label.as_str().into())])]));
    }
    let field = |name: &str| Field::custom("runs", name);
    for (filter, count) in [
        (field("n").eq(7), 1),
        (field("n").lt(10) & field("n").gt(4.5), 5),
        (!field("n").lt(90), 10),
        (!(field("n").ge(3) | field("label").eq("run 001")), 2),
        (field("label").starts_with("run 09"), 10),
        (field("label").like("run 09_"), 10),
        (field("label").contains("99"), 1),
        (field("n").is_in([1, 2, 300]), 2),
        (field("n").is_missing(), 0),
        (field("none").is_missing(), 100),
        (field("none").eq(1), 0),
        (Filter::everything(), 100),
    ] {
        assert_eq!(selected(rows, &filter).unwrap().len(), count, "{filter:?}");
    }
    let page = rows.select("runs", &field("n").lt(50), None, 20).unwrap().unwrap();
    let next = rows.select("runs", &field("n").lt(50), Some(&page[19].key), 99).unwrap().unwrap();
    assert_eq!((page.len(), next.len()), (20, 30));
    assert!(rows.select("others", &Filter::everything(), None, 9).unwrap().unwrap().is_empty());
}

pub(super) fn a_condition_of_any_size_is_asked(rows: &dyn MetadataBackend) {
    let entries = [with_rows("a", &[("runs", &[("n", 1.into())])])];
    put(rows, &entries[0]);
    let field = || Field::custom("runs", "n");
    let wide = (0..2000).map(|n| field().eq(n)).reduce(|all, one| all | one).unwrap();
    let many = field().is_in(0..50_000);
    let deep = (0..250).fold(field().eq(1), |inner, _| !!inner & field().ge(0));
    for filter in [wide, many, deep] {
        assert_eq!(missed(rows, &entries, &filter), 0);
    }
}

pub(super) fn names_that_sql_takes_for_one_or_that_look_like_sql_are_columns_of_their_own(rows: &dyn MetadataBackend) {
    let names = ["a", "A", "entry_key", "", "x\"; DROP TABLE entries; --", "nul\0", "nul\u{fffd}", "é", "select"];
    let values: Vec<_> = names.iter().enumerate().map(|(n, name)| (*name, Value::from(n as i64))).collect();
    let kinds = ["runs", "Runs", "", "x\"; DROP TABLE entries; --", "nul\0", "a.b"];
    let all: Vec<_> = kinds.iter().map(|kind| (*kind, &values[..])).collect();
    put(rows, &with_rows("k", &all));
    for kind in kinds {
        for (name, value) in &values {
            let count = |filter: Filter| rows.select(kind, &filter, None, 9).unwrap().unwrap().len();
            assert_eq!(count(Field::custom(kind, *name).eq(value.clone())), 1, "{kind:?} {name:?}");
            assert_eq!(count(Field::custom(kind, *name).eq(99)), 0, "{kind:?} {name:?}");
        }
    }
    let wide: Vec<(String, Value)> = (0..2500).map(|n| (format!("c{n}"), Value::from(n))).collect();
    let wide: Vec<_> = wide.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let entries = [with_rows("wide", &[("runs", &wide)])];
    put(rows, &entries[0]);
    for at in [3, 2400] {
        assert_eq!(missed(rows, &entries, &Field::custom("runs", format!("c{at}")).eq(at)), 0);
    }
}
