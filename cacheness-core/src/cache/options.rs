use std::collections::BTreeSet;
use std::time::Duration;

use crate::entry::Details;
use crate::error::{CacheError, ErrorKind, Result};
use crate::query::{CustomMetadata, Schema};
use crate::value::{Metadata, Value};

/// What a put says about its entry, beside the value.
///
/// ```
/// use std::time::Duration;
/// use cacheness::{Cache, PutOptions};
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = Cache::in_memory();
/// let options = PutOptions::new()
///     .ttl(Duration::from_secs(60))
///     .description("a model of last week")
///     .metadata("accuracy", 0.93);
/// cache.put_with("model", &vec![1u8, 2, 3], options)?;
/// let (_, entry) = cache.get_with_metadata::<Vec<u8>>("model")?.expect("it was just stored");
/// assert_eq!(entry.metadata()["accuracy"], 0.93.into());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PutOptions {
    /// How long the entry lives; the configuration's default if `None`.
    pub ttl: Option<Duration>,
    /// The function whose result this is; attributes fill it in.
    pub function: Option<String>,
    /// The namespace of the entry, by which it can be listed and cleared.
    pub prefix: Option<String>,
    /// A sentence for the reader of a listing.
    pub description: Option<String>,
    /// Groups that the entry belongs to.
    pub tags: Vec<String>,
    /// Values that describe the entry.
    pub metadata: Metadata,
    /// Name of the handler that writes the value; chosen by its type if `None`.
    pub handler: Option<String>,
    /// The arguments of the function whose result this is; attributes fill them in.
    pub(crate) params: Vec<(String, Value)>,
    /// Rows of custom metadata, each with what its type says of it.
    pub(crate) custom: Vec<(&'static Schema, Metadata)>,
}

impl PutOptions {
    /// Nothing but the value.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the entry lives.
    #[doc(alias = "ttl_seconds")]
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The function whose result this is.
    #[must_use]
    pub fn function(mut self, function: impl Into<String>) -> Self {
        self.function = Some(function.into());
        self
    }

    /// The namespace of the entry.
    #[doc(alias = "cache_key_prefix")]
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
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

    /// The [handler](crate::Handler) that writes the value, by its name: one that is registered for the type of the value,
    /// `bincode` or `messagepack`. A name that is none of these is an error of the put, which lists them.
    #[must_use]
    pub fn handler(mut self, name: impl Into<String>) -> Self {
        self.handler = Some(name.into());
        self
    }

    /// Adds typed metadata that can be [queried](crate::Cache::query). An entry may have one row of each of several kinds;
    /// a second one of the same kind is an error of the put.
    #[doc(alias = "custom_metadata")]
    #[must_use]
    pub fn custom<E: CustomMetadata>(mut self, row: &E) -> Self {
        self.custom.push((E::SCHEMA, row.to_row()));
        self
    }

    /// The kinds of custom metadata that are given.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if one is given twice.
    pub(super) fn kinds(&self) -> Result<impl Iterator<Item = &'static Schema>> {
        let mut seen = BTreeSet::new();
        match self.custom.iter().find(|(schema, _)| !seen.insert(schema.name)) {
            None => Ok(self.custom.iter().map(|(schema, _)| *schema)),
            Some((schema, _)) => {
                let message = format!(
                    "custom metadata {:?} is given twice for one entry: an entry has one row of each kind",
                    schema.name
                );
                Err(CacheError::new(ErrorKind::InvalidArgument, message))
            }
        }
    }

    pub(super) fn into_details(self, data_type: &str, params: Vec<(String, Value)>) -> Details {
        let (kinds, rows) = self.custom.into_iter().map(|(schema, row)| (schema.name.to_owned(), row)).unzip();
        Details {
            data_type: data_type.to_owned(),
            function: self.function,
            prefix: self.prefix,
            description: self.description,
            tags: self.tags,
            kinds,
            metadata: self.metadata,
            rows,
            params,
            ..Details::default()
        }
    }
}
