//! Values from the cache, or made once, by threads and by tasks.

use std::sync::Barrier;
use std::sync::atomic::AtomicU32;

use super::*;
use crate::cache::AsyncCache;
use crate::error::CacheError;

fn herd(cache: &Cache, make: impl Fn() -> u32 + Sync) -> Vec<thread::Result<u32>> {
    let barrier = Barrier::new(16);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    cache.get_or_insert_with("k", &make).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    })
}

#[test]
fn threads_that_ask_for_one_key_make_its_value_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let made = AtomicU32::new(0);
    let make = || {
        thread::sleep(Duration::from_millis(20));
        made.fetch_add(1, Ordering::Relaxed) + 1
    };
    assert!(herd(&cache, make).into_iter().all(|value| value.unwrap() == 1));
    assert_eq!(made.load(Ordering::Relaxed), 1);
    assert_eq!(cache.get_or_insert_with("k", || 99u32).unwrap(), 1);
}

#[test]
fn when_the_one_who_makes_it_panics_the_others_do() {
    let cache = Cache::in_memory();
    let calls = AtomicU32::new(0);
    let make = || match calls.fetch_add(1, Ordering::Relaxed) {
        0 => panic!("the first one"),
        _ => 7,
    };
    let values = herd(&cache, make);
    assert_eq!(values.iter().filter(|value| value.is_err()).count(), 1);
    assert!(values.into_iter().flatten().all(|value| value == 7));
    assert!(calls.load(Ordering::Relaxed) > 1);
    assert_eq!(cache.in_flight().len(), 0);
}

#[test]
fn an_error_is_returned_and_not_stored() {
    let cache = Cache::in_memory();
    let attempt = |result: Result<u8, CacheError>| {
        cache.get_or_try_insert_with("k", PutOptions::new().tag("t").ttl(seconds(60)), || result)
    };
    let refused = CacheError::new(crate::ErrorKind::Handler, "not today");
    assert!(attempt(Err(refused)).unwrap_err().is_handler());
    assert!(cache.is_empty().unwrap());
    assert_eq!(attempt(Ok(1)).unwrap(), 1);
    assert_eq!(attempt(Ok(2)).unwrap(), 1);
    assert_eq!(cache.get_metadata("k", Expired::Skip).unwrap().unwrap().ttl(), Some(seconds(60)));
    assert_eq!(cache.invalidate_tag("t").unwrap(), 1);
}

#[test]
fn a_value_that_cannot_be_stored_is_returned_all_the_same() {
    let limits = crate::Limits { max_value_bytes: 100, ..crate::Limits::DEFAULT };
    let cache = Cache::new(CacheConfig::in_memory().with_limits(limits)).unwrap();
    let large = vec![7u8; 1000];
    assert_eq!(cache.get_or_insert_with("k", || large.clone()).unwrap(), large);
    assert_eq!(cache.get_stats().unwrap().errors, 1);
}

#[test]
fn a_closed_cache_makes_nothing() {
    let cache = Cache::in_memory();
    cache.close().unwrap();
    let error = cache.get_or_insert_with("k", || -> u8 { unreachable!("the cache is closed") }).unwrap_err();
    assert!(error.is_closed());
}

#[test]
fn a_value_that_asks_for_itself_while_it_is_made_does_not_wait_for_ever() {
    let cache = Cache::in_memory();
    let value = cache.get_or_insert_with("k", || cache.get_or_insert_with("k", || 1u8).unwrap() + 1).unwrap();
    assert_eq!(value, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_ask_for_one_key_make_its_value_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache = AsyncCache::open(dir.path()).await.unwrap();
    let made = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (cache, made) = (cache.clone(), made.clone());
            tokio::spawn(async move {
                let make = || async {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    vec![made.fetch_add(1, Ordering::Relaxed); 20_000]
                };
                cache.get_or_insert_with("k", make).await.unwrap()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), vec![0; 20_000]);
    }
    assert_eq!(made.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_dropped_leader_leaves_the_value_to_one_who_waits() {
    let cache = AsyncCache::in_memory();
    let never = cache.get_or_insert_with("k", std::future::pending::<u8>);
    let other = cache.clone();
    let waiting = async move { other.get_or_insert_with("k", || async { 3u8 }).await };
    let mut never = Box::pin(never);
    let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(never.as_mut().poll(cx).is_pending()));
    assert!(poll.await);
    let waiting = tokio::spawn(waiting);
    tokio::task::yield_now().await;
    drop(never);
    assert_eq!(waiting.await.unwrap().unwrap(), 3);
    assert_eq!(cache.blocking().in_flight().len(), 0);
}

#[test]
fn a_value_made_while_its_file_changed_is_not_given_to_those_who_asked_for_another_file_of_the_same_content() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (&dir.path().join("a"), &dir.path().join("b"));
    for path in [ours, theirs] {
        fs::write(path, "old").unwrap();
    }
    let cache = &Cache::in_memory();
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let (begun, begins) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let made = cache.get_or_insert_with(ours.as_path(), || {
                begun.send(()).unwrap();
                thread::sleep(Duration::from_millis(200));
                fs::write(ours, "new").unwrap();
                read(ours)
            });
            assert_eq!(made.unwrap(), "new");
        });
        begins.recv().unwrap();
        assert_eq!(cache.get_or_insert_with(theirs.as_path(), || read(theirs)).unwrap(), "old");
    });
}
