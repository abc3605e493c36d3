//! Scopes of keys, and the attribute that owns each.
//!
//! The path of a function is not always its own: blocks of one function may each have a function of one name in them, and
//! a program may have two versions of a crate. So the keys of a function that may be nested have a hash of its tokens in
//! their scope, and where two attributes own one scope nevertheless, neither function is cached.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::attribute::{AttributeId, Site};
use super::function::Function;
use crate::error::{CacheError, ErrorKind};
use crate::key::{KeyWriter, Scope};

/// A scope of keys, and the attribute that writes keys in it.
#[derive(Debug)]
pub(super) struct ScopeOwner {
    pub(super) function: &'static Function,
    scope: Box<str>,
    /// The scope as keys have it, if it is short.
    written: Option<Scope>,
    prefix: Option<&'static str>,
    version: Option<&'static str>,
    /// The attribute of the function, and that of the sibling that `call = name` added.
    attributes: [OnceLock<AttributeId>; 2],
    is_ambiguous: AtomicBool,
}

type Candidate = (&'static str, AttributeId, &'static ScopeOwner);
type Known = HashMap<usize, Vec<Candidate>, BuildHasherDefault<AddressHasher>>;

thread_local! {
    /// The owners of the functions this thread has called, by the address of their type name: a hit takes no lock.
    static KNOWN: RefCell<Known> = RefCell::default();
}

#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_usize(usize::from(*byte)));
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

/// The owners that this thread met last, one for each place in the table.
const RECENT: usize = 64;

type Recent = [Cell<Option<Candidate>>; RECENT];

thread_local! {
    static RECENTLY: Recent = const { [const { Cell::new(None) }; RECENT] };
}

fn recent(closure: &'static str) -> usize {
    // Attributes lie side by side in memory; the lowest bits of an address tell little.
    (closure.as_ptr() as usize >> 3) % RECENT
}

impl ScopeOwner {
    /// The owner of the function whose closure has this type name, or of its sibling of the given name.
    #[inline]
    pub(super) fn of(closure: &'static str, sibling: Option<&str>, site: &'static Site) -> &'static Self {
        RECENTLY.with(|recently| {
            let place = &recently[recent(closure)];
            match place.get() {
                Some((name, at, owner)) if std::ptr::eq(name, closure) && std::ptr::eq(at, site.attribute) => owner,
                _ => {
                    let owner = Self::of_any(closure, sibling, site);
                    place.set(Some((closure, site.attribute, owner)));
                    owner
                }
            }
        })
    }

    fn of_any(closure: &'static str, sibling: Option<&str>, site: &'static Site) -> &'static Self {
        KNOWN
            .try_with(|known| Self::known(&mut known.borrow_mut(), closure, sibling, site))
            .unwrap_or_else(|_| Self::found(closure, sibling, site))
    }

    fn known(known: &mut Known, closure: &'static str, sibling: Option<&str>, site: &'static Site) -> &'static Self {
        // Two names may begin at one address: one may be the beginning of the other, or two functions have one name.
        let candidates = known.entry(closure.as_ptr() as usize).or_default();
        let own = |(name, place, _): &&Candidate| name.len() == closure.len() && std::ptr::eq(*place, site.attribute);
        if let Some((_, _, owner)) = candidates.iter().find(own) {
            return owner;
        }
        let owner = Self::found(closure, sibling, site);
        candidates.push((closure, site.attribute, owner));
        owner
    }

    fn found(closure: &'static str, sibling: Option<&str>, site: &'static Site) -> &'static Self {
        let own = without_closures(closure);
        let function = match sibling {
            Some(name) => Function::named(&sibling_scope(own, name)),
            None => Function::named(own),
        };
        function.owner_of(site, sibling.is_some())
    }

    pub(super) fn new(function: &'static Function, site: &Site) -> Self {
        let scope = key_scope(function, site);
        Self {
            function,
            written: Scope::of(&scope, site.prefix, site.version),
            scope: scope.into(),
            prefix: site.prefix,
            version: site.version,
            attributes: [OnceLock::new(), OnceLock::new()],
            is_ambiguous: AtomicBool::new(false),
        }
    }

    /// Whether keys of this attribute are in this scope.
    pub(super) fn is_of(&self, site: &Site) -> bool {
        (self.prefix, self.version) == (site.prefix, site.version) && *self.scope == *key_scope(self.function, site)
    }

    /// Records that an attribute writes keys in this scope.
    pub(super) fn add_attribute(&self, attribute: AttributeId, is_sibling: bool) {
        if !std::ptr::eq(*self.attributes[usize::from(is_sibling)].get_or_init(|| attribute), attribute) {
            self.is_ambiguous.store(true, Ordering::Relaxed);
        }
    }

    /// Begins a key of the function.
    #[inline]
    pub(super) fn begin(&self, key: &mut KeyWriter) {
        match &self.written {
            Some(written) if !self.is_ambiguous.load(Ordering::Relaxed) => key.begin_with(written),
            _ => self.begin_long(key),
        }
    }

    #[cold]
    fn begin_long(&self, key: &mut KeyWriter) {
        match self.conflict() {
            None => key.scope(&self.scope, self.prefix, self.version),
            Some(conflict) => key.fail(conflict),
        }
    }

    /// What the keys of the function begin with.
    #[cfg(test)]
    pub(super) fn scope(&self) -> &str {
        &self.scope
    }

    /// Why the function cannot be cached, if it cannot.
    pub(super) fn conflict(&self) -> Option<CacheError> {
        self.is_ambiguous.load(Ordering::Relaxed).then(|| self.ambiguity())
    }

    #[cold]
    fn ambiguity(&self) -> CacheError {
        let path = self.function.scope();
        let message = format!(
            "two cached functions of this program are named `{path}` and cannot be told apart, so neither is cached: \
             give each a prefix of its own, as in `prefix = \"first\"`"
        );
        CacheError::new(ErrorKind::Conflict, message)
    }
}

/// The path; with the hash of the tokens after it if other functions may have the same path.
fn key_scope(function: &Function, site: &Site) -> String {
    let path = function.scope();
    match site.without_self {
        Some(alone) if may_be_nested(path, alone.module) => format!("{path}#{:016x}", alone.tokens),
        _ => path.to_string(),
    }
}

// Below: the scope of a function as text, its path as the compiler prints it, with parents, impl type and type arguments.

/// Cuts off the closures at the end of a type name, which leaves the function that they stand in.
pub(super) fn without_closures(mut name: &str) -> &str {
    while let Some(parent) = name.strip_suffix("::{{closure}}") {
        name = parent;
    }
    name
}

/// The scope of the function `name` that stands beside the function with this scope and has the same parameters.
pub(super) fn sibling_scope(scope: &str, name: &str) -> String {
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
            assert!(
                error.to_string().contains("`rivals::outer::f`") && error.to_string().contains("prefix"),
                "{error}"
            );
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
}
