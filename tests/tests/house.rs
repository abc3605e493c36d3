//! The rooms of the engine: what stands where, and which way the imports go.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, from the one that everybody may name to the one that nobody does. A room names those before it and no other.
const ROOMS: [&str; 17] = [
    "error",
    "clock",
    "util",
    "security",
    "config",
    "storage",
    "value",
    "key",
    "entry",
    "query",
    "codec",
    "format",
    "index",
    "engine",
    "cache",
    "blob_store",
    "function",
];

/// The longest file.
const MOST_LINES: usize = 500;
/// As many files as a reader may have to know of; those of tests are not counted, nor those of what a feature brings.
const MOST_FILES: usize = 130;

struct Source {
    path: String,
    text: String,
}

impl Source {
    fn room(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn is_test(&self) -> bool {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        stem.split('/')
            .any(|part| part == "tests" || part.ends_with("_tests") || part == "sample" || part == "conformance")
    }

    /// How many modules it is below the root of the crate.
    fn depth(&self) -> usize {
        let parts = self.path.split('/').count();
        if self.path.ends_with("/mod.rs") { parts - 1 } else { parts }
    }

    /// The code without comments, and without the tests at its end.
    fn code(&self) -> String {
        let lines = self.text.lines().map(|line| line.split("//").next().unwrap_or_default());
        let code = lines.collect::<Vec<_>>().join("\n");
        let end = ["#[cfg(test)]\nmod ", "#[cfg(test)]\npub(crate) mod "].map(|begin| {
            let modules = code.match_indices(begin).map(|(at, _)| at);
            modules.filter(|at| code[*at..].lines().nth(1).is_some_and(|line| line.ends_with('{'))).min()
        });
        let end = end.into_iter().flatten().min().unwrap_or(code.len());
        code[..end].to_owned()
    }

    /// The rooms that the code names, with what it names of them.
    fn named(&self) -> BTreeSet<String> {
        let code = self.code();
        let after = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
        let from_root = code.match_indices("crate::").filter(|(at, _)| !code[..*at].ends_with('$'));
        let mut named: BTreeSet<String> = from_root.map(|(at, found)| after(&code[at + found.len()..])).collect();
        // As many `super` as lead out of the room.
        let out = "super::".repeat(self.depth());
        named.extend(code.match_indices(&out).map(|(at, _)| after(&code[at + out.len()..])));
        named.remove("super");
        named
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cacheness-core/src");
    let mut paths: Vec<PathBuf> = cacheness_tests::files_below(&root).unwrap();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let source = |path: &PathBuf| Source {
        path: path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(),
        text: fs::read_to_string(path).unwrap(),
    };
    paths.iter().map(source).filter(|source| source.path != "lib.rs").collect()
}

/// What a file names that it may not.
fn faults_of(source: &Source) -> Vec<String> {
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    let Some(own) = place(source.room()) else { return vec![format!("{} is in no room", source.path)] };
    let named = source.named();
    let faults = named.iter().filter_map(|room| match place(room) {
        Some(at) if at <= own => None,
        Some(_) => Some(format!("{} names `{room}`, which stands on it", source.path)),
        None => Some(format!("{} names `crate::{room}`, and not the module that defines it", source.path)),
    });
    faults.collect()
}

#[test]
fn a_room_names_only_those_that_it_stands_on() {
    let sources = sources();
    assert!(sources.len() > 100, "{}", sources.len());
    let faults: Vec<_> = sources.iter().filter(|source| !source.is_test()).flat_map(faults_of).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let used: BTreeSet<&str> = sources.iter().map(Source::room).collect();
    assert_eq!(used, BTreeSet::from(ROOMS), "a room is listed and not there");
}

#[test]
fn an_import_that_goes_upwards_is_seen() {
    let fault = |path: &str, text: &str| faults_of(&Source { path: path.to_owned(), text: text.to_owned() }).len();
    assert_eq!(fault("key/writer.rs", "use crate::error::Result;\nuse super::tag;"), 0);
    assert_eq!(fault("key/writer.rs", "use crate::engine::Store;"), 1);
    assert_eq!(fault("key/writer.rs", "fn f() -> crate::cache::Cache {}"), 1);
    assert_eq!(fault("key/writer.rs", "use super::super::engine::Store;"), 1);
    assert_eq!(fault("key/mod.rs", "use super::engine::Store;"), 1);
    assert_eq!(fault("key/writer.rs", "use crate::Cache;"), 1, "by the root, which hides where it comes from");
    assert_eq!(fault("key/writer.rs", "// use crate::engine::Store;"), 0);
    assert_eq!(fault("key/writer.rs", "#[cfg(test)]\nmod tests {\n    use crate::engine::Store;\n}"), 0);
    assert_eq!(fault("attic/mod.rs", ""), 1);
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|source| (source.text.lines().count(), source.path))
        .filter(|(lines, _)| *lines > MOST_LINES)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn there_are_not_more_files_than_a_reader_can_know() {
    // Of what a reader of the core need not know: databases, servers, buckets; arrays and tables in their own formats.
    let of_wings = [
        "cache/native.rs",
        "codec/handler/native.rs",
        "codec/native/",
        "config/databases.rs",
        "config/local.rs",
        "config/native.rs",
        "config/objects.rs",
        "config/postgresql.rs",
        "config/redis.rs",
        "config/secret.rs",
        "config/servers.rs",
        "config/sqlite.rs",
        "engine/lease.rs",
        "engine/local/",
        "engine/native.rs",
        "engine/sweep.rs",
        "index/columns.rs",
        "index/guard.rs",
        "index/handle.rs",
        "index/postgres/",
        "index/redis/",
        "index/sqlite/",
        "key/arrays.rs",
        "key/tables",
        "storage/blob/filesystem/split.rs",
        "storage/blob/object/",
        "util/breaker.rs",
        "util/remote.rs",
        "util/tls/",
    ];
    let is_of_one = |source: &Source| of_wings.iter().any(|part| source.path.starts_with(part));
    let counts = |source: &&Source| !source.is_test() && !is_of_one(source);
    let here = sources().iter().filter(counts).count();
    assert!((50..=MOST_FILES).contains(&here), "{here} files");
}
