//! The attributes, as users write them. Every test counts the runs of a body or looks at what is stored, so that it fails
//! when an attribute does nothing.

mod arguments;
mod bound;
mod control;
mod functions;
mod futures;
mod herd;
mod keys;
mod lifetimes;
mod lints;
mod nested;
mod options;
mod panics;
mod params;
mod paths;
mod programs;
mod results;
mod runs;
mod serialized;
mod shared;
mod stale;
mod tags;
mod waits;

pub(crate) use runs::{Runs, block_on, in_memory_by_default};
