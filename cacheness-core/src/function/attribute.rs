//! What an attribute says of its function, what is recorded of a call, and the scope of keys that the attribute owns.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::{Display, Write};
use std::hash::{BuildHasherDefault, Hasher};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::handle::Function;
use crate::config::LONGEST;
use crate::error::{CacheError, ErrorKind};
use crate::key::{KeyWriter, Scope};
use crate::value::{Metadata, Value};

/// Which attribute it is: the address of a static beside it, which no other attribute of the program has.
pub type AttributeId = &'static fn();

/// What an attribute says that is known when the program is compiled. Only what differs from the default is set.
#[derive(Clone, Debug)]
pub struct Site {
    pub(super) attribute: AttributeId,
    pub(super) without_self: Option<WithoutSelf>,
    pub(super) ttl: Option<Duration>,
    pub(super) prefix: Option<&'static str>,
    pub(super) version: Option<&'static str>,
    pub(super) flight: SiteFlight,
}

/// Who waits for whom, of the concurrent callers with one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SiteFlight {
    /// Nobody.
    None,
    /// Those that the cache is configured for.
    OfCache,
    /// All on all machines.
    Global,
}

/// What distinguishes a function without a receiver from others of its path.
#[derive(Clone, Copy, Debug)]
pub(super) struct WithoutSelf {
    /// Hash of the tokens of its signature and its body.
    pub(super) tokens: u64,
    /// The path of the module that it is in.
    pub(super) module: &'static str,
}

impl Site {
    /// An attribute without options.
    pub const fn at(attribute: AttributeId) -> Self {
        Self { attribute, without_self: None, ttl: None, prefix: None, version: None, flight: SiteFlight::OfCache }
    }

    /// The function has no receiver: it may be nested in another, in one of several blocks.
    pub const fn without_self(self, tokens: u64, module: &'static str) -> Self {
        Self { without_self: Some(WithoutSelf { tokens, module }), ..self }
    }

    /// How long results live.
    pub const fn ttl_micros(self, micros: u64) -> Self {
        Self { ttl: Some(Duration::from_micros(micros)), ..self }
    }

    /// The namespace of the results.
    pub const fn prefix(self, prefix: &'static str) -> Self {
        Self { prefix: Some(prefix), ..self }
    }

    /// The version of the body.
    pub const fn version(self, version: &'static str) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Every concurrent caller runs the body.
    pub const fn crowded(self) -> Self {
        Self { flight: SiteFlight::None, ..self }
    }

    /// One of the concurrent callers on all machines runs the body.
    pub const fn global_flight(self) -> Self {
        Self { flight: SiteFlight::Global, ..self }
    }
}

/// What is recorded of a result beside its value, when the function runs. Until then it takes no memory: a hit has none.
#[derive(Debug, Default)]
pub struct CallMetadata(Mutex<Slot>);

/// Dropped by one comparison where there is nothing: every hit drops one.
#[derive(Debug, Default)]
struct Slot(Option<ManuallyDrop<Box<Recorded>>>);

impl Slot {
    #[inline]
    fn take(&mut self) -> Option<Box<Recorded>> {
        self.0.take().map(ManuallyDrop::into_inner)
    }
}

impl Drop for Slot {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_some() {
            forget_recorded(self);
        }
    }
}

#[cold]
fn forget_recorded(slot: &mut Slot) {
    drop(slot.take());
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Recorded {
    pub(super) tags: Vec<String>,
    pub(super) metadata: Metadata,
    pub(super) params: Vec<(String, Value)>,
    pub(super) ttl: Option<Duration>,
}

impl CallMetadata {
    /// Nothing recorded.
    pub const fn new() -> Self {
        Self(Mutex::new(Slot(None)))
    }

    /// Adds a value to the metadata.
    pub fn add(&self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        self.record(|recorded| recorded.metadata.insert(name.to_owned(), value));
    }

    /// Adds a group that the result belongs to.
    pub fn tag(&self, tag: impl Display) {
        // Not `to_string`, which panics if `Display` fails: what it wrote until then is the tag.
        let mut text = String::new();
        let _ = write!(text, "{tag}");
        self.record(|recorded| {
            if !recorded.tags.contains(&text) {
                recorded.tags.push(text);
            }
        });
    }

    /// Records an argument, if there is something to record.
    pub fn param(&self, name: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.record(|recorded| recorded.params.push((name.to_owned(), value)));
        }
    }

    /// The result itself says how long it lives.
    pub(super) fn ttl(&self, ttl: Duration) {
        self.record(|recorded| recorded.ttl = Some(ttl));
    }

    pub(super) fn take(&self) -> Recorded {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .map_or_else(Recorded::default, |recorded| *recorded)
    }

    fn record<R>(&self, record: impl FnOnce(&mut Recorded) -> R) -> R {
        record(self.0.lock().unwrap_or_else(PoisonError::into_inner).0.get_or_insert_default())
    }
}

/// How long a result lives, as an attribute's `ttl` says it: a value, or what a closure makes of the result.
#[diagnostic::on_unimplemented(
    message = "`ttl` is a `Duration` or an `Option<Duration>`, not `{Self}`",
    label = "write `Duration::from_secs(..)` for a number of seconds"
)]
pub trait Lifetime {
    /// The time; `None` is the default of the cache.
    fn lifetime(self) -> Option<Duration>;
}

/// The time that a result says. A function for expansions to hand on: a bound where it is called would be reported twice.
pub fn lifetime<L: Lifetime>(ttl: L) -> Option<Duration> {
    ttl.lifetime()
}

impl Lifetime for Duration {
    fn lifetime(self) -> Option<Duration> {
        // `Duration::MAX` is how code says "for ever".
        Some(self.min(LONGEST))
    }
}

impl Lifetime for Option<Duration> {
    fn lifetime(self) -> Option<Duration> {
        self.and_then(Duration::lifetime)
    }
}

// The path of a function is not always its own: blocks of one function may each have a function of one name in them, and
// a program may have two versions of a crate. So the keys of a function that may be nested have a hash of its tokens in
// their scope, and where two attributes own one scope nevertheless, neither function is cached.

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
mod tests;
