//! That a statement finds whatever meets a condition, and tables as other tools see them.

use std::process::Command;
use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::clock::Timestamp;
use crate::config::backends::BackendOptions;
use crate::entry::{Details, Entry, IndexKey, sample};
use crate::index::backend::Expected;
use crate::index::{Payload, Record};
use crate::key::ToKey;
use crate::query::properties_tests::{conditions, entry_of, runs};
use crate::query::{ColumnSchema, Field};
use crate::security::Signing;
use crate::value::{Metadata, Value};

fn put(rows: &SqliteMetadata, entry: &Entry) {
    let record = Record::new(entry, &Payload::Inline(b"v"), 1 << 20, Signing::off()).unwrap();
    let facts = record.facts_and_columns().unwrap();
    let row = Some((record.as_bytes(), &facts));
    rows.apply(&[Change { key: entry.key.as_bytes(), expected: Expected::Anything, row }]).unwrap();
}

fn named(key: impl ToKey, entry: Entry) -> Entry {
    Entry { key: IndexKey::of(&key.to_key().unwrap()), ..entry }
}

fn with_rows(key: &str, rows: &[(&str, &[(&str, Value)])]) -> Entry {
    let row = |values: &[(&str, Value)]| -> Metadata {
        values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    };
    let (kinds, rows) = rows.iter().map(|(kind, values)| ((*kind).to_owned(), row(values))).unzip();
    named(key, Entry { details: Details { kinds, rows, ..Details::default() }, ..sample::entry(key) })
}

fn selected(rows: &SqliteMetadata, filter: &Filter) -> Option<Vec<Arc<[u8]>>> {
    let found = rows.select("runs", filter, None, usize::MAX).unwrap()?;
    Some(found.into_iter().map(|row| row.key).collect())
}

/// The keys of entries that meet a condition and were not found.
fn missed(rows: &SqliteMetadata, entries: &[Entry], filter: &Filter) -> usize {
    let Some(found) = selected(rows, filter) else { return 0 };
    assert!(found.is_sorted());
    let is_missed = |entry: &&Entry| filter.matches(entry) && !found.iter().any(|key| **key == *entry.key.as_bytes());
    entries.iter().filter(is_missed).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_meets_a_condition_is_selected(
        runs in prop::collection::vec(runs(), 1..12),
        conditions in prop::collection::vec(conditions(), 1..4),
    ) {
        let rows = SqliteMetadata::in_memory().unwrap();
        let entries: Vec<_> = runs.iter().enumerate().map(|(n, run)| named(n as u64, entry_of(run))).collect();
        entries.iter().for_each(|entry| put(&rows, entry));
        for condition in conditions {
            let filter = condition.filter();
            prop_assert_eq!(missed(&rows, &entries, &filter), 0, "{:?}", filter);
        }
    }
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

#[test]
fn values_of_every_type_and_of_several_in_one_column_are_selected_as_the_engine_compares_them() {
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
        let rows = SqliteMetadata::in_memory().unwrap();
        let entry = |(n, value): (usize, &Value)| with_rows(&n.to_string(), &[("runs", &[("v", value.clone())])]);
        let entries: Vec<_> = mix.iter().enumerate().map(entry).collect();
        entries.iter().for_each(|entry| put(&rows, entry));
        for operand in &all {
            for filter in tests_on(operand) {
                for filter in [filter.clone(), !filter.clone(), !(!filter.clone() & Filter::everything())] {
                    assert_eq!(missed(&rows, &entries, &filter), 0, "{filter:?} over {mix:?}");
                }
            }
        }
    }
}

#[test]
fn a_condition_that_sql_can_tell_leaves_the_others_out() {
    let rows = SqliteMetadata::in_memory().unwrap();
    for n in 0..100i64 {
        let label = format!("run {n:03}");
        put(&rows, &with_rows(&label, &[("runs", &[("n", n.into()), ("label", label.as_str().into())])]));
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
        assert_eq!(selected(&rows, &filter).unwrap().len(), count, "{filter:?}");
    }
    let page = rows.select("runs", &field("n").lt(50), None, 20).unwrap().unwrap();
    let next = rows.select("runs", &field("n").lt(50), Some(&page[19].key), 99).unwrap().unwrap();
    assert_eq!((page.len(), next.len()), (20, 30));
    assert!(rows.select("others", &Filter::everything(), None, 9).unwrap().unwrap().is_empty());
}

#[test]
fn a_condition_of_any_size_is_asked() {
    let rows = SqliteMetadata::in_memory().unwrap();
    let entries = [with_rows("a", &[("runs", &[("n", 1.into())])])];
    put(&rows, &entries[0]);
    let field = || Field::custom("runs", "n");
    let wide = (0..2000).map(|n| field().eq(n)).reduce(|all, one| all | one).unwrap();
    let many = field().is_in(0..50_000);
    let deep = (0..250).fold(field().eq(1), |inner, _| !!inner & field().ge(0));
    for filter in [wide, many, deep] {
        assert_eq!(missed(&rows, &entries, &filter), 0);
    }
}

#[test]
fn names_that_sql_takes_for_one_or_that_look_like_sql_are_columns_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let rows = SqliteMetadata::open(&BackendOptions::new().with_dir(dir.path())).unwrap();
    let names = ["a", "A", "entry_key", "", "x\"; DROP TABLE entries; --", "nul\0", "nul\u{fffd}", "é", "select"];
    let values: Vec<_> = names.iter().enumerate().map(|(n, name)| (*name, Value::from(n as i64))).collect();
    let kinds = ["runs", "Runs", "", "x\"; DROP TABLE entries; --", "nul\0", "a.b"];
    let all: Vec<_> = kinds.iter().map(|kind| (*kind, &values[..])).collect();
    put(&rows, &with_rows("k", &all));
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
    put(&rows, &entries[0]);
    for at in [3, 2400] {
        assert_eq!(missed(&rows, &entries, &Field::custom("runs", format!("c{at}")).eq(at)), 0);
    }
}

const SCHEMA: Schema = Schema::new(
    "experiments",
    &[ColumnSchema::of::<String>("name").unique(), ColumnSchema::of::<Option<f64>>("accuracy").indexed()],
);
const GROWN: Schema = Schema::new(
    "experiments",
    &[ColumnSchema::of::<String>("name"), ColumnSchema::of::<Option<i64>>("epochs").indexed()],
);

#[test]
fn a_kind_is_a_table_with_indexes_that_grows_and_loses_rows_with_their_entries() {
    let dir = tempfile::tempdir().unwrap();
    let open = || SqliteMetadata::open(&BackendOptions::new().with_dir(dir.path())).unwrap();
    let rows = open();
    rows.define(&SCHEMA).unwrap();
    open().define(&SCHEMA).unwrap();
    let tool = Connection::open(dir.path().join(open::FILE_NAME)).unwrap();
    let text = |sql: &str| -> String { tool.query_row(sql, [], |row| row.get(0)).unwrap() };
    let number = |sql: &str| -> i64 { tool.query_row(sql, [], |row| row.get(0)).unwrap() };
    let columns = || text("SELECT group_concat(name) FROM pragma_table_info('custom_experiments')");
    assert_eq!(columns(), "entry_key,name,accuracy");
    assert_eq!(number("SELECT count(*) FROM pragma_index_list('custom_experiments') WHERE origin = 'c'"), 2);

    let experiment = |accuracy: f64| -> [(&str, Value); 2] { [("name", "one".into()), ("accuracy", accuracy.into())] };
    put(&rows, &with_rows("one", &[("experiments", &experiment(0.5))]));
    assert_eq!(text("SELECT name FROM custom_experiments WHERE accuracy = 0.5"), "one");
    put(&rows, &with_rows("one", &[("experiments", &experiment(0.75))]));
    assert_eq!(number("SELECT count(*) FROM custom_experiments WHERE accuracy = 0.5"), 0);
    assert_eq!(number("SELECT count(*) FROM custom_experiments WHERE accuracy = 0.75"), 1);

    // By a row of a later version, and by its type.
    let later = [("name", "two".into()), ("stage", "late".into())];
    put(&rows, &with_rows("two", &[("experiments", &later)]));
    assert_eq!(columns(), "entry_key,name,accuracy,stage");
    rows.define(&GROWN).unwrap();
    assert_eq!(columns(), "entry_key,name,accuracy,stage,epochs");
    assert_eq!(number("SELECT count(*) FROM custom_experiments"), 2);

    put(&rows, &with_rows("two", &[]));
    assert_eq!(number("SELECT count(*) FROM custom_experiments"), 1, "the entry stays, without it");
    let one = IndexKey::of(&"one".to_key().unwrap());
    rows.apply(&[Change { key: one.as_bytes(), expected: Expected::Anything, row: None }]).unwrap();
    assert_eq!(number("SELECT count(*) FROM custom_experiments"), 0);
}

#[test]
fn python_reads_custom_metadata_as_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let rows = SqliteMetadata::open(&BackendOptions::new().with_dir(dir.path())).unwrap();
    for (name, accuracy) in [("a", 0.5), ("b", 0.75)] {
        put(&rows, &with_rows(name, &[("experiments", &[("name", name.into()), ("accuracy", accuracy.into())])]));
    }
    let program = "import sqlite3, sys\n\
                   db = sqlite3.connect(sys.argv[1])\n\
                   print(db.execute('SELECT name, accuracy FROM custom_experiments ORDER BY name').fetchall())";
    let path = dir.path().join(open::FILE_NAME);
    let Ok(output) = Command::new("python3").args(["-c", program]).arg(path).output() else {
        println!("skipped: there is no python3");
        return;
    };
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told.trim(), "[('a', 0.5), ('b', 0.75)]", "{}", String::from_utf8_lossy(&output.stderr));
}
