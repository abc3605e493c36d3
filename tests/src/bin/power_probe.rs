//! A program that writes into a cache or a blob store until it is stopped or killed, and says what was acknowledged:
//! `thread number` on a line when an operation has returned, and `thread number flushed` when everything up to it was
//! flushed. The first argument names the kind of store, the second one is the first number.

use std::io::Write;
use std::time::Instant;

use cacheness::{BlobStore, Cache, CacheConfig};
use cacheness_tests::power::{Kind, Operation, THREADS};

fn main() {
    let kind = std::env::args().nth(1).and_then(|name| Kind::named(&name)).expect("the kind of store is named");
    let dir = std::env::var_os("CACHENESS_DIR").expect("the test names a directory");
    match kind {
        Kind::Store | Kind::Contents => {
            let store = BlobStore::builder().dir(dir).content_addressable(kind == Kind::Contents).open();
            let store = store.expect("it is ours");
            let run = |operation: Operation| match operation.value(kind) {
                Some(value) => drop(store.put_with(operation.key(), &value).expect("there is room")),
                None => drop(store.delete(&operation.key()).expect("there is room")),
            };
            until_killed(run, || false);
        }
        _ => {
            let cache = Cache::new(kind.config(CacheConfig::new(dir))).expect("it is ours");
            let run = |operation: Operation| match operation.value(kind) {
                Some(value) => drop(cache.put(operation.key(), &value).expect("there is room")),
                None => drop(cache.invalidate(operation.key()).expect("there is room")),
            };
            until_killed(run, || !kind.is_durable() && cache.flush().is_ok());
        }
    }
}

fn say(line: &str) {
    std::io::stdout().write_all(line.as_bytes()).expect("the reader listens");
}

fn until_killed(run: impl Fn(Operation) + Sync, flush: impl Fn() -> bool + Sync) {
    let first = std::env::args().nth(2).and_then(|first| first.parse().ok()).expect("the first number is given");
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (run, flush) = (&run, &flush);
            scope.spawn(move || {
                for number in first.. {
                    run(Operation { thread, number });
                    say(&format!("{thread} {number}\n"));
                    if number % 200 == 199 && flush() {
                        say(&format!("{thread} {number} flushed\n"));
                    }
                    // Whoever should have stopped it is gone.
                    assert!(started.elapsed().as_secs() < 600, "nobody stopped this program");
                }
            });
        }
    });
}
