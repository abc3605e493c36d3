//! Rows as the engine makes them, all alike but for what a check asks for.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::entry::{Details, Entry, IndexKey, sample};
use crate::index::backend::Facts;
use crate::index::record::{Payload, Record};
use crate::key::ToKey;
use crate::security::Signing;
use crate::storage::BlobName;

/// A row as the engine makes it.
#[derive(Clone)]
pub(super) struct Sample {
    pub(super) entry: Entry,
    inline: Vec<u8>,
    blob: Option<BlobName>,
    pub(super) key: Arc<[u8]>,
    pub(super) bytes: Vec<u8>,
    pub(super) facts: Facts,
}

impl Sample {
    pub(super) fn new(key: &str) -> Self {
        let entry = Entry { key: IndexKey::of(&key.to_key().unwrap()), ..sample::entry(key) };
        let key = entry.key.clone().into_shared();
        Self { entry, inline: b"value".to_vec(), blob: None, key, bytes: Vec::new(), facts: Facts::default() }.made()
    }

    fn made(mut self) -> Self {
        let payload = self.blob.clone().map_or(Payload::Inline(&self.inline), Payload::Blob);
        let record = Record::new(&self.entry, &payload, 1 << 22, &Signing::OFF).unwrap();
        self.facts = record.facts().unwrap();
        self.bytes = record.into_bytes();
        self
    }

    pub(super) fn created(mut self, at: u64) -> Self {
        self.entry.core.created_at = time(at);
        self.made()
    }

    pub(super) fn expires(mut self, at: u64) -> Self {
        self.entry.core.expires_at = Some(time(at));
        self.made()
    }

    pub(super) fn of(mut self, function: &str) -> Self {
        self.entry.details = Details { function: Some(function.to_owned()), ..Details::default() };
        self.made()
    }

    pub(super) fn value(mut self, bytes: &[u8]) -> Self {
        self.inline = bytes.to_vec();
        let len = bytes.len() as u64;
        (self.entry.core.stored_size, self.entry.core.raw_size) = (len, len);
        self.made()
    }

    pub(super) fn blob(mut self, len: u64) -> Self {
        self.blob = Some(BlobName::unique());
        (self.entry.core.stored_size, self.entry.core.raw_size) = (len, len);
        self.made()
    }

    pub(super) fn group(&self) -> u64 {
        self.facts.groups[0]
    }
}

pub(super) fn time(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros.cast_signed())
}

pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}
