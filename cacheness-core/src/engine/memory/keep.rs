use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use super::Held;
use crate::util::threads::contained;

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
    Arc::new(Held { key, terms, used, value: Quiet(Some(value)) })
}

/// A value in memory. What takes it out is the call of somebody else, the thread that flushes or the end of the process:
/// a panic of its `Drop` ends here.
struct Quiet<T>(Option<T>);

impl<T> Drop for Quiet<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        if contained(|| drop(value)).is_none() {
            log::debug!("the `Drop` of a value in memory panicked");
        }
    }
}

thread_local! {
    static COPYING: Cell<bool> = const { Cell::new(false) };
}

/// While this thread copies a value. Its `Clone` may read the cache: that gets no values from memory and keeps none, for
/// the copy of the same value would never end.
struct Copying;

impl Copying {
    #[inline]
    fn begin() -> Option<Self> {
        (!COPYING.replace(true)).then(|| Self)
    }
}

impl Drop for Copying {
    #[inline]
    fn drop(&mut self) {
        COPYING.set(false);
    }
}

impl<T> Keep<T> {
    /// A copy. None if `Clone` panics, or if this is in the middle of another copy: the store has the value.
    #[inline(always)]
    pub(crate) fn copy(&self, value: &T) -> Option<T> {
        let _copying = Copying::begin()?;
        contained(|| (self.copy)(value))
    }

    pub(super) fn hold(&self, value: T, about: Held<()>) -> Arc<Held> {
        (self.hold)(value, about)
    }

    /// A copy of the value, if it is a `T`.
    pub(super) fn copy_of(&self, held: &Held) -> Option<T>
    where
        T: 'static,
    {
        let Quiet(value) = held.value.downcast_ref()?;
        self.copy(value.as_ref()?)
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
