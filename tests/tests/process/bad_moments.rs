//! A disk that fails one write of the index and then works again.

use std::path::{Path, PathBuf};
use std::process::Command;

use cacheness_tests::{bodies, errors_of, files_below, probe, run, skip};

use crate::PROBE;

const PUTS: &str = "3000";

/// A library that lets one write fail, if this system can preload one.
fn failing_disk(dir: &Path) -> Option<PathBuf> {
    let (source, library) =
        (concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/failing_disk.c"), dir.join("failing_disk.so"));
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]).status();
    (cfg!(target_os = "linux") && compiled.is_ok_and(|status| status.success())).then_some(library)
}

fn blobs_in(dir: &Path) -> usize {
    files_below(&dir.join("blobs")).unwrap().len()
}

#[test]
fn one_failed_write_of_the_index_loses_nothing_in_silence_and_leaves_no_file_that_belongs_to_nobody() {
    let tools = tempfile::tempdir().unwrap();
    let Some(library) = failing_disk(tools.path()) else {
        return skip("there is no C compiler for a preloaded library");
    };
    let whole = tempfile::tempdir().unwrap();
    assert!(run(PROBE, whole.path(), &["put-and-return", PUTS]).status.success());
    for failing in ["4", "7"] {
        let dir = tempfile::tempdir().unwrap();
        let struck = probe(PROBE, dir.path(), &["put-and-return", PUTS])
            .env("LD_PRELOAD", &library)
            .env("FAILING_WRITE", failing)
            .output()
            .unwrap();
        assert!(struck.status.success(), "{}", errors_of(&struck));
        let again = run(PROBE, dir.path(), &["put-and-return", PUTS]);
        let told = errors_of(&struck).lines().filter(|line| line.starts_with("cacheness: cannot")).count();
        assert!(bodies(&again) == 0 || told > 0, "{} values are gone and nobody was told", bodies(&again));
        // What was refused while the index was opened anew; what had been acknowledged is there.
        assert!(bodies(&again) < 200, "{} values are gone", bodies(&again));
        assert_eq!(blobs_in(dir.path()), blobs_in(whole.path()), "write {failing}");
    }
}
