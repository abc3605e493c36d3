use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use super::{BlobBackend, BlobInfo, BlobName, BlobRead, BlobWrite};
use crate::config::Durability;
use crate::error::{CacheError, ErrorKind, Result};

/// Blobs in the memory of the process, gone with it. Clones are handles to the same blobs.
#[doc(alias = "InMemoryBlobBackend")]
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

    fn create(&self, name: &BlobName) -> Result<Box<dyn BlobWrite>> {
        Ok(Box::new(Writing { blobs: self.clone(), name: name.clone(), bytes: Vec::new() }))
    }

    fn open(&self, name: &BlobName) -> Result<Option<Box<dyn BlobRead>>> {
        Ok(self.get(name).map(|blob| Box::new(Reading(blob)) as Box<dyn BlobRead>))
    }

    fn read(&self, name: &BlobName, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let Some(blob) = self.get(name) else { return Ok(None) };
        if blob.len() as u64 > max_bytes {
            let message = format!("blob {name} is {} bytes long, at most {max_bytes} are read", blob.len());
            return Err(CacheError::new(ErrorKind::Limit, message));
        }
        Ok(Some(blob.to_vec()))
    }

    fn remove(&self, name: &BlobName) -> Result<bool> {
        Ok(self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name).is_some())
    }

    /// Nobody could inspect it: it is removed.
    fn quarantine(&self, name: &BlobName) -> Result<()> {
        self.remove(name).map(drop)
    }

    fn page(&self, after: Option<&BlobName>, limit: usize) -> Result<Vec<BlobInfo>> {
        let blobs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let behind = blobs.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        Ok(behind.take(limit).map(|(name, blob)| BlobInfo::new(name.clone(), blob.len() as u64)).collect())
    }

    /// Memory does not survive a power cut whatever is done.
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Writing {
    blobs: MemoryBlobs,
    name: BlobName,
    bytes: Vec<u8>,
}

impl BlobWrite for Writing {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.try_reserve(bytes.len()).map_err(|error| {
            CacheError::caused_by(ErrorKind::Storage, format!("no memory for blob {}", self.name), error)
        })?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn publish(self: Box<Self>, durability: Durability) -> Result<()> {
        self.blobs.write(&self.name, &[&self.bytes], durability)
    }
}

#[derive(Debug)]
struct Reading(Arc<[u8]>);

impl BlobRead for Reading {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|start| self.0.get(start..)).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_a_blob_backend() {
        crate::storage::blob::conformance::blob_backend(&MemoryBlobs::new());
    }
}
