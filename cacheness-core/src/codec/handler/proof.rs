//! The proof that a value can be read: it is read back before it is stored, and compared with what was written.
//!
//! Whether it comes back depends on the value, not on its type alone: `Text("x")` of `Letter(char) | Text(String)` is read
//! as a letter. So every value is looked at, but those of types that cannot fail (`faithful`).
//!
//! What is compared: what serde shows of both, with the names of the types that show it; the variant, if the type is an
//! enum; and what the type's `PartialEq` or `Debug` says, where the caller knows them (`evidence`).
//!
//! Another order is another value, unless `PartialEq` says otherwise or the order means nothing: that of a `HashMap`, which
//! its name tells, or which is another one each time the same bytes are read.

use std::any::type_name;
use std::mem::discriminant;

use super::Storable;
use super::codec::{Encoded, error, shielded, unreadable, unwritable};
use super::evidence::{Compare, Told};
use super::payload::{PayloadFormat, read};
use super::shape::{Difference, PROOF, Trace, difference, trace};
use crate::error::Result;
use crate::util::threads::contained;

/// A value that was written, and what was read back of it.
pub(crate) struct Proven<'v, T> {
    pub(crate) encoded: Encoded<'v>,
    /// The value as everybody else will read it; none where no look was needed.
    pub(crate) back: Back<T>,
}

impl<'v, T> Proven<'v, T> {
    pub(crate) fn unseen(encoded: Encoded<'v>) -> Self {
        Self { encoded, back: Back(None) }
    }
}

/// A value of the cache's own making: a panic of its `Drop` ends here.
pub(crate) struct Back<T>(Option<T>);

impl<T> Back<T> {
    pub(crate) fn take(mut self) -> Option<T> {
        self.0.take()
    }
}

impl<T> Drop for Back<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        if contained(|| drop(value)).is_none() {
            log::debug!("the `Drop` of a `{}` that was read back panicked", type_name::<T>());
        }
    }
}

/// What a value must be when it is read back.
pub(super) struct Expected<'v, T> {
    value: &'v T,
    trace: Trace,
    compare: Option<Compare<T>>,
}

impl<'v, T: Storable> Expected<'v, T> {
    pub(super) fn of(value: &'v T, compare: Option<Compare<T>>) -> Result<Self> {
        let trace = trace::<PROOF>(value).map_err(unwritable::<T>)?;
        Ok(Self { value, trace, compare })
    }

    /// Reads the value back and compares it.
    pub(super) fn prove(&self, encoded: Encoded<'static>, format: PayloadFormat) -> Result<Proven<'static, T>> {
        shielded::<T, _>("Deserialize", || {
            let back: T = read(&encoded.bytes.contiguous(), format).map_err(unreadable::<T>)?;
            // From here on it is dropped quietly.
            let back = Back(Some(back));
            if let Some(value) = &back.0
                && let Some(doubt) = self.compare(value)?
            {
                self.settle(doubt, value, &encoded, format)?;
            }
            Ok(Proven { encoded, back })
        })
    }

    /// What is in doubt is the order; any other difference is an error.
    fn compare(&self, back: &T) -> Result<Option<Doubt>> {
        if is_switched_off() {
            return Ok(None);
        }
        let hash = hash_of(back)?;
        let shown = hash != self.trace.hash;
        if shown && let Difference::Part(place) = difference(self.value, back) {
            return Err(error::<T>(place.as_deref().unwrap_or("became another value")));
        }
        if discriminant(back) != discriminant(self.value) {
            return Err(error::<T>("became another variant"));
        }
        let printed = match self.told(self.value, back)? {
            Told::Different(by) => return Err(error::<T>(&differs(by))),
            Told::Equal => return Ok(None),
            Told::Nothing => false,
            // A map that serde shows in another order is printed in another one, too.
            Told::AnotherOrder => difference(self.value, back) != Difference::Order,
        };
        Ok((shown || printed).then_some(Doubt { hash, shown, printed }))
    }

    fn told(&self, written: &T, read: &T) -> Result<Told> {
        let Some(compare) = self.compare else { return Ok(Told::Nothing) };
        shielded::<T, _>("PartialEq` or `Debug", || Ok(compare(written, read)))
    }

    /// Reads the value again, until it comes in yet another order.
    fn settle(&self, doubt: Doubt, back: &T, encoded: &Encoded<'static>, format: PayloadFormat) -> Result<()> {
        let bytes = encoded.bytes.contiguous();
        for _ in 0..(MOST_BYTES / bytes.len().max(1)).clamp(FEWEST, MOST) {
            let again = Back(Some(read::<T>(&bytes, format).map_err(unreadable::<T>)?));
            let Some(value) = &again.0 else { continue };
            let shown = !doubt.shown || hash_of(value)? != doubt.hash;
            if shown && (!doubt.printed || self.told(back, value)? == Told::AnotherOrder) {
                return Ok(());
            }
        }
        Err(error::<T>("came back in another order: keep its order in what is written, or give the type `PartialEq`"))
    }
}

/// A value that came back in another order.
struct Doubt {
    /// Of what was read.
    hash: u64,
    /// Whether serde shows it.
    shown: bool,
    /// Whether `Debug` shows more of it than serde.
    printed: bool,
}

/// Two entries of a map come in the same order more often than not, so that only many readings tell; of a large value we
/// read no more than this.
const MOST: usize = 32;
const FEWEST: usize = 4;
const MOST_BYTES: usize = 64 << 20;

fn hash_of<T: Storable>(value: &T) -> Result<u64> {
    trace::<PROOF>(value).map(|trace| trace.hash).map_err(unwritable::<T>)
}

fn differs(by: &str) -> String {
    format!(
        "became another value, as its `{by}` says, though serde shows no difference: a field is skipped or rounded by \
         `with`, or two variants of an untagged enum look the same"
    )
}

#[cfg(feature = "testing")]
static SWITCHED_OFF: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Stores whatever can be read back, the same or not, from now on: what tests of the proof must notice.
#[cfg(feature = "testing")]
pub fn store_unproven() {
    SWITCHED_OFF.store(true, std::sync::atomic::Ordering::Relaxed);
}

#[cfg(feature = "testing")]
fn is_switched_off() -> bool {
    SWITCHED_OFF.load(std::sync::atomic::Ordering::Relaxed)
}

#[cfg(not(feature = "testing"))]
fn is_switched_off() -> bool {
    false
}
