//! Which of the built-in formats may be written, in which order they are tried, and which have lost a value before.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::payload::PayloadFormat;
use super::payload::PayloadFormat::{Bincode, MessagePack, Readable};
use crate::config::{BINCODE, MESSAGEPACK};

/// The formats that may be written, the first choice first. Both forms of MessagePack have one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Formats(&'static [PayloadFormat]);

impl Formats {
    pub(crate) const DEFAULT: Self = Self(&[Bincode, MessagePack, Readable]);
    const NAMED_FIRST: Self = Self(&[MessagePack, Readable, Bincode]);
    const NAMED: Self = Self(&[MessagePack, Readable]);
    const UNNAMED: Self = Self(&[Bincode]);

    pub(super) const fn only(format: PayloadFormat) -> Self {
        match format {
            Bincode => Self::UNNAMED,
            MessagePack | Readable => Self::NAMED,
        }
    }

    /// Those that are allowed, in the order in which they are named; what is not named comes last.
    pub(super) fn of(priority: &[String], disabled: &[String]) -> Self {
        let has = |names: &[String], name: &str| names.iter().any(|other| other == name);
        if has(disabled, BINCODE) {
            return Self::NAMED;
        }
        if has(disabled, MESSAGEPACK) {
            return Self::UNNAMED;
        }
        let place = |name: &str| priority.iter().position(|other| other == name).unwrap_or(usize::MAX);
        if place(MESSAGEPACK) < place(BINCODE) { Self::NAMED_FIRST } else { Self::DEFAULT }
    }

    pub(super) fn first(self) -> PayloadFormat {
        self.0.first().copied().unwrap_or(Bincode)
    }

    pub(super) fn includes(self, format: PayloadFormat) -> bool {
        self.0.contains(&format)
    }

    /// The order in which they are tried for a value of this type: last, what cannot express it or has lost another value.
    pub(super) fn for_value<T: 'static>(self, needs_names: bool) -> Vec<PayloadFormat> {
        let lost = LOST.read().unwrap_or_else(PoisonError::into_inner).get(&TypeId::of::<T>()).copied().unwrap_or(0);
        let mut order = self.0.to_vec();
        order.sort_by_key(|format| (lost & bit(*format) != 0, needs_names && *format == Bincode));
        order
    }

    /// Behind a verb, where it was not free to choose.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::NAMED => " as messagepack, the one format allowed",
            Self::UNNAMED => " as bincode, the one format allowed",
            _ => "",
        }
    }
}

/// The formats that lost a value of a type which another one kept. They come last from then on: trying them costs as much
/// as writing.
static LOST: RwLock<BTreeMap<TypeId, u8>> = RwLock::new(BTreeMap::new());

/// Another format kept the value that these lost.
pub(super) fn lost<T: 'static>(formats: &[PayloadFormat]) {
    let bits = formats.iter().fold(0, |bits, format| bits | bit(*format));
    if bits != 0 {
        *LOST.write().unwrap_or_else(PoisonError::into_inner).entry(TypeId::of::<T>()).or_default() |= bits;
    }
}

fn bit(format: PayloadFormat) -> u8 {
    1 << (format.id() % 8)
}
