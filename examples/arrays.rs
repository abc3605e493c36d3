//! The distance of every airport from every other one, as an array that NumPy opens: computed once, then read at the speed of memory.
//!
//! `cargo run --release -p cacheness-examples --features arrays --example arrays`
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use cacheness::{cached, default_cache};
use cacheness_examples::{Airport, data, distance_km, read_csv};
use ndarray::{Array2, ArrayView1};

/// Kilometres, by the places of two airports in the file.
#[cached]
fn distances(csv: &Path) -> Result<Array2<f32>, csv::Error> {
    let airports: Vec<Airport> = read_csv(csv)?;
    println!("measuring {} distances", airports.len() * airports.len());
    let shape = (airports.len(), airports.len());
    Ok(Array2::from_shape_fn(shape, |(from, to)| distance_km(&airports[from], &airports[to]) as f32))
}

/// The array is an argument, by shape and contents: whoever has the same one gets the same result.
#[cached]
fn most_remote(distances: &Array2<f32>) -> (usize, f32) {
    let nearest = |row: ArrayView1<'_, f32>| row.iter().copied().filter(|km| *km > 0.0).fold(f32::MAX, f32::min);
    let nearest = distances.rows().into_iter().map(nearest).enumerate();
    nearest.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
}

fn main() -> Result<(), Box<dyn Error>> {
    let csv = data("airports.csv");
    let start = Instant::now();
    let distances = distances(&csv)?;
    println!("{:?} numbers in {:.1?}", distances.shape(), start.elapsed());
    let (place, km) = most_remote(&distances);
    let airport = &read_csv::<Airport>(&csv)?[place];
    println!("{} has no other airport within {km:.0} km", airport.name);

    let cache = default_cache()?;
    for entry in cache.list_entries() {
        let entry = entry?;
        if entry.handler_used() == "npy"
            && let Some(file) = cache.open_file(&entry)?
        {
            println!("numpy.load({:?}, mmap_mode=\"r\")", file.path());
        }
    }
    Ok(())
}
