//! Methods are keyed by what makes two objects answer alike, generics by their parameters.
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

use cacheness::{CacheKey, cached};

static RUNS: AtomicUsize = AtomicUsize::new(0);

/// A shop's prices. Which connection is used does not change them, so it is left out of the key.
#[derive(CacheKey)]
struct Prices {
    shop: String,
    #[cache_key(skip)]
    connection: u32,
}

impl Prices {
    /// `self` is part of the key because it implements `CacheKey`.
    #[cached(ttl = "1h")]
    fn of(&self, article: &str) -> u64 {
        RUNS.fetch_add(1, Ordering::SeqCst);
        println!("  asks {} over connection {} for {article}", self.shop, self.connection);
        (self.shop.len() * article.len()) as u64
    }
}

/// One entry for each type and each number.
#[cached(ttl = "1h")]
fn parse_all<T: FromStr + ToString, const TAKE: usize>(text: &str) -> Vec<String> {
    RUNS.fetch_add(1, Ordering::SeqCst);
    text.split(' ').take(TAKE).filter_map(|word| word.parse::<T>().ok()).map(|value| value.to_string()).collect()
}

fn main() -> Result<(), cacheness::CacheError> {
    cacheness::function(Prices::of).clear()?;
    cacheness::function(parse_all::<f64, 3>).clear()?;
    cacheness::function(parse_all::<i32, 3>).clear()?;

    let morning = Prices { shop: "corner".to_owned(), connection: 1 };
    let evening = Prices { shop: "corner".to_owned(), connection: 2 };
    let other = Prices { shop: "market".to_owned(), connection: 1 };
    println!("{} {} {}", morning.of("tea"), evening.of("tea"), other.of("tea"));
    assert_eq!(RUNS.swap(0, Ordering::SeqCst), 2, "the same shop answers alike");

    for _ in 0..2 {
        println!("{:?} {:?}", parse_all::<f64, 3>("1.5 2 x"), parse_all::<i32, 3>("1.5 2 x"));
    }
    assert_eq!(RUNS.load(Ordering::SeqCst), 2, "one run for each type");
    println!("{} entries of Prices::of", cacheness::function(Prices::of).entries()?.len());
    Ok(())
}
