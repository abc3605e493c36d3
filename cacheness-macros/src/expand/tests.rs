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
