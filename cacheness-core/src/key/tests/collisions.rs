//! Inputs that were made to have one XXH3 value.
//!
//! XXH3 multiplies the low half of a lane with its high half after mixing both with a published secret. A low half equal
//! to the secret makes the product zero; the high half then enters by a sum only, which two stripes keep constant.

use std::collections::{HashMap, HashSet};

use super::{Key, key};
use crate::util::digest::checksum;

const MEMBERS: u32 = 1000;

/// The encoding of a list of bytes begins with two tags and a length of two bytes.
const HEAD: usize = 4;

/// Bytes of a family, all of which have one XXH3 value after any [`HEAD`] bytes: these lie in the first lane, and the
/// collision is in the second one.
fn member(d: u32) -> Vec<u8> {
    let mut bytes = vec![b'x'; 512];
    bytes[8..12].copy_from_slice(&[0x7c, 0x01, 0x81, 0x2c]);
    bytes[12..16].copy_from_slice(&d.to_le_bytes());
    bytes[72..76].copy_from_slice(&[0xde, 0xd4, 0x6d, 0xe9]);
    bytes[76..80].copy_from_slice(&(0x4000_0000 - d).to_le_bytes());
    bytes.split_off(HEAD)
}

/// The same with the collision in the first lane, for bytes without a head.
fn raw_member(d: u32) -> Vec<u8> {
    let mut bytes = vec![b'x'; 512];
    bytes[..4].copy_from_slice(&[0xb8, 0xfe, 0x6c, 0x39]);
    bytes[4..8].copy_from_slice(&d.to_le_bytes());
    bytes[64..68].copy_from_slice(&[0x7c, 0x01, 0x81, 0x2c]);
    bytes[68..72].copy_from_slice(&(0x4000_0000 - d).to_le_bytes());
    bytes
}

fn count<T: Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> u32 {
    items.collect::<HashSet<_>>().len() as u32
}

#[test]
fn the_raw_family_collides_and_its_members_have_distinct_keys() {
    assert_eq!(count((0..MEMBERS).map(|d| checksum(&raw_member(d)))), 1, "this tests nothing without a collision");
    assert_eq!(count((0..MEMBERS).map(|d| key(raw_member(d)).identity().to_vec())), MEMBERS);
}

#[test]
fn a_thousand_arguments_with_one_hash_are_a_thousand_keys() {
    let keys: Vec<Key> = (0..MEMBERS).map(|d| key(member(d))).collect();
    assert_eq!(count(keys.iter().map(Key::hash)), 1, "this tests nothing without a collision");
    assert_eq!(count(keys.iter().map(|key| key.identity().to_vec())), MEMBERS);
    assert_eq!(count(keys.iter()), MEMBERS, "equality looks at the identity");
}

#[test]
fn keys_with_one_hash_are_kept_apart_by_a_map() {
    let colliding = |d| key(d).with_hash(7);
    let map: HashMap<Key, u32> = (0..MEMBERS).map(|d| (colliding(d), d)).collect();
    assert!((0..MEMBERS).all(|d| map[&colliding(d)] == d));
}
