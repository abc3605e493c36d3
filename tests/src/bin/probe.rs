//! A program that uses a cache and then ends, is killed or is refused: what the process tests look at from outside.
//!
//! The first argument names the story; values are functions of their keys, so that a wrong one shows.

use std::io::Write;
use std::path::Path;
use std::process::exit;
use std::sync::OnceLock;
use std::time::Duration;

use cacheness::{Cache, CacheConfig, cached, default_cache, set_default_cache};
use cacheness_tests::{value_of, values};

static IN_A_STATIC: OnceLock<Cache> = OnceLock::new();

#[cached]
fn counted(n: u64) -> Vec<u8> {
    eprintln!("body {n}");
    value_of(n)
}

#[cached(prefix = "fails")]
fn by_content(path: &Path) -> usize {
    eprintln!("body");
    std::fs::read(path).map_or(0, |content| content.len())
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Refuses(#[serde(serialize_with = "refuse")] u8);

fn refuse<S: serde::Serializer>(_: &u8, _: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("this value stays where it is"))
}

#[cached]
fn unserialisable(n: u8) -> Refuses {
    eprintln!("body {n}");
    Refuses(n)
}

#[cached]
fn with_a_long_key(text: &str) -> usize {
    eprintln!("body");
    text.len()
}

#[cached]
fn panicking(n: u64) -> u64 {
    eprintln!("body {n}");
    panic!("as the body does")
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(0);
    match arguments.first().map(String::as_str) {
        Some("put-and-return") => put_through_a_static(number(1)),
        Some("put-and-exit") => {
            put_through_a_static(number(1));
            exit(7);
        }
        Some("put-in-a-thread-and-exit") => {
            put_through_a_static(number(1));
            let exits = std::thread::spawn(|| exit(7));
            let _ = exits.join();
        }
        Some("call") => (0..number(1)).for_each(|n| assert_eq!(counted(n), value_of(n))),
        Some("call-isolated") => {
            let _cache = cacheness::testing::isolated();
            (0..number(1)).chain(0..number(1)).for_each(|n| assert_eq!(counted(n), value_of(n)));
        }
        Some("info") => match cacheness::function(counted).info() {
            Ok(info) => {
                println!("{} entries, {} hits, {} misses, size {}", info.entries, info.hits, info.misses, info.size);
            }
            Err(error) => println!("{error}"),
        },
        Some("clear") => match cacheness::function(counted).clear() {
            Ok(count) => println!("{count}"),
            Err(error) => println!("{error}"),
        },
        Some("change-directory") => change_directory(Path::new(&arguments[1])),
        Some("user-directory") => match CacheConfig::for_user(&arguments[1]) {
            Ok(config) => println!("{}", config.storage.cache_dir.display()),
            Err(error) => println!("{error}"),
        },
        Some("open") => println!("{}", Cache::open(&arguments[1]).map_or_else(|error| error.to_string(), hold_on)),
        Some("cost-of-puts") => cost_of_puts(),
        Some("call-and-abort") => {
            (0..number(1)).for_each(|n| drop(counted(n)));
            std::process::abort();
        }
        Some("panic") => drop(panicking(1)),
        Some("put-until-killed") => put_until_killed(),
        Some("hold") => hold(),
        Some("key-of-a-file") => println!("{}", by_content(Path::new(&arguments[1]))),
        Some("compare-values") => values::compare(0..number(1), false),
        Some("compare-values-twice") => values::compare(0..number(1), true),
        Some("compare-values-unproven") => values::compare_unproven(0..number(1)),
        Some("unserialisable") => (0..3).for_each(|n| assert_eq!(unserialisable(n).0, n)),
        Some("long-key") => limited(),
        Some("configuration") => configuration(),
        Some("open-with-another-limit") => open_with_another_limit(),
        Some("read-twice") => read_twice(number(1), number(2)),
        Some("without-threads") => without_threads(),
        Some("out-of-threads") => out_of_threads(),
        other => panic!("there is no story {other:?}"),
    }
}

/// Puts from the default cache, which lies in a static and is never dropped, and from one in a static of our own.
fn put_through_a_static(count: u64) {
    let cache = default_cache().expect("the directory is ours");
    IN_A_STATIC.get_or_init(|| cache);
    (0..count).for_each(|n| assert_eq!(counted(n), value_of(n)));
}

/// Puts one key after the other and says so, with the time: who reads it knows what was acknowledged when.
fn put_until_killed() {
    let cache = default_cache().expect("the directory is ours");
    let mut out = std::io::stdout();
    let first = cache.get_stats().expect("it is open").entries;
    for n in first.. {
        cache.put(n, &value_of(n)).expect("there is room");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        writeln!(out, "{n} {}", now.as_millis()).expect("the reader listens");
    }
}

fn hold() {
    let cache = default_cache().expect("the directory is ours");
    println!("open {:?}", cache.directory());
    std::thread::sleep(Duration::from_secs(60));
}

/// Opens by a relative path, then works from another directory.
fn change_directory(to: &Path) {
    let cache = Cache::open("cache").expect("the directory is ours");
    cache.put("before", &value_of(0)).expect("there is room");
    std::env::set_current_dir(to).expect("it is there");
    cache.put("after", &value_of(10)).expect("there is room");
    assert_eq!(cache.get("before").expect("it can be read"), Some(value_of(0)));
    assert_eq!(cache.get("after").expect("it can be read"), Some(value_of(10)));
    let again = Cache::open("cache").expect("another directory, and ours");
    assert!(again.is_empty().expect("it is open"), "the relative path means another directory now");
}

/// Keeps the cache open for a moment, so that others meet it.
fn hold_on(cache: Cache) -> String {
    cache.put("key", &value_of(0)).expect("there is room");
    std::thread::sleep(Duration::from_millis(300));
    "open".to_owned()
}

#[cached]
async fn counted_later(n: u64) -> Vec<u8> {
    eprintln!("body {n}");
    value_of(n)
}

/// Calls what would like to have a thread: functions and futures of them, values large enough for two, a blob store.
fn without_threads() {
    for n in 0..30 {
        assert_eq!(counted(n), value_of(n));
        assert_eq!(block_on(counted_later(n)), value_of(n));
    }
    let large = vec![7u8; 20 << 20];
    let cache = cacheness::AsyncCache::in_memory();
    block_on(cache.put("large", &large)).expect("memory needs no thread");
    assert_eq!(block_on(cache.get("large")).expect("memory needs no thread"), Some(large));
    println!("done");
}

/// The same in a process that had its threads when the cache was opened, and gets no more.
fn out_of_threads() {
    default_cache().expect("the directory is ours");
    let (_held, hold) = std::sync::mpsc::channel::<()>();
    let hold = std::sync::Mutex::new(hold);
    let hold: &'static _ = Box::leak(Box::new(hold));
    let waits = || drop(hold.lock().map(|hold| hold.recv()));
    let start = || std::thread::Builder::new().stack_size(64 << 10).spawn(waits);
    let started = (0..10_000).take_while(|_| start().is_ok()).count();
    eprintln!("{started} threads");
    without_threads();
    default_cache().expect("the directory is ours").flush().expect("there is room");
}

/// Runs a future on this thread, without a runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(result) => return result,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// Tells the bytes that 200 puts write into a cache of few entries, and into one of many.
fn cost_of_puts() {
    let cache = default_cache().expect("the directory is ours");
    let (mut next, mut costs) = (0u64, Vec::new());
    for entries in [200, 20_000] {
        let mut put_until = |end: u64| {
            (next..end).for_each(|n| drop(cache.put(n, &n).expect("there is room")));
            next = end;
            cache.flush().expect("there is room");
        };
        put_until(entries);
        let before = written();
        put_until(entries + 200);
        costs.push(written() - before);
    }
    println!("{} {}", costs[0], costs[1]);
}

/// The bytes that this process has written so far.
fn written() -> u64 {
    let told = std::fs::read_to_string("/proc/self/io").expect("Linux tells");
    let line = told.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|count| count.parse().ok()).expect("a number")
}

fn limited() {
    let mut config = CacheConfig::from_env().expect("the environment is in order");
    config.limits.max_key_bytes = 1000;
    set_default_cache(Cache::new(config).expect("the directory is ours"));
    for _ in 0..3 {
        assert_eq!(with_a_long_key(&"x".repeat(2000)), 2000);
    }
}

/// Opens the directory of the default cache with a limit of its own, before that is opened.
fn open_with_another_limit() {
    let config = CacheConfig::from_env().expect("the environment is in order");
    let _first = Cache::new(config.with_max_size_mb(100)).expect("the directory is ours");
    (0..3).for_each(|n| assert_eq!(counted(n), value_of(n)));
    println!("{}", default_cache().expect("it is open").config().max_bytes());
}

/// Tells how the default cache is configured.
fn configuration() {
    let cache = default_cache().expect("the directory is ours");
    print!("{}", cache.config().to_json().expect("a cache is open with it"));
}

/// Fills the index, reads all of it twice, and tells how many bytes the second time read from files.
fn read_twice(count: u64, size: u64) {
    let cache = default_cache().expect("the directory is ours");
    (0..count).for_each(|n| drop(cache.put(n, &vec![n as u8; size as usize]).expect("there is room")));
    cache.flush().expect("there is room");
    let read_all = || (0..count).for_each(|n| assert!(cache.get::<Vec<u8>>(n).is_ok_and(|value| value.is_some())));
    read_all();
    let before = bytes_read();
    read_all();
    println!("{}", bytes_read() - before);
}

/// What this process has read by system calls so far, where the system tells.
fn bytes_read() -> u64 {
    let told = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let told = told.lines().find_map(|line| line.strip_prefix("rchar: ")).and_then(|bytes| bytes.parse().ok());
    told.unwrap_or(0)
}
