//! The tables in docs/reference.md names items and tests that are there.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn sources() -> Vec<String> {
    let below = |dir: &str| cacheness_tests::files_below(&root().join(dir)).unwrap();
    let folders = ["cacheness/src", "cacheness-core/src", "cacheness-macros/src", "tests/tests"];
    let files = folders.into_iter().flat_map(below).filter(|path| path.extension().is_some_and(|end| end == "rs"));
    files.map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// The rows of all tables, cell by cell, without heads and rules.
fn rows() -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("docs/reference.md")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    let cells = lines.map(|line| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    cells.filter(|cells| cells[0] != "reference").collect()
}

fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The words behind `fn`, `struct`, `enum`, `trait` and `pub`: what there is to be named.
fn items(sources: &[String]) -> HashSet<&str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut items = HashSet::new();
    for source in sources {
        for word in ["fn ", "struct ", "enum ", "trait ", "pub ", "pub(crate) "] {
            let behind = source.match_indices(word).map(|(at, _)| &source[at + word.len()..]);
            items.extend(behind.map(|rest| rest.split(|c| !is_name(c)).next().unwrap_or_default()));
        }
    }
    items
}

#[test]
fn every_row_names_an_item_and_a_test_that_are_there_or_says_what_is_missing() {
    let (sources, rows) = (sources(), rows());
    let items = items(&sources);
    assert!(rows.len() > 90, "{} rows", rows.len());
    for row in rows {
        let [reference, here, shown] = row.as_slice() else { panic!("{row:?} has another number of cells") };
        assert!(!reference.is_empty() && !here.is_empty(), "{row:?}");
        if here.starts_with("not yet: ") {
            assert!(shown.is_empty() && here.len() > 20, "{row:?}");
            continue;
        }
        assert!(!names(here).is_empty() && !names(shown).is_empty(), "{row:?}");
        for item in names(here).into_iter().chain(names(shown)) {
            let name = item.trim_start_matches("#[").trim_end_matches(']').rsplit("::").next().unwrap();
            assert!(items.contains(name), "`{item}` is not there: {row:?}");
        }
    }
}

/// Names of public methods in the sources of a folder, without those of the folders below.
fn methods(folder: &str) -> HashSet<String> {
    let files = fs::read_dir(root().join(folder)).unwrap().map(|item| item.unwrap().path());
    let sources = files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap());
    let lines: Vec<String> = sources.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let names = lines.iter().filter_map(|line| {
        let rest = line.strip_prefix("    pub fn ").or_else(|| line.strip_prefix("    pub async fn "))?;
        rest.split(['(', '<']).next().map(str::to_owned)
    });
    names.collect()
}

#[test]
fn every_method_of_a_cache_that_may_block_has_a_future_of_the_same_name() {
    let futures = methods("cacheness-core/src/cache/asynchronous");
    let mut blocking = methods("cacheness-core/src/cache");
    blocking.extend(methods("cacheness-core/src/cache/transfer"));
    // Options, lists and statistics, which are the same for both; and what neither reads nor writes files.
    let others = [
        "after",
        "asynchronous",
        "average_entry_size",
        "config",
        "custom",
        "description",
        "directory",
        "function",
        "handler",
        "hit_rate",
        "matching",
        "metadata",
        "migrate_cache",
        "migrate_cache_with",
        "new",
        "prefix",
        "seen",
        "size_mb",
        "tag",
        "ttl",
        "with_clock",
        "with_clock_in",
    ];
    let missing: Vec<_> =
        blocking.iter().filter(|name| !futures.contains(*name) && !others.contains(&name.as_str())).collect();
    assert!(blocking.len() > 40 && missing.is_empty(), "{missing:?}");
}
