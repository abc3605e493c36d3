//! How long results live, by what is written and by what they say themselves.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cacheness::clock::ManualClock;
use cacheness::{Cache, cache_if, cached, function};
use serde::{Deserialize, Serialize};

use super::{Runs, block_on};

fn seconds(of: cacheness::function::FunctionInfo) -> f64 {
    of.ttl.unwrap().as_secs_f64()
}

#[test]
fn a_ttl_with_a_suffix_lives_as_long_as_it_says() {
    super::in_memory_by_default();
    #[cached(ttl = 1h)]
    fn hour() -> u32 {
        1
    }
    #[cached(ttl = 500ms)]
    fn half() -> u32 {
        1
    }
    #[cached(ttl = 1h30m)]
    fn sum() -> u32 {
        1
    }
    #[cached(ttl = 1.5h)]
    fn fraction() -> u32 {
        1
    }
    #[cached(ttl_seconds = 60u64)]
    fn typed() -> u32 {
        1
    }
    #[cached(ttl = "1 day 2 hours")]
    fn words() -> u32 {
        1
    }
    #[cached(ttl = "10mins")]
    fn minutes() -> u32 {
        1
    }

    assert_eq!(hour() + half() + sum() + fraction() + typed() + words() + minutes(), 7);
    assert_eq!(seconds(function(hour).info().unwrap()), 3_600.0);
    assert_eq!(seconds(function(half).info().unwrap()), 0.5);
    assert_eq!(seconds(function(sum).info().unwrap()), 5_400.0);
    assert_eq!(seconds(function(fraction).info().unwrap()), 5_400.0);
    assert_eq!(seconds(function(typed).info().unwrap()), 60.0);
    assert_eq!(seconds(function(words).info().unwrap()), 93_600.0);
    assert_eq!(seconds(function(minutes).info().unwrap()), 600.0);
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Token {
    run: u32,
    expires_in: Duration,
}

impl Token {
    fn max_age(&self) -> Option<Duration> {
        (self.expires_in != NEVER_SAID).then_some(self.expires_in)
    }
}

const NEVER_SAID: Duration = Duration::from_secs(77);

static CLOCK: LazyLock<Arc<ManualClock>> = LazyLock::new(Arc::default);
static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::with_clock(CLOCK.clone()));
static RUNS: Runs = Runs::new();

fn token(seconds: u64) -> Token {
    Token { run: RUNS.count(), expires_in: Duration::from_secs(seconds) }
}

#[cached(cache = CACHE, ttl = |token: &Token| token.expires_in)]
fn typed(seconds: u64) -> Token {
    token(seconds)
}

#[cached(cache = CACHE, ttl = |token| token.expires_in)]
fn untyped(seconds: u64) -> Token {
    token(seconds)
}

#[cached(cache = CACHE, ttl = Token::max_age)]
fn by_path(seconds: u64) -> Token {
    token(seconds)
}

#[cached(cache = CACHE, ttl = |token| token.expires_in, stale_on_error)]
fn of_ok(seconds: u64) -> Result<Token, String> {
    Ok(token(seconds))
}

#[cached(cache = CACHE, ttl = |token| token.max_age(), tags("t"))]
fn of_some(seconds: u64) -> Option<Token> {
    Some(token(seconds))
}

#[cache_if(|token| token.run > 0, cache = CACHE, ttl = |token| token.expires_in)]
fn with_condition(seconds: u64) -> Token {
    token(seconds)
}

#[cached(cache = CACHE, ttl = |token| token.expires_in, memory = false)]
async fn later(seconds: u64) -> Token {
    tokio::task::yield_now().await;
    token(seconds)
}

#[cached(cache = CACHE, ttl = |token| token.expires_in, call = bound_call)]
async fn later_ok(seconds: u64) -> Result<Token, String> {
    Ok(token(seconds))
}

#[cached(cache = CACHE, ttl = |token: &Option<Token>| token.as_ref().map(|token| token.expires_in), cache_none)]
fn whole(seconds: u64) -> Option<Token> {
    Some(token(seconds))
}

#[test]
fn a_result_says_how_long_it_lives_and_no_time_is_not_stored() {
    let ways: [fn(u64) -> Token; 10] = [
        typed,
        untyped,
        by_path,
        |n| of_ok(n).unwrap(),
        |n| of_some(n).unwrap(),
        with_condition,
        |n| block_on(later(n)),
        |n| block_on(later_ok(n)).unwrap(),
        |n| block_on(bound_call(n).get()).unwrap(),
        |n| whole(n).unwrap(),
    ];
    for (at, way) in ways.into_iter().enumerate() {
        let first = way(10);
        CLOCK.advance(Duration::from_secs(9));
        assert_eq!(way(10), first, "way {at}");
        let longer = way(1_000);
        CLOCK.advance(Duration::from_secs(1));
        assert_ne!(way(10), first, "way {at}: its time is over");
        assert_eq!(way(1_000), longer, "way {at}: each result has a time of its own");
        assert_ne!(way(0), way(0), "way {at}: no time, not stored");
        CLOCK.advance(Duration::from_secs(2_000));
    }
}

#[test]
fn a_result_that_does_not_say_lives_as_long_as_the_cache_has_it() {
    let first = by_path(NEVER_SAID.as_secs());
    CLOCK.advance(Duration::from_secs(NEVER_SAID.as_secs() * 2));
    assert_eq!(by_path(NEVER_SAID.as_secs()), first);
}

#[test]
fn a_ttl_of_no_time_before_the_call_stores_nothing_and_none_is_the_default() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached(ttl = ttl)]
    fn given(ttl: Duration) -> u32 {
        RUNS.count()
    }

    #[cached(ttl = ttl)]
    async fn perhaps(ttl: Option<Duration>) -> u32 {
        RUNS.count()
    }

    assert_eq!([given(Duration::ZERO), given(Duration::ZERO)], [1, 2]);
    assert_eq!([given(Duration::MAX), given(Duration::MAX)], [3, 3]);
    assert_eq!([block_on(perhaps(None)), block_on(perhaps(None))], [4, 4]);
    assert_eq!([block_on(perhaps(Some(Duration::ZERO))), block_on(perhaps(Some(Duration::ZERO)))], [5, 6]);
    assert_eq!(function(given).entries().unwrap().len(), 1);
}

#[test]
fn an_expired_result_that_said_its_own_time_stands_in_for_a_failure() {
    static FAILS: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

    #[cached(cache = CACHE, ttl = |token| token.expires_in, stale_on_error)]
    fn login() -> Result<Token, String> {
        if FAILS.load(std::sync::atomic::Ordering::Relaxed) { Err("down".to_owned()) } else { Ok(token(5)) }
    }

    let first = login();
    assert!(first.is_ok());
    FAILS.store(true, std::sync::atomic::Ordering::Relaxed);
    CLOCK.advance(Duration::from_secs(6));
    assert_eq!(login(), first);
}
