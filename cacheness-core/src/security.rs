//! The signing key, and what is proved by it: that bytes were written by somebody who has it.
//!
//! A signature is made with the current key. Former keys prove what was signed with them, so that a key can be replaced
//! without losing entries. Each purpose has a secret of its own, so that a signature of one is none of another.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use crate::error::{CacheError, ErrorKind, Result};
use crate::util::digest::{Mac, TAG_LEN, Tag, derived_secret, hex};

/// Length of a stored [`Signature`] in bytes.
pub(crate) const SIGNATURE_LEN: usize = KEY_ID_LEN + TAG_LEN;
const KEY_ID_LEN: usize = 8;

/// Tells signing keys apart, and nothing about them.
pub(crate) type KeyId = [u8; KEY_ID_LEN];

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A record of the index.
    Record,
    /// The header of a blob.
    Header,
    /// The payload of a blob.
    Payload,
    /// What a blob says of its payload.
    Trailer,
    /// One chunk of a stream.
    Chunk,
}

impl Purpose {
    const ALL: [Self; 5] = [Self::Record, Self::Header, Self::Payload, Self::Trailer, Self::Chunk];

    fn context(self) -> &'static str {
        match self {
            Self::Record => "cacheness 1 signature of a record",
            Self::Header => "cacheness 1 signature of a header",
            Self::Payload => "cacheness 1 signature of a payload",
            Self::Trailer => "cacheness 1 signature of a trailer",
            Self::Chunk => "cacheness 1 signature of a chunk",
        }
    }
}

/// A tag, and the key that it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) key: KeyId,
    pub(crate) tag: Tag,
}

impl Signature {
    pub(crate) fn to_bytes(self) -> [u8; SIGNATURE_LEN] {
        let mut bytes = [0; SIGNATURE_LEN];
        bytes[..KEY_ID_LEN].copy_from_slice(&self.key);
        bytes[KEY_ID_LEN..].copy_from_slice(&self.tag);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; SIGNATURE_LEN]) -> Self {
        let (mut key, mut tag) = ([0; KEY_ID_LEN], [0; TAG_LEN]);
        key.copy_from_slice(&bytes[..KEY_ID_LEN]);
        tag.copy_from_slice(&bytes[KEY_ID_LEN..]);
        Self { key, tag }
    }
}

/// Which bytes of a directory are believed, and how new ones are signed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signing {
    /// The first one signs. Without any, nothing is signed and nothing is asked for.
    keys: Vec<SigningKey>,
    /// What kind of directory the signatures are for: those of another kind are none.
    domain: u8,
    accepts_unsigned: bool,
    keeps_distrusted: bool,
}

impl Signing {
    /// No signatures.
    pub(crate) const OFF: Self = Self { keys: Vec::new(), domain: 0, accepts_unsigned: false, keeps_distrusted: false };

    /// [`OFF`](Self::OFF), for those who borrow it.
    #[cfg(test)]
    pub(crate) const fn off() -> &'static Self {
        static OFF: Signing = Signing::OFF;
        &OFF
    }

    /// With a key that signs and others that only prove.
    pub(crate) fn with(current: SigningKey, former: impl IntoIterator<Item = SigningKey>) -> Self {
        Self { keys: std::iter::once(current).chain(former).collect(), ..Self::OFF }
    }

    #[must_use]
    pub(crate) fn for_domain(self, domain: u8) -> Self {
        Self { domain, ..self }
    }

    #[must_use]
    pub(crate) fn accepting_unsigned(self, yes: bool) -> Self {
        Self { accepts_unsigned: yes, ..self }
    }

    #[must_use]
    pub(crate) fn keeping_distrusted(self, yes: bool) -> Self {
        Self { keeps_distrusted: yes, ..self }
    }

    pub(crate) fn is_on(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whether what is not believed stays where it is all the same.
    pub(crate) fn keeps(&self, distrusted: Distrust) -> bool {
        self.keeps_distrusted || distrusted == Distrust::Newer
    }

    /// The key that signs.
    #[cfg(test)]
    pub(crate) fn key_id(&self) -> Option<KeyId> {
        self.keys.first().map(SigningKey::id_bytes)
    }

    /// Signs as something was signed before, or not at all if it was not: who changes what is said of a value has not
    /// vouched for the value.
    pub(crate) fn like(&self, signer: Option<KeyId>) -> Self {
        let mut keys = self.keys.clone();
        match signer.and_then(|id| keys.iter().position(|key| key.id_bytes() == id)) {
            Some(at) => keys[..=at].rotate_right(1),
            None => keys.clear(),
        }
        Self { keys, ..*self }
    }

    /// Whether it is signed as it would be now.
    pub(crate) fn signs_as(&self, signer: Option<KeyId>) -> bool {
        self.keys.first().is_none_or(|key| signer == Some(key.id_bytes()))
    }

    fn mac(&self, key: &SigningKey, purpose: Purpose) -> Mac {
        let mut mac = key.mac(purpose);
        mac.update(&[self.domain]);
        mac
    }

    /// Signs parts that stand one behind the other. Whoever signs several of variable length says how long they are.
    pub(crate) fn sign(&self, purpose: Purpose, parts: &[&[u8]]) -> Option<Signature> {
        let key = self.keys.first()?;
        Some(Signature { key: key.id_bytes(), tag: over(self.mac(key, purpose), parts).finish() })
    }

    /// Begins a tag of what stands behind a header that was [checked](Self::check), by the key of its signature and with
    /// its tag; none if it has none, or none is asked for.
    pub(crate) fn begin_behind(&self, purpose: Purpose, header: Option<&Signature>) -> Option<Mac> {
        let header = header?;
        let key = self.keys.iter().find(|key| key.id_bytes() == header.key)?;
        Some(over(self.mac(key, purpose), &[&header.tag]))
    }

    /// Whether the parts are believed with this signature, or with none.
    pub(crate) fn check(
        &self,
        purpose: Purpose,
        parts: &[&[u8]],
        signature: Option<&Signature>,
    ) -> Result<(), Distrust> {
        if !self.is_on() {
            return Ok(());
        }
        let Some(signature) = signature else {
            return if self.accepts_unsigned { Ok(()) } else { Err(Distrust::Unsigned) };
        };
        let key = self.keys.iter().find(|key| key.id_bytes() == signature.key);
        let key = key.ok_or(Distrust::OtherKey(signature.key))?;
        if over(self.mac(key, purpose), parts).is(&signature.tag) { Ok(()) } else { Err(Distrust::Forged) }
    }
}

fn over(mut mac: Mac, parts: &[&[u8]]) -> Mac {
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// Why bytes are not believed though they are not damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distrust {
    Unsigned,
    OtherKey(KeyId),
    Forged,
    /// A newer release wrote them, in a layout that is not known here. They stay, whatever else is said of those that are not
    /// believed.
    Newer,
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => f.write_str("it is not signed (security.unsigned_entries)"),
            Self::OtherKey(id) => {
                let id = hex(id);
                write!(f, "it is signed with the key {id}, which is not at hand (security.previous_key_files)")
            }
            Self::Forged => f.write_str("its signature is not valid"),
            Self::Newer => f.write_str("a newer release of cacheness wrote it: use that to read it"),
        }
    }
}

impl Error for Distrust {}

impl Distrust {
    /// The error that says so of something.
    pub(crate) fn of(self, what: impl fmt::Display) -> CacheError {
        if self == Self::Newer {
            return CacheError::caused_by(ErrorKind::Conflict, format!("{what} cannot be read: {self}"), self);
        }
        CacheError::caused_by(ErrorKind::Integrity, format!("{what} is not believed: {self}"), self)
    }

    /// Why there is an error, if this is why.
    pub(crate) fn behind(error: &CacheError) -> Option<Self> {
        error.source()?.downcast_ref().copied()
    }

    /// Whether this is why there is an error.
    pub(crate) fn is_behind(error: &CacheError) -> bool {
        Self::behind(error).is_some()
    }
}

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

    fn id_bytes(&self) -> KeyId {
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

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_bytes([byte; 32])
    }

    #[test]
    fn a_signature_is_believed_for_its_purpose_its_bytes_and_known_keys() {
        let old = Signing::with(key(1), []);
        let signature = old.sign(Purpose::Record, &[b"one", b"two"]).unwrap();
        let new = Signing::with(key(2), [key(1)]);
        for signing in [&old, &new, &Signing::OFF] {
            assert_eq!(signing.check(Purpose::Record, &[b"onetwo"], Some(&signature)), Ok(()));
        }
        let forged = Err(Distrust::Forged);
        assert_eq!(new.check(Purpose::Header, &[b"onetwo"], Some(&signature)), forged);
        assert_eq!(new.check(Purpose::Record, &[b"onetwo!"], Some(&signature)), forged);
        let other = Signing::with(key(2), []);
        let unknown = Err(Distrust::OtherKey(key(1).id_bytes()));
        assert_eq!(other.check(Purpose::Record, &[b"onetwo"], Some(&signature)), unknown);
    }

    #[test]
    fn what_is_not_signed_is_believed_only_where_that_is_accepted_or_nothing_is_asked_for() {
        let strict = Signing::with(key(1), []);
        assert_eq!(strict.check(Purpose::Record, &[b"bytes"], None), Err(Distrust::Unsigned));
        assert_eq!(strict.accepting_unsigned(true).check(Purpose::Record, &[b"bytes"], None), Ok(()));
        assert_eq!(Signing::OFF.check(Purpose::Record, &[b"bytes"], None), Ok(()));
    }

    #[test]
    fn a_signature_is_none_in_another_domain() {
        let signing = Signing::with(key(1), []);
        let signature = signing.sign(Purpose::Record, &[b"bytes"]);
        let other = signing.for_domain(1);
        assert_eq!(other.check(Purpose::Record, &[b"bytes"], signature.as_ref()), Err(Distrust::Forged));
    }

    #[test]
    fn what_was_signed_before_is_signed_alike_again() {
        let new = Signing::with(key(2), [key(1)]);
        let old = Signing::with(key(1), []).sign(Purpose::Record, &[b"bytes"]).unwrap();
        let again = new.like(Some(old.key)).sign(Purpose::Record, &[b"other"]).unwrap();
        assert_eq!(again.key, old.key);
        assert_eq!(new.check(Purpose::Record, &[b"other"], Some(&again)), Ok(()));
        assert_eq!(new.like(None).sign(Purpose::Record, &[b"bytes"]), None);
        assert!(!new.signs_as(Some(old.key)) && !new.signs_as(None) && Signing::OFF.signs_as(Some(old.key)));
    }

    #[test]
    fn every_flipped_bit_of_a_stored_signature_makes_it_another_one() {
        let signing = Signing::with(key(1), []);
        let bytes = signing.sign(Purpose::Record, &[b"bytes"]).unwrap().to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let signature = Signature::from_bytes(&flipped);
            assert!(signing.check(Purpose::Record, &[b"bytes"], Some(&signature)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_tags_of_version_1_are_pinned() {
        let signing = Signing::with(key(7), []);
        let tag = signing.sign(Purpose::Record, &[b"golden"]).unwrap().tag;
        assert_eq!(hex(&tag[..8]), GOLDEN);
    }

    const GOLDEN: &str = "35e8b57b3faaf808";

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
