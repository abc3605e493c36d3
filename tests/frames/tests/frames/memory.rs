//! What a large value takes beside itself, measured in processes of their own.

use std::process::Command;

/// What the system may need beside the value: the bar, and what a process has before it does anything.
const BESIDE_KIB: u64 = 64 << 10;

/// Runs a story of `large` in a process of its own; returns the most memory that it had resident, in KiB, beside what it had when
/// its value was made.
fn grown_by(story: &str, dir: &std::path::Path, mib: u64) -> u64 {
    let output = Command::new(env!("CARGO_BIN_EXE_large"))
        .args([story, dir.to_str().unwrap(), &mib.to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{story}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn putting_and_getting_a_gigabyte_takes_the_value_and_no_more_than_64_mib() {
    let mib = std::env::var("CACHENESS_LARGE_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(256);
    let kinds =
        ["array", "table", "ipc", "frame", "frame-ipc", "tensors", "array-signed", "table-signed", "frame-signed"];
    for kind in kinds {
        let dir = tempfile::tempdir().unwrap();
        let put = grown_by(&format!("put-{kind}"), dir.path(), mib);
        assert!(put < BESIDE_KIB, "put of {kind}: {put} KiB beside the value");
        let get = grown_by(&format!("get-{kind}"), dir.path(), mib);
        assert!(get < mib * 1024 + BESIDE_KIB, "get of {kind}: {get} KiB for a value of {} KiB", mib * 1024);
        println!(
            "{kind} of {mib} MiB: put {} MiB, get {} MiB beside the value",
            put >> 10,
            (get >> 10).saturating_sub(mib)
        );
    }
}
