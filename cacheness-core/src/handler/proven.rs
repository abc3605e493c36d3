//! Which types have been seen to read back what they wrote, and in which format. One register of the process.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::formats::Formats;
use super::payload::PayloadFormat;
use super::shape::Trace;
use crate::error::CacheError;

/// Values of a type that may fail before the type is given up: a type that refuses what it wrote may have written an odd
/// value, say, one that its `Deserialize` finds out of range.
const PATIENCE: u8 = 3;

/// What is known of a type.
#[derive(Default)]
struct Record {
    /// Marks of the values that came back from bincode.
    bincode: u64,
    /// Marks of the values that came back from MessagePack.
    message_pack: u64,
    /// A value came back from MessagePack that had not from bincode.
    bincode_loses: bool,
    failures: u8,
    refusal: Option<CacheError>,
}

static RECORDS: RwLock<BTreeMap<TypeId, Record>> = RwLock::new(BTreeMap::new());

/// How to write a value.
pub(super) enum Plan {
    Write(PayloadFormat),
    /// Write, read back and compare; if it fails in bincode, do the same in MessagePack.
    Prove(PayloadFormat),
    Refuse(CacheError),
}

/// How to write a value of this type that has this shape, in one of these formats.
pub(super) fn plan<T: 'static>(shape: &Trace, formats: Formats) -> Plan {
    let records = RECORDS.read().unwrap_or_else(PoisonError::into_inner);
    let unknown = Record::default();
    let record = records.get(&TypeId::of::<T>()).unwrap_or(&unknown);
    if let Some(refusal) = &record.refusal {
        return Plan::Refuse(refusal.clone());
    }
    let loses_in_bincode = shape.needs_names() || record.bincode_loses;
    let format = if loses_in_bincode { formats.rather_named() } else { formats.first() };
    let proven = match format {
        PayloadFormat::Bincode => record.bincode,
        PayloadFormat::MessagePack => record.message_pack,
    };
    if shape.marks & !proven == 0 { Plan::Write(format) } else { Plan::Prove(format) }
}

/// A value came back; `planned` was tried first.
pub(super) fn succeeded<T: 'static>(shape: &Trace, planned: PayloadFormat, format: PayloadFormat) {
    update::<T>(|record| {
        record.failures = 0;
        record.bincode_loses |= (planned, format) == (PayloadFormat::Bincode, PayloadFormat::MessagePack);
        match format {
            PayloadFormat::Bincode => record.bincode |= shape.marks,
            PayloadFormat::MessagePack => record.message_pack |= shape.marks,
        }
    });
}

/// A value did not come back in any format.
pub(super) fn failed<T: 'static>(error: &CacheError) {
    update::<T>(|record| {
        record.failures += 1;
        if record.failures >= PATIENCE && record.bincode | record.message_pack == 0 {
            record.refusal = Some(error.clone());
        }
    });
}

fn update<T: 'static>(change: impl FnOnce(&mut Record)) {
    change(RECORDS.write().unwrap_or_else(PoisonError::into_inner).entry(TypeId::of::<T>()).or_default());
}
