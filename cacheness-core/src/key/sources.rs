//! Files and directories that a key was made of.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::content::Content;
use crate::config::VerifyPaths;
use crate::error::{CacheError, ErrorKind, Result};

/// A path in a key, and what lay there when the key was made.
#[derive(Clone)]
pub(in crate::key) struct Source {
    pub(in crate::key) path: PathBuf,
    pub(in crate::key) content: Content,
}

impl Source {
    /// Looks whether the same lies there still.
    ///
    /// # Errors
    ///
    /// `Storage` if not; those of [`Content::of`].
    pub(in crate::key) fn check(&self, verify: VerifyPaths) -> Result<()> {
        if Content::of(&self.path, verify)? == self.content {
            return Ok(());
        }
        let message = format!(
            "`{}` has changed since the key was made of its content: leave what the call itself writes out of the key",
            self.path.display()
        );
        Err(CacheError::new(ErrorKind::Storage, message))
    }
}

/// All of them. Most keys have none.
#[derive(Clone)]
pub(in crate::key) struct Sources(Option<Arc<(VerifyPaths, Box<[Source]>)>>);

impl Sources {
    #[inline]
    pub(in crate::key) fn of(all: Vec<Source>, verify: VerifyPaths) -> Self {
        if all.is_empty() { Self::none() } else { Self::some(all, verify) }
    }

    #[cold]
    fn some(all: Vec<Source>, verify: VerifyPaths) -> Self {
        Self(Some(Arc::new((verify, all.into()))))
    }

    #[inline]
    pub(in crate::key) const fn none() -> Self {
        Self(None)
    }

    pub(in crate::key) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Checks each [`Source`].
    pub(in crate::key) fn check(&self) -> Result<()> {
        self.0.as_deref().map_or(Ok(()), |(verify, all)| all.iter().try_for_each(|source| source.check(*verify)))
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}
