//! Whether results stay in memory, and who writes them: decided by their type and by the attribute.

use std::fmt;

use crate::cache::Means;
use crate::handler::{Handler, Shareable, Storable};

/// Whether values of a type stay in memory, and who writes them.
pub trait Memory<T>: Copy {
    /// By what means they are stored.
    fn means<'m>(self) -> Means<'m, T>
    where
        Self: 'm;
}

/// They stay.
#[derive(Clone, Copy, Debug)]
pub struct Kept;

/// They could, and do not.
#[derive(Clone, Copy, Debug)]
pub struct Passing;

/// They cannot.
#[derive(Clone, Copy, Debug)]
pub struct Unkept;

/// A given handler writes them, and they do not stay.
pub struct By<'h, T>(&'h dyn Handler<Value = T>);

impl<'h, T> By<'h, T> {
    pub(super) fn new(handler: &'h dyn Handler<Value = T>) -> Self {
        Self(handler)
    }
}

impl<T: Shareable> Memory<T> for Kept {
    fn means<'m>(self) -> Means<'m, T> {
        Means::kept()
    }
}

impl<T: Shareable> Memory<T> for Passing {
    fn means<'m>(self) -> Means<'m, T> {
        Means::passing()
    }
}

impl<T: Storable> Memory<T> for Unkept {
    fn means<'m>(self) -> Means<'m, T> {
        Means::stored()
    }
}

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
