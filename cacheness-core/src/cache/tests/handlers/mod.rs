mod configured;
mod failing;
mod files;
mod given;

use std::io::{Read, Write};
use std::sync::atomic::AtomicU64;

use super::*;
use crate::cache::migrate_cache;
use crate::codec::handler::{Handler, HandlerError, register_handler, unregister_handler};
use crate::config::Limits;
use crate::entry::Entry;
use crate::error::ErrorKind;

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

/// Those that could write a `Reading`, in order.
fn names(cache: &Cache) -> Vec<String> {
    let of_serde = |info: &crate::HandlerInfo| info.builtin && crate::NativeFormat::named(&info.name).is_none();
    let own =
        |info: &crate::HandlerInfo| of_serde(info) || info.value_type.is_some_and(|name| name.contains("Reading"));
    cache.list_handlers().unwrap().iter().filter(|info| own(info)).map(|info| info.name.to_string()).collect()
}

#[test]
fn of_two_handlers_the_one_of_higher_priority_is_asked_first_and_the_first_that_takes_a_value_writes_it() {
    let cache = Cache::in_memory();
    cache.register_handler(text("low"), 1).unwrap();
    cache.register_handler(Text { takes: |reading| reading.celsius > 0.0, ..text("warm") }, 5).unwrap();
    cache.register_handler(Text { takes: |reading| reading.celsius > 10.0, ..text("hot") }, 9).unwrap();
    for (n, by) in [(0, "low"), (50, "warm"), (200, "hot")] {
        cache.put("key", &reading(n)).unwrap();
        assert_eq!(wrote(&cache, "key"), by);
        assert_eq!(cache.get_stored::<Reading>("key").unwrap(), Some(reading(n)));
    }
    assert_eq!(names(&cache), ["hot", "warm", "low", "bincode", "messagepack"]);
    cache.unregister_handler("low").unwrap();
    cache.put("key", &reading(0)).unwrap();
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
        cache.put("mine", &Mine(3)).unwrap();
        cache.put("reading", &reading(1)).unwrap();
        cache.put("shared", &std::sync::Arc::new(Mine(3))).unwrap();
        assert_eq!(cache.get::<Mine>("mine").unwrap(), Some(Mine(3)));
        assert_eq!((wrote(cache, "reading").as_str(), wrote(cache, "shared").as_str()), ("bincode", "bincode"));
    }
    assert_eq!((wrote(&cache, "mine").as_str(), wrote(&other, "mine").as_str()), ("mine-alone", "mine-of-all"));
    assert_eq!(migrate_cache(&cache, &other).unwrap().seen(), 3);
    assert!(unregister_handler("mine-of-all").unwrap() && !unregister_handler("mine-of-all").unwrap());
    assert_eq!(other.get::<Mine>("mine").unwrap(), None);
    assert_eq!(cache.get::<Mine>("mine").unwrap(), Some(Mine(3)), "its own is there");
    other.put("mine", &Mine(4)).unwrap();
    assert_eq!((wrote(&other, "mine").as_str(), other.get::<Mine>("mine").unwrap()), ("bincode", Some(Mine(4))));
}

#[test]
fn what_an_unregistered_handler_wrote_is_a_miss_that_stays_and_a_hit_when_it_is_registered_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Cache::open(dir.path()).unwrap();
    let cache = open();
    cache.register_handler(text("text"), 0).unwrap();
    cache.put("key", &reading(7)).unwrap();
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
