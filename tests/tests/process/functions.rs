//! The control of a function reaches the entries of earlier runs.

use std::path::Path;

use cacheness_tests::{bodies, errors_of, run};

use crate::PROBE;

fn said(dir: &Path, story: &str) -> String {
    let output = run(PROBE, dir, &[story]);
    assert!(output.status.success(), "{}", errors_of(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What is said of a function that has no entries and was not called: it may as well have no attribute.
const UNKNOWN: &str = "`probe::counted` has no entries and was not called";

#[test]
fn a_function_counts_the_entries_of_an_earlier_run_before_it_was_called_in_this_one() {
    let dir = tempfile::tempdir().unwrap();
    assert!(said(dir.path(), "info").starts_with(UNKNOWN));
    assert_eq!(bodies(&run(PROBE, dir.path(), &["call", "12"])), 12);
    let told = said(dir.path(), "info");
    assert!(told.starts_with("12 entries, 0 hits, 0 misses") && !told.ends_with("size 0"), "{told}");
}

#[test]
fn a_function_clears_the_entries_of_earlier_runs_and_the_body_runs_again() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(bodies(&run(PROBE, dir.path(), &["call", "12"])), 12);
    assert_eq!(run(PROBE, dir.path(), &["unserialisable"]).status.code(), Some(0), "another function has none");
    assert_eq!(bodies(&run(PROBE, dir.path(), &["call", "12"])), 0);
    assert_eq!(said(dir.path(), "clear"), "12");
    assert_eq!(said(dir.path(), "clear"), "0");
    assert!(said(dir.path(), "info").starts_with(UNKNOWN));
    assert_eq!(bodies(&run(PROBE, dir.path(), &["call", "12"])), 12);
    assert_eq!(bodies(&run(PROBE, dir.path(), &["call", "12"])), 0);
}
