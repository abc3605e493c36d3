//! The proof that a value can be read: it is read back before it is stored, and compared with what was written.
//!
//! Whether it comes back depends on the value, not on its type alone: `Text("x")` of `Letter(char) | Text(String)` is read
//! as a letter. So every value is looked at, but those of types that cannot fail.
//!
//! What is compared: what serde shows of both, with the names of the types that show it; the variant, if the type is an
//! enum; and what the type's `PartialEq` or `Debug` says, where the caller knows them (see [`Evidence`]).
//!
//! Another order is another value, unless `PartialEq` says otherwise or the order means nothing: that of a `HashMap`, which
//! its name tells, or which is another one each time the same bytes are read.

use std::any::type_name;
use std::fmt::{self, Debug, Write};
use std::mem::discriminant;

use super::Storable;
use super::payload::{PayloadFormat, read};
use super::shape::{Difference, PROOF, Trace, difference, trace};
use super::{Encoded, error, shielded, unreadable, unwritable};
use crate::error::Result;
use crate::util::digest::Checksum;
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
        let printed = match self.compared(self.value, back)? {
            Comparison::Different(by) => return Err(error::<T>(&differs(by))),
            Comparison::Equal => return Ok(None),
            Comparison::NoDifference => false,
            // A map that serde shows in another order is printed in another one, too.
            Comparison::AnotherOrder => difference(self.value, back) != Difference::Order,
        };
        Ok((shown || printed).then_some(Doubt { hash, shown, printed }))
    }

    fn compared(&self, written: &T, read: &T) -> Result<Comparison> {
        let Some(compare) = self.compare else { return Ok(Comparison::NoDifference) };
        shielded::<T, _>("PartialEq` or `Debug", || Ok(compare(written, read)))
    }

    /// Reads the value again, until it comes in yet another order.
    fn settle(&self, doubt: Doubt, back: &T, encoded: &Encoded<'static>, format: PayloadFormat) -> Result<()> {
        let bytes = encoded.bytes.contiguous();
        for _ in 0..(MOST_BYTES / bytes.len().max(1)).clamp(FEWEST, MOST) {
            let again = Back(Some(read::<T>(&bytes, format).map_err(unreadable::<T>)?));
            let Some(value) = &again.0 else { continue };
            let shown = !doubt.shown || hash_of(value)? != doubt.hash;
            if shown && (!doubt.printed || self.compared(back, value)? == Comparison::AnotherOrder) {
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

// What a type can tell about two of its values beyond what serde shows: by `PartialEq`, by `Debug`, or not at all.
//
// Serde shows the same of `A("x")` and `B("x")` of an untagged enum, and nothing of a skipped field.

/// Compares a value with what was read back of it.
pub(crate) type Compare<T> = fn(&T, &T) -> Comparison;

/// What the traits of a type tell about two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// They are equal, with their order if it means anything: `PartialEq` says so.
    Equal,
    /// No difference is seen.
    NoDifference,
    /// Their `Debug` texts have the same letters in another order: those of a `HashMap` do, and those of another list.
    AnotherOrder,
    /// They are not the same, as this trait says.
    Different(&'static str),
}

/// Which trait of a type compares its values, if there is one.
pub trait Evidence<T> {
    /// How they are compared, if they are.
    #[doc(hidden)]
    const COMPARE: Option<Compare<T>>;
}

/// By `PartialEq`; by `Debug` where a value does not even equal itself, as NaN.
#[derive(Debug)]
pub enum ByEqOrDebug {}

/// By `PartialEq`, where a value equals itself.
#[derive(Debug)]
pub enum ByEq {}

/// By `Debug`.
#[derive(Debug)]
pub enum ByDebug {}

/// By nothing: what serde shows must do.
#[derive(Debug)]
pub enum ByNothing {}

impl<T: PartialEq + Debug> Evidence<T> for ByEqOrDebug {
    const COMPARE: Option<Compare<T>> = Some(|written, read| match equal(written, read) {
        Comparison::NoDifference => by_debug(written, read),
        told => told,
    });
}

impl<T: PartialEq> Evidence<T> for ByEq {
    const COMPARE: Option<Compare<T>> = Some(equal);
}

impl<T: Debug> Evidence<T> for ByDebug {
    const COMPARE: Option<Compare<T>> = Some(by_debug);
}

impl<T> Evidence<T> for ByNothing {
    const COMPARE: Option<Compare<T>> = None;
}

/// Nothing can be told of a value that does not equal itself.
#[allow(clippy::eq_op, reason = "NaN does not equal itself")]
fn equal<T: PartialEq>(written: &T, read: &T) -> Comparison {
    match written == read {
        true => Comparison::Equal,
        false if written == written => Comparison::Different("PartialEq"),
        false => Comparison::NoDifference,
    }
}

/// Names of variants and fields, and contents.
fn by_debug<T: Debug>(written: &T, read: &T) -> Comparison {
    let text = |value: &T| {
        let mut text = Text { letters: [0; 256], sum: Checksum::new() };
        // An error of the type's own `Debug` is as good as the end of it.
        let _ = write!(text, "{value:?}");
        (text.letters, text.sum.finish())
    };
    match (text(written), text(read)) {
        (written, read) if written == read => Comparison::NoDifference,
        ((written, _), (read, _)) if written == read => Comparison::AnotherOrder,
        _ => Comparison::Different("Debug"),
    }
}

/// How often each byte was written, and a checksum of all of them in order.
struct Text {
    letters: [u64; 256],
    sum: Checksum,
}

impl fmt::Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.sum.update(part.as_bytes());
        part.bytes().for_each(|byte| self.letters[usize::from(byte)] += 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nan_is_compared_by_its_text() {
        let compare = <ByEqOrDebug as Evidence<(f64, u8)>>::COMPARE.unwrap();
        assert_eq!(compare(&(f64::NAN, 1), &(f64::NAN, 1)), Comparison::NoDifference);
        assert_eq!(compare(&(f64::NAN, 1), &(f64::NAN, 2)), Comparison::Different("Debug"));
        assert_eq!(compare(&(1.0, 1), &(1.0, 2)), Comparison::Different("PartialEq"));
        let by_eq = <ByEq as Evidence<f64>>::COMPARE.unwrap();
        assert_eq!(
            [by_eq(&f64::NAN, &f64::NAN), by_eq(&1.0, &2.0)],
            [Comparison::NoDifference, Comparison::Different("PartialEq")]
        );
    }

    #[test]
    fn debug_texts_in_another_order_are_told_from_equal_and_from_other_ones() {
        let (one, other): (HashSet<u32>, HashSet<u32>) = ((0..100).collect(), (0..100).rev().collect());
        assert_eq!(by_debug(&one, &other), Comparison::AnotherOrder);
        assert_eq!(by_debug(&one, &one), Comparison::NoDifference);
        assert_eq!(by_debug(&one, &HashSet::new()), Comparison::Different("Debug"));
    }
}
