//! Values in memory, as a user sees them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cacheness::cache::Expired;
use cacheness::clock::ManualClock;
use cacheness::config::MemoryPolicy;
use cacheness::query::EntryField;
use cacheness::{Cache, CacheConfig, Field, PutOptions, cached};
use serde::{Deserialize, Deserializer, Serialize};

const SECOND: Duration = Duration::from_secs(1);

fn on_disk() -> (tempfile::TempDir, Cache) {
    let dir = cacheness_tests::scratch();
    let cache = Cache::open(dir.path().join("cache")).unwrap();
    (dir, cache)
}

fn memory_hits(cache: &Cache) -> u64 {
    cache.get_stats().unwrap().memory.unwrap().hits
}

/// Counts how often it is read back: each test has a counter of its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Decoded<const TEST: usize>(u64);

static DECODED: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

impl<'de, const TEST: usize> Deserialize<'de> for Decoded<TEST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DECODED[TEST].fetch_add(1, Ordering::SeqCst);
        u64::deserialize(deserializer).map(Self)
    }
}

#[cached(cache = cache, skip(cache))]
fn shared_numbers(cache: &Cache, n: u64) -> Arc<Vec<u64>> {
    Arc::new((0..n).collect())
}

#[test]
fn an_arc_is_returned_as_one_more_handle_of_the_same_value() {
    let (_dir, cache) = on_disk();
    let (made, first) = (shared_numbers(&cache, 1000), shared_numbers(&cache, 1000));
    assert!(Arc::ptr_eq(&made, &first));
    let key = cache.put("other", &made).unwrap();
    let got: Vec<Arc<Vec<u64>>> = (0..2).map(|_| cache.get(&key).unwrap().unwrap()).collect();
    assert!(Arc::ptr_eq(&got[0], &got[1]) && *got[0] == *made);
}

#[test]
fn a_hit_in_memory_decodes_nothing_and_one_without_memory_each_time() {
    #[cached(cache = cache, skip(cache))]
    fn with(cache: &Cache, n: u64) -> Decoded<0> {
        Decoded(n)
    }

    #[cached(cache = cache, skip(cache), memory = false)]
    fn without(cache: &Cache, n: u64) -> Decoded<1> {
        Decoded(n)
    }

    let (_dir, cache) = on_disk();
    assert_eq!((with(&cache, 1), without(&cache, 1)), (Decoded(1), Decoded(1)));
    let before: Vec<_> = DECODED.iter().map(|count| count.load(Ordering::SeqCst)).collect();
    (0..5).for_each(|_| assert_eq!((with(&cache, 1), without(&cache, 1)), (Decoded(1), Decoded(1))));
    assert_eq!(DECODED[0].load(Ordering::SeqCst) - before[0], 0);
    assert_eq!(DECODED[1].load(Ordering::SeqCst) - before[1], 5);
    assert_eq!(memory_hits(&cache), 5);
}

#[test]
fn values_that_cannot_be_cloned_or_shared_are_cached_all_the_same() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Unique(u64);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Local(std::rc::Rc<u64>);

    static RUNS: AtomicUsize = AtomicUsize::new(0);

    #[cached(cache = cache, skip(cache))]
    fn unique(cache: &Cache, n: u64) -> Unique {
        RUNS.fetch_add(1, Ordering::SeqCst);
        Unique(n)
    }

    #[cached(cache = cache, skip(cache))]
    fn local(cache: &Cache, n: u64) -> Result<Local, String> {
        RUNS.fetch_add(1, Ordering::SeqCst);
        Ok(Local(n.into()))
    }

    let (_dir, cache) = on_disk();
    (0..3).for_each(|_| assert_eq!((unique(&cache, 7), local(&cache, 7)), (Unique(7), Ok(Local(7.into())))));
    assert_eq!((RUNS.load(Ordering::SeqCst), memory_hits(&cache)), (2, 0));
    let key = cache.put("unique", &Unique(8)).unwrap();
    assert_eq!(cache.get_stored::<Unique>(&key).unwrap(), Some(Unique(8)));
}

#[test]
fn whatever_changes_an_entry_changes_what_memory_says() {
    let clock = Arc::new(ManualClock::default());
    let dir = cacheness_tests::scratch();
    let cache = Cache::with_clock_in(CacheConfig::new(dir.path().join("cache")), clock.clone()).unwrap();
    let get = |key: &str| cache.get::<u8>(key).unwrap();
    let put = |value: u8, key: &str| {
        cache.put_with(key, &value, PutOptions::new().tag("t").ttl(10 * SECOND)).unwrap();
        assert_eq!((get(key), get(key)), (Some(value), Some(value)));
    };
    let hits = memory_hits(&cache);
    put(1, "key");
    assert_eq!(memory_hits(&cache), hits + 1, "or nothing of this test shows anything");
    put(2, "key");
    assert!(cache.update_data("key", &3_u8).unwrap());
    assert_eq!((get("key"), get("key")), (Some(3), Some(3)));
    clock.advance(9 * SECOND);
    assert!(cache.touch("key").unwrap());
    clock.advance(9 * SECOND);
    assert_eq!(get("key"), Some(3), "it was touched");
    assert!(cache.rename("key", "other").unwrap());
    assert_eq!((get("key"), get("other")), (None, Some(3)));
    clock.advance(SECOND);
    assert_eq!(get("other"), None, "it has expired");

    let name = cache.put("key", &4_u8).unwrap().to_string();
    let removals: [(&str, &dyn Fn() -> u64); 7] = [
        ("invalidate", &|| u64::from(cache.invalidate("key").unwrap())),
        ("invalidate_by_cache_key", &|| u64::from(cache.invalidate_by_cache_key(&name).unwrap())),
        ("invalidate_tag", &|| cache.invalidate_tag("t").unwrap()),
        ("clear", &|| cache.clear().unwrap()),
        ("delete_matching", &|| cache.delete_matching(&Field::from(EntryField::DataType).eq("u8")).unwrap()),
        ("delete_batch", &|| cache.delete_batch(["key"]).unwrap()),
        ("cleanup_expired", &|| {
            clock.advance(10 * SECOND);
            cache.cleanup_expired().unwrap()
        }),
    ];
    for (how, remove) in removals {
        put(5, "key");
        assert!(remove() >= 1, "{how}");
        assert_eq!(get("key"), None, "{how}");
    }
}

#[test]
fn what_is_evicted_from_the_disk_is_gone_from_memory_and_uses_in_memory_count() {
    let clock = Arc::new(ManualClock::default());
    let dir = cacheness_tests::scratch();
    let config = CacheConfig::new(dir.path().join("cache")).with_max_size_mb(1);
    let cache = Cache::with_clock_in(config, clock.clone()).unwrap();
    let put = |n: u64| {
        clock.advance(SECOND);
        cache.put(n, &cacheness_tests::value_of(70)).unwrap();
        assert!(cache.get::<Vec<u8>>(n).unwrap().is_some());
    };
    put(0);
    for n in 1..400 {
        put(n);
        clock.advance(SECOND);
        assert!(cache.get::<Vec<u8>>(0_u64).unwrap().is_some(), "used all the time, from memory: {n}");
    }
    let stats = cache.get_stats().unwrap();
    assert!(stats.evictions > 0 && stats.memory.unwrap().hits >= 399, "{stats:?}");
    for n in 0..400_u64 {
        assert_eq!(cache.get::<Vec<u8>>(n).unwrap().is_some(), cache.exists(n).unwrap(), "{n}");
    }
}

#[test]
fn when_an_entry_was_used_is_told_also_of_uses_in_memory() {
    let clock = Arc::new(ManualClock::default());
    let cache = Cache::with_clock(clock.clone());
    cache.put("key", &1_u8).unwrap();
    for _ in 0..3 {
        clock.advance(SECOND);
        assert_eq!(cache.get::<u8>("key").unwrap(), Some(1));
        let entry = cache.get_metadata("key", Expired::Skip).unwrap().unwrap();
        assert_eq!(entry.accessed_at(), cacheness::clock::Clock::now(&*clock));
    }
    assert_eq!(memory_hits(&cache), 2);
}

#[test]
fn a_reader_beside_writers_never_sees_an_older_value_than_before() {
    let (_dir, cache) = on_disk();
    cache.put("counter", &0_u64).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let (mut last, mut reads) = (0, 0_u64);
                    while !done.load(Ordering::SeqCst) {
                        // One way through memory, one past it.
                        let now = cache.get::<u64>("counter").unwrap().unwrap();
                        assert!(now >= last, "{now} after {last}");
                        last = cache.get_stored::<u64>("counter").unwrap().unwrap();
                        assert!(last >= now, "{last} in the store after {now} in memory");
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        (1..=3000_u64).for_each(|n| drop(cache.put("counter", &n).unwrap()));
        done.store(true, Ordering::SeqCst);
        assert!(readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u64>() > 0);
    });
    assert_eq!(cache.get::<u64>("counter").unwrap(), Some(3000));
}

#[test]
fn policies_by_name_keep_different_values() {
    let left = |policy| {
        let config = CacheConfig::in_memory().with_memory_cache_type(policy).with_memory_cache_maxsize(3);
        let cache = Cache::new(config).unwrap();
        let get = |n: u8| cache.get::<Arc<u8>>(n).unwrap().unwrap();
        (1..=4_u8).for_each(|n| drop(cache.put(n, &Arc::new(n)).unwrap()));
        let first: Vec<_> = [1, 2, 3, 2, 2, 1, 1, 3].map(get).into_iter().take(3).chain([get(4)]).collect();
        let is_there = |n: &u8| {
            let hits = memory_hits(&cache);
            let same = Arc::ptr_eq(&get(*n), &first[usize::from(*n) - 1]);
            assert_eq!(same, memory_hits(&cache) > hits);
            same
        };
        // The values that are there first: looking at one that is gone brings it back.
        let mut there: Vec<u8> = [4, 3, 2, 1].into_iter().filter(is_there).collect();
        there.sort_unstable();
        there
    };
    assert!(!left(MemoryPolicy::Fifo).contains(&1));
    assert!(!left(MemoryPolicy::Lru).contains(&2));
    assert!(!left(MemoryPolicy::Lfu).contains(&3));
}

#[tokio::test]
async fn tasks_find_in_memory_what_threads_put_there() {
    let (_dir, cache) = on_disk();
    let (cache, asynchronous) = (cache.clone(), cache.asynchronous());
    cache.put("large", &Arc::new(vec![1_u8; 100_000])).unwrap();
    let first: Arc<Vec<u8>> = asynchronous.get("large").await.unwrap().unwrap();
    let second: Arc<Vec<u8>> = cache.get("large").unwrap().unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    let made = asynchronous.get_or_insert_with("made", || async { Arc::new(7_u64) }).await.unwrap();
    let kept: Arc<u64> = cache.get("made").unwrap().unwrap();
    assert_eq!(made, kept);
    assert!(Arc::ptr_eq(&kept, &asynchronous.get("made").await.unwrap().unwrap()));
}

#[test]
fn a_value_whose_clone_panics_is_returned_and_stored_and_not_kept() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Touchy(u64);

    impl Clone for Touchy {
        fn clone(&self) -> Self {
            panic!("as Clone may")
        }
    }

    #[cached(cache = cache, skip(cache))]
    fn touchy(cache: &Cache, n: u64) -> Touchy {
        Touchy(n)
    }

    let (_dir, cache) = on_disk();
    (0..2).for_each(|_| assert_eq!(touchy(&cache, 3), Touchy(3)));
    assert_eq!((cache.len().unwrap(), cache.get_stats().unwrap().hits, memory_hits(&cache)), (1, 1, 0));
}

static MEDDLED: OnceLock<Cache> = OnceLock::new();
static MEDDLERS_MADE: AtomicUsize = AtomicUsize::new(0);
static ARMED: AtomicBool = AtomicBool::new(false);

/// Is copied by the function that made it, and changes the cache in its `Drop` before that panics.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Meddler(u64);

impl Clone for Meddler {
    fn clone(&self) -> Self {
        meddler(self.0)
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        if ARMED.load(Ordering::SeqCst) {
            meddled().put("dropped", &self.0).unwrap();
            panic!("on purpose");
        }
    }
}

fn meddled() -> &'static Cache {
    MEDDLED.get_or_init(Cache::in_memory)
}

#[cached(cache = meddled())]
fn meddler(n: u64) -> Meddler {
    MEDDLERS_MADE.fetch_add(1, Ordering::SeqCst);
    Meddler(n)
}

#[test]
fn values_whose_clone_and_drop_use_the_cache_and_panic_are_cached_and_removed_as_others() {
    let made = || MEDDLERS_MADE.load(Ordering::SeqCst);
    (0..3).for_each(|_| assert_eq!(meddler(7), Meddler(7)));
    assert_eq!(made(), 1);
    assert_eq!(meddled().get_stats().unwrap().memory.unwrap().entries, 1);
    ARMED.store(true, Ordering::SeqCst);
    let removed = meddled().delete_where(|entry| entry.function().is_some());
    ARMED.store(false, Ordering::SeqCst);
    assert_eq!(removed.unwrap(), 1);
    assert_eq!(meddled().get::<u64>("dropped").unwrap(), Some(7));
    (0..3).for_each(|_| assert_eq!(meddler(7), Meddler(7)));
    assert_eq!(made(), 2);
    assert_eq!(memory_hits(meddled()), 4, "memory is asked as before");
}

/// Says on which threads it was encoded and decoded.
#[derive(Clone, Debug, PartialEq)]
struct Located(Vec<u8>);

static THREADS: std::sync::Mutex<Vec<std::thread::ThreadId>> = std::sync::Mutex::new(Vec::new());

impl Serialize for Located {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        THREADS.lock().unwrap().push(std::thread::current().id());
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        THREADS.lock().unwrap().push(std::thread::current().id());
        Vec::deserialize(deserializer).map(Self)
    }
}

#[tokio::test]
async fn results_of_a_future_are_encoded_and_decoded_on_the_pool_also_if_they_do_not_stay_in_memory() {
    #[cached(cache = cache, skip(cache), memory = false)]
    async fn located(cache: &Cache, n: u64) -> Located {
        Located(cacheness_tests::value_of(n))
    }

    let (_dir, cache) = on_disk();
    for _ in 0..2 {
        assert_eq!(located(&cache, 70).await, Located(cacheness_tests::value_of(70)));
    }
    // A small value is decoded at once, one of many bytes is not, however small it was made.
    let zeros = Located(vec![0; 1 << 20]);
    cache.put("zeros", &zeros).unwrap();
    let before = THREADS.lock().unwrap().len();
    assert_eq!(cache.asynchronous().get::<Located>("zeros").await.unwrap(), Some(zeros));
    let threads = THREADS.lock().unwrap();
    let here = std::thread::current().id();
    assert!(before >= 3 && threads.len() > before, "{threads:?}");
    let ours = threads.iter().enumerate().filter(|(_, thread)| **thread == here).count();
    // The put of a thread was encoded on it, and nothing else was.
    assert!(threads[before..].iter().all(|thread| *thread != here), "{threads:?}");
    assert!(threads[..2].iter().all(|thread| *thread != here) && ours > 0, "{threads:?}");
}
