use cacheness_tests::{bodies, errors_of, run};

use crate::PROBE;

fn keeps_every_put(story: &str, code: i32) {
    let dir = tempfile::tempdir().unwrap();
    let first = run(PROBE, dir.path(), &[story, "40"]);
    assert_eq!(first.status.code(), Some(code), "{}", errors_of(&first));
    assert_eq!(bodies(&first), 40);
    let second = run(PROBE, dir.path(), &["call", "40"]);
    assert!(second.status.success(), "{}", errors_of(&second));
    assert_eq!(bodies(&second), 0, "{story}: {}", errors_of(&second));
}

#[test]
fn returning_from_main_right_after_a_put_keeps_it() {
    keeps_every_put("put-and-return", 0);
}

#[test]
fn process_exit_right_after_a_put_keeps_it() {
    keeps_every_put("put-and-exit", 7);
}

#[test]
fn process_exit_in_another_thread_keeps_every_put() {
    keeps_every_put("put-in-a-thread-and-exit", 7);
}

#[test]
fn an_abort_loses_at_most_the_last_puts_and_leaves_a_cache_that_works() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run(PROBE, dir.path(), &["call-and-abort", "40"]).status.code(), None);
    assert!(run(PROBE, dir.path(), &["call", "40"]).status.success());
    assert_eq!(bodies(&run(PROBE, dir.path(), &["call", "40"])), 0);
}
