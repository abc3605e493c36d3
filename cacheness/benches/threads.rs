//! Two threads on keys of their own, beside one.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use cacheness::{Cache, CacheConfig, set_default_cache};
use cacheness_benches::{Bar, Bench, Line, Stopwatch, Unit, median, quartiles, timed};

mod ours {
    use cacheness::cached;
    use cacheness_benches::Station;

    #[cached(ttl = 3600)]
    pub(crate) fn in_memory(id: u64) -> u64 {
        id + 1
    }

    #[cached(ttl = 3600, memory = false)]
    pub(crate) fn on_disk(id: u64) -> Station {
        cacheness_benches::station(id)
    }
}

const THREADS: u64 = 2;
const KEYS: u64 = 2_000;
const ROUNDS: usize = 25;

fn main() {
    let mut bench = Bench::new("threads", env!("CARGO_TARGET_TMPDIR"));
    let cache = Cache::new(CacheConfig::new(bench.dir("cache"))).unwrap();
    set_default_cache(cache.clone());
    // What the machine gives at this hour: no two threads can do better than with nothing shared at all.
    measure(&mut bench, "2 threads, arithmetic alone", None, 40, |_, _| _ = black_box((0..100_000u64).fold(1, mix)));
    let memory = |thread, call| _ = black_box(ours::in_memory(key(thread, call)));
    measure(&mut bench, "2 threads, memory hits on distinct keys", Some(1.8), 100_000, memory);
    let disk = |thread, call| _ = black_box(ours::on_disk(key(thread, call)));
    measure(&mut bench, "2 threads, disk hits on distinct keys", Some(1.6), 20_000, disk);
    diskcache(&mut bench);
    cache.close().unwrap();
}

fn key(thread: u64, call: u64) -> u64 {
    thread * KEYS + call % KEYS
}

fn mix(state: u64, number: u64) -> u64 {
    (state ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17)
}

fn measure(bench: &mut Bench, what: &str, bar: Option<f64>, calls: u64, call: impl Fn(u64, u64) + Sync) {
    let calls = bench.full_or(calls, calls / 20);
    (0..THREADS).for_each(|thread| (0..calls.min(KEYS)).for_each(|number| call(thread, number)));
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for _ in 0..bench.full_or(ROUNDS, 1) {
        let watch = Stopwatch::start();
        (0..calls).for_each(|number| call(0, number));
        alone.push((watch.elapsed(), watch.seconds()));
        together.push(side_by_side(calls, &call));
    }
    let times = |of: fn(&(f64, f64)) -> f64| (alone.iter().map(of).collect(), together.iter().map(of).collect());
    tell(bench, what, bar, calls, times(|(elapsed, _)| *elapsed));
    tell(bench, &format!("{what} *"), None, calls, times(|(_, seconds)| *seconds));
}

/// Seconds until every thread has made its calls, from when all of them were ready; and the same without the time for which
/// they waited for a core.
fn side_by_side(calls: u64, call: &(impl Fn(u64, u64) + Sync)) -> (f64, f64) {
    let ready = Barrier::new(THREADS as usize + 1);
    std::thread::scope(|scope| {
        let work = |thread| {
            ready.wait();
            timed(|| (0..calls).for_each(|number| call(thread, number)))
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        // Started before the others are let go: to begin late would make them look fast.
        let start = Instant::now();
        ready.wait();
        let slowest = threads.into_iter().map(|thread| thread.join().unwrap()).fold(0.0, f64::max);
        (start.elapsed().as_secs_f64(), slowest)
    })
}

fn diskcache(bench: &mut Bench) {
    let python = bench.python();
    if !python.is_there() {
        return;
    }
    let calls = bench.full_or(4_000, 100);
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for _ in 0..bench.full_or(7, 1) {
        alone.push(python.run("diskcache.threads.1", calls));
        together.push(python.run("diskcache.threads.2", calls));
    }
    tell(bench, "2 threads, diskcache 5.6, hits *", None, calls, (alone, together));
}

fn tell(bench: &mut Bench, what: &str, bar: Option<f64>, calls: u64, (alone, together): (Vec<f64>, Vec<f64>)) {
    let total = (THREADS * calls) as f64;
    let speedups = alone.iter().zip(&together).map(|(alone, together)| THREADS as f64 * alone / together);
    bench.tell(&Line {
        what: what.to_owned(),
        unit: Unit::Rate,
        ours: total / median(together.iter().copied()),
        peer: "1 thread".to_owned(),
        theirs: Some(calls as f64 / median(alone.iter().copied())),
        ratio: Some(quartiles(speedups)),
        bar: bar.map(Bar::AtLeast),
    });
}
