//! What holds of caches and blob stores on every backend of rows with every backend of values, and the table in
//! docs/backends.md that says so.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cacheness::blob::BlobStoreBuilder;
use cacheness::blob::Repair;
use cacheness::cache::Expired;
use cacheness::clock::ManualClock;
use cacheness::config::SigningKey;
use cacheness::{BlobOptions, BlobStore, Cache, CacheConfig, CustomMetadata, Field, PutOptions, Result};
use cacheness_tests::{noise, scratch, servers};

use super::server::{Server, options};

const ROWS: [&str; 7] = ["sled", "sqlite", "postgresql", "redis", "json", "memory", "sqlite_memory"];
const VALUES: [&str; 3] = ["filesystem", "s3", "memory"];

/// Rows that end with the process.
const IN_MEMORY: [&str; 2] = ["memory", "sqlite_memory"];

#[derive(Clone, Debug, PartialEq, CustomMetadata)]
#[metadata(name = "readings")]
struct Reading {
    #[metadata(index)]
    place: String,
    level: f64,
}

/// A place for rows and values that no other test has.
#[derive(Clone)]
struct Combination {
    rows: &'static str,
    values: &'static str,
    /// Where rows are on a server: its address, and a namespace.
    server: Option<(String, String)>,
    bucket: u16,
    prefix: String,
}

impl Combination {
    fn new(rows: &'static str, values: &'static str, bucket: u16) -> Self {
        let server = match rows {
            "postgresql" => servers::postgres().map(|server| Some((server.url(), server.namespace()))),
            "redis" => servers::redis().map(|server| Some((server.url(), server.namespace()))),
            _ => Ok(None),
        };
        let server = server.unwrap();
        let of = server.as_ref().map_or("local", |(_, namespace)| namespace);
        Self { rows, values, bucket, prefix: format!("{rows}-{of}"), server }
    }

    fn cache(&self, dir: &Path) -> CacheConfig {
        let mut config = CacheConfig::new(dir).with_backend(self.rows).with_blob_backend(self.values);
        if let Some((url, namespace)) = &self.server {
            config = config.with_connection_url(url.as_str()).with_metadata_option("namespace", namespace.as_str());
            config = config.with_metadata_option("deadline_ms", 10_000);
        }
        if self.values == "s3" {
            config = config.with_blob_option("prefix", self.prefix.as_str());
            config = options(self.bucket)
                .into_iter()
                .fold(config, |config, (name, value)| config.with_blob_option(name, value));
        }
        config
    }

    fn store(&self, dir: &Path) -> BlobStoreBuilder {
        let mut builder = BlobStore::builder().dir(dir).backend(self.rows).blob_backend(self.values);
        if let Some((url, namespace)) = &self.server {
            builder = builder.connection_url(url.as_str()).metadata_option("namespace", format!("{namespace}_blobs"));
            builder = builder.metadata_option("deadline_ms", 10_000);
        }
        if self.values == "s3" {
            builder = builder.blob_option("prefix", format!("{}-blobs", self.prefix));
            builder = options(self.bucket)
                .into_iter()
                .fold(builder, |builder, (name, value)| builder.blob_option(name, value));
        }
        builder
    }

    fn outlives(&self) -> bool {
        !IN_MEMORY.contains(&self.rows) && self.values != "memory"
    }

    fn name(&self) -> String {
        format!("{} with {}", self.rows, self.values)
    }
}

fn value(n: u64) -> Vec<u8> {
    noise(n, [10, 30_000, 300_000][n as usize % 3])
}

fn filled(cache: &Cache) {
    for n in 0..6u64 {
        let reading = Reading { place: ["north", "south"][n as usize % 2].to_owned(), level: n as f64 };
        let options =
            PutOptions::new().custom(&reading).tag(format!("tag-{}", n % 2)).prefix("readings").metadata("n", n);
        cache.put_with(n, &value(n), options.ttl(Duration::from_secs(60))).unwrap();
    }
}

/// What a cache does, on whatever backends; an error is one of opening it.
fn behaves_as_a_cache(on: &Combination) -> Result<()> {
    let (dir, how) = (scratch(), on.name());
    let clock = Arc::new(ManualClock::default());
    let config = on.cache(&dir.path().join("cache"));
    let cache = Cache::with_clock_in(config.clone(), clock.clone())?;
    filled(&cache);
    for n in 0..6u64 {
        assert_eq!(cache.get::<Vec<u8>>(n).unwrap(), Some(value(n)), "{how}");
        assert_eq!(cache.get_stored::<Vec<u8>>(n).unwrap(), Some(value(n)), "{how}");
    }
    let batch: Vec<_> = cache.get_batch::<Vec<u8>, _>(0..7u64).unwrap().into_iter().map(|(_, found)| found).collect();
    assert!(
        batch[..6].iter().zip(0..).all(|(found, n)| found.as_ref() == Some(&value(n))) && batch[6].is_none(),
        "{how}"
    );
    assert_eq!((cache.len().unwrap(), cache.list_entries().count()), (6, 6), "{how}");
    assert_eq!(cache.list_entries().matching(Field::metadata("n").ge(4u64)).count(), 2, "{how}");
    let south = cache.query::<Reading>().filter(Reading::PLACE.eq("south"));
    assert_eq!((south.count().unwrap(), south.sum(Reading::LEVEL).unwrap()), (3, 9.0), "{how}");

    assert!(cache.update_data(0u64, &value(2)).unwrap());
    assert_eq!(cache.get::<Vec<u8>>(0u64).unwrap(), Some(value(2)), "{how}");
    assert!(cache.copy(1u64, "copied").unwrap() && cache.rename(2u64, "renamed").unwrap(), "{how}");
    assert_eq!(cache.get::<Vec<u8>>("copied").unwrap(), Some(value(1)), "{how}");
    assert_eq!(
        (cache.get::<Vec<u8>>("renamed").unwrap(), cache.exists(2u64).unwrap()),
        (Some(value(2)), false),
        "{how}"
    );

    clock.advance(Duration::from_secs(40));
    assert!(cache.touch(3u64).unwrap(), "{how}");
    clock.advance(Duration::from_secs(40));
    assert_eq!(
        (cache.get::<Vec<u8>>(3u64).unwrap(), cache.get::<Vec<u8>>(4u64).unwrap()),
        (Some(value(3)), None),
        "{how}"
    );
    assert!(cache.get_metadata(4u64, Expired::Include).unwrap().is_some(), "{how}");
    assert_eq!((cache.cleanup_expired().unwrap(), cache.len().unwrap()), (6, 1), "{how}");

    filled(&cache);
    assert_eq!((cache.invalidate_tag("tag-1").unwrap(), cache.len().unwrap()), (3, 3), "{how}");
    assert!(cache.invalidate(0u64).unwrap() && !cache.invalidate(0u64).unwrap(), "{how}");
    assert_eq!(cache.delete_batch([2u64, 9]).unwrap(), 1, "{how}");
    assert_eq!((cache.invalidate_prefix("readings").unwrap(), cache.len().unwrap()), (1, 0), "{how}");
    filled(&cache);
    let mut archive = Vec::new();
    assert_eq!(cache.export(&mut archive).unwrap().copied, 6, "{how}");
    assert_eq!(cache.clear().unwrap(), 6, "{how}");
    assert_eq!(cache.import(&archive[..]).unwrap().copied, 6, "{how}");
    assert_eq!(cache.get::<Vec<u8>>(5u64).unwrap(), Some(value(5)), "{how}");
    cache.close().unwrap();
    if on.outlives() {
        let cache = Cache::with_clock_in(config.clone(), clock.clone()).unwrap();
        assert_eq!(cache.get::<Vec<u8>>(5u64).unwrap(), Some(value(5)), "{how}, opened again");
        cache.close().unwrap();
        let signed = Cache::with_clock_in(config.with_signing_key(SigningKey::from_bytes([7; 32])), clock).unwrap();
        assert_eq!(signed.get::<Vec<u8>>(5u64).unwrap(), None, "{how}: it is not signed");
        signed.put(5u64, &value(5)).unwrap();
        assert_eq!(signed.get_stored::<Vec<u8>>(5u64).unwrap(), Some(value(5)), "{how}, signed");
    }
    Ok(())
}

fn behaves_as_a_blob_store(on: &Combination) -> Result<()> {
    let (dir, how) = (scratch(), on.name());
    let place = dir.path().join("blobs");
    let store = on.store(&place).open()?;
    store.put_with(BlobOptions::key("one").tag("t"), &value(1)).unwrap();
    let key = store.put(&value(2)).unwrap();
    let mut writer = store.writer("streamed").unwrap();
    writer.write_all(&value(5)).unwrap();
    writer.commit().unwrap();
    assert_eq!(store.get::<Vec<u8>>("one").unwrap(), Some(value(1)), "{how}");
    assert_eq!(store.get::<Vec<u8>>(&key).unwrap(), Some(value(2)), "{how}");
    let mut streamed = Vec::new();
    store.reader("streamed").unwrap().unwrap().read_to_end(&mut streamed).unwrap();
    assert!(streamed == value(5), "{how}");
    assert_eq!(store.list("").unwrap().len(), 3, "{how}");
    let report = store.verify(Repair::No).unwrap();
    assert!(report.is_whole(), "{how}: {report:?}");
    if on.outlives() {
        store.close().unwrap();
        let store = on.store(&place).open().unwrap();
        assert_eq!(store.get::<Vec<u8>>("one").unwrap(), Some(value(1)), "{how}, opened again");
        assert!(store.delete("one").unwrap() && !store.exists("one").unwrap(), "{how}");
        assert_eq!((store.clear().unwrap(), store.len().unwrap()), (2, 0), "{how}");
    }
    Ok(())
}

const BEGIN: &str =
    "<!-- combinations: written by the tests, `CACHENESS_WRITE_DOCS=1 cargo test --test objects combinations` -->\n";
const END: &str = "<!-- end -->";

#[test]
fn caches_and_blob_stores_behave_alike_on_every_combination_that_the_table_of_the_documentation_shows() {
    let Some(bucket) = Server::start() else { return };
    if let Some(missing) = servers::postgres().err().or(servers::redis().err()) {
        return servers::skip(&missing);
    }
    let mut table = String::from("| rows | values in files | in a bucket | in memory |\n|---|---|---|---|\n");
    for rows in ROWS {
        write!(table, "| `{rows}` |").unwrap();
        for values in VALUES {
            let on = Combination::new(rows, values, bucket.port);
            let cell = match [behaves_as_a_cache(&on), behaves_as_a_blob_store(&on)] {
                [Ok(()), Ok(())] => "cache, blob store",
                [Ok(()), Err(error)] => refused(&error, "cache"),
                [Err(error), Ok(())] => refused(&error, "blob store"),
                [Err(one), Err(_)] => refused(&one, "–"),
            };
            write!(table, " {cell} |").unwrap();
        }
        table.push('\n');
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/backends.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the page has a place for the table");
    let (written, after) = rest.split_once(END).expect("and an end of it");
    if std::env::var_os("CACHENESS_WRITE_DOCS").is_some() {
        std::fs::write(&page, format!("{before}{BEGIN}\n{table}\n{END}{after}")).unwrap();
    } else {
        assert_eq!(written.trim(), table.trim(), "docs/backends.md says something else");
    }
}

/// What is left where opening was refused, with a reason.
fn refused<'t>(error: &cacheness::CacheError, left: &'t str) -> &'t str {
    assert!(error.is_config(), "{error}");
    left
}
