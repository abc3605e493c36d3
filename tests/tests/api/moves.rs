//! Entries on their way from one backend to another, and what each backend makes of archives, signatures and damage.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cacheness::blob::Repair;
use cacheness::cache::{Expired, migrate_cache};
use cacheness::config::{SecurityConfig, SigningKey};
use cacheness::{BlobOptions, BlobStore, Cache, CacheConfig, CustomMetadata, PutOptions};
use cacheness_tests::servers::skip;
use cacheness_tests::{noise, on_postgres, on_redis, scratch, servers};

/// Those whose entries are gone with the process.
const IN_MEMORY: [&str; 2] = ["memory", "sqlite_memory"];

/// Those whose entries are there after the end of the process.
fn persistent() -> Vec<&'static str> {
    let servers = [("postgresql", servers::postgres().err()), ("redis", servers::redis().err())];
    let there = servers.into_iter().filter_map(|(name, missing)| match missing {
        None => Some(name),
        Some(why) => {
            skip(&why);
            None
        }
    });
    ["sled", "json", "sqlite"].into_iter().chain(there).collect()
}

/// All that are built in.
fn backends() -> Vec<&'static str> {
    persistent().into_iter().chain(IN_MEMORY).collect()
}

#[derive(Clone, Debug, PartialEq, CustomMetadata)]
#[metadata(name = "readings")]
struct Reading {
    #[metadata(index)]
    id: u64,
    #[metadata(index)]
    place: String,
}

fn reading(n: u64) -> Reading {
    Reading { id: n, place: ["north", "south"][n as usize % 2].to_owned() }
}

fn config(dir: &Path, backend: &str, signed: bool) -> CacheConfig {
    let config = on(backend, CacheConfig::new(dir));
    if signed { config.with_signing_key(SigningKey::from_bytes([7; 32])) } else { config }
}

/// A cache on a backend, in a namespace of its own where a server has the rows.
fn on(backend: &str, config: CacheConfig) -> CacheConfig {
    match backend {
        "postgresql" => on_postgres(config).unwrap(),
        "redis" => on_redis(config).unwrap(),
        other => config.with_backend(other),
    }
}

/// Entries of every kind: small and large, with and without custom metadata, tagged, with a time to live.
fn fill(cache: &Cache) {
    for n in 0..6 {
        let options =
            PutOptions::new().custom(&reading(n)).tag("read").description("a reading").ttl(Duration::from_secs(3600));
        cache.put_with(n, &noise(n, 100 + n as usize * 20_000), options).unwrap();
    }
    cache.put("plain", &"text".to_owned()).unwrap();
}

fn check(cache: &Cache, how: &str) {
    for n in 0..6 {
        assert_eq!(cache.get(n).unwrap(), Some(noise(n, 100 + n as usize * 20_000)), "{how}: {n}");
        assert_eq!(cache.get_custom::<Reading>(n).unwrap(), Some(reading(n)), "{how}: {n}");
        let entry = cache.get_metadata(n, Expired::Skip).unwrap().unwrap();
        assert_eq!((entry.tags(), entry.description()), (&["read".to_owned()][..], Some("a reading")), "{how}: {n}");
        assert_eq!(entry.ttl().map(|ttl| ttl.as_secs()), Some(3600), "{how}: {n}");
    }
    assert_eq!(cache.get("plain").unwrap(), Some("text".to_owned()), "{how}");
    let south = cache.query::<Reading>().filter(Reading::PLACE.eq("south")).all().unwrap();
    assert_eq!(south.len(), 3, "{how}");
    assert_eq!(cache.len().unwrap(), 7, "{how}");
}

#[test]
fn entries_keep_all_that_is_said_of_them_on_their_way_between_every_two_backends() {
    let pairs = backends().into_iter().flat_map(|from| backends().into_iter().map(move |to| (from, to)));
    for (from, to) in pairs {
        let how = format!("from {from} to {to}");
        let dir = scratch();
        // Signed on one side: each cache signs what it takes over with the key of its own.
        let (old_config, new_config) =
            (config(&dir.path().join("old"), from, false), config(&dir.path().join("new"), to, true));
        let (old, new) = (Cache::new(old_config).unwrap(), Cache::new(new_config.clone()).unwrap());
        fill(&old);
        assert_eq!(migrate_cache(&old, &new).unwrap().copied, 7, "{how}");
        assert_eq!(migrate_cache(&old, &new).unwrap().present, 7, "{how}: nothing is copied twice");
        check(&old, &how);
        check(&new, &how);
        new.close().unwrap();
        if !IN_MEMORY.contains(&to) {
            check(&Cache::new(new_config).unwrap(), &format!("{how}, opened again"));
        }
    }
}

#[test]
fn an_archive_of_one_backend_is_read_by_every_other() {
    for from in backends() {
        let dir = scratch();
        // What never leaves the process is not signed.
        let signed = !IN_MEMORY.contains(&from);
        let old = Cache::new(config(&dir.path().join("old"), from, signed)).unwrap();
        fill(&old);
        let mut archive = Vec::new();
        assert_eq!(old.export(&mut archive).unwrap().copied, 7, "{from}");
        for to in backends() {
            let new = Cache::new(config(&dir.path().join(format!("{to}-new")), to, signed)).unwrap();
            assert_eq!(new.import(&archive[..]).unwrap().copied, 7, "from {from} to {to}");
            check(&new, &format!("by archive from {from} to {to}"));
        }
    }
}

#[test]
fn what_one_key_signed_is_a_miss_with_another_on_every_backend_and_a_hit_again_with_the_first() {
    for backend in persistent() {
        let dir = scratch();
        let config = on(backend, CacheConfig::new(dir.path()));
        let open = |key| Cache::new(config.clone().with_signing_key(key)).unwrap();
        let (ours, theirs) = (SigningKey::from_bytes([7; 32]), SigningKey::from_bytes([8; 32]));
        let cache = open(ours.clone());
        fill(&cache);
        cache.close().unwrap();
        let cache = open(theirs);
        assert_eq!(cache.get::<Vec<u8>>(1u64).unwrap(), None, "{backend}");
        assert_eq!(cache.get::<String>("plain").unwrap(), None, "{backend}");
        cache.close().unwrap();
        let cache = open(ours);
        check(&cache, backend);
    }
}

fn blob_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(blob_files(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files
}

#[test]
fn a_blob_store_on_every_backend_is_signed_and_finds_what_is_damaged() {
    for backend in persistent() {
        for signed in [false, true] {
            let how = format!("{backend}, signed: {signed}");
            let dir = scratch();
            let mut security = SecurityConfig::default();
            security.signing = signed;
            security.signing_key = signed.then(|| SigningKey::from_bytes([7; 32]));
            let config = on(backend, CacheConfig::new(dir.path())).metadata;
            let mut builder = BlobStore::builder().dir(dir.path()).backend(backend).security(security);
            for (name, value) in config.options {
                builder = builder.metadata_option(name, value);
            }
            if let Some(url) = config.connection_url {
                builder = builder.connection_url(url);
            }
            let store = builder.clone().open().unwrap();
            for n in 0..4u64 {
                store.put_with(BlobOptions::key(n.to_string()).metadata("n", n), &noise(n, 30_000)).unwrap();
            }
            store.put_with("gone", &1u8).unwrap();
            assert!(store.delete("gone").unwrap(), "{how}");
            assert!(store.verify(Repair::No).unwrap().is_whole(), "{how}");
            store.close().unwrap();

            let files = blob_files(&dir.path().join("blobs"));
            assert_eq!(files.len(), 4, "{how}");
            let mut bytes = fs::read(&files[0]).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&files[0], bytes).unwrap();
            let store = builder.open().unwrap();
            let report = store.verify(Repair::Yes).unwrap();
            assert_eq!((report.checked, report.damaged.len()), (4, 1), "{how}: {report:?}");
            let whole = (0..4u64).filter(|n| store.get(&n.to_string()).unwrap() == Some(noise(*n, 30_000))).count();
            assert_eq!((whole, store.len().unwrap()), (3, 3), "{how}");
        }
    }
}

#[test]
fn a_content_addressable_store_on_a_server_is_refused_with_the_reason() {
    for backend in persistent().into_iter().filter(|backend| ["postgresql", "redis"].contains(backend)) {
        let dir = scratch();
        let config = on(backend, CacheConfig::new(dir.path())).metadata;
        let builder = BlobStore::builder().dir(dir.path()).backend(backend).content_addressable(true);
        let error = builder.connection_url(config.connection_url.unwrap()).open().unwrap_err();
        assert!(error.is_config() && error.to_string().contains("how many entries share a blob"), "{error}");
    }
}
