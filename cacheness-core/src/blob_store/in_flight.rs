//! The blobs that are written and not committed: nothing refers to them, and they are no rubbish.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::storage::BlobName;

#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<Mutex<HashSet<BlobName>>>);

/// Keeps a blob from being taken for rubbish.
#[derive(Debug)]
pub(super) struct Flight {
    all: InFlight,
    name: BlobName,
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, HashSet<BlobName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self) -> Flight {
        let name = BlobName::unique();
        self.lock().insert(name.clone());
        Flight { all: self.clone(), name }
    }

    pub(super) fn names(&self) -> HashSet<BlobName> {
        self.lock().clone()
    }
}

impl Flight {
    pub(super) fn name(&self) -> &BlobName {
        &self.name
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.all.lock().remove(&self.name);
    }
}
