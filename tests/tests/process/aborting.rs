//! A program built with `panic = "abort"`: nothing can be caught there, so nothing may panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use cacheness_tests::{bodies, copy_dir, errors_of, probe, run, scratch, skip, syncs_library};

use crate::PROBE;

/// The probe, built once more in this build's target directory.
static ABORTING_PROBE: LazyLock<String> = LazyLock::new(|| {
    let target: &Path = Path::new(PROBE).ancestors().nth(2).expect("target/profile/probe");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--package", "cacheness-tests", "--bin", "probe", "--profile", "abort"])
        .arg("--target-dir")
        .arg(target)
        .output()
        .expect("cargo starts");
    assert!(built.status.success(), "{}", errors_of(&built));
    let probe: PathBuf = target.join("abort").join("probe");
    probe.to_str().expect("the path is UTF-8").to_owned()
});

#[test]
fn an_aborting_program_keeps_every_put_at_its_normal_end() {
    let dir = scratch();
    let first = run(&ABORTING_PROBE, dir.path(), &["put-and-return", "30"]);
    assert!(first.status.success(), "{}", errors_of(&first));
    assert_eq!(bodies(&run(&ABORTING_PROBE, dir.path(), &["call", "30"])), 0);
}

#[test]
fn a_panic_in_a_body_ends_an_aborting_program_and_leaves_no_entry_and_a_cache_that_works() {
    let dir = scratch();
    for _ in 0..2 {
        let panicked = run(&ABORTING_PROBE, dir.path(), &["panic"]);
        assert_eq!(panicked.status.code(), None, "it is killed by SIGABRT");
        assert_eq!(bodies(&panicked), 1);
    }
    assert!(run(&ABORTING_PROBE, dir.path(), &["call", "5"]).status.success());
    assert_eq!(bodies(&run(&ABORTING_PROBE, dir.path(), &["call", "5"])), 0);
}

/// sled panics on many of these, where that is the end of the program.
#[test]
fn a_damaged_index_does_not_end_an_aborting_program() {
    let original = scratch();
    assert!(run(&ABORTING_PROBE, original.path(), &["put-and-return", "60"]).status.success());
    let whole = fs::read(original.path().join("index/db")).unwrap();
    for step in 0..40 {
        let copy = scratch();
        copy_dir(original.path(), copy.path()).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() * step / 40] ^= 1 << (step % 8);
        fs::write(copy.path().join("index/db"), flipped).unwrap();
        let output = run(&ABORTING_PROBE, copy.path(), &["call", "60"]);
        assert!(output.status.success(), "step {step}: {}", errors_of(&output));
    }
}

#[test]
fn a_sync_that_fails_does_not_end_an_aborting_program() {
    let place = scratch();
    let library = match syncs_library(place.path()) {
        Ok(library) => library,
        Err(why) => return skip(&why),
    };
    let mut told = 0;
    for (which, n) in ["once", "from"].into_iter().flat_map(|which| (1..=16).map(move |n| (which, n))) {
        let dir = scratch();
        let mut command = probe(&ABORTING_PROBE, dir.path(), &["put-and-return", "20"]);
        command.env("LD_PRELOAD", &library).env("TEST_SYNC", format!("{which}:{n}"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{which} {n}: {:?} {}", output.status, errors_of(&output));
        told += usize::from(errors_of(&output).contains("os error 5"));
        // Whatever was lost is made anew.
        assert!(run(&ABORTING_PROBE, dir.path(), &["call", "20"]).status.success(), "{which} {n}");
        assert_eq!(bodies(&run(&ABORTING_PROBE, dir.path(), &["call", "20"])), 0, "{which} {n}");
    }
    assert!(told > 0, "no sync failed");
}
