//! Results of a cached function are those of the function, read by another process too.
//!
//! `CACHENESS_DIFFERENTIAL_VALUES` sets how many values of each of the types are compared.

use std::path::Path;

use cacheness_tests::{errors_of, run};

use crate::PROBE;

/// One line of the probe.
struct Told {
    name: String,
    calls: u64,
    hits: u64,
    wrong: u64,
}

fn values() -> u64 {
    std::env::var("CACHENESS_DIFFERENTIAL_VALUES").map_or(150, |count| count.parse().expect("a number"))
}

fn told(dir: &Path, story: &str) -> (Vec<Told>, String) {
    let output = run(PROBE, dir, &[story, &values().to_string()]);
    let errors = errors_of(&output);
    assert!(output.status.success(), "{errors}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let told = lines.lines().map(|line| {
        let mut words = line.split(' ');
        let name = words.next().unwrap().to_owned();
        let [calls, hits, wrong] = [(); 3].map(|()| words.next().unwrap().parse().unwrap());
        Told { name, calls, hits, wrong }
    });
    (told.collect(), errors)
}

fn wrong(told: &[Told]) -> u64 {
    told.iter().map(|told| told.wrong).sum()
}

#[test]
fn results_read_by_another_process_are_those_of_the_function() {
    let dir = cacheness_tests::scratch();
    let (computed, errors) = told(dir.path(), "compare-values-twice");
    assert_eq!(wrong(&computed), 0, "{errors}");
    let (read, errors) = told(dir.path(), "compare-values");
    assert_eq!(wrong(&read), 0, "{errors}");
    for Told { name, calls, hits, .. } in &read {
        // What cannot be told apart is not stored; all else is.
        let least = match name.as_str() {
            "lossy" | "only_debug" => 1,
            "twin" | "untagged" | "flat_maybe" => calls / 4,
            "nested" | "addresses" | "times" | "bag" | "text" | "reals" | "internal" | "flat_tagged" => *calls,
            _ => calls / 3,
        };
        assert!(*hits >= least, "{name}: only {hits} of {calls} were read\n{errors}");
    }
}

/// The control: without the proof the comparison finds wrong results. Those of the other types would be misses: reading
/// compares what serde shows.
#[test]
fn without_the_proof_at_every_put_wrong_results_are_read() {
    let dir = cacheness_tests::scratch();
    told(dir.path(), "compare-values-unproven");
    let (read, _) = told(dir.path(), "compare-values-unproven");
    for name in ["lossy", "only_debug"] {
        assert!(read.iter().any(|told| told.name == name && told.wrong > 0), "{name} has no wrong result");
    }
}
