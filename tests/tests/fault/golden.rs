//! Directories that were written when their format was frozen, in `tests/golden/format-N`: they are read by every release
//! with that format, and a later one reads or refuses them cleanly.
//!
//! A directory of a format is written once, by `CACHENESS_WRITE_GOLDEN=1 cargo test -p cacheness-tests --test fault golden`
//! where it is missing, and is not written over.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cacheness::blob::Repair;
use cacheness::cache::Expired;
use cacheness::config::{Codec, SigningKey};
use cacheness::{BlobOptions, BlobStore, Cache, CacheConfig, CustomMetadata, Field, PutOptions, params};
use cacheness_tests::{copy_dir, value_of};
use serde::{Deserialize, Serialize};

/// The format that is written today.
const FORMAT: u32 = 2;
const WRITE: &str = "CACHENESS_WRITE_GOLDEN";

/// A century: entries of a golden directory do not expire while it is in use.
const TTL: Duration = Duration::from_secs(3_155_760_000);

const CODECS: [Codec; 5] = [Codec::None, Codec::Lz4, Codec::Zstd, Codec::Gzip, Codec::Blosclz];

#[derive(Clone, Debug, PartialEq, CustomMetadata)]
#[metadata(name = "golden runs")]
struct Run {
    model: String,
    epoch: u32,
    accuracy: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Reading {
    Nothing,
    Number(i64),
    Text { text: String, at: Option<f32> },
}

/// Serde cannot tell its variants apart without looking at them, so that it is stored in another format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Loose {
    Number(u8),
    Words(Vec<String>),
}

fn run() -> Run {
    Run { model: "small".into(), epoch: 7, accuracy: 0.5 }
}

fn readings() -> Vec<Reading> {
    vec![Reading::Nothing, Reading::Number(-7), Reading::Text { text: "windy".repeat(100), at: Some(1.5) }]
}

fn words() -> Loose {
    Loose::Words(vec!["one".into(), "two".into()])
}

/// Too large for the index, and worth to be compressed.
fn large() -> String {
    (0..9000).map(|n| format!("line {n}\n")).collect()
}

fn numbers() -> Vec<f64> {
    (0..5000).map(f64::from).collect()
}

fn stream() -> Vec<u8> {
    (0..40u64).flat_map(|n| value_of(n).into_iter().cycle().take(10_000)).collect()
}

fn signed(config: CacheConfig) -> CacheConfig {
    config.with_signing_key(SigningKey::from_bytes([7; 32]))
}

fn fill_cache(config: &CacheConfig) {
    for codec in CODECS {
        let cache = Cache::new(config.clone().with_codec(codec)).unwrap();
        cache.put(params! { codec: codec.to_string(), large: true }, &large()).unwrap();
        cache.put(params! { codec: codec.to_string(), large: false }, &numbers()).unwrap();
        cache.close().unwrap();
    }
    let cache = Cache::new(config.clone()).unwrap();
    (0..20u64).for_each(|n| drop(cache.put(n, &value_of(n)).unwrap()));
    cache.put("readings", &readings()).unwrap();
    cache.put("words", &words()).unwrap();
    let options = PutOptions::new().ttl(TTL).prefix("golden").tag("one").tag("two").description("all of it");
    let options = options.function("golden::function").metadata("accuracy", 0.93).metadata("stage", "live");
    cache.put_with("described", &"described".to_owned(), options.custom(&run())).unwrap();
    cache.put_with("by name", &vec![1u8, 2, 3], PutOptions::new().handler("messagepack")).unwrap();
    cache.get::<Vec<Reading>>("readings").unwrap();
    cache.close().unwrap();
}

fn check_cache(config: &CacheConfig) {
    let cache = Cache::new(config.clone()).unwrap();
    check_open_cache(&cache);
    assert_eq!(cache.get_stats().unwrap().errors, 0);
    cache.close().unwrap();
}

fn check_open_cache(cache: &Cache) {
    for codec in CODECS {
        let key = |large: bool| params! { codec: codec.to_string(), large: large };
        assert_eq!(cache.get::<String>(key(true)).unwrap(), Some(large()), "{codec}");
        assert_eq!(cache.get::<Vec<f64>>(key(false)).unwrap(), Some(numbers()), "{codec}");
    }
    assert!((0..20u64).all(|n| cache.get::<Vec<u8>>(n).unwrap() == Some(value_of(n))));
    assert_eq!(cache.get::<Vec<Reading>>("readings").unwrap(), Some(readings()));
    assert_eq!(cache.get::<Loose>("words").unwrap(), Some(words()));
    assert_eq!(cache.get::<Vec<u8>>("by name").unwrap(), Some(vec![1, 2, 3]));
    let entry = cache.get_metadata("described", Expired::Skip).unwrap().unwrap();
    assert_eq!((entry.prefix(), entry.tags()), (Some("golden"), &["one".to_owned(), "two".to_owned()][..]));
    assert_eq!((entry.description(), entry.function()), (Some("all of it"), Some("golden::function")));
    assert_eq!((entry.metadata()["accuracy"].clone(), entry.ttl()), (0.93.into(), Some(TTL)));
    assert_eq!(cache.query::<Run>().all().unwrap().into_iter().map(|found| found.value).collect::<Vec<_>>(), [run()]);
    let noted = cache.list_entries().filter(|entry| Field::param("large").eq(true).matches(entry.as_ref().unwrap()));
    assert_eq!(noted.count(), CODECS.len());
}

fn fill_store(builder: cacheness::blob::BlobStoreBuilder) {
    let store = builder.open().unwrap();
    let options = |key: &str| BlobOptions::key(key).tag("one").metadata("accuracy", 0.93).description("all of it");
    store.put_with(options("readings"), &readings()).unwrap();
    store.put_with(options("numbers"), &numbers()).unwrap();
    store.put_with(options("a/bytes"), &large().into_bytes()).unwrap();
    store.put_with(options("b/bytes"), &large().into_bytes()).unwrap();
    let mut writer = store.writer(options("stream")).unwrap();
    writer.write_all(&stream()).unwrap();
    writer.commit().unwrap();
    store.close().unwrap();
}

fn check_store(builder: cacheness::blob::BlobStoreBuilder) {
    let store = builder.open().unwrap();
    let report = store.verify(Repair::Yes).unwrap();
    assert!(report.is_whole() && report.unreferenced.is_empty() && report.newer.is_empty(), "{report:?}");
    assert_eq!(store.list("").unwrap(), ["a/bytes", "b/bytes", "numbers", "readings", "stream"]);
    assert_eq!(store.get::<Vec<Reading>>("readings").unwrap(), Some(readings()));
    assert_eq!(store.get::<Vec<f64>>("numbers").unwrap(), Some(numbers()));
    assert_eq!(store.get::<Vec<u8>>("a/bytes").unwrap(), Some(large().into_bytes()));
    assert_eq!(store.get::<Vec<u8>>("b/bytes").unwrap(), Some(large().into_bytes()));
    assert_eq!(store.get::<Vec<u8>>("stream").unwrap(), Some(stream()));
    let entry = store.get_metadata("readings").unwrap().unwrap();
    assert_eq!((entry.metadata()["accuracy"].clone(), entry.tags()), (0.93.into(), &["one".to_owned()][..]));
    store.close().unwrap();
}

fn builder(dir: &Path) -> cacheness::blob::BlobStoreBuilder {
    BlobStore::builder().dir(dir)
}

fn in_files(dir: &Path) -> CacheConfig {
    CacheConfig::new(dir).with_backend("memory").with_blob_backend("filesystem")
}

/// A kind of directory: how it is made, and how it is looked at.
struct Flavour {
    name: &'static str,
    fill: fn(&Path),
    check: fn(&Path),
}

const FLAVOURS: [Flavour; 8] = [
    Flavour {
        name: "cache",
        fill: |dir| fill_cache(&CacheConfig::new(dir)),
        check: |dir| check_cache(&CacheConfig::new(dir)),
    },
    Flavour {
        name: "signed-cache",
        fill: |dir| fill_cache(&signed(CacheConfig::new(dir))),
        check: |dir| check_cache(&signed(CacheConfig::new(dir))),
    },
    Flavour {
        name: "cache-in-files",
        fill: |dir| fill_cache(&in_files(dir)),
        check: |dir| check_cache(&in_files(dir)),
    },
    Flavour { name: "cache-not-closed", fill: fill_and_leave_open, check: |dir| check_cache(&CacheConfig::new(dir)) },
    Flavour { name: "blob-store", fill: |dir| fill_store(builder(dir)), check: |dir| check_store(builder(dir)) },
    Flavour {
        name: "content-addressable",
        fill: |dir| fill_store(builder(dir).content_addressable(true)),
        check: |dir| check_store(builder(dir).content_addressable(true)),
    },
    Flavour {
        name: "signed-blob-store",
        fill: |dir| fill_store(builder(dir).security(signed(CacheConfig::new(dir)).security)),
        check: |dir| check_store(builder(dir).security(signed(CacheConfig::new(dir)).security)),
    },
    Flavour { name: "archive", fill: export, check: import },
];

/// As a kill leaves it: everything is written, and nothing is marked as closed.
fn fill_and_leave_open(dir: &Path) {
    let other = tempfile::tempdir().unwrap();
    fill_cache(&CacheConfig::new(other.path()));
    let cache = Cache::open(other.path()).unwrap();
    cache.flush().unwrap();
    copy_dir(other.path(), dir).unwrap();
}

fn export(dir: &Path) {
    let other = tempfile::tempdir().unwrap();
    fill_cache(&CacheConfig::new(other.path()));
    fs::create_dir_all(dir).unwrap();
    let exported = Cache::open(other.path()).unwrap().export(fs::File::create(dir.join("exported")).unwrap()).unwrap();
    assert_eq!(exported.copied, exported.seen());
}

fn import(dir: &Path) {
    let cache = Cache::open(dir.join("cache")).unwrap();
    let imported = cache.import(fs::File::open(dir.join("exported")).unwrap()).unwrap();
    assert_eq!(imported.copied + imported.present, imported.seen());
    check_open_cache(&cache);
}

fn golden(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/format-{format}"))
}

fn pack(dir: &Path, file: &Path) {
    let mut tar = tar::Builder::new(zstd::Encoder::new(fs::File::create(file).unwrap(), 19).unwrap());
    tar.append_dir_all(".", dir).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
}

fn unpack(file: &Path, dir: &Path) {
    tar::Archive::new(zstd::Decoder::new(fs::File::open(file).unwrap()).unwrap()).unpack(dir).unwrap();
    // Whatever the one who checked it out lets others do.
    cacheness_tests::only_for_owner_dir(dir);
}

#[test]
fn golden_directories_of_this_format_are_read_whole() {
    let place = golden(FORMAT);
    for flavour in &FLAVOURS {
        let (file, scratch) = (place.join(format!("{}.tar.zst", flavour.name)), tempfile::tempdir().unwrap());
        if std::env::var_os(WRITE).is_some() && !file.exists() {
            fs::create_dir_all(&place).unwrap();
            let fresh = scratch.path().join("fresh");
            (flavour.fill)(&fresh);
            pack(&fresh, &file);
            println!("{} has {} bytes", file.display(), fs::metadata(&file).unwrap().len());
        }
        let dir = scratch.path().join("dir");
        fs::create_dir(&dir).unwrap();
        unpack(&file, &dir);
        println!("{}", flavour.name);
        (flavour.check)(&dir);
        (flavour.check)(&dir);
    }
}

/// What is written today is read today: a flavour that could not be read back would be frozen broken.
#[test]
fn golden_directories_made_now_are_read_whole() {
    for flavour in FLAVOURS.iter().filter(|flavour| ["cache", "content-addressable"].contains(&flavour.name)) {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("dir");
        (flavour.fill)(&dir);
        (flavour.check)(&dir);
    }
}

/// Of formats before this one: every opening gives what it can or says cleanly why not, and changes nothing then.
#[test]
fn golden_directories_of_earlier_formats_are_read_or_refused_cleanly() {
    for format in (1..FORMAT).map(golden).filter(|place| place.exists()) {
        for file in fs::read_dir(format).unwrap().map(|item| item.unwrap().path()) {
            let scratch = tempfile::tempdir().unwrap();
            unpack(&file, scratch.path());
            let opened = Cache::open(scratch.path()).map(drop).err();
            assert!(opened.is_none_or(|error| error.is_conflict()), "{}", file.display());
        }
    }
}
