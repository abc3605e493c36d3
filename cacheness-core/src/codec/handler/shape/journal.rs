//! What a value shows to serde, part by part, to tell how two values differ, and people where. Only for values in doubt.

use std::any::type_name;
use std::cell::RefCell;

use serde::Serialize;

use super::{JOURNAL, Kind, trace};

/// Parts that are noted of one value.
const MOST: usize = 20_000;

/// One part: where it is, what it is, of which type, and its contents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    place: String,
    kind: Kind,
    of: &'static str,
    contents: u64,
}

#[derive(Default)]
struct Notes {
    place: String,
    types: Vec<&'static str>,
    parts: Vec<Part>,
}

thread_local! {
    static NOTES: RefCell<Notes> = RefCell::default();
}

/// While a part is traced.
pub(super) struct Within {
    before: Option<usize>,
}

impl Drop for Within {
    #[inline]
    fn drop(&mut self) {
        let Some(before) = self.before else { return };
        NOTES.with_borrow_mut(|notes| {
            notes.place.truncate(before);
            notes.types.pop();
        });
    }
}

/// Begins a part.
#[inline]
pub(super) fn enter<const VIEW: u8, T: ?Sized>(label: &str) -> Within {
    if VIEW < JOURNAL {
        return Within { before: None };
    }
    let before = NOTES.with_borrow_mut(|notes| {
        let before = notes.place.len();
        if before > 0 && !label.is_empty() && !label.starts_with('[') {
            notes.place.push('.');
        }
        notes.place.push_str(label);
        notes.types.push(type_name::<T>());
        before
    });
    Within { before: Some(before) }
}

/// Notes what the part that began last is.
#[inline]
pub(super) fn note<const VIEW: u8>(kind: Kind, contents: u64) {
    if VIEW < JOURNAL {
        return;
    }
    NOTES.with_borrow_mut(|notes| {
        if notes.parts.len() < MOST {
            let of = notes.types.last().copied().unwrap_or_default();
            notes.parts.push(Part { place: notes.place.clone(), kind, of, contents });
        }
    });
}

/// How two values differ.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Difference {
    None,
    /// Elements came in another order.
    Order,
    /// A part, as people are told. None if there are very many parts.
    Part(Option<String>),
}

/// The hash of a value, whatever its order, and its parts.
fn look<T: Serialize>(value: &T) -> (Option<u64>, Vec<Part>) {
    NOTES.take();
    NOTES.with_borrow_mut(|notes| notes.types.push(type_name::<T>()));
    let traced = trace::<JOURNAL>(value);
    (traced.ok().map(|trace| trace.hash), NOTES.take().parts)
}

pub(super) fn difference<T: Serialize>(written: &T, read: &T) -> Difference {
    let ((one, mut written), (other, mut read)) = (look(written), look(read));
    if one.is_none() || one != other {
        written.sort();
        read.sort();
        return Difference::Part(part(&written, &read));
    }
    if written == read { Difference::None } else { Difference::Order }
}

fn part(written: &[Part], read: &[Part]) -> Option<String> {
    let (one, other) = written.iter().zip(read).find(|(one, other)| one != other)?;
    let place = if one.place.is_empty() { "the value itself".to_owned() } else { format!("`{}`", one.place) };
    Some(if one.place != other.place || (one.kind, one.of) == (other.kind, other.of) {
        format!("became another value: {place}, {:?} of `{}`, did not come back as it was", one.kind, one.of)
    } else {
        let (was, is) = ((one.kind, one.of), (other.kind, other.of));
        format!("became another value: {place} was {:?} of `{}` and became {:?} of `{}`", was.0, was.1, is.0, is.1)
    })
}
