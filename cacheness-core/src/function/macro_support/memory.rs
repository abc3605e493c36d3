//! Whether results stay in memory, and who writes them: decided by their type and by the attribute.

use std::fmt;
use std::marker::PhantomData;

use crate::cache::Means;
use crate::codec::handler::{Evidence, Handler, Shareable, Storable};

/// Whether values of a type stay in memory, and who writes them.
pub trait Memory<T>: Copy {
    /// By what means they are stored.
    fn means<'m>(self) -> Means<'m, T>
    where
        Self: 'm;
}

/// They stay, and are stored on the evidence `E`.
#[derive(Debug)]
pub struct Kept<E>(PhantomData<E>);

/// They could, and do not.
#[derive(Debug)]
pub struct Passing<E>(PhantomData<E>);

/// They cannot.
#[derive(Debug)]
pub struct Unkept<E>(PhantomData<E>);

/// A given handler writes them, and they do not stay.
pub struct By<'h, T>(&'h dyn Handler<Value = T>);

impl<'h, T> By<'h, T> {
    pub(super) fn new(handler: &'h dyn Handler<Value = T>) -> Self {
        Self(handler)
    }
}

impl<T: Shareable, E: Evidence<T> + 'static> Memory<T> for Kept<E> {
    fn means<'m>(self) -> Means<'m, T>
    where
        Self: 'm,
    {
        Means::kept_by::<E>()
    }
}

impl<T: Shareable, E: Evidence<T> + 'static> Memory<T> for Passing<E> {
    fn means<'m>(self) -> Means<'m, T>
    where
        Self: 'm,
    {
        Means::passing_by::<E>()
    }
}

impl<T: Storable, E: Evidence<T> + 'static> Memory<T> for Unkept<E> {
    fn means<'m>(self) -> Means<'m, T>
    where
        Self: 'm,
    {
        Means::stored_by::<E>()
    }
}

macro_rules! markers {
    ($($memory:ident)*) => {$(
        impl<E> $memory<E> {
            pub(super) fn new() -> Self {
                Self(PhantomData)
            }
        }

        impl<E> Clone for $memory<E> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<E> Copy for $memory<E> {}
    )*};
}

markers! { Kept Passing Unkept }

impl<'h, T> Memory<T> for By<'h, T> {
    fn means<'m>(self) -> Means<'m, T>
    where
        Self: 'm,
    {
        Means::by(self.0)
    }
}

impl<T> Clone for By<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for By<'_, T> {}

impl<T> fmt::Debug for By<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("By")
    }
}
