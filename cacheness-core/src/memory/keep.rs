use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::Held;

/// How values of a type are kept in memory and given out. There is one for every type that threads can share and that can
/// be cloned; whoever has none does without memory.
pub(crate) struct Keep<T> {
    copy: fn(&T) -> T,
    hold: fn(T, Held<()>) -> Arc<Held>,
}

impl<T: Clone + Send + Sync + 'static> Keep<T> {
    /// By cloning.
    pub(crate) const fn cloned() -> Self {
        Self { copy: T::clone, hold: hold::<T> }
    }
}

fn hold<T: Any + Send + Sync>(value: T, about: Held<()>) -> Arc<Held> {
    let Held { key, terms, used, value: () } = about;
    Arc::new(Held { key, terms, used, value })
}

impl<T> Keep<T> {
    pub(crate) fn copy(&self, value: &T) -> T {
        (self.copy)(value)
    }

    pub(super) fn hold(&self, value: T, about: Held<()>) -> Arc<Held> {
        (self.hold)(value, about)
    }

    /// A copy of the value, if it is a `T`.
    pub(super) fn copy_of(&self, held: &Held) -> Option<T>
    where
        T: 'static,
    {
        held.value.downcast_ref().map(self.copy)
    }
}

impl<T> Clone for Keep<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Keep<T> {}

impl<T> fmt::Debug for Keep<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keep")
    }
}
