//! `stale_on_error`: an expired value stands in for an `Err`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use cacheness::clock::ManualClock;
use cacheness::{Cache, CacheError, cached, function, refresh, refresh_async};

use super::{Runs, block_on};

const MINUTE: Duration = Duration::from_secs(60);

/// What the functions ask: it answers until it is told to fail.
#[derive(Clone)]
struct Service {
    cache: Cache,
    clock: Arc<ManualClock>,
    fails: Arc<AtomicBool>,
}

impl Service {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        Self { cache: Cache::with_clock(clock.clone()), clock, fails: Arc::default() }
    }

    fn fails(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    fn ask(&self, answer: u32) -> Reply {
        if self.fails.load(Ordering::SeqCst) { Err(Fault(format!("no answer {answer}"))) } else { Ok(answer) }
    }
}

/// An alias: what a `Result` is is decided by its type.
type Reply = Result<u32, Fault>;

#[derive(Debug, PartialEq)]
struct Fault(String);

impl From<CacheError> for Fault {
    fn from(error: CacheError) -> Self {
        Self(format!("cache: {error}"))
    }
}

/// An error that must not keep the future of a function without `stale_on_error` from being `Send`.
#[derive(Debug)]
struct NotSend(#[allow(dead_code)] *const u8);

#[cached(ttl = 60, cache = service.cache, skip(service, runs), stale_on_error)]
fn ask(service: &Service, n: u32, runs: &Runs) -> Reply {
    service.ask(n * 100 + runs.count())
}

#[test]
fn an_expired_value_is_returned_when_the_function_fails_and_only_then() {
    static RUNS: Runs = Runs::new();
    let service = Service::new();
    service.fails(true);
    assert_eq!(ask(&service, 1, &RUNS), Err(Fault("no answer 101".into())), "there is nothing yet");
    service.fails(false);
    assert_eq!([ask(&service, 1, &RUNS), ask(&service, 1, &RUNS)], [Ok(102), Ok(102)]);
    service.clock.advance(MINUTE);
    service.fails(true);
    assert_eq!([ask(&service, 1, &RUNS), ask(&service, 1, &RUNS)], [Ok(102), Ok(102)]);
    assert_eq!(RUNS.so_far(), 4, "the body is asked each time");
    assert!(ask(&service, 2, &RUNS).is_err(), "of another key");
    service.fails(false);
    assert_eq!([ask(&service, 1, &RUNS), ask(&service, 1, &RUNS)], [Ok(106), Ok(106)], "a new value takes its place");
}

#[test]
fn a_stale_answer_is_a_miss_and_counted_by_itself() {
    #[cached(ttl = 60, cache = service.cache, skip(service), stale_on_error)]
    fn counted(service: &Service) -> Reply {
        service.ask(1)
    }
    let service = Service::new();
    assert_eq!([counted(&service), counted(&service)], [Ok(1), Ok(1)]);
    service.clock.advance(MINUTE);
    service.fails(true);
    assert_eq!([counted(&service), counted(&service)], [Ok(1), Ok(1)]);
    let info = function(counted).info().unwrap();
    assert_eq!((info.hits, info.misses, info.stale, info.entries), (1, 3, 2, 1));
    let stats = service.cache.get_stats().unwrap();
    assert_eq!((stats.hits, stats.misses, stats.errors), (1, 3, 0));
}

#[test]
fn what_the_attributes_own_ttl_judges_expired_counts_as_well() {
    fn stored_for_ever(service: &Service, ttl: Duration) -> Reply {
        #[cached(ttl = ttl, cache = service.cache, skip(service), key("one"), stale_on_error)]
        fn narrow(service: &Service, ttl: Duration) -> Reply {
            service.ask(ttl.as_secs() as u32)
        }
        narrow(service, ttl)
    }
    let service = Service::new();
    assert_eq!(stored_for_ever(&service, MINUTE * 60), Ok(3600));
    service.clock.advance(MINUTE);
    service.fails(true);
    assert_eq!(stored_for_ever(&service, MINUTE), Ok(3600), "expired for this reader alone");
}

#[test]
fn what_was_removed_is_not_served() {
    static RUNS: Runs = Runs::new();
    let service = Service::new();
    let fill = || {
        service.fails(false);
        assert!(ask(&service, 1, &RUNS).is_ok());
        service.clock.advance(MINUTE);
        service.fails(true);
        assert!(ask(&service, 1, &RUNS).is_ok());
    };
    for remove in [
        |service: &Service| assert!(service.cache.clear().unwrap() >= 1),
        |service: &Service| assert_eq!(service.cache.cleanup_expired().unwrap(), 1),
        |service: &Service| assert_eq!(function(ask).in_cache(&service.cache).clear().unwrap(), 1),
    ] {
        fill();
        remove(&service);
        assert!(ask(&service, 1, &RUNS).is_err());
    }
}

#[test]
fn what_is_removed_while_the_body_runs_is_not_served() {
    #[cached(ttl = 60, cache = service.cache, skip(service), stale_on_error)]
    fn removed(service: &Service) -> Reply {
        if service.fails.load(Ordering::SeqCst) {
            service.cache.clear().unwrap();
        }
        service.ask(1)
    }
    let service = Service::new();
    assert_eq!(removed(&service), Ok(1));
    service.clock.advance(MINUTE);
    service.fails(true);
    assert!(removed(&service).is_err());
}

#[test]
fn refresh_tells_the_error_and_keeps_the_entry() {
    static RUNS: Runs = Runs::new();
    let service = Service::new();
    assert!(ask(&service, 1, &RUNS).is_ok());
    service.clock.advance(MINUTE);
    service.fails(true);
    assert!(refresh(|| ask(&service, 1, &RUNS)).is_err());
    assert!(cacheness::bypass(|| ask(&service, 1, &RUNS)).is_err());
    assert_eq!(ask(&service, 1, &RUNS), Ok(101));
}

#[test]
fn futures_serve_stale_values_too() {
    #[cached(ttl = 60, cache = service.cache.clone(), skip(service), stale_on_error = true, ignore_errors = false)]
    async fn later(service: Service, n: u32) -> Reply {
        tokio::task::yield_now().await;
        service.ask(n)
    }
    fn send<T: Send>(value: T) -> T {
        value
    }
    let service = Service::new();
    let call = |n| block_on(send(later(service.clone(), n)));
    assert_eq!(call(1), Ok(1));
    service.clock.advance(MINUTE);
    service.fails(true);
    assert_eq!([call(1), call(1)], [Ok(1), Ok(1)]);
    assert_eq!(call(2), Err(Fault("no answer 2".into())));
    assert!(block_on(refresh_async(later(service.clone(), 1))).is_err());
    assert_eq!(function(later).info().unwrap().stale, 2);
    service.cache.close().unwrap();
    assert!(call(1).unwrap_err().0.starts_with("cache: "), "an error of the cache is no failure of the function");
}

#[test]
fn an_error_that_is_not_send_leaves_futures_send_that_serve_nothing_stale() {
    super::in_memory_by_default();
    #[cached]
    async fn plain() -> Result<u32, NotSend> {
        Ok(1)
    }

    #[cached(stale_on_error)]
    async fn stale() -> Result<u32, NotSend> {
        Ok(2)
    }

    fn send<T: Send>(value: T) -> T {
        value
    }
    assert_eq!((block_on(send(plain())).unwrap(), block_on(stale()).unwrap()), (1, 2));
}

const CALLERS: usize = 16;

#[test]
fn who_waits_for_a_leader_that_fails_gets_the_stale_value_without_a_run() {
    static RUNS: Runs = Runs::new();
    #[cached(ttl = 60, cache = service.cache, skip(service), stale_on_error)]
    fn slow(service: &Service) -> Reply {
        if RUNS.count() == 2 {
            // All have missed, and have a while to join the flight.
            while service.cache.get_stats().unwrap().misses < 1 + CALLERS as u64 {
                thread::yield_now();
            }
            sleep(Duration::from_millis(100));
        }
        service.ask(1)
    }
    let service = Service::new();
    assert_eq!(slow(&service), Ok(1));
    service.clock.advance(MINUTE);
    service.fails(true);
    let answers = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(|| slow(&service))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(answers.iter().all(|answer| *answer == Ok(1)), "{answers:?}");
    assert!(RUNS.so_far() < CALLERS as u32, "{} runs", RUNS.so_far());
    let info = function(slow).info().unwrap();
    assert_eq!((info.misses, info.stale), (u64::from(RUNS.so_far()), CALLERS as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_wait_for_a_leader_that_fails_get_the_stale_value_too() {
    static RUNS: Runs = Runs::new();
    #[cached(ttl = 60, cache = service.cache.clone(), skip(service), stale_on_error)]
    async fn slow(service: Service) -> Reply {
        RUNS.count();
        tokio::time::sleep(Duration::from_millis(100)).await;
        service.ask(1)
    }
    let service = Service::new();
    assert_eq!(slow(service.clone()).await, Ok(1));
    service.clock.advance(MINUTE);
    service.fails(true);
    let callers: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(slow(service.clone()))).collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(1));
    }
    assert!(RUNS.so_far() < 1 + CALLERS as u32, "{} runs", RUNS.so_far());
    assert_eq!(function(slow).info().unwrap().stale, CALLERS as u64);
}

#[test]
fn callers_without_single_flight_each_serve_their_own() {
    static RUNS: Runs = Runs::new();
    #[cached(single_flight = false, ttl = 60, stale_on_error, cache = service.cache, skip(service))]
    fn alone(service: &Service) -> Reply {
        service.ask(RUNS.count())
    }
    let service = Service::new();
    assert_eq!(alone(&service), Ok(1));
    service.clock.advance(MINUTE);
    service.fails(true);
    let answers = thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| alone(&service))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(answers.iter().all(|answer| *answer == Ok(1)), "{answers:?}");
    assert_eq!(RUNS.so_far(), 5);
}

#[test]
fn a_damaged_value_is_not_served() {
    #[cached(ttl = 0.02, cache = cache, skip(cache, fails), stale_on_error)]
    fn large(cache: &Cache, fails: bool) -> Result<Vec<u8>, ()> {
        if fails { Err(()) } else { Ok(vec![7; 100_000]) }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut config = cacheness::CacheConfig::new(dir.path());
    config.compression.codec = cacheness::config::Codec::None;
    let cache = Cache::new(config).unwrap();
    assert_eq!(large(&cache, false), Ok(vec![7; 100_000]));
    sleep(Duration::from_millis(30));
    assert_eq!(large(&cache, true), Ok(vec![7; 100_000]), "expired, and whole");
    let blobs = cacheness_tests::files_below(&dir.path().join("blobs")).unwrap();
    for blob in blobs {
        let mut bytes = std::fs::read(&blob).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&blob, bytes).unwrap();
    }
    assert_eq!(large(&cache, true), Err(()));
}

#[test]
fn an_expired_value_without_the_option_is_not_served() {
    #[cached(ttl = 60, cache = service.cache, skip(service), stale_on_error = false, cache_none)]
    fn strict(service: &Service) -> Reply {
        service.ask(1)
    }
    let service = Service::new();
    assert_eq!(strict(&service), Ok(1));
    service.clock.advance(MINUTE);
    service.fails(true);
    assert!(strict(&service).is_err());
}
