//! The names of variants where a tag tells them apart: `#[serde(tag = "type")]`.
//!
//! Serde shows such a tag as a text, and not which variant it stands for. If two builds swap the names of two variants,
//! text and contents stay as they were, and the other variant is read. But the type tells its names, in the order in which
//! they are declared, to whoever shows it one that it does not know: in the error. So for each tag, once in a process, a
//! value is read with that tag spoilt, and what the error says is part of the fingerprint.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::Storable;
use super::guard::{SPOILT, Spoiler};
use super::payload::{PayloadFormat, Written, read_spoilt, write};
use super::shape::{Tag, mix};
use crate::util::digest::checksum;

/// More tags are asked for each time: no program has so many variants.
const MOST_KNOWN: usize = 10_000;

/// Names of the variants beside a tag, as a checksum of what the type says. Zero for a field that takes any text: it is no
/// tag, and is known for all of its texts at once.
static KNOWN: RwLock<BTreeMap<(TypeId, Tag), u64>> = RwLock::new(BTreeMap::new());

/// What the tags of a value stand for.
pub(super) fn names<T: Storable>(value: &T, mut tags: Vec<Tag>, format: PayloadFormat) -> u64 {
    tags.sort_unstable();
    tags.dedup();
    let named = |tag: Tag| mix(tag.mark(), known::<T>(tag).unwrap_or_else(|| ask(value, tag, format)));
    tags.into_iter().fold(0, |sum, tag| sum.wrapping_add(named(tag)))
}

fn known<T: 'static>(tag: Tag) -> Option<u64> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let find = |tag| known.get(&(TypeId::of::<T>(), tag)).copied();
    find(tag).or_else(|| find(tag.of_any_text()))
}

fn ask<T: Storable>(value: &T, tag: Tag, format: PayloadFormat) -> u64 {
    let Ok(Written::Bytes(bytes)) = write(value, format, 0, u64::MAX) else { return 0 };
    let spoiler = Spoiler::of(tag);
    let said = read_spoilt::<T>(&bytes, format, &spoiler).err().map(|error| error.to_string());
    let names = said.filter(|said| said.contains(SPOILT)).map_or(0, |said| checksum(said.as_bytes()));
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    if known.len() < MOST_KNOWN {
        known.insert((TypeId::of::<T>(), if names == 0 { tag.of_any_text() } else { tag }), names);
    }
    names
}
