use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use cacheness::BlobStore;
use cacheness::blob::Repair;
use cacheness_tests::{errors_of, probe, run, skip, value_of};

const BLOBS: &str = env!("CARGO_BIN_EXE_blobs");

/// How much the stream of the memory test has, in MiB, unless this variable says otherwise.
const MEBIBYTES: &str = "CACHENESS_TEST_STREAM_MIB";
const USUAL_MEBIBYTES: &str = "192";
const MOST_KIB: u64 = 64 << 10;

/// 4 GiB: `CACHENESS_TEST_STREAM_MIB=4096 cargo test -p cacheness-tests --test process stream -- --nocapture`.
#[test]
fn a_stream_larger_than_the_memory_it_may_take_passes_through_writer_and_reader() {
    let dir = tempfile::tempdir().unwrap();
    let mebibytes = std::env::var(MEBIBYTES).unwrap_or_else(|_| USUAL_MEBIBYTES.to_owned());
    let output = run(BLOBS, dir.path(), &["stream", &mebibytes]);
    assert!(output.status.success(), "{}", errors_of(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    println!("{mebibytes} MiB {said}");
    let peak = said.lines().find_map(|line| line.strip_prefix("peak ")?.strip_suffix(" KiB")?.parse::<u64>().ok());
    match peak.expect("it says how much") {
        0 => skip("this system does not say how much memory a process took"),
        peak => assert!(peak <= MOST_KIB, "{peak} KiB for {mebibytes} MiB"),
    }
}

#[test]
fn a_killed_process_has_lost_no_blob_that_it_was_told_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = 0;
    for round in 1..=3 {
        let mut child = probe(BLOBS, dir.path(), &["put-until-killed"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.take(20 * round) {
            told = line.unwrap().parse::<u64>().unwrap() + 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let store = BlobStore::open(dir.path()).expect("a killed process leaves no lock");
        assert!(store.len().unwrap() >= told, "{} of {told}", store.len().unwrap());
        for n in 0..store.len().unwrap() {
            assert!(store.get::<Vec<u8>>(&n.to_string()).unwrap() == Some(value_of(n)), "{n} of {told}");
        }
        let report = store.verify(Repair::No).unwrap();
        assert!(report.is_whole() && report.unreferenced.is_empty(), "{report:?}");
        assert_eq!(std::fs::read_dir(dir.path().join("staging")).unwrap().count(), 0);
    }
}

#[test]
fn process_exit_closes_a_store_that_lies_in_a_static() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(BLOBS, dir.path(), &["put-and-exit", "40"]);
    assert_eq!(output.status.code(), Some(7), "{}", errors_of(&output));
    assert!(dir.path().join("index.clean").exists(), "the mark of a close in order");
    let store = BlobStore::open(dir.path()).unwrap();
    for n in 0..40 {
        assert!(store.get::<Vec<u8>>(&n.to_string()).unwrap() == Some(value_of(n)), "{n}");
    }
}

/// A process that has the store open, which it says.
fn holder(dir: &Path, what: &str) -> Child {
    let mut child = probe(BLOBS, dir, &["hold", what]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("open"), "{line}");
    child
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_store_that_shares_blobs_between_entries_is_locked_for_others_until_its_process_ends() {
    let dir = tempfile::tempdir().unwrap();
    let child = holder(dir.path(), "content");
    let opened = BlobStore::open(dir.path());
    end(child);
    let error = opened.unwrap_err();
    assert!(error.is_locked() && error.to_string().contains("another process"), "{error}");
    let store = BlobStore::builder().dir(dir.path()).content_addressable(true).open();
    store.expect("a killed process leaves no lock").put(&1u8).unwrap();
    // What others do to blobs that are shared the one with the counts would not know.
    let child = holder(dir.path(), "");
    let opened = BlobStore::open(dir.path());
    end(child);
    assert!(opened.unwrap_err().is_locked());
}

#[test]
fn a_store_that_would_share_blobs_between_entries_does_not_join_others() {
    let dir = tempfile::tempdir().unwrap();
    let child = holder(dir.path(), "");
    let opened = BlobStore::builder().dir(dir.path()).content_addressable(true).open();
    let beside = BlobStore::open(dir.path());
    end(child);
    assert!(opened.unwrap_err().is_locked());
    beside.expect("others that share none may use it, too");
}

#[test]
fn a_forked_child_opens_the_store_of_its_parent_again_and_harms_nothing() {
    for beside_another in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let other = beside_another.then(|| holder(dir.path(), ""));
        let output = run(BLOBS, dir.path(), &["fork"]);
        other.into_iter().for_each(end);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", errors_of(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "whole\n");
        let store = BlobStore::open(dir.path()).unwrap();
        assert_eq!((store.get("one").unwrap(), store.get("two").unwrap()), (Some(1u8), Some(2u8)));
    }
}

/// What is there after all have ended, as far as they said so: nothing, or the number that its value tells.
type Acknowledged = HashMap<String, Option<u64>>;

/// Follows what one process says until it ends.
fn acknowledged(child: &mut Child) -> Acknowledged {
    let mut known = Acknowledged::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            // Unless it is told to be done: a killed process may have done it, or not.
            ["begin", key] => drop(known.remove(key)),
            ["put", key, n] => drop(known.insert(key.to_owned(), n.parse().ok())),
            ["deleted", key] => drop(known.insert(key.to_owned(), None)),
            _ => {}
        }
    }
    known.retain(|key, _| !key.starts_with("all"));
    known
}

#[test]
fn processes_on_one_store_lose_nothing_while_one_after_the_other_is_killed() {
    for backend in ["sled", "sqlite"] {
        let dir = tempfile::tempdir().unwrap();
        let start = |id: usize| {
            let story = ["work", &format!("{id}"), "3000"];
            let mut command = probe(BLOBS, dir.path(), &story);
            command.env("CACHENESS_BACKEND", backend).stdout(Stdio::piped()).spawn().unwrap()
        };
        let mut known = Acknowledged::new();
        thread::scope(|scope| {
            let watched = (0..6).map(|id| {
                let mut child = start(id);
                thread::sleep(Duration::from_millis(50));
                scope.spawn(move || {
                    let watcher = |child: &mut Child| acknowledged(child);
                    if id < 3 {
                        let process = child.id();
                        let killer = thread::spawn(move || {
                            thread::sleep(Duration::from_millis(600 + 700 * id as u64));
                            Command::new("kill").args(["-9", &process.to_string()]).status().unwrap();
                        });
                        let known = watcher(&mut child);
                        killer.join().unwrap();
                        child.wait().unwrap();
                        return known;
                    }
                    let known = watcher(&mut child);
                    assert!(child.wait().unwrap().success(), "process {id} on {backend} has found something wrong");
                    known
                })
            });
            for watcher in watched.collect::<Vec<_>>() {
                known.extend(watcher.join().unwrap());
            }
        });
        assert!(known.len() > 60, "they have done something: {}", known.len());
        let store = BlobStore::builder().dir(dir.path()).backend(backend).open().unwrap();
        for (key, n) in known {
            let found = store.get::<(u64, Vec<u8>)>(&key).unwrap();
            assert_eq!(found.map(|(n, _)| n), n, "{key} on {backend}");
        }
        let report = store.verify(Repair::No).unwrap();
        assert!(report.is_whole(), "{report:?}");
    }
}
