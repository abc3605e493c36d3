//! Which codecs there are, by name and by stored number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{CacheError, ErrorKind, Result};

/// How stored values are compressed.
///
/// ```
/// use cacheness_core::Codec;
///
/// assert_eq!("lz4".parse::<Codec>()?, Codec::Lz4);
/// assert_eq!(Codec::None.to_string(), "none");
/// # Ok::<(), cacheness_core::CacheError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
#[non_exhaustive]
pub enum Codec {
    /// Stored as they are.
    None,
    /// LZ4: fast both ways, and less dense than others.
    #[default]
    Lz4,
}

impl Codec {
    const KNOWN: [Self; 2] = [Self::None, Self::Lz4];
    const PLANNED: [&str; 3] = ["zstd", "gzip", "blosclz"];

    /// Its name in configuration files and environment variables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Codec {
    type Err = CacheError;

    /// # Errors
    /// `Config` when there is no codec of that name, with the names that there are.
    fn from_str(name: &str) -> Result<Self> {
        if let Some(codec) = Self::KNOWN.into_iter().find(|codec| codec.name() == name) {
            return Ok(codec);
        }
        let what = if Self::PLANNED.contains(&name) { "is not available in this build" } else { "is not known" };
        let known = Self::KNOWN.map(Self::name).join(", ");
        Err(CacheError::new(ErrorKind::Config, format!("compression codec `{name}` {what}; choose one of: {known}")))
    }
}

impl TryFrom<String> for Codec {
    type Error = CacheError;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Codec> for &'static str {
    fn from(codec: Codec) -> Self {
        codec.name()
    }
}

/// How some stored bytes were compressed: what a reader must know to inflate them. Its numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
#[repr(u8)]
pub(crate) enum StoredCodec {
    None = 0,
    Lz4Block = 1,
    Lz4Frame = 2,
}

impl StoredCodec {
    /// The codec it came from.
    pub(crate) fn codec(self) -> Codec {
        match self {
            Self::None => Codec::None,
            Self::Lz4Block | Self::Lz4Frame => Codec::Lz4,
        }
    }
}

impl From<StoredCodec> for u8 {
    fn from(codec: StoredCodec) -> Self {
        codec as Self
    }
}

impl TryFrom<u8> for StoredCodec {
    type Error = CacheError;

    fn try_from(number: u8) -> Result<Self> {
        let known = [Self::None, Self::Lz4Block, Self::Lz4Frame];
        known.into_iter().find(|codec| *codec as u8 == number).ok_or_else(|| {
            CacheError::new(ErrorKind::Compression, format!("stored codec {number} is not known to this version"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_known_by_name_and_others_are_refused_with_the_list() {
        for codec in Codec::KNOWN {
            assert_eq!(codec.to_string().parse::<Codec>().unwrap(), codec);
        }
        for (name, said) in
            [("zstd", "not available"), ("gzip", "not available"), ("lz5", "not known"), ("", "not known")]
        {
            let error = name.parse::<Codec>().unwrap_err();
            assert!(error.is_config() && error.to_string().contains(said), "{error}");
            assert!(error.to_string().contains("none, lz4"), "{error}");
        }
    }

    #[test]
    fn codecs_in_files_are_their_names() {
        use serde::de::IntoDeserializer;
        use serde::de::value::Error;
        let named = |name: &'static str| Codec::deserialize(IntoDeserializer::<Error>::into_deserializer(name));
        assert_eq!(named("lz4").unwrap(), Codec::Lz4);
        assert!(named("blosclz").unwrap_err().to_string().contains("not available"));
    }
}
