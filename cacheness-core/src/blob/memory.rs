use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{BlobBackend, BlobName};
use crate::{CacheError, Durability, ErrorKind, Result};

/// Blobs in the memory of the process, gone with it. Clones are handles to the same blobs.
#[derive(Clone, Debug, Default)]
pub struct MemoryBlobs(Arc<RwLock<BTreeMap<BlobName, Arc<[u8]>>>>);

impl MemoryBlobs {
    /// No blobs yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn get(&self, name: &BlobName) -> Option<Arc<[u8]>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl BlobBackend for MemoryBlobs {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn write(&self, name: &BlobName, parts: &[&[u8]], _durability: Durability) -> Result<()> {
        let bytes = parts.concat().into();
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), bytes);
        Ok(())
    }

    fn read(&self, name: &BlobName, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let Some(blob) = self.get(name) else { return Ok(None) };
        if blob.len() as u64 > max_bytes {
            let message = format!("blob {name} is {} bytes long, at most {max_bytes} are read", blob.len());
            return Err(CacheError::new(ErrorKind::Limit, message));
        }
        Ok(Some(blob.to_vec()))
    }

    fn read_start(&self, name: &BlobName, bytes: u64) -> Result<Option<Vec<u8>>> {
        let end = |blob: &[u8]| usize::try_from(bytes).unwrap_or(usize::MAX).min(blob.len());
        Ok(self.get(name).map(|blob| blob[..end(&blob)].to_vec()))
    }

    fn remove(&self, name: &BlobName) -> Result<bool> {
        Ok(self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name).is_some())
    }

    /// Nobody could inspect it: it is removed.
    fn quarantine(&self, name: &BlobName) -> Result<()> {
        self.remove(name).map(drop)
    }

    fn list(&self, visit: &mut dyn FnMut(BlobName) -> Result<()>) -> Result<()> {
        // Copied, so that `visit` may write and remove blobs.
        let names: Vec<BlobName> = self.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        names.into_iter().try_for_each(visit)
    }

    /// Memory does not survive a power cut whatever is done.
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_a_blob_backend() {
        crate::blob::conformance::blob_backend(&MemoryBlobs::new());
    }
}
