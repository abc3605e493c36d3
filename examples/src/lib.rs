//! What the examples share: the real data in `examples/data/`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One row of `data/airports.csv`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Airport {
    /// Its code, such as `SEA`.
    pub iata: String,
    /// Its name.
    pub name: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

/// A file in `examples/data/`.
pub fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(file)
}

/// Reads the rows of a CSV file with a heading.
///
/// # Errors
/// When the file cannot be read or a row is not a `T`.
pub fn read_csv<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Vec<T>, csv::Error> {
    csv::Reader::from_path(path)?.deserialize().collect()
}

/// Great-circle distance in kilometres, by the haversine formula.
pub fn distance_km(a: &Airport, b: &Airport) -> f64 {
    const EARTH_RADIUS_KM: f64 = 6371.0;
    let (north, east) = ((b.latitude - a.latitude).to_radians(), (b.longitude - a.longitude).to_radians());
    let latitudes = a.latitude.to_radians().cos() * b.latitude.to_radians().cos();
    let h = (north / 2.0).sin().powi(2) + latitudes * (east / 2.0).sin().powi(2);
    2.0 * EARTH_RADIUS_KM * h.sqrt().min(1.0).asin()
}
