//! The named values that belong to the whole index, in the file `index.state`: so damage of the database takes none of them.
//!
//! | bytes | content |
//! |---|---|
//! | … | for each value 4 bytes length of its name, the name, 4 bytes length, the value |
//! | 8 | checksum of all before |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::disk::storage;
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::backend::Swap;
use crate::index::files::{read_file, replace_file};
use crate::util::digest;
use crate::util::threads::lock;

type Values = BTreeMap<String, Vec<u8>>;

/// The values are few and small.
const MOST_BYTES: u64 = 16 << 20;

/// The values, as soon as one was asked for.
#[derive(Debug, Default)]
pub(super) struct States(Mutex<Option<Values>>);

fn place(root: &Path) -> PathBuf {
    root.join("index.state")
}

impl States {
    pub(super) fn get(&self, root: &Path, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> {
        let mut known = lock(&self.0);
        let values = match &mut *known {
            Some(values) => values,
            none => none.insert(read(root)?),
        };
        let there = values.get(name);
        if let Some(Swap { expected, new }) = swap
            && there.map(Vec::as_slice) == expected
        {
            let mut changed = values.clone();
            match new {
                Some(new) => drop(changed.insert(name.to_owned(), new.to_vec())),
                None => drop(changed.remove(name)),
            }
            replace_file(&place(root), &encode(&changed))
                .map_err(|error| storage(root, "cannot write the state of the index", error))?;
            *values = changed;
        }
        Ok(values.get(name).cloned())
    }
}

fn read(root: &Path) -> Result<Values> {
    let bytes = read_file(&place(root), MOST_BYTES);
    let bytes = bytes.map_err(|error| storage(root, "cannot read the state of the index", error))?;
    let Some(bytes) = bytes else { return Ok(Values::new()) };
    decode(&bytes).ok_or_else(|| {
        let message = format!("{} is damaged: remove it", place(root).display());
        CacheError::new(ErrorKind::Integrity, message)
    })
}

fn encode(values: &Values) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in values {
        for part in [name.as_bytes(), value] {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    let sum = digest::checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Values> {
    let (mut rest, sum) = bytes.split_last_chunk()?;
    if digest::checksum(rest) != u64::from_le_bytes(*sum) {
        return None;
    }
    let mut part = || {
        let (len, behind) = rest.split_first_chunk()?;
        let (part, behind) = behind.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        rest = behind;
        Some(part)
    };
    let mut values = Values::new();
    while let Some(name) = part() {
        values.insert(String::from_utf8(name.to_vec()).ok()?, part()?.to_vec());
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn values_read_back_and_a_flipped_bit_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let states = States::default();
        for (name, value) in [("one", &b"1"[..]), ("none", b""), ("two", b"22")] {
            let swap = Swap { expected: None, new: Some(value) };
            assert_eq!(states.get(root.path(), name, Some(swap)).unwrap().as_deref(), Some(value));
        }
        assert_eq!(States::default().get(root.path(), "two", None).unwrap().as_deref(), Some(&b"22"[..]));
        let whole = fs::read(place(root.path())).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(place(root.path()), flipped).unwrap();
            assert!(States::default().get(root.path(), "two", None).unwrap_err().is_integrity(), "bit {bit}");
        }
    }
}
