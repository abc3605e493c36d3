//! Rows, facts and scans as the scripts and their answers have them.

use std::sync::Arc;

use redis::Value;

use crate::clock::Timestamp;
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::backend::{Facts, Row, Scan};
use crate::index::handle::behind;

/// What a row takes beside its bytes: its key, which stands in six places, and these places.
const ROW_OVERHEAD: u64 = 1024;
/// What one entry may count with, so that sums of them are exact in a script.
const LARGEST: u64 = 1 << 48;

pub(super) fn footprint_of(row: u64, blob: u64) -> u64 {
    row.saturating_add(ROW_OVERHEAD).saturating_add(blob).min(LARGEST)
}

/// A time as 8 bytes that sort as it does.
pub(super) fn sortable(at: Timestamp) -> [u8; 8] {
    (at.as_micros() ^ i64::MIN).to_be_bytes()
}

fn from_sortable(bytes: &[u8]) -> Option<Timestamp> {
    let bytes: [u8; 8] = bytes.try_into().ok()?;
    Some(Timestamp::from_micros(i64::from_be_bytes(bytes) ^ i64::MIN))
}

/// The facts of a row that was not used yet, as the scripts read them.
pub(super) fn facts_of(row: &[u8], facts: &Facts) -> Vec<u8> {
    let footprint = footprint_of(row.len() as u64, facts.blob_bytes);
    let mut packed = format!("{footprint:016}{}", u8::from(facts.expires_at.is_some())).into_bytes();
    packed.extend(sortable(facts.created_at));
    packed.extend(sortable(facts.expires_at.unwrap_or(Timestamp::MIN)));
    packed.extend([0; 8]);
    // Each place is counted once.
    let mut groups = facts.groups.clone();
    groups.sort_unstable();
    groups.dedup();
    groups.iter().for_each(|group| packed.extend(group.to_be_bytes()));
    packed
}

/// The last use that packed facts tell of.
pub(super) fn used_in(facts: &[u8]) -> Option<Timestamp> {
    facts.get(33..41).filter(|used| *used != [0; 8]).and_then(from_sortable)
}

/// The creation that a member of the order by creation tells.
pub(super) fn created_in(member: &[u8]) -> Option<Timestamp> {
    from_sortable(member.get(1..9)?)
}

/// Where a scan goes along: between which members of the sorted set, which way, and how many bytes stand before a key.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) from: Vec<u8>,
    pub(super) to: Vec<u8>,
    pub(super) down: bool,
    pub(super) prefix: usize,
}

impl Walk {
    pub(super) fn of(scan: &Scan<'_>) -> Self {
        let order = |from: Vec<u8>, to: &[u8], prefix| Self { from, to: to.to_vec(), down: false, prefix };
        // A member is behind `(` or at `[`.
        let from = |start: &[&[u8]], after: Option<&[u8]>| match after {
            Some(after) => [b"(", &start.concat()[..], after].concat(),
            None => [b"[", &start.concat()[..]].concat(),
        };
        let all_behind = |start: &[u8]| [b"(", &behind(start).unwrap_or_default()[..]].concat();
        match *scan {
            Scan::Keys { after } => order(from(&[b"k"], after), b"(l", 1),
            Scan::Prefix(prefix) => {
                let start = [b"k", prefix].concat();
                order(from(&[&start], None), &all_behind(&start), 1)
            }
            Scan::Expired { now } => {
                let end = [b"e", &sortable(now)[..]].concat();
                order(from(&[b"e"], None), &all_behind(&end), 9)
            }
            Scan::LeastUsed => order(from(&[b"u"], None), b"(v", 9),
            Scan::Newest { before } => {
                let from = match before {
                    Some((at, key)) => [b"(c", &sortable(at)[..], key].concat(),
                    None => b"(d".to_vec(),
                };
                Self { from, to: b"[c".to_vec(), down: true, prefix: 9 }
            }
            Scan::Group { group, after } => {
                let start = [b"g", &group.to_be_bytes()[..]].concat();
                order(from(&[&start], after), &all_behind(&start), 9)
            }
        }
    }
}

/// The parts of an answer, taken one after the other.
pub(super) struct Answer {
    parts: std::vec::IntoIter<Value>,
    /// Whether it is that of a command that was sent twice.
    pub(super) is_second: bool,
}

impl Answer {
    pub(super) fn of(value: Value) -> Result<Self> {
        match value {
            Value::Array(parts) => Ok(Self { parts: parts.into_iter(), is_second: false }),
            other => Err(odd(&other)),
        }
    }

    fn next(&mut self) -> Value {
        self.parts.next().unwrap_or(Value::Nil)
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        match self.next() {
            Value::Int(number) => u64::try_from(number).map_err(|_| odd(&Value::Int(number))),
            Value::BulkString(text) => {
                let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
                number.ok_or_else(|| odd(&Value::BulkString(text)))
            }
            other => Err(odd(&other)),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Option<Vec<u8>>> {
        bytes_of(self.next())
    }

    pub(super) fn list(&mut self) -> Result<Self> {
        Self::of(self.next())
    }

    pub(super) fn keys(self) -> Result<Vec<Vec<u8>>> {
        self.parts.map(|value| bytes_of(value).map(Option::unwrap_or_default)).collect()
    }

    /// Rows of three parts each: key, bytes, last use.
    pub(super) fn rows(mut self) -> Result<Vec<Row>> {
        let mut rows = Vec::with_capacity(self.parts.len() / 3);
        while let Some(key) = self.parts.next() {
            let key: Arc<[u8]> = bytes_of(key)?.unwrap_or_default().into();
            let bytes = self.bytes()?.unwrap_or_default();
            let used_at = self.bytes()?.and_then(|used| from_sortable(&used));
            rows.push(Row { used_at, ..Row::new(key, bytes) });
        }
        Ok(rows)
    }
}

/// The bytes of a part, or that there are none.
pub(super) fn bytes_of(value: Value) -> Result<Option<Vec<u8>>> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        other => Err(odd(&other)),
    }
}

/// Of an answer that no script gives. What is in it is not told: it may be a value.
fn odd(value: &Value) -> CacheError {
    let what = match value {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) => "a text",
        Value::Array(_) => "a list",
        _ => "something else",
    };
    let message = format!("the Redis server answered with {what} where another thing was expected");
    CacheError::new(ErrorKind::Metadata, message)
}
