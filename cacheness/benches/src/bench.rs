//! One run of a bench: its arguments, its directory, its results.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::line::Line;
use crate::python::Python;
use crate::work::Work;

/// One run of a bench.
pub struct Bench {
    name: &'static str,
    smoke: bool,
    numbers: Vec<u64>,
    /// Where the lines go; none when there is nothing to keep.
    results: Option<File>,
    scratch: TempDir,
    python: OnceCell<Python>,
    /// Whether the head of the table has been printed.
    has_head: bool,
}

impl Bench {
    /// Reads the arguments: `--smoke` does a little of everything and keeps no results; numbers are the bench's own.
    ///
    /// `target_tmpdir` is `env!("CARGO_TARGET_TMPDIR")`, which only a bench can name.
    pub fn new(name: &'static str, target_tmpdir: &str) -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let smoke = arguments.iter().any(|argument| argument == "--smoke");
        let numbers = arguments.iter().filter_map(|argument| argument.replace('_', "").parse().ok()).collect();
        let tmpdir = Path::new(target_tmpdir);
        fs::create_dir_all(tmpdir).unwrap();
        let scratch = tempfile::Builder::new().prefix(&format!("bench-{name}-")).tempdir_in(tmpdir).unwrap();
        let results = (!smoke).then(|| {
            let dir = tmpdir.with_file_name("benches");
            fs::create_dir_all(&dir).unwrap();
            File::create(dir.join(format!("{name}.jsonl"))).unwrap()
        });
        println!("\n{name}: load {}", load());
        let mut bench = Self { name, smoke, numbers, results, scratch, python: OnceCell::new(), has_head: false };
        bench.keep(json!({ "load": load() }));
        bench
    }

    /// Whether this run only shows that the bench works.
    pub fn is_smoke(&self) -> bool {
        self.smoke
    }

    /// `full`, or `smoke` in a run that only shows that the bench works.
    pub fn full_or<T>(&self, full: T, smoke: T) -> T {
        if self.smoke { smoke } else { full }
    }

    /// The numbers among the arguments.
    pub fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// A directory that is removed after the run.
    pub fn dir(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The peers in Python; all absent unless `CACHENESS_BENCH_PYTHON` names an interpreter that has them.
    pub fn python(&self) -> Python {
        self.python.get_or_init(|| Python::start(&self.dir("python"))).clone()
    }

    /// Something to measure.
    pub fn work<'w>(&'w mut self, what: &str) -> Work<'w> {
        Work::new(self, what)
    }

    /// Prints and keeps a result.
    pub fn tell(&mut self, line: &Line) {
        if !std::mem::replace(&mut self.has_head, true) {
            Line::print_head();
        }
        line.print();
        let mut value = line.to_json();
        value["bench"] = self.name.into();
        self.keep(value);
    }

    /// Keeps a point of a plot.
    pub fn point(&mut self, plot: &str, series: &str, x: f64, y: f64) {
        println!("{plot}: {series} at {x}: {y:.4e}");
        self.keep(json!({ "plot": plot, "series": series, "x": x, "y": y }));
    }

    /// Keeps a cell of a table with a column for each number of entries.
    pub fn cell(&mut self, row: &str, entries: usize, shown: &str) {
        self.keep(json!({ "row": row, "entries": entries, "shown": shown }));
    }

    /// Prints and keeps whether something holds.
    pub fn verdict(&mut self, row: &str, says: &str, bar: &str, met: bool) {
        println!("{}: {row}: {says}, {bar}", if met { "met   " } else { "MISSED" });
        self.keep(json!({ "verdict": row, "says": says, "bar": bar, "met": met }));
    }

    fn keep(&mut self, value: Value) {
        if let Some(results) = &mut self.results {
            writeln!(results, "{value}").unwrap();
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        println!("{}: load {} at the end", self.name, load());
        self.keep(json!({ "load": load() }));
    }
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_else(|_| "unknown".to_owned());
    text.split_whitespace().next().unwrap_or_default().to_owned()
}
