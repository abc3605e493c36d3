//! Calls cached functions so and so many times: `cacheness-instructions SCENARIO ROUNDS`, for `.ci/instructions`.
//!
//! Only [`measured`] counts. The cache is filled before it and flushed after it.

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use cacheness::{Cache, CacheConfig, cached, set_default_cache};
use serde::{Deserialize, Serialize};

/// So many entries there are before anything is counted.
const FILLED: u64 = 1000;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    name: String,
    country: String,
    distances: Vec<f64>,
}

fn place(number: u64, country: &str) -> Place {
    let distances = (0..8).map(|step| (number * step) as f64).collect();
    Place { name: "Reykjavik".to_owned(), country: country.to_owned(), distances }
}

/// As attributes are by default, with all tiers there are.
#[cached]
fn by_default(number: u64, country: &str) -> Place {
    place(number, country)
}

/// The disk alone, which here is the index in the page cache: so small a value has no file.
#[cached(memory = false)]
fn on_disk(number: u64, country: &str) -> Place {
    place(number, country)
}

#[derive(Clone, Copy, PartialEq)]
enum Scenario {
    Memory,
    Disk,
    Miss,
}

/// The name is what callgrind switches on and off by.
#[inline(never)]
fn measured(scenario: Scenario, rounds: u64) {
    for round in 0..rounds {
        let (seen, new) = (round * 7 % FILLED, FILLED + round);
        black_box(match scenario {
            Scenario::Memory => by_default(black_box(seen), black_box("Iceland")),
            Scenario::Disk => on_disk(black_box(seen), black_box("Iceland")),
            Scenario::Miss => by_default(black_box(new), black_box("Iceland")),
        });
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (scenario, rounds) = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["memory", rounds] => (Scenario::Memory, rounds.parse()?),
        ["disk", rounds] => (Scenario::Disk, rounds.parse()?),
        ["miss", rounds] => (Scenario::Miss, rounds.parse()?),
        _ => return Err("usage: cacheness-instructions memory|disk|miss ROUNDS".into()),
    };
    let dir = tempfile::tempdir()?;
    // No flush in between.
    let config = CacheConfig::new(dir.path()).with_flush_interval(Duration::from_secs(60));
    set_default_cache(Cache::new(config)?);
    for number in 0..FILLED {
        match scenario {
            Scenario::Disk => on_disk(number, "Iceland"),
            Scenario::Memory | Scenario::Miss => by_default(number, "Iceland"),
        };
    }
    measured(scenario, rounds);
    Ok(())
}
