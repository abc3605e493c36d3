//! What a type can tell about two of its values beyond what serde shows: by `PartialEq`, by `Debug`, or not at all.
//!
//! Serde shows the same of `A("x")` and `B("x")` of an untagged enum, and nothing of a skipped field.

use std::fmt::{self, Debug, Write};

/// Compares a value with what was read back of it. The error is the trait that finds a difference.
pub(crate) type Compare<T> = fn(&T, &T) -> Result<(), &'static str>;

/// Which trait of a type compares its values, if there is one.
pub trait Evidence<T> {
    /// `Ok` if they are the same; the error names the trait that says otherwise.
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

const EQ: &str = "PartialEq";
const DEBUG: &str = "Debug";

impl<T: PartialEq + Debug> Evidence<T> for ByEqOrDebug {
    const COMPARE: Option<Compare<T>> = Some(|written, read| match equal(written, read) {
        Some(true) => Ok(()),
        Some(false) => Err(EQ),
        None => same_debug(written, read),
    });
}

impl<T: PartialEq> Evidence<T> for ByEq {
    const COMPARE: Option<Compare<T>> = Some(|written, read| match equal(written, read) {
        Some(false) => Err(EQ),
        Some(true) | None => Ok(()),
    });
}

impl<T: Debug> Evidence<T> for ByDebug {
    const COMPARE: Option<Compare<T>> = Some(same_debug);
}

impl<T> Evidence<T> for ByNothing {
    const COMPARE: Option<Compare<T>> = None;
}

/// `None` if nothing can be told: the value does not equal itself.
#[allow(clippy::eq_op, reason = "NaN does not equal itself")]
fn equal<T: PartialEq>(written: &T, read: &T) -> Option<bool> {
    if written == read { Some(true) } else { (written == written).then_some(false) }
}

/// Names of variants and fields, and contents, in any order: a `HashMap` comes out in another order than it went in.
fn same_debug<T: Debug>(written: &T, read: &T) -> Result<(), &'static str> {
    let letters = |value: &T| {
        let mut letters = Letters([0; 256]);
        // An error of the type's own `Debug` is as good as the end of it.
        let _ = write!(letters, "{value:?}");
        letters.0
    };
    if letters(written) == letters(read) { Ok(()) } else { Err(DEBUG) }
}

/// How often each byte was written.
struct Letters([u64; 256]);

impl fmt::Write for Letters {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        part.bytes().for_each(|byte| self.0[usize::from(byte)] += 1);
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
        assert_eq!(compare(&(f64::NAN, 1), &(f64::NAN, 1)), Ok(()));
        assert_eq!(compare(&(f64::NAN, 1), &(f64::NAN, 2)), Err("Debug"));
        assert_eq!(compare(&(1.0, 1), &(1.0, 2)), Err("PartialEq"));
        let by_eq = <ByEq as Evidence<f64>>::COMPARE.unwrap();
        assert_eq!([by_eq(&f64::NAN, &f64::NAN), by_eq(&1.0, &2.0)], [Ok(()), Err("PartialEq")]);
    }

    #[test]
    fn sets_in_another_order_have_the_same_debug_text() {
        let (one, other): (HashSet<u32>, HashSet<u32>) = ((0..100).collect(), (0..100).rev().collect());
        assert_eq!(same_debug(&one, &other), Ok(()));
        assert_eq!(same_debug(&one, &HashSet::new()), Err("Debug"));
    }
}
