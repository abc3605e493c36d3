//! What a cache of a million small entries costs beside one of a thousand.
//!
//! `cargo bench -p cacheness-benches --bench scale` fills one cache for each size, measures them in turns, so that what else the
//! machine does meets all alike, prints medians and says which bars hold. Other sizes: `-- 1000 100000`; another place
//! than the target directory: `-- --dir /some/disk`; another setting than the default: `-- --page-cache-mb 64`.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod bars;
mod measure;
mod subject;

use std::path::PathBuf;

use cacheness_benches::Bench;
use measure::{Row, megabytes, resident_bytes};
use subject::Subject;

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const SMOKE_SIZES: [usize; 2] = [1_000, 2_000];

fn main() {
    let Arguments { sizes, dir, page_cache_mb } = Arguments::read();
    let mut bench = Bench::new("scale", env!("CARGO_TARGET_TMPDIR"));
    let mut subjects: Vec<Subject> = sizes.iter().map(|&size| Subject::fill(&dir, size, page_cache_mb)).collect();
    println!("memory with all open: {:.0} MB", megabytes(resident_bytes()));
    let mut rows = Vec::new();
    rows.extend(measure::opening(&mut subjects));
    rows.extend(measure::hot_paths(&mut subjects));
    rows.extend(measure::listing(&mut subjects));
    let memory = resident_bytes();
    rows.extend(measure::upkeep(&mut subjects));
    println!("memory after the hot paths: {:.0} MB", megabytes(memory));
    measure::print(&sizes, &rows);
    measure::keep(&mut bench, &sizes, &rows);
    bars::judge(&mut bench, &sizes, &rows);
    drop(subjects);
    std::fs::remove_dir_all(&dir).unwrap();
}

struct Arguments {
    sizes: Vec<usize>,
    dir: PathBuf,
    page_cache_mb: Option<u64>,
}

impl Arguments {
    fn read() -> Self {
        let mut read = Self { sizes: Vec::new(), dir: PathBuf::from(env!("CARGO_TARGET_TMPDIR")), page_cache_mb: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo says so to every benchmark.
                "--bench" => {}
                "--smoke" => read.sizes.extend(SMOKE_SIZES),
                "--dir" => read.dir = arguments.next().expect("--dir needs a directory").into(),
                "--page-cache-mb" => read.page_cache_mb = arguments.next().map(|number| parse(&number) as u64),
                size => read.sizes.push(parse(size)),
            }
        }
        if read.sizes.is_empty() {
            read.sizes = SIZES.to_vec();
        }
        read.sizes.sort_unstable();
        read.dir.push(format!("scale-{}", std::process::id()));
        read
    }
}

fn parse(number: &str) -> usize {
    number.replace('_', "").parse().expect("sizes are numbers")
}

/// The median cost of one row at one size, by name.
fn cost(rows: &[Row], name: &str, sizes: &[usize], size: usize) -> Option<f64> {
    let at = sizes.iter().position(|one| *one == size)?;
    rows.iter().find(|row| row.name == name)?.seconds.get(at).copied()
}
