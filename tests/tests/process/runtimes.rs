//! Servers that are asked from inside of runtimes, from outside of any, and by a logger.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use cacheness::{AsyncCache, Cache, CacheConfig, cached};
use cacheness_tests::{bodies, errors_of, noise, on_postgres, on_redis, probe, scratch, servers};
use tokio::runtime::{Builder, Runtime};

fn runtimes() -> [Runtime; 2] {
    let [mut one, mut several] = [Builder::new_current_thread(), Builder::new_multi_thread()];
    [one.enable_all().build().unwrap(), several.worker_threads(2).enable_all().build().unwrap()]
}

/// Drives a future on this thread, without any runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let (mut future, waker) = (pin!(future), Waker::from(Arc::new(Unpark(thread::current()))));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn on_servers() -> Vec<(tempfile::TempDir, Cache)> {
    let open = |on: fn(CacheConfig) -> Option<CacheConfig>| {
        let dir = scratch();
        let cache = Cache::new(on(CacheConfig::new(dir.path()))?.with_memory_cache(false)).unwrap();
        Some((dir, cache))
    };
    [on_postgres as fn(CacheConfig) -> _, on_redis].into_iter().filter_map(open).collect()
}

#[cached(cache = cache, skip(cache), single_flight = "global")]
fn squares(cache: &Cache, n: u64) -> Vec<u8> {
    noise(n, 20_000)
}

#[cached(async, cache = cache, skip(cache), single_flight = "global")]
async fn squares_async(cache: &Cache, n: u64) -> Vec<u8> {
    noise(n, 20_000)
}

/// Everything that a program does of a day, by blocking calls.
fn works(cache: &Cache, n: u64) {
    assert!((0..2).all(|_| squares(cache, n) == noise(n, 20_000)));
    cache.put(n, &n).unwrap();
    assert_eq!(cache.get::<u64>(n).unwrap(), Some(n));
    assert_eq!(cache.get_batch::<u64, _>([n, n + 1_000_000]).unwrap()[0].1, Some(n));
    assert!(cache.invalidate(n).unwrap());
}

async fn works_async(cache: &Cache, n: u64) {
    let cache_async = AsyncCache::from(cache.clone());
    assert!(squares_async(cache, n).await == noise(n, 20_000) && squares_async(cache, n).await == noise(n, 20_000));
    cache_async.put(n, &n).await.unwrap();
    assert_eq!(cache_async.get::<u64>(n).await.unwrap(), Some(n));
    assert!(cache_async.invalidate(n).await.unwrap());
}

#[test]
fn blocking_calls_work_inside_of_a_runtime_and_futures_outside_of_one() {
    for (_dir, cache) in on_servers() {
        let cache = &cache;
        for (n, runtime) in (0..).zip(runtimes()) {
            runtime.block_on(async {
                works(cache, n);
                works_async(cache, 10 + n).await;
                let own = cache.clone();
                tokio::spawn(async move { works(&own, 20 + n) }).await.unwrap();
            });
        }
        block_on(works_async(cache, 30));
    }
}

#[test]
fn a_server_that_does_not_answer_keeps_no_other_task_of_its_thread_waiting() {
    let Ok(server) = servers::Redis::start(&[]).map_err(|why| servers::skip(&why)) else { return };
    let dir = scratch();
    let config = CacheConfig::new(dir.path()).with_backend("redis").with_connection_url(server.url());
    let cache = Cache::new(config.with_metadata_option("deadline_ms", 2000)).unwrap();
    let (cache, ticks) = (AsyncCache::from(cache), Cell::new(0));
    let [runtime, _] = runtimes();
    runtime.block_on(async {
        cache.put("kept", &1u64).await.unwrap();
        // Long enough that the value in memory is asked about, and that its use is due to be written.
        tokio::time::sleep(Duration::from_secs(6)).await;
        server.tell("CLIENT PAUSE 60000 ALL").unwrap();
        let others = async {
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                ticks.set(ticks.get() + 1);
            }
        };
        let calls = async {
            for _ in 0..2 {
                let before = ticks.get();
                drop(cache.get::<u64>("kept").await);
                drop(cache.get::<u64>("other").await);
                drop(cache.put("other", &1u64).await);
                drop(cache.get_or_insert_with("made", || async { 7u64 }).await);
                println!("{} ticks", ticks.get() - before);
            }
        };
        tokio::select! {
            () = others => {}
            () = calls => {}
        }
    });
    // Of more than four seconds.
    assert!(ticks.get() > 100, "{} ticks of 10 ms", ticks.get());
}

#[test]
fn a_logger_that_asks_the_cache_of_what_it_is_told_ends_in_nothing_worse_than_a_miss() {
    for (name, server) in [
        ("postgresql", servers::postgres().map(|server| (server.url(), server.namespace()))),
        ("redis", servers::redis().map(|server| (server.url(), server.namespace()))),
    ] {
        let Ok((url, namespace)) = server.map_err(|why| servers::skip(&why)) else { continue };
        let (dir, settings) = (scratch(), scratch());
        let file = settings.path().join("settings.toml");
        std::fs::write(&file, format!("[metadata.options]\nnamespace = '{namespace}'\n")).unwrap();
        let mut process = probe(crate::NEIGHBOUR, dir.path(), &["logger"]);
        process.env("CACHENESS_CONFIG", &file).env("CACHENESS_BACKEND", name).env("CACHENESS_CONNECTION_URL", url);
        let bodies_file = settings.path().join("bodies");
        let output = process.env("BODIES", &bodies_file).output().unwrap();
        assert!(output.status.success(), "{}", errors_of(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains("done"), "{} {}", errors_of(&output), bodies(&output));
    }
}
