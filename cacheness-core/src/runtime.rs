//! Where blocking work of async callers runs.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};

use once_cell::sync::OnceCell;
use tokio::runtime::{Builder, Handle, Runtime};

/// Runs `work` on the blocking pool of a small tokio runtime of our own: that of the runtime that polls may be full of
/// threads that wait for this very work. A panic of `work` passes through.
///
/// Where no thread can be had (a runtime that is shutting down) the work runs on the caller's.
pub(crate) async fn blocking<R, F>(work: F) -> R
where
    R: Send + 'static,
    F: FnOnce() -> R + Send + 'static,
{
    let Some(handle) = handle() else { return work() };
    // Shared, so that a pool which drops the task without running it does not take the work along.
    let slot = Arc::new(Mutex::new(Some(work)));
    let pooled = Arc::clone(&slot);
    match handle.spawn_blocking(move || take(&pooled).map(|work| work())).await {
        Ok(Some(result)) => result,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Ok(None) | Err(_) => match take(&slot) {
            Some(work) => work(),
            None => resume_unwind(Box::new("the work was taken by a pool that gave nothing back")),
        },
    }
}

fn take<W>(slot: &Mutex<Option<W>>) -> Option<W> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn handle() -> Option<Handle> {
    own_runtime().map(|runtime| runtime.handle().clone()).or_else(|| Handle::try_current().ok())
}

fn own_runtime() -> Option<&'static Runtime> {
    static OWN: OnceCell<Runtime> = OnceCell::new();
    OWN.get_or_try_init(|| Builder::new_current_thread().thread_name("cacheness").build()).ok()
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread::{self, Thread};

    use super::*;

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut future = std::pin::pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(result) => return result,
                Poll::Pending => thread::park(),
            }
        }
    }

    #[test]
    fn work_leaves_the_polling_thread_also_outside_tokio() {
        let here = thread::current().id();
        let there = block_on(blocking(|| thread::current().id()));
        assert_ne!(here, there);
    }

    #[test]
    fn a_panic_of_the_work_passes_through() {
        let caught = std::panic::catch_unwind(|| block_on(blocking(|| panic!("as the work does"))));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"as the work does"));
    }

    #[test]
    fn work_is_done_also_when_every_blocking_thread_of_the_runtime_waits_for_it() {
        let (done, waited) = std::sync::mpsc::channel();
        let full = Builder::new_multi_thread().worker_threads(1).max_blocking_threads(1).build().unwrap();
        let handle = full.handle().clone();
        full.spawn_blocking(move || done.send(handle.block_on(blocking(|| 7))));
        let result = waited.recv_timeout(std::time::Duration::from_secs(5));
        full.shutdown_background();
        assert_eq!(result, Ok(7));
    }
}
