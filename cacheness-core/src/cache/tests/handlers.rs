use std::io::{Read, Write};
use std::sync::atomic::AtomicU64;

use super::*;
use crate::entry::Entry;
use crate::error::ErrorKind;
use crate::handler::{Handler, HandlerError, register_handler, unregister_handler};
use crate::{Limits, migrate_cache};

type Outcome<T> = Result<T, HandlerError>;

/// Writes readings as `station;celsius`, behind its name.
#[derive(Clone)]
struct Text {
    name: &'static str,
    takes: fn(&Reading) -> bool,
    write: fn(&Reading, &mut dyn Write) -> Outcome<()>,
    read: fn(&mut dyn Read) -> Outcome<Reading>,
    reads: Arc<AtomicU64>,
}

fn text(name: &'static str) -> Text {
    Text { name, takes: |_| true, write: write_text, read: read_text, reads: Arc::default() }
}

fn write_text(reading: &Reading, to: &mut dyn Write) -> Outcome<()> {
    Ok(write!(to, "{};{}", reading.station, reading.celsius)?)
}

fn read_text(from: &mut dyn Read) -> Outcome<Reading> {
    let text = std::io::read_to_string(from)?;
    let (station, celsius) = text.rsplit_once(';').ok_or("there is no semicolon")?;
    Ok(Reading { station: station.to_owned(), celsius: celsius.parse()? })
}

impl Handler for Text {
    type Value = Reading;

    fn name(&self) -> &str {
        self.name
    }

    fn can_handle(&self, value: &Reading) -> bool {
        (self.takes)(value)
    }

    fn write(&self, value: &Reading, to: &mut dyn Write) -> Outcome<()> {
        (self.write)(value, to)
    }

    fn read(&self, from: &mut dyn Read) -> Outcome<Reading> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        (self.read)(from)
    }
}

/// What serde knows nothing of.
#[derive(Clone, Debug, PartialEq)]
struct Opaque(u8);

/// Writes the one byte, so many times.
struct Bytes(&'static str, usize);

impl Handler for Bytes {
    type Value = Opaque;

    fn name(&self) -> &str {
        self.0
    }

    fn write(&self, value: &Opaque, to: &mut dyn Write) -> Outcome<()> {
        (0..self.1).try_for_each(|_| Ok(to.write_all(&[value.0])?))
    }

    fn read(&self, from: &mut dyn Read) -> Outcome<Opaque> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        Ok(Opaque(*bytes.first().ok_or("there is nothing")?))
    }
}

fn with_memory(keeps: bool) -> Cache {
    Cache::new(CacheConfig::in_memory().with_memory_cache(keeps)).unwrap()
}

fn entry(cache: &Cache, key: &str) -> Entry {
    cache.get_metadata(key, Expired::Skip).unwrap().unwrap()
}

fn wrote(cache: &Cache, key: &str) -> String {
    entry(cache, key).handler_used().to_owned()
}

fn names(cache: &Cache) -> Vec<String> {
    let own = |info: &crate::HandlerInfo| info.builtin || info.value_type.unwrap().contains("Reading");
    cache.list_handlers().unwrap().iter().filter(|info| own(info)).map(|info| info.name.to_string()).collect()
}

#[test]
fn of_two_handlers_the_one_of_higher_priority_is_asked_first_and_the_first_that_takes_a_value_writes_it() {
    let cache = Cache::in_memory();
    cache.register_handler(text("low"), 1).unwrap();
    cache.register_handler(Text { takes: |reading| reading.celsius > 0.0, ..text("warm") }, 5).unwrap();
    cache.register_handler(Text { takes: |reading| reading.celsius > 10.0, ..text("hot") }, 9).unwrap();
    for (n, by) in [(0, "low"), (50, "warm"), (200, "hot")] {
        cache.put(&reading(n), "key").unwrap();
        assert_eq!(wrote(&cache, "key"), by);
        assert_eq!(cache.get_stored::<Reading>("key").unwrap(), Some(reading(n)));
    }
    assert_eq!(names(&cache), ["hot", "warm", "low", "bincode", "messagepack"]);
    cache.unregister_handler("low").unwrap();
    cache.put(&reading(0), "key").unwrap();
    assert_eq!(wrote(&cache, "key"), "bincode", "nobody else takes it");
    assert_eq!(cache.get_stored::<Reading>("key").unwrap(), Some(reading(0)));
}

#[test]
fn a_cache_asks_its_own_handlers_before_those_of_the_process_and_other_types_are_left_alone() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Mine(u8);
    struct Raw(&'static str);
    impl Handler for Raw {
        type Value = Mine;
        fn name(&self) -> &str {
            self.0
        }
        fn write(&self, value: &Mine, to: &mut dyn Write) -> Outcome<()> {
            Ok(to.write_all(&[value.0])?)
        }
        fn read(&self, from: &mut dyn Read) -> Outcome<Mine> {
            let mut byte = [0];
            from.read_exact(&mut byte)?;
            Ok(Mine(byte[0]))
        }
    }
    register_handler(Raw("mine-of-all"), 1_000).unwrap();
    let (cache, other) = (with_memory(false), with_memory(false));
    cache.register_handler(Raw("mine-alone"), -1_000).unwrap();
    for cache in [&cache, &other] {
        cache.put(&Mine(3), "mine").unwrap();
        cache.put(&reading(1), "reading").unwrap();
        cache.put(&std::sync::Arc::new(Mine(3)), "shared").unwrap();
        assert_eq!(cache.get::<Mine>("mine").unwrap(), Some(Mine(3)));
        assert_eq!((wrote(cache, "reading").as_str(), wrote(cache, "shared").as_str()), ("bincode", "bincode"));
    }
    assert_eq!((wrote(&cache, "mine").as_str(), wrote(&other, "mine").as_str()), ("mine-alone", "mine-of-all"));
    assert_eq!(migrate_cache(&cache, &other).unwrap().seen(), 3);
    assert!(unregister_handler("mine-of-all").unwrap() && !unregister_handler("mine-of-all").unwrap());
    assert_eq!(other.get::<Mine>("mine").unwrap(), None);
    assert_eq!(cache.get::<Mine>("mine").unwrap(), Some(Mine(3)), "its own is there");
    other.put(&Mine(4), "mine").unwrap();
    assert_eq!((wrote(&other, "mine").as_str(), other.get::<Mine>("mine").unwrap()), ("bincode", Some(Mine(4))));
}

#[test]
fn what_an_unregistered_handler_wrote_is_a_miss_that_stays_and_a_hit_when_it_is_registered_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Cache::open(dir.path()).unwrap();
    let cache = open();
    cache.register_handler(text("text"), 0).unwrap();
    cache.put(&reading(7), "key").unwrap();
    cache.close().unwrap();

    let cache = open();
    assert_eq!(cache.get::<Reading>("key").unwrap(), None);
    assert_eq!(cache.asynchronous().blocking().get_stored::<Reading>("key").unwrap(), None);
    assert!(cache.exists("key").unwrap());
    assert_eq!((wrote(&cache, "key"), entry(&cache, "key").raw_size()), ("text".to_owned(), 13));
    cache.register_handler(text("text"), 0).unwrap();
    assert_eq!(cache.get::<Reading>("key").unwrap(), Some(reading(7)));
    assert!(cache.unregister_handler("text").unwrap() && !cache.unregister_handler("text").unwrap());
    assert_eq!(cache.get_stored::<Reading>("key").unwrap(), None);
    let stats = cache.get_stats().unwrap();
    assert_eq!((stats.entries, stats.hits, stats.misses, stats.errors), (1, 1, 3, 0));
}

#[test]
fn a_handler_that_fails_or_panics_in_writing_is_an_error_and_nothing_is_stored() {
    let fails: [(Text, &str); 3] = [
        (Text { write: |_, _| Err("no ink".into()), ..text("fails") }, "handler `fails` failed in `write`: no ink"),
        (
            Text { write: |_, _| panic!("spilt"), ..text("panics") },
            "handler `panics` failed in `write`: it panicked: spilt",
        ),
        (
            Text { takes: |_| panic!("choosy"), ..text("asks") },
            "handler `asks` failed in `can_handle`: it panicked: choosy",
        ),
    ];
    for (handler, message) in fails {
        let cache = Cache::in_memory();
        cache.put(&reading(1), "key").unwrap();
        cache.register_handler(handler, 0).unwrap();
        let error = cache.put(&reading(2), "key").unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Handler, message));
        assert!(std::error::Error::source(&error).is_some());
        assert_eq!(cache.get_stored::<Reading>("key").unwrap(), Some(reading(1)));
        assert!(cache.put_batch([("a", &reading(2))]).is_err() && !cache.exists("a").unwrap());
        assert!(cache.update_data(&reading(2), "key").unwrap_err().is_handler());
        assert_eq!(cache.get_or_insert_with("made", || reading(3)).unwrap(), reading(3), "not in the way");
    }
}

#[test]
fn a_handler_that_fails_or_panics_in_reading_is_a_miss_and_the_entry_stays() {
    let reads: [fn(&mut dyn Read) -> Outcome<Reading>; 3] = [
        |_| Err("illegible".into()),
        |_| panic!("torn"),
        // One byte is left.
        |from| {
            let mut bytes = [0; 12];
            from.read_exact(&mut bytes)?;
            Ok(reading(7))
        },
    ];
    for read in reads {
        let cache = with_memory(false);
        cache.register_handler(Text { read, ..text("text") }, 0).unwrap();
        cache.put(&reading(7), "key").unwrap();
        assert_eq!(cache.get::<Reading>("key").unwrap(), None);
        assert_eq!(cache.get_with_metadata::<Reading>("key").unwrap(), None);
        assert_eq!(cache.get_batch::<Reading, _>(["key"]).unwrap()[0].1, None);
        assert_eq!(cache.get_or_insert_with("key", || reading(8)).unwrap(), reading(8));
        assert!(cache.exists("key").unwrap());
        cache.unregister_handler("text").unwrap();
        cache.register_handler(text("text"), 0).unwrap();
        assert_eq!(cache.get::<Reading>("key").unwrap(), Some(reading(8)), "the bytes are whole");
    }
}

#[test]
fn a_handler_that_writes_without_end_is_stopped_at_the_limit() {
    let limits = Limits { max_value_bytes: 1000, ..Limits::DEFAULT };
    let cache = Cache::new(CacheConfig::in_memory().with_limits(limits)).unwrap();
    let endless: fn(&Reading, &mut dyn Write) -> Outcome<()> = |_, to| loop {
        to.write_all(&[7; 64])?;
    };
    let deaf: fn(&Reading, &mut dyn Write) -> Outcome<()> = |_, to| {
        (0..100).for_each(|_| drop(to.write_all(&[7; 64])));
        Ok(())
    };
    for write in [endless, deaf] {
        cache.register_handler(Text { write, ..text("endless") }, 0).unwrap();
        let error = cache.put(&reading(1), "key").unwrap_err();
        assert!(error.is_limit() && error.to_string().contains("`endless` wrote more than 1000 bytes"), "{error}");
        assert!(!cache.exists("key").unwrap());
        cache.unregister_handler("endless").unwrap();
    }
    cache.put_by(&Bytes("most", 1000), &Opaque(1), "most", PutOptions::new()).unwrap();
    assert!(cache.put_by(&Bytes("more", 1001), &Opaque(1), "more", PutOptions::new()).unwrap_err().is_limit());
}

#[test]
fn a_handler_of_the_same_name_for_another_type_is_not_the_one_that_wrote() {
    let cache = with_memory(false);
    cache.register_handler(text("one-name"), 0).unwrap();
    cache.put(&reading(7), "key").unwrap();
    assert_eq!(cache.get_by(&Bytes("one-name", 1), "key").unwrap(), None);
    cache.unregister_handler("one-name").unwrap();
    cache.register_handler(Bytes("one-name", 1), 0).unwrap();
    assert_eq!(cache.get::<Reading>("key").unwrap(), None);
    assert_eq!(cache.get::<String>("key").unwrap(), None);
    let error = cache.register_handler(text("one-name"), 0).unwrap_err();
    assert!(error.is_config() && error.to_string().contains("Opaque` is registered already"), "{error}");
}

#[test]
fn a_damaged_value_never_reaches_a_handler() {
    let dir = tempfile::tempdir().unwrap();
    let handler = Text { read: |_| Ok(reading(0)), ..text("counts") };
    let reads = || handler.reads.load(Ordering::Relaxed);
    let open = || {
        let config = CacheConfig::new(dir.path()).with_inline_bytes(0).with_memory_cache(false);
        let cache = Cache::new(config).unwrap();
        cache.register_handler(handler.clone(), 0).unwrap();
        cache
    };
    let mut flips = 0;
    for bit in 0..13 * 8 {
        let cache = open();
        cache.put(&reading(7), "key").unwrap();
        cache.close().unwrap();
        let blob = blobs(dir.path()).pop().unwrap();
        let mut bytes = fs::read(&blob).unwrap();
        let at = bytes.windows(13).position(|window| window == b"station 7;0.7").unwrap();
        bytes[at + bit / 8] ^= 1 << (bit % 8);
        fs::write(&blob, &bytes).unwrap();
        let cache = open();
        assert_eq!(cache.get::<Reading>("key").unwrap(), None, "bit {bit}");
        assert_eq!(cache.get_by(&handler, "key").unwrap(), None);
        flips += 1;
    }
    assert_eq!((flips, reads()), (104, 0));
    let cache = open();
    cache.put(&reading(7), "key").unwrap();
    cache.get::<Reading>("key").unwrap();
    assert_eq!(reads(), 1, "or it would not count");
}

/// The files of values.
fn blobs(dir: &Path) -> Vec<std::path::PathBuf> {
    let below = |dir: &Path| fs::read_dir(dir).unwrap().map(|item| item.unwrap().path()).collect::<Vec<_>>();
    below(&dir.join("blobs")).iter().flat_map(|shard| below(shard)).collect()
}

#[test]
fn a_name_is_well_formed_its_own_and_not_built_in() {
    let cache = Cache::in_memory();
    for name in ["", "a b", "ä", "a/b", "bincode", "messagepack", "bytes", "unknown"] {
        let error = cache.register_handler(text(name), 0).unwrap_err();
        assert!(error.is_config() && error.to_string().contains(&format!("{name:?}")), "{error}");
        assert!(cache.put_by(&text(name), &reading(1), "key", PutOptions::new()).unwrap_err().is_config());
        assert!(
            cache.get_by(&text(name), "key").is_ok_and(|found| found.is_none()),
            "nothing is there to be asked for"
        );
    }
    cache.register_handler(text("text"), 0).unwrap();
    assert!(cache.register_handler(text("text"), 3).unwrap_err().is_config());
    assert!(cache.unregister_handler("bincode").unwrap_err().is_config());
    assert!(!cache.unregister_handler("never").unwrap());
}

#[test]
fn a_put_may_name_its_handler_and_a_name_that_is_not_there_is_told_with_those_that_are() {
    let cache = with_memory(false);
    cache.register_handler(text("text"), 0).unwrap();
    cache.register_handler(Text { takes: |_| false, ..text("never") }, 9).unwrap();
    let with = |name: &str| PutOptions::new().handler(name);
    for name in ["text", "bincode", "messagepack"] {
        cache.put_with(&reading(7), "key", with(name)).unwrap();
        assert_eq!(wrote(&cache, "key"), name);
        assert_eq!(cache.get::<Reading>("key").unwrap(), Some(reading(7)));
        cache.put_batch_with([("a", &reading(8))], &with(name)).unwrap();
        assert_eq!((wrote(&cache, "a").as_str(), cache.get::<Reading>("a").unwrap()), (name, Some(reading(8))));
    }
    let error = cache.put_with(&reading(8), "key", with("txet")).unwrap_err();
    assert!(error.is_config());
    assert!(
        error.to_string().ends_with("Reading` is registered and enabled; there are: never, text, bincode, messagepack")
    );
    assert!(cache.put_with(&1u8, "byte", with("text")).unwrap_err().is_config(), "of another type");
    assert!(cache.put_with(&reading(8), "key", with("never")).unwrap_err().is_handler(), "it does not take it");
    assert_eq!(cache.get::<Reading>("key").unwrap(), Some(reading(7)));
    let error = cache.put_by(&text("text"), &reading(8), "key", with("other")).unwrap_err();
    assert!(error.is_config() && error.to_string().contains("`text` is given and handler \"other\""), "{error}");
    cache.put_by(&text("text"), &reading(9), "key", with("text")).unwrap();
    assert_eq!(cache.get::<Reading>("key").unwrap(), Some(reading(9)));
}

#[test]
fn a_type_that_serde_does_not_know_is_put_and_fetched_by_a_handler() {
    let dir = tempfile::tempdir().unwrap();
    for inline in [0, 4096] {
        let config = CacheConfig::new(dir.path()).with_inline_bytes(inline);
        let (handler, large) = (Bytes("bytes-again", 3), Bytes("many-bytes", 3 << 20));
        let cache = Cache::new(config.clone()).unwrap();
        let key = cache.put_by(&handler, &Opaque(7), "small", PutOptions::new().tag("t")).unwrap();
        cache.put_by(&&large, &Opaque(8), "large", PutOptions::new()).unwrap();
        cache.close().unwrap();
        let cache = Cache::new(config).unwrap();
        let shared: Arc<dyn Handler<Value = Opaque>> = Arc::new(handler);
        assert_eq!(cache.get_by(&shared, &key).unwrap(), Some(Opaque(7)));
        assert_eq!(cache.get_by(&large, "large").unwrap(), Some(Opaque(8)));
        assert_eq!(cache.get_by(&large, "small").unwrap(), None, "another one wrote it");
        assert_eq!(cache.get_by(&Bytes("many-bytes", 0), "absent").unwrap(), None);
        let entry = entry(&cache, "small");
        assert_eq!((entry.handler_used(), entry.raw_size(), entry.tags()), ("bytes-again", 3, &["t".to_owned()][..]));
        assert!(entry.data_type().ends_with("Opaque"));
        assert_eq!(self::entry(&cache, "large").codec(), "lz4");
        assert!(self::entry(&cache, "large").size() < 1 << 20, "compressed as any other");
        let stats = cache.get_stats().unwrap();
        assert_eq!((stats.hits, stats.misses), (2, 2));
        cache.clear().unwrap();
        cache.close().unwrap();
    }
}

#[test]
fn what_is_put_by_a_handler_takes_the_value_before_it_out_of_memory() {
    let cache = Cache::in_memory();
    cache.register_handler(text("text"), 0).unwrap();
    cache.get_or_insert_with("key", || reading(1)).unwrap();
    assert_eq!(cache.get::<Reading>("key").unwrap(), Some(reading(1)));
    assert_eq!(cache.get_stats().unwrap().memory.unwrap().entries, 1);
    cache.put_by(&text("text"), &reading(2), "key", PutOptions::new()).unwrap();
    assert_eq!(cache.get::<Reading>("key").unwrap(), Some(reading(2)));
    cache.put_by(&Bytes("opaque", 1), &Opaque(1), "key", PutOptions::new()).unwrap();
    assert_eq!(cache.get::<Reading>("key").unwrap(), None);
}

#[test]
fn copies_updates_batches_and_migrations_keep_or_choose_the_handler() {
    let cache = with_memory(false);
    cache.register_handler(text("text"), 0).unwrap();
    cache.put_batch([("one", &reading(1)), ("two", &reading(2))]).unwrap();
    cache.put_by(&Bytes("opaque", 1), &Opaque(1), "opaque", PutOptions::new().tag("kept")).unwrap();
    assert!(cache.copy("one", "copy").unwrap() && cache.rename("two", "renamed").unwrap());
    assert!(cache.touch("copy").unwrap());
    for (key, value) in [("one", 1), ("copy", 1), ("renamed", 2)] {
        assert_eq!((wrote(&cache, key).as_str(), cache.get(key).unwrap()), ("text", Some(reading(value))), "{key}");
    }
    assert!(cache.update_data(&reading(3), "opaque").unwrap(), "by what is chosen for the new value");
    assert_eq!((wrote(&cache, "opaque").as_str(), entry(&cache, "opaque").tags()[0].as_str()), ("text", "kept"));
    assert!(cache.update_data(&3u8, "copy").unwrap());
    assert_eq!((wrote(&cache, "copy").as_str(), cache.get("copy").unwrap()), ("bincode", Some(3u8)));

    let dir = tempfile::tempdir().unwrap();
    let moved = Cache::open(dir.path()).unwrap();
    assert_eq!(migrate_cache(&cache, &moved).unwrap().copied, 4);
    assert_eq!(moved.get::<Reading>("one").unwrap(), None, "its handler is not there");
    moved.register_handler(text("text"), 0).unwrap();
    assert_eq!((wrote(&moved, "one").as_str(), moved.get("one").unwrap()), ("text", Some(reading(1))));
}

#[cfg(feature = "archive")]
#[test]
fn an_archive_tells_who_wrote_each_value() {
    let (cache, other) = (with_memory(false), with_memory(false));
    cache.put_by(&text("text"), &reading(1), "one", PutOptions::new()).unwrap();
    let mut archive = Vec::new();
    cache.export(&mut archive).unwrap();
    other.import(archive.as_slice()).unwrap();
    assert_eq!(
        (wrote(&other, "one").as_str(), other.get_by(&text("text"), "one").unwrap()),
        ("text", Some(reading(1)))
    );
}

#[test]
fn the_configuration_orders_handlers_and_switches_them_off() {
    let opened = |config: CacheConfig| {
        let cache = Cache::new(config.with_memory_cache(false)).unwrap();
        cache.register_handler(text("first"), 9).unwrap();
        cache.register_handler(text("second"), 5).unwrap();
        cache.put(&reading(7), "key").unwrap();
        assert_eq!(cache.get::<Reading>("key").unwrap(), Some(reading(7)));
        let by = wrote(&cache, "key");
        (cache, by)
    };
    let config = CacheConfig::in_memory;
    let (cache, by) = opened(config().with_handler_priority(["second", "not-there"]));
    assert_eq!(
        (by.as_str(), names(&cache)),
        ("second", ["second", "first", "bincode", "messagepack"].map(str::to_owned).into())
    );
    let (cache, by) = opened(config().with_handler_priority(["second", "messagepack", "first"]));
    assert_eq!(
        (by.as_str(), names(&cache)),
        ("second", ["second", "messagepack", "bincode", "first"].map(str::to_owned).into())
    );
    let (_, by) = opened(config().with_handler_priority(["messagepack", "first"]));
    assert_eq!(by, "messagepack");
    let (cache, by) = opened(config().with_disabled_handlers(["first", "bincode"]));
    assert_eq!((by.as_str(), names(&cache)), ("second", ["second", "messagepack"].map(str::to_owned).into()));
    assert!(cache.put_with(&reading(1), "key", PutOptions::new().handler("first")).unwrap_err().is_config());
    let error = cache.put_with(&reading(1), "key", PutOptions::new().handler("bincode")).unwrap_err();
    assert!(error.to_string().ends_with("there are: second, messagepack"), "{error}");
}

#[test]
fn a_disabled_handler_does_not_read_either_and_what_it_wrote_stays() {
    let dir = tempfile::tempdir().unwrap();
    let opened = |disabled: &[&str]| {
        let config = CacheConfig::new(dir.path()).with_disabled_handlers(disabled.iter().copied());
        let cache = Cache::new(config).unwrap();
        cache.register_handler(text("text"), 0).unwrap();
        cache
    };
    let cache = opened(&[]);
    cache.put(&reading(1), "text").unwrap();
    cache.put(&7u8, "bincode").unwrap();
    cache.close().unwrap();
    for (disabled, key) in [("text", "text"), ("bincode", "bincode")] {
        let cache = opened(&[disabled]);
        let found = (cache.get::<Reading>("text").unwrap().is_some(), cache.get::<u8>("bincode").unwrap().is_some());
        assert_eq!(found, (key != "text", key != "bincode"));
        assert_eq!(cache.len().unwrap(), 2);
        cache.close().unwrap();
    }
    assert_eq!(opened(&[]).get::<Reading>("text").unwrap(), Some(reading(1)));
}

#[test]
fn one_format_alone_writes_what_it_can_and_refuses_the_rest() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u64),
        Text(String),
    }
    let bincode = Cache::new(CacheConfig::in_memory().with_disabled_handlers(["messagepack"])).unwrap();
    let named = Cache::new(CacheConfig::in_memory().with_disabled_handlers(["bincode"])).unwrap();
    let error = bincode.put(&Untagged::Number(7), "key").unwrap_err();
    assert!(error.is_serialization() && error.to_string().contains("as bincode, the one format allowed"), "{error}");
    for value in [Untagged::Number(7), Untagged::Text("x".into())] {
        named.put(&value, "key").unwrap();
        assert_eq!(named.get_stored("key").unwrap(), Some(value));
    }
    let numbers = vec![0.5f64; 1000];
    named.put(&numbers, "numbers").unwrap();
    assert_eq!(
        (wrote(&named, "numbers").as_str(), named.get_stored("numbers").unwrap()),
        ("messagepack", Some(numbers))
    );
    let either = Cache::in_memory();
    either.put(&Untagged::Number(7), "key").unwrap();
    assert_eq!(either.get_stored("key").unwrap(), Some(Untagged::Number(7)), "a refusal elsewhere is not remembered");
}

#[tokio::test]
async fn futures_use_handlers_as_threads_do() {
    let dir = tempfile::tempdir().unwrap();
    for inline in [0, 4096] {
        let config = CacheConfig::new(dir.path()).with_inline_bytes(inline).with_memory_cache(false);
        let cache = AsyncCache::new(config).await.unwrap();
        cache.register_handler(text("text"), 3).unwrap();
        cache.put(&reading(1), "chosen").await.unwrap();
        cache.put_with(&reading(2), "named", PutOptions::new().handler("bincode")).await.unwrap();
        cache.put_by(&Bytes("given", 70_000), &Opaque(3), "given", PutOptions::new()).await.unwrap();
        cache.put_batch([("batch", &reading(4))]).await.unwrap();
        let made = cache.get_or_insert_with("made", || async { reading(5) }).await.unwrap();
        assert_eq!(made, reading(5));
        for (key, by, n) in [("chosen", "text", 1), ("named", "bincode", 2), ("batch", "text", 4), ("made", "text", 5)]
        {
            assert_eq!(wrote(cache.blocking(), key), by);
            assert_eq!(cache.get_stored::<Reading>(key).await.unwrap(), Some(reading(n)));
            assert_eq!(cache.get::<Reading>(key).await.unwrap(), Some(reading(n)));
        }
        assert_eq!(cache.get_by(&Bytes("given", 0), "given").await.unwrap(), Some(Opaque(3)));
        assert_eq!(cache.get_by(&Bytes("other", 0), "given").await.unwrap(), None);
        assert!(cache.update_data(&reading(6), "given").await.unwrap());
        assert_eq!(cache.get::<Reading>("given").await.unwrap(), Some(reading(6)));
        assert_eq!(&*cache.list_handlers().unwrap()[0].name, "text");
        assert!(cache.unregister_handler("text").unwrap());
        assert_eq!(cache.get_stored::<Reading>("chosen").await.unwrap(), None);
        cache.clear().await.unwrap();
        cache.close().await.unwrap();
        let error = cache.put_by(&Bytes("given", 1), &Opaque(3), "given", PutOptions::new()).await.unwrap_err();
        assert!(error.is_closed() && cache.register_handler(text("text"), 3).unwrap_err().is_closed());
    }
}
