//! What an attribute says of its function, and what is recorded of a call.

use std::fmt::{Display, Write};
use std::mem::ManuallyDrop;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::LONGEST;
use crate::value::{Metadata, Value};

/// Which attribute it is: the address of a static beside it, which no other attribute of the program has.
pub type AttributeId = &'static fn();

/// What an attribute says that is known when the program is compiled. Only what differs from the default is set.
#[derive(Clone, Debug)]
pub struct Site {
    pub(super) attribute: AttributeId,
    pub(super) without_self: Option<WithoutSelf>,
    pub(super) ttl: Option<Duration>,
    pub(super) prefix: Option<&'static str>,
    pub(super) version: Option<&'static str>,
    pub(super) single_flight: bool,
}

/// What distinguishes a function without a receiver from others of its path.
#[derive(Clone, Copy, Debug)]
pub(super) struct WithoutSelf {
    /// Hash of the tokens of its signature and its body.
    pub(super) tokens: u64,
    /// The path of the module that it is in.
    pub(super) module: &'static str,
}

impl Site {
    /// An attribute without options.
    pub const fn at(attribute: AttributeId) -> Self {
        Self { attribute, without_self: None, ttl: None, prefix: None, version: None, single_flight: true }
    }

    /// The function has no receiver: it may be nested in another, in one of several blocks.
    pub const fn without_self(self, tokens: u64, module: &'static str) -> Self {
        Self { without_self: Some(WithoutSelf { tokens, module }), ..self }
    }

    /// How long results live.
    pub const fn ttl_micros(self, micros: u64) -> Self {
        Self { ttl: Some(Duration::from_micros(micros)), ..self }
    }

    /// The namespace of the results.
    pub const fn prefix(self, prefix: &'static str) -> Self {
        Self { prefix: Some(prefix), ..self }
    }

    /// The version of the body.
    pub const fn version(self, version: &'static str) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Every concurrent caller runs the body.
    pub const fn crowded(self) -> Self {
        Self { single_flight: false, ..self }
    }
}

/// What is recorded of a result beside its value, when the function runs. Until then it takes no memory: a hit has none.
#[derive(Debug, Default)]
pub struct CallMetadata(Mutex<Slot>);

/// Dropped by one comparison where there is nothing: every hit drops one.
#[derive(Debug, Default)]
struct Slot(Option<ManuallyDrop<Box<Recorded>>>);

impl Slot {
    #[inline]
    fn take(&mut self) -> Option<Box<Recorded>> {
        self.0.take().map(ManuallyDrop::into_inner)
    }
}

impl Drop for Slot {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_some() {
            forget_recorded(self);
        }
    }
}

#[cold]
fn forget_recorded(slot: &mut Slot) {
    drop(slot.take());
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Recorded {
    pub(super) tags: Vec<String>,
    pub(super) metadata: Metadata,
    pub(super) params: Vec<(String, Value)>,
    pub(super) ttl: Option<Duration>,
}

impl CallMetadata {
    /// Nothing recorded.
    pub const fn new() -> Self {
        Self(Mutex::new(Slot(None)))
    }

    /// Adds a value to the metadata.
    pub fn add(&self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        self.record(|recorded| recorded.metadata.insert(name.to_owned(), value));
    }

    /// Adds a group that the result belongs to.
    pub fn tag(&self, tag: impl Display) {
        // Not `to_string`, which panics if `Display` fails: what it wrote until then is the tag.
        let mut text = String::new();
        let _ = write!(text, "{tag}");
        self.record(|recorded| {
            if !recorded.tags.contains(&text) {
                recorded.tags.push(text);
            }
        });
    }

    /// Records an argument, if there is something to record.
    pub fn param(&self, name: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.record(|recorded| recorded.params.push((name.to_owned(), value)));
        }
    }

    /// The result itself says how long it lives.
    pub(super) fn ttl(&self, ttl: Duration) {
        self.record(|recorded| recorded.ttl = Some(ttl));
    }

    pub(super) fn take(&self) -> Recorded {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .map_or_else(Recorded::default, |recorded| *recorded)
    }

    fn record<R>(&self, record: impl FnOnce(&mut Recorded) -> R) -> R {
        record(self.0.lock().unwrap_or_else(PoisonError::into_inner).0.get_or_insert_default())
    }
}

/// How long a result lives, as an attribute's `ttl` says it: a value, or what a closure makes of the result.
#[diagnostic::on_unimplemented(
    message = "`ttl` is a `Duration` or an `Option<Duration>`, not `{Self}`",
    label = "write `Duration::from_secs(..)` for a number of seconds"
)]
pub trait Lifetime {
    /// The time; `None` is the default of the cache.
    fn lifetime(self) -> Option<Duration>;
}

/// The time that a result says. A function for expansions to hand on: a bound where it is called would be reported twice.
pub fn lifetime<L: Lifetime>(ttl: L) -> Option<Duration> {
    ttl.lifetime()
}

impl Lifetime for Duration {
    fn lifetime(self) -> Option<Duration> {
        // `Duration::MAX` is how code says "for ever".
        Some(self.min(LONGEST))
    }
}

impl Lifetime for Option<Duration> {
    fn lifetime(self) -> Option<Duration> {
        self.and_then(Duration::lifetime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_told_twice_is_one_and_their_order_stays() {
        let metadata = CallMetadata::new();
        ["b", "a", "b"].iter().for_each(|tag| metadata.tag(tag));
        assert_eq!(metadata.take().tags, ["b", "a"]);
        assert_eq!(metadata.take(), Recorded::default(), "taken once");
    }
}
