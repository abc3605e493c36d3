//! The methods that are futures do what those that block do.

use super::*;
use crate::cache::AsyncCache;
use crate::entry::Entry;
use crate::query::Field;

#[tokio::test]
async fn every_method_has_a_future_that_does_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let cache = AsyncCache::open(dir.path()).await.unwrap();
    let large = vec![2.5f64; 50_000];
    let key = cache.put("large", &large).await.unwrap();
    assert_eq!(cache.get::<Vec<f64>>("large").await.unwrap().as_ref(), Some(&large));
    let options = PutOptions::new().metadata("n", 1).tag("t").prefix("p").ttl(seconds(60));
    cache.put_with(params! { n: 1 }, &1u8, options.clone()).await.unwrap();
    let (value, entry) = cache.get_with_metadata::<u8>(params! { n: 1 }).await.unwrap().unwrap();
    assert_eq!((value, entry.metadata()["n"].as_i64()), (1, Some(1)));
    assert!(cache.exists("large").await.unwrap());
    assert!(cache.get_metadata("large", Expired::Skip).await.unwrap().is_some());
    assert_eq!(cache.get_entry(&key.to_string()).await.unwrap().unwrap().cache_key(), key.to_string());
    assert_eq!(cache.remaining_ttl("large").await.unwrap(), None);
    assert_eq!((cache.len().await.unwrap(), cache.is_empty().await.unwrap()), (2, false));
    assert!(cache.update_data(params! { n: 1 }, &2u8).await.unwrap());
    assert_eq!(cache.get::<u8>(params! { n: 1 }).await.unwrap(), Some(2));
    assert!(cache.touch_with_ttl(params! { n: 1 }, seconds(100)).await.unwrap());
    assert!(cache.touch("large").await.unwrap());
    assert_eq!(cache.touch_batch(&Field::any("n").eq(1)).await.unwrap(), 1);
    assert_eq!(cache.touch_batch_with_ttl(&Field::any("n").eq(1), seconds(5)).await.unwrap(), 1);
    assert!(cache.copy("large", "copy").await.unwrap() && cache.rename("copy", "renamed").await.unwrap());
    cache.put_batch([("a", &1u8), ("b", &2)]).await.unwrap();
    cache.put_batch_with([("c", &3u8)], options.clone()).await.unwrap();
    let found = cache.get_batch::<u8, _>(["a", "c", "d"]).await.unwrap();
    assert_eq!(found.into_iter().map(|(_, value)| value).collect::<Vec<_>>(), [Some(1), Some(3), None]);
    assert_eq!(cache.get_stats().await.unwrap().entries, 6);
    assert_eq!(cache.delete_batch(["a", "b"]).await.unwrap(), 2);
    assert_eq!(cache.invalidate_tag("t").await.unwrap(), 2);
    cache.put_with("p", &1u8, options).await.unwrap();
    assert_eq!(cache.invalidate_prefix("p").await.unwrap(), 1);
    assert_eq!(cache.cleanup_expired().await.unwrap(), 0);
    assert_eq!(cache.delete_matching(&Field::any("n").eq(1)).await.unwrap(), 0);
    assert!(cache.invalidate("renamed").await.unwrap());
    assert!(cache.invalidate_by_cache_key(&key.to_string()).await.unwrap());
    cache.put("last", &1u8).await.unwrap();
    assert_eq!(cache.delete_where(|entry: &Entry| entry.raw_size() < 100).await.unwrap(), 1);
    cache.put("last", &1u8).await.unwrap();
    assert_eq!(cache.clear().await.unwrap(), 1);
    cache.flush().await.unwrap();
    cache.close().await.unwrap();
    assert!(cache.get::<u8>("last").await.unwrap_err().is_closed());
    assert!(cache.put("last", &1u8).await.unwrap_err().is_closed());
    let cache = AsyncCache::for_api(dir.path()).await.unwrap();
    assert_eq!(cache.blocking().config().default_ttl(), Some(seconds(6 * 3600)));
}

#[cfg(feature = "archive")]
#[tokio::test]
async fn archives_are_written_and_read_away_from_the_executor() {
    let (dir, cache, other) = (tempfile::tempdir().unwrap(), AsyncCache::in_memory(), AsyncCache::in_memory());
    cache.put("one", &1u8).await.unwrap();
    let path = dir.path().join("archive.tar.zst");
    assert_eq!(cache.export(fs::File::create(&path).unwrap()).await.unwrap().copied, 1);
    assert_eq!(other.import(fs::File::open(&path).unwrap()).await.unwrap().copied, 1);
    assert_eq!(other.get::<u8>("one").await.unwrap(), Some(1));
}

#[tokio::test]
async fn entries_are_listed_one_by_one_or_in_pages() {
    let cache = AsyncCache::in_memory();
    for n in 0..600u32 {
        cache.put_with(n, &n, PutOptions::new().metadata("n", n)).await.unwrap();
    }
    let mut all = cache.list_entries();
    let mut count = 0;
    while let Some(entry) = all.next().await {
        entry.unwrap();
        count += 1;
    }
    assert_eq!(count, 600);
    let mut small = cache.iter().matching(Field::metadata("n").lt(150));
    let (first, second) = (small.page(100).await.unwrap(), small.page(100).await.unwrap());
    assert_eq!((first.len(), second.len(), small.page(100).await.unwrap().len()), (100, 50, 0));
    let mut behind = cache.list_entries().after(&first[99]).matching(Field::metadata("n").lt(150));
    assert_eq!(behind.page(100).await.unwrap(), second);
    cache.close().await.unwrap();
    let mut closed = cache.list_entries();
    assert!(closed.next().await.unwrap().unwrap_err().is_closed());
    assert!(closed.next().await.is_none());
}

#[test]
fn the_futures_may_be_sent_to_another_thread_also_with_keys_that_may_not() {
    fn sent<T: Send>(_: T) {}
    let cache = AsyncCache::in_memory();
    let key = std::rc::Rc::new(1u8);
    sent(cache.get::<u8>(key.clone()));
    sent(cache.put(key.clone(), &1u8));
    sent(cache.touch(key));
    sent(cache.get_batch::<u8, _>([1u8]));
    sent(cache.put_batch([(1u8, &1u8)]));
    sent(cache.get_or_insert_with("k", || async { 1u8 }));
    sent(cache.list_entries());
}

#[test]
fn the_futures_need_no_runtime_of_tokio() {
    let cache = AsyncCache::in_memory();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(cache.put("k", &vec![1u8; 100_000])).unwrap();
    let mut future = Box::pin(cache.get::<Vec<u8>>("k"));
    let waker = std::task::Waker::noop();
    let value = loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(waker)) {
            std::task::Poll::Ready(value) => break value,
            std::task::Poll::Pending => thread::yield_now(),
        }
    };
    assert_eq!(value.unwrap().map(|value| value.len()), Some(100_000));
}

/// A future's result and how often it was polled.
async fn counted<F: Future>(future: F) -> (F::Output, usize) {
    let (mut future, mut polls) = (std::pin::pin!(future), 0);
    let counting = std::future::poll_fn(|cx| {
        polls += 1;
        future.as_mut().poll(cx)
    });
    let output = counting.await;
    (output, polls)
}

#[tokio::test]
async fn a_large_vector_is_put_in_steps_between_which_other_tasks_have_their_turn() {
    let cache = AsyncCache::in_memory();
    let (numbers, bytes) = (vec![0.5_f64; 2 << 20], vec![7_u8; 16 << 20]);
    for (key, (put, polls)) in [
        ("numbers", counted(cache.put("numbers", &numbers)).await),
        ("bytes", counted(cache.put("bytes", &bytes)).await),
    ] {
        put.unwrap();
        assert!(polls >= 15, "{key} of 16 MiB in {polls} steps");
    }
    let (put, polls) = counted(cache.put("few", &vec![0.5_f64; 100])).await;
    put.unwrap();
    assert!(polls <= 3, "{polls}");
    assert_eq!(cache.get::<Vec<f64>>("numbers").await.unwrap().as_ref(), Some(&numbers));
    assert!(cache.update_data("numbers", &bytes).await.unwrap());
    assert_eq!(cache.get::<Vec<u8>>("numbers").await.unwrap().as_ref(), Some(&bytes));
}

/// Tells on which thread it is encoded and decoded.
#[derive(Clone, Debug, PartialEq)]
struct Located(Vec<u8>);

static THREADS: std::sync::Mutex<Vec<std::thread::ThreadId>> = std::sync::Mutex::new(Vec::new());

impl Serialize for Located {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        THREADS.lock().unwrap().push(std::thread::current().id());
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        THREADS.lock().unwrap().push(std::thread::current().id());
        Vec::deserialize(deserializer).map(Self)
    }
}

#[tokio::test]
async fn values_that_threads_can_share_are_encoded_and_decoded_on_the_pool() {
    let dir = tempfile::tempdir().unwrap();
    let cache = AsyncCache::open(dir.path()).await.unwrap();
    let value = Located((0..=255).cycle().take(100_000).collect());
    let made = cache.get_or_insert_with("key", || async { value.clone() }).await.unwrap();
    assert_eq!(made, value);
    cache.close().await.unwrap();
    let cache = AsyncCache::open(dir.path()).await.unwrap();
    assert_eq!(cache.get::<Located>("key").await.unwrap(), Some(value));
    let threads = THREADS.lock().unwrap();
    assert!(threads.len() >= 2 && !threads.contains(&std::thread::current().id()), "{threads:?}");
}
