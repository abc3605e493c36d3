//! What can be done to a cache, and the values it is done with.

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

pub(crate) type Key = u16;

/// A value by its number: which bytes it has, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) seed: u16,
    kind: Kind,
}

/// In the index, in a small file, and in one of which few fit into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tiny,
    Middle,
    Large,
}

impl Value {
    pub(crate) fn len(self) -> usize {
        let spread = usize::from(self.seed % 97);
        match self.kind {
            Kind::Tiny => spread,
            Kind::Middle => 5_000 + spread * 50,
            Kind::Large => 60_000 + spread * 1_000,
        }
    }
}

/// Bytes that do not compress, so that sizes are what they seem.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..300_000).map(|_| next()).collect()
});

/// The bytes of a value, which no other value has.
pub(crate) fn content(value: Value) -> Vec<u8> {
    let start = usize::from(value.seed);
    let mut bytes = value.seed.to_le_bytes().to_vec();
    bytes.extend_from_slice(&NOISE[start..start + value.len()]);
    bytes
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Put { key: Key, value: Value, ttl: Option<u64>, tag: u8 },
    Update { key: Key, value: Value },
    Copy { from: Key, to: Key },
    Rename { from: Key, to: Key },
    Get(Key),
    GetMany(Vec<Key>),
    Look(Key),
    Remove(Key),
    RemoveTagged(u8),
    RemoveMatching(u8),
    Touch { key: Key, ttl: Option<u64> },
    TouchTagged(u8),
    Wait(u64),
    CleanUp,
    Clear,
    List,
    Reopen,
}

/// Lists of up to so many steps, on few keys, so that steps meet.
pub(crate) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..=most)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        300 => (key(), value(), of(ttl()), tag()).prop_map(|(key, value, ttl, tag)| Step::Put { key, value, ttl, tag }),
        60 => (key(), value()).prop_map(|(key, value)| Step::Update { key, value }),
        20 => (key(), key()).prop_map(|(from, to)| Step::Copy { from, to }),
        20 => (key(), key()).prop_map(|(from, to)| Step::Rename { from, to }),
        250 => key().prop_map(Step::Get),
        20 => vec(key(), 0..8).prop_map(Step::GetMany),
        100 => key().prop_map(Step::Look),
        60 => key().prop_map(Step::Remove),
        5 => tag().prop_map(Step::RemoveTagged),
        3 => tag().prop_map(Step::RemoveMatching),
        60 => (key(), of(ttl())).prop_map(|(key, ttl)| Step::Touch { key, ttl }),
        5 => tag().prop_map(Step::TouchTagged),
        60 => (1u64..20).prop_map(Step::Wait),
        15 => Just(Step::CleanUp),
        2 => Just(Step::Clear),
        15 => Just(Step::List),
        8 => Just(Step::Reopen),
    ]
}

fn key() -> impl Strategy<Value = Key> {
    0u16..40
}

fn value() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![6 => Just(Kind::Tiny), 2 => Just(Kind::Middle), 2 => Just(Kind::Large)];
    (any::<u16>(), kind).prop_map(|(seed, kind)| Value { seed, kind })
}

fn ttl() -> impl Strategy<Value = u64> {
    1u64..60
}

fn tag() -> impl Strategy<Value = u8> {
    0u8..6
}
