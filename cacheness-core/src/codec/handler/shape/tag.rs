//! Tags of internally tagged enums, as they are seen while a value is traced.

use std::any::type_name;
use std::cell::RefCell;

use serde::Serialize;

use super::{CONTENTS, Kind, Trace, Untraceable, mix, trace};
use crate::util::digest::checksum;

/// A tag: the struct it stands in, the name of its field, and its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Tag {
    within: u64,
    field: u64,
    text: u64,
}

impl Tag {
    /// What stands for a text: as the tracer has it.
    pub(in super::super) fn mark_of(text: &str) -> u64 {
        mix(mix(Kind::Str as u64, 0), checksum(text.as_bytes()))
    }

    pub(in super::super) fn is(self, field: u64, text: u64) -> bool {
        (self.field, self.text) == (field, text)
    }

    /// What stands for the field, whatever its text is.
    pub(in super::super) fn of_any_text(self) -> Self {
        Self { text: 0, ..self }
    }

    pub(in super::super) fn mark(self) -> u64 {
        mix(self.within, mix(self.field, self.text))
    }
}

thread_local! {
    static TAGS: RefCell<Vec<Tag>> = const { RefCell::new(Vec::new()) };
}

/// Notes a part if it is a tag: only serde's derive writes a bare `str`; a field is at least a reference to one.
#[inline]
pub(super) fn note<const VIEW: u8, T: ?Sized>(within: u64, field: impl FnOnce() -> u64, text: u64) {
    if VIEW == CONTENTS && type_name::<T>() == "str" {
        TAGS.with_borrow_mut(|tags| tags.push(Tag { within, field: field(), text }));
    }
}

/// The contents of a value, and its tags.
pub(in super::super) fn trace_with_tags(value: &impl Serialize) -> Result<(Trace, Vec<Tag>), Untraceable> {
    TAGS.take();
    let trace = trace::<CONTENTS>(value)?;
    Ok((trace, TAGS.take()))
}
