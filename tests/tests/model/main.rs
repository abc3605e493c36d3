//! A cache against a plain map: whatever is done, in whatever order, both answer alike.
//!
//! `CACHENESS_MODEL_STEPS` says how many steps to take; a failure prints the shortest list of steps that shows it.

mod map;
mod steps;
mod waits;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use cacheness::cache::Expired;
use cacheness::clock::{Clock, ManualClock};
use cacheness::config::{Codec, SigningKey};
use cacheness::{Cache, CacheConfig, Entry, Field, PutOptions};
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use map::Map;
use steps::{Key, Step, content, steps};

/// Most steps of one list; each list begins with an empty cache.
const IN_A_ROW: usize = 800;
/// Lists between two looks at how many steps were taken.
const LISTS: u32 = 10;
const LIMIT_BYTES: u64 = 1 << 20;

fn wanted_steps() -> usize {
    std::env::var("CACHENESS_MODEL_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(200_000)
}

/// The cache under test, and how to open it again.
struct Subject {
    cache: Cache,
    config: CacheConfig,
    clock: Arc<ManualClock>,
    /// Kept in memory, it cannot be opened again.
    lasting: bool,
}

impl Subject {
    fn open(config: CacheConfig) -> Self {
        let clock = Arc::new(ManualClock::default());
        let config = config.with_max_size_mb(LIMIT_BYTES >> 20).with_codec(Codec::None);
        let cache = Cache::with_clock_in(config.clone(), clock.clone()).expect("the cache opens");
        let lasting = !config.is_in_memory();
        Self { cache, config, clock, lasting }
    }

    fn reopen(&mut self) {
        if self.lasting {
            self.cache.close().expect("the cache closes");
            self.cache = Cache::with_clock_in(self.config.clone(), self.clock.clone()).expect("the cache opens again");
        }
    }
}

fn options(ttl: Option<u64>, tag: u8) -> PutOptions {
    let options = PutOptions::new().tag(tag_name(tag)).metadata("tag", tag);
    match ttl {
        Some(seconds) => options.ttl(Duration::from_secs(seconds)),
        None => options,
    }
}

fn tag_name(tag: u8) -> String {
    format!("tag {tag}")
}

/// Takes one step in both, and compares what they say.
fn take(step: &Step, subject: &mut Subject, map: &mut Map) {
    // No two steps at one time, so that there is one order of use.
    subject.clock.advance(Duration::from_micros(1));
    map.now = subject.clock.now().as_micros();
    let evicted_before = subject.cache.get_stats().expect("statistics").evictions;
    let newest = compare(step, subject, map);
    follow_eviction(subject, map, evicted_before, newest);
}

/// Returns the key that was written, if one was.
fn compare(step: &Step, subject: &mut Subject, map: &mut Map) -> Option<Key> {
    let cache = &subject.cache;
    match step {
        Step::Put { key, value, ttl, tag } => {
            cache.put_with(key, &content(*value), options(*ttl, *tag)).expect("put");
            map.put(*key, *value, *ttl, *tag);
            return Some(*key);
        }
        Step::Update { key, value } => {
            let updated = cache.update_data(key, &content(*value)).expect("update");
            assert_eq!(updated, map.update(*key, *value), "{step:?}");
            return updated.then_some(*key);
        }
        Step::Copy { from, to } => {
            let copied = cache.copy(from, to).expect("copy");
            assert_eq!(copied, map.copy(*from, *to), "{step:?}");
            return copied.then_some(*to);
        }
        Step::Rename { from, to } => {
            let moved = cache.rename(from, to).expect("rename");
            assert_eq!(moved, map.rename(*from, *to), "{step:?}");
            return moved.then_some(*to);
        }
        Step::Get(key) => {
            let found = cache.get::<Vec<u8>>(key).expect("get");
            assert!(found == map.get(*key).map(content), "{step:?}");
        }
        Step::GetMany(keys) => {
            let found = cache.get_batch::<Vec<u8>, _>(keys).expect("get many");
            assert_eq!(found.len(), keys.len());
            for ((_, value), key) in found.into_iter().zip(keys) {
                assert!(value == map.get(*key).map(content), "{step:?}");
            }
        }
        Step::Look(key) => look(cache, *key, map),
        Step::Remove(key) => assert_eq!(cache.invalidate(key).expect("remove"), map.remove(*key), "{step:?}"),
        Step::RemoveTagged(tag) => {
            assert_eq!(cache.invalidate_tag(&tag_name(*tag)).expect("remove"), map.remove_tagged(*tag), "{step:?}");
        }
        Step::RemoveMatching(tag) => {
            let removed = cache.delete_matching(&Field::metadata("tag").eq(*tag)).expect("remove");
            assert_eq!(removed, map.remove_tagged(*tag), "{step:?}");
        }
        Step::Touch { key, ttl } => {
            let touched = match ttl {
                Some(seconds) => cache.touch_with_ttl(key, Duration::from_secs(*seconds)),
                None => cache.touch(key),
            };
            assert_eq!(touched.expect("touch"), map.touch(*key, *ttl), "{step:?}");
        }
        Step::TouchTagged(tag) => {
            let touched = cache.touch_batch(&Field::any("tag").eq(*tag)).expect("touch");
            assert_eq!(touched, map.touch_tagged(*tag), "{step:?}");
        }
        Step::Wait(seconds) => subject.clock.advance(Duration::from_secs(*seconds)),
        Step::CleanUp => assert_eq!(cache.cleanup_expired().expect("clean up"), map.clean_up(), "{step:?}"),
        Step::Clear => assert_eq!(cache.clear().expect("clear"), map.clear(), "{step:?}"),
        Step::List => list(cache, map),
        Step::Reopen => subject.reopen(),
    }
    None
}

fn look(cache: &Cache, key: Key, map: &Map) {
    assert_eq!(cache.exists(key).expect("exists"), map.fresh(key).is_some(), "{key:?}");
    let entry = cache.get_metadata(key, Expired::Include).expect("metadata");
    let expected = map.entries.get(&key);
    assert_eq!(entry.is_some(), expected.is_some(), "{key:?}");
    if let (Some(entry), Some(expected)) = (entry, expected) {
        assert_eq!(entry.created_at().as_micros(), expected.created);
        assert_eq!(entry.accessed_at().as_micros(), expected.used);
        assert_eq!(entry.expires_at().map(|at| at.as_micros()), expected.ends);
        assert_eq!(entry.tags(), [tag_name(expected.tag)]);
        assert_eq!(cache.get_entry(&entry.cache_key()).expect("entry").as_ref(), Some(&entry));
    }
    let left = cache.remaining_ttl(key).expect("remaining").map(|left| left.as_micros());
    assert_eq!(left, map.fresh(key).and_then(|entry| map.remaining(entry)), "{key:?}");
}

fn list(cache: &Cache, map: &Map) {
    let listed: Vec<Entry> = cache.list_entries().collect::<Result<_, _>>().expect("list");
    let created: Vec<i64> = listed.iter().map(|entry| entry.created_at().as_micros()).collect();
    assert_eq!(created, map.created_newest_first());
    let stats = cache.get_stats().expect("statistics");
    assert_eq!(stats.entries, map.entries.len() as u64);
    assert_eq!(stats.newest.map(|at| at.as_micros()), created.first().copied());
    assert_eq!(stats.oldest.map(|at| at.as_micros()), created.last().copied());
}

/// What was evicted must be the least recently used, no more of it than needed, and never what was just written.
fn follow_eviction(subject: &Subject, map: &mut Map, evicted_before: u64, newest: Option<Key>) {
    let stats = subject.cache.get_stats().expect("statistics");
    assert!(stats.size_bytes <= LIMIT_BYTES, "{} bytes", stats.size_bytes);
    // Opened again, a cache counts from zero.
    let evicted = stats.evictions.saturating_sub(evicted_before);
    if evicted > 0 {
        let is_there = |key: &Key| subject.cache.get_metadata(key, Expired::Include).expect("metadata").is_some();
        assert!(newest.is_none_or(|key| is_there(&key)), "what was just written is gone");
        let (kept, gone): (Vec<Key>, Vec<Key>) = map.others_than(newest).partition(is_there);
        assert_eq!(gone.len() as u64, evicted);
        let last_used = gone.iter().map(|key| map.entries[key].used).max().expect("something was evicted");
        assert!(kept.iter().all(|key| map.entries[key].used >= last_used), "{gone:?} went before {kept:?}");
        let eighty_percent = LIMIT_BYTES / 5 * 4;
        assert!(kept.is_empty() || stats.size_bytes <= eighty_percent, "{} bytes", stats.size_bytes);
        let could_be_last = gone.iter().map(|key| map.entries[key]).filter(|entry| entry.used == last_used);
        let largest = could_be_last.map(|entry| entry.value.len() as u64).max().unwrap_or_default();
        // A record, with the value in it, counts with five times its bytes.
        let largest_record = 5 * (1024 + 4096);
        assert!(stats.size_bytes + largest + largest_record > eighty_percent, "one too many went");
        map.entries.retain(|key, _| !gone.contains(key));
    }
    assert_eq!(stats.entries, map.entries.len() as u64);
}

fn compare_with_a_map(steps_wanted: usize, open: impl Fn() -> Subject) {
    let config = Config { cases: LISTS, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let taken = Cell::new(0);
    while taken.get() < steps_wanted {
        // A new one each time: a runner that has had its successes runs nothing any more.
        let outcome = TestRunner::new(config.clone()).run(&steps(IN_A_ROW), |list| {
            let (mut subject, mut map) = (open(), Map::default());
            let run = AssertUnwindSafe(|| list.iter().for_each(|step| take(step, &mut subject, &mut map)));
            catch_unwind(run).map_err(|panic| TestCaseError::fail(text_of(&*panic)))?;
            taken.set(taken.get() + list.len());
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_else(|| "a panic".to_owned())
}

#[test]
fn a_cache_in_memory_answers_as_a_map_does() {
    compare_with_a_map(wanted_steps() / 2, || Subject::open(CacheConfig::in_memory()));
}

#[test]
fn a_cache_on_disk_answers_as_a_map_does_also_when_it_is_opened_again() {
    let dir = cacheness_tests::scratch();
    let number = Cell::new(0);
    let last = RefCell::new(std::path::PathBuf::new());
    compare_with_a_map(wanted_steps() / 2, || {
        number.set(number.get() + 1);
        let next = dir.path().join(number.get().to_string());
        let _ = std::fs::remove_dir_all(last.replace(next.clone()));
        let config = CacheConfig::new(next);
        // Every other one is signed.
        let is_signed = number.get() % 2 == 0;
        Subject::open(if is_signed { config.with_signing_key(SigningKey::from_bytes([1; 32])) } else { config })
    });
}
