//! Bringing index and blobs together again after an index was not closed, was damaged or is gone.

use std::collections::HashSet;
use std::error::Error;
use std::time::Duration;

use super::opened::Opened;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::codec::handler::NATIVE;
use crate::engine::index::Index;
use crate::entry::{self, Details, Entry, IndexKey};
use crate::error::{CacheError, Result};
use crate::format::{self, HeaderRead, Rules};
use crate::index::sled::{Health, Proof};
use crate::index::{Payload, Record};
use crate::security::{Distrust, KeyId, Signing};
use crate::storage::BlobName;
use crate::storage::blob::{BlobBackend, BlobInfo, all_names};
use crate::util::digest;

const PAGE: usize = 1024;
/// Most headers are shorter.
const FIRST_READ: u64 = 4096;

/// Makes sure that every blob has a record, or is gone: a blob without one is removed if the index knows all that was
/// committed, and taken up again from its header if the index lost something and the blob is current, by the proof or,
/// without one, because the blobs of replaced and removed entries are gone.
pub(crate) fn reconcile(
    index: &Index,
    (blobs, unnamed): (&dyn BlobBackend, Unnamed),
    health: Health,
    proof: Option<&Proof>,
    rules: Rules<'_>,
) -> Result<Reconciled> {
    if health == Health::Clean {
        return Ok(Reconciled::Whole);
    }
    let mut reconciled = Reconciled::Whole;
    let mut unknown = all_names(blobs)?;
    let new = match unnamed {
        Unnamed::MayBeNew => new_names(blobs, SystemClock.now())?,
        Unnamed::LeftOver => HashSet::new(),
    };
    if health == Health::Damaged && proof.is_none() {
        drop_without_blob(index, &unknown)?;
    }
    // A look at all records is dear, and many caches have no blobs.
    if !unknown.is_empty() && forget_referenced(index, &mut unknown)? && health == Health::Unclean {
        // Any of them may be that of a record which cannot be read here.
        return Ok(reconciled);
    }
    for name in unknown {
        let use_of = match health {
            Health::Unclean => left_over(blobs, &name, rules),
            _ => take_up(index, blobs, &name, proof, rules)?,
        };
        if matches!(use_of, UseOf::Distrusted) {
            reconciled = Reconciled::WithoutDistrusted;
        }
        if new.contains(&name) && !matches!(use_of, UseOf::TakenUp) {
            reconciled = Reconciled::WithoutDistrusted;
            continue;
        }
        let done = match use_of {
            UseOf::TakenUp | UseOf::Distrusted | UseOf::Unknown => Ok(()),
            UseOf::None => blobs.remove(&name).map(drop),
            UseOf::Damaged => blobs.quarantine(&name),
        };
        // At worst it takes room: no reason not to open.
        if let Err(error) = done {
            log::debug!("blob {name} stays though no record names it: {error}");
        }
    }
    Ok(reconciled)
}

/// What a blob is that no record names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unnamed {
    /// Nobody else uses the directory: it was left by a process that is gone.
    LeftOver,
    /// Another process may have written it and be about to commit it, unless it is old.
    MayBeNew,
}

/// A blob has a record by then, or its writer is gone.
const NEW: Duration = Duration::from_secs(60);

/// The names of blobs that are so young that their record may be about to come.
pub(crate) fn new_names(blobs: &dyn BlobBackend, now: Timestamp) -> Result<HashSet<BlobName>> {
    let (mut names, mut after): (_, Option<BlobName>) = (HashSet::new(), None);
    loop {
        let page = blobs.page(after.as_ref(), PAGE)?;
        let Some(last) = page.last().map(|blob| blob.name.clone()) else { return Ok(names) };
        let is_new = |blob: &BlobInfo| blob.written_at.is_none_or(|at| now.since(at) < NEW);
        names.extend(page.into_iter().filter(is_new).map(|blob| blob.name));
        after = Some(last);
    }
}

/// Whether all blobs have been brought together with the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reconciled {
    Whole,
    /// But for those that may be believed with another key, read by a newer release, or committed by another process.
    WithoutDistrusted,
}

/// What became of a blob that no record names.
enum UseOf {
    TakenUp,
    /// Its key has a newer value, or it was never committed.
    None,
    /// It is no whole blob, or cannot be read.
    Damaged,
    /// It may be believed with another key, or read by a newer release, and stays.
    Distrusted,
    /// It cannot be read now.
    Unknown,
}

/// What becomes of a blob without a record where all records are known.
fn left_over(blobs: &dyn BlobBackend, name: &BlobName, rules: Rules<'_>) -> UseOf {
    match entry_of(blobs, name, rules) {
        Err(error) if stays(&error, rules) => UseOf::Distrusted,
        // Whose it is can be told at the next opening, perhaps.
        Err(error) if error.is_unavailable() || error.is_storage() && !is_of_the_medium(&error) => UseOf::Unknown,
        _ => UseOf::None,
    }
}

/// Whether a blob that no record names is nobody's, where all records are known.
pub(super) fn is_left_over(blobs: &dyn BlobBackend, name: &BlobName, rules: Rules<'_>) -> bool {
    matches!(left_over(blobs, name, rules), UseOf::None)
}

/// Whether a blob stays, though it is not believed, because it may be with another key or by a newer release.
pub(crate) fn may_be_believed_later(blobs: &dyn BlobBackend, name: &BlobName, rules: Rules<'_>) -> bool {
    entry_of(blobs, name, rules).is_err_and(|error| stays(&error, rules))
}

/// Whether the record of the key in its header names a blob.
///
/// # Errors
/// Those of index and blobs.
pub(crate) fn is_named(index: &Index, blobs: &dyn BlobBackend, name: &BlobName, rules: Rules<'_>) -> Result<bool> {
    let Some((entry, _)) = entry_of(blobs, name, rules)? else { return Ok(false) };
    Ok(index.get(&entry.key)?.is_some_and(|record| record.blob().as_ref() == Some(name)))
}

/// Whether what is not believed for this reason stays.
fn stays(error: &CacheError, rules: Rules<'_>) -> bool {
    Distrust::behind(error).is_some_and(|why| rules.signing.keeps(why))
}

/// Leaves those that no record names; says whether there are records of a newer release, which may name any.
pub(super) fn forget_referenced(index: &Index, names: &mut HashSet<BlobName>) -> Result<bool> {
    let (mut after, mut has_newer): (Option<IndexKey>, _) = (None, false);
    loop {
        let page = index.scan(after.as_ref(), PAGE)?;
        has_newer |= page.iter().any(|(_, record)| record.distrust() == Some(Distrust::Newer));
        for name in page.iter().filter_map(|(_, record)| record.blob()) {
            names.remove(&name);
        }
        match page.into_iter().next_back() {
            Some((last, _)) => after = Some(last),
            None => return Ok(has_newer),
        }
    }
}

/// Removes the records of blobs that are not there: entries that were replaced or removed.
fn drop_without_blob(index: &Index, there: &HashSet<BlobName>) -> Result<()> {
    let mut after: Option<IndexKey> = None;
    loop {
        let page = index.scan(after.as_ref(), PAGE)?;
        for (key, record) in &page {
            if record.blob().is_some_and(|name| !there.contains(&name)) {
                index.remove_expected(key, record)?;
            }
        }
        match page.into_iter().next_back() {
            Some((last, _)) => after = Some(last),
            None => return Ok(()),
        }
    }
}

/// Whether the entry of a header is the current one of its key. A blob that several entries share outlives the one that
/// its header names.
fn is_current(entry: &Entry, proof: Option<&Proof>) -> bool {
    match (proof, &entry.details.content) {
        (Some(proof), _) => proof.knows(entry),
        (None, Some(content)) => entry.details.name.as_ref() == Some(&digest::hex(content)),
        (None, None) => true,
    }
}

/// Makes the record of a blob from its header, unless the blob is damaged, or not the current one of its key.
fn take_up(
    index: &Index,
    blobs: &dyn BlobBackend,
    name: &BlobName,
    proof: Option<&Proof>,
    rules: Rules<'_>,
) -> Result<UseOf> {
    let (entry, signer) = match entry_of(blobs, name, rules) {
        Err(error) if Distrust::is_behind(&error) => {
            return Ok(if stays(&error, rules) { UseOf::Distrusted } else { UseOf::Damaged });
        }
        Ok(Some(found)) => found,
        Ok(None) => return Ok(UseOf::Damaged),
        Err(error) if is_of_the_medium(&error) => return Ok(UseOf::Damaged),
        Err(error) => return Err(error),
    };
    if index.get(&entry.key)?.is_some_and(|record| record.distrust() == Some(Distrust::Newer)) {
        return Ok(UseOf::Distrusted);
    }
    if !is_current(&entry, proof) {
        // What others share may be the value of one that is lost.
        return Ok(if entry.details.content.is_some() { UseOf::Damaged } else { UseOf::None });
    }
    let newer = match index.get(&entry.key)? {
        Some(record) => record.is_believed() && record.core()?.created_at >= entry.core.created_at,
        None => false,
    };
    if newer {
        return Ok(UseOf::None);
    }
    // Written within the limits of its time, which may have been other ones.
    let record = Record::new(&entry, &Payload::Blob(name.clone()), u64::MAX, &rules.signing.like(signer))?;
    let older = index.put(&entry.key, &record)?;
    // One that other entries may share stays until it is found that none does.
    let own = older
        .filter(|record| record.is_believed() && record.entry().is_ok_and(|entry| entry.details.content.is_none()));
    if let Some(older) = own.and_then(|record| record.blob())
        && let Err(error) = blobs.remove(&older)
    {
        log::debug!("blob {older} stays though its value was replaced: {error}");
    }
    Ok(UseOf::TakenUp)
}

/// Whether a file cannot be read because the disk has lost it. Other errors may be gone the next time, and then so would
/// be the reason to give the value up.
fn is_of_the_medium(error: &CacheError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_storage() && source.and_then(std::io::Error::raw_os_error) == Some(libc::EIO)
}

/// Notes what is not believed in an index that is made of files alone, so that it counts, expires, is evicted and cleared.
/// Of its header, sizes, times and key are taken and nothing else.
pub(crate) fn note_distrusted(index: &Index, blobs: &dyn BlobBackend, rules: Rules<'_>) -> Result<()> {
    let mut unknown = all_names(blobs)?;
    forget_referenced(index, &mut unknown)?;
    let unsigned = Rules { signing: &Signing::OFF, ..rules };
    for name in unknown {
        let Some(distrust) = entry_of(blobs, &name, rules).err().and_then(|error| Distrust::behind(&error)) else {
            continue;
        };
        if distrust == Distrust::Newer {
            continue;
        }
        if let Some((header, _)) = entry_of(blobs, &name, unsigned)? {
            let entry = Entry { details: Details::default(), ..header };
            let record = Record::of_distrusted(&entry, &Payload::Blob(name), distrust, rules.signing)?;
            index.put_new(&entry.key, &record)?;
        }
    }
    Ok(())
}

/// The entry that a blob's header tells, and the key it is signed with; `None` if it is not whole. Not believed is an error.
fn entry_of(blobs: &dyn BlobBackend, name: &BlobName, rules: Rules<'_>) -> Result<Option<(Entry, Option<KeyId>)>> {
    let mut wanted = FIRST_READ;
    loop {
        let start = match blobs.read_range(name, 0, wanted) {
            Ok(Some(start)) => start,
            Ok(None) => return Ok(None),
            Err(error) if error.is_integrity() => return Ok(None),
            Err(error) => return Err(error),
        };
        match format::open_header(&start, rules) {
            Err(error) if Distrust::is_behind(&error) => return Err(error),
            Ok(HeaderRead::Whole(header, signer)) => {
                let decoded = match entry::decode(header) {
                    Err(error) if Distrust::is_behind(&error) => return Err(error),
                    decoded => decoded.ok(),
                };
                let entry = whole(blobs, name, rules, decoded)?;
                return Ok(entry.map(|entry| (entry, signer)));
            }
            Ok(HeaderRead::Needs(bytes)) if bytes > start.len() as u64 && start.len() as u64 == wanted => {
                wanted = bytes
            }
            Ok(HeaderRead::Needs(_)) | Err(_) => return Ok(None),
        }
    }
}

/// The entry of a header; that of a stream with what its trailer says, and with the key that is made of its content.
fn whole(
    blobs: &dyn BlobBackend,
    name: &BlobName,
    rules: Rules<'_>,
    decoded: Option<(Entry, &[u8])>,
) -> Result<Option<Entry>> {
    match decoded {
        Some((entry, _)) if entry.core.is_open() => match whole_stream(blobs, name, rules) {
            Err(error) if error.is_integrity() => Ok(None),
            found => found,
        },
        decoded => Ok(decoded.map(|(entry, _)| entry)),
    }
}

fn whole_stream(blobs: &dyn BlobBackend, name: &BlobName, rules: Rules<'_>) -> Result<Option<Entry>> {
    let Some(mut stream) = Opened::open(blobs, name, rules)? else { return Ok(None) };
    let mut entry = stream.entry().clone();
    if entry.details.name.is_none() && entry.core.payload_format != NATIVE {
        entry.set_content(stream.content()?)?;
    }
    Ok(Some(entry))
}

#[cfg(test)]
mod tests;
