//! Servers that stop answering in the middle of work, and come back.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cacheness::{Cache, CacheConfig, cached};
use cacheness_tests::proxy::{Network, Proxy};
use cacheness_tests::{scratch, servers};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_millis(250);
/// What a call may take beyond the deadlines of its questions, on a machine that is busy with other tests.
const GRACE: Duration = Duration::from_secs(2);
const KEYS: u64 = 40;

static BODIES: AtomicU64 = AtomicU64::new(0);

fn squares(cache: &Cache, n: u64) -> Vec<u64> {
    #[cached(cache = cache, skip(cache))]
    fn squares(cache: &Cache, n: u64) -> Vec<u64> {
        BODIES.fetch_add(1, Ordering::Relaxed);
        (0..n).map(|n| n * n).collect()
    }
    squares(cache, n)
}

/// Works beside an outage, which `outage` brings about and ends; says what the longest call took.
fn work_through(cache: &Cache, outage: impl FnOnce()) -> Duration {
    /// Lets the workers end, also after a panic.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let ends = Ends(&ended);
        let workers = [1, 2, 3].map(|worker| {
            let ended = &ended;
            scope.spawn(move || {
                let mut longest = Duration::ZERO;
                for n in (0..).map(|n| (n * worker) % KEYS) {
                    if ended.load(Ordering::Relaxed) {
                        return longest;
                    }
                    let begun = Instant::now();
                    assert_eq!(squares(cache, n), (0..n).map(|n| n * n).collect::<Vec<_>>());
                    let value = cache.get::<u64>(n).unwrap();
                    assert!(value.is_none_or(|value| value == n), "{value:?} for {n}");
                    assert!(cache.put(n, &n).map_or_else(|error| error.is_unavailable(), |_| true));
                    longest = longest.max(begun.elapsed());
                }
                longest
            })
        });
        outage();
        drop(ends);
        workers.map(|worker| worker.join().unwrap()).into_iter().max().unwrap()
    })
}

/// Waits until calls are hits again; says how long that took.
fn until_it_hits(cache: &Cache) -> Duration {
    let begun = Instant::now();
    loop {
        let before = BODIES.load(Ordering::Relaxed);
        squares(cache, 7);
        if BODIES.load(Ordering::Relaxed) == before {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no hit");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn while_a_server_does_not_answer_every_call_does_and_hits_come_back_with_it() {
    let Ok(server) = servers::Redis::start(&[]).map_err(|why| servers::skip(&why)) else { return };
    let dir = scratch();
    let config = CacheConfig::new(dir.path()).with_backend("redis").with_connection_url(server.url());
    let cache = Cache::new(config.with_memory_cache(false)).unwrap();
    (0..KEYS).for_each(|n| drop(squares(&cache, n)));
    cache.put("kept", &1u64).unwrap();

    let longest = work_through(&cache, || {
        thread::sleep(Duration::from_millis(500));
        // Commands are taken, and answered when it is over.
        server.tell("CLIENT PAUSE 4000 ALL").unwrap();
        thread::sleep(Duration::from_millis(1000));
        let error = cache.invalidate("kept").unwrap_err();
        assert!(error.is_unavailable() && error.to_string().contains("redis"), "{error}");
        thread::sleep(Duration::from_millis(3000));
    });
    // A call asks for its key, stores its result, gets and puts: each by one question.
    assert!(longest < 4 * DEADLINE + GRACE, "{longest:?}");
    println!("longest call {longest:?}, a hit again after {:?}", until_it_hits(&cache));
    assert_eq!(cache.get::<u64>("kept").unwrap(), Some(1), "what could not be invalidated is there");
    let stats = cache.get_stats().unwrap();
    assert!(stats.outages > 0 && stats.errors == 0, "{stats:?}");
}

/// A cache whose PostgreSQL server is behind a network.
struct Far {
    cache: Cache,
    proxy: Proxy,
    server: servers::Postgres,
    _dir: TempDir,
}

impl Far {
    /// `None` where there is no such server, which is told.
    fn with(settings: &[&str]) -> Option<Self> {
        let server = servers::Postgres::start_with(settings, None).map_err(|why| servers::skip(&why)).ok()?;
        let (proxy, dir) = (Proxy::before(server.port()), scratch());
        let url = format!("postgresql://cacheness@127.0.0.1:{}/postgres", proxy.port);
        let config = CacheConfig::new(dir.path()).with_backend("postgresql").with_connection_url(url);
        let cache = Cache::new(config.with_memory_cache(false)).unwrap();
        (0..KEYS).for_each(|n| drop(squares(&cache, n)));
        cache.put("kept", &1u64).unwrap();
        assert_eq!(cache.get::<u64>("kept").unwrap(), Some(1));
        Some(Self { cache, proxy, server, _dir: dir })
    }

    /// Works while the network is what `fails` makes of it, for so long.
    fn works_through(&self, fails: impl Fn(&Self), length: Duration) {
        let longest = work_through(&self.cache, || {
            thread::sleep(Duration::from_millis(300));
            fails(self);
            thread::sleep(length / 2);
            let error = self.cache.invalidate("kept").unwrap_err();
            assert!(error.is_unavailable() && error.to_string().to_lowercase().contains("postgresql"), "{error}");
            thread::sleep(length / 2);
            self.proxy.becomes(Network::Works);
            thread::sleep(Duration::from_millis(300));
        });
        assert!(longest < 4 * DEADLINE + GRACE, "{longest:?}");
        println!("longest call {longest:?}, a hit again after {:?}", until_it_hits(&self.cache));
        assert_eq!(self.cache.get::<u64>("kept").unwrap(), Some(1), "what could not be invalidated is there");
        let stats = self.cache.get_stats().unwrap();
        assert!(stats.outages > 0 && stats.errors == 0, "{stats:?}");
    }
}

const LONG: Duration = Duration::from_secs(2);

#[test]
fn packets_that_are_swallowed_in_the_middle_of_a_connection_are_an_outage() {
    let Some(far) = Far::with(&[]) else { return };
    far.works_through(|far| far.proxy.becomes(Network::BlackHole), LONG);
}

#[test]
fn answers_that_come_too_late_are_an_outage() {
    let Some(far) = Far::with(&[]) else { return };
    far.works_through(|far| far.proxy.becomes(Network::Slow(Duration::from_millis(500))), LONG);
}

#[test]
fn answers_that_are_cut_in_the_middle_are_an_outage() {
    let Some(far) = Far::with(&[]) else { return };
    // In an answer to a connection that is there, and in the greeting of a new one.
    far.works_through(|far| far.proxy.becomes(Network::Cut(100)), LONG);
}

#[test]
fn connections_that_are_cut_again_and_again_give_no_wrong_value() {
    let Some(far) = Far::with(&[]) else { return };
    // Enough for the greeting and some rows.
    for bytes in [600, 1000, 2000, 5000] {
        far.proxy.becomes(Network::Cut(bytes));
        let longest = work_through(&far.cache, || thread::sleep(Duration::from_millis(700)));
        assert!(longest < 4 * DEADLINE + GRACE, "{longest:?}");
    }
    far.proxy.becomes(Network::Works);
    until_it_hits(&far.cache);
    assert_eq!(far.cache.get_stats().unwrap().errors, 0);
}

/// Takes connections of a server until it has no more for anybody.
fn take_all_connections(port: u16) -> Vec<TcpStream> {
    let mut taken = Vec::new();
    loop {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let words = b"\0\x03\0\0user\0cacheness\0database\0postgres\0\0";
        let len = u32::try_from(words.len() + 4).unwrap();
        connection.write_all(&[&len.to_be_bytes()[..], words].concat()).unwrap();
        let mut first = [0];
        connection.read_exact(&mut first).unwrap();
        match first[0] {
            b'R' => taken.push(connection),
            _ => return taken,
        }
    }
}

#[test]
fn a_server_with_too_many_clients_is_an_outage() {
    let Some(far) = Far::with(&["max_connections = 6", "superuser_reserved_connections = 0"]) else { return };
    let taken = std::cell::RefCell::new(Vec::new());
    let longest = work_through(&far.cache, || {
        far.proxy.becomes(Network::Refuses);
        far.proxy.cut();
        *taken.borrow_mut() = take_all_connections(far.server.port());
        far.proxy.becomes(Network::Works);
        thread::sleep(LONG);
        let error = (0..).find_map(|_| far.cache.invalidate("kept").err()).unwrap();
        assert!(error.is_unavailable(), "{error}");
        assert!(taken.borrow().len() >= 4, "{}", taken.borrow().len());
        taken.borrow_mut().clear();
    });
    assert!(longest < 4 * DEADLINE + GRACE, "{longest:?}");
    println!("longest call {longest:?}, a hit again after {:?}", until_it_hits(&far.cache));
    let stats = far.cache.get_stats().unwrap();
    assert!(stats.outages > 0 && stats.errors == 0, "{stats:?}");
}

#[test]
fn an_empty_server_in_the_place_of_another_one_is_an_empty_cache() {
    let Some(far) = Far::with(&[]) else { return };
    let Ok(empty) = servers::Postgres::start().map_err(|why| servers::skip(&why)) else { return };
    let longest = work_through(&far.cache, || {
        far.proxy.leads_to(empty.port());
        thread::sleep(LONG);
    });
    assert!(longest < 4 * DEADLINE + GRACE, "{longest:?}");
    println!("longest call {longest:?}, a hit again after {:?}", until_it_hits(&far.cache));
    assert_eq!(far.cache.get::<u64>("kept").unwrap(), None);
    far.cache.put("new", &2u64).unwrap();
    assert_eq!(far.cache.get::<u64>("new").unwrap(), Some(2));

    // Whose its rows are is known there, too.
    let other = scratch();
    let url = format!("postgresql://cacheness@127.0.0.1:{}/postgres", empty.port());
    let config = CacheConfig::new(other.path()).with_backend("postgresql").with_connection_url(url);
    assert!(Cache::new(config).unwrap_err().is_conflict());

    far.proxy.leads_to(far.server.port());
    println!("and again after {:?}", until_it_hits(&far.cache));
    assert_eq!(far.cache.get::<u64>("kept").unwrap(), Some(1));
    let stats = far.cache.get_stats().unwrap();
    assert!(stats.outages > 0 && stats.errors == 0, "{stats:?}");
}
