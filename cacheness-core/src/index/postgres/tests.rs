use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::entry::IndexKey;
use crate::index::backend::Expected;
use crate::index::record::tests::record_of;
use crate::index::{Record, Records, conformance, get_metadata_backend};

#[allow(dead_code, unreachable_pub, reason = "shared with other tests")]
pub(super) mod servers {
    include!("../../../../tests/src/servers.rs");
}

/// Options with a namespace of its own, if there is a server.
pub(super) fn options() -> Option<BackendOptions> {
    match servers::postgres() {
        Ok(server) => {
            let options = BackendOptions::new().with("connection_url", server.url());
            // A machine that is busy with other tests takes its time.
            Some(options.with("namespace", server.namespace()).with("deadline_ms", 10_000))
        }
        Err(why) => {
            servers::skip(&why);
            None
        }
    }
}

pub(super) fn open(options: &BackendOptions) -> PostgresMetadata {
    PostgresMetadata::open(options).unwrap()
}

/// What a statement says, as any tool would ask it.
pub(super) fn asked(rows: &PostgresMetadata, sql: &str) -> Vec<Found> {
    rows.server.ask_one(READ, QUICK, rows.server.statement(sql)).unwrap()
}

fn put(rows: &PostgresMetadata, key: &str) -> (IndexKey, Record) {
    let (key, record) = record_of(key, 7, Some(100));
    rows.put(&key, &record).unwrap();
    (key, record)
}

fn told(changes: &Changes) -> Option<Vec<&[u8]>> {
    changes.keys.as_ref().map(|keys| keys.iter().map(Vec::as_slice).collect())
}

#[test]
fn postgresql_conforms() {
    let Some(options) = options() else { return };
    conformance::metadata_backend(|| get_metadata_backend("postgresql", &options));
}

#[test]
fn a_handle_is_told_what_others_have_changed_and_not_what_it_did_itself() {
    let Some(options) = options() else { return };
    let (one, other) = (open(&options), open(&options));
    let mark = one.changes(0).unwrap().mark;
    let (mine, _) = put(&one, "mine");
    assert_eq!(told(&one.changes(mark).unwrap()), Some(vec![]));
    let (theirs, record) = put(&other, "theirs");
    put(&other, "theirs");
    let changes = one.changes(mark).unwrap();
    assert_eq!(told(&changes), Some(vec![theirs.as_bytes()]), "a key once");
    assert_eq!(told(&other.changes(mark).unwrap()), Some(vec![mine.as_bytes()]));
    // The mark stays behind whatever any database of the server has not ended yet.
    let start = Instant::now();
    let mut mark = changes.mark;
    while told(&one.changes(mark).unwrap()) != Some(vec![]) {
        mark = one.changes(mark).unwrap().mark;
        assert!(start.elapsed() < Duration::from_secs(30), "it is told for ever");
        thread::sleep(Duration::from_millis(5));
    }
    let not_made = Change { key: theirs.as_bytes(), expected: Expected::Absent, row: None };
    let removal = Change { expected: Expected::Bytes(record.as_bytes()), ..not_made };
    other.apply(&[not_made]).unwrap();
    assert_eq!(told(&one.changes(mark).unwrap()), Some(vec![]), "what was not made is no change");
    other.apply(&[removal]).unwrap();
    assert_eq!(told(&one.changes(mark).unwrap()), Some(vec![theirs.as_bytes()]));
}

#[test]
fn a_change_that_commits_after_a_later_one_is_told() {
    let Some(options) = options() else { return };
    let (one, other) = (open(&options), open(&options));
    let mark = one.changes(0).unwrap().mark;
    // Holds its number from its first line on, and commits behind the change of the other.
    const LINE: &str = "INSERT INTO @.changes (n, writer, key, entries, bytes) VALUES (0, 0, 'slow', 0, 0)";
    let line = one.server.statement(LINE).into_sql();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let slow = open(&options);
    thread::scope(|scope| {
        let slow = scope.spawn(move || {
            let done = slow.server.converse(WRITE, move |client| async move {
                client.batch_execute("BEGIN").await?;
                client.batch_execute(&line).await?;
                ready.send(()).unwrap();
                while may_go_on.try_recv().is_err() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok(client.batch_execute("COMMIT").await?)
            });
            done.unwrap();
        });
        is_ready.recv().unwrap();
        let (key, _) = put(&other, "fast");
        let before = one.changes(mark).unwrap();
        assert_eq!(told(&before), Some(vec![key.as_bytes()]), "what is there is told at once");
        go_on.send(()).unwrap();
        slow.join().unwrap();
        let after = one.changes(before.mark).unwrap();
        assert!(told(&after).unwrap().contains(&&b"slow"[..]), "{after:?}");
    });
}

#[test]
fn a_handle_that_has_missed_changes_is_told_so() {
    let Some(options) = options() else { return };
    let (one, other) = (open(&options), open(&options));
    let mark = one.changes(0).unwrap().mark;
    let (key, record) = put(&other, "k");
    let facts = record.facts().unwrap();
    let change = Change { key: key.as_bytes(), expected: Expected::Anything, row: Some((record.as_bytes(), &facts)) };
    let changes = vec![change; 1000];
    for _ in 0..6 {
        other.apply(&changes).unwrap();
        other.flush().unwrap();
    }
    let now = one.changes(mark).unwrap();
    assert_eq!(now.keys, None, "too many to remember");
    assert!(one.changes(now.mark).unwrap().keys.is_some(), "and from then on they are known");
    assert_eq!(one.changes(now.mark + 1_000_000).unwrap().keys, None, "it is another server");
    let kept: i64 = asked(&one, "SELECT count(*) FROM @.changes")[0].get(0);
    assert!((REMEMBERED..6000).contains(&kept), "{kept}");
}

#[test]
fn what_all_rows_take_is_known_after_a_change_without_a_question() {
    let Some(options) = options() else { return };
    let (one, other) = (open(&options), open(&options));
    assert_eq!(one.bytes().unwrap(), 0);
    put(&one, "k");
    put(&other, "l");
    let all = other.totals().unwrap().bytes;
    assert_eq!((other.bytes().unwrap(), one.bytes().unwrap()), (all, all / 2), "as of its own last change");
    let (key, _) = put(&one, "k");
    assert_eq!(one.bytes().unwrap(), all);
    one.apply(&[Change { key: key.as_bytes(), expected: Expected::Anything, row: None }]).unwrap();
    assert_eq!(one.bytes().unwrap(), all / 2);
}

#[test]
fn tables_of_another_program_or_another_release_are_refused_and_stay() {
    let Some(options) = options() else { return };
    let rows = open(&options);
    put(&rows, "k");
    for (version, age) in [(2, "a newer release"), (0, "an older release")] {
        asked(&rows, &format!("UPDATE @.cacheness SET version = {version}"));
        let error = PostgresMetadata::open(&options).unwrap_err();
        assert!(error.is_conflict() && error.to_string().contains(age), "{error}");
    }
    asked(&rows, "UPDATE @.cacheness SET version = 1");
    assert_eq!(open(&options).totals().unwrap().entries, 1);
    let foreign = servers::postgres().unwrap().namespace();
    for sql in [format!("CREATE SCHEMA {foreign}"), format!("CREATE TABLE {foreign}.theirs (n integer)")] {
        asked(&rows, &sql);
    }
    let error = PostgresMetadata::open(&options.with("namespace", foreign)).unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("another program"), "{error}");
}

#[test]
fn many_who_open_at_once_make_one_set_of_tables_and_namespaces_have_their_own() {
    let Some(options) = options() else { return };
    thread::scope(|scope| {
        let opened: Vec<_> = (0..6)
            .map(|n| {
                let options = &options;
                scope.spawn(move || put(&open(options), &n.to_string()))
            })
            .collect();
        opened.into_iter().for_each(|opened| drop(opened.join().unwrap()));
    });
    assert_eq!(open(&options).totals().unwrap().entries, 6);
    let elsewhere = options.with("namespace", servers::postgres().unwrap().namespace());
    assert_eq!(open(&elsewhere).totals().unwrap().entries, 0);
}

#[test]
fn batches_of_many_handles_on_the_same_keys_do_not_stop_each_other() {
    let Some(options) = options() else { return };
    let handles: Vec<_> = (0..4).map(|_| open(&options)).collect();
    let records: Vec<_> = (0..50).map(|n| record_of(&n.to_string(), n, None)).collect();
    thread::scope(|scope| {
        for (n, rows) in handles.iter().enumerate() {
            let records = &records;
            scope.spawn(move || {
                let facts: Vec<_> = records.iter().map(|(_, record)| record.facts().unwrap()).collect();
                for round in 0..10 {
                    let mut changes: Vec<_> = records
                        .iter()
                        .zip(&facts)
                        .map(|((key, record), facts)| {
                            let row = (round % 3 != n % 3).then_some((record.as_bytes(), facts));
                            Change { key: key.as_bytes(), expected: Expected::Anything, row }
                        })
                        .collect();
                    if n % 2 == 0 {
                        changes.reverse();
                    }
                    rows.apply(&changes).unwrap();
                }
            });
        }
    });
    let rows = open(&options);
    let there = rows.keys(None, 99).unwrap();
    let bytes = rows.page(&Scan::Keys { after: None }, 99).unwrap();
    let bytes: u64 = bytes.iter().map(|row| rows.footprint(row.bytes.len() as u64, 0)).sum();
    let totals = rows.totals().unwrap();
    assert_eq!((totals.entries, totals.bytes), (there.len() as u64, bytes));
}

#[test]
fn a_handle_connects_again_when_the_server_was_started_anew() {
    let Some(options) = options() else { return };
    let rows = Arc::new(open(&options));
    let (key, record) = put(&rows, "k");
    rows.flush().unwrap();
    let before = rows.server.backend();
    // As a restart does, without the other tests of this program.
    let other = open(&options);
    asked(&other, &format!("SELECT pg_terminate_backend({before})"));
    let start = Instant::now();
    while rows.get(key.as_bytes()).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "it works again");
    }
    assert_eq!(rows.record(&key).unwrap(), Some(record));
    assert_ne!(rows.server.backend(), before);
    put(&rows, "l");
}

#[test]
fn an_answer_that_takes_too_long_is_an_error_and_the_next_call_has_another_connection() {
    let Some(options) = options() else { return };
    let rows = open(&options.with("deadline_ms", 500));
    let before = rows.server.backend();
    let begin = Instant::now();
    let slow = rows.server.ask_one(READ, QUICK, rows.server.statement("SELECT pg_sleep(5)")).unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(4));
    assert_eq!(slow.to_string(), "cannot read rows from PostgreSQL: no answer within 500 ms");
    let start = Instant::now();
    while rows.get(b"k").is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "it works again");
    }
    assert_ne!(rows.server.backend(), before);
}

#[test]
fn a_server_that_is_not_there_or_refuses_is_an_error_without_the_password() {
    let url = "postgresql://me:hunter2@127.0.0.1:1/db";
    let error = PostgresMetadata::open(&BackendOptions::new().with("connection_url", url)).unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("cannot open the tables in PostgreSQL"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    let Some(options) = options() else { return };
    let url = servers::postgres().unwrap().url().replace("cacheness@", "nobody:hunter2@");
    let error = PostgresMetadata::open(&options.with("connection_url", url)).unwrap_err();
    assert!(error.is_config() && !format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[test]
fn a_forked_child_has_connections_of_its_own() {
    let Some(options) = options() else { return };
    let rows = open(&options);
    let (key, record) = put(&rows, "k");
    let before = rows.server.backend();
    rows.server.pretend_to_be_forked();
    assert_eq!(rows.record(&key).unwrap(), Some(record));
    assert_ne!(rows.server.backend(), before);
}

#[test]
fn calls_of_many_threads_share_one_connection() {
    let Some(options) = options() else { return };
    let rows = open(&options);
    let backend = rows.server.backend();
    thread::scope(|scope| {
        for n in 0..8 {
            let rows = &rows;
            scope.spawn(move || {
                for m in 0..20 {
                    let (key, record) = put(rows, &format!("{n} {m}"));
                    assert_eq!(rows.record(&key).unwrap(), Some(record));
                    assert_eq!(rows.server.backend(), backend);
                }
            });
        }
    });
    assert_eq!(rows.totals().unwrap().entries, 160);
}

#[test]
fn a_use_is_written_when_it_has_waited_and_by_a_flush() {
    let Some(options) = options() else { return };
    let (rows, other) = (open(&options), open(&options));
    let (key, _) = put(&rows, "k");
    let at = Timestamp::from_micros(500);
    rows.used(&[(key.as_bytes(), at)]).unwrap();
    assert_eq!(rows.last_used(key.as_bytes()).unwrap(), Some(at), "known at once here");
    assert_eq!(other.last_used(key.as_bytes()).unwrap(), None);
    rows.flush().unwrap();
    assert_eq!(other.last_used(key.as_bytes()).unwrap(), Some(at));
}
