//! One SQLite database, and several processes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cacheness::backend::{BackendOptions, Change, Expected, Facts, MetadataBackend, Scan, get_metadata_backend};
use cacheness::clock::Timestamp;
use cacheness_tests::scratch;

/// Says to a test that it is another process, and where the database is.
const OTHER: &str = "DATABASE_OF_ANOTHER_PROCESS";

fn open(dir: &Path) -> Arc<dyn MetadataBackend> {
    get_metadata_backend("sqlite", &BackendOptions::new().with_dir(dir)).unwrap()
}

fn put(rows: &dyn MetadataBackend, key: &str, row: &[u8]) {
    let facts = Facts::new(Timestamp::from_micros(1));
    rows.apply(&[Change { key: key.as_bytes(), expected: Expected::Anything, row: Some((row, &facts)) }]).unwrap();
}

/// The directory, in another process.
fn as_another() -> Option<std::path::PathBuf> {
    std::env::var_os(OTHER).map(Into::into)
}

/// Another process that runs the same test.
fn another(test: &str, dir: &Path) -> Child {
    let mut process = Command::new(std::env::current_exe().unwrap());
    let process = process.args(["--exact", "--nocapture", &format!("sqlite::{test}")]).env(OTHER, dir);
    process.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_handle_is_told_what_another_process_has_changed() {
    if let Some(dir) = as_another() {
        let rows = open(&dir);
        put(&*rows, "00000000 theirs", b"new");
        rows.apply(&[Change { key: b"00000000 mine", expected: Expected::Anything, row: None }]).unwrap();
        // As a kill does: nobody closes it.
        std::process::abort();
    }
    let dir = scratch();
    let rows = open(dir.path());
    put(&*rows, "00000000 theirs", b"old");
    put(&*rows, "00000000 mine", b"old");
    let mark = rows.changes(0).unwrap().mark;
    another("a_handle_is_told_what_another_process_has_changed", dir.path()).wait().unwrap();
    let changes = rows.changes(mark).unwrap();
    let mut keys = changes.keys.unwrap();
    keys.sort();
    assert_eq!(keys, [b"00000000 mine".to_vec(), b"00000000 theirs".to_vec()]);
    assert_eq!(rows.get(b"00000000 theirs").unwrap().as_deref(), Some(&b"new"[..]));
    assert_eq!(rows.get(b"00000000 mine").unwrap(), None);
    assert_eq!(rows.changes(changes.mark).unwrap().keys, Some(Vec::new()));
}

#[test]
fn processes_that_open_and_write_at_once_lose_nothing() {
    const EACH: u64 = 200;
    if let Some(dir) = as_another() {
        let rows = open(&dir);
        (0..EACH).for_each(|n| put(&*rows, &format!("00000000 {} {n}", std::process::id()), b"row"));
        put(&*rows, "00000000 of all", b"row");
        return;
    }
    let dir = scratch();
    let test = "processes_that_open_and_write_at_once_lose_nothing";
    let mut others: Vec<_> = (0..4).map(|_| another(test, dir.path())).collect();
    assert!(others.iter_mut().all(|other| other.wait().unwrap().success()));
    let rows = open(dir.path());
    assert_eq!(rows.totals().unwrap().entries, 4 * EACH + 1);
    assert_eq!(rows.page(&Scan::Keys { after: None }, usize::MAX).unwrap().len() as u64, 4 * EACH + 1);
    assert!(!dir.path().join("quarantine").exists());
}

#[test]
fn a_kill_loses_no_row_that_was_acknowledged_and_damages_none() {
    if let Some(dir) = as_another() {
        let rows = open(&dir);
        for n in 0u64.. {
            put(&*rows, &format!("00000000 {n}"), &n.to_le_bytes());
            println!("acknowledged {n}");
        }
    }
    let dir = scratch();
    let mut seen = 0;
    for round in 0..5u64 {
        let mut other = another("a_kill_loses_no_row_that_was_acknowledged_and_damages_none", dir.path());
        let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
        let mut last = |wanted: u64| {
            let numbers = lines.by_ref().map_while(Result::ok);
            let mut numbers = numbers.filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok());
            numbers.find(|number| *number >= wanted)
        };
        let before = last(50 + 37 * round).unwrap();
        other.kill().unwrap();
        let last = last(u64::MAX).unwrap_or(before).max(before);
        other.wait().unwrap();
        seen = seen.max(last);
        let rows = open(dir.path());
        for n in 0..=last {
            assert_eq!(rows.get(format!("00000000 {n}").as_bytes()).unwrap().as_deref(), Some(&n.to_le_bytes()[..]));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(open(dir.path()).totals().unwrap().entries > seen);
}
