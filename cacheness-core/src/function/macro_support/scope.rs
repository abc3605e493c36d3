//! The scope of a function: its path as the compiler prints it, with parents, impl type and type arguments.

/// Cuts off the closures at the end of a type name, which leaves the function that they stand in.
pub(super) fn without_closures(mut name: &str) -> &str {
    while let Some(parent) = name.strip_suffix("::{{closure}}") {
        name = parent;
    }
    name
}

/// The scope of the function `name` that stands beside the function with this scope and has the same parameters.
pub(super) fn beside(scope: &str, name: &str) -> String {
    let (path, arguments) = scope.split_at(arguments_start(scope));
    let parent = path.rfind("::").map_or("", |at| &path[..at + 2]);
    format!("{parent}{name}{arguments}")
}

/// The scope of a function without the arguments of its last segment.
pub(super) fn without_arguments(scope: &str) -> &str {
    &scope[..arguments_start(scope)]
}

/// Where the type arguments of the last segment begin; the end if it has none.
fn arguments_start(scope: &str) -> usize {
    if !scope.ends_with('>') {
        return scope.len();
    }
    let mut depth = 0;
    for (at, c) in scope.char_indices().rev() {
        match c {
            '>' if !scope[..at].ends_with('-') => depth += 1,
            '<' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    scope.len()
}

/// Whether more stands between the module and the name of a function than nothing: a function or a block that it is
/// nested in, of which there may be several alike, or a type. A method of a trait, `<T as Trait>::f`, is beside it.
pub(super) fn may_be_nested(scope: &str, module: &str) -> bool {
    let module = format!("{}::", module.replace("::r#", "::"));
    match scope.strip_prefix(&module) {
        Some(rest) => separators(rest) > 0,
        None if scope.starts_with('<') => separators(scope) > 1,
        None => true,
    }
}

/// How many `::` there are outside of brackets.
fn separators(path: &str) -> usize {
    // Const arguments may be brackets themselves.
    let path = path.replace("'<'", "").replace("'>'", "").replace("->", "");
    let mut depth = 0_usize;
    let bytes = path.as_bytes();
    let outside = bytes.windows(2).filter(|pair| {
        match pair[0] {
            b'<' => depth += 1,
            b'>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && *pair == b"::"
    });
    outside.count()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(beside("a::m::load_call", "load"), "a::m::load");
        assert_eq!(beside("a::Repo<u8>::load_call<3>", "load"), "a::Repo<u8>::load<3>");
        assert_eq!(beside("<a::T as a::Tr<b::X>>::g", "f"), "<a::T as a::Tr<b::X>>::f");
        assert_eq!(beside("a::g<fn(b::X<u8>) -> b::Y<c::Z>>", "f"), "a::f<fn(b::X<u8>) -> b::Y<c::Z>>");
        assert_eq!(beside("g", "f"), "f");
    }
}
