//! NumPy has no integers of 128 bits: neither a result nor a value by hand.

use cacheness::{Cache, cached};
use ndarray::Array1;

#[cached]
fn result() -> Array1<u128> {
    Array1::zeros(3)
}

fn main() {
    result();
    Cache::in_memory().put_native("key", &Array1::<u128>::zeros(3)).unwrap();
}
