//! The same key in another process.

use std::collections::{HashMap, HashSet};
use std::process::Command;

use super::key;

const CHILD: &str = "CACHENESS_TEST_KEY_CHILD";

fn printed() -> String {
    let set: HashSet<String> = (0..50).map(|i| format!("element {i}")).collect();
    let map: HashMap<u64, HashSet<String>> = (0..5).map(|i| (i, set.clone())).collect();
    let key = key(("text", 1, 2.5, Some(map)));
    format!("{key} {:02x?}", key.identity())
}

#[test]
fn another_process_makes_the_same_keys() {
    if std::env::var_os(CHILD).is_some() {
        println!("key={}", printed());
        return;
    }
    for _ in 0..3 {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "key::tests::process::another_process_makes_the_same_keys", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        assert!(output.contains(&format!("key={}", printed())), "{output}");
    }
}
