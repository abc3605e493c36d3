//! Vectors of 100 MB of numbers: in and out of the cache.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use cacheness::{Cache, CacheConfig};
use cacheness_benches::{Bar, Bench, Line, Unit, ramp, random_numbers, settle, steps, timed, walk};

const NUMBERS: usize = 12_500_000;
const ROUNDS: usize = 7;

fn main() {
    let mut bench = Bench::new("large", env!("CARGO_TARGET_TMPDIR"));
    let cache = Cache::new(CacheConfig::new(bench.dir("cache")).with_memory_cache(false)).unwrap();
    let count = bench.full_or(NUMBERS, NUMBERS / 100);
    numbers(&mut bench, &cache, "random", &random_numbers(count));
    numbers(&mut bench, &cache, "steps", &steps(count));
    numbers(&mut bench, &cache, "ramp", &ramp(count));
    numbers(&mut bench, &cache, "walk", &walk(count));
    cache.close().unwrap();
}

fn numbers(bench: &mut Bench, cache: &Cache, kind: &'static str, numbers: &Vec<f64>) {
    let (python, bytes) = (bench.python(), size_of_val(numbers.as_slice()) as u64);
    let compressible = kind != "random";
    let beside_blosc = compressible.then_some(1.0);
    let name = |doing: &str| format!("{doing} 100 MB f64, {kind}");
    let order = |work: &str| format!("{work}.{kind}.{}", numbers.len());
    let put = |_| {
        settle();
        let seconds = timed(|| drop(cache.put(kind, numbers).unwrap()));
        // What is left to write is not to be written in another's turn.
        cache.flush().unwrap();
        seconds
    };
    let work = bench.work(&name("put")).bytes(bytes).calls(1).rounds(ROUNDS).ours(put);
    let work = work.python("joblib 1.6", 1.0, &python, &order("joblib.put"));
    let work = work.python("diskcache 5.6", None, &python, &order("diskcache.put"));
    let work = if compressible { work.python("blosc2 4", beside_blosc, &python, &order("blosc2.put")) } else { work };
    work.run();
    let get = |_| {
        let mut got = None;
        let seconds = timed(|| got = cache.get::<Vec<f64>>(kind).unwrap());
        assert!(got.as_ref() == Some(numbers));
        seconds
    };
    let work = bench.work(&name("get")).bytes(bytes).calls(1).rounds(ROUNDS).ours(get);
    let work = work.python("joblib 1.6", 1.0, &python, &order("joblib.get"));
    let work = work.python("diskcache 5.6", None, &python, &order("diskcache.get_numbers"));
    let work = if compressible { work.python("blosc2 4", beside_blosc, &python, &order("blosc2.get")) } else { work };
    work.run();
    if compressible {
        tell_size(bench, cache, kind, bytes);
    }
}

fn tell_size(bench: &mut Bench, cache: &Cache, kind: &str, bytes: u64) {
    let (_, entry) = cache.get_with_metadata::<Vec<f64>>(kind).unwrap().unwrap();
    let share = entry.size() as f64 / bytes as f64;
    let python = bench.python();
    let theirs = python.is_there().then(|| python.run(&format!("blosc2.share.{kind}.{}", bytes / 8), 1));
    bench.tell(&Line {
        what: format!("size of 100 MB f64, {kind}"),
        unit: Unit::Share,
        ours: share,
        peer: "blosc2 4".to_owned(),
        theirs,
        ratio: theirs.map(|theirs| [share / theirs; 3]),
        bar: Some(Bar::Within(0.02)),
    });
}
