//! Versions of a small model beside their accuracy, and the data they were fitted to as a stream. Run it twice: what
//! the first run stored is there in the second, and nothing of it expires.
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};

use cacheness::blob::Repair;
use cacheness::{BlobOptions, BlobStore, Field, Metadata};
use cacheness_examples::{Airport, data, read_csv};
use serde::{Deserialize, Serialize};

/// Says whether an airport is in Alaska, by its latitude alone.
#[derive(Debug, Deserialize, Serialize)]
struct Model {
    north_of: f64,
}

impl Model {
    fn accuracy(&self, airports: &[Airport], alaskan: impl Fn(&Airport) -> bool) -> f64 {
        let right = airports.iter().filter(|airport| (airport.latitude > self.north_of) == alaskan(airport)).count();
        right as f64 / airports.len() as f64
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::var_os("CACHENESS_DIR").unwrap_or_else(|| ".blobstore".into());
    let store = BlobStore::builder().dir(dir).content_addressable(true).open()?;
    println!("{} entries from earlier runs", store.len()?);

    // A file of any size passes through in pieces. Stored again it takes no room: its key is made of its content.
    let mut writer = store.writer(BlobOptions::new().description("what the models were fitted to"))?;
    std::io::copy(&mut File::open(data("airports.csv"))?, &mut writer)?;
    let source = writer.commit()?;
    let source_key = source.name().unwrap_or_default().to_owned();
    println!("{} bytes under {}...", source.raw_size(), &source_key[..16]);

    let airports: Vec<Airport> = read_csv(&data("airports.csv"))?;
    let alaskan = |airport: &Airport| airport.latitude > 51.0 && airport.longitude < -129.0;
    for (version, north_of) in [("v1.0", 45.0), ("v1.1", 50.0), ("v1.2", 55.0)] {
        let model = Model { north_of };
        let options = BlobOptions::key(format!("alaska/{version}"))
            .metadata("accuracy", model.accuracy(&airports, alaskan))
            .metadata("source", source_key.as_str());
        store.put_with(options, &model)?;
    }

    let good = store.list_matching("alaska/", &Field::metadata("accuracy").ge(0.99))?;
    let best = good.first().ok_or("no model is good enough")?;
    store.update_metadata(best, &Metadata::from([("stage".to_owned(), "live".into())]))?;
    let model: Model = store.get(best)?.ok_or("it was just listed")?;
    let entry = store.get_metadata(best)?.ok_or("it was just listed")?;
    println!("{best} is live: {model:?}, {:?}", entry.metadata());

    // From any place on, without reading what is before it.
    let mut reader = store.reader(&source_key)?.ok_or("it was just written")?;
    reader.seek(SeekFrom::End(-100))?;
    println!("its data ends with {:?}", BufReader::new(reader).lines().last().transpose()?);

    let report = store.verify(Repair::No)?;
    println!("{} entries looked at, all whole: {}", report.checked, report.is_whole());
    Ok(())
}
