//! That a statement finds whatever meets a condition, and tables as other tools see them.

use std::sync::Arc;

use proptest::prelude::*;

use super::tests::{asked, open, options, servers};
use super::*;
use crate::entry::IndexKey;
use crate::index::backend::Expected;
use crate::index::select_tests::{self, missed, named, put, with_rows};
use crate::key::ToKey;
use crate::query::properties_tests::{conditions, entry_of, runs};
use crate::query::{ColumnSchema, Field};
use crate::value::Value;

proptest! {
    // Each has tables of its own, whose columns have no types yet.
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_meets_a_condition_is_selected(
        runs in prop::collection::vec(runs(), 1..12),
        conditions in prop::collection::vec(conditions(), 1..6),
    ) {
        let Some(options) = options() else { return Ok(()) };
        let rows = open(&options);
        let entries: Vec<_> = runs.iter().enumerate().map(|(n, run)| named(n as u64, entry_of(run))).collect();
        entries.iter().for_each(|entry| put(&rows, entry));
        for condition in conditions {
            let filter = condition.filter();
            prop_assert_eq!(missed(&rows, &entries, &filter), 0, "{:?}", filter);
        }
    }
}

#[test]
fn values_of_every_type_and_of_several_in_one_column_are_selected_as_the_engine_compares_them() {
    let Some(options) = options() else { return };
    select_tests::values_of_every_type_and_of_several_in_one_column_are_selected_as_the_engine_compares_them(|| {
        let namespace = servers::postgres().unwrap().namespace();
        Arc::new(open(&options.clone().with("namespace", namespace)))
    });
}

#[test]
fn a_condition_that_sql_can_tell_leaves_the_others_out() {
    let Some(options) = options() else { return };
    select_tests::a_condition_that_sql_can_tell_leaves_the_others_out(&open(&options));
}

#[test]
fn a_condition_of_any_size_is_asked() {
    let Some(options) = options() else { return };
    select_tests::a_condition_of_any_size_is_asked(&open(&options));
}

#[test]
fn names_that_sql_takes_for_one_or_that_look_like_sql_are_columns_of_their_own() {
    let Some(options) = options() else { return };
    select_tests::names_that_sql_takes_for_one_or_that_look_like_sql_are_columns_of_their_own(&open(&options));
}

#[test]
fn a_handle_is_not_misled_by_what_it_remembers_of_a_kind() {
    let Some(options) = options() else { return };
    let (rows, other) = (open(&options), open(&options));
    let entries = [
        with_rows("one", &[("runs", &[("v", 1.into())])]),
        with_rows("two", &[("runs", &[("v", "text".into()), ("w", 2.into())])]),
    ];
    put(&rows, &entries[0]);
    let is_text = Field::custom("runs", "v").eq("text");
    let has_w = Field::custom("runs", "w").eq(2);
    assert_eq!(missed(&rows, &entries[..1], &is_text), 0);
    put(&other, &entries[1]);
    assert_eq!(missed(&rows, &entries, &is_text), 0, "a value of another type");
    assert_eq!(missed(&rows, &entries, &has_w), 0, "a column that others have made");
}

#[test]
fn a_text_that_is_too_long_for_an_index_is_kept_and_found() {
    let Some(options) = options() else { return };
    let rows = open(&options);
    rows.define(&SCHEMA).unwrap();
    let long = (0..3000).map(|n| char::from(33 + (n * n % 90) as u8)).collect::<String>();
    let entries = [with_rows("one", &[("experiments", &[("name", long.as_str().into())])])];
    put(&rows, &entries[0]);
    let found = rows.select("experiments", &Field::custom("experiments", "name").eq(long), None, 9).unwrap();
    assert_eq!(found.unwrap().len(), 1);
}

#[test]
fn long_names_are_columns_of_their_own() {
    let Some(options) = options() else { return };
    let rows = open(&options);
    let names = ["x".repeat(100) + "a", "x".repeat(100) + "b"];
    let values = [(names[0].as_str(), 1.into()), (names[1].as_str(), 2.into())];
    let entries = [with_rows("k", &[(names[0].as_str(), &values), (names[1].as_str(), &values)])];
    put(&rows, &entries[0]);
    for kind in &names {
        let count = |filter: Filter| rows.select(kind, &filter, None, 9).unwrap().unwrap().len();
        assert_eq!(count(Field::custom(kind, &names[1]).eq(2)), 1);
        assert_eq!(count(Field::custom(kind, &names[0]).eq(2)), 0);
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
    let Some(options) = options() else { return };
    let (rows, other) = (open(&options), open(&options));
    rows.define(&SCHEMA).unwrap();
    other.define(&SCHEMA).unwrap();
    let text = |sql: &str| -> String { asked(&rows, sql)[0].get(0) };
    let number = |sql: &str| -> i64 { asked(&rows, sql)[0].get(0) };
    let schema = rows.namespace.clone();
    let columns = || {
        text(&format!(
            "SELECT string_agg(column_name || ' ' || data_type, ',' ORDER BY ordinal_position) \
             FROM information_schema.columns WHERE table_schema = '{schema}' AND table_name = 'custom_experiments'"
        ))
    };
    assert_eq!(columns(), "entry_key bytea,name text,accuracy double precision");
    let indexes =
        format!("SELECT count(*) FROM pg_indexes WHERE schemaname = '{schema}' AND tablename = 'custom_experiments'");
    assert_eq!(number(&indexes), 3, "with that of the key");

    let experiment = |accuracy: f64| -> [(&str, Value); 2] { [("name", "one".into()), ("accuracy", accuracy.into())] };
    put(&rows, &with_rows("one", &[("experiments", &experiment(0.5))]));
    assert_eq!(text("SELECT name FROM @.custom_experiments WHERE accuracy = 0.5"), "one");
    put(&rows, &with_rows("one", &[("experiments", &experiment(0.75))]));
    assert_eq!(number("SELECT count(*) FROM @.custom_experiments WHERE accuracy = 0.5"), 0);
    assert_eq!(number("SELECT count(*) FROM @.custom_experiments WHERE accuracy = 0.75"), 1);

    // By a row of a later version, and by its type.
    let later = [("name", "two".into()), ("stage", "late".into())];
    put(&rows, &with_rows("two", &[("experiments", &later)]));
    assert_eq!(columns(), "entry_key bytea,name text,accuracy double precision,stage text");
    rows.define(&GROWN).unwrap();
    assert_eq!(columns(), "entry_key bytea,name text,accuracy double precision,stage text,epochs bigint");
    assert_eq!(number("SELECT count(*) FROM @.custom_experiments"), 2);

    put(&rows, &with_rows("two", &[]));
    assert_eq!(number("SELECT count(*) FROM @.custom_experiments"), 1, "the entry stays, without it");
    let one = IndexKey::of(&"one".to_key().unwrap());
    rows.apply(&[Change { key: one.as_bytes(), expected: Expected::Anything, row: None }]).unwrap();
    assert_eq!(number("SELECT count(*) FROM @.custom_experiments"), 0);
}
