//! Arguments on their way into the key, and into the metadata of entries.
//!
//! Which trait encodes an argument is decided by method lookup: a type of this module derefs to the next, less wished
//! for one, and a method whose `impl` does not apply is passed over. So a type that implements both traits is taken by
//! `CacheKey`, and one that implements neither is one error.
//!
//! `Serialize` may leave something out that the body can see. So where a type implements `Hash` beside it, what that tells
//! counts as well, and where not, at least the variant of an enum. In a generic function only the bounds are known, whatever
//! its parameters stand for.

use std::any::type_name;
use std::fmt::{self, Debug, Write};
use std::hash::Hash;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::Serialize;

use super::attribute::ScopeOwner;
use super::attribute::Site;
use super::call::Call;
use crate::error::{CacheError, ErrorKind};
use crate::key::{CacheKey, KeyWriter, PendingKey, plain_value, serialize_key, text_value};
use crate::util::threads::{caught, contained};
use crate::value::Value;

/// Writes the key of one call.
pub struct Writer {
    key: KeyWriter,
    site: &'static Site,
    owner: &'static ScopeOwner,
}

/// Begins the key of a call of the function that `marker`, a closure, stands in.
#[inline]
pub fn begin<F: Fn()>(site: &'static Site, marker: F) -> Writer {
    let _ = marker;
    Writer::new(site, ScopeOwner::of(type_name::<F>(), None, site))
}

/// [`begin`] for the function `name`, which is a sibling of the one that `marker` stands in.
pub fn begin_sibling<F: Fn()>(site: &'static Site, marker: F, name: &str) -> Writer {
    let _ = marker;
    Writer::new(site, ScopeOwner::of(type_name::<F>(), Some(name), site))
}

impl Writer {
    #[inline]
    fn new(site: &'static Site, owner: &'static ScopeOwner) -> Self {
        Self { key: KeyWriter::new(), site, owner }
    }

    /// The key, which begins with the function. Written only here, where the writer has its place: moving it with what
    /// was just written takes longer than all of the rest.
    #[inline]
    fn begun(&mut self) -> &mut KeyWriter {
        if self.key.is_empty() {
            self.owner.begin(&mut self.key);
        }
        &mut self.key
    }

    /// Begins the next argument.
    pub fn argument(&mut self) -> &mut KeyWriter {
        let key = self.begun();
        key.argument();
        key
    }

    /// Begins an argument that is known by its name.
    pub fn named(&mut self, name: &str) -> &mut KeyWriter {
        let key = self.begun();
        key.named_argument(name);
        key
    }

    /// Ends the key, for a call that is made at once.
    #[inline]
    pub fn call(&mut self) -> Call<'_> {
        let (site, function) = (self.site, self.owner.function);
        Call::new(self.begun(), site, function)
    }

    /// Ends the key, for a call that is made later.
    pub fn into_call<'c>(mut self) -> Call<'c, PendingKey> {
        self.begun();
        Call::new(self.key.finish(), self.site, self.owner.function)
    }
}

/// An argument, to be encoded by `CacheKey`.
#[derive(Debug)]
pub struct Arg<'a, T: ?Sized>(ByHash<'a, T>);

/// An argument, to be encoded by `Serialize` and `Hash`.
#[derive(Debug)]
pub struct ByHash<'a, T: ?Sized>(ByVariantBehind<'a, T>);

/// A reference, to be encoded by `Serialize` and the variant of what it points to.
#[derive(Debug)]
pub struct ByVariantBehind<'a, T: ?Sized>(ByVariant<'a, T>);

/// An argument, to be encoded by `Serialize` and its variant.
#[derive(Debug)]
pub struct ByVariant<'a, T: ?Sized>(BySerialize<'a, T>);

/// An argument without a size, to be encoded by `Serialize`.
#[derive(Debug)]
pub struct BySerialize<'a, T: ?Sized>(ByNothing<'a, T>);

/// An argument that nothing encodes.
#[derive(Debug)]
pub struct ByNothing<'a, T: ?Sized>(&'a T);

/// An argument to be encoded.
pub fn arg<T: ?Sized>(value: &T) -> Arg<'_, T> {
    Arg(ByHash(ByVariantBehind(ByVariant(BySerialize(ByNothing(value))))))
}

/// Several values as one argument, each written by what its own type implements.
pub fn tuple(w: &mut KeyWriter, count: usize, encode: impl FnOnce(&mut KeyWriter)) {
    w.tuple(count, encode);
}

impl<T: CacheKey + ?Sized> Arg<'_, T> {
    /// Writes the argument.
    #[inline]
    pub fn encode(&self, w: &mut KeyWriter) {
        if self.value().may_panic() {
            shielded::<T>("CacheKey", w, |w| self.value().encode(w));
        } else {
            self.value().encode(w);
        }
    }
}

impl<T: Serialize + Hash + ?Sized> ByHash<'_, T> {
    /// Writes the argument.
    pub fn encode(&self, w: &mut KeyWriter) {
        shielded::<T>("Serialize` or `Hash", w, |w| {
            serialize_key(self.value(), w);
            w.append_hashed(self.value());
        });
    }
}

impl<T: Serialize> ByVariantBehind<'_, &T> {
    /// Writes the argument.
    pub fn encode(&self, w: &mut KeyWriter) {
        let value: &T = self.value();
        shielded::<T>("Serialize", w, |w| {
            serialize_key(value, w);
            w.append_variant(value);
        });
    }
}

impl<T: Serialize> ByVariant<'_, T> {
    /// Writes the argument.
    pub fn encode(&self, w: &mut KeyWriter) {
        shielded::<T>("Serialize", w, |w| {
            serialize_key(self.value(), w);
            w.append_variant(self.value());
        });
    }
}

impl<T: Serialize + ?Sized> BySerialize<'_, T> {
    /// Writes the argument.
    pub fn encode(&self, w: &mut KeyWriter) {
        shielded::<T>("Serialize", w, |w| serialize_key(self.value(), w));
    }
}

/// Turns a panic of the type's own code into an error of the key: the function has not run yet, and still can.
#[inline]
fn shielded<T: ?Sized>(what: &str, w: &mut KeyWriter, encode: impl FnOnce(&mut KeyWriter)) {
    // What was written until then is never used: the key has failed.
    if let Err(says) = caught(|| encode(w)) {
        w.fail(panicked::<T>(what, &says));
    }
}

#[cold]
fn panicked<T: ?Sized>(what: &str, says: &str) -> CacheError {
    let message = format!("an argument of type `{}` panicked in `{what}`: {says}", type_name::<T>());
    CacheError::new(ErrorKind::Serialization, message)
}

impl<T: ?Sized> ByNothing<'_, T> {
    /// Does not compile: no type that comes here can be part of a key.
    pub fn encode(&self, w: &mut KeyWriter)
    where
        T: KeyArgument,
    {
        self.0.encode(w);
    }
}

impl<T: ?Sized> ByNothing<'_, T> {
    fn value(&self) -> &T {
        self.0
    }
}

macro_rules! else_by {
    ($($by:ident => $next:ident)+) => {
        $(impl<'a, T: ?Sized> Deref for $by<'a, T> {
            type Target = $next<'a, T>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        })+
    };
}

else_by!(Arg => ByHash ByHash => ByVariantBehind ByVariantBehind => ByVariant ByVariant => BySerialize BySerialize => ByNothing);

/// A key that is written as a format string.
pub fn text(written: fmt::Arguments<'_>) -> String {
    // Not `to_string`, which panics if a `Display` fails: what it wrote until then counts.
    let mut text = String::new();
    let _ = text.write_fmt(written);
    text
}

/// An argument of a cached function that can be part of its key: any [`CacheKey`]. A bound for generic functions; an
/// argument that implements `serde::Serialize` instead needs no bound but that.
#[diagnostic::on_unimplemented(
    message = "an argument of type `{Self}` cannot be part of a cache key",
    label = "if the type is yours, derive `CacheKey` or `Serialize`; else name the parts that count, as in `key(arg.id)`, or leave it out with `skip(..)`"
)]
pub trait KeyArgument: CacheKey {}

#[diagnostic::do_not_recommend]
impl<T: CacheKey + ?Sized> KeyArgument for T {}

/// An argument that may be its type's default.
#[derive(Debug)]
pub struct MaybeDefault<'a, T: ?Sized>(&'a T, NoDefault<T>);

/// An argument whose type has no default, or no way to compare with it.
#[derive(Debug)]
pub struct NoDefault<T: ?Sized>(PhantomData<T>);

/// An argument that is left out when it is the default of its type.
pub fn unless_default<T: ?Sized>(value: &T) -> MaybeDefault<'_, T> {
    MaybeDefault(value, NoDefault(PhantomData))
}

impl<T: Default + PartialEq> MaybeDefault<'_, T> {
    /// Whether the argument is its type's default: equal to it, and also the same in a key, as `-0.0` is not. One that
    /// panics when asked is taken for another value, which is only a longer key.
    pub fn is_default(&self, encode: impl Fn(&T, &mut KeyWriter)) -> bool {
        let is_default = || {
            let default = T::default();
            *self.0 == default && KeyWriter::is_same_by_text(|w| encode(self.0, w), |w| encode(&default, w))
        };
        contained(is_default).unwrap_or(false)
    }
}

impl<T: ?Sized> NoDefault<T> {
    /// Nothing can be told: `false`.
    pub fn is_default(&self, encode: impl Fn(&T, &mut KeyWriter)) -> bool {
        let _ = encode;
        false
    }
}

impl<T: ?Sized> Deref for MaybeDefault<'_, T> {
    type Target = NoDefault<T>;

    fn deref(&self) -> &Self::Target {
        &self.1
    }
}

/// Names lifetimes that a returned `impl Trait` holds, in every edition.
pub trait Captures<L: ?Sized> {}

impl<T: ?Sized, L: ?Sized> Captures<L> for T {}

// The second chain of types: arguments as entries record them, for listings, filters and queries. Method lookup decides here,
// too: a type whose method does not apply derefs to the next, which asks for less.

/// An argument to be recorded.
pub fn param<T: ?Sized>(argument: &T) -> Keyed<'_, T> {
    Keyed(KeyedOnly(Serialized(SerializedOnly(Shown(Unseen(argument))))))
}

/// What is recorded, if anything is. It is made by user code, and none of its panics may reach the caller of a function
/// whose body has not even run.
fn contained_value(record: impl FnOnce() -> Option<Value>) -> Option<Value> {
    contained(record).flatten()
}

macro_rules! param_types {
    ($($(#[$doc:meta])* $type:ident => $next:ident: |$value:ident: $($bound:path),*| $recorded:expr,)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $type<'a, T: ?Sized>($next<'a, T>);

        impl<'a, T: ?Sized> Deref for $type<'a, T> {
            type Target = $next<'a, T>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl<T: ?Sized $(+ $bound)*> $type<'_, T> {
            /// The value to record.
            pub fn value(&self) -> Option<Value> {
                let $value = self.argument();
                contained_value(|| $recorded)
            }
        }
    )*};
}

param_types! {
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

/// An argument of which nothing can be recorded.
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
