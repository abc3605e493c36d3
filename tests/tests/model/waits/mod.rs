//! The wait graph: random shapes of cached bodies that call each other from threads, pools and tasks. Each shape ends
//! without the cache, since it is a tree of calls whose parents wait for their children; so it has to end with it,
//! whichever of its calls share a key.
//!
//! `CACHENESS_WAIT_SHAPES` says how many shapes to run, `CACHENESS_WAIT_SEED` with which to begin: a failure tells the seed.

mod run;
mod shape;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use cacheness::{Cache, CacheConfig};

use run::World;
use shape::Shape;

/// Shapes that run at the same time: most of them sleep most of the time.
const RUNNERS: u64 = 6;
/// A shape that takes longer is taken to hang.
const PATIENCE: Duration = Duration::from_secs(30);

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs the shape of a seed on a thread of its own, with a cache whose callers wait so long for each other at least, or
/// without. Whether it ended in time.
fn ends(seed: u64, wait: Option<Duration>, patience: Duration) -> bool {
    let config = |wait| CacheConfig::in_memory().with_memory_cache(false).with_single_flight_wait(wait);
    let cache = wait.map(|wait| Cache::new(config(wait)).unwrap());
    let (done, wait) = channel::<()>();
    let runner = thread::spawn(move || {
        let _done = done;
        World::new(Arc::new(Shape::of(seed)), cache).run();
    });
    match wait.recv_timeout(patience) {
        Err(RecvTimeoutError::Timeout) => return false,
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
    }
    assert!(runner.join().is_ok(), "the shape of seed {seed} panics: {:#?}", Shape::of(seed));
    true
}

/// Runs shapes, several at a time, until one hangs.
fn all_end(shapes: u64, first: u64, wait: Option<Duration>) {
    let next = AtomicU64::new(first);
    thread::scope(|threads| {
        for _ in 0..RUNNERS {
            threads.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + shapes {
                        return;
                    }
                    let hint = "CACHENESS_WAIT_SHAPES=1 CACHENESS_WAIT_SEED=";
                    assert!(ends(seed, wait, PATIENCE), "hangs: {hint}{seed}: {:#?}", Shape::of(seed));
                }
            });
        }
    });
}

#[test]
fn every_shape_that_ends_without_the_cache_ends_with_it() {
    let (shapes, first) = (number("CACHENESS_WAIT_SHAPES", 10_000), number("CACHENESS_WAIT_SEED", 0));
    let start = Instant::now();
    all_end(shapes, first, Some(Duration::from_millis(2)));
    println!("{shapes} shapes from seed {first} in {:?}", start.elapsed());
}

/// The generator makes nothing that hangs by itself.
#[test]
fn every_shape_ends_without_the_cache() {
    all_end(1000, number("CACHENESS_WAIT_SEED", 0), None);
}

/// Without an end to their patience some would hang: the shapes do have what nobody sees coming.
#[test]
fn some_shape_hangs_if_waits_are_without_end() {
    let hangs = |seed| !ends(seed, Some(Duration::from_secs(86_400)), Duration::from_secs(3));
    assert!((0..500).any(hangs), "the shapes test nothing");
}
