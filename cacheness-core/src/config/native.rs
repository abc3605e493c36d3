//! File formats that other tools read: their names, and what can be said of how they are written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{CacheError, ErrorKind, Result};

/// A format of files that the tools of its field read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NativeFormat {
    /// One array, as [NumPy writes it](https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
    Npy,
    /// A table as [Parquet](https://parquet.apache.org/docs/file-format/): compressed by columns.
    Parquet,
    /// A table as a file of [Arrow IPC](https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format): as it lies in memory.
    Arrow,
    /// Tensors by name, as [safetensors](https://huggingface.co/docs/safetensors) has them.
    SafeTensors,
}

impl NativeFormat {
    /// All of them, whatever is compiled in. Stored by their places here: new ones go to the end.
    pub const ALL: [Self; 4] = [Self::Npy, Self::Parquet, Self::Arrow, Self::SafeTensors];

    /// Its name, which entries have for [`handler_used`](crate::Entry::handler_used), and what the names of its files end with.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Npy => "npy",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::SafeTensors => "safetensors",
        }
    }

    /// The format of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

impl fmt::Display for NativeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What the columns of a Parquet file are compressed with: that is part of the file, and every reader of Parquet knows it.
///
/// ```
/// use cacheness::config::ParquetCodec;
///
/// assert_eq!("zstd".parse::<ParquetCodec>()?, ParquetCodec::Zstd);
/// assert_eq!(ParquetCodec::default().to_string(), "lz4");
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
#[non_exhaustive]
pub enum ParquetCodec {
    /// Nothing.
    None,
    /// LZ4, in the form that Parquet calls `LZ4_RAW`: the fastest both ways.
    #[default]
    Lz4,
    /// Zstandard: the densest.
    Zstd,
    /// Snappy: what the oldest readers know.
    Snappy,
}

impl ParquetCodec {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Lz4, Self::Zstd, Self::Snappy];

    /// Its name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        }
    }
}

impl fmt::Display for ParquetCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ParquetCodec {
    type Err = CacheError;

    /// # Errors
    /// `Config` when there is none of that name, with the names that there are.
    fn from_str(name: &str) -> Result<Self> {
        let unknown = || {
            let message =
                format!("compression `{name}` of Parquet is not known; choose one of: none, lz4, zstd, snappy");
            CacheError::new(ErrorKind::Config, message)
        };
        Self::ALL.into_iter().find(|codec| codec.name() == name).ok_or_else(unknown)
    }
}

impl TryFrom<String> for ParquetCodec {
    type Error = CacheError;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<ParquetCodec> for &'static str {
    fn from(codec: ParquetCodec) -> Self {
        codec.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_codecs_are_known_by_their_names_alone() {
        assert_eq!(NativeFormat::ALL.map(|format| NativeFormat::named(format.name())), NativeFormat::ALL.map(Some));
        assert_eq!(NativeFormat::named("csv"), None);
        for codec in ParquetCodec::ALL {
            assert_eq!(codec.to_string().parse::<ParquetCodec>().unwrap(), codec);
        }
        let refusal = "gzip".parse::<ParquetCodec>().unwrap_err();
        assert!(refusal.is_config() && refusal.to_string().contains("`gzip`"), "{refusal}");
    }

    #[test]
    fn the_stored_places_of_formats_are_fixed() {
        assert_eq!(NativeFormat::ALL.map(NativeFormat::name), ["npy", "parquet", "arrow", "safetensors"]);
    }
}
