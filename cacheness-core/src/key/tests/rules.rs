use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::*;
use crate::config::Limits;
use crate::params;

fn rules() -> KeyRules {
    KeyRules::within(&Limits::DEFAULT)
}

fn by_text() -> KeyRules {
    KeyRules { path_content: false, ..rules() }
}

fn flat() -> KeyRules {
    KeyRules { max_depth: 1, ..rules() }
}

/// A key whose rules are known at its start, and one that learns of them when it is encoded.
fn both(value: &impl ToKey, rules: KeyRules) -> [Result<Key>; 2] {
    let early = value.to_key_with(KeyWriter::with_rules(rules)).resolve();
    let late = value.to_key_with(KeyWriter::new()).within(&rules).resolve();
    [early, late]
}

#[test]
fn depth_counts_what_lies_inside_and_is_refused_by_the_field_that_bounds_it() {
    let deep = vec![vec!["a"]];
    for key in both(&["a"].as_slice(), flat()) {
        key.unwrap();
    }
    for key in both(&deep, flat()).into_iter().chain(both(&params! { deep: deep }, flat())) {
        let error = key.unwrap_err();
        assert!(error.is_limit(), "{error}");
        assert!(error.to_string().contains("deeper than 1 values (serialization.max_collection_depth)"), "{error}");
    }
    let [early, late] = both(&deep, KeyRules { max_depth: 2, ..rules() });
    assert_eq!((early.unwrap(), late.unwrap()), (deep.to_key().unwrap(), deep.to_key().unwrap()));
}

#[test]
fn a_path_by_its_text_does_not_ask_what_lies_there_whenever_that_is_decided() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let keys = || {
        let plain = both(&path.as_path(), by_text());
        plain.into_iter().chain(both(&params! { at: path }, by_text())).map(Result::unwrap).collect::<Vec<_>>()
    };
    let missing = keys();
    std::fs::write(&path, "content").unwrap();
    assert_eq!(keys(), missing);
    assert_eq!((&missing[0], &missing[2]), (&missing[1], &missing[3]));
    assert_ne!(path.to_key().unwrap(), missing[0]);
    assert_ne!(both(&Path::new("other"), by_text())[0].as_ref().unwrap(), &missing[0]);
}

#[test]
fn a_path_in_a_set_is_by_its_text_only_if_that_is_known_in_time() {
    let set = BTreeSet::from([PathBuf::from("no such file")]);
    let [early, late] = both(&set, by_text());
    assert_ne!(early.unwrap(), set.to_key().unwrap());
    let [_, in_params] = both(&params! { set: set }, by_text());
    for error in [late.unwrap_err(), in_params.unwrap_err()] {
        assert!(error.is_invalid_argument() && error.to_string().contains("hash_path_content"), "{error}");
    }
}
