//! Entries for tests, all alike but for what a test asks for.
#![allow(clippy::unwrap_used, reason = "a failing check is to panic")]

use std::time::Duration;

use super::{Core, Details, Entry, IndexKey};
use crate::clock::Timestamp;
use crate::config::StoredCodec;
use crate::key::ToKey;

/// Of a value of no bytes.
pub(crate) fn core(created_at: Timestamp, ttl: Option<Duration>) -> Core {
    Core {
        created_at,
        expires_at: ttl.map(|ttl| created_at.after(ttl)),
        ttl,
        type_fingerprint: 1,
        shape: 2,
        payload_format: 1,
        codec: StoredCodec::None,
        raw_size: 0,
        stored_size: 0,
        checksum: 0,
    }
}

pub(crate) fn entry(key: &str) -> Entry {
    let key = IndexKey::of(&key.to_key().unwrap());
    Entry {
        key,
        core: core(Timestamp::from_micros(1), None),
        details: Details::default(),
        accessed_at: None,
        signature: None,
    }
}
