use std::fmt::{Display, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::value::{Metadata, Value};

/// Tags and metadata of a result, told by the function when it runs. Until then it takes no memory: a hit has none.
#[derive(Debug, Default)]
pub struct Extras(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    tags: Vec<String>,
    metadata: Metadata,
}

impl Extras {
    /// Nothing told.
    pub const fn new() -> Self {
        Self(Mutex::new(Told { tags: Vec::new(), metadata: Metadata::new() }))
    }

    /// Adds a value to the metadata.
    pub fn add(&self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        self.told().metadata.insert(name.to_owned(), value);
    }

    /// Adds a group that the result belongs to.
    pub fn tag(&self, tag: impl Display) {
        // Not `to_string`, which panics if `Display` fails: what it wrote until then is the tag.
        let mut text = String::new();
        let _ = write!(text, "{tag}");
        let mut told = self.told();
        if !told.tags.contains(&text) {
            told.tags.push(text);
        }
    }

    pub(super) fn take(&self) -> (Vec<String>, Metadata) {
        let told = std::mem::take(&mut *self.told());
        (told.tags, told.metadata)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_told_twice_is_one_and_their_order_stays() {
        let extras = Extras::new();
        ["b", "a", "b"].iter().for_each(|tag| extras.tag(tag));
        assert_eq!(extras.take().0, ["b", "a"]);
        assert_eq!(extras.take(), (Vec::new(), Metadata::new()), "taken once");
    }
}
