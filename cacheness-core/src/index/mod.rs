//! Where rows are kept: the seam to metadata backends, the record that a row is, and the backends.

pub(crate) mod backend;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod conformance;
mod files;
#[cfg(feature = "json")]
mod json;
mod memory;
#[cfg(unix)]
pub(crate) mod neighbours;
mod record;
pub(crate) mod registry;
pub(crate) mod sled;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(test)]
mod tests;

pub(crate) use backend::MetadataBackend;
pub use memory::MemoryMetadata;
pub(crate) use record::{Payload, Record};
#[cfg(test)]
pub(crate) use tests::{Call, Records, Watched};

use crate::entry::Names;
use crate::error::Result;
use crate::util::digest;
use backend::{CustomRow, Facts};

/// A set of entries that can be listed and cleared on its own: those of a function, of a prefix, of a tag, with custom
/// metadata of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Group(u64);

impl Group {
    pub(crate) fn function(name: &str) -> Self {
        Self::named(b'f', name)
    }

    pub(crate) fn prefix(name: &str) -> Self {
        Self::named(b'p', name)
    }

    pub(crate) fn tag(name: &str) -> Self {
        Self::named(b't', name)
    }

    /// The entries that have custom metadata of this kind.
    pub(crate) fn kind(name: &str) -> Self {
        Self::named(b'k', name)
    }

    /// Groups are found by a checksum of their name; whoever lists one compares the name in the entry's details.
    fn named(kind: u8, name: &str) -> Self {
        Self(digest::checksum_within(&[kind], name.as_bytes()))
    }

    pub(crate) fn as_u64(self) -> u64 {
        self.0
    }

    /// The groups that these names stand for.
    pub(crate) fn of_names(names: &Names<'_>) -> Vec<Self> {
        let tags = names.tags.iter().map(|tag| Self::tag(tag));
        let kinds = names.kinds.iter().map(|kind| Self::kind(kind));
        Self::of(names.function, names.prefix, tags.chain(kinds))
    }

    fn of(function: Option<&str>, prefix: Option<&str>, others: impl Iterator<Item = Self>) -> Vec<Self> {
        let (function, prefix) = (function.map(Self::function), prefix.map(Self::prefix));
        function.into_iter().chain(prefix).chain(others).collect()
    }
}

impl Record {
    /// [`facts`](Self::facts) with the custom metadata, if the record is believed.
    pub(crate) fn facts_and_columns(&self) -> Result<Facts> {
        let mut facts = self.facts()?;
        if self.is_believed() && !self.core_and_names()?.1.kinds.is_empty() {
            facts.custom = self.entry()?.details.custom().map(CustomRow::of).collect();
        }
        Ok(facts)
    }
}
