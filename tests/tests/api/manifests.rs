//! What crates.io and docs.rs are told of the crates.

use std::fs;
use std::path::{Path, PathBuf};

const PUBLISHED: [&str; 3] = ["cacheness", "cacheness-core", "cacheness-macros"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

#[test]
fn every_published_crate_says_where_it_comes_from_and_what_it_is_about() {
    let workspace = read("Cargo.toml");
    for field in ["repository = \"https://", "keywords = [", "categories = [", "rust-version = "] {
        assert!(workspace.lines().any(|line| line.starts_with(field)), "{field}");
    }
    for name in PUBLISHED {
        let manifest = read(&format!("{name}/Cargo.toml"));
        for field in ["repository", "keywords", "categories", "rust-version", "license"] {
            assert!(manifest.contains(&format!("{field}.workspace = true")), "{name}: {field}");
        }
        assert!(manifest.contains(&format!("documentation = \"https://docs.rs/{name}\"")), "{name}");
    }
}

#[test]
fn a_crate_with_features_is_shown_with_all_of_them() {
    for name in PUBLISHED.into_iter().filter(|name| read(&format!("{name}/Cargo.toml")).contains("[features]")) {
        let manifest = read(&format!("{name}/Cargo.toml"));
        assert!(manifest.contains("[package.metadata.docs.rs]\nall-features = true\n"), "{name}");
        assert!(read(&format!("{name}/src/lib.rs")).contains("#![cfg_attr(docsrs, feature(doc_cfg))]"), "{name}");
    }
}

/// The facade re-exports what another crate has compiled: there no badge shows, and the text is what tells.
#[test]
fn what_needs_a_feature_names_it_in_its_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cacheness-core/src");
    let mut paths: Vec<PathBuf> = cacheness_tests::files_below(&root).unwrap();
    paths.retain(|path| path.extension().is_some_and(|end| end == "rs") && !path.ends_with("testing.rs"));
    let mut found = 0;
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let whole_files = [("config/file.rs", "config-files"), ("cache/transfer/archive.rs", "archive")];
        let gated_whole = whole_files.iter().find(|(file, _)| path.ends_with(file)).map(|(_, feature)| *feature);
        for (at, line) in lines.iter().enumerate() {
            let gate = at.checked_sub(1).and_then(|above| lines[above].strip_prefix("#[cfg(feature = \""));
            let feature = gate.and_then(|rest| rest.strip_suffix("\")]")).or(gated_whole);
            let is_variant = path.ends_with("config/codec.rs") && line.ends_with(',') && !line.contains([' ', ':']);
            let is_public = ["pub fn ", "pub async fn ", "pub struct "].iter().any(|item| line.starts_with(item));
            let Some(feature) = feature.filter(|name| *name != "testing" && (is_variant || is_public)) else {
                continue;
            };
            let docs = lines[..at].iter().rev().take_while(|line| line.starts_with("///") || line.starts_with('#'));
            let named = docs.filter(|line| line.starts_with("///")).any(|line| line.contains(&format!("`{feature}`")));
            assert!(named, "{}:{}: feature {feature}", path.display(), at + 1);
            found += 1;
        }
    }
    assert!(found >= 13, "{found}");
}
