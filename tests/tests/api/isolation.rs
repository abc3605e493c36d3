//! Tests with caches of their own, as users write them: none sees what another one stored.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::Poll;

use cacheness::function::{BoundCall, Now};
use cacheness::testing::{isolated, isolated_async, isolated_async_with, isolated_with};
use cacheness::{Cache, CacheConfig, Entry, bypass, cached, default_cache, function, refresh, set_default_cache};

use super::attributes::{block_on, in_memory_by_default};

thread_local! {
    static BODIES: Cell<u32> = const { Cell::new(0) };
}

/// Tells which run of a body on this thread it was.
#[cached(call = bound_run)]
fn run(_n: u32) -> u32 {
    BODIES.set(BODIES.get() + 1);
    BODIES.get()
}

static FETCHED: AtomicU32 = AtomicU32::new(0);

#[cached]
async fn fetch(n: u64) -> u64 {
    FETCHED.fetch_add(1, Ordering::Relaxed);
    tokio::task::yield_now().await;
    n * 2
}

fn calls() -> (u64, u64, u64) {
    let info = function(run).info().unwrap();
    (info.hits, info.misses, info.entries)
}

#[test]
fn threads_of_one_process_do_not_see_each_others_results() {
    let together = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let cache = isolated();
                together.wait();
                assert_eq!([run(1), run(2), run(1), run(2)], [1, 2, 1, 2]);
                together.wait();
                assert_eq!((calls(), cache.len().unwrap()), ((2, 2, 2), 2), "nobody else counts");
                assert_eq!(function(run).clear().unwrap(), 2);
                together.wait();
                assert_eq!([run(1), run(1)], [3, 3]);
            });
        }
    });
}

#[test]
fn the_default_cache_is_after_a_scope_what_it_was_before() {
    in_memory_by_default();
    #[cached]
    fn bodies(n: u32) -> u32 {
        BODIES.set(BODIES.get() + 1);
        BODIES.get() + n
    }

    let before = default_cache().unwrap();
    let first = bodies(7);
    let counted = function(bodies).info().unwrap();
    {
        let _cache = isolated();
        assert_ne!(bodies(7), first, "it is not in the cache of the scope");
        assert!(!default_cache().unwrap().exists("marker").unwrap());
        default_cache().unwrap().put("marker", &1u8).unwrap();
    }
    assert_eq!(bodies(7), first);
    assert!(!before.exists("marker").unwrap() && !default_cache().unwrap().exists("marker").unwrap());
    let now = function(bodies).info().unwrap();
    assert_eq!((now.hits, now.misses, now.entries), (counted.hits + 1, counted.misses, counted.entries));
}

#[test]
fn an_inner_scope_is_empty_and_the_outer_one_comes_back() {
    let _outer = isolated();
    assert_eq!([run(1), run(1)], [1, 1]);
    {
        let _inner = isolated();
        assert_eq!([run(1), run(1)], [2, 2]);
        assert_eq!(calls(), (1, 1, 1));
    }
    assert_eq!(run(1), 1);
    assert_eq!(calls(), (2, 1, 1));
}

#[test]
fn guards_may_be_dropped_in_any_order() {
    in_memory_by_default();
    let first = isolated();
    let second = isolated();
    first.put("first", &1u8).unwrap();
    second.put("second", &2u8).unwrap();
    drop(first);
    assert!(default_cache().unwrap().exists("second").unwrap());
    drop(second);
    for key in ["first", "second"] {
        assert!(!default_cache().unwrap().exists(key).unwrap(), "{key}");
    }
}

#[test]
fn a_panic_in_a_scope_ends_it() {
    let outer = isolated();
    let panicked = std::panic::catch_unwind(|| {
        let inner = isolated();
        inner.put("inner", &1u8).unwrap();
        panic!("as a failing test does");
    });
    assert!(panicked.is_err());
    default_cache().unwrap().put("outer", &2u8).unwrap();
    assert!(outer.exists("outer").unwrap() && !outer.exists("inner").unwrap());
    let panicked = std::panic::catch_unwind(|| block_on(isolated_async_with(Cache::in_memory(), async { panic!() })));
    assert!(panicked.is_err() && default_cache().unwrap().exists("outer").unwrap());
}

#[test]
fn a_default_cache_that_is_set_in_a_scope_goes_with_it() {
    in_memory_by_default();
    let outside = default_cache().unwrap();
    outside.put("outside a scope", &1u8).unwrap();
    {
        let scope = isolated();
        assert_eq!(run(1), 1);
        let before = set_default_cache(Cache::in_memory()).expect("that of the scope");
        assert_eq!((before.len().unwrap(), scope.len().unwrap()), (1, 1));
        assert_eq!([run(1), run(1)], [2, 2], "the new one is empty");
        assert_eq!(default_cache().unwrap().len().unwrap(), 1);
    }
    assert!(default_cache().unwrap().exists("outside a scope").unwrap(), "nobody else was given another one");
}

#[test]
fn what_controls_calls_and_functions_sees_the_cache_of_the_scope() {
    let _cache = isolated();
    assert_eq!(run(1), 1);
    assert_eq!(refresh(|| run(1)), 2);
    assert_eq!(run(1), 2);
    assert_eq!(bypass(|| run(1)), 3);
    assert_eq!(run(1), 2);
    let call = || -> BoundCall<u32, Now<_>> { bound_run(1) };
    assert_eq!((call().is_cached().unwrap(), call().peek().unwrap()), (true, Some(2)));
    {
        let _inner = isolated();
        assert!(!call().is_cached().unwrap());
    }
    assert!(call().invalidate().unwrap());
    assert_eq!(run(1), 4);
    assert_eq!(function(run).entries().unwrap().len(), 1);
}

#[test]
fn a_function_that_names_its_cache_uses_that_in_a_scope_too() {
    #[cached(cache = cache, skip(cache))]
    fn named(cache: &Cache, n: u32) -> u32 {
        n
    }

    let (own, scope) = (Cache::in_memory(), isolated());
    assert_eq!(named(&own, 1), 1);
    assert_eq!((own.len().unwrap(), scope.len().unwrap()), (1, 0));
    assert_eq!(function(named).info().unwrap().entries, 1, "it is the one that was used last here");
}

#[test]
fn another_thread_has_the_scope_that_is_given_to_it_and_no_other() {
    in_memory_by_default();
    let scope = isolated();
    scope.put("marker", &1u8).unwrap();
    assert_eq!(run(9), 1);
    let cache = scope.clone();
    let marked = || default_cache().unwrap().exists("marker").unwrap();
    let other = std::thread::spawn(move || {
        let without = marked();
        let _cache = isolated_with(cache);
        (without, marked(), run(9), BODIES.get())
    });
    assert_eq!(other.join().unwrap(), (false, true, 1, 0), "no body ran there");
}

#[test]
fn a_given_cache_is_used_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(CacheConfig::new(dir.path())).unwrap();
    {
        let _cache = isolated_with(cache.clone());
        assert_eq!([run(1), run(1)], [1, 1]);
    }
    assert_eq!(cache.len().unwrap(), 1);
    let _cache = isolated_with(cache);
    assert_eq!(run(1), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_on_all_threads_of_a_runtime_share_the_scope_that_they_carry() {
    let before = FETCHED.load(Ordering::Relaxed);
    let one = || {
        isolated_async(async {
            let tasks: Vec<_> = (0..40u64).map(|n| tokio::spawn(isolated_async(fetch(1000 + n % 4)))).collect();
            for (task, n) in tasks.into_iter().zip(0..) {
                assert_eq!(task.await.unwrap(), 2 * (1000 + n % 4));
            }
            let cache = default_cache().unwrap();
            let blocking = tokio::task::spawn_blocking(move || {
                let _cache = isolated_with(cache);
                default_cache().unwrap().len().unwrap()
            });
            assert_eq!(blocking.await.unwrap(), 4);
            function(fetch).info().unwrap()
        })
    };
    let (first, second) = (tokio::spawn(one()), tokio::spawn(one()));
    for info in [first.await.unwrap(), second.await.unwrap()] {
        assert_eq!((info.misses, info.hits + info.misses <= 40, info.entries), (4, true, 4));
    }
    assert_eq!(FETCHED.load(Ordering::Relaxed) - before, 8, "four bodies for each of two tests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_spawned_plainly_is_in_no_scope() {
    in_memory_by_default();
    let marked = || async { default_cache().unwrap().exists("only in the scope").unwrap() };
    let seen = isolated_async(async move {
        default_cache().unwrap().put("only in the scope", &1u8).unwrap();
        (marked().await, tokio::spawn(marked()).await.unwrap(), tokio::spawn(isolated_async(marked())).await.unwrap())
    });
    assert_eq!(seen.await, (true, false, true));
    assert!(!marked().await, "the scope has ended");
}

#[tokio::test]
async fn a_guard_is_enough_where_one_thread_polls_everything() {
    let cache = isolated();
    assert_eq!((fetch(1).await, tokio::spawn(fetch(1)).await.unwrap()), (2, 2));
    assert_eq!(cache.len().unwrap(), 1);
    assert_eq!(function(fetch).info().unwrap().hits, 1);
}

#[test]
fn what_a_future_carries_is_in_force_while_it_is_polled_and_not_in_between() {
    in_memory_by_default();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |cache: &Cache| cache.put("inside of the future", &1u8).unwrap();
    let inside = || default_cache().unwrap().exists("inside of the future").unwrap();
    let mut work = Box::pin(isolated_async(async {
        note(&default_cache().unwrap());
        let inner = isolated();
        let mut first = true;
        poll_fn(|_| if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) }).await;
        seen.lock().unwrap().push(("a guard is carried on", !inside()));
        drop(inner);
        seen.lock().unwrap().push(("and left", inside()));
    }));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(work.as_mut().poll(&mut cx).is_pending());
    assert!(!inside(), "another task on this thread");
    assert!(work.as_mut().poll(&mut cx).is_ready());
    assert_eq!(*seen.lock().unwrap(), [("a guard is carried on", true), ("and left", true)]);
    assert!(!inside());
}

#[test]
fn threads_of_the_cache_itself_are_in_the_scope_of_who_waits_for_them() {
    in_memory_by_default();
    let other = Cache::in_memory();
    other.put("entry", &1u8).unwrap();
    let scope = isolated();
    scope.put("marker", &1u8).unwrap();
    let here = std::thread::current().id();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&asked);
    let ask = move |_: &Entry| {
        let marked = default_cache().unwrap().exists("marker").unwrap();
        told.lock().unwrap().push((std::thread::current().id() != here, marked));
        false
    };
    block_on(other.asynchronous().delete_where(ask)).unwrap();
    assert_eq!(*asked.lock().unwrap(), [(true, true)], "on another thread, in this scope");
}
