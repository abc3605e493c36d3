use super::*;

fn expansion(options: &str, item: &str) -> String {
    attribute(Flavor::Cached, options.parse().unwrap(), item.parse().unwrap()).to_string()
}

#[test]
fn a_simple_function_grows_by_less_than_its_bar() {
    for (options, item) in [
        ("ttl = 86400", "fn nearest(csv: &Path, k: usize) -> Vec<Neighbor> { read(csv).nearest(k) }"),
        (
            "ttl = 86400",
            "async fn nearest(csv: &Path, k: usize) -> Result<Vec<Neighbor>> { read(csv).await?.nearest(k) }",
        ),
    ] {
        let (written, expanded) = (item.len(), expansion(options, item).len());
        println!("{written} bytes become {expanded}");
        assert!(expanded <= 2_100 && expanded - written <= 1_000, "{}", expansion(options, item));
    }
}

#[test]
fn after_an_error_the_function_is_still_there_untouched() {
    let item = "fn f (n : u32) -> u32 { n }";
    let expanded = expansion("tll = 1, ttl = 0", item);
    assert_eq!(expanded.matches("compile_error").count(), 2, "{expanded}");
    assert!(expanded.ends_with(item), "{expanded}");
}

#[test]
fn a_half_typed_body_goes_through_as_it_is() {
    let expanded = expansion("", "fn f(n: u32) -> u32 { let x = n. ; x }");
    assert!(expanded.contains("let x = n . ; x"), "{expanded}");
    assert!(!expanded.contains("compile_error"), "{expanded}");
}

#[test]
fn only_a_function_without_a_receiver_is_told_apart_by_its_tokens() {
    for with_self in ["fn f(&self) {}", "fn f(self: Box<Self>, n: u32) {}", "async fn f(mut self) {}"] {
        assert!(!expansion("skip(self)", with_self).contains("without_self"), "{with_self}");
    }
    let hashes = ["fn f() { 1 }", "fn f() { 2 }", "fn f(n: u32) { 1 }"].map(|item| {
        let expanded = expansion("call = f_call", item);
        let hashes: Vec<_> =
            expanded.split("without_self (").skip(1).map(|rest| rest.split(' ').next().unwrap().to_owned()).collect();
        assert!(hashes.len() == 2 && hashes[0] == hashes[1], "the function beside has the same: {expanded}");
        hashes[0].clone()
    });
    assert!(hashes[0] != hashes[1] && hashes[0] != hashes[2], "{hashes:?}");
}

/// How each option of the table may be written.
const WRITTEN: &[(&str, &str)] = &[
    ("async", "async"),
    ("for_api", "for_api"),
    ("ttl", "ttl = Duration::from_secs(n)"),
    ("cache", "cache = CACHE"),
    ("prefix", "prefix = \"p\""),
    ("include_defaults", "include_defaults = false"),
    ("metadata", "metadata(n = n)"),
    ("tags", "tags(\"n:{n}\", n)"),
    ("key", "key(n)"),
    ("skip", "skip(n)"),
    ("version", "version = auto"),
    ("condition", "condition = |_| true"),
    ("cache_none", "cache_none"),
    ("cache_err", "cache_err = true"),
    ("ignore_errors", "ignore_errors = false"),
    ("single_flight", "single_flight = false"),
    ("share_errors", "share_errors = false"),
    ("stale_on_error", "stale_on_error"),
    ("memory", "memory = false"),
    ("handler", "handler = H"),
    ("call", "call = g"),
    ("crate", "crate = ::other"),
];

#[test]
fn every_pair_of_options_means_the_same_in_both_orders() {
    let names: Vec<_> = WRITTEN.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, crate::parse::option_names(), "every option takes part");
    let mut refused = Vec::new();
    for (at, (name, one)) in WRITTEN.iter().enumerate() {
        for (other_name, other) in &WRITTEN[at + 1..] {
            let [first, second] = [format!("{one}, {other}"), format!("{other}, {one},")]
                .map(|options| expansion(&options, "async fn f(n: u64) -> Result<u64, E> { Ok(n) }"));
            assert_eq!(first, second, "{name} and {other_name}");
            if first.contains("compile_error") {
                refused.push((*name, *other_name));
            }
        }
    }
    assert_eq!(refused, [("include_defaults", "key"), ("cache_err", "stale_on_error")], "the rest works together");
}

#[test]
fn errors_are_not_to_be_shared_where_no_call_waits() {
    let item = "fn f(n: u64) -> Result<u64, E> { Ok(n) }";
    assert!(expansion("share_errors, single_flight = false", item).contains("compile_error"));
    assert!(!expansion("share_errors", item).contains("compile_error"));
    assert!(!expansion("share_errors = |e| e.clone()", item).contains("compile_error"));
    assert!(expansion("share_errors = 3", item).contains("compile_error"));
}

#[test]
fn every_option_is_in_the_table_of_the_docs() {
    let docs = include_str!("../lib.rs");
    let rows: Vec<_> = docs.lines().filter(|line| line.starts_with("/// | `")).collect();
    for name in crate::parse::option_names() {
        let told = rows.iter().any(|row| {
            let cell = row.trim_start_matches("/// | ").split(" | ").next().unwrap();
            cell.split('`').any(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_').next() == Some(name))
        });
        assert!(told, "`{name}`");
    }
}

#[test]
fn what_is_not_asked_for_is_not_in_the_expansion() {
    for item in ["fn f(n: u32) -> R { n }", "async fn f(n: u32) -> R { n }"] {
        let plain = expansion("ttl = 60, call = g", item);
        assert!(!plain.contains("extras") && !plain.contains("stale"), "{plain}");
        assert_eq!(plain, expansion("ttl = 60, call = g, stale_on_error = false", item));
    }
}
