//! Requests of a guest and answers of the owner, as frames on a socket: a length of four bytes, then the bytes of bincode.
//!
//! Both ends run as the same user, on one machine, and check that of each other. Lengths are bounded all the same, so that
//! a foreign program behind the socket costs an error and no memory.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::de::{self, DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::error::{CacheError, ErrorKind};
use crate::index::backend::{
    Applied, Change, Changes, Expected, Facts, LEASE, MetadataBackend, Row, Scan, Swap, Totals,
};
use crate::util::digest::random;
use crate::util::threads::lock;

/// Of this module: both ends must have the same one.
pub(super) const PROTOCOL: u32 = 1;

/// The longest frame. A page of records is shorter by far.
const MOST_BYTES: usize = 1 << 30;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<MOST_BYTES>> =
    bincode::config::standard().with_fixed_int_encoding().with_limit::<MOST_BYTES>();

/// Writes a message as one frame, by one call.
///
/// # Errors
/// Those of the socket.
pub(super) fn send(stream: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut frame = vec![0; 4];
    bincode::serde::encode_into_std_write(message, &mut frame, CONFIG).map_err(io::Error::other)?;
    let len = u32::try_from(frame.len() - 4).map_err(|_| io::ErrorKind::FileTooLarge)?;
    frame[..4].copy_from_slice(&len.to_le_bytes());
    stream.write_all(&frame)
}

/// Reads a message.
///
/// # Errors
/// `UnexpectedEof` if the other end is gone; `InvalidData` if it sends something else; those of the socket.
pub(super) fn receive<M: DeserializeOwned>(stream: &mut impl Read) -> io::Result<M> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > MOST_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Memory is taken as the bytes come.
    let mut frame = Vec::new();
    if stream.take(len as u64).read_to_end(&mut frame)? < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match bincode::serde::decode_from_slice(&frame, CONFIG) {
        Ok((message, read)) if read == len => Ok(message),
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

/// Bytes that serde takes as such, and not as a list of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bytes(pub Vec<u8>);

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfBytes;

        impl Visitor<'_> for OfBytes {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(bytes.into())
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }

        deserializer.deserialize_byte_buf(OfBytes)
    }
}

/// The first message on a connection.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub protocol: u32,
    /// Tells the guest from others; the same on all of its connections.
    pub guest: u64,
    /// Open as long as the guest is there, and used for nothing else.
    pub stays: bool,
}

/// The answer to it: an error in words where the guest is not taken.
pub(super) type Welcome = Result<(), String>;

/// A question of [`MetadataBackend`](crate::index::backend::MetadataBackend).
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Get(Vec<Bytes>),
    /// And until when it is waited for, by the clock that all processes have in common.
    Apply(Vec<OwnedChange>, i64),
    Page(OwnedScan, u64),
    Keys(Option<Bytes>, u64),
    Used(Vec<(Bytes, Timestamp)>),
    LastUsed(Bytes),
    Totals,
    State(String, Option<(Option<Bytes>, Option<Bytes>)>),
    Changes(u64),
    DoubtBlobs,
    Flush,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Rows(Vec<Option<Bytes>>),
    /// Of each change whether it was made, what it took out, and whether it is unsettled.
    Applied(Vec<(bool, Option<Bytes>, bool)>),
    Page(Vec<(Bytes, Bytes, Option<Timestamp>)>),
    Keys(Vec<Bytes>),
    LastUsed(Option<Timestamp>),
    Totals(u64, u64, Option<(Timestamp, Timestamp)>, u64),
    State(Option<Bytes>),
    Changes(u64, Option<Vec<Bytes>>),
    Done,
}

/// What the owner says.
pub(super) type Answer = Result<Reply, Refusal>;

/// An error of the owner's backend.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    kind: u8,
    message: String,
}

/// The kinds that a backend has, and that mean the same to a guest.
const KINDS: [ErrorKind; 5] =
    [ErrorKind::Metadata, ErrorKind::Storage, ErrorKind::Integrity, ErrorKind::Limit, ErrorKind::Closed];

impl Refusal {
    pub(super) fn of(error: &CacheError) -> Self {
        let kind = KINDS.iter().position(|kind| *kind == error.kind()).unwrap_or(0);
        Self { kind: kind as u8, message: error.to_string() }
    }

    pub(super) fn into_error(self) -> CacheError {
        let kind = KINDS.get(usize::from(self.kind)).copied().unwrap_or(ErrorKind::Metadata);
        CacheError::new(kind, self.message)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OwnedChange {
    key: Bytes,
    expected: OwnedExpected,
    row: Option<(Bytes, Facts)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum OwnedExpected {
    Anything,
    Absent,
    Bytes(Bytes),
}

impl OwnedChange {
    pub(super) fn of(change: &Change<'_>) -> Self {
        Self {
            key: change.key.into(),
            expected: match change.expected {
                Expected::Anything => OwnedExpected::Anything,
                Expected::Absent => OwnedExpected::Absent,
                Expected::Bytes(bytes) => OwnedExpected::Bytes(bytes.into()),
            },
            row: change.row.map(|(row, facts)| (row.into(), facts.clone())),
        }
    }

    pub(super) fn borrowed(&self) -> Change<'_> {
        Change {
            key: &self.key.0,
            expected: match &self.expected {
                OwnedExpected::Anything => Expected::Anything,
                OwnedExpected::Absent => Expected::Absent,
                OwnedExpected::Bytes(bytes) => Expected::Bytes(&bytes.0),
            },
            row: self.row.as_ref().map(|(row, facts)| (&row.0[..], facts)),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum OwnedScan {
    Keys(Option<Bytes>),
    Prefix(Bytes),
    Expired(Timestamp),
    LeastUsed,
    Newest(Option<(Timestamp, Bytes)>),
    Group(u64, Option<Bytes>),
}

impl OwnedScan {
    pub(super) fn of(scan: &Scan<'_>) -> Self {
        match *scan {
            Scan::Keys { after } => Self::Keys(after.map(Bytes::from)),
            Scan::Prefix(prefix) => Self::Prefix(prefix.into()),
            Scan::Expired { now } => Self::Expired(now),
            Scan::LeastUsed => Self::LeastUsed,
            Scan::Newest { before } => Self::Newest(before.map(|(at, key)| (at, key.into()))),
            Scan::Group { group, after } => Self::Group(group, after.map(Bytes::from)),
        }
    }

    pub(super) fn borrowed(&self) -> Scan<'_> {
        match self {
            Self::Keys(after) => Scan::Keys { after: borrowed(after) },
            Self::Prefix(prefix) => Scan::Prefix(&prefix.0),
            Self::Expired(now) => Scan::Expired { now: *now },
            Self::LeastUsed => Scan::LeastUsed,
            Self::Newest(before) => Scan::Newest { before: before.as_ref().map(|(at, key)| (*at, &key.0[..])) },
            Self::Group(group, after) => Scan::Group { group: *group, after: borrowed(after) },
        }
    }
}

pub(super) fn borrowed(bytes: &Option<Bytes>) -> Option<&[u8]> {
    bytes.as_ref().map(|bytes| &bytes.0[..])
}

/// A state, and with what it is swapped.
pub(super) fn state(name: &str, swap: Option<Swap<'_>>) -> Request {
    let swap = swap.map(|swap| (swap.expected.map(Bytes::from), swap.new.map(Bytes::from)));
    Request::State(name.to_owned(), swap)
}

impl Reply {
    pub(super) fn of_rows(rows: Vec<Option<Vec<u8>>>) -> Self {
        Self::Rows(rows.into_iter().map(|row| row.map(Bytes)).collect())
    }

    pub(super) fn of_applied(applied: Vec<Applied>) -> Self {
        Self::Applied(applied.into_iter().map(|one| (one.made, one.previous.map(Bytes), one.unsettled)).collect())
    }

    pub(super) fn of_page(rows: Vec<Row>) -> Self {
        Self::Page(rows.into_iter().map(|row| ((&*row.key).into(), Bytes(row.bytes), row.used_at)).collect())
    }

    pub(super) fn of_totals(totals: Totals) -> Self {
        Self::Totals(totals.entries, totals.bytes, totals.created, totals.lost)
    }

    pub(super) fn of_changes(changes: Changes) -> Self {
        Self::Changes(changes.mark, changes.keys.map(|keys| keys.into_iter().map(Bytes).collect()))
    }

    pub(super) fn into_rows(self) -> Option<Vec<Option<Vec<u8>>>> {
        match self {
            Self::Rows(rows) => Some(rows.into_iter().map(|row| row.map(|row| row.0)).collect()),
            _ => None,
        }
    }

    pub(super) fn into_applied(self) -> Option<Vec<Applied>> {
        let Self::Applied(applied) = self else { return None };
        let one = |(made, previous, unsettled): (bool, Option<Bytes>, bool)| {
            let previous = previous.map(|row| row.0);
            Applied { made, previous, unsettled }
        };
        Some(applied.into_iter().map(one).collect())
    }

    pub(super) fn into_page(self) -> Option<Vec<Row>> {
        let Self::Page(rows) = self else { return None };
        let row = |(key, bytes, used_at): (Bytes, Bytes, _)| Row { key: key.0.into(), bytes: bytes.0, used_at };
        Some(rows.into_iter().map(row).collect())
    }

    pub(super) fn into_totals(self) -> Option<Totals> {
        let Self::Totals(entries, bytes, created, lost) = self else { return None };
        Some(Totals { entries, bytes, created, lost })
    }

    pub(super) fn into_changes(self) -> Option<Changes> {
        let Self::Changes(mark, keys) = self else { return None };
        Some(Changes { mark, keys: keys.map(|keys| keys.into_iter().map(|key| key.0).collect()) })
    }
}

// Who is there, and what they have to hear of.

/// What a guest gets done by the owner.
pub(crate) trait Owner: Send + Sync {
    /// Answers what changes nothing.
    fn rows(&self) -> &dyn MetadataBackend;

    /// Makes a change for a guest, so that whoever remembers the row here hears of it.
    /// It is refused where it is not `in_time` any more when it has its turn.
    fn apply(&self, guest: u64, change: &Change<'_>, in_time: &dyn Fn() -> bool) -> crate::error::Result<Applied>;

    /// Whether no guest is taken.
    fn keeps_to_itself(&self) -> bool {
        false
    }

    /// A guest has come: what is acknowledged to it must outlive this process, however that ends.
    fn guest_came(&self);

    /// A guest is there from now on. It is told so when this returns.
    fn guest_entered(&self) {}

    /// A guest has changed something, which is to be flushed.
    fn changed(&self);
}

/// How many changes are told one by one. Who has missed more forgets all that it remembers.
const MOST_CHANGES: usize = 4096;
/// Bits of a mark that count changes; those above tell one owner from another.
const COUNT_BITS: u32 = 40;

/// Who is there beside the owner, and the changes that they may have to hear of.
#[derive(Debug)]
pub(crate) struct Guests {
    count: AtomicUsize,
    here: Mutex<HashSet<u64>>,
    log: Mutex<ChangeLog>,
}

#[derive(Debug)]
struct ChangeLog {
    mark: u64,
    /// Of the rows.
    epoch: u64,
    /// The last one has the number `mark`.
    recent: VecDeque<Noted>,
}

#[derive(Debug)]
struct Noted {
    by: u64,
    key: Arc<[u8]>,
    at: Instant,
}

/// What stands for the owner among those who make changes.
pub(crate) const OWNER: u64 = 0;

impl Default for Guests {
    fn default() -> Self {
        // Marks of another owner are in another range, but for one of 16 million.
        let mark = random() << COUNT_BITS;
        Self {
            count: AtomicUsize::new(0),
            here: Mutex::default(),
            log: Mutex::new(ChangeLog { mark, epoch: 0, recent: VecDeque::new() }),
        }
    }
}

impl Guests {
    /// Whether nobody else is there.
    pub(crate) fn are_none(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Notes what a change did. Says whether it is settled: nobody can remember what was there before, nor what was there
    /// before another change of the key that is not acknowledged yet.
    pub(crate) fn note(&self, by: u64, key: &[u8], applied: &Applied) -> bool {
        let mut log = lock(&self.log);
        let now = Instant::now();
        let mut lately = log.recent.iter().rev().take_while(|noted| now.duration_since(noted.at) < LEASE * 2);
        let settled = applied.is_settled() && !lately.any(|noted| *noted.key == *key);
        if applied.made && !self.are_none() {
            log.mark += 1;
            log.recent.push_back(Noted { by, key: key.into(), at: now });
            if log.recent.len() > MOST_CHANGES {
                log.recent.pop_front();
            }
        }
        settled
    }

    /// A guest is there, until the result goes.
    pub(super) fn enter(&self, id: u64) -> Guest<'_> {
        lock(&self.here).insert(id);
        self.count.fetch_add(1, Ordering::SeqCst);
        Guest { all: self, id }
    }

    pub(super) fn knows(&self, id: u64) -> bool {
        lock(&self.here).contains(&id)
    }

    /// What others than this guest have changed since; everything, if the rows have had another epoch meanwhile.
    pub(super) fn since(&self, mark: u64, guest: u64, epoch: u64) -> Changes {
        let mut log = lock(&self.log);
        if log.epoch != epoch {
            log.epoch = epoch;
            log.recent.clear();
            log.mark += MOST_CHANGES as u64 + 1;
        }
        let missed = log.mark.checked_sub(mark).and_then(|missed| usize::try_from(missed).ok());
        let keys = missed.filter(|missed| *missed <= log.recent.len()).map(|missed| {
            let new = log.recent.iter().skip(log.recent.len() - missed);
            new.filter(|noted| noted.by != guest).map(|noted| noted.key.to_vec()).collect()
        });
        Changes { mark: log.mark, keys }
    }
}
/// A guest that is there, as long as its connection that stays is.
pub(super) struct Guest<'g> {
    all: &'g Guests,
    id: u64,
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        lock(&self.all.here).remove(&self.id);
        self.all.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The owner is gone, whatever it did before.
    Gone,
    /// It did not answer in time, and may yet do what it was asked to.
    Late,
    /// It sent what makes no sense.
    Odd(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Late,
            io::ErrorKind::InvalidData => Self::Odd(error),
            _ => Self::Gone,
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NotConnected {
    /// Nobody listens, or not yet.
    Nobody(io::Error),
    /// Who listens is not to be asked, or does not want to be.
    Refused(String),
}

#[cfg(test)]
mod tests;
