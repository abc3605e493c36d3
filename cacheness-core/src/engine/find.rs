//! Which record counts, and what becomes of one that does not.

use super::Store;
use crate::entry::{Core, IndexKey};
use crate::error::{CacheError, Result};
use crate::index::{Payload, Record};
use crate::security::Distrust;

/// A record that was found, with its entry's fixed part.
#[derive(Debug)]
pub(crate) struct Found {
    pub record: Record,
    pub core: Core,
}

impl Store {
    /// The record of a key. A damaged one is removed and counts as absent, but for a blob store, where it is an error. So
    /// does one that is not believed, but that it may stay where it is.
    pub(crate) fn find(&self, key: &IndexKey) -> Result<Option<Found>> {
        let read = match self.index.get(key) {
            // The index may have been repaired since: only a record that is damaged still must go.
            Err(error) if error.is_integrity() => self.index.get(key),
            read => read,
        };
        let found = match read {
            Ok(Some(record)) => match record.distrust() {
                Some(distrust) => return self.distrusted(key, &record, distrust),
                None => match record.core() {
                    Ok(core) => Ok(Some(Found { record, core })),
                    Err(error) if self.settings.damage_is_absence && error.is_integrity() => {
                        log::debug!("the record of {key} is not one of this release and is removed");
                        self.remove_expected(key, &record)?;
                        return Ok(None);
                    }
                    Err(error) => Err(error),
                },
            },
            Ok(None) => return Ok(None),
            Err(error) => Err(error),
        };
        if self.settings.damage_is_absence && found.as_ref().is_err_and(CacheError::is_integrity) {
            log::debug!("the record of {key} is damaged and is removed");
            // Another thread may have put a sound one since.
            self.index.remove_damaged(key)?;
            return Ok(None);
        }
        found
    }

    #[cold]
    fn distrusted(&self, key: &IndexKey, record: &Record, distrust: Distrust) -> Result<Option<Found>> {
        let error = distrust.of(format_args!("the entry of {key}"));
        if !self.settings.damage_is_absence {
            return Err(error);
        }
        log::debug!("{error}");
        if !self.settings.signing.keeps(distrust) {
            self.remove_expected(key, record)?;
        }
        Ok(None)
    }

    /// Whether the value lies in the record itself, so that [`load`](Self::load) reads no file.
    pub(crate) fn is_inline(found: &Found) -> bool {
        matches!(found.record.payload(), Ok(Payload::Inline(_)))
    }

    pub(crate) fn set_aside(&self, found: &Found, error: &CacheError) -> Result<()> {
        log::debug!("a damaged blob is set aside: {error}");
        found.record.blob().map_or(Ok(()), |name| self.blobs.quarantine(&name))
    }
}
