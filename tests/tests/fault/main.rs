//! Damage of every kind to a closed cache directory: the right value or a miss, and nothing else.

mod cut;
mod flips;

use std::path::Path;

use cacheness::{Cache, CacheConfig, Result};
use cacheness_tests::value_of;

fn config(dir: &Path) -> CacheConfig {
    CacheConfig::new(dir)
}

/// A closed directory with `count` entries, opened and closed as often as `sessions` says.
fn filled(dir: &Path, count: u64, sessions: u64) {
    for session in 0..sessions {
        let cache = Cache::new(config(dir)).unwrap();
        for n in (0..count).filter(|n| n % sessions == session) {
            cache.put(&value_of(n), n).unwrap();
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

/// Reads every key, then puts and reads one: the cache must be usable again.
///
/// # Errors
/// Whatever the cache lets out to its caller.
fn examine(dir: &Path, count: u64) -> Result<Seen> {
    let cache = Cache::new(config(dir))?;
    let mut seen = Seen::default();
    for n in 0..count {
        match cache.get::<Vec<u8>>(n)? {
            Some(value) => {
                assert_eq!(value, value_of(n), "key {n} has another value");
                seen.hits += 1;
            }
            None => seen.misses += 1,
        }
    }
    cache.put(&value_of(count), "after")?;
    assert_eq!(cache.get::<Vec<u8>>("after")?, Some(value_of(count)));
    cache.close()?;
    Ok(seen)
}
