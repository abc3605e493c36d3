//! Tools that know nothing of caches: counters, checksums, unique names, warnings, the hook at the end of the process, what
//! a thread carries along, a second thread, a pool for work that blocks, and panics of code that is not ours.

pub(crate) mod carried;
pub(crate) mod digest;
pub(crate) mod exit;
pub(crate) mod report;
pub(crate) mod threads;
