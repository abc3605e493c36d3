//! The defects that only a process of its own can show; the others are in `tests/api/defects.rs`.

use std::process::Stdio;

use cacheness_tests::{errors_of, probe, run};

use crate::PROBE;

// A relative path was looked up again at every use: after a change of the working directory the entries were gone.
#[test]
fn changing_the_working_directory_loses_no_entry() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    [&here, &there].iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    let story = ["change-directory", there.to_str().unwrap()];
    let output = probe(PROBE, dir.path(), &story).current_dir(&here).output().unwrap();
    assert!(output.status.success(), "{}", errors_of(&output));
    let cache = cacheness::Cache::open(here.join("cache")).unwrap();
    assert_eq!(cache.len().unwrap(), 2, "also what was put from elsewhere");
}

// Two processes that opened a new directory at the same time tore its files.
#[test]
fn processes_that_open_a_new_directory_at_once_are_one_owner_and_clear_refusals() {
    for _ in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("cache");
        let story = ["open", root.to_str().unwrap()];
        let children: Vec<_> =
            (0..4).map(|_| probe(PROBE, dir.path(), &story).stdout(Stdio::piped()).spawn().unwrap()).collect();
        let said: Vec<_> = children
            .into_iter()
            .map(|child| String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned())
            .collect();
        assert!(said.iter().any(|said| said == "open"), "{said:?}");
        let refusals: Vec<_> = said.iter().filter(|said| *said != "open").collect();
        assert!(refusals.iter().all(|said| said.contains("process")), "{refusals:?}");
        let cache = cacheness::Cache::open(&root).unwrap();
        assert_eq!(cache.get::<Vec<u8>>("key").unwrap(), Some(cacheness_tests::value_of(0)));
    }
}

// Each put wrote the whole index anew, so that its cost grew with the number of entries.
#[test]
fn a_put_does_not_rewrite_what_is_there_already() {
    if !std::path::Path::new("/proc/self/io").exists() {
        cacheness_tests::skip("the system does not tell what a process has written");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let output = run(PROBE, dir.path(), &["cost-of-puts"]);
    assert!(output.status.success(), "{}", errors_of(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    let costs: Vec<u64> = said.split_whitespace().map(|cost| cost.parse().unwrap()).collect();
    assert!(
        costs[1] < 4 * costs[0],
        "200 puts write {} bytes beside 200 entries, {} beside 20,000",
        costs[0],
        costs[1]
    );
}
