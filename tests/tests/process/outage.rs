//! Servers that stop answering in the middle of work, and come back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cacheness::{Cache, CacheConfig, cached};
use cacheness_tests::{scratch, servers};

const DEADLINE: Duration = Duration::from_millis(250);
/// What a call may take beyond the deadlines of its questions, on a machine that is busy with other tests.
const GRACE: Duration = Duration::from_secs(2);
const KEYS: u64 = 40;

static BODIES: AtomicU64 = AtomicU64::new(0);

fn squares(cache: &Cache, n: u64) -> Vec<u64> {
    #[cached(cache = cache, skip(cache))]
    fn squares(cache: &Cache, n: u64) -> Vec<u64> {
        BODIES.fetch_add(1, Ordering::Relaxed);
        (0..n).map(|n| n * n).collect()
    }
    squares(cache, n)
}

/// Works beside an outage, which `outage` brings about and ends; says what the longest call took.
fn work_through(cache: &Cache, outage: impl FnOnce()) -> Duration {
    /// Lets the workers end, also after a panic.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let ends = Ends(&ended);
        let workers = [1, 2, 3].map(|worker| {
            let ended = &ended;
            scope.spawn(move || {
                let mut longest = Duration::ZERO;
                for n in (0..).map(|n| (n * worker) % KEYS) {
                    if ended.load(Ordering::Relaxed) {
                        return longest;
                    }
                    let begun = Instant::now();
                    assert_eq!(squares(cache, n), (0..n).map(|n| n * n).collect::<Vec<_>>());
                    let value = cache.get::<u64>(n).unwrap();
                    assert!(value.is_none_or(|value| value == n), "{value:?} for {n}");
                    assert!(cache.put(n, &n).map_or_else(|error| error.is_unavailable(), |_| true));
                    longest = longest.max(begun.elapsed());
                }
                longest
            })
        });
        outage();
        drop(ends);
        workers.map(|worker| worker.join().unwrap()).into_iter().max().unwrap()
    })
}

/// Waits until calls are hits again; says how long that took.
fn until_it_hits(cache: &Cache) -> Duration {
    let begun = Instant::now();
    loop {
        let before = BODIES.load(Ordering::Relaxed);
        squares(cache, 7);
        if BODIES.load(Ordering::Relaxed) == before {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no hit");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn while_a_server_does_not_answer_every_call_does_and_hits_come_back_with_it() {
    let Ok(server) = servers::Redis::start(&[]).map_err(|why| servers::skip(&why)) else { return };
    let dir = scratch();
    let config = CacheConfig::new(dir.path()).with_backend("redis").with_connection_url(server.url());
    let cache = Cache::new(config.with_memory_cache(false)).unwrap();
    (0..KEYS).for_each(|n| drop(squares(&cache, n)));
    cache.put("kept", &1u64).unwrap();

    let longest = work_through(&cache, || {
        thread::sleep(Duration::from_millis(500));
        // Commands are taken, and answered when it is over.
        server.tell("CLIENT PAUSE 4000 ALL").unwrap();
        thread::sleep(Duration::from_millis(1000));
        let error = cache.invalidate("kept").unwrap_err();
        assert!(error.is_unavailable() && error.to_string().contains("redis"), "{error}");
        thread::sleep(Duration::from_millis(3000));
    });
    // A call asks for its key, stores its result, gets and puts: each by one question.
    assert!(longest < 4 * DEADLINE + GRACE, "{longest:?}");
    println!("longest call {longest:?}, a hit again after {:?}", until_it_hits(&cache));
    assert_eq!(cache.get::<u64>("kept").unwrap(), Some(1), "what could not be invalidated is there");
    let stats = cache.get_stats().unwrap();
    assert!(stats.outages > 0 && stats.errors == 0, "{stats:?}");
}
