//! The keys of a blob store: any text, kept exactly, never a path.

use crate::codec::handler::Encoded;
use crate::entry::{Entry, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::key::ToKey;
use crate::util::digest::{IDENTITY_LEN, Identity, IdentityHasher};

/// The longest key, in bytes of UTF-8.
pub(crate) const MAX_KEY_BYTES: usize = 1024;

/// How much of a key that is too long an error shows.
const SHOWN: usize = 40;

/// How an entry of this key is found.
///
/// # Errors
/// [`InvalidArgument`](ErrorKind::InvalidArgument) if the key is empty, [`Limit`](ErrorKind::Limit) if it is too long.
pub(crate) fn index_key(key: &str) -> Result<IndexKey> {
    if key.is_empty() {
        let message = "the key is empty: name the entry, or leave the key out to have one made";
        return Err(CacheError::new(ErrorKind::InvalidArgument, message));
    }
    if key.len() > MAX_KEY_BYTES {
        let shown: String = key.chars().take(SHOWN).collect();
        let message =
            format!("the key {shown:?}… is {} bytes long, a blob store takes keys of up to {MAX_KEY_BYTES}", key.len());
        return Err(CacheError::new(ErrorKind::Limit, message));
    }
    Ok(IndexKey::of(&key.to_key()?))
}

/// An identity as a key: hex digits.
pub(crate) fn of_content(content: &Identity) -> String {
    content.iter().fold(String::with_capacity(2 * IDENTITY_LEN), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
        text
    })
}

/// Tells the entry of a stream its content, which is only known at its end, and its key if it is to have one made of that.
pub(crate) fn complete(entry: &mut Entry, content: Identity) -> Result<()> {
    entry.details.content = Some(content);
    if entry.details.name.is_none() {
        let name = of_content(&content);
        entry.key = index_key(&name)?;
        entry.details.name = Some(name);
    }
    Ok(())
}

/// The identity of an encoded value: equal bytes of another type are another content.
pub(crate) fn content_of(value: &Encoded<'_>) -> Identity {
    // Derived within a context: no plain bytes, whatever they are, have the same identity.
    let mut hasher = IdentityHasher::within("cacheness 2026-11-24 content of an encoded value");
    hasher.update(&[value.payload_format]);
    hasher.update(&value.type_fingerprint.to_le_bytes());
    hasher.update(&value.shape.to_le_bytes());
    value.bytes.pieces().into_iter().for_each(|piece| hasher.update(piece));
    hasher.finish()
}
