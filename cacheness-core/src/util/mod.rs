//! Tools that know nothing of caches: counters, checksums, unique names, warnings, the hook at the end of the process, what
//! a thread carries along, a second thread, a pool for work that blocks, and panics of code that is not ours.

pub(crate) mod carried;
pub(crate) mod counter;
pub(crate) mod digest;
pub(crate) mod exit;
pub(crate) mod panics;
pub(crate) mod parallel;
pub(crate) mod runtime;
pub(crate) mod unique;
pub(crate) mod warn;
