//! Which codecs there are, by name, with their levels, and by stored number.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::native::ParquetCodec;
use crate::error::{CacheError, ErrorKind, Result};

/// How stored values are compressed.
///
/// Codecs behind a cargo feature are variants only where the feature is on, so that a codec that can be named can also
/// be used. What one of them wrote is kept by a program without it, and an attempt to read it tells the feature.
///
/// ```
/// use cacheness::config::Codec;
///
/// assert_eq!("lz4".parse::<Codec>()?, Codec::Lz4);
/// assert_eq!(Codec::None.to_string(), "none");
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
#[non_exhaustive]
pub enum Codec {
    /// Stored as they are.
    None,
    /// LZ4: fast both ways, and less dense than others. Has no levels.
    #[default]
    Lz4,
    /// Zstandard, with levels from 1 to 22 and 3 by default: dense, and fast to inflate at every level. Feature `zstd`.
    #[cfg(feature = "zstd")]
    Zstd,
    /// gzip, with levels from 1 to 9 and 6 by default: less dense and slower than Zstandard, without C code. Feature
    /// `gzip`.
    #[cfg(feature = "gzip")]
    Gzip,
    /// BloscLZ in Blosc buffers, with levels from 1 to 9 and 5 by default: for vectors of numbers, whose bytes it sorts by
    /// their place. Feature `blosclz`.
    #[cfg(feature = "blosclz")]
    Blosclz,
}

/// Names that are not compiled in, with the cargo features that bring them.
const ABSENT: &[(&str, &str)] = &[
    #[cfg(not(feature = "zstd"))]
    ("zstd", "zstd"),
    #[cfg(not(feature = "gzip"))]
    ("gzip", "gzip"),
    #[cfg(not(feature = "blosclz"))]
    ("blosclz", "blosclz"),
];

impl Codec {
    /// Those that are compiled in.
    ///
    /// ```
    /// # use cacheness::config::Codec;
    /// assert!(Codec::ALL.contains(&Codec::Lz4));
    /// ```
    pub const ALL: &'static [Self] = &[
        Self::None,
        Self::Lz4,
        #[cfg(feature = "zstd")]
        Self::Zstd,
        #[cfg(feature = "gzip")]
        Self::Gzip,
        #[cfg(feature = "blosclz")]
        Self::Blosclz,
    ];

    /// Its name in configuration files and environment variables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            #[cfg(feature = "zstd")]
            Self::Zstd => "zstd",
            #[cfg(feature = "gzip")]
            Self::Gzip => "gzip",
            #[cfg(feature = "blosclz")]
            Self::Blosclz => "blosclz",
        }
    }

    /// Its levels, from the fastest to the densest; `None` if it has none.
    ///
    /// ```
    /// # use cacheness::config::Codec;
    /// assert_eq!(Codec::Lz4.levels(), None);
    /// ```
    pub const fn levels(self) -> Option<RangeInclusive<u8>> {
        match self {
            Self::None | Self::Lz4 => None,
            #[cfg(feature = "zstd")]
            Self::Zstd => Some(1..=22),
            #[cfg(feature = "gzip")]
            Self::Gzip => Some(1..=9),
            #[cfg(feature = "blosclz")]
            Self::Blosclz => Some(1..=9),
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
    /// `Config` when there is no codec of that name, with the names that there are, or with the cargo feature that
    /// brings it.
    fn from_str(name: &str) -> Result<Self> {
        if let Some(codec) = Self::ALL.iter().find(|codec| codec.name() == name) {
            return Ok(*codec);
        }
        let message = match ABSENT.iter().find(|(absent, _)| *absent == name) {
            Some((_, feature)) => needs_feature(name, feature),
            None => {
                let known: Vec<_> = Self::ALL.iter().map(|codec| codec.name()).collect();
                format!("compression codec `{name}` is not known; choose one of: {}", known.join(", "))
            }
        };
        Err(CacheError::new(ErrorKind::Config, message))
    }
}

fn needs_feature(codec: &str, feature: &str) -> String {
    format!("compression codec `{codec}` needs the cargo feature `{feature}`")
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

/// A codec at a level; `None` is the codec's own choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compression {
    pub(crate) codec: Codec,
    pub(crate) level: Option<u8>,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        Self { codec, level: None }
    }
}

/// How some stored bytes were compressed: what a reader must know to inflate them. Its numbers are part of the format:
/// new ones come after the last, whatever is compiled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
#[repr(u8)]
pub(crate) enum StoredCodec {
    None = 0,
    Lz4Block = 1,
    Lz4Frame = 2,
    Zstd = 3,
    Gzip = 4,
    Lz4Blocks = 5,
    Blosclz = 6,
}

impl StoredCodec {
    const KNOWN: [Self; 7] =
        [Self::None, Self::Lz4Block, Self::Lz4Frame, Self::Zstd, Self::Gzip, Self::Lz4Blocks, Self::Blosclz];

    /// The name of the codec it came from.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4Block | Self::Lz4Frame | Self::Lz4Blocks => "lz4",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Blosclz => "blosclz",
        }
    }

    /// # Errors
    /// `Compression` when what it stands for is not compiled in, with the cargo feature that brings it.
    pub(crate) fn check_available(self) -> Result<()> {
        match ABSENT.iter().find(|(absent, _)| *absent == self.name()) {
            Some((name, feature)) => Err(CacheError::new(ErrorKind::Compression, needs_feature(name, feature))),
            None => Ok(()),
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
        Self::KNOWN.into_iter().find(|codec| *codec as u8 == number).ok_or_else(|| {
            CacheError::new(ErrorKind::Compression, format!("stored codec {number} is not known to this version"))
        })
    }
}

/// How values are compressed.
///
/// What a codec does not make smaller by a twentieth is stored as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CompressionConfig {
    /// The codec. Default `lz4`.
    #[doc(alias = "pickle_compression_codec")]
    pub codec: Codec,
    /// The codec's level: from 1 to 22 for `zstd`, from 1 to 9 for `gzip` and `blosclz`; higher is denser and slower.
    /// Default none: 3 for `zstd`, 6 for `gzip`, 5 for `blosclz`. `lz4` and `none` have no levels, and a level is refused.
    #[doc(alias = "pickle_compression_level")]
    pub level: Option<u8>,
    /// Values smaller than this many bytes are stored as they are. Default 1024.
    pub threshold_bytes: u64,
    /// The codec of vectors of numbers, `Vec<f64>` and its like; `Vec<u8>` counts as bytes. Default none: as all other
    /// values.
    #[doc(alias = "blosc2_array_codec")]
    pub numbers_codec: Option<Codec>,
    /// The level for vectors of numbers. Default none: `level` if they have no codec of their own, else that codec's
    /// choice.
    #[doc(alias = "blosc2_array_level")]
    pub numbers_level: Option<u8>,
    /// The codec of arrays and tensors (`npy`, `safetensors`), which are files that other tools open only where it is `none`.
    /// Default `none`.
    #[doc(alias = "use_blosc2_arrays")]
    pub arrays_codec: Codec,
    /// The level for arrays and tensors. Default none: the codec's choice.
    pub arrays_level: Option<u8>,
    /// What columns of Parquet are compressed with: `lz4`, `zstd`, `snappy` or `none`. Default `lz4`.
    pub parquet_compression: ParquetCodec,
}

impl Default for CompressionConfig {
    fn default() -> Self {
        Self {
            codec: Codec::Lz4,
            level: None,
            threshold_bytes: 1024,
            numbers_codec: None,
            numbers_level: None,
            arrays_codec: Codec::None,
            arrays_level: None,
            parquet_compression: ParquetCodec::Lz4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str) -> String {
        let error = name.parse::<Codec>().unwrap_err();
        assert!(error.is_config());
        error.to_string()
    }

    #[test]
    fn codecs_are_known_by_name_and_others_are_refused_with_the_list() {
        for codec in Codec::ALL {
            assert_eq!(codec.to_string().parse::<Codec>().unwrap(), *codec);
        }
        for name in ["lz5", "", "LZ4", "blosc"] {
            let message = refusal(name);
            assert!(message.contains(&format!("`{name}` is not known")) && message.contains("none, lz4"), "{message}");
        }
    }

    #[test]
    fn a_codec_is_compiled_in_or_its_name_tells_the_feature() {
        for name in ["zstd", "gzip", "blosclz"] {
            let compiled_in = Codec::ALL.iter().any(|codec| codec.name() == name);
            match StoredCodec::KNOWN.into_iter().find(|codec| codec.name() == name).unwrap().check_available() {
                Ok(()) => assert!(compiled_in),
                Err(error) => {
                    assert!(!compiled_in && error.is_compression());
                    let expected = format!("compression codec `{name}` needs the cargo feature `{name}`");
                    assert_eq!((error.to_string(), refusal(name)), (expected.clone(), expected));
                }
            }
        }
    }

    #[test]
    fn codecs_in_files_are_their_names() {
        use serde::de::IntoDeserializer;
        use serde::de::value::Error;
        let named = |name: &'static str| Codec::deserialize(IntoDeserializer::<Error>::into_deserializer(name));
        assert_eq!(named("lz4").unwrap(), Codec::Lz4);
        assert!(named("blosc").unwrap_err().to_string().contains("not known"));
    }

    #[test]
    fn the_stored_numbers_are_fixed() {
        assert_eq!(StoredCodec::KNOWN.map(u8::from), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(StoredCodec::KNOWN.map(StoredCodec::name), ["none", "lz4", "lz4", "zstd", "gzip", "lz4", "blosclz"]);
        for codec in StoredCodec::KNOWN {
            assert_eq!(StoredCodec::try_from(u8::from(codec)).unwrap(), codec);
        }
        assert!(StoredCodec::try_from(7).unwrap_err().to_string().contains("codec 7"));
    }
}
