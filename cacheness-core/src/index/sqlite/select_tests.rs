//! That a statement finds whatever meets a condition, and tables as other tools see them.

use std::process::Command;

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::config::backends::BackendOptions;
use crate::entry::IndexKey;
use crate::index::backend::Expected;
use crate::index::select_tests::{self, missed, named, put, with_rows};
use crate::key::ToKey;
use crate::query::ColumnSchema;
use crate::query::properties_tests::{conditions, entry_of, runs};
use crate::value::Value;

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

#[test]
fn values_of_every_type_and_of_several_in_one_column_are_selected_as_the_engine_compares_them() {
    select_tests::values_of_every_type_and_of_several_in_one_column_are_selected_as_the_engine_compares_them(|| {
        Arc::new(SqliteMetadata::in_memory().unwrap())
    });
}

#[test]
fn a_condition_that_sql_can_tell_leaves_the_others_out() {
    select_tests::a_condition_that_sql_can_tell_leaves_the_others_out(&SqliteMetadata::in_memory().unwrap());
}

#[test]
fn a_condition_of_any_size_is_asked() {
    select_tests::a_condition_of_any_size_is_asked(&SqliteMetadata::in_memory().unwrap());
}

#[test]
fn names_that_sql_takes_for_one_or_that_look_like_sql_are_columns_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let rows = SqliteMetadata::open(&BackendOptions::new().with_dir(dir.path())).unwrap();
    select_tests::names_that_sql_takes_for_one_or_that_look_like_sql_are_columns_of_their_own(&rows);
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
