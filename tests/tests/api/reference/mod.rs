//! The tables in docs/reference.md name items that users reach and tests that run.
//!
//! An item is written as users write it behind `cacheness::`: `Cache::put` is a public method or field of what
//! `cacheness::Cache` is, `config::Codec` an item of a public module, `#[cached(ttl)]` an option of the attributes. A test is
//! written with the program that runs it: `api::name` is in tests/tests/api, `core::name` a unit test of the engine.

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use sources::{Read, World};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn from_disk(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// What there is to be named.
struct Known {
    world: World,
    /// By program.
    tests: BTreeMap<String, BTreeSet<String>>,
    /// The options of the attributes.
    options: BTreeSet<String>,
}

impl Known {
    fn read(read: Read<'_>) -> Self {
        let mut world = World::default();
        let mut tests = BTreeMap::new();
        for (package, tests_as) in [("cacheness-core", "core"), ("cacheness-macros", "macros"), ("cacheness", "facade")]
        {
            let lib = root().join(package).join("src/lib.rs");
            tests.insert(tests_as.to_owned(), world.add(&package.replace('-', "_"), &lib, read));
        }
        let mut programs = World::default();
        let folders = ["tests/tests", "tests/frames/tests"].map(|folder| root().join(folder));
        for (name, main) in folders.iter().flat_map(|folder| programs_below(folder)) {
            let found = programs.add(&name, &main, read);
            tests.insert(name, found);
        }
        let options = options_in(&read(&root().join("cacheness-macros/src/parse/options.rs")).unwrap());
        Self { world, tests, options }
    }

    fn has_item(&self, name: &str) -> bool {
        if let Some(attribute) = name.strip_prefix("#[").and_then(|rest| rest.strip_suffix(']')) {
            let (attribute, option) = match attribute.split_once('(') {
                Some((attribute, option)) => (attribute, option.strip_suffix(')')),
                None => (attribute, None),
            };
            let is_option = option.is_none_or(|option| self.options.contains(option));
            return is_option && self.world.has_item(&format!("cacheness::{attribute}"));
        }
        let path = format!("cacheness::{name}");
        match path.rsplit_once("::") {
            _ if self.world.has_item(&path) => true,
            Some((of, member)) => self.world.has_member(of, member),
            None => false,
        }
    }

    fn has_test(&self, name: &str) -> bool {
        let found = name.split_once("::").map(|(program, test)| (self.tests.get(program), test));
        found.is_some_and(|(tests, test)| tests.is_some_and(|tests| tests.contains(test)))
    }

    /// What is named in a table and not there.
    fn missing(&self, rows: &[Vec<String>]) -> Vec<String> {
        let mut missing = Vec::new();
        for row in rows.iter().filter(|row| !row[1].starts_with("not yet: ")) {
            missing.extend(names(&row[1]).into_iter().filter(|name| !self.has_item(name)).map(str::to_owned));
            missing.extend(names(&row[2]).into_iter().filter(|name| !self.has_test(name)).map(str::to_owned));
        }
        missing
    }
}

/// The test programs in a folder: a file each, or a folder with `main.rs`.
fn programs_below(folder: &Path) -> Vec<(String, PathBuf)> {
    let paths = fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    let main = |path: PathBuf| if path.is_dir() { path.join("main.rs") } else { path.clone() };
    let programs = paths.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), main(path)));
    programs.filter(|(_, main)| main.is_file()).collect()
}

/// The names of the options, from the table of the attributes: the first text of each row, and those behind `or`.
fn options_in(text: &str) -> BTreeSet<String> {
    let file = syn::parse_file(text).unwrap();
    let table = file.items.into_iter().find_map(|item| match item {
        syn::Item::Const(found) if found.ident == "OPTIONS" => Some(*found.expr),
        _ => None,
    });
    let tokens: TokenStream = match table {
        Some(syn::Expr::Reference(list)) => match *list.expr {
            syn::Expr::Macro(found) => found.mac.tokens,
            _ => TokenStream::new(),
        },
        Some(syn::Expr::Macro(found)) => found.mac.tokens,
        _ => TokenStream::new(),
    };
    let mut options = BTreeSet::new();
    let mut named = true;
    for token in tokens {
        match token {
            TokenTree::Literal(text) if named => {
                options.insert(text.to_string().trim_matches('"').to_owned());
                named = false;
            }
            TokenTree::Punct(comma) => named = comma.as_char() == ',',
            TokenTree::Ident(word) => named = word == "or",
            _ => named = false,
        }
    }
    options
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

#[test]
fn every_row_names_an_item_and_a_test_that_are_there_or_says_what_is_missing() {
    let rows = rows();
    assert!(rows.len() > 90, "{} rows", rows.len());
    for row in &rows {
        let [reference, here, shown] = row.as_slice() else { panic!("{row:?} has another number of cells") };
        assert!(!reference.is_empty() && !here.is_empty(), "{row:?}");
        match here.starts_with("not yet: ") {
            true => assert!(shown.is_empty() && here.len() > 20, "{row:?}"),
            false => assert!(!names(here).is_empty() && !names(shown).is_empty(), "{row:?}"),
        }
    }
    let missing = Known::read(&from_disk).missing(&rows);
    assert!(missing.is_empty(), "{missing:#?}");
}

/// What is missing when the sources say something else: in a file, this instead of that.
fn missing_after(changes: &[(&str, &str, &str)]) -> BTreeSet<String> {
    let changed = |path: &Path, text: String| {
        let here = changes.iter().filter(|(file, ..)| root().join(file) == path);
        here.fold(text, |text, (file, from, to)| {
            assert!(text.contains(from), "{file} does not say {from:?}");
            text.replace(from, to)
        })
    };
    let read = |path: &Path| Some(changed(path, from_disk(path)?));
    Known::read(&read).missing(&rows()).into_iter().collect()
}

#[test]
fn an_item_that_is_gone_private_or_elsewhere_is_missed() {
    let missing = missing_after(&[
        // Other types have functions of these names, and `put_with` is still there.
        ("cacheness-core/src/cache/values.rs", "pub fn put<T: Storable>", "pub fn put_value<T: Storable>"),
        ("cacheness-core/src/cache/values.rs", "pub fn get<T: Shareable>", "pub(crate) fn get<T: Shareable>"),
        ("cacheness-core/src/cache/entries.rs", "pub hits: u64", "hits: u64"),
        // In the engine it stays, and in another module of the facade there is one of this name.
        ("cacheness/src/cache.rs", "migrate_cache, ", ""),
        ("cacheness/src/lib.rs", "default_cache, ", ""),
        ("cacheness-macros/src/parse/options.rs", "\"tags\" as", "\"labels\" as"),
    ]);
    let expected =
        ["#[cached(tags)]", "Cache::get", "Cache::put", "Stats::hits", "cache::migrate_cache", "default_cache"];
    assert_eq!(missing, BTreeSet::from(expected.map(str::to_owned)));
}

#[test]
fn a_test_that_is_gone_or_never_run_is_missed() {
    let missing = missing_after(&[
        ("tests/tests/api/defects.rs", "fn a_stored_none_is_a_hit", "fn a_stored_none_hits"),
        ("tests/tests/api/memory.rs", "#[test]\nfn whatever_changes", "fn whatever_changes"),
    ]);
    let expected = ["api::a_stored_none_is_a_hit", "api::whatever_changes_an_entry_changes_what_memory_says"];
    assert_eq!(missing, BTreeSet::from(expected.map(str::to_owned)));
}

#[test]
fn what_stands_in_a_module_that_is_private_or_not_compiled_is_missed() {
    let missing = missing_after(&[
        ("cacheness/src/lib.rs", "pub mod blob;", "mod blob;"),
        ("tests/tests/api/main.rs", "mod handlers;", ""),
    ]);
    assert!(missing.contains("blob::BlobWriter") && !missing.contains("BlobStore::writer"), "{missing:?}");
    let by_file = "api::an_attribute_with_a_handler_stores_what_serde_does_not_know";
    assert!(missing.contains(by_file), "{missing:?}");
    assert!(missing.iter().all(|name| name.starts_with("blob::") || name.starts_with("api::")), "{missing:?}");
}

#[test]
fn every_method_of_a_cache_that_may_block_has_a_future_of_the_same_name() {
    let world = Known::read(&from_disk).world;
    let (blocking, futures) = (world.members("cacheness::Cache"), world.members("cacheness::AsyncCache"));
    // What neither reads nor writes files.
    let others = ["asynchronous", "config", "directory", "with_clock", "with_clock_in"];
    let missing: Vec<_> =
        blocking.iter().filter(|name| !futures.contains(*name) && !others.contains(&name.as_str())).collect();
    assert!(blocking.len() > 40 && missing.is_empty(), "{missing:?}");
}
