//! Custom metadata: what queries read, and that an order over a column tells what a look at all rows tells.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::engine::Store;
use crate::index::sled::{SledIndex, SledOptions};
use crate::index::{Call, Records, Watched};
use crate::query::{Column, ColumnSchema, CustomMetadata, Field, Filter, Schema};
use crate::storage::blob::MemoryBlobs;
use crate::value::Metadata;

macro_rules! runs {
    ($name:ident, $kind:literal, [$($column:expr),+ $(,)?]) => {
        #[derive(Clone, Debug, PartialEq)]
        struct $name {
            label: String,
            minutes: Option<u32>,
            score: f64,
        }

        #[allow(dead_code)]
        impl $name {
            const LABEL: Column<$name, String> = Column::new($kind, "label");
            const MINUTES: Column<$name, u32> = Column::new($kind, "minutes");
            const SCORE: Column<$name, f64> = Column::new($kind, "score");
        }

        impl CustomMetadata for $name {
            const SCHEMA: &'static Schema = &Schema::new($kind, &[$($column),+]);

            fn to_row(&self) -> Metadata {
                [
                    ("label".to_owned(), self.label.as_str().into()),
                    ("minutes".to_owned(), self.minutes.into()),
                    ("score".to_owned(), self.score.into()),
                ]
                .into()
            }

            fn from_row(row: &Metadata) -> Result<Self> {
                let (label, minutes) = (Self::SCHEMA.read(row, "label")?, Self::SCHEMA.read(row, "minutes")?);
                Ok(Self { label, minutes, score: Self::SCHEMA.read(row, "score")? })
            }
        }
    };
}

// They use the macro above.
mod unique;
mod versions;

runs!(
    Run,
    "runs",
    [
        ColumnSchema::of::<String>("label").indexed(),
        ColumnSchema::of::<Option<u32>>("minutes").indexed(),
        ColumnSchema::of::<f64>("score").indexed(),
    ]
);
runs!(
    Plain,
    "plain runs",
    [ColumnSchema::of::<String>("label"), ColumnSchema::of::<Option<u32>>("minutes"), ColumnSchema::of::<f64>("score"),]
);

fn run(n: u32) -> Run {
    Run { label: format!("run {n:05}"), minutes: (!n.is_multiple_of(10)).then_some(n % 100), score: f64::from(n % 7) }
}

fn plain(Run { label, minutes, score }: Run) -> Plain {
    Plain { label, minutes, score }
}

/// The indexes on disk.
const ON_DISK: &[&str] = if cfg!(feature = "sqlite") { &["sled", "sqlite"] } else { &["sled"] };

/// With a new cache on every sort of index, whose answers are to be the same: in memory, and in a directory where `config`
/// is in memory.
fn on_each(config: CacheConfig, test: impl Fn(Cache)) {
    test(Cache::new(config.clone()).unwrap());
    for backend in ON_DISK {
        let dir = tempfile::tempdir().unwrap();
        test(Cache::new(config.clone().with_cache_dir(dir.path()).with_backend(*backend)).unwrap());
    }
    if cfg!(feature = "sqlite") {
        test(Cache::new(config.with_backend("sqlite_memory")).unwrap());
    }
}

/// The same metadata as two kinds, one with an index over every column and one without.
fn both(run: &Run) -> PutOptions {
    PutOptions::new().custom(run).custom(&plain(run.clone()))
}

/// An index that counts the pages it is asked for and the looks at single entries.
fn counted() -> (Cache, Arc<[AtomicUsize; 2]>) {
    let counts = Arc::new([const { AtomicUsize::new(0) }; 2]);
    let seen = Arc::clone(&counts);
    let index = Watched::new(move |call| {
        match call {
            Call::Page => drop(seen[0].fetch_add(1, Ordering::SeqCst)),
            Call::Read => drop(seen[1].fetch_add(1, Ordering::SeqCst)),
            _ => {}
        }
        Ok(())
    });
    let config = CacheConfig::in_memory();
    let store = Store::of_parts(Arc::new(index), Arc::new(MemoryBlobs::new()), &config);
    (Cache::over(Arc::new(Engine::new(store, &config, Arc::new(SystemClock))), config), counts)
}

#[test]
fn a_query_reads_the_index_once_a_page_of_its_kind_and_with_an_index_once_a_page_of_what_it_finds() {
    let (cache, counts) = counted();
    for n in 0..1000u32 {
        cache.put_with(n, &n, PutOptions::new().metadata("n", n)).unwrap();
        cache.put_with(("run", n), &n, both(&run(n))).unwrap();
    }
    let pages_of = |ask: &dyn Fn() -> usize, found: usize| {
        counts.iter().for_each(|count| count.store(0, Ordering::SeqCst));
        assert_eq!(ask(), found);
        assert_eq!(counts[1].load(Ordering::SeqCst), 0, "looks at single entries");
        counts[0].load(Ordering::SeqCst)
    };
    // Four pages of 256 of the kind, and the empty one that tells the end; none of the other thousand.
    assert_eq!(pages_of(&|| cache.query::<Plain>().filter(Plain::MINUTES.eq(7)).all().unwrap().len(), 10), 5);
    assert_eq!(pages_of(&|| cache.query::<Plain>().count().unwrap() as usize, 1000), 5);
    assert_eq!(pages_of(&|| cache.query::<Plain>().limit(3).all().unwrap().len(), 3), 1, "no further than needed");
    let by_index = || cache.query::<Run>().filter(Run::MINUTES.eq(7)).all().unwrap().len();
    assert!(pages_of(&by_index, 10) > 1, "the index is made");
    assert_eq!(pages_of(&by_index, 10), 1, "the index is there");
    assert_eq!(pages_of(&|| cache.query::<Run>().filter(Run::MINUTES.gt(97)).count().unwrap() as usize, 20), 1);
    assert_eq!(pages_of(&|| cache.query::<Run>().filter(Run::MINUTES.gt(1000)).count().unwrap() as usize, 0), 0);
}

/// Conditions on the columns of a kind, of every sort that an index can serve and of some that it cannot.
fn conditions(kind: &str) -> Vec<Filter> {
    let of = |column: &str| Field::custom(kind, column);
    vec![
        of("minutes").eq(7),
        of("minutes").ge(20) & of("minutes").lt(30),
        of("minutes").is_in([1, 5, 99, 99, 1000]),
        of("minutes").gt(95) & of("score").le(3.0),
        of("minutes").le(5) | of("score").eq(1.0),
        of("minutes").is_missing(),
        of("label").starts_with("run 0000"),
        of("label").like("run 000_3%"),
        of("score").eq(2) & of("label").ne("run 00002"),
        of("score").gt(2) & of("score").lt(2),
        !of("score").eq(2.0),
    ]
}

/// What each condition finds, by kind: cache keys in order, and some sums.
fn answers(cache: &Cache, kind: &str) -> Vec<(Vec<String>, String)> {
    let answer = |filter: Filter| {
        let query = cache.query_custom(kind).filter(filter);
        let keys = query.all().unwrap().iter().map(|found| found.cache_key()).collect();
        let minutes = || Field::custom(kind, "minutes");
        let ends = (query.min(minutes()).unwrap(), query.max(minutes()).unwrap());
        let ordered = query.clone().order_by(minutes().desc()).offset(2).limit(3).all().unwrap();
        let ordered: Vec<_> = ordered.iter().map(|found| found.cache_key()).collect();
        (keys, format!("{:?} {:?} {ends:?} {ordered:?}", query.sum(minutes()).unwrap(), query.avg(minutes()).unwrap()))
    };
    conditions(kind).into_iter().map(answer).collect()
}

fn assert_the_index_tells_what_a_walk_tells(cache: &Cache, when: &str) {
    assert_eq!(answers(cache, "runs"), answers(cache, "plain runs"), "{when}");
}

#[test]
fn an_index_over_a_column_tells_what_a_walk_tells_whatever_changes() {
    for backend in ON_DISK {
        index_tells_what_a_walk_tells(backend);
    }
}

fn index_tells_what_a_walk_tells(backend: &str) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    // Room for some 17 values: the least recently used go.
    let config =
        CacheConfig::new(dir.path()).with_backend(backend).with_max_size_mb(1).with_codec(crate::config::Codec::None);
    let cache = Cache::with_clock_in(config, clock.clone()).unwrap();
    let value: Vec<u8> = (0..60_000u32).map(|n| (n % 251) as u8).collect();
    cache.put_with(0u32, &value, both(&run(0))).unwrap();
    assert_eq!(cache.query::<Run>().count().unwrap(), 1);
    assert_eq!(cache.query::<Plain>().count().unwrap(), 1);
    let mut state = 1u64;
    let mut random = |below: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u32 % below
    };
    for step in 0..600u32 {
        clock.advance(seconds(1));
        let key = random(40);
        match random(12) {
            0 => drop(cache.invalidate(key).unwrap()),
            1 => drop(cache.touch(key).unwrap()),
            2 => drop(cache.update_data(key, &step).unwrap()),
            3 => drop(cache.copy(key, random(40)).unwrap()),
            4 => drop(cache.rename(key, random(40)).unwrap()),
            5 => drop(cache.delete_matching(&Run::MINUTES.eq(random(100))).unwrap()),
            6 => drop(cache.query::<Run>().filter(Run::SCORE.eq(f64::from(random(7)))).limit(1).delete().unwrap()),
            7 => drop(cache.put_with(key, &value, both(&run(random(1000))).ttl(seconds(5))).unwrap()),
            8 => drop(cache.put(key, &step).unwrap()),
            _ => drop(cache.put_with(key, &value, both(&run(random(1000)))).unwrap()),
        }
        if step % 20 == 0 {
            assert_the_index_tells_what_a_walk_tells(&cache, &format!("step {step}"));
        }
    }
    assert!(cache.get_stats().unwrap().evictions > 0);
    cache.clear().unwrap();
    assert_eq!(cache.query::<Run>().filter(Run::SCORE.ge(0.0)).count().unwrap(), 0);
}

#[test]
fn threads_that_change_entries_while_an_index_is_made_are_all_in_it() {
    on_each(CacheConfig::in_memory(), |cache| {
        for n in 0..800u32 {
            cache.put_with(n, &n, both(&run(n))).unwrap();
        }
        thread::scope(|scope| {
            for part in 0..4u32 {
                let cache = &cache;
                scope.spawn(move || {
                    for n in (part..800).step_by(4) {
                        match n % 3 {
                            0 => drop(cache.put_with(n, &n, both(&run(n + 1))).unwrap()),
                            1 => drop(cache.invalidate(n).unwrap()),
                            _ => drop(cache.put_with(n + 5000, &n, both(&run(n))).unwrap()),
                        }
                    }
                });
            }
            scope.spawn(|| answers(&cache, "runs").len());
            scope.spawn(|| cache.query::<Run>().filter(Run::MINUTES.eq(3)).count().unwrap());
        });
        assert_the_index_tells_what_a_walk_tells(&cache, "after all");
    });
}

#[test]
fn an_index_that_was_rebuilt_after_damage_is_asked_anew() {
    let root = tempfile::tempdir().unwrap();
    let options =
        SledOptions { root: root.path().to_path_buf(), page_cache_bytes: 16 << 20, signing: Default::default() };
    let index = Arc::new(SledIndex::open(options).unwrap().0);
    let config = CacheConfig::in_memory();
    let store = Store::of_parts(index.clone(), Arc::new(MemoryBlobs::new()), &config);
    let cache = Cache::over(Arc::new(Engine::new(store, &config, Arc::new(SystemClock))), config);
    for n in 0..50u32 {
        cache.put_with(n, &n, both(&run(n))).unwrap();
    }
    assert_the_index_tells_what_a_walk_tells(&cache, "before");
    index.break_down(&IndexKey::of(&7u32.to_key().unwrap()));
    assert_eq!(cache.query::<Run>().filter(Run::LABEL.eq("run 00007")).count().unwrap(), 0);
    assert_the_index_tells_what_a_walk_tells(&cache, "after");
    cache.put_with(7u32, &7u32, both(&run(7))).unwrap();
    assert_the_index_tells_what_a_walk_tells(&cache, "after one more");
}

#[test]
fn an_older_record_that_a_rebuilt_index_gives_back_is_found_by_its_own_values() {
    let index = Arc::new(Watched::new(|_| Ok(())));
    let config = CacheConfig::in_memory();
    let store = Store::of_parts(index.clone(), Arc::new(MemoryBlobs::new()), &config);
    let cache = Cache::over(Arc::new(Engine::new(store, &config, Arc::new(SystemClock))), config);
    let (key, lost) = (IndexKey::of(&1u32.to_key().unwrap()), IndexKey::of(&2u32.to_key().unwrap()));
    cache.put_with(1u32, &1u32, both(&run(7))).unwrap();
    let older = index.record(&key).unwrap().unwrap();
    cache.put_with(1u32, &1u32, both(&run(8))).unwrap();
    cache.put_with(2u32, &2u32, both(&run(9))).unwrap();
    let found = |minutes| cache.query::<Run>().filter(Run::MINUTES.eq(minutes)).count().unwrap();
    assert_eq!((found(7), found(8), found(9)), (0, 1, 1));
    index.put(&key, &older).unwrap();
    index.lose(&lost).unwrap();
    assert_eq!((found(7), found(8), found(9)), (1, 0, 0));
}

#[test]
fn an_error_while_an_index_is_made_is_returned_and_the_next_query_makes_it() {
    let fails = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let index = Watched::new(move |call| match call {
        Call::Page if failing.swap(false, Ordering::SeqCst) => Err(CacheError::new(ErrorKind::Metadata, "gone")),
        _ => Ok(()),
    });
    let config = CacheConfig::in_memory();
    let store = Store::of_parts(Arc::new(index), Arc::new(MemoryBlobs::new()), &config);
    let cache = Cache::over(Arc::new(Engine::new(store, &config, Arc::new(SystemClock))), config);
    cache.put_with("a", &1u8, both(&run(7))).unwrap();
    let query = cache.query::<Run>().filter(Run::MINUTES.eq(7));
    fails.store(true, Ordering::SeqCst);
    assert!(query.count().unwrap_err().is_metadata());
    assert_eq!(query.count().unwrap(), 1);
}
