//! Blobs in a bucket of an object store: `<prefix>/blobs/<name>`, damaged ones under `<prefix>/quarantine/`, and in
//! `<prefix>/owner` whose they are.

mod client;
mod connect;
mod read;
mod write;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use self::client::{Client, if_there, within};
use self::write::Writing;
use super::{BlobBackend, BlobInfo, BlobName, BlobRead, BlobWrite};
use crate::clock::Timestamp;
use crate::config::Durability;
use crate::config::backends::BackendOptions;
use crate::config::objects::{ObjectOptions, ObjectStoreKind};
use crate::error::{CacheError, ErrorKind, Result};

/// What one request moves at most. Some stores ask for parts of the same size, and none takes smaller ones than 5 MiB.
const PART_LEN: u64 = 8 << 20;
/// Requests of one blob side by side.
const AT_A_TIME: usize = 4;
/// Short requests side by side.
const QUESTIONS: usize = 16;

/// So many damaged blobs are kept at most.
const MAX_QUARANTINED: usize = 100;
/// So many bytes of them are kept at most.
const MAX_QUARANTINED_BYTES: u64 = 100 << 20;

/// Blobs in a bucket. Clones are handles to the same blobs.
#[derive(Clone, Debug)]
pub(crate) struct ObjectBlobs(Arc<Objects>);

impl Deref for ObjectBlobs {
    type Target = Objects;

    fn deref(&self) -> &Objects {
        &self.0
    }
}

#[derive(Debug)]
pub(crate) struct Objects {
    client: Client,
    blobs: Path,
    quarantine: Path,
    claim: Claim,
}

impl ObjectBlobs {
    /// Opens a bucket. That it cannot be reached now is no reason not to.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if an option is wrong, there is no such bucket, or it is closed to these credentials;
    /// [`Conflict`](ErrorKind::Conflict) if another cache has the prefix.
    pub(crate) fn open(kind: ObjectStoreKind, options: &BackendOptions) -> Result<Self> {
        let client = Client::open(ObjectOptions::of(kind, options)?)?;
        let blobs = Self::of(client, options.owner());
        match blobs.claim() {
            Err(error) if error.is_unavailable() => log::warn!("the bucket of blobs is not there now: {error}"),
            claimed => claimed?,
        }
        Ok(blobs)
    }

    fn of(client: Client, owner: Option<&str>) -> Self {
        let prefix = &client.options().prefix;
        let below = |name: &str| Path::from(format!("{prefix}/{name}"));
        let claim = Claim { path: below("owner"), owner: owner.map(str::to_owned), done: OnceLock::new() };
        let (blobs, quarantine) = (below("blobs"), below("quarantine"));
        Self(Arc::new(Objects { client, blobs, quarantine, claim }))
    }
}

impl Objects {
    fn path(&self, name: &BlobName) -> Path {
        self.blobs.clone().join(name.as_str())
    }

    /// The blob that an object is, if it is one of ours.
    fn name_of(&self, path: &Path) -> Option<BlobName> {
        let mut parts = path.prefix_match(&self.blobs)?;
        let name = BlobName::parse(parts.next()?.as_ref()).ok()?;
        parts.next().is_none().then_some(name)
    }
}

impl BlobBackend for ObjectBlobs {
    fn name(&self) -> &'static str {
        self.client.options().kind.name()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn write(&self, name: &BlobName, parts: &[&[u8]], durability: Durability) -> Result<()> {
        self.write_tagged(name, parts, durability).map(drop)
    }

    fn write_tagged(&self, name: &BlobName, parts: &[&[u8]], _durability: Durability) -> Result<Option<String>> {
        self.claim()?;
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let tag = if len <= PART_LEN {
            write::put(self, name, parts.concat())
        } else {
            let mut writing = Writing::begin(self, name);
            parts.iter().try_for_each(|part| writing.write(part)).and_then(|()| writing.finish())
        }?;
        let is_s3 = self.client.options().kind == ObjectStoreKind::S3;
        Ok(tag.filter(|_| is_s3).map(|tag| tag.trim_matches('"').to_owned()))
    }

    fn create(&self, name: &BlobName) -> Result<Box<dyn BlobWrite>> {
        self.claim()?;
        Ok(Box::new(Writing::begin(self, name)))
    }

    /// A blob that is removed can be read on as far as it has come; behind that it is [`Integrity`](ErrorKind::Integrity).
    fn open(&self, name: &BlobName) -> Result<Option<Box<dyn BlobRead>>> {
        let opened = read::open(self, name, PART_LEN)?;
        Ok(opened.map(|reading| Box::new(reading) as Box<dyn BlobRead>))
    }

    fn read(&self, name: &BlobName, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let Some(blob) = read::open(self, name, PART_LEN.min(max_bytes.saturating_add(1)))? else { return Ok(None) };
        if blob.len() > max_bytes {
            let message = format!("blob {name} is {} bytes long, at most {max_bytes} are read", blob.len());
            return Err(CacheError::new(ErrorKind::Limit, message));
        }
        blob.into_whole().map(Some)
    }

    fn read_range(&self, name: &BlobName, offset: u64, len: u64) -> Result<Option<Vec<u8>>> {
        read::range(self, name, offset, len)
    }

    /// By two requests: a store does not tell whether there was what it has removed.
    fn remove(&self, name: &BlobName) -> Result<bool> {
        self.remove_many(std::slice::from_ref(name)).map(|removed| removed > 0)
    }

    fn remove_many(&self, names: &[BlobName]) -> Result<u64> {
        self.claim()?;
        let paths: Vec<Path> = names.iter().map(|name| self.path(name)).collect();
        let rounds = names.len().div_ceil(QUESTIONS) as u64;
        self.client.run("remove blobs", rounds << 18, |store| async move {
            let ask = |path: Path| {
                let store = Arc::clone(&store);
                async move { Ok::<_, StoreError>(if_there(store.head(&path).await)?.map(|_| path)) }
            };
            let there = stream::iter(paths).map(ask).buffer_unordered(QUESTIONS);
            let there: Vec<Path> = there.try_filter_map(|path| async move { Ok(path) }).try_collect().await?;
            let removed = there.len() as u64;
            match <[Path; 1]>::try_from(there) {
                Ok([one]) => if_there(store.delete(&one).await).map(drop)?,
                Err(many) if many.is_empty() => {}
                Err(many) => {
                    let deleted = store.delete_stream(stream::iter(many.into_iter().map(Ok)).boxed());
                    deleted.try_for_each(|_| async { Ok(()) }).await?;
                }
            }
            Ok(removed)
        })
    }

    fn quarantine(&self, name: &BlobName) -> Result<()> {
        self.claim()?;
        let (from, dir) = (self.path(name), self.quarantine.clone());
        let to = dir.clone().join(name.as_str());
        self.client.run("set a damaged blob aside", PART_LEN, |store| async move {
            let Some(found) = if_there(store.head(&from).await)? else { return Ok(()) };
            let mut kept = store.list(Some(&dir)).take(MAX_QUARANTINED);
            let (mut count, mut bytes) = (1, found.size);
            while let Some(other) = kept.next().await.transpose()? {
                count += 1;
                bytes = bytes.saturating_add(other.size);
            }
            if count <= MAX_QUARANTINED && bytes <= MAX_QUARANTINED_BYTES {
                if_there(store.copy(&from, &to).await)?;
            }
            if_there(store.delete(&from).await).map(drop)
        })
    }

    fn page(&self, after: Option<&BlobName>, limit: usize) -> Result<Vec<BlobInfo>> {
        let (after, dir) = (after.cloned(), self.blobs.clone());
        let (blobs, timeout) = (self.clone(), self.client.options().timeout);
        // A request lists a thousand.
        let requests = (limit / 1000).min(1000) as u64;
        self.client.run("list blobs", requests << 20, |store| async move {
            let mut found = match &after {
                Some(after) => store.list_with_offset(Some(&dir), &blobs.path(after)),
                None => store.list(Some(&dir)),
            };
            let mut page = Vec::new();
            while page.len() < limit
                && let Some(object) = within(timeout, async { found.next().await.transpose() }).await?
            {
                // Emulators pass over where to begin.
                let name =
                    blobs.name_of(&object.location).filter(|name| after.as_ref().is_none_or(|after| name > after));
                let Some(name) = name else { continue };
                page.push(
                    BlobInfo::new(name, object.size).written_at(time_of(object.last_modified.timestamp_micros())),
                );
            }
            Ok(page)
        })
    }

    /// What was put is there to stay.
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

fn time_of(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

// Whose the blobs are.
//
// Blobs without a row are removed, so two caches that do not share their rows must not share a prefix. Who comes first
// writes its name there, and the others are refused.

#[derive(Debug)]
struct Claim {
    path: Path,
    /// Who opens the bucket; none if nobody's blobs are removed but by name.
    owner: Option<String>,
    done: OnceLock<()>,
}

impl Objects {
    /// Makes sure that the prefix is ours, at the first change: until then nothing of others can be harmed.
    fn claim(&self) -> Result<()> {
        let Some(owner) = self.claim.owner.clone().filter(|_| self.claim.done.get().is_none()) else { return Ok(()) };
        let (path, bytes) = (self.claim.path.clone(), owner.clone().into_bytes());
        let has = self.client.run("see whose the blobs are", 0, |store| async move {
            if let Some(owner) = read_owner(&*store, &path).await? {
                return Ok(Some(owner));
            }
            match store.put_opts(&path, PutPayload::from(bytes.clone()), PutMode::Create.into()).await {
                Ok(_) => Ok(Some(bytes)),
                // A store without such puts: two that come at the same moment are not told from each other.
                Err(StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }) => {
                    store.put(&path, PutPayload::from(bytes.clone())).await.map(|_| Some(bytes))
                }
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                    read_owner(&*store, &path).await
                }
                Err(error) => Err(error),
            }
        })?;
        if has.as_deref() == Some(owner.as_bytes()) {
            let _ = self.claim.done.set(());
            return Ok(());
        }
        let ObjectOptions { kind, bucket, .. } = self.client.options();
        let message = format!(
            "{} {bucket:?} has the blobs of another cache under this prefix, which would remove ours: choose another \
             blob.options.prefix, or, if that cache is gone for good, remove the object {:?}",
            kind.bucket(),
            self.claim.path.as_ref()
        );
        Err(CacheError::new(ErrorKind::Conflict, message))
    }
}

async fn read_owner(store: &dyn ObjectStore, path: &Path) -> object_store::Result<Option<Vec<u8>>> {
    match if_there(store.get(path).await)? {
        Some(got) => Ok(Some(got.bytes().await?.to_vec())),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
