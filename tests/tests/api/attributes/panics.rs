//! One rule for panics: those of a type's own code that the cache calls (`Serialize`, `Deserialize`, `CacheKey`,
//! `PartialEq`, `Debug`, `Clone`, `Drop`) are errors of the cache, so the body runs and its result is returned.

use std::fmt;

use cacheness::key::KeyWriter;
use cacheness::{Cache, CacheError, CacheKey, cached};
use serde::{Deserialize, Serialize, Serializer};

use super::{Runs, block_on};

/// An argument that panics when it is written.
#[derive(Clone, Copy)]
struct Argument;

impl Serialize for Argument {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("this argument cannot be written")
    }
}

#[derive(Clone, Copy)]
struct KeyArgument;

impl CacheKey for KeyArgument {
    fn encode(&self, _: &mut KeyWriter) {
        panic!("this argument cannot be a key")
    }
}

/// Which code of a result's type panics.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Which {
    Serialize,
    Deserialize,
    Eq,
    Clone,
    Drop,
}

#[derive(Deserialize)]
#[serde(try_from = "Which")]
struct Outcome {
    which: Which,
    computed: bool,
}

fn outcome(which: Which) -> Outcome {
    Outcome { which, computed: true }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.which != Which::Serialize, "this result cannot be written");
        self.which.serialize(serializer)
    }
}

impl TryFrom<Which> for Outcome {
    type Error = String;

    fn try_from(which: Which) -> Result<Self, String> {
        assert!(which != Which::Deserialize, "this result cannot be read");
        Ok(Self { which, computed: false })
    }
}

impl PartialEq for Outcome {
    fn eq(&self, other: &Self) -> bool {
        assert!(self.which != Which::Eq, "this result cannot be compared");
        self.which == other.which
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.which.fmt(f)
    }
}

impl Clone for Outcome {
    fn clone(&self) -> Self {
        assert!(self.which != Which::Clone, "this result cannot be cloned");
        Self { which: self.which, computed: false }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        // What the body has made is dropped by the caller.
        assert!(self.computed || self.which != Which::Drop, "this result cannot be dropped");
    }
}

#[derive(Debug)]
struct Failed(String);

impl From<CacheError> for Failed {
    fn from(error: CacheError) -> Self {
        Self(error.to_string())
    }
}

#[test]
fn a_panic_of_an_argument_never_keeps_the_body_from_running() {
    static RUNS: Runs = Runs::new();

    #[cached(cache = cache, skip(cache))]
    fn by_serialize(cache: &Cache, _: Argument) -> u32 {
        RUNS.count()
    }

    #[cached(cache = cache, skip(cache))]
    fn by_key(cache: &Cache, _: KeyArgument) -> u32 {
        RUNS.count()
    }

    #[cached(cache = cache, skip(cache))]
    fn by_key_within(cache: &Cache, _: &Option<Vec<Option<KeyArgument>>>) -> u32 {
        RUNS.count()
    }

    #[cached(cache = cache, skip(cache))]
    async fn later(cache: &Cache, _: Argument) -> u32 {
        RUNS.count()
    }

    #[cached(cache = cache, skip(cache), ignore_errors = false)]
    fn strict(cache: &Cache, _: Argument) -> Result<u32, Failed> {
        Ok(RUNS.count())
    }

    let cache = Cache::in_memory();
    assert_eq!([by_serialize(&cache, Argument), by_serialize(&cache, Argument)], [1, 2]);
    assert_eq!(by_key(&cache, KeyArgument), 3);
    assert_eq!(by_key_within(&cache, &Some(vec![None, Some(KeyArgument)])), 4);
    assert_eq!(block_on(later(&cache, Argument)), 5);
    assert_eq!(cache.get_stats().unwrap().errors, 5, "each is counted");
    let told = strict(&cache, Argument).unwrap_err().0;
    assert!(told.contains("Argument` panicked in `Serialize`: this argument cannot be written"), "{told}");
    assert_eq!(RUNS.so_far(), 5);
}

#[test]
fn a_panic_of_a_result_never_loses_the_result() {
    #[cached(cache = cache, skip(cache))]
    fn now(cache: &Cache, which: Which) -> Outcome {
        outcome(which)
    }

    #[cached(cache = cache, skip(cache))]
    async fn later(cache: &Cache, which: Which) -> Outcome {
        outcome(which)
    }

    #[cached(cache = cache, skip(cache), ignore_errors = false)]
    fn strict(cache: &Cache, which: Which) -> Result<Outcome, Failed> {
        Ok(outcome(which))
    }

    let cache = Cache::in_memory();
    for which in [Which::Serialize, Which::Deserialize, Which::Eq] {
        for _ in 0..2 {
            assert_eq!(now(&cache, which).which, which);
            assert_eq!(block_on(later(&cache, which)).which, which);
        }
    }
    assert_eq!(cache.get_stats().unwrap().errors, 12, "each is counted");
    for (which, says) in [
        (Which::Serialize, "panicked in `Serialize`: this result cannot be written"),
        (Which::Deserialize, "panicked in `Deserialize`: this result cannot be read"),
        (Which::Eq, "panicked in `PartialEq` or `Debug`: this result cannot be compared"),
    ] {
        let told = strict(&cache, which).unwrap_err().0;
        assert!(told.contains(says), "{told}");
    }
    for _ in 0..2 {
        assert_eq!(now(&cache, Which::Clone).which, Which::Clone);
        assert_eq!(block_on(later(&cache, Which::Clone)).which, Which::Clone);
    }
}

#[test]
fn a_panic_of_a_drop_ends_in_the_cache() {
    #[cached(cache = cache, skip(cache), memory = false)]
    fn dropped(cache: &Cache, which: Which) -> Outcome {
        outcome(which)
    }

    let cache = Cache::in_memory();
    assert_eq!(dropped(&cache, Which::Drop).which, Which::Drop, "what was read back for the proof was dropped inside");
}
