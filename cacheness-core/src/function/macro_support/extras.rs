use std::fmt::{Display, Write};
use std::mem::ManuallyDrop;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::value::{Metadata, Value};

/// What a function tells of a result beside the value, when it runs. Until then it takes no memory: a hit has none.
#[derive(Debug, Default)]
pub struct Extras(Mutex<Place>);

/// Dropped by one comparison where there is nothing: every hit drops one.
#[derive(Debug, Default)]
struct Place(Option<ManuallyDrop<Box<Told>>>);

impl Place {
    #[inline]
    fn take(&mut self) -> Option<Box<Told>> {
        self.0.take().map(ManuallyDrop::into_inner)
    }
}

impl Drop for Place {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_some() {
            forget_told(self);
        }
    }
}

#[cold]
fn forget_told(place: &mut Place) {
    drop(place.take());
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) tags: Vec<String>,
    pub(super) metadata: Metadata,
    pub(super) params: Vec<(String, Value)>,
    pub(super) ttl: Option<Duration>,
}

impl Extras {
    /// Nothing told.
    pub const fn new() -> Self {
        Self(Mutex::new(Place(None)))
    }

    /// Adds a value to the metadata.
    pub fn add(&self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        self.tell(|told| told.metadata.insert(name.to_owned(), value));
    }

    /// Adds a group that the result belongs to.
    pub fn tag(&self, tag: impl Display) {
        // Not `to_string`, which panics if `Display` fails: what it wrote until then is the tag.
        let mut text = String::new();
        let _ = write!(text, "{tag}");
        self.tell(|told| {
            if !told.tags.contains(&text) {
                told.tags.push(text);
            }
        });
    }

    /// Records an argument, if there is something to record.
    pub fn param(&self, name: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.tell(|told| told.params.push((name.to_owned(), value)));
        }
    }

    /// The result itself says how long it lives.
    pub(super) fn ttl(&self, ttl: Duration) {
        self.tell(|told| told.ttl = Some(ttl));
    }

    pub(super) fn take(&self) -> Told {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map_or_else(Told::default, |told| *told)
    }

    fn tell<R>(&self, tell: impl FnOnce(&mut Told) -> R) -> R {
        tell(self.0.lock().unwrap_or_else(PoisonError::into_inner).0.get_or_insert_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_told_twice_is_one_and_their_order_stays() {
        let extras = Extras::new();
        ["b", "a", "b"].iter().for_each(|tag| extras.tag(tag));
        assert_eq!(extras.take().tags, ["b", "a"]);
        assert_eq!(extras.take(), Told::default(), "taken once");
    }
}
