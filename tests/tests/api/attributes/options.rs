//! The options of the attributes.

use std::sync::{Arc, LazyLock};
use std::thread::sleep;
use std::time::Duration;

use cacheness::{Cache, Value, cache_async, cache_if, cached, function};
use serde::{Deserialize, Serialize};

use super::{Runs, block_on};

#[test]
fn a_result_ends_with_its_ttl() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached(ttl = 0.05)]
    fn brief() -> u32 {
        RUNS.count()
    }

    #[cached(ttl = Duration::from_millis(millis))]
    fn as_told(millis: u64) -> u32 {
        RUNS.count()
    }

    assert_eq!([brief(), brief(), as_told(50), as_told(50), as_told(60_000)], [1, 1, 2, 2, 3]);
    sleep(Duration::from_millis(60));
    assert_eq!([brief(), as_told(50), as_told(60_000)], [4, 5, 3]);
}

static LAZY: LazyLock<Cache> = LazyLock::new(Cache::in_memory);

#[test]
fn the_named_cache_is_used_whatever_holds_it() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    struct Service {
        cache: Arc<Cache>,
    }

    impl Service {
        #[cached(skip(self), cache = self.cache)]
        fn ask(&self, n: u32) -> u32 {
            RUNS.count() + n
        }
    }

    #[cached(cache_instance = LAZY)]
    fn lazy() -> u32 {
        RUNS.count()
    }

    #[cached(skip(cache), cache = cache)]
    fn lent(cache: &Cache) -> u32 {
        RUNS.count()
    }

    let (here, there) = (Cache::in_memory(), Cache::in_memory());
    let services = [here.clone(), here.clone(), there.clone()].map(|cache| Service { cache: Arc::new(cache) });
    assert_eq!(services.each_ref().map(|service| service.ask(0)), [1, 1, 2]);
    assert_eq!([lazy(), lazy()], [3, 3]);
    assert_eq!([lent(&here), lent(&here), lent(&there)], [4, 4, 5]);
    assert_eq!(function(lazy).in_cache(&LAZY).entries().unwrap().len(), 1);
    assert_eq!(function(lazy).in_cache(&here).entries().unwrap().len(), 0);
}

const PREFIX: &str = "by constant";

#[test]
fn the_prefix_is_part_of_the_key_and_of_the_entry() {
    super::in_memory_by_default();
    static CACHE: LazyLock<Cache> = LazyLock::new(Cache::in_memory);

    #[cached(cache = CACHE, cache_key_prefix = "weather")]
    fn literal() -> u32 {
        1
    }

    #[cached(cache = CACHE, key_prefix = PREFIX)]
    fn constant() -> u32 {
        2
    }

    assert_eq!([literal(), constant()], [1, 2]);
    assert_eq!(function(literal).entries().unwrap()[0].prefix(), Some("weather"));
    assert_eq!(function(constant).info().unwrap().prefix.as_deref(), Some("by constant"));
}

#[test]
fn metadata_is_told_on_a_miss_before_the_arguments_move() {
    super::in_memory_by_default();
    static TOLD: Runs = Runs::new();

    #[cached(metadata(city = city.as_str(), attempt = i64::from(TOLD.count()), fixed = "yes"))]
    fn weather(city: String) -> String {
        city
    }

    assert_eq!([weather("London".to_owned()), weather("London".to_owned())], ["London", "London"]);
    assert_eq!(TOLD.so_far(), 1);
    let entry = function(weather).entries().unwrap().remove(0);
    assert_eq!(entry.metadata().get("city"), Some(&Value::from("London")));
    assert_eq!(entry.metadata().get("attempt"), Some(&Value::from(1i64)));
    assert_eq!(entry.metadata().get("fixed"), Some(&Value::from("yes")));
}

#[test]
fn metadata_of_an_async_function() {
    super::in_memory_by_default();
    #[cached(metadata(city = city.clone()))]
    async fn weather(city: String) -> String {
        city
    }

    assert_eq!(block_on(weather("Rome".to_owned())), "Rome");
    assert_eq!(function(weather).entries().unwrap()[0].metadata().get("city"), Some(&Value::from("Rome")));
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Reply {
    status: String,
    run: u32,
}

impl Reply {
    fn is_success(&self) -> bool {
        self.status == "success"
    }
}

#[test]
fn a_condition_decides_what_is_stored() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    fn reply(status: &str) -> Reply {
        Reply { status: status.to_owned(), run: RUNS.count() }
    }

    #[cache_if(|r: &Reply| r.status == "success", ttl = 3600)]
    fn typed(status: &str) -> Reply {
        reply(status)
    }

    #[cache_if(|r| r.is_success())]
    fn untyped(status: &str) -> Reply {
        reply(status)
    }

    #[cache_if(Reply::is_success)]
    fn path(status: &str) -> Reply {
        reply(status)
    }

    #[cached(ttl = 60, condition = |r| matches!(r, Ok(r) if r.is_success()))]
    fn of_result(status: &str) -> Result<Reply, ()> {
        Ok(reply(status))
    }

    #[cache_if(ttl = "1h", condition = |r| r.is_success(), async)]
    async fn later(status: &str) -> Reply {
        reply(status)
    }

    for ask in [typed, untyped, path, |s: &str| of_result(s).unwrap(), |s: &str| block_on(later(s))] {
        let before = RUNS.so_far();
        assert_eq!([ask("success"), ask("success")].map(|reply| reply.run), [before + 1; 2]);
        assert_eq!([ask("failed"), ask("failed")].map(|reply| reply.run), [before + 2, before + 3]);
    }
}

#[test]
fn a_panic_in_a_condition_passes_through_and_stores_nothing() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cache_if(|run| if *run == 1 { panic!("on purpose") } else { true })]
    fn run() -> u32 {
        RUNS.count()
    }

    assert!(std::panic::catch_unwind(run).is_err());
    assert_eq!([run(), run()], [2, 2]);
}

#[test]
fn for_api_keeps_results_for_six_hours_unless_told_otherwise() {
    super::in_memory_by_default();
    #[cached::for_api]
    fn plain() -> u32 {
        1
    }

    #[cached(for_api)]
    fn flag() -> u32 {
        1
    }

    #[cached::for_api(ttl_seconds = 60, ignore_errors = true)]
    fn shorter() -> u32 {
        1
    }

    let ttl = |info: cacheness::function::FunctionInfo| info.ttl.unwrap().as_secs();
    assert_eq!([plain(), flag(), shorter()], [1, 1, 1]);
    assert_eq!(ttl(function(plain).info().unwrap()), 21_600);
    assert_eq!(ttl(function(flag).info().unwrap()), 21_600);
    assert_eq!(ttl(function(shorter).info().unwrap()), 60);
    assert_eq!(function(shorter).info().unwrap().entries, 1);
}

#[test]
fn without_single_flight_every_caller_runs_the_body() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached(single_flight = false)]
    fn crowd() -> u32 {
        sleep(Duration::from_millis(100));
        RUNS.count()
    }

    #[cached]
    fn queue() -> u32 {
        sleep(Duration::from_millis(100));
        RUNS.count()
    }

    let together = |work: fn() -> u32| {
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    };
    together(crowd);
    assert_eq!(RUNS.so_far(), 4);
    together(queue);
    assert_eq!(RUNS.so_far(), 5);
}

#[test]
fn all_options_in_any_order_and_with_a_comma_at_the_end() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached(memory = false, crate = ::cacheness, version = "a", skip(b), ttl_seconds = 1.5e3, single_flight = true,)]
    fn one(a: u32, b: u32) -> u32 {
        RUNS.count() + a + b
    }

    #[cached(ttl = 1500, single_flight, skip(b,), version = "a", crate = ::cacheness, memory)]
    fn other(a: u32, b: u32) -> u32 {
        RUNS.count() + a + b
    }

    assert_eq!([one(0, 0), one(0, 1), other(0, 0), other(0, 1)], [1, 1, 2, 2]);
}

#[test]
fn cache_async_is_cached_for_futures() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cache_async(ttl = 7200)]
    async fn fetch(url: &str) -> String {
        RUNS.count();
        url.to_owned()
    }

    assert_eq!([block_on(fetch("a")), block_on(fetch("a"))], ["a", "a"]);
    assert_eq!(RUNS.so_far(), 1);
}
