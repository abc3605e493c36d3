//! Signing: who may have written what is read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::security::SigningKey;

/// Whether entries are signed, and what is believed.
///
/// With a key, every record of the index and every blob is signed, and nothing is decoded whose signature is not valid:
/// who can write to the directory and has no key can remove entries, and bring back an older value of a key under that same
/// key, but not make a value up, move it to another key or change what is said about it. Without, checksums find accidents
/// alone. Not used if index and values are in memory.
///
/// ```
/// use cacheness::cache::Expired;
/// use cacheness::{Cache, CacheConfig};
///
/// # fn main() -> cacheness::Result<()> {
/// # let dir = std::env::temp_dir().join(format!("cacheness-doc-signed-{}", std::process::id()));
/// let config = CacheConfig::new(dir.join("cache")).with_signing_key_file(dir.join("signing.key"));
/// let cache = Cache::new(config)?;
/// cache.put("answer", &42u8)?;
/// let entry = cache.get_metadata("answer", Expired::Skip)?.expect("it was just stored");
/// assert!(entry.entry_signature().is_some());
/// # drop(cache);
/// # std::fs::remove_dir_all(dir).ok();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SecurityConfig {
    /// Whether entries are signed, and signatures asked for. Default false.
    pub signing: bool,
    /// The file of the key: 64 hex digits that nobody but its owner may read. If there is none, it is made, unless the
    /// directory has signed entries already: a lost key is not replaced without a word. It must not lie in the directory of
    /// the cache. Default none: `cacheness/signing.key` in the user's directory for configurations (`$XDG_CONFIG_HOME`, or
    /// `.config` in the home directory).
    pub signing_key_file: Option<PathBuf>,
    /// The key itself, for programs that get it from elsewhere; not in files. With one there is no key file.
    #[serde(skip)]
    pub signing_key: Option<SigningKey>,
    /// Files of former keys: what is signed with them is believed, what is new is signed with the current key.
    pub previous_key_files: Vec<PathBuf>,
    /// Former keys themselves, as [`previous_key_files`](Self::previous_key_files); not in files.
    #[serde(skip)]
    pub previous_keys: Vec<SigningKey>,
    /// What is done about entries without a signature, such as those of a time before there was a key. Default
    /// [`UnsignedEntries::Refuse`].
    pub unsigned_entries: UnsignedEntries,
    /// What is done about entries that are not believed. They are never returned. Default [`InvalidEntries::Keep`].
    pub invalid_entries: InvalidEntries,
}

/// What is done about entries without a signature where entries are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum UnsignedEntries {
    /// They are not believed.
    #[default]
    Refuse,
    /// They are believed: **whoever can write to the directory can leave the signature away.** For the time it takes until
    /// the entries from before there was a key are replaced.
    Accept,
}

/// What is done about entries that are not believed: not signed, signed with a key that is not at hand, or forged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum InvalidEntries {
    /// They count as absent and stay: with the right key at hand they are there again. They expire, are evicted and are
    /// replaced as others are.
    #[default]
    Keep,
    /// They are removed when they are met.
    Remove,
}
