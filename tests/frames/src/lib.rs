//! Shared parts of the tests of arrays, tables and tensors.

pub mod python;

/// Says that a test cannot be run here. Where `CACHENESS_REQUIRE_SERVICES` is set everything must be run, and it fails.
///
/// # Panics
/// If the variable is set.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CACHENESS_REQUIRE_SERVICES").is_none(), "this test must run here, but {why}");
    println!("SKIPPED: {why}");
}
