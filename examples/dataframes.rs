//! Airports and weather as data frames: read, filtered, grouped and joined once; a frame is also an argument, by its contents. What is
//! stored is Parquet, which other tools open where it lies.
//!
//! `cargo run --release -p cacheness-examples --features frames --example dataframes`
use std::error::Error;
use std::path::Path;

use cacheness::{cached, default_cache, function};
use cacheness_examples::data;
use polars_core::prelude::{Column, DataFrame, PolarsResult, SortMultipleOptions};
use polars_lazy::prelude::{IntoLazy, JoinArgs, JoinType, LazyFrame, col, len, lit};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A CSV file as a frame; a column is of numbers if all that is in it is.
#[cached]
fn frame(csv: &Path) -> Outcome<DataFrame> {
    println!("reading {}", csv.display());
    let mut reader = csv::Reader::from_path(csv)?;
    let names: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
    let rows = reader.records().collect::<Result<Vec<_>, _>>()?;
    let column = |(at, name): (usize, &String)| {
        let texts: Vec<&str> = rows.iter().map(|row| &row[at]).collect();
        let numbers: Result<Vec<f64>, _> = texts.iter().map(|text| text.parse()).collect();
        numbers.map_or_else(|_| Column::new(name.into(), &texts), |numbers| Column::new(name.into(), numbers))
    };
    Ok(DataFrame::new(rows.len(), names.iter().enumerate().map(column).collect())?)
}

/// How many airports each state has, and how far north they lie.
#[cached]
fn by_state(airports: &DataFrame) -> PolarsResult<DataFrame> {
    println!("grouping {} airports", airports.height());
    let states = airports.clone().lazy().filter(col("country").eq(lit("USA"))).group_by([col("state")]);
    let largest_first = SortMultipleOptions::default().with_order_descending(true);
    states.agg([len().alias("airports"), col("latitude").mean()]).sort(["airports"], largest_first).collect()
}

/// The airports of the states that have most of them: a plan, which is collected when it is stored.
#[cached]
fn in_largest_states(airports: &DataFrame, count: u32) -> PolarsResult<LazyFrame> {
    let states = by_state(airports)?.lazy().limit(count);
    Ok(airports.clone().lazy().join(states, [col("state")], [col("state")], JoinArgs::new(JoinType::Inner)))
}

/// Of each kind of weather: days, and the mean of the highest temperature.
#[cached]
fn by_weather(weather: &DataFrame) -> PolarsResult<DataFrame> {
    let kinds = weather.clone().lazy().group_by([col("weather")]);
    let kinds = kinds.agg([len().alias("days"), col("temp_max").mean()]);
    kinds.sort(["days"], SortMultipleOptions::default().with_order_descending(true)).collect()
}

fn main() -> Outcome<()> {
    let airports = frame(&data("airports.csv"))?;
    println!("{}", by_state(&airports)?.head(Some(3)));
    println!("{}", in_largest_states(&airports, 3)?.select([len().alias("airports in these")]).collect()?);
    println!("{}", by_weather(&frame(&data("seattle-weather.csv"))?)?);

    let cache = default_cache()?;
    println!("{:?}", function(frame).info()?);
    for entry in cache.list_entries() {
        let entry = entry?;
        if let Some(file) = cache.open_file(&entry)?.filter(|file| !file.is_copy()) {
            println!("stored as {}", file.path().display());
        }
    }
    Ok(())
}
