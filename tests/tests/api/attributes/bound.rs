//! The bound call that `call = name` adds.

use std::sync::LazyLock;

use cacheness::{Cache, cached, function};

use super::{Runs, block_on};

static RUNS: Runs = Runs::new();

/// The weather in a city.
#[cached(call = weather_call, ttl = 60)]
fn weather(city: &str, units: Option<&str>) -> String {
    format!("{city} {} {}", units.unwrap_or("C"), RUNS.count())
}

#[test]
fn a_bound_call_looks_changes_and_calls() {
    super::in_memory_by_default();
    let call = || weather_call("London", None);
    assert_eq!((call().is_cached().unwrap(), call().peek().unwrap()), (false, None));
    assert!(!call().invalidate().unwrap());
    assert_eq!(weather("London", None), "London C 1");
    assert!(call().is_cached().unwrap());
    assert!(!weather_call("London", Some("F")).is_cached().unwrap());
    assert_eq!(call().peek().unwrap().as_deref(), Some("London C 1"));
    assert_eq!(call().get(), "London C 1");
    assert_eq!(call().uncached(), "London C 2");
    assert_eq!(call().get(), "London C 1");
    assert_eq!(call().refresh(), "London C 3");
    assert_eq!(weather("London", None), "London C 3");
    assert_eq!(function(weather).entries().unwrap()[0].cache_key(), call().key().unwrap().to_string());
    assert!(call().invalidate().unwrap());
    assert_eq!(weather("London", None), "London C 4");
}

struct Store<T> {
    rows: Vec<T>,
    cache: Cache,
}

impl<T: Clone + serde::Serialize + serde::de::DeserializeOwned + 'static> Store<T> {
    #[cached(call = row_call, skip(self), cache = self.cache)]
    fn row<const N: usize>(&self, at: usize) -> Option<T> {
        self.rows.get(at + N).cloned()
    }

    #[cached(call = row_later_call, skip(self), cache = self.cache)]
    async fn row_later(&self, at: &usize) -> Result<T, String> {
        self.rows.get(*at).cloned().ok_or_else(|| "no such row".to_owned())
    }

    #[cached(call = Self::first_call)]
    fn first(of: Vec<u32>) -> Option<u32> {
        of.first().copied()
    }

    #[cached(call = into_row_call, skip(self))]
    fn into_row(mut self, (a, _): (usize, u8)) -> T {
        self.rows.remove(a)
    }
}

#[test]
fn bound_calls_of_methods_generics_patterns_and_values() {
    super::in_memory_by_default();
    let store = Store { rows: vec![1u32, 2, 3], cache: Cache::in_memory() };
    assert_eq!(store.row::<1>(1), Some(3));
    assert_eq!(store.row_call::<1>(1).peek().unwrap(), Some(Some(3)));
    assert_eq!(store.row_call::<0>(1).peek().unwrap(), None);
    assert_eq!(store.row_call::<0>(1).get(), Some(2));
    assert_eq!(Store::<u8>::first_call(vec![7]).get(), Some(7));
    assert!(Store::<u8>::first_call(vec![7]).is_cached().unwrap());
    assert_eq!(store.into_row_call((2, 0)).get(), 3);
}

#[test]
fn bound_calls_of_async_functions_are_futures_and_send() {
    super::in_memory_by_default();
    fn send<T: Send>(value: T) -> T {
        value
    }

    let store = Store { rows: vec![1u32, 2, 3], cache: Cache::in_memory() };
    assert_eq!(block_on(send(store.row_later_call(&1).get())), Ok(2));
    assert!(store.row_later_call(&1).is_cached().unwrap());
    assert_eq!(store.row_later_call(&1).peek().unwrap(), Some(Ok(2)));
    assert_eq!(block_on(send(store.row_later_call(&1).refresh())), Ok(2));
    assert_eq!(block_on(send(store.row_later_call(&2).uncached())), Ok(3));
    assert!(!store.row_later_call(&2).is_cached().unwrap());
}

static CACHE: LazyLock<Cache> = LazyLock::new(Cache::in_memory);

#[test]
fn a_bound_call_uses_the_key_and_the_cache_of_its_function() {
    super::in_memory_by_default();
    #[cached(call = keyed_call, cache = CACHE, key(a + b), prefix = "p", version = auto, cache_none)]
    fn keyed((a, b): (u32, u32)) -> Option<u32> {
        (a == b).then_some(a)
    }

    assert_eq!(keyed((1, 2)), None);
    assert_eq!(keyed_call((2, 1)).peek().unwrap(), Some(None));
    assert!(function(keyed).in_cache(&CACHE).entries().unwrap().len() == 1);
}

#[test]
fn generic_functions_lifetimes_and_unsafe() {
    super::in_memory_by_default();
    #[cached(call = longest_call)]
    fn longest<'a, T: serde::Serialize + AsRef<str>>(a: &'a T, b: &'_ str, _: impl serde::Serialize) -> usize {
        a.as_ref().len().max(b.len())
    }

    #[cached(call = risky_call)]
    #[allow(unsafe_code)]
    unsafe fn risky(n: u32) -> u32 {
        n
    }

    let (a, b) = ("abc".to_owned(), "ab".to_owned());
    assert_eq!(longest(&a, &b, 1u8), 3);
    assert_eq!(longest_call(&a, &b, 1u8).peek().unwrap(), Some(3));
    assert_eq!(longest_call(&a, &b, 1u16).peek().unwrap(), None);
    #[allow(unsafe_code)]
    let call = unsafe { risky_call(4) };
    assert_eq!(call.get(), 4);
}
