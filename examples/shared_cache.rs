//! Two machines share their results: what is known of them lies in PostgreSQL, values lie in a bucket. Each process has a
//! directory of its own, as two machines have, and the second one computes nothing.
//!
//! `examples/shared_cache.sh` starts the servers and two of these. By hand, with servers of your own (`docker compose up`
//! gives you some), set `CACHENESS_CONFIG` to a file as that script writes it:
//!
//! `cargo run -p cacheness-examples --features shared --example shared_cache`
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use cacheness::{cached, default_cache};
use cacheness_examples::{Airport, data, distance_km, read_csv};

/// Two airports and the distance between them in kilometres.
type Pair = (Airport, Airport, f64);

/// The nearest neighbour of each airport: some hundred kilobytes, which lie in the bucket.
#[cached(ttl = 86400)]
fn neighbours(csv: &Path) -> Result<Vec<Pair>, Box<dyn Error>> {
    let airports: Vec<Airport> = read_csv(csv)?;
    let nearest = |from: &Airport| {
        let others = airports.iter().filter(|to| to.iata != from.iata).map(|to| (to, distance_km(from, to)));
        others.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(to, km)| (from.clone(), to.clone(), km))
    };
    Ok(airports.iter().filter_map(nearest).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let (cache, begun) = (default_cache()?, Instant::now());
    let pairs = neighbours(&data("airports.csv"))?;
    let (took, stats) = (begun.elapsed(), cache.get_stats()?);
    let how = if stats.hits > 0 { "a hit" } else { "computed" };
    println!("{} pairs, {how} in {took:.1?}, by way of {}", pairs.len(), stats.backend);
    Ok(())
}
