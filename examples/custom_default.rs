//! Where results go when an attribute names no cache: first what the environment says, then what the program says.
//!
//! `CACHENESS_DIR=/fast/disk CACHENESS_DEFAULT_TTL_SECONDS=60 cargo run --example custom_default`
use std::error::Error;
use std::time::Duration;

use cacheness::{Cache, CacheConfig, cached, default_cache, set_default_cache};

#[cached]
fn square(n: u64) -> u64 {
    println!("  computes {n} * {n}");
    n * n
}

/// A function may also name its cache itself.
#[cached(cache = own_cache())]
fn cube(n: u64) -> u64 {
    n * n * n
}

fn own_cache() -> &'static Cache {
    static OWN: std::sync::LazyLock<Cache> = std::sync::LazyLock::new(Cache::in_memory);
    &OWN
}

fn main() -> Result<(), Box<dyn Error>> {
    let from_environment = default_cache()?;
    println!("default cache: {:?}", from_environment.directory());
    square(12);

    let dir = std::env::temp_dir().join(format!("cacheness-custom-default-{}", std::process::id()));
    let config = CacheConfig::new(&dir).with_ttl(Duration::from_secs(86_400)).with_max_size_mb(100);
    set_default_cache(Cache::new(config)?);
    println!("default cache: {:?}", default_cache()?.directory());
    println!("{} {}", square(12), square(12));
    let stats = default_cache()?.get_stats()?;
    assert_eq!((stats.entries, stats.hits), (1, 1));

    cube(3);
    cube(3);
    assert_eq!(own_cache().get_stats()?.hits, 1);
    default_cache()?.close()?;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
