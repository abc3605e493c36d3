//! Damage of every kind to a closed cache directory, and directories of earlier releases: the right value or a miss, and
//! nothing else.

mod cut;
mod flips;
mod forgeries;
mod full_disk;
mod golden;
mod keys;
mod mount;
mod power_cuts;

use std::path::Path;

use cacheness::{Cache, CacheConfig, Result};
use cacheness_tests::value_of;

/// How a directory is opened.
type Opening = fn(&Path) -> CacheConfig;

fn config(dir: &Path) -> CacheConfig {
    CacheConfig::new(dir)
}

/// A closed directory with `count` entries, opened and closed as often as `sessions` says.
fn filled(dir: &Path, count: u64, sessions: u64) {
    filled_as(config, dir, count, sessions);
}

fn filled_as(config: Opening, dir: &Path, count: u64, sessions: u64) {
    for session in 0..sessions {
        let cache = Cache::new(config(dir)).unwrap();
        for n in (0..count).filter(|n| n % sessions == session) {
            cache.put(n, &value_of(n)).unwrap();
        }
        cache.close().unwrap();
    }
}

/// What was seen of a damaged directory.
#[derive(Debug, Default)]
struct Seen {
    hits: u64,
    misses: u64,
}

/// The right values of a directory, made once for many looks at it.
fn values(count: u64) -> Vec<Vec<u8>> {
    (0..=count).map(value_of).collect()
}

/// Reads every key, then puts and reads one: the cache must be usable again.
///
/// # Errors
/// Whatever the cache lets out to its caller.
fn examine(dir: &Path, values: &[Vec<u8>]) -> Result<Seen> {
    examine_as(config, dir, values)
}

fn examine_as(config: Opening, dir: &Path, values: &[Vec<u8>]) -> Result<Seen> {
    let cache = Cache::new(config(dir))?;
    let mut seen = Seen::default();
    let (last, values) = values.split_last().expect("there is the value that is put now");
    for (n, right) in (0u64..).zip(values) {
        match cache.get::<Vec<u8>>(n)? {
            Some(value) => {
                assert!(value == *right, "key {n} has another value");
                seen.hits += 1;
            }
            None => seen.misses += 1,
        }
    }
    cache.put("after", last)?;
    assert!(cache.get::<Vec<u8>>("after")?.as_ref() == Some(last));
    cache.close()?;
    Ok(seen)
}
