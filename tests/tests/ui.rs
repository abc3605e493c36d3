//! What the attributes refuse, each with one error at its cause, and what they let through.

#[test]
fn each_mistake_is_one_error_at_its_cause() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
