//! Several processes on one directory: what it costs to use a cache whose index another process has open, how long it takes
//! until a guest is the owner, and what SQLite costs, which all of them open.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use cacheness::{Cache, CacheConfig};
use cacheness_benches::{Bench, Station, repeat, station, timed};

const ENTRIES: u64 = 2_000;
/// Tells this program that it is the other process, and where.
const OWNER_OF: &str = "BENCH_OWNER_OF";

fn main() {
    if let Some(dir) = std::env::var_os(OWNER_OF) {
        return own(Path::new(&dir));
    }
    let mut bench = Bench::new("neighbours", env!("CARGO_TARGET_TMPDIR"));
    let (dir, alone_dir) = (bench.dir("shared"), bench.dir("alone"));
    let _owner = Owner::of(&dir);
    let (joined, alone) = (open(&dir), open(&alone_dir));
    fill(&alone);
    let memory = |cache: Cache| repeat(move |id| _ = black_box(cache.get::<Station>(id % 100).unwrap().unwrap()));
    bench
        .work("hit in memory, another process has the index")
        .ours(memory(joined.clone()))
        .peer("one process alone", 1.0, memory(alone.clone()))
        .run();
    let (joined, alone) = (without_memory(&dir, joined), without_memory(&alone_dir, alone));
    let get = |cache: Cache| repeat(move |id| _ = black_box(cache.get::<Station>(id % ENTRIES).unwrap().unwrap()));
    bench
        .work("get by way of another process, small struct")
        .ours(get(joined.clone()))
        .peer("one process alone", None, get(alone.clone()))
        .peer("a bare round trip of a socket", None, round_trips())
        .run();
    let put = |cache: Cache| repeat(move |id| _ = cache.put(ENTRIES + id, &station(id)).unwrap());
    bench
        .work("put by way of another process, small struct")
        .ours(put(joined.clone()))
        .peer("one process alone", None, put(alone.clone()))
        .run();
    drop((joined, alone));
    let (dir, alone_dir) = (bench.dir("handed"), bench.dir("handed-alone"));
    bench
        .work("the next hit after the owner was killed")
        .calls(1)
        .ours(|calls| (0..calls).map(|_| hand_over(&dir)).sum())
        .peer("open alone after a kill", None, |calls| (0..calls).map(|_| open_after_kill(&alone_dir)).sum())
        .run();
    sqlite(&mut bench);
}

/// Without values in memory, as diskcache has none.
fn sqlite(bench: &mut Bench) {
    let (python, config) = (bench.python(), CacheConfig::new(bench.dir("sqlite")));
    let cache = Cache::new(config.with_backend("sqlite").with_memory_cache(false)).unwrap();
    fill(&cache);
    let get = cache.clone();
    bench
        .work("get on SQLite, small struct, 2,000 entries")
        .ours(repeat(move |id| _ = black_box(get.get::<Station>(id * 7 % ENTRIES).unwrap().unwrap())))
        .python("diskcache 5.6 get", 0.6, &python, "diskcache.get")
        .run();
    bench
        .work("put on SQLite, small struct, a new key each")
        .ours(repeat(move |id| _ = cache.put(ENTRIES + id, &station(id)).unwrap()))
        .python("diskcache 5.6 set", 0.9, &python, "diskcache.set")
        .run();
}

fn open(dir: &Path) -> Cache {
    Cache::new(CacheConfig::new(dir)).unwrap()
}

/// The same cache with handles that keep nothing in memory.
fn without_memory(dir: &Path, cache: Cache) -> Cache {
    cache.close().unwrap();
    Cache::new(CacheConfig::new(dir).with_memory_cache(false)).unwrap()
}

fn fill(cache: &Cache) {
    (0..ENTRIES).for_each(|id| _ = cache.put(id, &station(id)).unwrap());
}

/// Has the index until it is killed.
fn own(dir: &Path) {
    let cache = open(dir);
    fill(&cache);
    println!("open");
    thread::sleep(std::time::Duration::from_secs(3600));
}

struct Owner(Child);

impl Owner {
    fn of(dir: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.env(OWNER_OF, dir).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "open\n");
        Self(child)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The seconds from the end of the owner to the next hit of a guest.
fn hand_over(dir: &Path) -> f64 {
    let owner = Owner::of(dir);
    let guest = open(dir);
    assert!(guest.get::<Station>(1_u64).unwrap().is_some());
    drop(owner);
    timed(|| assert!(guest.get::<Station>(7_u64).unwrap().is_some()))
}

fn open_after_kill(dir: &Path) -> f64 {
    drop(Owner::of(dir));
    let mut opened = None;
    let seconds = timed(|| {
        let cache = open(dir);
        assert!(cache.get::<Station>(7_u64).unwrap().is_some());
        opened = Some(cache);
    });
    drop(opened);
    seconds
}

/// 64 bytes there and 512 back, between two threads.
fn round_trips() -> impl FnMut(u64) -> f64 {
    let (mut here, mut there) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        let mut question = [0; 64];
        while there.read_exact(&mut question).is_ok() && there.write_all(&[7; 512]).is_ok() {}
    });
    repeat(move |_| {
        here.write_all(&[1; 64]).unwrap();
        here.read_exact(&mut [0; 512]).unwrap();
    })
}
