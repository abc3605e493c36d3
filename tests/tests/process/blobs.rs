use std::io::{BufRead, BufReader};
use std::process::Stdio;

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

#[test]
fn a_store_of_another_process_is_locked_until_that_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = probe(BLOBS, dir.path(), &["hold"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let opened = BlobStore::open(dir.path());
    child.kill().unwrap();
    child.wait().unwrap();
    let error = opened.unwrap_err();
    assert!(error.is_locked() && error.to_string().contains("another process"), "{line} {error}");
    BlobStore::open(dir.path()).expect("a killed process leaves no lock");
}
