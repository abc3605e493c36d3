//! The attribute and derive macros of `cacheness`; use them through that crate.
