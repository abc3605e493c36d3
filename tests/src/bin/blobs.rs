//! A program with a blob store in `CACHENESS_DIR` that then ends, is killed or holds it: what the process tests look at
//! from outside. The first argument names the story.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::process::exit;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use cacheness::BlobStore;
use cacheness::blob::Repair;
use cacheness::config::Durability;
use cacheness_tests::value_of;
use fork::Fork;

static IN_A_STATIC: OnceLock<BlobStore> = OnceLock::new();

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    match arguments.first().map(String::as_str) {
        Some("stream") => stream(number),
        Some("stream-in-two-parts") => stream_in_two_parts(),
        Some("put-until-killed") => put_until_killed(),
        Some("put-and-exit") => {
            let store = BlobStore::builder().dir(dir()).durability(Durability::Interval).open().expect("it is ours");
            let store = IN_A_STATIC.get_or_init(|| store);
            (0..number).for_each(|n| drop(store.put_with(n.to_string(), &value_of(n)).expect("there is room")));
            exit(7);
        }
        Some("work") => work(number, Duration::from_millis(arguments[2].parse().expect("a number"))),
        Some("fork") => {
            let store = BlobStore::open(dir()).expect("others take us in");
            store.put_with("one", &1u8).expect("there is room");
            match fork::fork().expect("there is room for a process") {
                Fork::Child => {
                    let error = store.get::<u8>("one").expect_err("it is the parent's");
                    assert!(error.is_closed() && error.to_string().contains("forked"), "{error}");
                    let again = BlobStore::open(dir()).expect("the parent takes it in");
                    assert_eq!(again.get("one").expect("it is whole"), Some(1u8));
                }
                Fork::Parent(child) => {
                    fork::waitpid(child).expect("it has ended");
                    assert_eq!(store.get("one").expect("the child has harmed nothing"), Some(1u8));
                    store.put_with("two", &2u8).expect("nor the index");
                    println!("whole");
                }
            }
        }
        Some("hold") => {
            let shares = arguments.get(1).is_some_and(|what| what == "content");
            let store = BlobStore::builder().dir(dir()).content_addressable(shares).open().expect("it is ours");
            println!("open {:?}", store.directory());
            std::thread::sleep(Duration::from_secs(60));
        }
        other => panic!("there is no story {other:?}"),
    }
}

fn dir() -> std::ffi::OsString {
    std::env::var_os("CACHENESS_DIR").expect("the test names a directory")
}

/// Puts one key after the other, streams and values in turn, and says so.
fn put_until_killed() {
    let store = BlobStore::open(dir()).expect("it is ours");
    let mut out = std::io::stdout();
    for n in store.len().expect("it is open").. {
        let key = n.to_string();
        if n % 2 == 0 {
            store.put_with(key, &value_of(n)).expect("there is room");
        } else {
            let mut writer = store.writer(key).expect("there is room");
            writer.write_all(&value_of(n)).expect("there is room");
            writer.commit().expect("there is room");
        }
        writeln!(out, "{n}").expect("the reader listens");
    }
}

/// Puts, deletes and reads for a while, beside others, and tells what it begins and what is done. Of keys that begin with
/// its number it knows the values; those of all have values that tell whose they are.
fn work(id: u64, time: Duration) {
    let backend = std::env::var("CACHENESS_BACKEND").expect("the test names one");
    let store = BlobStore::builder().dir(dir()).backend(backend).open().expect("others take us in");
    println!("open");
    let (begun, mut draw, mut known) = (Instant::now(), id, HashMap::new());
    while begun.elapsed() < time {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (n, what) = (draw >> 40, (draw >> 20) % 10);
        let key = if draw >> 62 == 0 { format!("all/{}", n % 5) } else { format!("{id}/{}", n % 20) };
        let is_own = !key.starts_with("all");
        match what {
            0..3 => {
                println!("begin {key}");
                store.put_with(key.as_str(), &(n, value_of(n))).expect("it is put");
                known.insert(key.clone(), n);
                println!("put {key} {n}");
            }
            3 => {
                println!("begin {key}");
                store.delete(&key).expect("it is deleted");
                known.remove(&key);
                println!("deleted {key}");
            }
            4 => {
                let key = format!("{id}/stream");
                let mut writer = store.writer(key.as_str()).expect("there is room");
                writer.write_all(&value_of(n)).expect("there is room");
                writer.commit().expect("it is put");
                assert_eq!(store.get::<Vec<u8>>(&key).expect("it is whole"), Some(value_of(n)), "{key}");
            }
            5 if n % 16 == 0 => {
                let report = store.verify(Repair::Yes).expect("all can be read");
                assert!(report.is_whole(), "{report:?}");
            }
            _ => {
                let found = store.get::<(u64, Vec<u8>)>(&key).expect("it is whole");
                assert!(found.as_ref().is_none_or(|(n, value)| *value == value_of(*n)), "{key} has a torn value");
                assert!(!is_own || found.map(|(n, _)| n) == known.get(&key).copied(), "{key} has another value");
            }
        }
    }
}

/// Writes half of a stream, says so, and the rest when it is told to.
fn stream_in_two_parts() {
    let store = BlobStore::open(dir()).expect("it is ours");
    let mut writer = store.writer("stream").expect("there is room");
    writer.write_all(&[1; 100_000]).expect("there is room");
    println!("half");
    std::io::stdin().read_line(&mut String::new()).expect("the test goes on");
    writer.write_all(&[2; 100_000]).expect("there is room");
    writer.commit().expect("there is room");
    store.close().expect("there is room");
    println!("whole");
}

/// Numbers that fill a buffer, going on where the last one ended.
struct Noise(u64);

impl Noise {
    fn fill(&mut self, buf: &mut [u8]) {
        for bytes in buf.chunks_exact_mut(8) {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.copy_from_slice(&(self.0 ^ (self.0 >> 29)).to_le_bytes());
        }
    }
}

/// Writes so many MiB, reads them back, and says how much memory that took at most.
fn stream(mebibytes: u64) {
    const PIECE: usize = 1 << 20;
    let store = BlobStore::open(dir()).expect("it is ours");
    let (mut noise, mut piece, mut expected) = (Noise(1), vec![0; PIECE], vec![0; PIECE]);
    let start = Instant::now();
    let mut writer = store.writer("stream").expect("there is room");
    for _ in 0..mebibytes {
        noise.fill(&mut piece);
        writer.write_all(&piece).expect("there is room");
    }
    assert_eq!(writer.commit().expect("there is room").raw_size(), mebibytes << 20);
    let written = start.elapsed();

    let (mut noise, start) = (Noise(1), Instant::now());
    let mut reader = store.reader("stream").expect("it is whole").expect("it was just written");
    for n in 0..mebibytes {
        noise.fill(&mut expected);
        reader.read_exact(&mut piece).expect("it is whole");
        assert!(piece == expected, "MiB {n} is another one");
    }
    assert_eq!(reader.read(&mut piece).expect("it is whole"), 0, "nothing follows");
    println!("written in {written:.1?}, read in {:.1?}", start.elapsed());
    println!("peak {} KiB", peak_kib().unwrap_or_default());
}

/// The most memory that this process ever had, where the system says so.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()
}
