//! What is stored.

use serde::{Deserialize, Serialize};

/// A small struct: two strings and a vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Station {
    /// A short string.
    pub name: String,
    /// Another.
    pub country: String,
    /// Three numbers.
    pub heights: Vec<f64>,
}

/// A small struct that differs by its number.
pub fn station(id: u64) -> Station {
    let height = id as f64;
    Station {
        name: format!("station {id}"),
        country: "Switzerland".to_owned(),
        heights: vec![height, height / 7.0, 0.5],
    }
}

/// Xorshift: what is drawn is the same in every run.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// The next, below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }
}

/// Numbers that do not compress, from 0 to 1.
pub fn random_numbers(count: usize) -> Vec<f64> {
    let mut random = Random::new(7);
    (0..count).map(|_| random.draw() as f64 / u64::MAX as f64).collect()
}

/// Numbers of which a thousand in a row are equal.
pub fn steps(count: usize) -> Vec<f64> {
    (0..count).map(|at| (at / 1000) as f64 * 0.37).collect()
}

/// Numbers that grow by one, each unlike the others.
pub fn ramp(count: usize) -> Vec<f64> {
    (0..count).map(|at| at as f64).collect()
}

/// Numbers that stay as they are and now and then grow by an eighth, on average after fifty: like a counter that is read at
/// fixed times. No range, no period.
pub fn walk(count: usize) -> Vec<f64> {
    let mut random = Random::new(13);
    let mut at = 0.0;
    let mut next = || {
        at += if random.below(50) == 0 { 0.125 } else { 0.0 };
        at
    };
    (0..count).map(|_| next()).collect()
}

/// Bytes that do not compress.
pub fn megabytes_of_bytes(megabytes: usize) -> Vec<u8> {
    let mut random = Random::new(11);
    (0..megabytes << 17).flat_map(|_| random.draw().to_le_bytes()).collect()
}
