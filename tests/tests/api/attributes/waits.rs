//! A call that waits for one which depends on it. Each of these ends without a cache.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use cacheness::{Cache, CacheConfig, cached};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::{Builder, Runtime};

use super::Runs;

/// A hang is a failure: gives a test a minute.
fn ends(test: impl FnOnce() + Send + 'static) {
    let (done, wait) = channel::<()>();
    let runner = thread::spawn(move || {
        let _done = done;
        test();
    });
    assert_ne!(wait.recv_timeout(Duration::from_secs(60)), Err(RecvTimeoutError::Timeout), "hangs");
    if let Err(panic) = runner.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A cache whose callers wait so long at least.
fn waiting(millis: u64) -> Cache {
    Cache::new(CacheConfig::in_memory().with_single_flight_wait(Duration::from_millis(millis))).unwrap()
}

/// Longer than the test may take: what ends has not waited for its patience to end.
const A_DAY: u64 = 86_400_000;

fn runtimes() -> [Runtime; 2] {
    let one = Builder::new_current_thread().enable_time().build().unwrap();
    [one, Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()]
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[cached(cache = cache, key(n), skip(cache))]
async fn slow(cache: Cache, n: u32) -> u32 {
    pause(50).await;
    n
}

#[test]
fn a_call_that_is_kept_and_not_polled_holds_up_no_call_of_its_task() {
    ends(|| {
        for runtime in runtimes() {
            let cache = waiting(A_DAY);
            let select = async move {
                let mut kept = Box::pin(slow(cache.clone(), 1));
                tokio::select! {
                    _ = &mut kept => unreachable!("the other arm is ready first"),
                    () = pause(5) => {}
                }
                assert_eq!(slow(cache.clone(), 1).await, 1);
                assert_eq!(kept.await, 1);
            };
            runtime.block_on(async { tokio::spawn(select).await.unwrap() });
        }
    });
}

#[test]
fn a_call_that_is_kept_and_not_polled_holds_up_no_other_task_for_long() {
    ends(|| {
        for runtime in runtimes() {
            let cache = waiting(A_DAY);
            runtime.block_on(async move {
                let mut kept = FuturesUnordered::from_iter([slow(cache.clone(), 1)]);
                tokio::select! {
                    _ = kept.next() => unreachable!("the other arm is ready first"),
                    () = pause(5) => {}
                }
                assert_eq!(tokio::spawn(slow(cache.clone(), 1)).await.unwrap(), 1);
                assert_eq!(slow(cache.clone(), 1).await, 1);
                assert_eq!(kept.next().await, Some(1));
            });
        }
    });
}

#[test]
fn a_call_that_is_polled_beside_one_of_its_key_waits_for_it() {
    static RUNS: Runs = Runs::new();

    #[cached(cache = cache, key(n), skip(cache))]
    async fn counted(cache: Cache, n: u32) -> u32 {
        RUNS.count();
        for _ in 0..20 {
            tokio::task::yield_now().await;
            pause(1).await;
        }
        n
    }

    ends(|| {
        for (round, runtime) in runtimes().into_iter().enumerate() {
            let cache = waiting(A_DAY);
            runtime.block_on(async {
                let calls: FuturesUnordered<_> = (0..5).map(|_| counted(cache.clone(), 1)).collect();
                let [one, two, three] = [(); 3].map(|()| counted(cache.clone(), 1));
                let (_, _, _, all) = tokio::join!(one, two, three, calls.collect::<Vec<_>>());
                assert_eq!(all, [1; 5]);
            });
            assert_eq!(RUNS.so_far(), round as u32 + 1);
        }
    });
}

#[test]
fn a_body_that_joins_a_thread_which_makes_the_same_call_ends() {
    #[cached(cache = cache, key(n))]
    fn joins(cache: &Cache, n: u32, fuel: u32) -> u32 {
        if fuel == 0 {
            return n;
        }
        thread::scope(|threads| threads.spawn(|| joins(cache, n, fuel - 1)).join().unwrap())
    }

    ends(|| {
        let cache = waiting(20);
        assert_eq!(joins(&cache, 1, 3), 1);
    });
}

#[test]
fn a_body_that_waits_for_a_pool_whose_threads_wait_for_it_ends() {
    #[cached(cache = cache, key(n))]
    fn in_pool(cache: &Cache, n: u32, fuel: u32) -> u32 {
        thread::sleep(Duration::from_millis(1));
        if fuel == 0 {
            return n;
        }
        let (a, b) = rayon::join(|| in_pool(cache, n, fuel - 1), || in_pool(cache, n + 1, fuel - 1));
        a + b - b
    }

    ends(|| {
        for round in 0..10 {
            let cache = waiting(20);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(2 + round % 3).build().unwrap();
            pool.scope(|scope| {
                for n in 0..8 {
                    let cache = &cache;
                    scope.spawn(move |_| assert_eq!(in_pool(cache, n / 3, 4), n / 3));
                }
            });
        }
    });
}

#[test]
fn a_future_that_waits_for_blocking_threads_which_all_wait_for_it_ends() {
    #[cached(cache = cache, key(n), skip(cache))]
    async fn offloads(cache: Cache, n: u32) -> u32 {
        pause(20).await;
        tokio::task::spawn_blocking(move || n).await.unwrap()
    }

    ends(|| {
        let runtime =
            Builder::new_multi_thread().worker_threads(2).max_blocking_threads(2).enable_time().build().unwrap();
        let cache = waiting(50);
        let leader = runtime.spawn(offloads(cache.clone(), 1));
        thread::sleep(Duration::from_millis(5));
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let cache = cache.clone();
                // The body that blocking callers run needs no pool.
                runtime.spawn_blocking(move || super::block_on(offloads_here(cache, 1)))
            })
            .collect();
        assert_eq!(runtime.block_on(leader).unwrap(), 1);
        for waiter in waiters {
            assert_eq!(runtime.block_on(waiter).unwrap(), 1);
        }
    });

    async fn offloads_here(cache: Cache, n: u32) -> u32 {
        cacheness::AsyncCache::from(cache).get_or_insert_with(n, || std::future::ready(n)).await.unwrap()
    }
}

#[test]
fn a_body_that_waits_for_a_message_of_its_waiter_gets_it() {
    ends(|| {
        let (cache, (sender, receiver)) = (waiting(20), channel());
        let other = cache.clone();
        let made = cache.get_or_insert_with("k", || {
            let waiter = thread::spawn(move || {
                other.get_or_insert_with("k", || 1u32).unwrap();
                sender.send(2u32).unwrap();
            });
            let received = receiver.recv().unwrap();
            waiter.join().unwrap();
            received
        });
        assert_eq!(made.unwrap(), 2);
    });
}

#[test]
fn two_hundred_callers_of_a_slow_body_wait_for_its_one_run() {
    static RUNS: Runs = Runs::new();

    #[cached(cache = cache, key(n))]
    fn slow(cache: &Cache, n: u32) -> u32 {
        thread::sleep(Duration::from_millis(1500));
        RUNS.count() + n
    }

    let cache = Cache::in_memory();
    thread::scope(|threads| {
        for _ in 0..200 {
            threads.spawn(|| assert_eq!(slow(&cache, 1), 2));
        }
    });
    assert_eq!(RUNS.so_far(), 1);
}

#[test]
fn of_two_hundred_callers_of_a_very_slow_body_few_lose_patience_and_the_first_run_that_ends_is_the_result_of_all() {
    static RUNS: Runs = Runs::new();

    #[cached(cache = cache, key(n))]
    fn slow(cache: &Cache, n: u32) -> u32 {
        let run = RUNS.count();
        thread::sleep(Duration::from_millis(2000));
        run + n
    }

    let (cache, start) = (waiting(100), Instant::now());
    let values: Vec<_> = thread::scope(|threads| {
        let callers: Vec<_> = (0..200).map(|_| threads.spawn(|| slow(&cache, 1))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert!(RUNS.so_far() < 40, "{} runs", RUNS.so_far());
    assert!(start.elapsed() < Duration::from_millis(8000), "nobody began anew after the first run had ended");
    let stored = cache.get_stats().unwrap();
    assert_eq!(stored.entries, 1);
    let told: std::collections::BTreeMap<_, _> = values.iter().map(|value| (value, ())).collect();
    assert!(told.len() as u32 <= RUNS.so_far());
    assert!(values.iter().filter(|value| **value == slow(&cache, 1)).count() > 160);
}
