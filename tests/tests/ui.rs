//! What rustc says about attributes that cannot work: one error each, with its caret on the cause.

use std::process::Command;

/// Messages around ours belong to the compiler, and change with it.
const PINNED_RUSTC: &str = "rustc 1.95.";

#[test]
fn each_mistake_is_one_error_at_its_cause() {
    let rustc = Command::new("rustc").arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&rustc.stdout).into_owned();
    if !version.starts_with(PINNED_RUSTC) {
        cacheness_tests::skip(&format!("the messages are pinned for {PINNED_RUSTC}, this is {version}"));
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
