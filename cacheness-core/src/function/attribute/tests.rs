use super::*;

#[test]
fn a_tag_told_twice_is_one_and_their_order_stays() {
    let metadata = CallMetadata::new();
    ["b", "a", "b"].iter().for_each(|tag| metadata.tag(tag));
    assert_eq!(metadata.take().tags, ["b", "a"]);
    assert_eq!(metadata.take(), Recorded::default(), "taken once");
}

macro_rules! site {
($($option:tt)*) => {
    const { &Site::at({ static PLACE: fn() = || (); &PLACE })$($option)* }
};
}

fn owner(closure: &'static str, site: &'static Site) -> &'static ScopeOwner {
    ScopeOwner::of(closure, None, site)
}

#[test]
fn a_function_is_known_by_its_name_wherever_the_text_lies() {
    let (site, call) = (site!(), site!());
    let copied: &'static str = String::from("known::f::{{closure}}").leak();
    let first = owner("known::f::{{closure}}", site);
    assert!(std::ptr::eq(first, owner(copied, site)));
    assert!(std::ptr::eq(first, ScopeOwner::of("known::g::{{closure}}", Some("f"), call)));
    assert!(first.conflict().is_none(), "a function and the one beside it are no rivals");
}

#[test]
fn a_name_that_begins_another_is_not_mistaken_for_it() {
    let (long, site): (&'static str, _) = ("begins::f::g", site!());
    assert!(!std::ptr::eq(owner(&long[..9], site), owner(long, site)));
}

#[test]
fn the_tokens_count_where_others_may_have_the_same_path() {
    let (first, second) = (site!(.without_self(1, "m")), site!(.without_self(2, "m")));
    let (first, second) = (owner("m::outer::f", first), owner("m::outer::f", second));
    assert_eq!([first.scope(), second.scope()], ["m::outer::f#0000000000000001", "m::outer::f#0000000000000002"]);
    assert!(std::ptr::eq(first.function, second.function), "one name in listings");
    assert!(first.conflict().is_none() && second.conflict().is_none());
}

#[test]
fn a_changed_body_keeps_the_keys_of_functions_of_modules_and_of_methods() {
    for body in [site!(.without_self(3, "kept")), site!(.without_self(4, "kept"))] {
        assert_eq!(owner("kept::f::{{closure}}", body).scope(), "kept::f");
        assert_eq!(owner("<kept::S as kept::T>::f", body).scope(), "<kept::S as kept::T>::f");
    }
    assert_eq!(owner("kept::outer::S::f", site!()).scope(), "kept::outer::S::f");
}

#[test]
fn two_attributes_with_one_scope_have_a_conflict_and_a_prefix_ends_it() {
    const NAME: &str = "rivals::outer::f";
    let alone = owner(NAME, site!(.without_self(5, "rivals")));
    assert!(alone.conflict().is_none());
    for apart in [site!(.without_self(5, "rivals").prefix("p")), site!(.without_self(5, "rivals").version("2"))] {
        assert!(owner(NAME, apart).conflict().is_none());
    }
    assert!(alone.conflict().is_none());
    let second = owner(NAME, site!(.without_self(5, "rivals")));
    for rival in [alone, second] {
        let error = rival.conflict().unwrap();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("`rivals::outer::f`") && error.to_string().contains("prefix"), "{error}");
    }
}

#[test]
fn two_functions_beside_of_one_scope_have_a_conflict_too() {
    let (first, second) = (site!(), site!());
    assert!(ScopeOwner::of("pair::f_call", Some("f"), first).conflict().is_none());
    assert!(ScopeOwner::of("pair::f_call", Some("f"), second).conflict().is_some());
}

#[test]
fn a_function_of_a_module_is_not_nested() {
    for (scope, module) in [
        ("a::f", "a"),
        ("a::m::f", "a::m"),
        ("a::type::m::f", "a::r#type::m"),
        ("a::f<b::X<u8>, fn(c::Y) -> d::Z, '<', b::W>", "a"),
        ("<a::S<u8> as b::T<c::X>>::f<d::Y>", "a"),
    ] {
        assert!(!may_be_nested(scope, module), "{scope} in {module}");
    }
}

#[test]
fn a_function_with_a_parent_may_be_nested() {
    for (scope, module) in [
        ("a::outer::f", "a"),
        ("a::outer::{{closure}}::f", "a"),
        ("a::outer<b::X>::f", "a"),
        ("a::outer<'<'>::f", "a"),
        ("a::outer<fn(b::X) -> c::Y>::f", "a"),
        ("a::main::m::f", "a::m"),
        ("a::S<u8>::f", "a"),
        ("a::m::<impl a::S>::f", "a::m"),
        ("<a::S as b::T>::load::f", "a"),
        ("ab::f", "a"),
    ] {
        assert!(may_be_nested(scope, module), "{scope} in {module}");
    }
}

#[test]
fn closures_at_the_end_are_cut_off_and_no_others() {
    assert_eq!(without_closures("a::{{closure}}::f::{{closure}}::{{closure}}"), "a::{{closure}}::f");
    assert_eq!(without_closures("a::f"), "a::f");
}

#[test]
fn a_function_beside_another_has_its_parents_and_its_arguments() {
    assert_eq!(sibling_scope("a::m::load_call", "load"), "a::m::load");
    assert_eq!(sibling_scope("a::Repo<u8>::load_call<3>", "load"), "a::Repo<u8>::load<3>");
    assert_eq!(sibling_scope("<a::T as a::Tr<b::X>>::g", "f"), "<a::T as a::Tr<b::X>>::f");
    assert_eq!(sibling_scope("a::g<fn(b::X<u8>) -> b::Y<c::Z>>", "f"), "a::f<fn(b::X<u8>) -> b::Y<c::Z>>");
    assert_eq!(sibling_scope("g", "f"), "f");
}
