//! The seam between the engine and what keeps its rows: a metadata backend keeps rows of bytes under keys of bytes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::query::{Filter, Schema};
use crate::value::Metadata;

/// Keeps rows of bytes by key, finds them by expiry, by last use and by group, and knows how many there are.
///
/// A backend never decodes, checks or signs what it keeps: each row comes with the [`Facts`] that decide where it stands,
/// and goes back as it came. Checksums, signatures, expiry and eviction are the engine's, written once for all backends.
///
/// A reader sees the row before a [`Change`] or the one after it, never a mixture, and never one that no change put in.
/// Methods are called by many threads at a time.
///
/// `cacheness::testing::check_metadata_backend`, with the feature `testing`, checks all that is said here;
/// `examples/own_backend.rs` is a whole backend. [`register_metadata_backend`](crate::register_metadata_backend) gives one a
/// name for `metadata.backend`.
pub trait MetadataBackend: fmt::Debug + Send + Sync {
    /// What kind of backend this is. The same at every call.
    fn traits(&self) -> Traits;

    /// The row of a key.
    ///
    /// # Errors
    /// [`Metadata`](crate::ErrorKind::Metadata) if the backend cannot tell; [`Closed`](crate::ErrorKind::Closed).
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The rows of several keys, in the order of the keys. Where each question is a round trip, ask all at once.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// Makes changes, in their order, and tells of each what it did. Each is atomic; all of them together need not be. Where a
    /// change is a round trip, make all at once: the engine gives 64 at most.
    ///
    /// # Errors
    /// [`Metadata`](crate::ErrorKind::Metadata) or [`Storage`](crate::ErrorKind::Storage), of which the caller knows only that
    /// each change was made or not; [`Closed`](crate::ErrorKind::Closed) if none was made.
    fn apply(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>>;

    /// The next rows of a scan, `limit` at most; fewer only at its end. No lock is held between two pages.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn page(&self, scan: &Scan<'_>, limit: usize) -> Result<Vec<Row>>;

    /// The next keys in their order, `limit` at most and fewer only at the end, behind `after`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn keys(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        let rows = self.page(&Scan::Keys { after }, limit)?;
        Ok(rows.into_iter().map(|row| row.key).collect())
    }

    /// The next rows, in the order of their keys and behind `after`, of entries with custom metadata of a kind that may meet a
    /// condition, `limit` at most and fewer only at the end: all that meet it, and perhaps others, since the engine looks at
    /// each again. `None` if the backend cannot tell, and all of the kind are looked at. Asked of backends that keep
    /// [columns](Traits::columns) only.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn select(&self, kind: &str, filter: &Filter, after: Option<&[u8]>, limit: usize) -> Result<Option<Vec<Row>>> {
        let _ = (kind, filter, after, limit);
        Ok(None)
    }

    /// Says what a kind of custom metadata looks like, which the backend may know already: a table is made, columns that it
    /// lacks are added, and those that are to be are indexed. Told to backends that keep [columns](Traits::columns) only.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn define(&self, schema: &Schema) -> Result<()> {
        let _ = schema;
        Ok(())
    }

    /// Notes when rows were used. A use of a row that is not there is passed over, and one that gets lost makes eviction
    /// less wise and nothing else. A backend that writes many uses together is asked to do so by a call with none.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn used(&self, uses: &[(&[u8], Timestamp)]) -> Result<()>;

    /// When a row was last used, as far as [`used`](Self::used) noted it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>>;

    /// How many rows there are and what they take, in a time that does not depend on their number.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn totals(&self) -> Result<Totals>;

    /// What rows and their blobs take, as [`Totals::bytes`] says it, as of the last change that this handle made or later.
    /// Asked after each put, which may have to make room: a backend whose questions are round trips remembers what
    /// [`apply`](Self::apply) found.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn bytes(&self) -> Result<u64> {
        Ok(self.totals()?.bytes)
    }

    /// With how many bytes a row of `row` bytes and a blob of `blob` bytes count in [`Totals::bytes`].
    fn footprint(&self, row: u64, blob: u64) -> u64 {
        row.saturating_add(blob)
    }

    /// The value of this name, which is none of the rows; with a [`Swap`] it is changed before, if it is as expected.
    /// Returns what is there afterwards. For what belongs to the whole store, and is small.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn state(&self, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>>;

    /// A number that grows each time that rows may have changed without [`apply`](Self::apply): after damage, or where
    /// changes made elsewhere were missed. What others remember of rows they forget then.
    fn epoch(&self) -> u64 {
        0
    }

    /// The keys of the rows that others than this handle have changed since a call that returned the mark `since`, and the
    /// mark of now. Asked of [shared](Traits::shared) backends only, before values in memory are believed any longer.
    ///
    /// A change is told from the moment on at which [`get`](Self::get) gives the row that it made. A backend that cannot
    /// tell returns [`Changes::UNKNOWN`], and values in memory are of little use then.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn changes(&self, since: u64) -> Result<Changes> {
        let _ = since;
        Ok(Changes::UNKNOWN)
    }

    /// Whether no other process has the store open now, and could remember rows that are changed here.
    fn is_alone(&self) -> bool {
        !self.traits().shared
    }

    /// Whether a change is likely to be made now: asked before a blob is written, which would be nobody's.
    fn is_reachable(&self) -> bool {
        true
    }

    /// Gives up the copy of a row that another place has, if there is one, and says whether there was: its bytes make no sense.
    fn give_up_copy(&self, key: &[u8]) -> bool {
        let _ = key;
        false
    }

    /// Notes that there may be blobs which no row names: the next opening looks for them.
    fn doubt_blobs(&self) {}

    /// Gives room back that the backend takes and does not need, if that is much. Others use it meanwhile. Ends early when
    /// `go_on` says so.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn tidy(&self, go_on: &dyn Fn() -> bool) -> Result<()> {
        let _ = go_on;
        Ok(())
    }

    /// Makes every change that was made before this call survive a power cut.
    ///
    /// # Errors
    /// [`Metadata`](crate::ErrorKind::Metadata) or [`Storage`](crate::ErrorKind::Storage).
    fn flush(&self) -> Result<()>;

    /// Flushes and lets go of files and connections. Later calls fail with [`Closed`](crate::ErrorKind::Closed), but for
    /// this one.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    fn close(&self) -> Result<()>;
}

/// What kind of backend one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traits {
    /// The name that [`Stats::backend`](crate::Stats::backend) tells.
    pub name: &'static str,
    /// Whether rows outlive the process.
    pub persistent: bool,
    /// Whether other processes may change rows meanwhile.
    pub shared: bool,
    /// Whether calls wait for a network.
    pub waits: bool,
    /// Whether custom metadata is kept as columns, to be [selected](MetadataBackend::select) by.
    pub columns: bool,
}

impl Traits {
    /// A backend whose rows live and die with the process, and are its own.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, persistent: false, shared: false, waits: false, columns: false }
    }

    /// Its rows outlive the process.
    #[must_use]
    pub const fn persistent(self) -> Self {
        Self { persistent: true, ..self }
    }

    /// Other processes may change its rows.
    #[must_use]
    pub const fn shared(self) -> Self {
        Self { shared: true, ..self }
    }

    /// Its calls wait for a network. Where its server does not answer they fail with
    /// [`Unavailable`](crate::ErrorKind::Unavailable): after some such failures nobody asks for a while.
    #[must_use]
    pub const fn waits(self) -> Self {
        Self { waits: true, ..self }
    }

    /// It keeps custom metadata as columns: [`Facts::custom`] tells it.
    #[must_use]
    pub const fn columns(self) -> Self {
        Self { columns: true, ..self }
    }
}

/// A row as it comes out of a [`page`](MetadataBackend::page).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// Its key.
    pub key: Arc<[u8]>,
    /// Its bytes, as they were put in.
    pub bytes: Vec<u8>,
    /// When it was last [used](MetadataBackend::used), if that is known.
    pub used_at: Option<Timestamp>,
}

impl Row {
    /// A row of which no use is known.
    #[must_use]
    pub fn new(key: Arc<[u8]>, bytes: Vec<u8>) -> Self {
        Self { key, bytes, used_at: None }
    }
}

/// Where a row stands in the orders. Reads and writes through serde, for backends that keep it as one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Facts {
    /// When its entry was created.
    pub created_at: Timestamp,
    /// When it expires; `None` if never.
    pub expires_at: Option<Timestamp>,
    /// Bytes of the blob that it names; 0 if it names none.
    pub blob_bytes: u64,
    /// The groups that it can be found by, each a number.
    pub groups: Vec<u64>,
    /// The custom metadata of its entry, for backends that keep [columns](Traits::columns); none for others. It lies in the
    /// row, too.
    #[serde(skip)]
    pub custom: Vec<CustomRow>,
}

/// The custom metadata of one kind that an entry has.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CustomRow {
    /// The name of the kind: data, with any characters.
    pub kind: String,
    /// Values by the names of the columns.
    pub columns: Metadata,
}

impl CustomRow {
    pub(super) fn of((kind, columns): (&str, &Metadata)) -> Self {
        Self { kind: kind.to_owned(), columns: columns.clone() }
    }
}

impl Facts {
    /// A row that was created at this time, never expires, names no blob and belongs to no group.
    #[must_use]
    pub fn new(created_at: Timestamp) -> Self {
        Self { created_at, ..Self::default() }
    }
}

/// A change of one row.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The key of the row.
    pub key: &'a [u8],
    /// What must be there for the change to be made.
    pub expected: Expected<'a>,
    /// The new row and its facts; `None` removes the one that is there.
    pub row: Option<(&'a [u8], &'a Facts)>,
}

/// So many changes are made together at most.
pub(crate) const CHANGES_AT_ONCE: usize = 64;

/// How many changes of these sizes are made together: not of more bytes than these, unless it is one alone.
pub(crate) fn changes_within(bytes: u64, sizes: impl Iterator<Item = u64>) -> usize {
    let mut sum = 0u64;
    let fit = sizes.take(CHANGES_AT_ONCE).take_while(|size| {
        sum = sum.saturating_add(*size);
        sum <= bytes
    });
    fit.count().max(1)
}

/// What must be there for a [`Change`] to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected<'a> {
    /// Whatever there is, or nothing.
    Anything,
    /// No row.
    Absent,
    /// A row of these bytes.
    Bytes(&'a [u8]),
}

impl Expected<'_> {
    /// Whether this is what is there.
    #[must_use]
    pub fn is_met_by(&self, there: Option<&[u8]>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => there.is_none(),
            Self::Bytes(bytes) => there == Some(bytes),
        }
    }
}

/// What a [`Change`] did.
#[derive(Clone, Debug, Eq)]
pub struct Applied {
    /// Whether it was made.
    pub made: bool,
    /// The row that it took out, if it took one out.
    pub previous: Option<Vec<u8>>,
    /// Whether others may still remember a row that is gone, be it by this change or by another one just before.
    pub(crate) unsettled: bool,
}

impl PartialEq for Applied {
    fn eq(&self, other: &Self) -> bool {
        // Whether others have heard of it says nothing of what it did.
        (self.made, &self.previous) == (other.made, &other.previous)
    }
}

impl Applied {
    /// It was not made: another row was there than was expected.
    pub const NOT_MADE: Self = Self { made: false, previous: None, unsettled: false };

    /// It was made, and took this row out.
    #[must_use]
    pub fn made(previous: Option<Vec<u8>>) -> Self {
        Self { made: true, previous, unsettled: false }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.previous.is_none() && !self.unsettled
    }
}

/// How long values in memory are used after a question for [changes](MetadataBackend::changes): so long waits who changes a
/// row that others may remember.
pub(crate) const LEASE: Duration = Duration::from_millis(1);

/// What others have [changed](MetadataBackend::changes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// What to ask with the next time.
    pub mark: u64,
    /// The keys of the rows that they changed; `None` if that is not known, or there are too many to tell.
    pub keys: Option<Vec<Vec<u8>>>,
}

impl Changes {
    /// Any row may have changed.
    pub const UNKNOWN: Self = Self { mark: 0, keys: None };
}

/// Which rows, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scan<'a> {
    /// All, in the order of their keys, behind this key.
    Keys {
        /// The last key of the page before.
        after: Option<&'a [u8]>,
    },
    /// Those whose key begins with these bytes, in the order of their keys.
    Prefix(&'a [u8]),
    /// Those that are expired by now, the earliest first. One that expires now is expired.
    Expired {
        /// The time.
        now: Timestamp,
    },
    /// All, the least recently used first. A row was used when it was created, or later if [`used`](MetadataBackend::used)
    /// said so. One that is used while the scan runs may stand where it stood before.
    LeastUsed,
    /// All, the newest first; of two that were created at one time, the one with the greater key.
    Newest {
        /// Creation and key of the last row of the page before.
        before: Option<(Timestamp, &'a [u8])>,
    },
    /// Those of a group, in the order of their keys, behind this key.
    Group {
        /// The number of the group.
        group: u64,
        /// The last key of the page before.
        after: Option<&'a [u8]>,
    },
}

/// How many rows there are, and what they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Rows.
    pub entries: u64,
    /// What they and their blobs take: the sum of their [footprints](MetadataBackend::footprint).
    pub bytes: u64,
    /// When the oldest and the newest were created; `None` if there are none.
    pub created: Option<(Timestamp, Timestamp)>,
    /// Rows that damage has cost since the backend was opened.
    pub lost: u64,
}

/// A change of a [`state`](MetadataBackend::state), made if the value is the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swap<'a> {
    /// What must be there: these bytes, or nothing.
    pub expected: Option<&'a [u8]>,
    /// What is there afterwards: these bytes, or nothing.
    pub new: Option<&'a [u8]>,
}
