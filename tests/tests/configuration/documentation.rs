//! The table in docs/configuration.md and the code say the same.

use std::collections::BTreeSet;

use cacheness::CacheConfig;
use serde_json::Value;

use super::leaves;
use super::precedence::configured;

struct Row {
    name: String,
    kind: String,
    unit: String,
    default: String,
    variable: String,
    meaning: String,
}

fn document() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md")).unwrap()
}

/// The rows of the table of fields.
fn rows() -> Vec<Row> {
    let plain = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(plain).collect();
        let [name, kind, unit, default, variable, meaning] = <[String; 6]>::try_from(cells).ok()?;
        Some(Row { name, kind, unit, default, variable, meaning })
    };
    let text = document();
    let table = text.lines().skip_while(|line| !line.starts_with("| field ")).take_while(|line| line.starts_with('|'));
    table.skip(2).map(|line| row(line).unwrap_or_else(|| panic!("not six cells: {line}"))).collect()
}

#[test]
fn the_table_has_every_field_with_its_type_and_default() {
    let mut rows = rows();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let mut fields = leaves(&CacheConfig::default());
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    let (documented, known): (Vec<_>, Vec<_>) =
        (rows.iter().map(|row| &row.name).collect(), fields.iter().map(|(name, _)| name).collect());
    assert_eq!(documented, known);
    for (row, (name, default)) in rows.iter().zip(&fields) {
        let as_written = match default {
            Value::Null => "none".to_owned(),
            Value::String(text) => text.clone(),
            Value::Array(items) if items.is_empty() => "none".to_owned(),
            other => other.to_string(),
        };
        assert_eq!(row.default, as_written, "{name}");
        let fits = match default {
            Value::Bool(_) => row.kind == "bool",
            Value::Number(_) => row.kind == "integer",
            Value::String(_) => ["path", "name"].contains(&row.kind.as_str()),
            Value::Array(_) => ["list of names", "list of paths"].contains(&row.kind.as_str()),
            _ => ["optional path", "optional name", "optional integer", "optional number"].contains(&row.kind.as_str()),
        };
        assert!(fits, "{name} is no {}", row.kind);
        assert!(!row.meaning.is_empty() && !row.unit.is_empty(), "{name}");
    }
}

/// Variables that set a field, with a value that is not its default.
const VARIABLES: [(&str, &str); 10] = [
    ("CACHENESS_DIR", "{dir}"),
    ("CACHENESS_MAX_SIZE_MB", "77"),
    ("CACHENESS_BACKEND", "memory"),
    ("CACHENESS_CONNECTION_URL", "postgresql://me:secret@127.0.0.1:1/caches"),
    ("CACHENESS_LOCAL_DIR", "{near}"),
    ("CACHENESS_COMPRESSION_CODEC", "gzip"),
    ("CACHENESS_COMPRESSION_LEVEL", "7"),
    ("CACHENESS_DEFAULT_TTL_SECONDS", "90s"),
    ("CACHENESS_VERIFY_PATHS", "always"),
    ("CACHENESS_SIGNING_KEY_FILE", "/etc/weather/signing.key"),
];

#[test]
fn each_variable_sets_the_fields_that_the_table_says_and_no_others() {
    let rows = rows();
    let documented: BTreeSet<_> =
        rows.iter().map(|row| row.variable.as_str()).filter(|name| !name.is_empty()).collect();
    assert_eq!(documented, VARIABLES.iter().map(|(name, _)| *name).collect());
    let dir = tempfile::tempdir().unwrap();
    for (variable, value) in VARIABLES {
        // The level is one of a codec that has levels; the directory is set in any case.
        let given: &[_] = match variable {
            "CACHENESS_COMPRESSION_LEVEL" => &[("CACHENESS_COMPRESSION_CODEC", "zstd")],
            // Of a server that nobody needs to reach.
            "CACHENESS_CONNECTION_URL" | "CACHENESS_LOCAL_DIR" => {
                &[("CACHENESS_BACKEND", "postgresql"), ("CACHENESS_CONNECTION_URL", "postgresql://127.0.0.1:2/caches")]
            }
            _ => &[],
        };
        // A directory is opened with one backend.
        let place = dir.path().join(match variable {
            "CACHENESS_CONNECTION_URL" | "CACHENESS_LOCAL_DIR" => "of a server",
            _ => "cache",
        });
        let before = leaves(&configured(&place, given));
        let (place, value) = match variable {
            "CACHENESS_DIR" => (dir.path().join("other"), dir.path().join("other").to_str().unwrap().to_owned()),
            "CACHENESS_LOCAL_DIR" => (place, dir.path().join("near").to_str().unwrap().to_owned()),
            _ => (place, value.to_owned()),
        };
        let after = leaves(&configured(&place, &[given, &[(variable, value.as_str())]].concat()));
        let changed: Vec<_> =
            before.iter().zip(&after).filter(|(before, after)| before != after).map(|((name, _), _)| name).collect();
        let documented: Vec<_> = rows.iter().filter(|row| row.variable == variable).map(|row| &row.name).collect();
        assert_eq!(changed, documented, "{variable}");
    }
}

#[test]
fn the_other_variables_are_explained_too() {
    let text = document();
    for variable in ["CACHENESS_CONFIG", "CACHENESS_DISABLE"] {
        assert!(text.contains(variable), "{variable}");
    }
}

#[test]
fn attributes_and_configurations_read_times_by_one_grammar() {
    assert_eq!(
        include_str!("../../../cacheness-core/src/config/spans.rs"),
        include_str!("../../../cacheness-macros/src/parse/spans.rs"),
        "the file is in both crates, since the macros cannot depend on the engine: copy one over the other"
    );
}
