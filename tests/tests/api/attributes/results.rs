//! What of a result is stored.

use cacheness::{Cache, cached};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

use super::Runs;

/// An error that can do nothing.
#[derive(Debug)]
struct Bare;

type Outcome<T> = Result<T, Bare>;
type Maybe = Option<u32>;

#[test]
fn ok_and_some_are_stored_and_err_and_none_are_not_also_behind_aliases() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn check(n: u32) -> Outcome<u32> {
        RUNS.count();
        if n > 0 { Ok(n) } else { Err(Bare) }
    }

    #[cached]
    fn find(n: u32) -> Maybe {
        RUNS.count();
        (n > 0).then_some(n)
    }

    assert!((0..3).all(|_| check(0).is_err() && find(0).is_none()));
    assert_eq!(RUNS.so_far(), 6);
    assert!((0..3).all(|_| check(1).unwrap() == 1 && find(1) == Some(1)));
    assert_eq!(RUNS.so_far(), 8);
}

#[test]
fn cache_err_stores_err_and_cache_none_stores_none() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached(cache_err = true)]
    fn err() -> Result<u32, String> {
        Err(RUNS.count().to_string())
    }

    #[cached(cache_none)]
    fn none() -> Option<u32> {
        RUNS.count();
        None
    }

    #[cached(cache_none, cache_err)]
    fn both() -> Result<Option<u32>, String> {
        Err(RUNS.count().to_string())
    }

    #[cached(cache_none)]
    fn still_err() -> Result<u32, String> {
        Err(RUNS.count().to_string())
    }

    #[cached(cache_err)]
    fn still_none() -> Option<u32> {
        RUNS.count();
        None
    }

    assert_eq!([err(), err()], [Err("1".to_owned()), Err("1".to_owned())]);
    assert_eq!([none(), none()], [None, None]);
    assert_eq!([both(), both()], [Err("3".to_owned()), Err("3".to_owned())]);
    assert_eq!(RUNS.so_far(), 3);
    assert_eq!([still_err(), still_err()], [Err("4".to_owned()), Err("5".to_owned())]);
    assert_eq!([still_none(), still_none()], [None, None]);
    assert_eq!(RUNS.so_far(), 7);
}

#[test]
fn a_generic_result_is_stored_whole() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn made<T: Default + Serialize + for<'de> Deserialize<'de> + 'static>() -> T {
        RUNS.count();
        T::default()
    }

    assert_eq!([made::<Option<u8>>(), made::<Option<u8>>()], [None, None]);
    assert_eq!(RUNS.so_far(), 1, "seen from inside, T is no Option");
}

/// Serializes to an error.
#[derive(Debug, Deserialize, PartialEq)]
struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("will not be written"))
    }
}

#[derive(Debug)]
struct Failed(String);

impl From<cacheness::CacheError> for Failed {
    fn from(error: cacheness::CacheError) -> Self {
        Self(error.to_string())
    }
}

#[test]
fn a_failing_cache_is_not_in_the_way() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn value() -> Stubborn {
        RUNS.count();
        Stubborn
    }

    #[cached]
    fn key(stubborn: Stubborn) -> u32 {
        let _ = stubborn;
        RUNS.count()
    }

    assert_eq!([value(), value()], [Stubborn, Stubborn]);
    assert_eq!(cacheness::function(value).info().unwrap().misses, 2);
    assert_eq!([key(Stubborn), key(Stubborn)], [3, 4]);
}

#[test]
fn without_ignore_errors_the_caller_sees_what_failed() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached(ignore_errors = false)]
    fn value(fail: bool) -> Result<Option<Stubborn>, Failed> {
        RUNS.count();
        Ok(fail.then_some(Stubborn))
    }

    #[cached(ignore_errors = false)]
    fn key(stubborn: Stubborn) -> Result<u32, Box<dyn std::error::Error>> {
        let _ = stubborn;
        Ok(RUNS.count())
    }

    assert!(!value(true).unwrap_err().0.is_empty());
    assert!(value(false).unwrap().is_none() && value(false).unwrap().is_none());
    assert_eq!(RUNS.so_far(), 2);
    assert!(key(Stubborn).is_err());
    assert_eq!(RUNS.so_far(), 2, "the body did not run");
}

#[test]
fn a_panic_passes_through_and_stores_nothing() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn second_time_lucky(n: u32) -> u32 {
        if RUNS.count() == 1 {
            std::panic::panic_any(42u8);
        }
        n
    }

    let panic = std::panic::catch_unwind(|| second_time_lucky(5)).unwrap_err();
    assert_eq!(panic.downcast_ref::<u8>(), Some(&42));
    assert_eq!([second_time_lucky(5), second_time_lucky(5)], [5, 5]);
    assert_eq!(RUNS.so_far(), 2);
}

#[test]
fn a_call_counts_as_one_miss_or_one_hit_in_the_statistics_of_its_cache() {
    #[cached(cache = cache, skip(cache))]
    fn twice(cache: &Cache, n: u32) -> u32 {
        let _ = cache;
        n * 2
    }
    let cache = Cache::in_memory();
    assert_eq!((twice(&cache, 1), twice(&cache, 1), twice(&cache, 1)), (2, 2, 2));
    let stats = cache.get_stats().unwrap();
    assert_eq!((stats.misses, stats.hits), (1, 2));
}
