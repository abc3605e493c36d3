//! The normal end of the process keeps every put, also when the cache lies in a static, which is never dropped.
//!
//! The one place with `unsafe` in this crate: registering a function with `atexit`.
#![allow(unsafe_code)]

use std::panic::catch_unwind;
use std::sync::Once;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::registry;

/// Longer than any flush; a disk that hangs must not keep a process from ending for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// Has every open cache closed when the process ends by returning from `main` or by `std::process::exit`.
pub(super) fn close_at_exit() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: `at_exit` is a plain function that lives as long as the program and never unwinds. If the table of
        // `atexit` is full it refuses, and caches are then closed when they are dropped.
        unsafe { libc::atexit(at_exit) };
    });
}

extern "C" fn at_exit() {
    // Unwinding into the caller, which is C, would abort.
    let _ = catch_unwind(close_on_a_fresh_thread);
}

/// The thread-locals of this thread are gone already, and sled uses some: a fresh thread has its own.
fn close_on_a_fresh_thread() {
    if !registry::has_open() {
        return;
    }
    let (done, closed) = channel();
    let closer = thread::Builder::new().name("cacheness-exit".to_owned()).spawn(move || {
        registry::close_all();
        // Nobody listens any more if it took too long.
        let _ = done.send(());
    });
    if closer.is_ok() {
        // A panic of the closer drops its end of the channel, which ends the wait too.
        let _ = closed.recv_timeout(PATIENCE);
    }
}
