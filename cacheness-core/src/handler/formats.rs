//! Which of the two built-in formats may be written, and in which order they are tried.

use super::payload::PayloadFormat;
use crate::config::{BINCODE, MESSAGEPACK};

/// One format or both, the first choice before the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Formats {
    first: PayloadFormat,
    second: Option<PayloadFormat>,
}

impl Formats {
    pub(crate) const DEFAULT: Self = Self { first: PayloadFormat::Bincode, second: Some(PayloadFormat::MessagePack) };

    pub(super) const fn only(format: PayloadFormat) -> Self {
        Self { first: format, second: None }
    }

    /// Those that are allowed, in the order in which they are named; what is not named comes last.
    pub(super) fn of(priority: &[String], disabled: &[String]) -> Self {
        let has = |names: &[String], name: &str| names.iter().any(|other| other == name);
        if has(disabled, BINCODE) {
            return Self::only(PayloadFormat::MessagePack);
        }
        if has(disabled, MESSAGEPACK) {
            return Self::only(PayloadFormat::Bincode);
        }
        let place = |name: &str| priority.iter().position(|other| other == name).unwrap_or(usize::MAX);
        if place(MESSAGEPACK) < place(BINCODE) {
            Self { first: PayloadFormat::MessagePack, second: Some(PayloadFormat::Bincode) }
        } else {
            Self::DEFAULT
        }
    }

    pub(super) fn first(self) -> PayloadFormat {
        self.first
    }

    /// The format to try when this one has failed.
    pub(super) fn after(self, tried: PayloadFormat) -> Option<PayloadFormat> {
        if tried == self.first { self.second } else { None }
    }

    /// The one with names of fields if it is allowed.
    pub(super) fn rather_named(self) -> PayloadFormat {
        if self.includes(PayloadFormat::MessagePack) { PayloadFormat::MessagePack } else { self.first }
    }

    pub(super) fn includes(self, format: PayloadFormat) -> bool {
        self.first == format || self.second == Some(format)
    }

    /// Behind a verb, where it was not free to choose.
    pub(super) fn told(self) -> String {
        if self.second.is_some() { String::new() } else { format!(" as {}, the one format allowed", self.first.name()) }
    }
}
