//! Panics of code that is not ours, where nobody is to be told of them.

use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// What `work` returns; `None` if it panics. What it panicked with is leaked: its `Drop` may panic as well.
pub(crate) fn contained<R>(work: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(work)).map_err(forget).ok()
}

/// Wakes a task, whose waker is its executor's.
pub(crate) fn wake(waker: Waker) {
    contained(|| waker.wake());
}

#[cfg(test)]
pub(crate) mod tests {
    use std::panic::resume_unwind;
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    /// Panics when it is woken, with what panics again when it is dropped.
    pub(crate) struct Panics;

    struct Again;

    impl Drop for Again {
        fn drop(&mut self) {
            panic!("once more");
        }
    }

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            resume_unwind(Box::new(Again));
        }
    }

    #[test]
    fn a_panic_whose_payload_panics_in_its_drop_is_contained() {
        assert_eq!(contained(|| resume_unwind(Box::new(Again))), None::<()>);
        wake(Waker::from(Arc::new(Panics)));
        assert_eq!(contained(|| 7), Some(7));
    }
}
