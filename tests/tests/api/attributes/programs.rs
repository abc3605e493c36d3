//! Functions as people write them.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use cacheness::{Cache, CacheKey, cached, function};
use serde::{Deserialize, Serialize};

use super::{Runs, block_on};

struct Service {
    name: String,
    cache: Cache,
}

static ASKED: Runs = Runs::new();

impl Service {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), cache: Cache::in_memory() }
    }

    #[cached(skip(self), cache = self.cache)]
    fn by_arc(self: Arc<Self>, n: u32) -> u32 {
        let moved = self;
        ASKED.count() * n + moved.name.len() as u32
    }

    #[cached(skip(self), cache = self.cache)]
    async fn by_arc_later(self: Arc<Self>, n: u32) -> u32 {
        let moved = self;
        tokio::task::yield_now().await;
        ASKED.count() * n + moved.name.len() as u32
    }

    #[cached(skip(self), cache = self.cache)]
    fn by_rc(self: Rc<Self>, n: u32) -> u32 {
        let moved = self;
        ASKED.count() * n + moved.name.len() as u32
    }

    #[cached(skip(self), cache = self.cache)]
    fn by_box(self: Box<Self>, n: u32) -> u32 {
        let Self { name, .. } = *self;
        ASKED.count() * n + name.len() as u32
    }

    #[cached(skip(self), cache = self.cache)]
    fn by_value(self, n: u32) -> u32 {
        let Self { name, .. } = self;
        ASKED.count() * n + name.len() as u32
    }

    #[cached(skip(self), cache = self.cache)]
    fn by_mutable(&mut self, n: u32) -> u32 {
        self.name.push('!');
        ASKED.count() * n
    }

    #[cached(skip(self), cache = self.cache)]
    fn by_pin_mutable(mut self: Pin<&mut Self>, n: u32) -> u32 {
        self.name.push('!');
        ASKED.count() * n
    }

    #[cached(skip(self), cache = self.cache)]
    async fn by_pin(self: Pin<&Self>, n: u32) -> u32 {
        ASKED.count() * n + self.name.len() as u32
    }
}

#[test]
fn every_receiver_lends_its_cache() {
    let service = Arc::new(Service::new("a"));
    let asked = ASKED.so_far();
    assert_eq!(service.clone().by_arc(10), service.clone().by_arc(10));
    assert_eq!(block_on(service.clone().by_arc_later(10)), block_on(service.clone().by_arc_later(10)));
    assert_eq!(block_on(Pin::new(&*service).by_pin(10)), block_on(Pin::new(&*service).by_pin(10)));
    assert_eq!(ASKED.so_far(), asked + 3);
    assert_eq!(service.cache.list_entries().count(), 3);

    let again = || Service { name: "b".to_owned(), cache: service.cache.clone() };
    assert_eq!(Rc::new(again()).by_rc(1), Rc::new(again()).by_rc(1));
    assert_eq!(Box::new(again()).by_box(1), Box::new(again()).by_box(1));
    assert_eq!(again().by_value(1), again().by_value(1));
    assert_eq!(again().by_mutable(1), again().by_mutable(1));
    let (mut one, mut other) = (again(), again());
    assert_eq!(Pin::new(&mut one).by_pin_mutable(1), Pin::new(&mut other).by_pin_mutable(1));
    assert_eq!([one.name, other.name], ["b!", "b"], "a hit changes nothing");
    assert_eq!(ASKED.so_far(), asked + 8);
}

struct State<T>(T);
struct Query {
    city: String,
    days: u32,
}

#[cached(skip(pool), cache = pool.cache)]
fn handler(State(pool): State<Arc<Service>>, days: u32) -> u32 {
    ASKED.count() + days + pool.name.len() as u32
}

#[cached(skip(secret, salt), key(city, days))]
async fn patterns(
    Query { city, days }: Query,
    &(ref secret, salt): &(String, u32),
    [_first, .., _last]: [u8; 3],
    _: bool,
) -> usize {
    ASKED.count();
    city.len() + days as usize + secret.len() + salt as usize
}

#[test]
fn a_binding_inside_a_pattern_is_skipped_and_keyed_like_an_argument() {
    super::in_memory_by_default();
    let pool = Arc::new(Service::new("p"));
    let asked = ASKED.so_far();
    assert_eq!(handler(State(pool.clone()), 1), handler(State(pool.clone()), 1));
    assert_eq!(ASKED.so_far(), asked + 1);
    assert_eq!(pool.cache.list_entries().next().unwrap().unwrap().cache_key_params(), [("days".to_owned(), 1.into())]);

    let query = |city: &str| Query { city: city.to_owned(), days: 2 };
    let ask = |city, secret: &str| block_on(patterns(query(city), &(secret.to_owned(), 1), [1, 2, 3], true));
    assert_eq!([ask("Rome", "x"), ask("Rome", "yy"), ask("Oslo!", "yy")], [8, 8, 10]);
    assert_eq!(function(patterns).info().unwrap().entries, 2);
}

#[test]
fn a_text_that_captures_arguments_is_a_key() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached(key = "{id:>4}", version = 2u8)]
    fn written(id: u32, _token: &str) -> u32 {
        RUNS.count() + id
    }

    #[cached(key("user", id, r"{name}"))]
    async fn parts(id: u32, name: String) -> u32 {
        RUNS.count() + id
    }

    assert_eq!([written(1, "a"), written(1, "b"), written(2, "a")], [2, 2, 4]);
    let ask = |id, name: &str| block_on(parts(id, name.to_owned()));
    assert_eq!([ask(1, "a"), ask(1, "a"), ask(1, "b"), ask(2, "a")], [4, 4, 5, 7]);
}

/// A page of a list.
///
/// Documented, bounded, with lifetimes, defaults and everything.
#[inline]
#[must_use]
#[cached(ttl = 1h, prefix = "pages", skip(log))]
#[allow(clippy::needless_lifetimes, reason = "as people write them")]
fn page<'a, 'b: 'a, T, const N: usize>(
    mut items: Vec<T>,
    #[cfg(not(any()))] extra: Option<T>,
    #[cfg(any())] absent: NoSuchType,
    name: &'a str,
    note: Option<&'b String>,
    filter: &[u8; N],
    size: impl Into<usize> + Copy + Serialize,
    log: &mut Vec<String>,
) -> Result<Vec<T>, std::num::ParseIntError>
where
    T: Clone + Serialize + for<'de> Deserialize<'de> + 'static,
{
    log.push(format!("{name}{}{}", note.map_or("", |note| note), filter.len()));
    items.extend(extra);
    let size: usize = size.into() + "0".parse::<usize>()?;
    items.truncate(size);
    Ok(items)
}

#[test]
fn a_function_with_everything_in_its_signature() {
    super::in_memory_by_default();
    let mut log = Vec::new();
    let mut ask = |size: u8, note: Option<&String>| page(vec![1u8, 2], Some(3), "n", note, &[0; 2], size, &mut log);
    let note = "x".to_owned();
    assert_eq!([ask(2, None), ask(2, None), ask(3, None)], [Ok(vec![1, 2]), Ok(vec![1, 2]), Ok(vec![1, 2, 3])]);
    assert_eq!(ask(2, Some(&note)), Ok(vec![1, 2]));
    assert_eq!(log, ["n2", "n2", "nx2"]);
}

trait Repository {
    type Row: Serialize + for<'de> Deserialize<'de> + 'static;
    const TTL: std::time::Duration;

    fn load(&self, id: u32) -> Self::Row;
}

struct Rows;

impl Repository for Rows {
    type Row = (u32, String);
    const TTL: std::time::Duration = std::time::Duration::from_secs(5);

    #[cached(skip(self), ttl = Self::TTL)]
    fn load(&self, id: u32) -> Self::Row {
        (ASKED.count(), format!("row {id}"))
    }
}

#[cached(skip(repository), ttl = R::TTL)]
fn through<R: Repository<Row = (u32, String)> + 'static>(repository: &R, id: u32) -> (u32, String) {
    repository.load(id)
}

#[test]
fn associated_types_and_constants_of_traits_in_attributes() {
    super::in_memory_by_default();
    assert_eq!(through(&Rows, 1), through(&Rows, 1));
    assert_eq!(Rows.load(1), through(&Rows, 1));
    assert_ne!(Rows.load(2).0, Rows.load(1).0);
}

#[test]
fn a_generic_argument_with_the_bound_that_the_error_names() {
    super::in_memory_by_default();
    #[cached]
    fn sized<T: Copy + cacheness::function::KeyArgument>(value: T) -> usize {
        ASKED.count() as usize + size_of::<T>()
    }

    #[derive(CacheKey, Clone, Copy)]
    struct Mine(u8);

    let first = sized(Mine(1));
    assert_eq!(sized(Mine(1)), first);
    assert_ne!(sized(Mine(2)), first);
}
