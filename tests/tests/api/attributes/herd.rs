//! Many callers and one cold key, in a cache on the disk.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use cacheness::{Cache, cached};

use super::Runs;

const CALLERS: u32 = 32;

fn on_disk() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    (dir, cache)
}

/// Lets all callers go at once, each on a thread of its own, and returns what they got; `None` for one that panicked.
fn at_once<R: Send + 'static>(call: impl Fn() -> R + Send + Sync + 'static) -> Vec<Option<R>> {
    let (call, gate) = (Arc::new(call), Arc::new(Barrier::new(CALLERS as usize)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (call, gate) = (Arc::clone(&call), Arc::clone(&gate));
            thread::spawn(move || {
                gate.wait();
                call()
            })
        })
        .collect();
    callers.into_iter().map(|caller| caller.join().ok()).collect()
}

#[test]
fn thirty_two_threads_run_the_body_once() {
    static RUNS: Runs = Runs::new();
    #[cached(cache = cache, skip(cache))]
    fn slow(cache: &Cache, n: u32) -> String {
        RUNS.count();
        thread::sleep(Duration::from_millis(50));
        format!("{n} in {:?}", cache.directory())
    }
    let (_dir, cache) = on_disk();
    let answers = at_once(move || slow(&cache, 7));
    assert_eq!(RUNS.so_far(), 1);
    assert!(answers.iter().all(|answer| answer.is_some() && *answer == answers[0]), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_two_tasks_run_the_body_once() {
    static RUNS: Runs = Runs::new();
    #[cached(async, cache = cache.clone(), skip(cache))]
    async fn slow(cache: Cache, n: u32) -> u32 {
        RUNS.count();
        tokio::time::sleep(Duration::from_millis(50)).await;
        n + cache.directory().is_some() as u32
    }
    let (_dir, cache) = on_disk();
    let callers: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(slow(cache.clone(), 7))).collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 8);
    }
    assert_eq!(RUNS.so_far(), 1);
}

#[test]
fn when_the_leader_panics_it_alone_panics_and_everybody_else_gets_the_answer() {
    static RUNS: Runs = Runs::new();
    #[cached(cache = cache, skip(cache))]
    fn fragile(cache: &Cache, n: u32) -> u32 {
        let run = RUNS.count();
        thread::sleep(Duration::from_millis(30));
        assert!(run > 1, "the first run fails in {:?}", cache.directory());
        n * 2
    }
    let (_dir, cache) = on_disk();
    let answers = at_once(move || fragile(&cache, 7));
    assert!(RUNS.so_far() > 1, "those who waited ran it");
    assert_eq!(answers.iter().filter(|answer| answer.is_none()).count(), 1);
    assert!(answers.iter().flatten().all(|answer| *answer == 14));
}
