//! For each of 3,376 US airports its nearest neighbours, and a route of short flights between two of them.
//! Run it twice: the second run takes both from the disk. Change `examples/data/airports.csv`, or name another file as
//! the argument, and it computes again, because a `Path` argument stands for the file's content.
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cacheness::{Cache, cached, default_cache};
use cacheness_examples::{Airport, data, distance_km, read_csv};
use serde::{Deserialize, Serialize};

/// A result that says how long it took to compute.
#[derive(Clone, Serialize, Deserialize)]
struct Timed<T> {
    took: Duration,
    value: T,
}

/// By airport, the five nearest with their distances in kilometres.
type Neighbours = BTreeMap<String, Vec<(String, f64)>>;

fn timed<T>(compute: impl FnOnce() -> T) -> Timed<T> {
    let start = Instant::now();
    let value = compute();
    Timed { took: start.elapsed(), value }
}

#[cached(ttl = 86400)]
fn nearest_airports(csv: &Path) -> Result<Timed<Neighbours>, Box<dyn Error>> {
    let airports: Vec<Airport> = read_csv(csv)?;
    Ok(timed(|| airports.iter().map(|from| (from.iata.clone(), nearest(from, &airports))).collect()))
}

fn nearest(from: &Airport, airports: &[Airport]) -> Vec<(String, f64)> {
    let others = airports.iter().filter(|to| to.iata != from.iata);
    let mut distances: Vec<_> = others.map(|to| (distance_km(from, to), to)).collect();
    distances.sort_by(|a, b| a.0.total_cmp(&b.0));
    distances.into_iter().take(5).map(|(km, to)| (to.iata.clone(), km)).collect()
}

/// A route in hops of at most `range_km`, each to the airport within reach that lies nearest to the goal.
#[cached(ttl = 86400)]
fn route(csv: &Path, from: &str, to: &str, range_km: f64) -> Result<Timed<Vec<String>>, Box<dyn Error>> {
    let airports: Vec<Airport> = read_csv(csv)?;
    let find = |code: &str| airports.iter().find(|a| a.iata == code).ok_or(format!("there is no airport {code}"));
    let (start, goal) = (find(from)?, find(to)?);
    let hop = |here: &&Airport| {
        let nearer = |a: &&Airport| distance_km(a, goal) < distance_km(here, goal) && distance_km(here, a) <= range_km;
        let within = airports.iter().filter(nearer);
        within.min_by(|a, b| distance_km(a, goal).total_cmp(&distance_km(b, goal)))
    };
    Ok(timed(|| std::iter::successors(Some(start), hop).map(|stop| stop.iata.clone()).collect()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let csv = std::env::args_os().nth(1).map_or_else(|| data("airports.csv"), PathBuf::from);
    let cache = default_cache()?;
    let neighbours = report(&cache, "nearest airports", || nearest_airports(&csv))?;
    println!("  {} airports; next to SEA: {:.1?}", neighbours.len(), neighbours["SEA"]);
    println!("  {}", report(&cache, "route SEA to JFK", || route(&csv, "SEA", "JFK", 400.0))?.join(" - "));
    println!("{:#?}", cache.get_stats()?);
    Ok(())
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn report<T>(cache: &Cache, what: &str, call: impl FnOnce() -> Outcome<Timed<T>>) -> Outcome<T> {
    let (hits, start) = (cache.get_stats()?.hits, Instant::now());
    let Timed { took, value } = call()?;
    let elapsed = start.elapsed();
    if cache.get_stats()?.hits > hits {
        let faster = took.as_secs_f64() / elapsed.as_secs_f64();
        println!("{what}: hit in {elapsed:.1?}, {faster:.0} times faster than computing it ({took:.1?})");
    } else {
        println!("{what}: computed in {elapsed:.1?}");
    }
    Ok(value)
}
