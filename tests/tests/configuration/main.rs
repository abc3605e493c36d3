//! Every field of the configuration does something, is in the documentation, and can be set from where it says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod codecs;
mod documentation;
mod effects;
mod experiments;
mod precedence;
mod shared;

use std::path::Path;

use cacheness::CacheConfig;
use serde_json::Value;

/// The names and values of all fields, in order: `storage.cache_dir` and so on.
fn leaves(config: &CacheConfig) -> Vec<(String, Value)> {
    let tree: Value = serde_json::from_str(&config.to_json().unwrap()).unwrap();
    let mut leaves = Vec::new();
    collect("", &tree, &mut leaves);
    leaves
}

fn collect(path: &str, tree: &Value, leaves: &mut Vec<(String, Value)>) {
    let Value::Object(fields) = tree else { return leaves.push((path.to_owned(), tree.clone())) };
    for (name, value) in fields {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(&path, value, leaves);
    }
}

/// A configuration with these fields changed.
fn with(config: &CacheConfig, changes: &[(&str, Value)]) -> CacheConfig {
    let mut tree: Value = serde_json::from_str(&config.to_json().unwrap()).unwrap();
    for (path, value) in changes {
        let pointer = format!("/{}", path.replace('.', "/"));
        *tree.pointer_mut(&pointer).unwrap_or_else(|| panic!("there is no field {path}")) = value.clone();
    }
    CacheConfig::from_json(&tree.to_string()).unwrap()
}

/// Every file below a directory that may not be there.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    if dir.exists() { cacheness_tests::files_below(dir).unwrap() } else { Vec::new() }
}
