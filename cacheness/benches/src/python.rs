//! Peers in Python: a process of `python/peers.py` that does work when it is told to.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

/// Peers in Python, or their absence.
#[derive(Clone)]
pub struct Python(Option<Rc<RefCell<Worker>>>);

struct Worker {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Python {
    /// Starts the interpreter that `CACHENESS_BENCH_PYTHON` names. What the peers store goes below `dir`.
    pub(crate) fn start(dir: &Path) -> Self {
        let Some(interpreter) = std::env::var_os("CACHENESS_BENCH_PYTHON") else {
            println!("without the peers in Python: `cacheness/benches/run` has them");
            return Self(None);
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/peers.py");
        let mut command = Command::new(&interpreter);
        command.arg(script).arg(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("CACHENESS_BENCH_PYTHON does not run");
        let orders = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self(Some(Rc::new(RefCell::new(Worker { process, orders, answers }))))
    }

    /// Whether there are any.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Seconds that so many calls of this work took, measured there.
    pub fn run(&self, work: &str, calls: u64) -> f64 {
        let worker = self.0.as_ref().expect("asked only if it is there");
        let mut worker = worker.borrow_mut();
        writeln!(worker.orders, "{work} {calls}").unwrap();
        let mut answer = String::new();
        worker.answers.read_line(&mut answer).unwrap();
        answer.trim().parse().unwrap_or_else(|_| panic!("peers.py failed at `{work} {calls}`: {answer}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The end of its input ends it; the directory it writes to is removed next.
        let _ = writeln!(self.orders, "quit 0");
        let _ = self.process.wait();
    }
}
