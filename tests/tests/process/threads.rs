//! A process that gets no thread from the system: every call is answered, and nothing panics or hangs.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use cacheness_tests::{bodies, errors_of, probe, skip, warnings};

use crate::PROBE;

/// Runs a story as a user who may have so many threads. Nothing if that cannot be arranged here.
fn with_threads(limit: u32, dir: &Path, story: &str) -> Option<Output> {
    // Nobody else's: the limit counts all processes of a user.
    let user = 1_900_000_000 + std::process::id() % 1_000_000 + limit;
    let (uid, nproc) = (user.to_string(), format!("--nproc={limit}:{limit}"));
    let as_user = ["--reuid", &uid, "--regid", &uid, "--clear-groups", "prlimit", &nproc, PROBE, story];
    if chown(dir, Some(user), Some(user)).is_err() {
        skip("only root can become another user");
        return None;
    }
    if !Command::new("prlimit").arg("--version").output().is_ok_and(|output| output.status.success()) {
        skip("there is no `prlimit` here");
        return None;
    }
    let mut child = probe("setpriv", dir, &as_user).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok()?;
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("hangs: {}", errors_of(&output));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    if matches!(output.status.code(), Some(126 | 127)) {
        skip("the probe cannot be started as another user");
        return None;
    }
    Some(output)
}

#[test]
fn where_no_thread_can_be_started_functions_and_futures_of_them_run_and_one_warning_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let Some(output) = with_threads(1, dir.path(), "without-threads") else { return };
    let errors = errors_of(&output);
    assert!(output.status.success() && !errors.contains("panicked"), "{:?} {errors}", output.status);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n");
    assert_eq!(bodies(&output), 60, "{errors}");
    assert_eq!(warnings(&output).len(), 1, "{errors}");
    assert!(warnings(&output)[0].contains("thread"), "{errors}");
}

#[test]
fn a_cache_that_was_opened_in_time_works_where_no_more_threads_can_be_started() {
    let dir = tempfile::tempdir().unwrap();
    for bodies_run in [60, 0] {
        let Some(output) = with_threads(40, dir.path(), "out-of-threads") else { return };
        let errors = errors_of(&output);
        assert!(output.status.success() && !errors.contains("panicked"), "{:?} {errors}", output.status);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n");
        assert_eq!(bodies(&output), bodies_run, "what an earlier run put is there: {errors}");
        assert!(warnings(&output).is_empty(), "{errors}");
    }
}
