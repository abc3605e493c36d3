//! What a type can tell about two of its values beyond what serde shows: by `PartialEq`, by `Debug`, or not at all.
//!
//! Serde shows the same of `A("x")` and `B("x")` of an untagged enum, and nothing of a skipped field.

use std::fmt::{self, Debug, Write};

use crate::util::digest::Checksum;

/// Compares a value with what was read back of it.
pub(crate) type Compare<T> = fn(&T, &T) -> Told;

/// What the traits of a type tell about two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// They are equal, with their order if it means anything: `PartialEq` says so.
    Equal,
    /// No difference is seen.
    Nothing,
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
        Told::Nothing => by_debug(written, read),
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
fn equal<T: PartialEq>(written: &T, read: &T) -> Told {
    match written == read {
        true => Told::Equal,
        false if written == written => Told::Different("PartialEq"),
        false => Told::Nothing,
    }
}

/// Names of variants and fields, and contents.
fn by_debug<T: Debug>(written: &T, read: &T) -> Told {
    let text = |value: &T| {
        let mut text = Text { letters: [0; 256], sum: Checksum::new() };
        // An error of the type's own `Debug` is as good as the end of it.
        let _ = write!(text, "{value:?}");
        (text.letters, text.sum.finish())
    };
    match (text(written), text(read)) {
        (written, read) if written == read => Told::Nothing,
        ((written, _), (read, _)) if written == read => Told::AnotherOrder,
        _ => Told::Different("Debug"),
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
        assert_eq!(compare(&(f64::NAN, 1), &(f64::NAN, 1)), Told::Nothing);
        assert_eq!(compare(&(f64::NAN, 1), &(f64::NAN, 2)), Told::Different("Debug"));
        assert_eq!(compare(&(1.0, 1), &(1.0, 2)), Told::Different("PartialEq"));
        let by_eq = <ByEq as Evidence<f64>>::COMPARE.unwrap();
        assert_eq!([by_eq(&f64::NAN, &f64::NAN), by_eq(&1.0, &2.0)], [Told::Nothing, Told::Different("PartialEq")]);
    }

    #[test]
    fn debug_texts_in_another_order_are_told_from_equal_and_from_other_ones() {
        let (one, other): (HashSet<u32>, HashSet<u32>) = ((0..100).collect(), (0..100).rev().collect());
        assert_eq!(by_debug(&one, &other), Told::AnotherOrder);
        assert_eq!(by_debug(&one, &one), Told::Nothing);
        assert_eq!(by_debug(&one, &HashSet::new()), Told::Different("Debug"));
    }
}
