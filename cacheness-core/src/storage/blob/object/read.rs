//! Blobs read from a bucket: the first bytes with the request that tells the length, others by requests side by side.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt};
use tokio::task::JoinHandle;

use super::client::{if_there, within};
use super::{AT_A_TIME, ObjectBlobs, PART_LEN};
use crate::error::{CacheError, ErrorKind, Result};
use crate::storage::blob::{BlobName, BlobRead};

/// What is got at least where somebody reads here and there.
const LEAST: u64 = 256 << 10;
/// The end of a blob is read before what lies in between, and is short.
const END_LEN: u64 = 64 << 10;

/// Bytes of a blob that were got.
#[derive(Debug, Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// What it has from `offset` on, `len` at most.
    fn at(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let rest = self.bytes.get(start..).filter(|rest| !rest.is_empty())?;
        Some(&rest[..rest.len().min(len)])
    }
}

type Getting = JoinHandle<object_store::Result<Vec<u8>>>;

/// A blob open for reading. It is in memory in part: the bytes around the place that is read, and those that follow.
pub(super) struct Reading {
    blobs: ObjectBlobs,
    name: BlobName,
    len: u64,
    /// Of the object that was opened: one that was written since is another one.
    etag: Option<String>,
    window: Window,
    end: Window,
    /// What is being got, one behind the other.
    ahead: VecDeque<(u64, Getting)>,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("name", &self.name).field("len", &self.len).finish_non_exhaustive()
    }
}

/// What the first request tells of a blob.
struct First {
    len: u64,
    etag: Option<String>,
    bytes: Vec<u8>,
}

/// Opens a blob by one request, which gets its first `first` bytes.
pub(super) fn open(blobs: &ObjectBlobs, name: &BlobName, first: u64) -> Result<Option<Reading>> {
    let (path, timeout) = (blobs.path(name), blobs.client.options().timeout);
    let got = blobs.client.run(&format!("read blob {name}"), first, |store| async move {
        match get(&*store, &path, 0..first.max(1), None, timeout).await {
            Err(error) if is_out_of_range(&error) => empty(&*store, &path, error).await,
            got => if_there(got),
        }
    })?;
    let Some(First { len, etag, bytes }) = got else { return Ok(None) };
    let window = Window { start: 0, bytes };
    let (blobs, name) = (blobs.clone(), name.clone());
    Ok(Some(Reading { blobs, name, len, etag, window, end: Window::default(), ahead: VecDeque::new() }))
}

/// Reads some bytes of a blob by one request, fewer where it ends before.
pub(super) fn range(blobs: &ObjectBlobs, name: &BlobName, offset: u64, len: u64) -> Result<Option<Vec<u8>>> {
    // Servers know no longer ones.
    let end = offset.saturating_add(len).min(i64::MAX.unsigned_abs());
    let (path, timeout) = (blobs.path(name), blobs.client.options().timeout);
    let got = blobs.client.run(&format!("read blob {name}"), len.min(PART_LEN), |store| async move {
        if offset >= end {
            return Ok(if_there(store.head(&path).await)?.map(|_| Vec::new()));
        }
        match get(&*store, &path, offset..end, None, timeout).await {
            Err(error) if is_out_of_range(&error) => Ok(if_there(store.head(&path).await)?.map(|_| Vec::new())),
            got => Ok(if_there(got)?.map(|first| first.bytes)),
        }
    })?;
    Ok(got)
}

async fn get(
    store: &dyn ObjectStore,
    path: &Path,
    range: Range<u64>,
    etag: Option<String>,
    timeout: Duration,
) -> object_store::Result<First> {
    let options = GetOptions { range: Some(GetRange::Bounded(range)), if_match: etag, ..GetOptions::default() };
    let got = within(timeout, store.get_opts(path, options)).await?;
    let (len, etag) = (got.meta.size, got.meta.e_tag.clone());
    Ok(First { len, etag, bytes: bytes_of(got, timeout).await? })
}

/// The body of an answer. Not all of it has to be there in time, but the next piece.
async fn bytes_of(got: GetResult, timeout: Duration) -> object_store::Result<Vec<u8>> {
    let expected = usize::try_from(got.range.end.saturating_sub(got.range.start)).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    let reserved = bytes.try_reserve_exact(expected);
    reserved.map_err(|source| StoreError::Generic { store: "memory", source: Box::new(source) })?;
    let mut pieces = got.into_stream();
    while let Some(piece) = within(timeout, async { pieces.next().await.transpose() }).await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// An object without bytes has no first one to ask for, and the answer says no more than that.
async fn empty(store: &dyn ObjectStore, path: &Path, error: StoreError) -> object_store::Result<Option<First>> {
    match if_there(store.head(path).await)? {
        None => Ok(None),
        Some(meta) if meta.size == 0 => Ok(Some(First { len: 0, etag: meta.e_tag, bytes: Vec::new() })),
        Some(_) => Err(error),
    }
}

fn is_out_of_range(error: &StoreError) -> bool {
    let told = error.to_string();
    ["status code: 416", "InvalidRange", "Wanted range starting at"].iter().any(|known| told.contains(known))
}

impl Reading {
    /// The whole blob.
    pub(super) fn into_whole(mut self) -> Result<Vec<u8>> {
        if self.window.end() == self.len {
            return Ok(std::mem::take(&mut self.window.bytes));
        }
        let mut whole = Vec::new();
        let room = usize::try_from(self.len).unwrap_or(usize::MAX);
        whole
            .try_reserve_exact(room)
            .map_err(|_| CacheError::new(ErrorKind::Limit, format!("no memory for {} bytes of a blob", self.len)))?;
        self.append_to(0, room, &mut whole)?;
        Ok(whole)
    }

    /// Bytes from `offset` on, at least one and `len` at most; none at the end of the blob.
    fn bytes_at(&mut self, offset: u64, len: usize) -> Result<&[u8]> {
        if offset >= self.len || len == 0 {
            return Ok(&[]);
        }
        let has = [&self.window, &self.end].iter().any(|window| window.at(offset, 1).is_some());
        if !has {
            self.load(offset, len)?;
        }
        let found = self.window.at(offset, len).or_else(|| self.end.at(offset, len));
        found.ok_or_else(|| CacheError::new(ErrorKind::Integrity, format!("blob {} is shorter than it was", self.name)))
    }

    fn load(&mut self, offset: u64, len: usize) -> Result<()> {
        let (rest, len) = (self.len - offset, len as u64);
        let follows = offset == self.window.end() || self.ahead.front().is_some_and(|(start, _)| *start == offset);
        if follows && rest > LEAST {
            return self.load_ahead(offset);
        }
        if len >= rest && rest <= END_LEN {
            let start = self.len.saturating_sub(END_LEN);
            self.end = self.got(start, self.len)?;
            return Ok(());
        }
        let end = offset.saturating_add(len.clamp(LEAST, PART_LEN)).min(self.len);
        self.window = self.got(offset, end)?;
        Ok(())
    }

    fn got(&self, start: u64, end: u64) -> Result<Window> {
        let (path, etag) = (self.blobs.path(&self.name), self.etag.clone());
        let timeout = self.blobs.client.options().timeout;
        let doing = format!("read blob {}", self.name);
        let got = self.blobs.client.run(&doing, end - start, |store| async move {
            let got = get(&*store, &path, start..end, etag, timeout).await;
            if_still_there(got.map(|first| first.bytes))
        })?;
        self.window_of(start, got)
    }

    fn window_of(&self, start: u64, got: Option<Vec<u8>>) -> Result<Window> {
        let bytes = got.ok_or_else(|| {
            CacheError::new(ErrorKind::Integrity, format!("blob {} was removed while it was read", self.name))
        })?;
        Ok(Window { start, bytes })
    }

    /// Takes what was begun to be got at `offset`, and begins to get what follows.
    fn load_ahead(&mut self, offset: u64) -> Result<()> {
        if self.ahead.front().is_none_or(|(start, _)| *start != offset) {
            self.stop();
        }
        let first = self.ahead.pop_front().map(|(_, getting)| getting);
        let behind = self.ahead.back().map_or(offset, |(start, _)| *start);
        let mut next = if first.is_none() { offset } else { (behind + PART_LEN).min(self.len) };
        let mut starts = Vec::new();
        while next < self.len && self.ahead.len() + starts.len() + usize::from(first.is_some()) < AT_A_TIME {
            starts.push(next);
            next = next.saturating_add(PART_LEN);
        }
        let (path, etag, len) = (self.blobs.path(&self.name), self.etag.clone(), self.len);
        let client = &self.blobs.client;
        let (timeout, longest) = (client.options().timeout, client.deadline(PART_LEN * AT_A_TIME as u64));
        let doing = format!("read blob {}", self.name);
        let begun = starts.clone();
        let (got, getting) = client.run(&doing, PART_LEN * AT_A_TIME as u64, |store| async move {
            let begin = |start: u64| {
                let (store, path, etag) = (Arc::clone(&store), path.clone(), etag.clone());
                let range = start..start.saturating_add(PART_LEN).min(len);
                let part = async move { Ok(get(&*store, &path, range, etag, timeout).await?.bytes) };
                tokio::spawn(within(longest, part))
            };
            let mut getting: VecDeque<Getting> = begun.into_iter().map(begin).collect();
            let first = first.or_else(|| getting.pop_front());
            let got = match first {
                Some(first) => first.await.map_err(StoreError::from).flatten(),
                None => Ok(Vec::new()),
            };
            Ok((if_still_there(got)?, getting))
        })?;
        let skipped = starts.len() - getting.len();
        self.ahead.extend(starts.into_iter().skip(skipped).zip(getting));
        self.window = self.window_of(offset, got)?;
        Ok(())
    }

    fn stop(&mut self) {
        self.ahead.drain(..).for_each(|(_, getting)| getting.abort());
    }
}

/// Whether the object is still the one that was opened.
fn if_still_there<T>(outcome: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match outcome {
        Err(StoreError::Precondition { .. } | StoreError::NotModified { .. }) => Ok(None),
        outcome => if_there(outcome),
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.stop();
    }
}

impl BlobRead for Reading {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            let found = self.bytes_at(offset.saturating_add(filled as u64), buf.len() - filled)?;
            if found.is_empty() {
                break;
            }
            buf[filled..filled + found.len()].copy_from_slice(found);
            filled += found.len();
        }
        Ok(filled)
    }

    fn append_to(&mut self, offset: u64, len: usize, bytes: &mut Vec<u8>) -> Result<()> {
        let mut appended = 0;
        while appended < len {
            let found = self.bytes_at(offset.saturating_add(appended as u64), len - appended)?;
            if found.is_empty() {
                break;
            }
            bytes.extend_from_slice(found);
            appended += found.len();
        }
        Ok(())
    }
}
