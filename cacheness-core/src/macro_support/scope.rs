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

#[cfg(test)]
mod tests {
    use super::*;

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
