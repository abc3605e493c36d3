//! Handlers as users write them.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cacheness::cache::Expired;
use cacheness::clock::ManualClock;
use cacheness::handler::{Handler, HandlerError, list_handlers, register_handler, unregister_handler};
use cacheness::{Cache, CacheConfig, bypass, cache_async, cached, function, refresh};

/// A table of another library: it knows nothing of serde, and a thread cannot even share it.
#[derive(Debug, PartialEq)]
struct Table {
    rows: Vec<Vec<String>>,
    not_shared: std::cell::Cell<u8>,
}

fn table(n: u32) -> Table {
    let row = |at: u32| vec![at.to_string(), (at * n).to_string()];
    Table { rows: (0..n).map(row).collect(), not_shared: std::cell::Cell::new(0) }
}

#[derive(Default)]
struct Csv {
    writes: AtomicUsize,
    reads: AtomicUsize,
}

impl Csv {
    const fn new() -> Self {
        Self { writes: AtomicUsize::new(0), reads: AtomicUsize::new(0) }
    }

    /// How often it wrote and read.
    fn calls(&self) -> (usize, usize) {
        (self.writes.load(Ordering::SeqCst), self.reads.load(Ordering::SeqCst))
    }
}

impl Handler for Csv {
    type Value = Table;

    fn name(&self) -> &str {
        "csv"
    }

    fn write(&self, table: &Table, to: &mut dyn Write) -> Result<(), HandlerError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        table.rows.iter().try_for_each(|row| Ok(writeln!(to, "{}", row.join(","))?))
    }

    fn read(&self, from: &mut dyn Read) -> Result<Table, HandlerError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let text = std::io::read_to_string(from)?;
        let rows = text.lines().map(|line| line.split(',').map(str::to_owned).collect());
        Ok(Table { rows: rows.collect(), not_shared: std::cell::Cell::new(0) })
    }
}

fn used(cache: &Cache) -> Vec<String> {
    cache.list_entries().map(|entry| entry.unwrap().handler_used().to_owned()).collect()
}

#[test]
fn an_attribute_with_a_handler_stores_what_serde_does_not_know() {
    static CSV: Csv = Csv::new();

    /// Whatever of it is an `Err` is not stored.
    #[cached(cache = cache, skip(cache), handler = CSV)]
    fn load(cache: &Cache, n: u32) -> Result<Table, String> {
        if n == 0 { Err("there is nothing".into()) } else { Ok(table(n)) }
    }

    let dir = cacheness_tests::scratch();
    let cache = Cache::open(dir.path().join("cache")).unwrap();
    assert!(load(&cache, 0).is_err());
    assert_eq!([load(&cache, 3), load(&cache, 3)], [Ok(table(3)), Ok(table(3))]);
    assert_eq!((CSV.calls(), used(&cache)), ((1, 1), vec!["csv".to_owned()]));
    cache.close().unwrap();

    let cache = Cache::open(dir.path().join("cache")).unwrap();
    assert_eq!(load(&cache, 3), Ok(table(3)));
    assert_eq!(CSV.calls(), (1, 2), "also in the next run");
    assert_eq!(refresh(|| load(&cache, 3)), Ok(table(3)));
    assert_eq!(bypass(|| load(&cache, 3)), Ok(table(3)));
    assert_eq!(CSV.calls(), (2, 2));
    let info = function(load).info().unwrap();
    assert_eq!((info.hits, info.misses), (2, 3));
}

#[test]
fn a_handler_may_be_a_part_of_self_and_its_function_generic() {
    struct Library<H> {
        cache: Cache,
        csv: H,
    }

    impl<H: Handler<Value = Table> + 'static> Library<H> {
        #[cached(cache = self.cache, key(n), handler = self.csv)]
        fn load(&self, n: u32) -> Option<Table> {
            (n > 0).then(|| table(n))
        }
    }

    let csv = Arc::new(Csv::default());
    let given = Library { cache: Cache::in_memory(), csv: csv.clone() };
    let shared = Library { cache: Cache::in_memory(), csv: csv.clone() as Arc<dyn Handler<Value = Table>> };
    for _ in 0..2 {
        assert_eq!((given.load(2), given.load(0), shared.load(3)), (Some(table(2)), None, Some(table(3))));
    }
    assert_eq!(csv.calls(), (2, 2));
}

#[tokio::test]
async fn futures_store_by_a_handler_too() {
    static CSV: Csv = Csv::new();

    #[cache_async(cache = cache, skip(cache), handler = &CSV)]
    async fn load(cache: &Cache, n: u32) -> Table {
        tokio::task::yield_now().await;
        table(n)
    }

    let dir = cacheness_tests::scratch();
    let config = CacheConfig::new(dir.path().join("cache")).with_inline_bytes(0);
    let cache = Cache::new(config).unwrap();
    for _ in 0..3 {
        assert_eq!(load(&cache, 50).await, table(50));
    }
    assert_eq!(CSV.calls(), (1, 2));

    fn is_send<T: Send>(value: T) -> T {
        value
    }
    #[cached(cache = &cache, skip(cache), handler = AsDouble)]
    async fn sent(cache: Cache, n: u32) -> Doubled {
        Doubled(n)
    }
    for _ in 0..2 {
        let call = is_send(async { sent(Cache::in_memory(), 4).await });
        assert_eq!(tokio::spawn(call).await.unwrap().0, 4);
    }
}

#[derive(Debug, PartialEq)]
struct Doubled(u32);

struct AsDouble;

impl Handler for AsDouble {
    type Value = Doubled;

    fn name(&self) -> &str {
        "as-double"
    }

    fn write(&self, value: &Doubled, to: &mut dyn Write) -> Result<(), HandlerError> {
        Ok(write!(to, "{}", value.0 * 2)?)
    }

    fn read(&self, from: &mut dyn Read) -> Result<Doubled, HandlerError> {
        Ok(Doubled(std::io::read_to_string(from)?.parse::<u32>()? / 2))
    }
}

#[test]
fn a_bound_call_looks_with_the_handler_of_its_function() {
    #[cached(cache = cache, skip(cache), handler = AsDouble, call = call)]
    fn load(cache: &Cache, n: u32) -> Doubled {
        Doubled(n)
    }

    #[cached(cache = cache, skip(cache), handler = AsDouble, call = later)]
    async fn load_later(cache: &Cache, n: u32) -> Doubled {
        Doubled(n)
    }

    let cache = Cache::in_memory();
    assert_eq!(call(&cache, 5).peek().unwrap(), None);
    assert_eq!(call(&cache, 5).get(), Doubled(5));
    assert_eq!(call(&cache, 5).peek().unwrap(), Some(Doubled(5)));
    assert_eq!(cache.get_by(&AsDouble, call(&cache, 5).key().unwrap()).unwrap(), Some(Doubled(5)));
    assert!(call(&cache, 5).invalidate().unwrap() && !call(&cache, 5).is_cached().unwrap());
    assert_eq!(later(&cache, 5).peek().unwrap(), None);
}

#[tokio::test]
async fn an_expired_value_of_a_handler_stands_in_for_a_failure() {
    #[cached(cache = cache, key(n), ttl = 10, handler = AsDouble, stale_on_error)]
    fn load(cache: &Cache, n: u32, works: bool) -> Result<Doubled, String> {
        if works { Ok(Doubled(n)) } else { Err("it does not".into()) }
    }

    #[cached(cache = cache, key(n), ttl = 10, handler = AsDouble, stale_on_error)]
    async fn load_later(cache: &Cache, n: u32, works: bool) -> Result<Doubled, String> {
        if works { Ok(Doubled(n)) } else { Err("it does not".into()) }
    }

    let clock = Arc::new(ManualClock::default());
    let cache = Cache::with_clock(clock.clone());
    load(&cache, 5, true).unwrap();
    load_later(&cache, 5, true).await.unwrap();
    clock.advance(Duration::from_secs(10));
    assert_eq!(load(&cache, 5, false), Ok(Doubled(5)));
    assert_eq!(load_later(&cache, 5, false).await, Ok(Doubled(5)));
    assert!(load(&cache, 6, false).is_err());
}

#[test]
fn a_handler_that_fails_is_not_in_the_way_unless_it_shall_be() {
    struct Fails;
    impl Handler for Fails {
        type Value = Doubled;
        fn name(&self) -> &str {
            "fails"
        }
        fn write(&self, _: &Doubled, _: &mut dyn Write) -> Result<(), HandlerError> {
            panic!("on purpose")
        }
        fn read(&self, _: &mut dyn Read) -> Result<Doubled, HandlerError> {
            Err("never written".into())
        }
    }

    #[cached(cache = cache, skip(cache), handler = Fails)]
    fn load(cache: &Cache, n: u32) -> Doubled {
        Doubled(n)
    }

    #[cached(cache = cache, skip(cache), handler = Fails, ignore_errors = false)]
    fn strict(cache: &Cache, n: u32) -> cacheness::Result<Doubled> {
        Ok(Doubled(n))
    }

    let cache = Cache::in_memory();
    assert_eq!([load(&cache, 1), load(&cache, 1)], [Doubled(1), Doubled(1)]);
    let error = strict(&cache, 1).unwrap_err();
    assert!(error.is_handler() && error.to_string().contains("on purpose"), "{error}");
    assert_eq!(cache.len().unwrap(), 0);
}

#[test]
fn a_handler_of_the_process_serves_every_cache_and_attribute_until_it_is_taken_back() {
    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Celsius(f32);

    struct AsText;
    impl Handler for AsText {
        type Value = Celsius;
        fn name(&self) -> &str {
            "celsius-as-text"
        }
        fn write(&self, value: &Celsius, to: &mut dyn Write) -> Result<(), HandlerError> {
            Ok(write!(to, "{}", value.0)?)
        }
        fn read(&self, from: &mut dyn Read) -> Result<Celsius, HandlerError> {
            Ok(Celsius(std::io::read_to_string(from)?.parse()?))
        }
    }

    #[cached(cache = cache, skip(cache), memory = false)]
    fn measure(cache: &Cache, room: &str) -> Celsius {
        Celsius(room.len() as f32)
    }

    register_handler(AsText, 7).unwrap();
    assert!(register_handler(AsText, 8).unwrap_err().is_conflict());
    let info = list_handlers().into_iter().find(|info| &*info.name == "celsius-as-text").unwrap();
    assert_eq!((info.priority, info.builtin), (7, false));
    assert!(info.value_type.unwrap().ends_with("Celsius"));
    assert!(list_handlers().iter().any(|info| info.builtin && &*info.name == "bincode"));

    let caches = [Cache::in_memory(), Cache::in_memory()];
    for cache in &caches {
        assert_eq!(measure(cache, "attic"), Celsius(5.0));
        assert_eq!(used(cache), ["celsius-as-text"]);
        assert_eq!(measure(cache, "attic"), Celsius(5.0));
    }
    assert!(unregister_handler("celsius-as-text").unwrap());
    for cache in &caches {
        let entry = cache.list_entries().next().unwrap().unwrap();
        assert_eq!(cache.get_stored::<Celsius>(&entry).unwrap(), None);
        assert!(cache.get_metadata(&entry, Expired::Skip).unwrap().is_some(), "it stays");
        assert_eq!(measure(cache, "attic"), Celsius(5.0));
        assert_eq!(used(cache), ["bincode"], "until the function has run again");
    }
}
