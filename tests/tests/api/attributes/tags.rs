//! Groups that a result belongs to.

use std::fmt::Display;
use std::sync::LazyLock;

use async_trait::async_trait;
use cacheness::{Cache, Entry, Value, cached, function};

use super::{Runs, block_on};

/// The tags of the only entry.
fn tags(entries: cacheness::Result<Vec<Entry>>) -> Vec<String> {
    let entries = entries.unwrap();
    assert_eq!(entries.len(), 1);
    entries[0].tags().to_vec()
}

#[test]
fn a_literal_names_arguments_and_an_expression_is_evaluated() {
    super::in_memory_by_default();
    const COUNTRY: &str = "UK";

    #[cached(tags("user:{user_id}", "static", COUNTRY, user_id, format!("{}/{}", city.len(), city), "{{{city:?}}}",))]
    fn weather(user_id: u64, city: String) -> String {
        city
    }

    assert_eq!(weather(7, "London".to_owned()), "London");
    assert_eq!(tags(function(weather).entries()), ["user:7", "static", "UK", "7", "6/London", "{\"London\"}"]);
}

#[test]
fn tags_are_told_on_a_miss_alone_and_before_the_body_moves_the_arguments() {
    super::in_memory_by_default();
    static TOLD: Runs = Runs::new();

    #[cached(tags("names:{names:?}", TOLD.count()))]
    fn count(names: Vec<String>) -> usize {
        names.into_iter().map(drop).count()
    }

    let names = || vec!["a".to_owned(), "b".to_owned()];
    assert_eq!([count(names()), count(names())], [2, 2]);
    assert_eq!(TOLD.so_far(), 1);
    assert_eq!(tags(function(count).entries()), [r#"names:["a", "b"]"#, "1"]);
}

#[test]
fn tags_of_async_functions_are_told_where_the_future_runs() {
    super::in_memory_by_default();
    #[cached(tags("user:{user_id}", "{city}"))]
    async fn weather(user_id: u64, city: String) -> String {
        tokio::task::yield_now().await;
        city
    }

    fn send<T: Send>(value: T) -> T {
        value
    }

    assert_eq!(block_on(send(weather(7, "Rome".to_owned()))), "Rome");
    assert_eq!(tags(function(weather).entries()), ["user:7", "Rome"]);
}

struct Repo {
    tenant: u32,
    cache: Cache,
}

#[async_trait]
trait Load {
    async fn load(&self, id: u32) -> u32;
}

#[async_trait]
impl Load for Repo {
    #[cached(skip(self), cache = self.cache, tags("load:{id}", self.tenant))]
    async fn load(&self, id: u32) -> u32 {
        id
    }
}

impl Repo {
    #[cached(skip(self), cache = self.cache, tags(format!("tenant:{}", self.tenant), "row:{id}"))]
    fn row(&self, id: u32) -> u32 {
        id
    }

    #[cached(skip(self), cache = self.cache, tags(self.tenant, "{id}"))]
    async fn row_later(&self, id: u32) -> u32 {
        id
    }
}

#[test]
fn methods_tell_tags_of_themselves() {
    let repo = Repo { tenant: 3, cache: Cache::in_memory() };
    assert_eq!((repo.row(1), block_on(repo.row_later(2)), block_on(repo.load(4))), (1, 2, 4));
    assert_eq!(tags(function(Repo::row).entries()), ["tenant:3", "row:1"]);
    assert_eq!(tags(function(Repo::row_later).entries()), ["3", "2"]);
    let name = std::any::type_name_of_val(&<Repo as Load>::load);
    assert_eq!(tags(repo.cache.function_entries(name)), ["load:4", "3"]);
}

static BOUND: LazyLock<Cache> = LazyLock::new(Cache::in_memory);

#[cached(call = nth_call, cache = BOUND, tags("nth:{a}", "{a:>3}"), metadata(b = b))]
fn nth<T: Display + cacheness::CacheKey>((a, b): (T, u32), r#type: &str) -> String {
    format!("{a} {} {}", b, r#type)
}

#[test]
fn patterns_generics_and_bound_calls_have_tags() {
    assert_eq!(nth_call((5u8, 6), "x").get(), "5 6 x");
    let entries = BOUND.function_entries(function(nth::<u8>).name()).unwrap();
    assert_eq!(entries[0].metadata().get("b"), Some(&Value::from(6)));
    assert_eq!(tags(Ok(entries)), ["nth:5", "  5"]);
    assert_eq!(nth_call((5u8, 6), "x").refresh(), "5 6 x");
    assert_eq!(tags(function(nth::<u8>).entries()), ["nth:5", "  5"]);
}

macro_rules! tagged {
    ($name:ident, $literal:literal, $expr:expr) => {
        #[cached(tags($literal, $expr))]
        fn $name(id: u32) -> u32 {
            id
        }
    };
}

tagged!(through_a_macro, "literal", 1 + 1);

#[test]
fn tags_come_through_macros_and_one_told_twice_is_one() {
    super::in_memory_by_default();
    #[cached(tags("a", "b", "a", "{a}"))]
    fn doubled(a: &str) -> u32 {
        1
    }

    assert_eq!((doubled("b"), through_a_macro(1)), (1, 1));
    assert_eq!(tags(function(doubled).entries()), ["a", "b"]);
    assert_eq!(tags(function(through_a_macro).entries()), ["literal", "2"]);
}

#[test]
fn a_display_that_fails_makes_a_tag_of_what_it_wrote_and_no_panic() {
    super::in_memory_by_default();
    struct Fails;
    impl Display for Fails {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("half")?;
            Err(std::fmt::Error)
        }
    }

    #[cached(tags(Fails, "{n}"))]
    fn tagged(n: u32) -> u32 {
        n
    }

    assert_eq!(tagged(1), 1);
    assert_eq!(tags(function(tagged).entries()), ["half", "1"]);
}

#[test]
fn a_tag_invalidates_the_results_that_have_it_and_no_others() {
    static CACHE: LazyLock<Cache> = LazyLock::new(Cache::in_memory);
    static RUNS: Runs = Runs::new();

    #[cached(cache = CACHE, tags("user:{user}"))]
    fn cart(user: u32) -> u32 {
        RUNS.count() + user
    }

    #[cached(cache = CACHE, tags("user:{user}", "mail"))]
    async fn mail(user: u32) -> u32 {
        RUNS.count() + user
    }

    let both = |user| [cart(user), block_on(mail(user))];
    assert_eq!([both(7), both(70)], [[8, 9], [73, 74]]);
    assert_eq!(CACHE.invalidate_tag("user:7").unwrap(), 2);
    assert_eq!(both(70), [73, 74], "user:70 is another group");
    assert_eq!(both(7), [12, 13]);
    assert_eq!(CACHE.invalidate_tag("mail").unwrap(), 2);
}
