//! Values in files of their own, and files as arguments.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, File};
use std::hint::black_box;
use std::path::{Path, PathBuf};

use cacheness::{Cache, CacheConfig, cached, set_default_cache};
use cacheness_benches::{Bench, repeat, timed};

/// Too large for the index.
const VALUE: usize = 8 << 10;
const PUTS: u64 = 20_000;

#[cached]
fn looked_at(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn main() {
    let mut bench = Bench::new("files", env!("CARGO_TARGET_TMPDIR"));
    put(&mut bench);
    close(&mut bench);
    set_default_cache(Cache::new(CacheConfig::new(bench.dir("default"))).unwrap());
    large_file(&mut bench);
    tree(&mut bench);
    cacheness::default_cache().unwrap().close().unwrap();
}

/// What compresses to nothing like the same.
fn value(id: u64) -> Vec<u8> {
    let mut state = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..VALUE / 8).flat_map(|_| next().to_le_bytes()).collect()
}

/// What a program does that keeps a value in a file and lets no reader see half of it.
fn written_by_hand(dir: &Path, id: u64, value: &[u8]) {
    let (part, file) = (dir.join(format!("{id}.part")), dir.join(format!("{id}")));
    fs::write(&part, value).unwrap();
    fs::rename(part, file).unwrap();
}

fn put(bench: &mut Bench) {
    let (cache, by_hand) = (Cache::open(bench.dir("puts")).unwrap(), bench.dir("by-hand"));
    fs::create_dir(&by_hand).unwrap();
    let (mut ours, mut theirs) = (0, 0);
    let next = |id: &mut u64| {
        *id += 1;
        value(*id)
    };
    let next_of_theirs = next;
    bench
        .work("put of 8 KiB that do not compress")
        .calls(500)
        .ours(repeat(|_| drop(cache.put(ours, &next(&mut ours)).unwrap())))
        .peer(
            "create, write and rename",
            1.5,
            repeat(|_| {
                let value = next_of_theirs(&mut theirs);
                written_by_hand(&by_hand, theirs, &value);
            }),
        )
        .run();
    cache.close().unwrap();
}

fn close(bench: &mut Bench) {
    let puts = bench.full_or(PUTS, 200);
    let cache = Cache::open(bench.dir("closed")).unwrap();
    let putting = timed(|| (0..puts).for_each(|id| drop(cache.put(id, &value(id)).unwrap())));
    let closing = timed(|| cache.close().unwrap());
    let says = format!("{closing:.2} s ({putting:.2} s for the puts)");
    bench.verdict("close after 20,000 puts of 8 KiB", &says, "at most 0.5 s", closing <= 0.5);
    let cache = Cache::open(bench.dir("closed")).unwrap();
    let clearing = timed(|| assert_eq!(cache.clear().unwrap(), puts));
    let by_hand = bench.dir("cleared");
    fs::create_dir(&by_hand).unwrap();
    (0..puts).for_each(|id| written_by_hand(&by_hand, id, &value(id)));
    let theirs = timed(|| fs::remove_dir_all(&by_hand).unwrap());
    let says = format!("{clearing:.2} s, {:.1} times rm -r", clearing / theirs);
    bench.verdict("clear 20,000 values in files", &says, "at most 5 times rm -r", clearing <= 5.0 * theirs);
    cache.close().unwrap();
}

fn large_file(bench: &mut Bench) {
    let file = bench.dir("large");
    File::create(&file).unwrap().set_len(1 << bench.full_or(30, 20)).unwrap();
    looked_at(&file);
    let seconds = median(|| _ = black_box(looked_at(&file)), 1000);
    bench.verdict("a hit by a file of 1 GiB", &format!("{:.1} us", seconds * 1e6), "at most 20 us", seconds <= 20e-6);
    bench
        .work("a hit by an unchanged file of 1 GiB")
        .ours(repeat(|_| _ = black_box(looked_at(&file))))
        .peer("stat", None, repeat(|_| _ = black_box(fs::metadata(&file).unwrap().len())))
        .run();
}

fn tree(bench: &mut Bench) {
    let (tree, dirs) = (bench.dir("tree"), bench.full_or(100, 2));
    for dir in 0..dirs {
        let dir = tree.join(dir.to_string());
        fs::create_dir_all(&dir).unwrap();
        (0..100).for_each(|file| fs::write(dir.join(file.to_string()), [7; 100]).unwrap());
    }
    // Until their times are old enough to be believed.
    std::thread::sleep(std::time::Duration::from_secs(bench.full_or(4, 0)));
    looked_at(&tree);
    let seconds = median(|| _ = black_box(looked_at(&tree)), 10);
    bench.verdict(
        "a hit by a tree of 10,000 files",
        &format!("{:.1} ms", seconds * 1e3),
        "at most 20 ms",
        seconds <= 20e-3,
    );
    bench
        .work("a hit by an unchanged tree of 10,000 files")
        .ours(repeat(|_| _ = black_box(looked_at(&tree))))
        .peer("readdir and stat", None, repeat(|_| _ = black_box(walked(&tree))))
        .run();
}

fn walked(dir: &PathBuf) -> u64 {
    fs::read_dir(dir).unwrap().map(|item| item.unwrap()).fold(0, |sum, item| {
        let found = item.metadata().unwrap();
        sum + if found.is_dir() { walked(&item.path()) } else { found.len() }
    })
}

/// The median seconds of a call.
fn median(mut call: impl FnMut(), calls: usize) -> f64 {
    let mut seconds: Vec<f64> = (0..calls).map(|_| timed(&mut call)).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[calls / 2]
}
