//! Cached futures.

use std::future::ready;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use cacheness::cached;
use serde::Serialize;

use super::{Runs, block_on};

fn send<T: Send>(value: T) -> T {
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_tasks_run_one_body() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    async fn slow(n: u32) -> u32 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        RUNS.count() + n
    }

    let tasks: Vec<_> = (0..50).map(|_| tokio::spawn(slow(1))).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 2);
    }
    assert_eq!(RUNS.so_far(), 1);
}

#[test]
fn a_future_is_polled_without_any_runtime_and_runs_nothing_before() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    async fn half(mut list: Vec<u32>, (a, _): (u32, u32), _: u8) -> Vec<u32> {
        RUNS.count();
        list.push(a);
        list
    }

    drop(half(vec![1], (2, 3), 4));
    assert_eq!(RUNS.so_far(), 0);
    assert_eq!(block_on(half(vec![1], (2, 3), 4)), [1, 2]);
    assert_eq!(block_on(half(vec![1], (2, 3), 4)), [1, 2]);
    assert_eq!(RUNS.so_far(), 1);
}

#[test]
fn recursion() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    async fn fib(n: u32) -> u64 {
        RUNS.count();
        if n < 2 { n.into() } else { fib(n - 1).await + fib(n - 2).await }
    }

    assert_eq!(block_on(send(fib(40))), 102_334_155);
    assert_eq!(RUNS.so_far(), 41);
}

#[test]
fn a_body_that_is_not_send() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    async fn local(n: u32) -> u32 {
        let shared = Rc::new(n);
        ready(()).await;
        RUNS.count() + *shared
    }

    assert_eq!([block_on(local(1)), block_on(local(1))], [2, 2]);
}

#[test]
fn an_error_that_is_not_send_leaves_the_future_send() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    async fn fails(n: i32) -> Result<i32, Box<dyn std::error::Error>> {
        RUNS.count();
        ready(()).await;
        if n < 0 {
            Err("negative")?
        }
        Ok(n)
    }

    assert_eq!([send(fails(1)), fails(1)].map(|future| block_on(future).unwrap()), [1, 1]);
    assert!(block_on(fails(-1)).is_err());
    assert_eq!(RUNS.so_far(), 2);
}

#[test]
fn the_cached_future_is_not_much_larger_than_its_body() {
    super::in_memory_by_default();
    async fn body() -> u8 {
        let large = [1u8; 16 << 10];
        tokio::task::yield_now().await;
        large[7]
    }

    #[cached]
    async fn wrapped() -> u8 {
        body().await
    }

    assert!(size_of_val(&wrapped()) < size_of_val(&body()) + 1024);
    assert_eq!([block_on(wrapped()), block_on(wrapped())], [1, 1]);
    assert_eq!(cacheness::function(wrapped).info().unwrap().hits, 1);
}

trait Fetch {
    fn fetch(&self, url: &str) -> impl Future<Output = String> + Send;
}

#[derive(Serialize)]
struct Http {
    base: String,
}

static FETCHES: Runs = Runs::new();

impl Fetch for Http {
    #[cached]
    async fn fetch(&self, url: &str) -> String {
        FETCHES.count();
        ready(()).await;
        format!("{}{url}", self.base)
    }
}

#[test]
fn a_native_async_method_of_a_trait() {
    super::in_memory_by_default();
    let http = Http { base: "h:".to_owned() };
    assert_eq!([block_on(send(http.fetch("a"))), block_on(http.fetch("a"))], ["h:a", "h:a"]);
    assert_eq!(FETCHES.so_far(), 1);
}

#[async_trait]
trait Load: Sync {
    async fn load(&self, name: &str, (a, b): (u8, u8)) -> Result<String, String>;

    #[cached(skip(self))]
    async fn twice(&self, n: u32) -> u32 {
        TWICE.count();
        ready(()).await;
        n * 2
    }
}

static LOADS: Runs = Runs::new();
static TWICE: Runs = Runs::new();

#[async_trait]
impl Load for Http {
    #[cached(async, ttl = 60, metadata(name = name))]
    async fn load(&self, name: &str, (a, b): (u8, u8)) -> Result<String, String> {
        LOADS.count();
        ready(()).await;
        if name.is_empty() {
            return Err("no name".to_owned());
        }
        Ok(format!("{}{name}{a}{b}", self.base))
    }
}

#[tokio::test]
async fn async_trait_above() {
    super::in_memory_by_default();
    let http: Arc<dyn Load + Send> = Arc::new(Http { base: "h:".to_owned() });
    for _ in 0..2 {
        assert_eq!(http.load("n", (1, 2)).await.as_deref(), Ok("h:n12"));
        assert_eq!(http.twice(4).await, 8);
    }
    assert_eq!(http.load("n", (1, 3)).await.as_deref(), Ok("h:n13"));
    assert!(http.load("", (1, 2)).await.is_err());
    assert_eq!((LOADS.so_far(), TWICE.so_far()), (3, 1));
}

#[test]
fn a_function_that_returns_a_boxed_future() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn boxed(n: u32) -> Pin<Box<dyn Future<Output = u32> + Send>> {
        let more = n + 1;
        Box::pin(async move { RUNS.count() + more })
    }

    assert_eq!([block_on(boxed(1)), block_on(boxed(1))], [3, 3]);
}

#[tokio::test]
async fn a_sync_function_on_a_worker_of_tokio() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn work(n: u32) -> u32 {
        RUNS.count() + n
    }

    assert_eq!([work(1), work(1)], [2, 2]);
}

#[tokio::test]
async fn a_future_dropped_in_the_middle_leaves_no_waiter_behind() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    async fn stuck(n: u32) -> u32 {
        if RUNS.count() == 1 {
            std::future::pending::<()>().await;
        }
        n
    }

    let short = std::time::Duration::from_millis(10);
    assert!(tokio::time::timeout(short, stuck(3)).await.is_err());
    assert_eq!([stuck(3).await, stuck(3).await], [3, 3]);
    assert_eq!(RUNS.so_far(), 2);
}

#[test]
fn a_panic_in_a_future_passes_through() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    async fn second_time_lucky() -> u32 {
        assert!(RUNS.count() != 1, "on purpose");
        7
    }

    assert!(std::panic::catch_unwind(|| block_on(second_time_lucky())).is_err());
    assert_eq!([block_on(second_time_lucky()), block_on(second_time_lucky())], [7, 7]);
    assert_eq!(RUNS.so_far(), 2);
}
