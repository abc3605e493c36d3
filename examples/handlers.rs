//! Results in formats of their own: a table as CSV, and a drawing by a library that only knows paths.
use std::error::Error;
use std::io::{Read, Write};
use std::path::Path;

use cacheness::handler::{ByFile, FileHandler, Handler, HandlerError};
use cacheness::{Cache, cached};
use cacheness_examples::{Airport, data, read_csv};

/// Airports, the northernmost first. Serde knows nothing of it.
struct Table(Vec<Airport>);

struct Csv;

impl Handler for Csv {
    type Value = Table;

    fn name(&self) -> &str {
        "airports-csv"
    }

    fn write(&self, table: &Table, to: &mut dyn Write) -> Result<(), HandlerError> {
        let mut writer = csv::Writer::from_writer(to);
        table.0.iter().try_for_each(|airport| writer.serialize(airport))?;
        Ok(writer.flush()?)
    }

    fn read(&self, from: &mut dyn Read) -> Result<Table, HandlerError> {
        Ok(Table(csv::Reader::from_reader(from).deserialize().collect::<Result<_, _>>()?))
    }
}

#[cached(handler = Csv)]
fn northernmost(file: &Path, count: usize) -> Result<Table, csv::Error> {
    println!("sorting {}", file.display());
    let mut airports: Vec<Airport> = read_csv(file)?;
    airports.sort_by(|a, b| b.latitude.total_cmp(&a.latitude));
    airports.truncate(count);
    Ok(Table(airports))
}

struct Drawing(String);

struct Svg;

impl FileHandler for Svg {
    type Value = Drawing;

    fn name(&self) -> &str {
        "svg"
    }

    fn extension(&self) -> &str {
        "svg"
    }

    fn save(&self, drawing: &Drawing, path: &Path) -> Result<(), HandlerError> {
        Ok(std::fs::write(path, &drawing.0)?)
    }

    fn load(&self, path: &Path) -> Result<Drawing, HandlerError> {
        Ok(Drawing(std::fs::read_to_string(path)?))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::open(std::env::var_os("CACHENESS_DIR").unwrap_or_else(|| "./cache".into()))?;
    cacheness::set_default_cache(cache.clone());
    for _ in 0..2 {
        println!("{}", northernmost(&data("airports.csv"), 20)?.0[0].name);
    }
    cache.put_by(&ByFile(Svg), "drawing", &Drawing("<svg/>".into()), Default::default())?;
    println!("{:?}", cache.get_by(&ByFile(Svg), "drawing")?.map(|drawing| drawing.0));
    for entry in cache.list_entries() {
        println!("stored by {}", entry?.handler_used());
    }
    Ok(())
}
