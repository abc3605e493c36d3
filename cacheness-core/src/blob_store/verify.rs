//! Whether what is stored is what was put.

use std::collections::{HashMap, HashSet};

use super::engine::Engine;
use crate::clock::{Clock, SystemClock};
use crate::engine::opened::{Opened, checksum_of};
use crate::engine::recover;
use crate::entry::{Entry, IndexKey};
use crate::error::Result;
use crate::format;
use crate::index::Record;
use crate::security::Distrust;
use crate::storage::BlobName;
use crate::storage::blob::all_names;

/// What [`BlobStore::verify`](crate::BlobStore::verify) does with what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repair {
    /// Nothing.
    No,
    /// Moves damaged blobs to quarantine, removes entries whose blob is damaged or missing (and those that are not believed,
    /// if [`invalid_entries`](crate::SecurityConfig::invalid_entries) says so), and removes blobs that no entry refers to. Files that the store did not write stay. So do blobs without an entry if the index was damaged
    /// while the store was open: at the next opening those that had one have it again. Where other processes have the store
    /// open too, blobs of the last minute stay, which one of them may be about to put.
    Yes,
}

/// What [`BlobStore::verify_integrity`](crate::BlobStore::verify_integrity) found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IntegrityReport {
    /// Whether the blob is what was put under the key.
    pub valid: bool,
    /// XXH3-64 that the stored bytes must have, as [`Entry::file_hash`](crate::Entry::file_hash) tells it; 0 if what the
    /// index says of the entry is not believed.
    pub expected_hash: u64,
    /// XXH3-64 that they have; `None` if there are none.
    pub actual_hash: Option<u64>,
    /// What is wrong, if something is.
    pub damage: Option<String>,
}

/// What [`BlobStore::verify`](crate::BlobStore::verify) found, and removed if it was to repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Entries that were looked at.
    pub checked: u64,
    /// Keys of entries whose blob is damaged, in order; of one whose record is not believed, its name in listings.
    pub damaged: Vec<String>,
    /// Keys of entries whose blob is gone, in order.
    pub missing: Vec<String>,
    /// Keys of entries that a newer release wrote in a way that is not known here, in order; of one whose record is such, its
    /// name in listings. They stay, and so does every blob that one of them may need.
    pub newer: Vec<String>,
    /// Blobs that no entry refers to: left by a crash between two steps.
    pub unreferenced: Vec<BlobName>,
    /// Entries that were lost since the store was opened, because the index was damaged.
    pub lost: u64,
}

impl VerifyReport {
    /// Whether every entry is as it was put. A blob that nothing refers to harms nobody.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.missing.is_empty() && self.lost == 0
    }
}

/// What was found of the blobs that several entries share, so that each is read once.
type Seen = HashMap<BlobName, IntegrityReport>;

impl Engine {
    pub(super) fn verify_integrity(&self, key: &IndexKey) -> Result<Option<IntegrityReport>> {
        match self.examined(key, &mut Seen::new()) {
            Err(error) if Distrust::is_behind(&error) => {
                let damage = Some(error.to_string());
                Ok(Some(IntegrityReport { valid: false, expected_hash: 0, actual_hash: None, damage }))
            }
            examined => Ok(examined?.map(|(_, report)| report)),
        }
    }

    /// Looks at the blob of a key, and again if the entry was replaced while it was looked at.
    fn examined(&self, key: &IndexKey, seen: &mut Seen) -> Result<Option<(Record, IntegrityReport)>> {
        loop {
            let Some(found) = self.store().find(key)? else { return Ok(None) };
            let entry = found.record.entry()?;
            let name = found.record.blob();
            let report = match name.as_ref().and_then(|name| seen.get(name)) {
                Some(known) => known.clone(),
                None => self.examine(&entry, name.as_ref())?,
            };
            let same = || Ok(self.store().find(key)?.is_some_and(|now| now.record == found.record));
            if !report.valid && !same()? {
                continue;
            }
            if let Some(name) = name.filter(|_| entry.details.content.is_some()) {
                seen.insert(name, report.clone());
            }
            return Ok(Some((found.record, report)));
        }
    }

    fn examine(&self, entry: &Entry, name: Option<&BlobName>) -> Result<IntegrityReport> {
        let expected_hash = entry.core.checksum;
        let report = |actual_hash, damage: Option<String>| IntegrityReport {
            valid: damage.is_none(),
            expected_hash,
            actual_hash,
            damage,
        };
        let Some(name) = name else { return Ok(report(None, Some("its record names no blob".into()))) };
        match Opened::open(&*self.store().blobs, name, self.store().rules()) {
            Ok(None) => Ok(report(None, Some(format!("blob {name} is gone")))),
            Ok(Some(mut blob)) => {
                let (actual, genuine) = blob.examine()?;
                let same = actual == expected_hash && genuine;
                let other = (!same).then(|| "its bytes are not those that were put".to_owned());
                Ok(report(Some(actual), blob.check_is_of(entry).err().map(|error| error.to_string()).or(other)))
            }
            Err(error) if error.is_integrity() => Ok(report(self.hash_in_place(entry, name), Some(error.to_string()))),
            Err(error) => Err(error),
        }
    }

    /// Whether an entry stays though its blob is not what it must be: it may be with another key.
    fn may_be_believed_later(&self, record: &Record) -> bool {
        let store = self.store();
        record.blob().is_some_and(|name| recover::may_be_believed_later(&*store.blobs, &name, store.rules()))
    }

    /// The hash of the bytes that lie where those of the entry would, in a blob whose ends are damaged.
    fn hash_in_place(&self, entry: &Entry, name: &BlobName) -> Option<u64> {
        let mut file = self.store().blobs.open(name).ok()??;
        let mut start = [0; 16];
        let read = file.read_at(0, &mut start).ok()?;
        let end = file.len().saturating_sub(format::trailer_len(&start[..read]) as u64);
        checksum_of(&mut *file, end.saturating_sub(entry.core.stored_size), entry.core.stored_size).ok()
    }

    pub(super) fn verify(&self, repair: Repair) -> Result<VerifyReport> {
        if repair == Repair::Yes {
            self.store().check_home()?;
        }
        let (mut report, mut seen) = (VerifyReport::default(), Seen::new());
        self.each_page(|page| {
            page.iter().try_for_each(|(key, record)| match record.distrust() {
                None => self.verify_entry(key, repair, &mut seen, &mut report),
                Some(Distrust::Newer) => {
                    report.checked += 1;
                    report.newer.push(key.to_string());
                    Ok(())
                }
                Some(why) => self.report_distrusted(key, (record, why), repair, &mut report),
            })
        })?;
        report.damaged.sort();
        report.missing.sort();
        report.newer.sort();
        report.unreferenced = self.unreferenced()?;
        report.lost = self.store().index.totals()?.lost;
        // An index that was replaced may have lost records: what they named is taken up at the next opening.
        if repair == Repair::Yes && self.store().index.epoch() == 0 && report.newer.is_empty() {
            let new = self.new_of_others()?;
            let mut left_over = report.unreferenced.iter().filter(|name| !new.contains(name));
            left_over.try_for_each(|name| self.remove_unreferenced(name))?;
        }
        Ok(report)
    }

    fn report_distrusted(
        &self,
        key: &IndexKey,
        (record, why): (&Record, Distrust),
        repair: Repair,
        report: &mut VerifyReport,
    ) -> Result<()> {
        report.checked += 1;
        report.damaged.push(key.to_string());
        let removes = repair == Repair::Yes && !self.store().settings.signing.keeps(why);
        if removes && self.store().index.remove_expected(key, record)? {
            self.finish_change(std::iter::once((key, record)))?;
        }
        Ok(())
    }

    fn verify_entry(&self, key: &IndexKey, repair: Repair, seen: &mut Seen, report: &mut VerifyReport) -> Result<()> {
        let (record, found) = match self.examined(key, seen) {
            Err(error) if Distrust::behind(&error) == Some(Distrust::Newer) => {
                report.checked += 1;
                report.newer.push(self.name_of(key)?);
                return Ok(());
            }
            examined => match examined? {
                Some(examined) => examined,
                None => return Ok(()),
            },
        };
        report.checked += 1;
        if found.valid {
            return Ok(());
        }
        let entry = record.entry()?;
        let name = name_of(&entry);
        let keys = if found.actual_hash.is_some() { &mut report.damaged } else { &mut report.missing };
        keys.push(name);
        match repair {
            Repair::Yes if !self.may_be_believed_later(&record) => self.drop_damaged(key, &record, &entry),
            _ => Ok(()),
        }
    }

    fn name_of(&self, key: &IndexKey) -> Result<String> {
        Ok(self.entry(key)?.map_or_else(|| key.to_string(), |entry| name_of(&entry)))
    }

    /// The record goes first, so that a crash leaves a blob that nothing refers to.
    fn drop_damaged(&self, key: &IndexKey, record: &Record, entry: &Entry) -> Result<()> {
        self.keep_up();
        if !self.store().index.remove_expected(key, record)? {
            return Ok(());
        }
        self.store().flush().inspect_err(|_| self.store().index.doubt_blobs())?;
        let Some(name) = record.blob() else { return Ok(()) };
        if let Some(content) = entry.details.content {
            let mut references = self.references();
            references.forget(&content, &name);
            if !references.release(&content, &name) {
                return Ok(());
            }
        }
        self.store().blobs.quarantine(&name)
    }

    /// The blobs that no record names and nobody is about to name.
    ///
    /// In this order: a blob that is listed was pending before; if it is not any more, its record is in the index and
    /// the look at that comes last.
    fn unreferenced(&self) -> Result<Vec<BlobName>> {
        let mut listed = all_names(&*self.store().blobs)?;
        let pending = self.pending().names();
        listed.retain(|name| !pending.contains(name));
        self.each_page(|page| {
            for name in page.iter().filter_map(|(_, record)| record.blob()) {
                listed.remove(&name);
            }
            Ok(())
        })?;
        let references = self.references();
        let mut rest: Vec<BlobName> = listed.into_iter().filter(|name| !references.refers_to(name)).collect();
        rest.sort();
        Ok(rest)
    }

    /// Blobs that another process may be about to name.
    fn new_of_others(&self) -> Result<HashSet<BlobName>> {
        match self.store().index.may_have_neighbours() {
            true => recover::new_names(&*self.store().blobs, SystemClock.now()),
            false => Ok(HashSet::new()),
        }
    }

    fn remove_unreferenced(&self, name: &BlobName) -> Result<()> {
        let store = self.store();
        if recover::may_be_believed_later(&*store.blobs, name, store.rules()) {
            return Ok(());
        }
        // Another process has put it since, perhaps, and has ended.
        if recover::is_named(&store.index, &*store.blobs, name, store.rules())? {
            return Ok(());
        }
        // Nobody shares it while it goes; a name that is not referred to by now is never given again.
        let references = self.references();
        if references.refers_to(name) { Ok(()) } else { self.store().blobs.remove(name).map(drop) }
    }
}

/// The key of an entry, or its name in listings.
fn name_of(entry: &Entry) -> String {
    entry.name().map_or_else(|| entry.cache_key(), str::to_owned)
}
