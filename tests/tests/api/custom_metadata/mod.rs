//! Typed metadata beside entries: stored with them, found by queries, gone with them.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cacheness::cache::migrate_cache;
use cacheness::clock::{ManualClock, Timestamp};
use cacheness::config::{InvalidEntries, SigningKey};
use cacheness::key::ToKey;
use cacheness::query::{Column, EntryField};
use cacheness::{AsyncCache, Cache, CacheConfig, CustomMetadata, Field, PutOptions, Value, params};

mod names;
mod types;

#[derive(Clone, Debug, PartialEq, CustomMetadata)]
#[metadata(name = "experiments")]
struct Experiment {
    #[metadata(unique)]
    experiment_id: String,
    #[metadata(index)]
    model_type: String,
    #[metadata(index)]
    accuracy: f64,
    epochs: u32,
    is_production: bool,
    note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, CustomMetadata)]
#[metadata(name = "performance")]
struct Performance {
    training_time_seconds: f64,
    memory_mb: u64,
}

fn experiment(n: u32) -> Experiment {
    Experiment {
        experiment_id: format!("exp_{n:03}"),
        model_type: ["xgboost", "cnn", "mlp"][n as usize % 3].to_owned(),
        accuracy: f64::from(n % 10) / 10.0,
        epochs: n * 10,
        is_production: n.is_multiple_of(2),
        note: n.is_multiple_of(4).then(|| format!("note {n}")),
    }
}

fn performance(n: u32) -> Performance {
    Performance { training_time_seconds: f64::from(n), memory_mb: u64::from(n) * 100 }
}

fn filled(cache: &Cache, count: u32) {
    for n in 0..count {
        let options = PutOptions::new().custom(&experiment(n));
        let options = if n.is_multiple_of(2) { options.custom(&performance(n)) } else { options };
        cache.put_with(params! { experiment: n }, &vec![n; 10], options).unwrap();
    }
}

fn epochs(query: &cacheness::Query<Experiment>) -> Vec<u32> {
    query.all().unwrap().iter().map(|found| found.epochs).collect()
}

/// With an empty cache on every sort of index, whose answers are to be the same.
fn on_each(test: impl Fn(Cache)) {
    let dir = cacheness_tests::scratch();
    for backend in ["memory", "sled", "json", "sqlite", "sqlite_memory"] {
        test(Cache::new(CacheConfig::new(dir.path().join(backend)).with_backend(backend)).unwrap());
    }
    if let Some(config) = cacheness_tests::on_postgres(CacheConfig::new(dir.path().join("postgresql"))) {
        test(Cache::new(config).unwrap());
    }
}

/// Caches of every sort that keep entries in this process, each with the same twenty.
fn caches(dir: &Path) -> Vec<(&'static str, Cache)> {
    let on_disk = |name: &str| CacheConfig::new(dir.join(name));
    let caches = vec![
        ("in memory", Cache::in_memory()),
        ("in memory alone", Cache::new(CacheConfig::in_memory().with_memory_cache(false)).unwrap()),
        ("on disk", Cache::new(on_disk("a")).unwrap()),
        ("on disk, values in files", Cache::new(on_disk("b").with_inline_bytes(0)).unwrap()),
        ("on disk, no values in memory", Cache::new(on_disk("c").with_memory_cache(false)).unwrap()),
        ("JSON", Cache::new(on_disk("d").with_backend("json")).unwrap()),
        ("SQLite", Cache::new(on_disk("e").with_backend("sqlite")).unwrap()),
        ("SQLite, values in files", Cache::new(on_disk("f").with_backend("sqlite").with_inline_bytes(0)).unwrap()),
        ("SQLite in memory", Cache::new(CacheConfig::in_memory().with_backend("sqlite_memory")).unwrap()),
    ];
    caches.iter().for_each(|(_, cache)| filled(cache, 20));
    caches
}

#[test]
fn entries_are_found_by_their_columns_wherever_they_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    for (sort, cache) in caches(dir.path()) {
        let query = || cache.query::<Experiment>();
        let by_accuracy = query().filter(Experiment::ACCURACY.ge(0.8)).order_by(Experiment::EPOCHS.asc());
        assert_eq!(epochs(&by_accuracy), [80, 90, 180, 190], "{sort}");
        assert_eq!(epochs(&by_accuracy.clone().offset(1).limit(2)), [90, 180], "{sort}");
        let best = query().filter(Experiment::IS_PRODUCTION.eq(true)).order_by(Experiment::ACCURACY.desc());
        let best = best.order_by(Experiment::EPOCHS.desc()).first().unwrap().unwrap();
        assert_eq!(*best, experiment(18), "{sort}");
        assert_eq!(cache.get::<Vec<u32>>(&best).unwrap(), Some(vec![18; 10]), "{sort}");
        assert_eq!(best.cache_key(), params! { experiment: 18u32 }.to_key().unwrap().to_string(), "{sort}");
        let nets = Experiment::MODEL_TYPE.in_(["cnn", "mlp"]) & !Experiment::EPOCHS.gt(50);
        assert_eq!(epochs(&query().filter(nets).order_by(Experiment::EPOCHS.desc())), [50, 40, 20, 10], "{sort}");
        let like = Experiment::EXPERIMENT_ID.like("exp\\__1_") | Experiment::MODEL_TYPE.like("x%t");
        assert_eq!(query().filter(like).count().unwrap(), 14, "{sort}");
        assert_eq!(query().filter(Experiment::NOTE.is_null()).count().unwrap(), 15, "{sort}");
        assert_eq!(query().filter(Experiment::NOTE.is_not_null()).count().unwrap(), 5, "{sort}");
        assert!(query().filter(Experiment::EXPERIMENT_ID.eq("exp_999")).first().unwrap().is_none(), "{sort}");
    }
}

#[test]
fn sums_averages_and_ends_are_those_of_the_rows_that_meet_the_conditions() {
    on_each(|cache| {
        filled(&cache, 20);
        let query = cache.query::<Experiment>().filter(Experiment::EPOCHS.lt(40)).limit(1);
        assert_eq!(query.sum(Experiment::EPOCHS).unwrap(), 60i128, "limits do not matter");
        assert_eq!(query.avg(Experiment::EPOCHS).unwrap(), Some(15.0));
        assert_eq!(query.min(Experiment::EXPERIMENT_ID).unwrap().as_deref(), Some("exp_000"));
        assert_eq!(query.max(Experiment::ACCURACY).unwrap(), Some(0.3));
        assert_eq!(query.max(Experiment::NOTE).unwrap().as_deref(), Some("note 0"), "nulls do not count");
        assert!((query.sum(Experiment::ACCURACY).unwrap() - 0.6).abs() < 1e-9);
        let none = cache.query::<Experiment>().filter(Experiment::EPOCHS.gt(1000));
        assert_eq!((none.avg(Experiment::EPOCHS).unwrap(), none.sum(Experiment::EPOCHS).unwrap()), (None, 0));
        assert_eq!(none.min(Experiment::ACCURACY).unwrap(), None);
    });
}

#[test]
fn several_kinds_belong_to_one_entry_and_are_asked_together() {
    on_each(|cache| {
        filled(&cache, 20);
        let light = Performance::MEMORY_MB.le(1000) & Experiment::ACCURACY.gt(0.3);
        let both =
            cache.query::<Experiment>().filter(light.clone()).order_by(Performance::TRAINING_TIME_SECONDS.desc());
        assert_eq!(epochs(&both), [80, 60, 40]);
        let other_way = cache.query::<Performance>().filter(light).all().unwrap();
        let mut keys: Vec<_> = other_way.iter().map(|found| found.cache_key()).collect();
        let mut same: Vec<_> = both.all().unwrap().iter().map(|found| found.cache_key()).collect();
        keys.sort();
        same.sort();
        assert_eq!(keys, same, "correlated by cache_key");
        let rows = cache.get_custom_metadata_for_entry(params! { experiment: 4u32 }).unwrap();
        assert_eq!(rows.keys().collect::<Vec<_>>(), ["experiments", "performance"]);
        assert_eq!((&rows["experiments"]["epochs"], &rows["performance"]["memory_mb"]), (&40.into(), &400.into()));
        assert_eq!(cache.get_custom::<Performance>(params! { experiment: 4u32 }).unwrap(), Some(performance(4)));
        assert_eq!(cache.get_custom::<Performance>(params! { experiment: 5u32 }).unwrap(), None);
        assert!(cache.get_custom_metadata_for_entry("no such key").unwrap().is_empty());
    });
}

#[test]
fn one_kind_given_twice_is_an_error_and_nothing_is_stored() {
    on_each(|cache| {
        let options = PutOptions::new().custom(&experiment(1)).custom(&performance(1)).custom(&experiment(2));
        let error = cache.put_with("key", &1u8, options).unwrap_err();
        assert!(error.is_invalid_argument() && error.to_string().contains("\"experiments\""), "{error}");
        assert!(!cache.exists("key").unwrap());
    });
}

#[test]
fn columns_make_conditions_for_listings_touches_and_removals_too() {
    on_each(|cache| {
        filled(&cache, 20);
        cache.put_with("other", &1u8, PutOptions::new().metadata("epochs", 10)).unwrap();
        assert_eq!(cache.list_entries().matching(Experiment::EPOCHS.lt(20)).count(), 2);
        assert_eq!(cache.touch_batch(&Experiment::MODEL_TYPE.eq("cnn")).unwrap(), 7);
        assert_eq!(cache.query::<Experiment>().filter(Experiment::MODEL_TYPE.eq("cnn")).delete().unwrap(), 7);
        assert_eq!(cache.delete_matching(&Experiment::EPOCHS.lt(100)).unwrap(), 7);
        assert_eq!((cache.query::<Experiment>().count().unwrap(), cache.len().unwrap()), (6, 7));
        assert_eq!(cache.query::<Experiment>().delete().unwrap(), 6);
        assert!(cache.exists("other").unwrap(), "entries without the kind are not its business");
    });
}

#[test]
fn metadata_goes_with_its_entry_and_stays_through_what_changes_only_the_entry() {
    let dir = tempfile::tempdir().unwrap();
    for (sort, cache) in caches(dir.path()) {
        let key = |n: u32| params! { experiment: n };
        let of = |n: u32| cache.get_custom::<Experiment>(key(n)).unwrap();
        assert!(cache.touch(key(1)).unwrap() && cache.touch_with_ttl(key(1), Duration::from_secs(60)).unwrap());
        assert_eq!(of(1), Some(experiment(1)), "touched {sort}");
        assert!(cache.update_data(key(1), &"another value".to_owned()).unwrap());
        assert_eq!(of(1), Some(experiment(1)), "new data {sort}");
        assert!(cache.rename(key(1), "renamed").unwrap());
        assert_eq!(cache.get_custom::<Experiment>("renamed").unwrap(), Some(experiment(1)), "renamed {sort}");
        let found = || cache.query::<Experiment>().filter(Experiment::EXPERIMENT_ID.eq("exp_001")).count().unwrap();
        assert_eq!(found(), 1, "{sort}");
        assert!(cache.invalidate("renamed").unwrap());
        assert_eq!(found(), 0, "removed {sort}");
        cache.put(key(2), &2u8).unwrap();
        assert_eq!(of(2), None, "a put without metadata takes the place of one with {sort}");
        assert_eq!(cache.query::<Experiment>().count().unwrap(), 18, "{sort}");
        cache.clear().unwrap();
        assert_eq!(cache.query::<Experiment>().count().unwrap(), 0, "cleared {sort}");
    }
}

#[test]
fn entries_that_have_expired_are_not_found() {
    let clock = std::sync::Arc::new(ManualClock::default());
    let cache = Cache::with_clock(clock.clone());
    let options = PutOptions::new().custom(&experiment(1)).ttl(Duration::from_secs(10));
    cache.put_with("key", &1u8, options).unwrap();
    cache.put_with("other", &2u8, PutOptions::new().custom(&experiment(2))).unwrap();
    clock.advance(Duration::from_secs(10));
    assert_eq!(epochs(&cache.query()), [20]);
    assert_eq!(cache.query::<Experiment>().filter(Experiment::EXPERIMENT_ID.eq("exp_001")).count().unwrap(), 0);
    assert_eq!(cache.get_custom::<Experiment>("key").unwrap(), None);
    assert!(cache.get_custom_metadata_for_entry("key").unwrap().is_empty());
    assert_eq!(cache.query::<Experiment>().delete().unwrap(), 1);
    assert_eq!(cache.len().unwrap(), 1, "what has expired is left to the cleanup");
}

#[test]
fn custom_metadata_in_sqlite_is_a_table_that_any_tool_reads_from_its_migration_on() {
    let dir = cacheness_tests::scratch();
    let path = dir.path().join("rows.db");
    let config = CacheConfig::new(dir.path().join("cache")).with_backend("sqlite");
    let cache = Cache::new(config.with_database_url(format!("sqlite:///{}", path.display()))).unwrap();
    cache.migrate_custom_metadata_tables::<Experiment>().unwrap();
    let ask = |sql: &str| {
        let program = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall())";
        let asked = std::process::Command::new("python3").args(["-c", program]).arg(&path).arg(sql).output();
        asked.ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(none) = ask("SELECT epochs FROM custom_experiments") else {
        return cacheness_tests::skip("custom metadata as tables: there is no python3");
    };
    assert_eq!(none, "[]");
    filled(&cache, 20);
    let sql = "SELECT count(*), max(epochs) FROM custom_experiments WHERE model_type = 'cnn'";
    assert_eq!(ask(sql).unwrap(), "[(7, 190)]");
    assert_eq!(ask("SELECT count(*) FROM custom_performance").unwrap(), "[(10,)]");
    cache.clear().unwrap();
    assert_eq!(ask("SELECT count(*) FROM custom_experiments").unwrap(), "[(0,)]");
}

#[test]
fn rows_are_there_after_reopening_also_where_the_index_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    let cache = Cache::new(CacheConfig::new(place("cache")).with_inline_bytes(0)).unwrap();
    filled(&cache, 20);
    let all = |cache: &Cache| {
        let mut all = epochs(&cache.query());
        all.sort_unstable();
        (all, epochs(&cache.query().filter(Experiment::MODEL_TYPE.eq("cnn")).order_by(Experiment::EPOCHS.asc())))
    };
    let (before, names) = (all(&cache), cache.get_custom_metadata_for_entry(params! { experiment: 4u32 }).unwrap());
    cache.flush().unwrap();
    cacheness_tests::copy_dir(&place("cache"), &place("killed")).unwrap();
    cacheness_tests::copy_dir(&place("cache"), &place("without index")).unwrap();
    fs::remove_dir_all(place("without index").join("index")).unwrap();
    cache.close().unwrap();
    for name in ["cache", "killed", "without index"] {
        let cache = Cache::new(CacheConfig::new(place(name)).with_inline_bytes(0)).unwrap();
        assert_eq!(cache.query_custom("experiments").count().unwrap(), 20, "{name}: by name, before any type is used");
        assert_eq!(all(&cache), before, "{name}");
        assert_eq!(cache.get_custom_metadata_for_entry(params! { experiment: 4u32 }).unwrap(), names, "{name}");
        let taken = cache.put_with("another", &1u8, PutOptions::new().custom(&experiment(4))).unwrap_err();
        assert!(taken.is_conflict() && taken.to_string().contains("exp_004"), "{name}: {taken}");
    }
}

#[test]
fn rows_that_are_not_signed_are_not_found_and_keep_no_unique_value() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    filled(&cache, 20);
    cache.close().unwrap();
    let signed = CacheConfig::new(dir.path()).with_signing_key(SigningKey::from_bytes([7; 32]));
    let cache = Cache::new(signed.with_invalid_entries(InvalidEntries::Keep)).unwrap();
    cache.put_with("signed", &1u8, PutOptions::new().custom(&experiment(4))).unwrap();
    assert_eq!(epochs(&cache.query()), [40], "by a walk");
    assert_eq!(epochs(&cache.query().filter(Experiment::EXPERIMENT_ID.starts_with("exp"))), [40], "by an index");
    assert!(cache.query_custom("performance").count().unwrap_err().is_invalid_argument(), "no kind is known by them");
}

#[test]
fn archives_and_migrations_bring_rows_along_and_keep_them_unique() {
    let (cache, other, third) = (Cache::in_memory(), Cache::in_memory(), Cache::in_memory());
    filled(&cache, 20);
    let mut archive = Vec::new();
    cache.export(&mut archive).unwrap();
    third.put_with("holder", &0u8, PutOptions::new().custom(&experiment(7))).unwrap();
    assert_eq!(other.import(archive.as_slice()).unwrap().copied, 20);
    let moved = migrate_cache(&cache, &third).unwrap();
    assert_eq!((moved.copied, moved.refused), (19, 1), "one has a unique value that is taken there");
    for cache in [other, third] {
        assert_eq!(cache.query::<Experiment>().count().unwrap(), 20);
        assert_eq!(
            cache.query::<Experiment>().filter(Experiment::EPOCHS.eq(50)).first().unwrap().unwrap().value,
            experiment(5)
        );
    }
}

#[tokio::test]
async fn the_asynchronous_cache_finds_the_same() {
    let cache = AsyncCache::in_memory();
    filled(cache.blocking(), 20);
    let key = || params! { experiment: 4u32 };
    cache.put_with("last", &1u8, PutOptions::new().custom(&experiment(20))).await.unwrap();
    let good = Experiment::ACCURACY.ge(0.8);
    let query = cache.query::<Experiment>().filter(good.clone()).order_by(Experiment::EPOCHS.desc()).offset(1).limit(2);
    let same =
        cache.blocking().query::<Experiment>().filter(good).order_by(Experiment::EPOCHS.desc()).offset(1).limit(2);
    assert_eq!(query.all().await.unwrap(), same.all().unwrap());
    assert_eq!(query.first().await.unwrap(), same.first().unwrap());
    assert_eq!(query.count().await.unwrap(), same.count().unwrap());
    assert_eq!(query.sum(Experiment::EPOCHS).await.unwrap(), same.sum(Experiment::EPOCHS).unwrap());
    assert_eq!(query.avg(Experiment::EPOCHS).await.unwrap(), same.avg(Experiment::EPOCHS).unwrap());
    assert_eq!(query.min(Experiment::NOTE).await.unwrap(), same.min(Experiment::NOTE).unwrap());
    assert_eq!(query.max(Experiment::NOTE).await.unwrap(), same.max(Experiment::NOTE).unwrap());
    let by_name = cache.query_custom("experiments").matching([("epochs", 40)]);
    assert_eq!(
        by_name.all().await.unwrap(),
        cache.blocking().query_custom("experiments").matching([("epochs", 40)]).all().unwrap()
    );
    assert_eq!(cache.get_custom::<Experiment>(key()).await.unwrap(), Some(experiment(4)));
    let rows = cache.get_custom_metadata_for_entry(key()).await.unwrap();
    assert_eq!(rows, cache.blocking().get_custom_metadata_for_entry(key()).unwrap());
    assert_eq!(query.delete().await.unwrap(), 4);
    let taken = cache.put_with("another", &1u8, PutOptions::new().custom(&experiment(4))).await.unwrap_err();
    assert!(taken.is_conflict(), "{taken}");
}

#[test]
fn what_is_given_stays_as_it_was_and_so_does_what_was_found() {
    let (cache, given) = (Cache::in_memory(), experiment(3));
    let options = PutOptions::new().custom(&given).metadata("epochs", 1);
    let before = options.clone();
    cache.put_with("key", &1u8, options.clone()).unwrap();
    assert_eq!((&given, &options), (&experiment(3), &before));
    let mut found = cache.query::<Experiment>().first().unwrap().unwrap();
    assert_eq!(found.entry.metadata()["epochs"], 1.into(), "metadata of one name is another thing");
    found.value.epochs = 99;
    assert_eq!(cache.get_custom::<Experiment>("key").unwrap(), Some(given));
}
