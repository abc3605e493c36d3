//! Faults of a configuration, gathered so that all of them are told at once.

use std::fmt::Debug;

use crate::error::{CacheError, ErrorKind, Result};

/// The faults found so far.
#[derive(Default)]
pub(super) struct Faults(Vec<String>);

impl Faults {
    /// Notes that `name`, which holds `value`, breaks `rule` - half a sentence that says what to do.
    pub(super) fn add(&mut self, name: &str, value: impl Debug, rule: &str) {
        self.0.push(format!("{name} is {value:?}: {rule}"));
    }

    /// Notes a fault unless `holds`.
    pub(super) fn unless(&mut self, holds: bool, name: &str, value: impl Debug, rule: &str) {
        if !holds {
            self.add(name, value, rule);
        }
    }

    /// All faults as one error, or none.
    pub(super) fn into_result(self, of_what: &str) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(CacheError::new(ErrorKind::Config, format!("{of_what} is not valid: {}", self.0.join("; "))))
    }
}
