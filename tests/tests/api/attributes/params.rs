//! The arguments that entries record.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::LazyLock;

use async_trait::async_trait;
use cacheness::{Cache, CacheConfig, Entry, Field, Value, cached, function, refresh};
use serde::Serialize;

use super::{Runs, block_on};

fn params(entries: cacheness::Result<Vec<Entry>>) -> Vec<(String, Value)> {
    let entries = entries.unwrap();
    assert_eq!(entries.len(), 1);
    entries[0].cache_key_params().to_vec()
}

fn named<const N: usize>(params: [(&str, Value); N]) -> Vec<(String, Value)> {
    params.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

#[test]
fn entries_of_attributes_are_deleted_by_their_arguments() {
    static CACHE: LazyLock<Cache> = LazyLock::new(Cache::in_memory);
    static RUNS: Runs = Runs::new();

    #[cached(cache = CACHE)]
    fn weather(city: &str, days: u32) -> u32 {
        RUNS.count() + days
    }

    #[cached(cache = CACHE)]
    async fn forecast(city: String, days: u32) -> u32 {
        RUNS.count() + days
    }

    let all = |city: &str| [weather(city, 10), weather(city, 20), block_on(forecast(city.to_owned(), 10))];
    assert_eq!([all("London"), all("Rome")], [[11, 22, 13], [14, 25, 16]]);
    assert_eq!(CACHE.delete_matching(&Field::param("city").eq("London")).unwrap(), 3);
    assert_eq!(all("Rome"), [14, 25, 16]);
    assert_eq!(all("London"), [17, 28, 19]);
    let short = Field::param("days").lt(20) & Field::param("city").eq("Rome");
    assert_eq!(CACHE.delete_matching(&short).unwrap(), 2);
}

#[derive(Debug, Serialize)]
enum Unit {
    Celsius,
}

#[derive(Serialize)]
struct WithoutDebug(u32);

#[test]
fn scalars_are_values_paths_are_their_text_and_others_are_shown_by_debug() {
    super::in_memory_by_default();
    #[cached]
    #[allow(clippy::too_many_arguments, reason = "one of each")]
    fn one_of_each(
        flag: bool,
        int: i64,
        some: Option<u8>,
        none: Option<&str>,
        id: NonZeroU32,
        path: &Path,
        unit: Unit,
        list: &[u8],
        dark: WithoutDebug,
        generic: impl Serialize,
        long: &str,
    ) -> u32 {
        1
    }

    let (file, long) = (Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")), "x".repeat(1_000));
    let id = NonZeroU32::new(7).unwrap();
    one_of_each(true, -1, Some(2), None, id, file, Unit::Celsius, &[1, 2], WithoutDebug(3), 4.5, &long);
    let expected = named([
        ("flag", true.into()),
        ("int", (-1).into()),
        ("some", 2.into()),
        ("none", Value::Null),
        ("id", 7.into()),
        ("path", file.to_str().unwrap().into()),
        ("unit", "Celsius".into()),
        ("list", "[1, 2]".into()),
        ("generic", 4.5.into()),
        ("long", long.as_str().into()),
    ]);
    let entries = cacheness::default_cache().unwrap().list_entries().matching(Field::param("int").eq(-1)).collect();
    assert_eq!(params(entries), expected);
}

struct Service {
    tenant: u32,
    cache: Cache,
}

struct User {
    id: u32,
    #[allow(dead_code, reason = "a secret, which must not be recorded")]
    token: String,
}

#[async_trait]
trait Ask {
    async fn ask(&self, question: &str, token: &str) -> u32;
}

#[async_trait]
impl Ask for Service {
    #[cached(skip(self, token), cache = self.cache)]
    async fn ask(&self, question: &str, token: &str) -> u32 {
        u32::from(!token.is_empty())
    }
}

impl Service {
    #[cached(skip(self, token), cache = self.cache)]
    fn by_arguments(&self, (lat, lon): (f64, f64), r#type: &str, token: &str) -> u32 {
        u32::from(!token.is_empty())
    }

    #[cached(key(self.tenant, user.id, name.to_lowercase()), cache = self.cache, call = keyed_call)]
    fn keyed(&self, user: &User, name: &str, token: &str) -> u32 {
        u32::from(!token.is_empty())
    }
}

#[test]
fn methods_patterns_and_keys_record_what_counts_and_nothing_that_is_skipped() {
    let service = Service { tenant: 3, cache: Cache::in_memory() };
    assert_eq!(service.by_arguments((1.5, 2.5), "t", "secret"), 1);
    let expected = named([("lat", 1.5.into()), ("lon", 2.5.into()), ("type", "t".into())]);
    assert_eq!(params(function(Service::by_arguments).entries()), expected);

    let user = User { id: 9, token: "secret".to_owned() };
    assert_eq!(service.keyed_call(&user, "Ann", "secret").get(), 1);
    let expected = named([("name", "Ann".into()), ("self.tenant", 3.into()), ("user.id", 9.into())]);
    assert_eq!(params(function(Service::keyed).entries()), expected);
    assert_eq!(refresh(|| service.keyed(&user, "ANN", "other")), 1);
    assert_eq!(service.cache.delete_matching(&Field::param("user.id").eq(9)).unwrap(), 1);

    assert_eq!(block_on(service.ask("why", "secret")), 1);
    assert_eq!(service.cache.delete_matching(&Field::param("question").eq("why")).unwrap(), 1);
}

#[test]
fn a_cache_that_keeps_no_parameters_records_no_arguments() {
    static CACHE: LazyLock<Cache> = LazyLock::new(|| {
        let mut config = CacheConfig::in_memory();
        config.metadata.store_cache_key_params = false;
        Cache::new(config).unwrap()
    });

    #[cached(cache = CACHE)]
    fn quiet(secret: &str) -> u32 {
        1
    }

    assert_eq!(quiet("s"), 1);
    assert_eq!(params(function(quiet).entries()), []);
}

#[test]
fn a_debug_that_panics_is_not_recorded_and_does_not_reach_the_caller() {
    super::in_memory_by_default();
    #[derive(Serialize)]
    struct Loud(Vec<u8>);
    impl std::fmt::Debug for Loud {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("on purpose")
        }
    }

    #[cached]
    fn called(loud: Loud, n: u32) -> u32 {
        n
    }

    assert_eq!(called(Loud(vec![1]), 5), 5);
    assert_eq!(params(function(called).entries()), named([("n", 5.into())]));
}

#[test]
fn recorded_arguments_are_of_the_call_that_stored_the_entry_and_a_hit_records_nothing() {
    super::in_memory_by_default();
    static SHOWN: Runs = Runs::new();
    #[derive(Serialize, Clone)]
    struct Watched(Vec<u8>);
    impl std::fmt::Debug for Watched {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            SHOWN.count();
            f.write_str("watched")
        }
    }

    #[cached]
    fn watch(of: Watched) -> usize {
        of.0.len()
    }

    let value = Watched(vec![1, 2]);
    (0..5).for_each(|_| assert_eq!(watch(value.clone()), 2));
    assert_eq!(SHOWN.so_far(), 1);
    assert_eq!(params(function(watch).entries()), named([("of", "watched".into())]));
}
