//! Results of experiments with what is known about them: found by filters, kept alive, cleared by group, archived.
//!
//! Run it with `cargo run --example experiments`. Its cache is in memory.

use std::time::Duration;

use cacheness::{Cache, EntryField, Field, Filter, PutOptions, Result, params};

fn train(learning_rate: f64) -> (Vec<f64>, f64) {
    let mut weights = vec![0.0; 8];
    for step in 0..200 {
        for (at, weight) in weights.iter_mut().enumerate() {
            let gradient = *weight - (at as f64).sin();
            *weight -= learning_rate * gradient / f64::from(1 + step / 50);
        }
    }
    let error = weights.iter().enumerate().map(|(at, weight)| (weight - (at as f64).sin()).abs()).sum::<f64>();
    (weights, 1.0 - error.min(1.0))
}

fn main() -> Result<()> {
    let cache = Cache::in_memory();
    for (run, learning_rate) in [0.001, 0.003, 0.01, 0.03, 0.1].into_iter().enumerate() {
        let (weights, accuracy) = train(learning_rate);
        let options = PutOptions::new()
            .ttl(Duration::from_secs(7 * 86_400))
            .metadata("accuracy", accuracy)
            .metadata("learning_rate", learning_rate)
            .tag("sweep");
        cache.put_with(&weights, params! { experiment: "sine", run: run }, options)?;
    }

    let good = Field::metadata("accuracy").ge(0.9) & Field::param("experiment").eq("sine");
    for entry in cache.list_entries().matching(good.clone()) {
        let entry = entry?;
        let weights: Vec<f64> = cache.get(&entry)?.unwrap_or_default();
        println!("{} accuracy {} weights {}", entry.cache_key(), entry.metadata()["accuracy"], weights.len());
    }

    println!("{} live on for a week", cache.touch_batch(&good)?);
    println!("{} were not good enough", cache.delete_matching(&!good)?);
    let best = cache.get_or_insert_with("best learning rate", || 0.1)?;
    println!("best learning rate {best}, {} entries, {} bytes", cache.len()?, cache.get_stats()?.size_bytes);
    let small: Filter = Field::from(EntryField::RawSize).lt(1000);
    println!(
        "{} are small, {} of the sweep go",
        cache.list_entries().matching(small).count(),
        cache.invalidate_tag("sweep")?
    );
    Ok(())
}
