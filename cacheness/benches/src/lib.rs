//! Measuring cacheness beside others, in turns and in one process, so that whatever else the machine does meets all alike.
//!
//! A bench makes a [`Bench`], asks it for [`works`](Bench::work), and each work prints a line for each peer and writes it to
//! `target/benches/<bench>.jsonl`, from which `report.py` makes `docs/benchmarks.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod clock;
mod data;
mod line;
mod python;
mod redis;
mod work;

pub use bench::Bench;
pub use clock::Stopwatch;
pub use data::{Random, Station, megabytes_of_bytes, ramp, random_numbers, station, steps, walk};
pub use line::{Bar, Line, Unit};
pub use python::Python;
pub use redis::RedisServer;
pub use work::{Work, median, quartiles, repeat, settle, timed};
