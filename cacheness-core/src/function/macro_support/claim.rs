//! Who writes keys in which scope.
//!
//! The path of a function is not always its own: blocks of one function may each have a function of one name in them, and
//! a program may have two versions of a crate. So the keys of a function that may be nested have a hash of its tokens in
//! their scope, and where two attributes claim one scope nevertheless, neither function is cached.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::function::Function;
use super::scope;
use super::site::{Place, Site};
use crate::error::{CacheError, ErrorKind};
use crate::key::{KeyWriter, Scope};

/// A scope of keys, and the attribute that writes keys in it.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) function: &'static Function,
    scope: Box<str>,
    /// The scope as keys have it, if it is short.
    written: Option<Scope>,
    prefix: Option<&'static str>,
    version: Option<&'static str>,
    /// The attribute of the function, and the one that added the function beside it.
    holders: [OnceLock<Place>; 2],
    contested: AtomicBool,
}

type Candidate = (&'static str, Place, &'static Claim);
type Known = HashMap<usize, Vec<Candidate>, BuildHasherDefault<AddressHasher>>;

thread_local! {
    /// The claims of the functions this thread has called, by the address of their type name: a hit takes no lock.
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

/// The claims that this thread met last, one for each place in the table.
const RECENT: usize = 64;

type Recent = [Cell<Option<Candidate>>; RECENT];

thread_local! {
    static RECENTLY: Recent = const { [const { Cell::new(None) }; RECENT] };
}

fn recent(closure: &'static str) -> usize {
    // Attributes lie side by side in memory; the lowest bits of an address tell little.
    (closure.as_ptr() as usize >> 3) % RECENT
}

impl Claim {
    /// The claim of the function whose closure has this type name, or of the one of the given name beside it.
    #[inline]
    pub(super) fn of(closure: &'static str, beside: Option<&str>, site: &'static Site) -> &'static Self {
        RECENTLY.with(|recently| {
            let place = &recently[recent(closure)];
            match place.get() {
                Some((name, at, claim)) if std::ptr::eq(name, closure) && std::ptr::eq(at, site.place) => claim,
                _ => {
                    let claim = Self::of_any(closure, beside, site);
                    place.set(Some((closure, site.place, claim)));
                    claim
                }
            }
        })
    }

    fn of_any(closure: &'static str, beside: Option<&str>, site: &'static Site) -> &'static Self {
        KNOWN
            .try_with(|known| Self::known(&mut known.borrow_mut(), closure, beside, site))
            .unwrap_or_else(|_| Self::found(closure, beside, site))
    }

    fn known(known: &mut Known, closure: &'static str, beside: Option<&str>, site: &'static Site) -> &'static Self {
        // Two names may begin at one address: one may be the beginning of the other, or two functions have one name.
        let candidates = known.entry(closure.as_ptr() as usize).or_default();
        let own = |(name, place, _): &&Candidate| name.len() == closure.len() && std::ptr::eq(*place, site.place);
        if let Some((_, _, claim)) = candidates.iter().find(own) {
            return claim;
        }
        let claim = Self::found(closure, beside, site);
        candidates.push((closure, site.place, claim));
        claim
    }

    fn found(closure: &'static str, beside: Option<&str>, site: &'static Site) -> &'static Self {
        let own = scope::without_closures(closure);
        let function = match beside {
            Some(name) => Function::named(&scope::beside(own, name)),
            None => Function::named(own),
        };
        function.claimed(site, beside.is_some())
    }

    pub(super) fn new(function: &'static Function, site: &Site) -> Self {
        let scope = key_scope(function, site);
        Self {
            function,
            written: Scope::of(&scope, site.prefix, site.version),
            scope: scope.into(),
            prefix: site.prefix,
            version: site.version,
            holders: [OnceLock::new(), OnceLock::new()],
            contested: AtomicBool::new(false),
        }
    }

    /// Whether keys of this attribute are in this scope.
    pub(super) fn is_of(&self, site: &Site) -> bool {
        (self.prefix, self.version) == (site.prefix, site.version) && *self.scope == *key_scope(self.function, site)
    }

    /// An attribute writes keys in this scope from now on.
    pub(super) fn hold(&self, place: Place, beside: bool) {
        if !std::ptr::eq(*self.holders[usize::from(beside)].get_or_init(|| place), place) {
            self.contested.store(true, Ordering::Relaxed);
        }
    }

    /// Begins a key of the function.
    #[inline]
    pub(super) fn begin(&self, key: &mut KeyWriter) {
        match &self.written {
            Some(written) if !self.contested.load(Ordering::Relaxed) => key.begin_with(written),
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
        self.contested.load(Ordering::Relaxed).then(|| self.contest())
    }

    #[cold]
    fn contest(&self) -> CacheError {
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
        Some(alone) if scope::may_be_nested(path, alone.module) => format!("{path}#{:016x}", alone.tokens),
        _ => path.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! site {
        ($($option:tt)*) => {
            const { &Site::at({ static PLACE: fn() = || (); &PLACE })$($option)* }
        };
    }

    fn claim(closure: &'static str, site: &'static Site) -> &'static Claim {
        Claim::of(closure, None, site)
    }

    #[test]
    fn a_function_is_known_by_its_name_wherever_the_text_lies() {
        let (site, call) = (site!(), site!());
        let copied: &'static str = String::from("known::f::{{closure}}").leak();
        let first = claim("known::f::{{closure}}", site);
        assert!(std::ptr::eq(first, claim(copied, site)));
        assert!(std::ptr::eq(first, Claim::of("known::g::{{closure}}", Some("f"), call)));
        assert!(first.conflict().is_none(), "a function and the one beside it are no rivals");
    }

    #[test]
    fn a_name_that_begins_another_is_not_mistaken_for_it() {
        let (long, site): (&'static str, _) = ("begins::f::g", site!());
        assert!(!std::ptr::eq(claim(&long[..9], site), claim(long, site)));
    }

    #[test]
    fn the_tokens_count_where_others_may_have_the_same_path() {
        let (first, second) = (site!(.without_self(1, "m")), site!(.without_self(2, "m")));
        let (first, second) = (claim("m::outer::f", first), claim("m::outer::f", second));
        assert_eq!([first.scope(), second.scope()], ["m::outer::f#0000000000000001", "m::outer::f#0000000000000002"]);
        assert!(std::ptr::eq(first.function, second.function), "one name in listings");
        assert!(first.conflict().is_none() && second.conflict().is_none());
    }

    #[test]
    fn a_changed_body_keeps_the_keys_of_functions_of_modules_and_of_methods() {
        for body in [site!(.without_self(3, "kept")), site!(.without_self(4, "kept"))] {
            assert_eq!(claim("kept::f::{{closure}}", body).scope(), "kept::f");
            assert_eq!(claim("<kept::S as kept::T>::f", body).scope(), "<kept::S as kept::T>::f");
        }
        assert_eq!(claim("kept::outer::S::f", site!()).scope(), "kept::outer::S::f");
    }

    #[test]
    fn two_attributes_with_one_scope_have_a_conflict_and_a_prefix_ends_it() {
        const NAME: &str = "rivals::outer::f";
        let alone = claim(NAME, site!(.without_self(5, "rivals")));
        assert!(alone.conflict().is_none());
        for apart in [site!(.without_self(5, "rivals").prefix("p")), site!(.without_self(5, "rivals").version("2"))] {
            assert!(claim(NAME, apart).conflict().is_none());
        }
        assert!(alone.conflict().is_none());
        let second = claim(NAME, site!(.without_self(5, "rivals")));
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
        assert!(Claim::of("pair::f_call", Some("f"), first).conflict().is_none());
        assert!(Claim::of("pair::f_call", Some("f"), second).conflict().is_some());
    }
}
