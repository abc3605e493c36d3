//! How long another task of the executor waits while 100 MB go in and out of the cache.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cacheness::{AsyncCache, Cache, CacheConfig, set_default_cache};
use cacheness_benches::{Bar, Bench, Line, Stopwatch, Unit, random_numbers};
use tokio::runtime::{Builder, Runtime};

const BEAT: Duration = Duration::from_millis(1);
const ROUNDS: u64 = 7;
const MOST: f64 = 0.005;

static NUMBERS: LazyLock<Vec<f64>> = LazyLock::new(|| random_numbers(12_500_000));

#[cacheness::cached(ttl = 3600, memory = false)]
async fn numbers(_id: u64) -> Vec<f64> {
    tokio::task::spawn_blocking(|| NUMBERS.clone()).await.unwrap()
}

fn main() {
    let mut bench = Bench::new("heartbeat", env!("CARGO_TARGET_TMPDIR"));
    let cache = Cache::new(CacheConfig::new(bench.dir("cache")).with_memory_cache(false)).unwrap();
    set_default_cache(cache.clone());
    LazyLock::force(&NUMBERS);
    let one = Builder::new_current_thread().enable_time().build().unwrap();
    let other = Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    for (runtime, flavor) in [(&one, "current thread"), (&other, "1 worker")] {
        measure(&mut bench, runtime, flavor, &cache.asynchronous());
    }
    drop((one, other));
    cache.close().unwrap();
}

fn measure(bench: &mut Bench, runtime: &Runtime, flavor: &str, cache: &AsyncCache) {
    let aside = bench.dir("aside");
    let [mut plain, mut put, mut get, mut missed, mut hit] = [const { Vec::new() }; 5];
    for round in 0..bench.full_or(ROUNDS, 1) {
        plain.push(longest_pause(runtime, write_aside(aside.clone())));
        let of_put = cache.clone();
        put.push(longest_pause(runtime, async move { of_put.put("numbers", &*NUMBERS).await.unwrap() }));
        let of_get = cache.clone();
        get.push(longest_pause(runtime, async move { of_get.get::<Vec<f64>>("numbers").await.unwrap().unwrap() }));
        cacheness::function(numbers).clear().unwrap();
        missed.push(longest_pause(runtime, numbers(round)));
        hit.push(longest_pause(runtime, numbers(round)));
    }
    let bar = Some(Bar::Within(MOST));
    let rows = [
        // What the machine does of its own: nothing of the cache is in it.
        ("fs::write on a blocking thread", plain, None),
        ("put", put, bar),
        ("get", get, bar),
        ("#[cached], miss", missed, bar),
        ("#[cached], disk hit", hit, bar),
    ];
    for (what, pauses, bar) in rows {
        let pause = Pause::middle(pauses);
        bench.tell(&Line {
            what: format!("longest pause, 100 MB, {flavor}: {what}"),
            unit: Unit::Time,
            ours: pause.seconds,
            peer: "of it, waiting for a core".to_owned(),
            theirs: pause.without_core,
            ratio: None,
            bar,
        });
    }
}

/// A time by which a beat came late.
#[derive(Clone, Copy, Default)]
struct Pause {
    seconds: f64,
    /// The part of it in which the thread could have run and had no core; none where that cannot be told.
    without_core: Option<f64>,
}

impl Pause {
    fn middle(mut pauses: Vec<Self>) -> Self {
        pauses.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
        pauses[pauses.len() / 2]
    }
}

/// The same bytes to a file by hand: the pauses that the machine makes of its own.
async fn write_aside(path: PathBuf) {
    let write = || {
        let bytes: Vec<u8> = NUMBERS.iter().flat_map(|number| number.to_le_bytes()).collect();
        std::fs::write(path, bytes).unwrap();
    };
    tokio::task::spawn_blocking(write).await.unwrap();
}

/// The longest pause while the work was done, both as tasks of the runtime.
fn longest_pause<R: Send + 'static>(runtime: &Runtime, work: impl Future<Output = R> + Send + 'static) -> Pause {
    let done = Arc::new(AtomicBool::new(false));
    let (longest, result) = runtime.block_on(async {
        let beating = tokio::spawn(beat(done.clone()));
        // The heart is to beat before the work begins.
        tokio::time::sleep(BEAT * 3).await;
        let result = tokio::spawn(work).await.unwrap();
        done.store(true, Ordering::Relaxed);
        (beating.await.unwrap(), result)
    });
    // To give back 100 MB takes time too, and it is the caller who does that.
    drop(result);
    longest
}

async fn beat(done: Arc<AtomicBool>) -> Pause {
    let mut longest = Pause::default();
    while !done.load(Ordering::Relaxed) {
        let watch = Stopwatch::start();
        tokio::time::sleep(BEAT).await;
        let seconds = watch.elapsed() - BEAT.as_secs_f64();
        if seconds > longest.seconds {
            longest = Pause { seconds, without_core: watch.without_core() };
        }
    }
    longest
}
