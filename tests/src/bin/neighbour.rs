//! A program of which many run at the same time on one directory: what the tests of neighbours look at from outside.

use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use cacheness::{Cache, PutOptions, cached, default_cache};
use fork::Fork;

/// Notes that a body ran, in a file beside the cache: one line for each run.
fn note(n: u64) {
    let file = std::env::var_os("BODIES").expect("the test says where");
    let mut file = OpenOptions::new().append(true).create(true).open(file).expect("it can be written");
    file.write_all(format!("{n}\n").as_bytes()).expect("there is room");
}

#[cached]
fn slow(n: u64) -> Vec<u64> {
    note(n);
    std::thread::sleep(Duration::from_millis(50));
    vec![n; 3 + n as usize]
}

#[cached]
fn long(n: u64) -> u32 {
    note(n);
    std::thread::sleep(Duration::from_secs(1));
    std::process::id()
}

#[cached(condition = |result: &u64| *result == 0)]
fn never_stored(n: u64) -> u64 {
    note(n);
    std::thread::sleep(Duration::from_millis(200));
    n
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(0);
    match arguments.first().map(String::as_str) {
        Some("call") => {
            let begun = Instant::now();
            (0..number(1)).for_each(|n| assert_eq!(slow(n), vec![n; 3 + n as usize], "a wrong result"));
            println!("{}", begun.elapsed().as_millis());
        }
        Some("logger") => logged(),
        // What it returns differs from run to run, as no cached function should.
        Some("call-long") => println!("{}", long(7)),
        Some("never-stored") => println!("{}", never_stored(7)),
        Some("fork") => forked(),
        Some("fork-and-end") => forked_and_alone(arguments.get(1).map(String::as_str)),
        Some("obey") => obey(),
        Some("put-always") => put_always(),
        Some("random") => random(number(1), number(2)),
        other => panic!("there is no story {other:?}"),
    }
}

/// Forks, with a cache open: the child becomes a process of its own on the directory, and both end as programs do.
fn forked() {
    let cache = default_cache().expect("the directory is ours");
    assert_eq!(slow(1).len(), 4);
    match fork::fork().expect("there is room for a process") {
        Fork::Child => {
            assert_eq!(slow(1).len(), 4, "found");
            let error = cache.put("childs", &1u8).expect_err("it is the parent's");
            assert!(error.is_closed() && error.to_string().contains("forked"), "{error}");
            let own = default_cache().expect("the directory is ours");
            own.put("childs", &1u8).expect("another process is welcome");
            let again = Cache::open(own.directory().expect("it has one")).expect("it is open");
            assert_eq!(again.get::<u8>("childs").expect("it is open"), Some(1));
        }
        Fork::Parent(child) => {
            fork::waitpid(child).expect("it has ended");
            assert_eq!(slow(1).len(), 4, "found");
            assert_eq!(cache.get::<u8>("childs").expect("it is open"), Some(1));
            cache.put("parents", &1u8).expect("the child has harmed nothing");
            assert_eq!(cache.get::<u8>("parents").expect("it is open"), Some(1));
        }
    }
}

/// Forks, with a cache open, and ends: the child goes on.
fn forked_and_alone(how: Option<&str>) {
    let cache = default_cache().expect("the directory is ours");
    assert_eq!(slow(1).len(), 4);
    cache.flush().expect("there is room");
    // Asked for before: it may have ended when the child begins.
    let parent = std::process::id();
    match fork::fork().expect("there is room for a process") {
        Fork::Parent(_) if how == Some("killed") => std::process::abort(),
        Fork::Parent(_) => {}
        Fork::Child => {
            while std::os::unix::process::parent_id() == parent {
                std::thread::sleep(Duration::from_millis(5));
            }
            cache.close().expect("it is the parent's, and nothing is done to it");
            assert_eq!(slow(1).len(), 4, "found, or computed");
            let own = default_cache().expect("in the directory, or in memory");
            own.put("childs", &1u8).expect("there is room");
            println!("{}", own.get_stats().expect("it is open").backend);
        }
    }
}

/// Asks the cache of everything that is logged, also by the threads that carry its questions.
fn logged() {
    struct Asks;
    impl log::Log for Asks {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            thread_local!(static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
            if !INSIDE.replace(true) {
                if let Ok(cache) = default_cache() {
                    let _found = cache.get::<u64>(record.target());
                    let _stored = cache.put(record.target(), &1u64);
                }
                INSIDE.set(false);
            }
        }
        fn flush(&self) {}
    }
    static ASKS: Asks = Asks;
    default_cache().expect("the directory is ours");
    log::set_logger(&ASKS).expect("there is none");
    log::set_max_level(log::LevelFilter::Trace);
    (0..3).for_each(|n| assert_eq!(slow(n).len(), 3 + n as usize));
    default_cache().expect("it is open").close().expect("it ends");
    println!("done");
}

/// Does what each line says, and answers with one line.
fn obey() {
    let cache = default_cache().expect("the directory is ours");
    println!("open");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("the test writes lines");
        let words: Vec<_> = line.split(' ').collect();
        let answer = match words[..] {
            ["get", key] => format!("{:?}", cache.get::<u64>(key).map_err(|error| error.to_string())),
            ["get-byte", key] => format!("{:?}", cache.get::<u8>(key).map_err(|error| error.to_string())),
            ["call", n] => format!("{:?}", slow(n.parse().expect("a number")).len()),
            ["memory", n] => {
                let before = cache.get_stats().expect("it is open").memory.expect("it counts").hits;
                slow(n.parse().expect("a number"));
                format!("{}", cache.get_stats().expect("it is open").memory.expect("it counts").hits - before)
            }
            ["put", key, value] => {
                format!(
                    "{:?}",
                    cache.put(key, &value.parse::<u64>().expect("a number")).map(drop).map_err(|e| e.to_string())
                )
            }
            ["put-large", key, byte] => {
                let byte: u8 = byte.parse().expect("a byte");
                format!("{:?}", cache.put(key, &vec![byte; 100_000]).map(drop).map_err(|error| error.to_string()))
            }
            ["get-large", key] => {
                let value = cache.get::<Vec<u8>>(key).map_err(|error| error.to_string());
                format!("{:?}", value.map(|value| value.map(|value| (value.len(), value[0]))))
            }
            ["tag", key] => {
                let put = cache.put_with(key, &1u64, PutOptions::new().tag("tagged"));
                format!("{:?}", put.map(drop).map_err(|error| error.to_string()))
            }
            ["invalidate", key] => format!("{:?}", cache.invalidate(key).map_err(|error| error.to_string())),
            ["invalidate-tag"] => format!("{:?}", cache.invalidate_tag("tagged").map_err(|error| error.to_string())),
            ["clear"] => format!("{:?}", cache.clear().map_err(|error| error.to_string())),
            ["entries"] => format!("{:?}", cache.get_stats().map(|stats| stats.entries).map_err(|e| e.to_string())),
            ["backend"] => cache.get_stats().expect("it is open").backend.to_string(),
            ["close"] => format!("{:?}", cache.close().map_err(|error| error.to_string())),
            _ => panic!("no such order: {line}"),
        };
        println!("{answer}");
    }
}

/// Puts what random work finds at every time.
fn put_always() {
    let cache = default_cache().expect("the directory is ours");
    for key in 1000..1000 + KEYS {
        let (value, begun) = (Stamped::new(key, key), now());
        println!("begin put {key} {} {begun}", value.stamp);
        println!("put {key} {} {} {begun} {}", value.stamp, ok(cache.put(key, &value).map(drop)), now());
    }
}

/// Works at random until it is killed or the time is over, and tells what it begins and what was acknowledged: whoever reads
/// that can tell which values may come out.
fn random(seed: u64, seconds: u64) {
    let cache = default_cache().expect("the directory is ours");
    let (begun, mut state) = (Instant::now(), seed);
    while begun.elapsed() < Duration::from_secs(seconds) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        step(&cache, state >> 20);
    }
}

/// Keys that all processes change.
const KEYS: u64 = 12;

/// Nanoseconds of a clock that all processes have in common.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_nanos()).expect("before 2500")
}

fn step(cache: &Cache, draw: u64) {
    let key = draw % KEYS;
    let what = (draw / KEYS) % 100;
    let begun = now();
    let told = match what {
        0..50 => {
            let got = cache.get::<Stamped>(key);
            format!("get {key} {}", shown(got.map(|value| value.map(|value| value.of(key)))))
        }
        50..65 => {
            let value = Stamped::new(key, draw);
            println!("begin put {key} {} {begun}", value.stamp);
            let put = cache.put_with(key, &value, PutOptions::new().tag("changes"));
            format!("put {key} {} {}", value.stamp, ok(put.map(drop)))
        }
        65..75 => {
            let value = Stamped::new(key, draw);
            println!("begin put {key} {} {begun}", value.stamp);
            format!("update {key} {} {}", value.stamp, shown_bool(cache.update_data(key, &value)))
        }
        75..80 => format!("touch {key} {}", shown_bool(cache.touch(key))),
        80..91 => {
            println!("begin invalidate {key} {begun}");
            format!("invalidate {key} {}", shown_bool(cache.invalidate(key)))
        }
        91..92 => {
            println!("begin clear 0 {begun}");
            format!("clear 0 {}", ok(cache.invalidate_tag("changes").map(drop)))
        }
        92..95 => format!("list {}", ok(cache.list_entries().try_for_each(|entry| entry.map(drop)))),
        95..99 => {
            // Put before all began, and never changed.
            let got = cache.get::<Stamped>(1000 + key);
            format!("always {} {}", 1000 + key, shown(got.map(|value| value.map(|value| value.of(1000 + key)))))
        }
        _ => format!("totals {}", ok(cache.get_stats().map(drop))),
    };
    println!("{told} {begun} {}", now());
}

/// A value that says whose it is; some are large enough for a file.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Stamped {
    key: u64,
    stamp: u64,
    filling: Vec<u8>,
}

impl Stamped {
    fn new(key: u64, draw: u64) -> Self {
        let stamp = (u64::from(std::process::id()) << 40) ^ (draw & 0xff_ffff_ffff);
        let filling = vec![stamp as u8; if stamp.is_multiple_of(3) { 20_000 } else { 10 }];
        Self { key, stamp, filling }
    }

    /// The stamp, if everything else agrees with it.
    fn of(&self, key: u64) -> u64 {
        let whole = self.key == key && self.filling.iter().all(|byte| *byte == self.stamp as u8);
        if whole { self.stamp } else { u64::MAX }
    }
}

fn shown(got: cacheness::Result<Option<u64>>) -> String {
    match got {
        Ok(Some(stamp)) => format!("{stamp}"),
        Ok(None) => "none".to_owned(),
        Err(error) => format!("error:{}", error.to_string().replace(' ', "_")),
    }
}

fn shown_bool(done: cacheness::Result<bool>) -> String {
    match done {
        Ok(done) => format!("{done}"),
        Err(error) => format!("error:{}", error.to_string().replace(' ', "_")),
    }
}

fn ok(done: cacheness::Result<()>) -> String {
    match done {
        Ok(()) => "true".to_owned(),
        Err(error) => format!("error:{}", error.to_string().replace(' ', "_")),
    }
}
