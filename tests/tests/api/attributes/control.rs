//! Control of a cached function by the function itself.

use cacheness::{Cache, bypass, bypass_async, cached, function, refresh, refresh_async};

use super::{Runs, block_on};

#[test]
fn a_function_tells_its_hits_misses_and_entries() {
    super::in_memory_by_default();
    #[cached(ttl = 60, prefix = "squares")]
    fn square(n: u64) -> u64 {
        n * n
    }

    assert_eq!(function(square).info().unwrap().entries, 0);
    (0..3).for_each(|n| assert_eq!([square(n), square(n)], [n * n; 2]));
    let info = function(square).info().unwrap();
    assert_eq!((info.hits, info.misses, info.entries), (3, 3, 3));
    assert_eq!((info.ttl.unwrap().as_secs(), info.prefix.as_deref(), info.dir), (60, Some("squares"), None));
    assert!(info.size >= 3);
    assert!(function(square).name().ends_with("::square"));
    assert_eq!(function(square).entries().unwrap().len(), 3);
}

#[test]
fn clear_removes_the_entries_of_this_function_alone() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn one(n: u32) -> u32 {
        RUNS.count() + n
    }

    #[cached]
    fn other(n: u32) -> u32 {
        RUNS.count() + n
    }

    assert_eq!([one(0), one(1), other(0)], [1, 3, 3]);
    assert_eq!(function(one).clear().unwrap(), 2);
    assert_eq!([other(0), one(0)], [3, 4]);
}

#[test]
fn each_choice_of_types_is_a_function_of_its_own() {
    super::in_memory_by_default();
    #[cached]
    fn size<T: 'static>(n: usize) -> usize {
        n * size_of::<T>()
    }

    assert_eq!([size::<u8>(2), size::<u16>(2), size::<u16>(3)], [2, 4, 6]);
    assert_eq!(function(size::<u8>).info().unwrap().entries, 1);
    assert_eq!(function(size::<u16>).info().unwrap().entries, 2);
}

#[test]
fn the_cache_that_a_function_used_last_is_the_one_it_is_asked_about() {
    super::in_memory_by_default();
    #[cached(skip(cache), cache = cache)]
    fn lent(cache: &Cache, n: u32) -> u32 {
        n
    }

    let (first, second) = (Cache::in_memory(), Cache::in_memory());
    assert_eq!([lent(&first, 1), lent(&first, 2), lent(&second, 1)], [1, 2, 1]);
    assert_eq!(function(lent).info().unwrap().entries, 1);
    assert_eq!(function(lent).in_cache(&first).info().unwrap().entries, 2);
    assert_eq!(lent(&first, 1), 1);
    assert_eq!(function(lent).info().unwrap().entries, 2, "a hit is a use too");
}

static INNER: Runs = Runs::new();
static OUTER: Runs = Runs::new();

#[cached]
fn inner() -> u32 {
    INNER.count()
}

#[cached]
fn outer() -> (u32, u32) {
    (OUTER.count(), inner())
}

#[test]
fn refresh_replaces_and_bypass_leaves_alone_and_both_reach_direct_calls_only() {
    super::in_memory_by_default();
    assert_eq!([outer(), outer()], [(1, 1), (1, 1)]);
    assert_eq!(refresh(outer), (2, 1), "the inner call answers from the cache");
    assert_eq!(outer(), (2, 1));
    assert_eq!(bypass(|| (outer(), inner())), ((3, 1), 2));
    assert_eq!((outer(), inner()), ((2, 1), 1));
    let _ = std::panic::catch_unwind(|| refresh(|| panic!("on purpose")));
    assert_eq!(outer(), (2, 1), "the mode went with the panic");
}

#[test]
fn refresh_and_bypass_of_futures_last_as_long_as_they_are_polled() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();
    static DEEP: Runs = Runs::new();

    #[cached]
    async fn deep() -> u32 {
        DEEP.count()
    }

    #[cached]
    async fn run() -> (u32, u32) {
        tokio::task::yield_now().await;
        (RUNS.count(), deep().await)
    }

    block_on(async {
        assert_eq!(run().await, (1, 1));
        assert_eq!(refresh_async(run()).await, (2, 1));
        assert_eq!(bypass_async(run()).await, (3, 1));
        assert_eq!(run().await, (2, 1));
        let mut lazy = std::pin::pin!(bypass_async(async {
            tokio::task::yield_now().await;
            run().await
        }));
        std::future::poll_fn(|cx| std::task::Poll::Ready(lazy.as_mut().poll(cx).is_pending())).await;
        assert_eq!(run().await, (2, 1), "another future polled in between");
        assert_eq!(lazy.await, (4, 1));
    });
}
