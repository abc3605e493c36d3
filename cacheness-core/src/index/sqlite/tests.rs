use std::fs;
use std::path::Path;

use rusqlite::Connection;

use super::open::FILE_NAME;
use super::rows::{FORGET_EVERY, REMEMBERED};
use super::*;
use crate::entry::IndexKey;
use crate::index::backend::{Expected, Facts};
use crate::index::handle::USES;
use crate::index::record::tests::record_of;
use crate::index::{Record, Records};

fn options(dir: &Path) -> BackendOptions {
    BackendOptions::new().with_dir(dir)
}

fn open(dir: &Path) -> SqliteMetadata {
    SqliteMetadata::open(&options(dir)).unwrap()
}

fn put(rows: &SqliteMetadata, key: &str) -> (IndexKey, Record) {
    let (key, record) = record_of(key, 7, Some(100));
    rows.put(&key, &record).unwrap();
    (key, record)
}

fn told(changes: &Changes) -> Option<Vec<&[u8]>> {
    changes.keys.as_ref().map(|keys| keys.iter().map(Vec::as_slice).collect())
}

#[test]
fn a_handle_is_told_what_others_have_changed_and_not_what_it_did_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(dir.path()), open(dir.path()));
    let mark = one.changes(0).unwrap().mark;
    let (mine, _) = put(&one, "mine");
    let changes = one.changes(mark).unwrap();
    assert_eq!(told(&changes), Some(vec![]));
    let (theirs, record) = put(&other, "theirs");
    put(&other, "theirs");
    let changes = one.changes(changes.mark).unwrap();
    assert_eq!(told(&changes), Some(vec![theirs.as_bytes()]), "a key once");
    assert_eq!(told(&one.changes(changes.mark).unwrap()), Some(vec![]), "nothing since");
    assert_eq!(told(&other.changes(0).unwrap()), Some(vec![mine.as_bytes()]));

    let not_made = Change { key: theirs.as_bytes(), expected: Expected::Absent, row: None };
    let removal = Change { expected: Expected::Bytes(record.as_bytes()), ..not_made };
    other.apply(&[not_made]).unwrap();
    assert_eq!(told(&one.changes(changes.mark).unwrap()), Some(vec![]), "what was not made is no change");
    other.apply(&[removal]).unwrap();
    assert_eq!(told(&one.changes(changes.mark).unwrap()), Some(vec![theirs.as_bytes()]));
}

#[test]
fn a_handle_that_has_missed_changes_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(dir.path()), open(dir.path()));
    let mark = one.changes(0).unwrap().mark;
    let (key, record) = put(&other, "k");
    let facts = record.facts().unwrap();
    let change = Change { key: key.as_bytes(), expected: Expected::Anything, row: Some((record.as_bytes(), &facts)) };
    let changes = vec![change; 1000];
    for round in 1..=6 {
        other.apply(&changes).unwrap();
        let told = one.changes(mark).unwrap();
        let kept = round * 1000 < REMEMBERED;
        assert!(!kept || told.keys.is_some(), "{round}");
    }
    let now = one.changes(mark).unwrap();
    assert_eq!(now.keys, None, "too many to remember");
    assert_eq!(one.changes(now.mark).unwrap().keys, Some(Vec::new()), "and from then on they are known");
    assert_eq!(one.changes(now.mark + 1).unwrap().keys, None, "it is another database");
    let kept: i64 = one.pool.read(|c| c.query_row("SELECT count(*) FROM changes", [], |row| row.get(0))).unwrap();
    assert!((REMEMBERED..=REMEMBERED + FORGET_EVERY).contains(&kept), "{kept}");
}

#[test]
fn a_damaged_database_of_the_directory_is_set_aside_and_one_that_was_named_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    for damage in ["no database at all, by its first page. ".repeat(200), String::from("x")] {
        fs::write(&path, &damage).unwrap();
        let rows = open(dir.path());
        assert_eq!(rows.totals().unwrap().entries, 0);
        let (key, record) = put(&rows, "k");
        assert_eq!(rows.record(&key).unwrap(), Some(record));
        rows.close().unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("quarantine").join(FILE_NAME)).unwrap(), damage);
        fs::remove_file(&path).unwrap();
    }
    let mine = dir.path().join("notes.txt");
    fs::write(&mine, "buy milk").unwrap();
    let url = format!("sqlite:///{}", mine.display());
    let error = SqliteMetadata::open(&BackendOptions::new().with("database_url", url)).unwrap_err();
    assert!(error.is_integrity() && error.to_string().contains("notes.txt"), "{error}");
    assert_eq!(fs::read_to_string(&mine).unwrap(), "buy milk");
}

#[test]
fn damage_that_a_call_meets_is_looked_for_at_the_next_opening() {
    let dir = tempfile::tempdir().unwrap();
    let rows = open(dir.path());
    let keys: Vec<_> = (0..400).map(|n| put(&rows, &n.to_string()).0).collect();
    rows.close().unwrap();
    // Behind the first pages, so that opening does not meet it.
    let path = dir.path().join(FILE_NAME);
    let mut bytes = fs::read(&path).unwrap();
    let from = 40 * 4096;
    bytes[from..].fill(0xab);
    fs::write(&path, &bytes).unwrap();
    let rows = open(dir.path());
    let failed = keys.iter().filter(|key| rows.get(key.as_bytes()).is_err()).count();
    assert!(failed > 0);
    assert!(keys.iter().filter_map(|key| rows.get(key.as_bytes()).err()).all(|error| error.is_metadata()));
    drop(rows);
    let rows = open(dir.path());
    assert_eq!(rows.totals().unwrap().entries, 0, "it was set aside");
    assert_eq!(fs::read(dir.path().join("quarantine").join(FILE_NAME)).unwrap().len(), bytes.len());
    assert!(keys.iter().all(|key| rows.get(key.as_bytes()).unwrap().is_none()));
}

// Elsewhere a file that SQLite has open keeps its name.
#[cfg(unix)]
#[test]
fn a_handle_follows_when_another_sets_the_database_aside() {
    let dir = tempfile::tempdir().unwrap();
    let rows = open(dir.path());
    let (key, record) = put(&rows, "k");
    rows.flush().unwrap();
    let mark = rows.changes(0).unwrap().mark;
    // As another process does that finds damage.
    for what in ["", "-wal", "-shm"] {
        let name = |end: &str| dir.path().join(format!("index.sqlite3{what}{end}"));
        fs::rename(name(""), name(".old")).unwrap();
    }
    let other = open(dir.path());
    rows.flush().unwrap();
    assert_eq!(rows.record(&key).unwrap(), None);
    rows.put(&key, &record).unwrap();
    assert_eq!(other.record(&key).unwrap(), Some(record));
    rows.put(&key, &record_of("k", 8, None).1).unwrap();
    assert_eq!(other.totals().unwrap().entries, 1);
    assert_eq!(rows.changes(mark + 100).unwrap().keys, None, "memory forgets");
}

#[test]
fn a_database_of_another_program_or_a_newer_release_is_refused_and_stays() {
    for (sql, why) in [
        ("CREATE TABLE t (a); INSERT INTO t VALUES (1)", "another program"),
        ("PRAGMA application_id = 0x63686e73; PRAGMA user_version = 99; CREATE TABLE t (a)", "a newer release"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let before = fs::read(&path).unwrap();
        let error = SqliteMetadata::open(&options(dir.path())).unwrap_err();
        assert!(error.is_conflict() && error.to_string().contains(why), "{error}");
        assert!(error.to_string().contains(FILE_NAME), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_database_that_is_busy_is_an_error_after_a_while_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let rows = SqliteMetadata::open(&options(dir.path()).with("busy_timeout_ms", 50)).unwrap();
    let (key, record) = put(&rows, "k");
    let other = Connection::open(dir.path().join(FILE_NAME)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = rows.put(&key, &record).unwrap_err();
    assert!(error.is_locked() && error.to_string().contains("busy_timeout_ms"), "{error}");
    assert_eq!(rows.record(&key).unwrap(), Some(record.clone()), "readers go on");
    // Opening waits, too, and takes nothing away.
    let again = SqliteMetadata::open(&options(dir.path()).with("busy_timeout_ms", 50)).unwrap();
    assert_eq!(again.record(&key).unwrap(), Some(record.clone()));
    other.execute_batch("ROLLBACK").unwrap();
    rows.put(&key, &record).unwrap();
    assert!(!dir.path().join("quarantine").exists());
}

#[test]
fn many_who_open_at_once_make_one_database() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|threads| {
        for n in 0..8 {
            let dir = dir.path();
            threads.spawn(move || put(&open(dir), &n.to_string()));
        }
    });
    assert_eq!(open(dir.path()).totals().unwrap().entries, 8);
}

#[test]
fn totals_and_groups_follow_what_another_tool_removes() {
    let dir = tempfile::tempdir().unwrap();
    let rows = open(dir.path());
    (0..10).for_each(|n| drop(put(&rows, &n.to_string())));
    let tool = Connection::open(dir.path().join(FILE_NAME)).unwrap();
    tool.execute_batch("PRAGMA foreign_keys = ON; DELETE FROM entries WHERE id <= 4").unwrap();
    let totals = rows.totals().unwrap();
    assert_eq!(totals.entries, 6);
    let left: u64 =
        rows.page(&Scan::LeastUsed, 99).unwrap().iter().map(|row| rows.footprint(row.bytes.len() as u64, 0)).sum();
    assert_eq!(totals.bytes, left);
    let groups: i64 = tool.query_row("SELECT count(*) FROM groups", [], |row| row.get(0)).unwrap();
    assert_eq!(groups, 6);
}

#[test]
fn a_use_is_written_when_it_has_waited_and_by_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let (rows, other) = (open(dir.path()), open(dir.path()));
    let (key, record) = put(&rows, "k");
    let at = Timestamp::from_micros(70);
    rows.used(&[(key.as_bytes(), at)]).unwrap();
    assert_eq!((rows.last_used(key.as_bytes()).unwrap(), other.last_used(key.as_bytes()).unwrap()), (Some(at), None));
    rows.flush().unwrap();
    assert_eq!(other.last_used(key.as_bytes()).unwrap(), Some(at));
    // A use of the value before the one that another handle has put meanwhile.
    rows.used(&[(key.as_bytes(), Timestamp::from_micros(80))]).unwrap();
    let facts = Facts { created_at: Timestamp::from_micros(90), ..record.facts().unwrap() };
    let row = Some((record.as_bytes(), &facts));
    other.apply(&[Change { key: key.as_bytes(), expected: Expected::Anything, row }]).unwrap();
    rows.flush().unwrap();
    assert_eq!(other.last_used(key.as_bytes()).unwrap(), None);
    let many: Vec<_> = (0..USES).map(|n| (n as u64).to_be_bytes()).collect();
    rows.used(&many.iter().map(|key| (&key[..], at)).collect::<Vec<_>>()).unwrap();
    assert!(rows.uses.take_all().is_empty(), "no more than so many wait");
}

#[test]
fn a_large_log_goes_into_the_database_by_a_flush_and_a_close_leaves_one_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let rows = open(dir.path());
    let len = |name: &str| fs::metadata(dir.path().join(name)).map_or(0, |found| found.len());
    (0..CHECKPOINT_PAGES).for_each(|n| drop(put(&rows, &n.to_string())));
    assert!(len("index.sqlite3-wal") > 4096 * 1000 && len(FILE_NAME) < 100_000);
    rows.flush().unwrap();
    assert!(len(FILE_NAME) > 300_000, "{}", len(FILE_NAME));
    put(&rows, "last");
    rows.close().unwrap();
    assert_eq!(len("index.sqlite3-wal"), 0);
    let copy = tempfile::tempdir().unwrap();
    fs::copy(dir.path().join(FILE_NAME), copy.path().join(FILE_NAME)).unwrap();
    assert_eq!(open(copy.path()).totals().unwrap().entries, CHECKPOINT_PAGES.unsigned_abs() + 1);
}

#[test]
fn after_a_sync_that_failed_a_flush_writes_everything_into_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let rows = open(dir.path());
    put(&rows, "k");
    rows.unsynced.store(true, Ordering::SeqCst);
    let reader = Connection::open(dir.path().join(FILE_NAME)).unwrap();
    rows.flush().unwrap();
    assert!(!rows.unsynced.load(Ordering::SeqCst));
    reader.execute_batch("BEGIN; SELECT * FROM entries").unwrap();
    put(&rows, "k2");
    rows.unsynced.store(true, Ordering::SeqCst);
    reader.execute_batch("COMMIT").unwrap();
    rows.flush().unwrap();
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let rows = open(dir.path());
    put(&rows, "k");
    let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap()).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[test]
fn a_named_database_is_made_where_it_is_named_and_no_directory_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.db");
    let named = || SqliteMetadata::open(&BackendOptions::new().with("database_url", path.to_str().unwrap())).unwrap();
    put(&named(), "k");
    assert_eq!(named().totals().unwrap().entries, 1);
    assert!(path.exists() && !dir.path().join(FILE_NAME).exists());
    let nowhere = BackendOptions::new().with("database_url", "/no/such/dir/rows.db");
    let error = SqliteMetadata::open(&nowhere).unwrap_err();
    assert!(error.is_storage() && error.to_string().contains("/no/such/dir"), "{error}");
}

#[cfg(unix)]
#[test]
fn what_a_link_leads_to_is_no_database() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc/hostname", dir.path().join(FILE_NAME)).unwrap();
    let error = SqliteMetadata::open(&options(dir.path())).unwrap_err();
    assert!(error.is_storage() && error.to_string().contains("not a regular file"), "{error}");
}

#[test]
fn connections_of_a_parent_are_closed_in_a_forked_child_and_new_ones_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let rows = open(dir.path());
    let (key, record) = put(&rows, "k");
    assert_eq!(rows.record(&key).unwrap(), Some(record.clone()));
    // As in a child, which has a copy of all this and another number.
    rows.pool.pretend_to_be_forked();
    assert_eq!(rows.record(&key).unwrap(), Some(record.clone()));
    rows.put(&key, &record).unwrap();
    rows.pool.pretend_to_be_forked();
    put(&open(dir.path()), "other");
    assert_eq!(rows.totals().unwrap().entries, 2);
}
