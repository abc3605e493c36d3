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
        assert!(expanded <= 2_100 && expanded - written <= 1_250, "{}", expansion(options, item));
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
fn arguments_are_recorded_where_the_body_begins_and_skipped_ones_are_not() {
    let recorded = |options: &str, item: &str| -> Vec<String> {
        let expanded = expansion(options, item);
        assert!(!expanded.contains("compile_error"), "{expanded}");
        let told = expanded.split("call_metadata . param (\"").skip(1);
        told.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let item = "fn f(&self, city: &str, (lat, lon): (f64, f64), r#type: u8, user: &User) -> u32 { 1 }";
    assert_eq!(recorded("", item), ["city", "lat", "lon", "type", "user"]);
    assert_eq!(recorded("skip(user, self, lat, lon)", item), ["city", "type"]);
    assert_eq!(recorded("key(user.id, format!(\"{city}\"))", item), ["city", "user", "user.id"]);
    assert_eq!(recorded("key(self.id)", "async fn f(&self) -> u32 { 1 }"), ["self.id"]);
}

#[test]
fn a_lower_case_path_is_a_ttl_of_the_result_and_a_constant_or_an_argument_is_not() {
    let of_result = |ttl: &str| {
        let expanded = expansion(&format!("ttl = {ttl}"), "fn f(ttl: Duration, s: Settings) -> Token { login() }");
        assert!(!expanded.contains("compile_error"), "{expanded}");
        expanded.contains(". lives (")
    };
    for ttl in ["|token| token.expires_in", "move |_| TTL", "Token::lifetime", "lifetime", "(crate::lifetime)"] {
        assert!(of_result(ttl), "{ttl}");
    }
    for ttl in ["TTL", "Self::TTL", "ttl", "s.ttl", "lifetime()", "Duration::from_secs(1)", "60"] {
        assert!(!of_result(ttl), "{ttl}");
    }
}

#[test]
fn a_mistake_is_one_error_that_says_what_to_write() {
    let item = "fn f(id: u32, Query(user): Query<User>, call: impl Fn(u32) -> u32) -> u32 { 1 }";
    for (options, says) in [
        ("skip(call), ttl = 1hh", "`hh` is no unit of time"),
        ("skip(call), ttl = b\"1h\"", "write a number of seconds"),
        ("skip(call), ttl = || 5", "takes the result"),
        ("skip(call), ttl: 60", "`ttl` is written as `ttl = 3600`"),
        ("skip(call), version = 2x", "`version = \"2x\"`"),
        ("skip(call), version = \"2\"x", "inside the quotes"),
        ("skip(call), prefix = 5", "`prefix = \"5\"`"),
        ("skip(call), prefix = b\"p\"", "`prefix` is a text"),
        ("skip(call), cache_none = 1", "`true` or `false`"),
        ("skip(call), condition = 1", "closure or a function of the result"),
        ("skip(call), cache = \"./dir\"", "Cache::open(\"./dir\")"),
        ("skip(call), cache = Cache::open(\".\")?", "open it once"),
        ("skip(call), cache = Cache::in_memory()", "open it once"),
        ("key = \"u32\"", "like `key = id`"),
        ("key = \"user\"", "like `key = user`"),
        ("key = u32", "like `key = id`"),
        ("key = 1", "mentions no argument"),
        ("key(\"id\")", "like `key = id`"),
        ("key = OTHER.id", "mentions no argument"),
        ("key = \"{idd}\"", "like `key = id`"),
        ("skip(call, usr)", "did you mean `user`?"),
        ("key(id), skip(\"call\")", "skip(argument, ..)"),
        ("", "`skip(call)`"),
        ("skip(call), convert = r#\"{ id }\"#", "option of another crate: in cacheness this is written `key"),
        ("skip(call), SharedCache, prefix = \"p\"", "option of another crate"),
        ("skip(call), Capacity: 3, prefix = \"p\"", "max_cache_size_mb"),
        ("skip(call), flight", "did you mean `single_flight`?"),
        ("skip(call), single_flight = \"everywhere\"", "`single_flight` is `true`, `false` or `\"global\"`"),
    ] {
        let expanded = expansion(options, item);
        assert_eq!(expanded.matches("compile_error").count(), 1, "{options}: {expanded}");
        let said = expanded.replace("\\\"", "\"");
        assert!(said.contains(says), "{options}: {expanded}");
    }
}

#[test]
fn keys_that_mention_an_argument_in_any_form_are_accepted() {
    let item = "fn f(&self, id: u32, Query(user): Query<User>, (a, _): (u8, u8)) -> u32 { 1 }";
    for key in
        ["id", "self.name", "user.id", "a", "\"{id}\"", "\"u\", id", "format!(\"{user}\")", "&*id", "{ let x = id; x }"]
    {
        assert!(!expansion(&format!("key({key})"), item).contains("compile_error"), "{key}");
    }
    assert!(expansion("key = \"{id}\"", item).contains("format_args"), "{}", expansion("key = \"{id}\"", item));
    for (options, item) in
        [("key = hour()", "fn f() -> u32 { 1 }"), ("key = HOUR.now(), skip(n)", "fn f(n: u8) -> u32 { 1 }")]
    {
        assert!(!expansion(options, item).contains("compile_error"), "{options}");
    }
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
fn a_flight_is_that_of_the_cache_of_nobody_or_of_all_machines() {
    let of = |options: &str| {
        let expanded = expansion(options, "fn f(n: u64) -> u64 { n }");
        ["crowded", "global_flight"].map(|setting| expanded.contains(setting))
    };
    assert_eq!(["", "single_flight", "single_flight = true"].map(of), [[false, false]; 3]);
    assert_eq!(of("single_flight = false"), [true, false]);
    assert_eq!(of("single_flight = \"global\""), [false, true]);
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
        let plain = expansion("ttl = 60, call = g, skip(n)", item);
        assert!(!plain.contains("call_metadata") && !plain.contains("stale"), "{plain}");
        assert_eq!(plain, expansion("ttl = 60, call = g, skip(n), stale_on_error = false", item));
    }
}
