use std::fmt;
use std::str::FromStr;

use super::{KeyId, Purpose};
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::digest::{Mac, derived_secret, hex};

const SECRET_LEN: usize = 32;

/// A secret of 32 bytes that entries are signed with. It is never printed: `Debug` shows its [id](Self::id).
///
/// ```
/// use cacheness::config::SigningKey;
///
/// let key = SigningKey::from_bytes([7; 32]);
/// assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.id()));
/// assert_ne!(key.id(), SigningKey::generate()?.id());
/// # Ok::<(), cacheness::CacheError>(())
/// ```
//
// Of the secret itself nothing is kept once the secrets for each purpose are made, but what it takes to write it down.
#[derive(Clone)]
pub struct SigningKey {
    secret: [u8; SECRET_LEN],
    id: KeyId,
    purposes: [[u8; 32]; Purpose::ALL.len()],
}

impl SigningKey {
    /// A key of 32 bytes that nobody else knows or can guess. A password is no such thing.
    pub fn from_bytes(secret: [u8; 32]) -> Self {
        let mut id = KeyId::default();
        let named = derived_secret("cacheness 1 name of a signing key", &secret);
        let len = id.len();
        id.copy_from_slice(&named[..len]);
        Self { secret, id, purposes: Purpose::ALL.map(|purpose| derived_secret(purpose.context(), &secret)) }
    }

    /// A new key, from the random numbers of the operating system. What is signed with it is believed as long as it is at
    /// hand: to the end of the process, unless it is kept.
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage) if the system has no random numbers.
    pub fn generate() -> Result<Self> {
        let mut secret = [0; SECRET_LEN];
        getrandom::fill(&mut secret).map_err(|error| {
            CacheError::caused_by(ErrorKind::Storage, "the system has no random numbers for a signing key", error)
        })?;
        Ok(Self::from_bytes(secret))
    }

    /// The name of the key, 16 hex digits. It tells nothing about the key.
    pub fn id(&self) -> String {
        hex(&self.id)
    }

    pub(crate) fn id_bytes(&self) -> KeyId {
        self.id
    }

    pub(crate) fn mac(&self, purpose: Purpose) -> Mac {
        Mac::new(&self.purposes[purpose as usize])
    }

    /// What a key file holds.
    pub(crate) fn to_text(&self) -> String {
        hex(&self.secret) + "\n"
    }
}

/// Of 64 hex digits, as in a key file.
impl FromStr for SigningKey {
    type Err = CacheError;

    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if it is not that. The message does not repeat the text.
    fn from_str(text: &str) -> Result<Self> {
        let digits = text.trim_ascii();
        let mut secret = [0; SECRET_LEN];
        let pairs = digits.as_bytes().chunks_exact(2);
        let whole = digits.len() == 2 * SECRET_LEN
            && secret.iter_mut().zip(pairs).all(|(byte, pair)| match (digit(pair[0]), digit(pair[1])) {
                (Some(high), Some(low)) => {
                    *byte = high << 4 | low;
                    true
                }
                _ => false,
            });
        let wrong = || CacheError::new(ErrorKind::InvalidArgument, "a signing key has 64 hex digits and nothing else");
        whole.then(|| Self::from_bytes(secret)).ok_or_else(wrong)
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for SigningKey {}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_its_text_and_anything_else_is_refused_without_repeating_it() {
        let key = SigningKey::generate().unwrap();
        assert_eq!(key.to_text().parse::<SigningKey>().unwrap().secret, key.secret);
        let digits = "ab".repeat(32);
        for text in ["", &digits[1..], &format!("{digits}0"), &digits.replace('b', "x"), &digits.replacen("ab", "é", 1)]
        {
            let error = text.parse::<SigningKey>().unwrap_err();
            assert!(error.is_invalid_argument() && (text.is_empty() || !error.to_string().contains(text)), "{error}");
        }
    }

    #[test]
    fn two_keys_are_never_the_same_and_none_is_printed() {
        let (one, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        assert_ne!(one, other);
        let shown = format!("{one:?}");
        assert!(!shown.contains(&one.to_text()[..8]), "{shown}");
    }
}
