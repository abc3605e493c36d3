//! Results of experiments with typed metadata: queried by columns, kept alive, thinned out, cleared by group.
//!
//! Run it with `cargo run --example experiments`. Its cache is in memory.

use std::time::Duration;

use cacheness::query::EntryField;
use cacheness::{Cache, CustomMetadata, Field, PutOptions, Result, params};

#[derive(Debug, CustomMetadata)]
#[metadata(name = "experiments")]
struct Experiment {
    #[metadata(unique)]
    experiment_id: String,
    #[metadata(index)]
    accuracy: f64,
    learning_rate: f64,
}

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
        let experiment = Experiment { experiment_id: format!("sine_{run}"), accuracy, learning_rate };
        let options = PutOptions::new().ttl(Duration::from_secs(7 * 86_400)).custom(&experiment).tag("sweep");
        cache.put_with(params! { experiment: "sine", run: run }, &weights, options)?;
    }

    let good = Experiment::ACCURACY.ge(0.9) & Field::param("experiment").eq("sine");
    let best_first = cache.query::<Experiment>().filter(good.clone()).order_by(Experiment::ACCURACY.desc());
    for found in best_first.all()? {
        let weights: Vec<f64> = cache.get(&found)?.unwrap_or_default();
        println!("{} {:.4} with {} weights", found.experiment_id, found.accuracy, weights.len());
    }
    println!("on average {:?}", cache.query::<Experiment>().avg(Experiment::ACCURACY)?);
    let slow = cache.query_custom("experiments").matching([("learning_rate", 0.001)]).first()?;
    println!("the slowest is {:?}", slow.map(|found| found["experiment_id"].clone()));

    let again = Experiment { experiment_id: "sine_0".to_owned(), accuracy: 1.0, learning_rate: 1.0 };
    if let Err(error) = cache.put_with("a second sine_0", &vec![0.0], PutOptions::new().custom(&again)) {
        println!("refused: {error}");
    }

    println!("{} live on for a week", cache.touch_batch(&good)?);
    println!("{} were not good enough", cache.delete_matching(&!good)?);
    let best = cache.get_or_insert_with("best learning rate", || 0.1)?;
    println!("best learning rate {best}, {} entries, {} bytes", cache.len()?, cache.get_stats()?.size_bytes);
    let small = Field::from(EntryField::RawSize).lt(1000);
    let count = cache.list_entries().matching(small).count();
    println!("{count} are small, {} of the sweep go", cache.invalidate_tag("sweep")?);
    Ok(())
}
