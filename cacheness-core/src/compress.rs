//! How stored bytes are made smaller.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{CacheError, ErrorKind};

/// How stored bytes are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Codec {
    /// Not at all.
    None,
    /// LZ4: fast both ways.
    #[default]
    Lz4,
}

impl FromStr for Codec {
    type Err = CacheError;

    fn from_str(name: &str) -> Result<Self, CacheError> {
        match name {
            "none" => Ok(Self::None),
            "lz4" => Ok(Self::Lz4),
            _ => Err(CacheError::new(ErrorKind::Config, format!("codec {name:?} is not known: choose lz4 or none"))),
        }
    }
}
