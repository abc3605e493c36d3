use crate::value::{Metadata, Value};

/// What a put to a [`BlobStore`](crate::BlobStore) says of its entry: its key, and what describes it.
///
/// A text alone is the key:
///
/// ```
/// use cacheness::{BlobOptions, BlobStore};
///
/// # fn main() -> cacheness::Result<()> {
/// let store = BlobStore::in_memory();
/// store.put_with("weights/v1.0", &vec![0.5, 0.25])?;
/// store.put_with(BlobOptions::key("weights/v1.1").metadata("accuracy", 0.95).tag("best"), &vec![0.5, 0.75])?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct BlobOptions {
    /// The key; one is made if `None`.
    pub key: Option<String>,
    /// A sentence for the reader of a listing.
    pub description: Option<String>,
    /// Groups that the entry belongs to.
    pub tags: Vec<String>,
    /// Values that describe the entry.
    pub metadata: Metadata,
}

impl BlobOptions {
    /// An entry whose key is made by the store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An entry with this key.
    pub fn key(key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..Self::default() }
    }

    /// A sentence for the reader of a listing.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Adds a group.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Adds a value that describes the entry.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }
}

impl From<&str> for BlobOptions {
    fn from(key: &str) -> Self {
        Self::key(key)
    }
}

impl From<String> for BlobOptions {
    fn from(key: String) -> Self {
        Self::key(key)
    }
}

impl From<&String> for BlobOptions {
    fn from(key: &String) -> Self {
        Self::key(key)
    }
}
