//! What those get who waited for a call whose result is not stored.

use std::fmt;
use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use cacheness::function::SharedError;
use cacheness::{Cache, CacheConfig, cache_if, cached};

use super::{Runs, block_on};

/// Calls at the same time, from so many threads, and returns what each got.
fn at_once<R: Send>(callers: usize, call: impl Fn() -> R + Sync) -> Vec<thread::Result<R>> {
    let gate = Barrier::new(callers);
    thread::scope(|threads| {
        let one = || {
            gate.wait();
            call()
        };
        let callers: Vec<_> = (0..callers).map(|_| threads.spawn(one)).collect();
        callers.into_iter().map(thread::ScopedJoinHandle::join).collect()
    })
}

/// All of them return.
fn all_at_once<R: Send>(callers: usize, call: impl Fn() -> R + Sync) -> Vec<R> {
    at_once(callers, call).into_iter().map(|result| result.unwrap_or_else(|_| panic!("a call panicked"))).collect()
}

fn work(millis: u64) {
    thread::sleep(Duration::from_millis(millis));
}

#[derive(Clone, Debug, PartialEq)]
struct Refused(u32);

#[test]
fn an_error_that_can_be_cloned_is_told_to_all_who_waited_after_one_run() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();
    type Reply = Result<u32, Refused>;

    #[cached]
    fn request() -> Reply {
        RUNS.count();
        work(200);
        Err(Refused(7))
    }

    assert!(all_at_once(200, request).into_iter().all(|reply| reply == Err(Refused(7))));
    assert_eq!(RUNS.so_far(), 1);
    assert_eq!(request(), Err(Refused(7)));
    assert_eq!(RUNS.so_far(), 2, "it was not stored");
}

#[test]
fn an_error_that_can_be_cloned_is_told_to_all_tasks_that_waited_after_one_run() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    async fn request() -> Result<std::rc::Rc<str>, Refused> {
        RUNS.count();
        tokio::time::sleep(Duration::from_millis(200)).await;
        Err(Refused(7))
    }

    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
        let tasks = tokio::task::LocalSet::new();
        tasks
            .run_until(async {
                let calls: Vec<_> = (0..200).map(|_| tokio::task::spawn_local(request())).collect();
                for call in calls {
                    assert_eq!(call.await.unwrap(), Err(Refused(7)));
                }
            })
            .await;
    });
    assert_eq!(RUNS.so_far(), 1, "it is enough that the error can be cloned and sent");
}

/// An error that cannot be cloned, made of a text.
#[derive(Debug)]
struct Text(String);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<SharedError> for Text {
    fn from(error: SharedError) -> Self {
        Self(error.to_string())
    }
}

#[test]
fn with_share_errors_an_error_that_cannot_be_cloned_is_told_as_its_text_or_as_a_function_copies_it() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached(share_errors)]
    fn of_text() -> Result<u32, Text> {
        RUNS.count();
        work(200);
        Err(Text("the server is gone".to_owned()))
    }

    #[cached(share_errors = true)]
    fn boxed() -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
        RUNS.count();
        work(100);
        Err("the server is gone".into())
    }

    #[cached(share_errors = |error| io::Error::new(error.kind(), error.to_string()))]
    fn copied(n: u32) -> io::Result<u32> {
        RUNS.count();
        work(100);
        Err(io::Error::new(io::ErrorKind::NotFound, format!("no {n}")))
    }

    #[cached(share_errors = |error| io::Error::from(error.kind()))]
    async fn copied_later(n: u32) -> io::Result<u32> {
        RUNS.count();
        work(100);
        Err(io::Error::new(io::ErrorKind::NotFound, format!("no {n}")))
    }

    assert!(all_at_once(200, of_text).into_iter().all(|reply| reply.unwrap_err().0 == "the server is gone"));
    assert_eq!(RUNS.so_far(), 1);
    assert!(all_at_once(50, boxed).into_iter().all(|reply| reply.unwrap_err().to_string() == "the server is gone"));
    assert_eq!(RUNS.so_far(), 2);
    assert!(all_at_once(50, || copied(3)).into_iter().all(|reply| reply.unwrap_err().to_string() == "no 3"));
    assert_eq!(RUNS.so_far(), 3);
    let replies = all_at_once(50, || block_on(copied_later(3)));
    assert!(replies.into_iter().all(|reply| reply.unwrap_err().kind() == io::ErrorKind::NotFound));
    assert_eq!(RUNS.so_far(), 4);
}

#[test]
fn errors_that_cannot_be_cloned_or_are_not_to_be_shared_are_found_side_by_side() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn not_clone() -> io::Result<u32> {
        RUNS.count();
        work(200);
        Err(io::ErrorKind::NotFound.into())
    }

    #[cached(share_errors = false)]
    fn not_shared() -> Result<u32, Refused> {
        RUNS.count();
        work(200);
        Err(Refused(1))
    }

    let start = Instant::now();
    assert!(all_at_once(20, not_clone).into_iter().all(|reply| reply.is_err()));
    assert!(all_at_once(20, not_shared).into_iter().all(|reply| reply.is_err()));
    assert_eq!(RUNS.so_far(), 40);
    assert!(start.elapsed() < Duration::from_secs(4), "one after another they would take eight seconds");
}

#[test]
fn after_a_panic_those_who_waited_run_the_body_side_by_side() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn panics(n: u32) -> u32 {
        RUNS.count();
        work(100);
        // As a panic, without the report: it may take longer than all else here.
        std::panic::resume_unwind(Box::new(n))
    }

    let start = Instant::now();
    assert!(at_once(20, || panics(1)).into_iter().all(|outcome| outcome.is_err()));
    assert!(start.elapsed() < Duration::from_millis(1000), "one after another they would take two seconds");
    assert_eq!(RUNS.so_far(), 20);
}

#[test]
fn after_the_panic_of_a_future_the_tasks_that_waited_run_the_body_side_by_side_and_store_what_comes() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    async fn panics_at_first() -> u32 {
        let run = RUNS.count();
        tokio::time::sleep(Duration::from_millis(100)).await;
        if run == 1 {
            std::panic::resume_unwind(Box::new(run));
        }
        7
    }

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let start = Instant::now();
    let calls: Vec<_> = (0..20).map(|_| runtime.spawn(panics_at_first())).collect();
    let outcomes: Vec<_> = calls.into_iter().map(|call| runtime.block_on(call)).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 1);
    assert!(outcomes.into_iter().flatten().all(|value| value == 7));
    assert!(start.elapsed() < Duration::from_millis(1000), "one after another they would take two seconds");
    let runs = RUNS.so_far();
    assert_eq!((block_on(panics_at_first()), RUNS.so_far()), (7, runs), "it is stored");
}

#[test]
fn none_and_results_that_a_condition_rejects_are_told_to_all_who_waited() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct NoClone;

    #[cached]
    fn nothing() -> Option<NoClone> {
        RUNS.count();
        work(100);
        None
    }

    #[cache_if(|status: &String| status == "done")]
    fn status() -> String {
        RUNS.count();
        work(100);
        "in progress".to_owned()
    }

    assert!(all_at_once(50, nothing).into_iter().all(|found| found.is_none()));
    assert_eq!(RUNS.so_far(), 1);
    assert!(all_at_once(50, status).into_iter().all(|status| status == "in progress"));
    assert_eq!(RUNS.so_far(), 2);
}

#[test]
fn a_value_that_cannot_be_stored_is_told_to_all_who_waited() {
    static RUNS: Runs = Runs::new();
    let mut config = CacheConfig::in_memory();
    config.limits.max_value_bytes = 100;
    let cache = Cache::new(config).unwrap();
    let asynchronous = cacheness::AsyncCache::from(cache.clone());

    #[cached(cache = cache, key(n))]
    fn large(cache: &Cache, n: u32) -> Vec<u32> {
        RUNS.count();
        work(100);
        vec![n; 1000]
    }

    assert!(all_at_once(50, || large(&cache, 1)).into_iter().all(|value| value == vec![1; 1000]));
    assert_eq!(RUNS.so_far(), 1);
    let make = || {
        RUNS.count();
        work(100);
        vec![2u32; 1000]
    };
    let values = all_at_once(50, || cache.get_or_insert_with("k", make).unwrap());
    assert!(values.into_iter().all(|value| value == vec![2; 1000]));
    assert_eq!(RUNS.so_far(), 2);
    let values = all_at_once(50, || block_on(asynchronous.get_or_insert_with("l", || async { make() })).unwrap());
    assert!(values.into_iter().all(|value| value == vec![2; 1000]));
    assert_eq!(RUNS.so_far(), 3);
}
