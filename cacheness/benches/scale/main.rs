//! What a cache of a million small entries costs beside one of a thousand.
//!
//! `cargo bench -p cacheness --bench scale` fills one cache for each size, measures them in turns, so that what else the
//! machine does meets all alike, prints medians and says which bars hold. Other sizes: `-- 1000 100000`; another place
//! than the target directory: `-- --dir /some/disk`.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod bars;
mod measure;
mod subject;

use std::path::PathBuf;

use measure::{Row, megabytes, resident_bytes};
use subject::Subject;

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

fn main() {
    let (sizes, dir) = arguments();
    println!("load before: {}", measure::load());
    let mut subjects: Vec<Subject> = sizes.iter().map(|&size| Subject::fill(&dir, size)).collect();
    println!("memory with all open: {:.0} MB", megabytes(resident_bytes()));
    let mut rows = Vec::new();
    rows.extend(measure::opening(&mut subjects));
    rows.extend(measure::hot_paths(&mut subjects));
    rows.extend(measure::upkeep(&mut subjects));
    measure::print(&sizes, &rows);
    bars::judge(&sizes, &rows);
    println!("load after: {}", measure::load());
    drop(subjects);
    std::fs::remove_dir_all(&dir).unwrap();
}

fn arguments() -> (Vec<usize>, PathBuf) {
    let (mut sizes, mut dir) = (Vec::new(), PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--dir" => dir = arguments.next().expect("--dir needs a directory").into(),
            size => sizes.push(size.replace('_', "").parse().expect("a size is a number")),
        }
    }
    sizes.sort_unstable();
    (if sizes.is_empty() { SIZES.to_vec() } else { sizes }, dir.join(format!("scale-{}", std::process::id())))
}

/// The median cost of one row at one size, by name.
fn cost(rows: &[Row], name: &str, sizes: &[usize], size: usize) -> Option<f64> {
    let at = sizes.iter().position(|one| *one == size)?;
    rows.iter().find(|row| row.name == name)?.seconds.get(at).copied()
}
