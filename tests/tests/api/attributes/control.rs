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

    (0..3).for_each(|n| assert_eq!([square(n), square(n)], [n * n; 2]));
    let info = function(square).info().unwrap();
    assert_eq!((info.hits, info.misses, info.entries), (3, 3, 3));
    assert_eq!((info.ttl.unwrap().as_secs(), info.prefix.as_deref(), info.dir), (60, Some("squares"), None));
    assert!(info.size >= 3);
    assert!(function(square).name().ends_with("::square"));
    assert_eq!(function(square).entries().unwrap().len(), 3);
}

#[test]
fn a_function_that_nothing_shows_to_be_cached_is_an_error() {
    super::in_memory_by_default();
    fn plain(n: u32) -> u32 {
        n
    }

    #[cached]
    fn generic<T: 'static>(n: u32) -> u32 {
        n
    }

    for error in [
        function(plain).info().unwrap_err(),
        function(plain).entries().map(drop).unwrap_err(),
        function(plain).in_cache(&Cache::in_memory()).info().unwrap_err(),
        function(|| 1).info().unwrap_err(),
        function(|| 1).clear().map(drop).unwrap_err(),
        function(generic::<u8>).info().unwrap_err(),
    ] {
        assert!(error.is_invalid_argument(), "{error:?}");
    }
    let error = function(plain).info().unwrap_err().to_string();
    assert!(error.contains("::plain`") && error.contains("put `#[cached]` on it"), "{error}");
    assert_eq!(function(plain).clear().unwrap(), 0, "there is nothing to remove");

    assert_eq!(plain(1) + generic::<u8>(1), 2);
    assert!(function(plain).info().is_err(), "called, and not cached");
    assert_eq!(function(generic::<u8>).info().unwrap().entries, 1);
    assert_eq!(function(generic::<u16>).info().unwrap().entries, 0, "cached, as another of its kinds shows");
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

#[test]
fn refresh_and_bypass_around_a_future_last_until_it_is_done() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();
    static SYNC: Runs = Runs::new();

    #[cached(call = later_call)]
    async fn later(n: u32) -> (u32, u32) {
        tokio::task::yield_now().await;
        (n, RUNS.count())
    }

    #[cached]
    async fn no_arguments() -> u32 {
        RUNS.count()
    }

    #[cached]
    fn now() -> u32 {
        SYNC.count()
    }

    fn send<T: Send>(value: T) -> T {
        value
    }

    block_on(async {
        assert_eq!((later(1).await, now()), ((1, 1), 1));
        assert_eq!(refresh(|| later(1)).await, (1, 2), "made in the closure, polled outside");
        assert_eq!(send(refresh(|| async { later(1).await })).await, (1, 3), "made only when it is polled");
        assert_eq!(bypass(|| later(1)).await, (1, 4));
        assert_eq!(later(1).await, (1, 3), "refreshed, and left alone by `bypass`");
        assert_eq!(refresh(no_arguments).await, 5);

        let both = refresh(|| async { (later(1).await, later(2).await, now()) }).await;
        assert_eq!(both, ((1, 6), (2, 7), 2));
        let joined = bypass(|| async { futures_of_two(later(1), later(2)).await }).await;
        assert_eq!(joined, ((1, 8), (2, 9)));
        assert_eq!(refresh(|| bypass(|| later(1))).await, (1, 10), "the inner mode wins");
        assert_eq!(refresh(|| later_call(1).uncached()).await, (1, 11), "a bound call has a mode of its own");
        assert_eq!((later(1).await, later(2).await, now()), ((1, 6), (2, 7), 2));

        let fails = refresh(|| async { Err::<u32, _>(later(1).await) }).await;
        assert_eq!(fails, Err((1, 12)));
    });
}

/// Polls two futures in turns.
async fn futures_of_two<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(move |cx| {
        use std::task::Poll;
        if first.is_none()
            && let Poll::Ready(done) = a.as_mut().poll(cx)
        {
            first = Some(done);
        }
        if second.is_none()
            && let Poll::Ready(done) = b.as_mut().poll(cx)
        {
            second = Some(done);
        }
        if first.is_none() || second.is_none() {
            return Poll::Pending;
        }
        Poll::Ready((first.take().unwrap(), second.take().unwrap()))
    })
    .await
}

#[test]
fn two_futures_refreshed_and_bypassed_in_turns_keep_their_modes() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    async fn step(n: u32) -> u32 {
        tokio::task::yield_now().await;
        RUNS.count() + 10 * n
    }

    block_on(async {
        assert_eq!((step(1).await, step(2).await), (11, 22));
        let turns = |n| async move {
            tokio::task::yield_now().await;
            step(n).await
        };
        let (fresh, usual) = futures_of_two(refresh(|| turns(1)), turns(2)).await;
        assert_eq!((fresh, usual), (13, 22));
        assert_eq!(futures_of_two(step(1), bypass(|| turns(2))).await, (13, 24));
    });
}
