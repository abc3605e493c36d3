//! Panics of code that is not ours. What it panicked with is not dropped where it ends here: its `Drop` may panic as well.

use std::any::Any;
use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// What `work` returns, or what its panic said.
///
/// Unwind safety: what the work left half done is dropped with it, or it is a value that the caller gives up.
#[inline]
pub(crate) fn caught<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(message_of)
}

#[cold]
fn message_of(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|panic| panic.downcast::<String>().map(|text| *text));
    text.map_err(forget).unwrap_or_else(|()| "no message".to_owned())
}

/// What `work` returns; `None` if it panics and nobody is to be told of that.
#[inline]
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
        assert_eq!(caught(|| resume_unwind(Box::new(Again))), Err::<(), _>("no message".to_owned()));
        assert_eq!(caught(|| panic!("plain")), Err::<(), _>("plain".to_owned()));
        assert_eq!(caught(|| panic!("{}", 1)), Err::<(), _>("1".to_owned()));
    }
}
