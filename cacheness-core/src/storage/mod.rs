//! Files, and the blobs that lie in them: a file system that can be simulated, and the backends of blobs above it.

pub(crate) mod blob;
pub(crate) mod vfs;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{CacheError, ErrorKind, Result};
use crate::util::digest::{UNIQUE_LEN, is_unique_name, unique_name};

/// The name of a blob: 32 lowercase hex digits, never made from what a user said and never used twice.
///
/// ```
/// use cacheness::backend::BlobName;
///
/// let name = BlobName::unique();
/// assert_eq!(BlobName::parse(name.as_str())?, name);
/// assert!(BlobName::parse("../../etc/passwd").is_err());
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlobName(Box<str>);

impl BlobName {
    /// Bytes of a name as text.
    pub(crate) const LEN: usize = UNIQUE_LEN;

    /// A name that no other blob has, of this process or another.
    pub fn unique() -> Self {
        Self(unique_name().into())
    }

    /// The name that this text is.
    ///
    /// # Errors
    /// `Integrity` when it is not 32 lowercase hex digits.
    pub fn parse(text: &str) -> Result<Self> {
        if is_unique_name(text) {
            return Ok(Self(text.into()));
        }
        let shown: String = text.chars().take(2 * UNIQUE_LEN).collect();
        let message = format!("invalid blob name {shown:?}: it must be {UNIQUE_LEN} lowercase hex digits");
        Err(CacheError::new(ErrorKind::Integrity, message))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobName({})", self.0)
    }
}

impl TryFrom<String> for BlobName {
    type Error = CacheError;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<BlobName> for String {
    fn from(name: BlobName) -> Self {
        name.0.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::Error;

    use super::*;

    #[test]
    fn a_name_that_was_stored_is_checked_when_it_is_read() {
        let read = |text: &str| BlobName::deserialize(IntoDeserializer::<Error>::into_deserializer(text));
        let name = BlobName::unique();
        assert_eq!(read(name.as_str()).unwrap(), name);
        for text in ["", "..", "/etc/passwd", &"A".repeat(32), &format!("{name}/")] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_other_text_is_a_name(text in "\\PC{0,40}|[./\\\\0-9a-fA-F]{32}|[0-9a-f]{30,34}") {
            let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            let parsed = BlobName::parse(&text);
            prop_assert_eq!(parsed.is_ok(), text.len() == 32 && text.chars().all(hex));
            if let Err(error) = parsed {
                prop_assert!(error.is_integrity());
            }
        }
    }
}
