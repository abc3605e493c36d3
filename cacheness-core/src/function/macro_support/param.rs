//! Arguments as entries record them: for listings, filters and queries.
//!
//! What can be told of an argument is decided by method lookup, as in [`argument`](super::argument): a type whose method
//! does not apply derefs to the next, which asks for less.

use std::fmt::Debug;
use std::ops::Deref;

use serde::Serialize;

use crate::key::{CacheKey, plain_value, serialize_key, text_value};
use crate::util::threads::contained;
use crate::value::Value;

/// An argument to be recorded.
pub fn param<T: ?Sized>(argument: &T) -> Keyed<'_, T> {
    Keyed(KeyedOnly(Serialized(SerializedOnly(Shown(Unseen(argument))))))
}

/// What is recorded, if anything is. User code tells it, and none of its panics may reach the caller of a function
/// whose body has not even run.
fn recorded(tell: impl FnOnce() -> Option<Value>) -> Option<Value> {
    contained(tell).flatten()
}

macro_rules! ways {
    ($($(#[$doc:meta])* $way:ident => $next:ident: |$value:ident: $($bound:path),*| $told:expr,)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $way<'a, T: ?Sized>($next<'a, T>);

        impl<'a, T: ?Sized> Deref for $way<'a, T> {
            type Target = $next<'a, T>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl<T: ?Sized $(+ $bound)*> $way<'_, T> {
            /// The value to record.
            pub fn value(&self) -> Option<Value> {
                let $value = self.argument();
                recorded(|| $told)
            }
        }
    )*};
}

ways! {
    /// By `CacheKey` where that writes a plain value, else by `Debug`.
    Keyed => KeyedOnly: |value: CacheKey, Debug| plain_value(|w| value.encode(w)).or_else(|| Some(text_value(value))),
    /// By `CacheKey`.
    KeyedOnly => Serialized: |value: CacheKey| plain_value(|w| value.encode(w)),
    /// By `Serialize` where that writes a plain value, else by `Debug`.
    Serialized => SerializedOnly: |value: Serialize, Debug| {
        plain_value(|w| serialize_key(value, w)).or_else(|| Some(text_value(value)))
    },
    /// By `Serialize`.
    SerializedOnly => Shown: |value: Serialize| plain_value(|w| serialize_key(value, w)),
    /// By `Debug`.
    Shown => Unseen: |value: Debug| Some(text_value(value)),
}

/// Of which nothing can be told.
#[derive(Debug)]
pub struct Unseen<'a, T: ?Sized>(&'a T);

impl<T: ?Sized> Unseen<'_, T> {
    /// Nothing.
    pub fn value(&self) -> Option<Value> {
        None
    }

    fn argument(&self) -> &T {
        self.0
    }
}
