//! Blobs written to a bucket: a short one by one request, a longer one in parts, some of them at a time.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use object_store::{Error as StoreError, MultipartUpload, ObjectStoreExt, PutPayload, UploadPart};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::{AT_A_TIME, ObjectBlobs, PART_LEN};
use crate::config::Durability;
use crate::error::{CacheError, ErrorKind, Result};
use crate::storage::blob::{BlobName, BlobWrite};

/// No store takes more of one object.
const MOST_PARTS: usize = 10_000;

type Upload = Arc<Mutex<Box<dyn MultipartUpload>>>;
type Putting = JoinHandle<object_store::Result<()>>;

/// A blob being written. What is in memory of it are the parts that are on their way, and the next one.
pub(super) struct Writing {
    blobs: ObjectBlobs,
    name: BlobName,
    part: Vec<u8>,
    /// Begun with the first part that is full, and ended with the blob.
    upload: Option<Upload>,
    parts: usize,
    putting: VecDeque<Putting>,
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").field("name", &self.name).field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// Writes a blob by one request. One that is there is replaced, so that a request whose answer was lost may be repeated.
/// Returns its ETag.
pub(super) fn put(blobs: &ObjectBlobs, name: &BlobName, bytes: Vec<u8>) -> Result<Option<String>> {
    let (path, len) = (blobs.path(name), bytes.len() as u64);
    let written = blobs.client.run(&format!("write blob {name}"), len, |store| async move {
        store.put(&path, PutPayload::from(bytes)).await.map(|put| put.e_tag)
    });
    written.inspect_err(|_| remove_aside(blobs, name))
}

/// It may be there although its writer was told that it is not.
fn remove_aside(blobs: &ObjectBlobs, name: &BlobName) {
    let path = blobs.path(name);
    blobs.client.run_aside(|store| async move { drop(store.delete(&path).await) });
}

impl Writing {
    pub(super) fn begin(blobs: &ObjectBlobs, name: &BlobName) -> Self {
        let (blobs, name) = (blobs.clone(), name.clone());
        Self { blobs, name, part: Vec::new(), upload: None, parts: 0, putting: VecDeque::new() }
    }

    fn upload(&mut self) -> Result<Upload> {
        if let Some(upload) = &self.upload {
            return Ok(Arc::clone(upload));
        }
        let path = self.blobs.path(&self.name);
        let begun = self.blobs.client.run(&self.doing(), 0, |store| async move { store.put_multipart(&path).await })?;
        Ok(Arc::clone(self.upload.insert(Arc::new(Mutex::new(begun)))))
    }

    fn doing(&self) -> String {
        format!("write blob {}", self.name)
    }

    /// Sends the part that is full, when one of those before it has arrived.
    fn send(&mut self) -> Result<()> {
        if self.parts == MOST_PARTS {
            let message = format!("blob {} has more than {MOST_PARTS} parts of {PART_LEN} bytes", self.name);
            return Err(CacheError::new(ErrorKind::Limit, message));
        }
        let upload = self.upload()?;
        let part = PutPayload::from(std::mem::take(&mut self.part));
        let first = if self.putting.len() >= AT_A_TIME { self.putting.pop_front() } else { None };
        let in_flight = PART_LEN * AT_A_TIME as u64;
        let longest = self.blobs.client.deadline(in_flight);
        let begun = self.blobs.client.run(&self.doing(), in_flight, |_| async move {
            if let Some(first) = first {
                arrived(first).await?;
            }
            let putting: UploadPart = upload.lock().await.put_part(part);
            Ok(tokio::spawn(super::client::within(longest, putting)))
        })?;
        self.putting.push_back(begun);
        self.parts += 1;
        Ok(())
    }

    /// Lets the blob appear, and returns its ETag.
    pub(super) fn finish(&mut self) -> Result<Option<String>> {
        if self.upload.is_none() {
            return put(&self.blobs, &self.name, std::mem::take(&mut self.part));
        }
        if !self.part.is_empty() {
            self.send()?;
        }
        let (upload, putting) = (self.upload()?, std::mem::take(&mut self.putting));
        let in_flight = PART_LEN * putting.len() as u64;
        let completed = self.blobs.client.run(&self.doing(), in_flight, |_| async move {
            for part in putting {
                arrived(part).await?;
            }
            upload.lock().await.complete().await.map(|put| put.e_tag)
        });
        match completed {
            Ok(tag) => {
                self.upload = None;
                Ok(tag)
            }
            Err(error) => {
                remove_aside(&self.blobs, &self.name);
                Err(error)
            }
        }
    }
}

async fn arrived(part: Putting) -> object_store::Result<()> {
    part.await.map_err(StoreError::from).flatten()
}

impl BlobWrite for Writing {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = usize::try_from(PART_LEN).unwrap_or(usize::MAX) - self.part.len();
            if room == 0 {
                self.send()?;
                continue;
            }
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.part.try_reserve(now.len()).map_err(|error| {
                CacheError::caused_by(ErrorKind::Storage, format!("no memory for blob {}", self.name), error)
            })?;
            self.part.extend_from_slice(now);
            rest = later;
        }
        Ok(())
    }

    fn publish(mut self: Box<Self>, _durability: Durability) -> Result<()> {
        self.finish().map(drop)
    }
}

impl Drop for Writing {
    /// Parts that belong to no object are paid for until they are given up.
    fn drop(&mut self) {
        self.putting.drain(..).for_each(|putting| putting.abort());
        if let Some(upload) = self.upload.take() {
            self.blobs.client.run_aside(|_| async move {
                if let Err(error) = upload.lock().await.abort().await {
                    log::debug!("parts of a blob that was not written stay in its bucket: {}", kind_of(&error));
                }
            });
        }
    }
}

/// Without what a client might tell beside it.
fn kind_of(error: &StoreError) -> &'static str {
    match error {
        StoreError::NotFound { .. } => "they are not there",
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => "it is refused",
        _ => "the call failed",
    }
}
