//! Backends by their names: built in, registered by a program, or unknown.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use cacheness::backend::{
    BackendOptions, BlobBackend, MemoryBlobs, MemoryMetadata, MetadataBackend, OptionValue, Swap, get_blob_backend,
    get_metadata_backend, list_blob_backends, list_metadata_backends, register_blob_backend, register_metadata_backend,
    unregister_blob_backend, unregister_metadata_backend,
};
use cacheness::{BlobStore, Cache, CacheConfig, Result, cached};
use cacheness_tests::{noise, scratch};

/// Registers one backend in memory for all that is opened by this name.
fn register_rows(name: &str) -> Arc<MemoryMetadata> {
    let rows = Arc::new(MemoryMetadata::new());
    let all = Arc::clone(&rows);
    register_metadata_backend(name, move |_| Ok(Arc::clone(&all) as Arc<dyn MetadataBackend>), "for a test").unwrap();
    rows
}

fn json(dir: &Path) -> CacheConfig {
    CacheConfig::new(dir).with_backend("json")
}

#[test]
fn a_registered_metadata_backend_keeps_the_entries_of_a_cache() {
    let dir = scratch();
    let rows = register_rows("api-rows");
    let cache = Cache::new(CacheConfig::new(dir.path()).with_backend("api-rows")).unwrap();
    cache.put("one", &1u32).unwrap();
    cache.put("large", &noise(1, 10_000)).unwrap();
    assert_eq!(rows.totals().unwrap().entries, 2);
    assert_eq!(cache.get_stats().unwrap().backend, "memory", "as its traits say");
    assert_eq!((cache.get("one").unwrap(), cache.get("large").unwrap()), (Some(1u32), Some(noise(1, 10_000))));
    assert!(cache.invalidate("one").unwrap());
    assert_eq!(rows.totals().unwrap().entries, 1);
}

#[test]
fn a_name_is_free_again_when_its_backend_is_unregistered() {
    register_rows("api-free");
    let again = || register_metadata_backend("api-free", |_| Ok(Arc::new(MemoryMetadata::new())), "again");
    assert!(again().unwrap_err().is_conflict());
    assert!(unregister_metadata_backend("api-free").unwrap());
    assert!(!unregister_metadata_backend("api-free").unwrap());
    again().unwrap();
    assert!(unregister_metadata_backend("sled").unwrap_err().is_invalid_argument());
}

#[test]
fn an_unknown_backend_is_refused_with_the_names_of_those_that_are_there() {
    register_rows("api-known");
    let dir = scratch();
    let config = CacheConfig::new(dir.path()).with_backend("sledd").with_blob_backend("filesystm");
    let message = config.validate().unwrap_err().to_string();
    assert!(message.contains("metadata.backend is \"sledd\": no such backend, choose sled, memory, json"), "{message}");
    assert!(message.contains("api-known") && message.contains("blob.backend is \"filesystm\""), "{message}");
    let error = get_metadata_backend("sledd", &BackendOptions::new()).unwrap_err();
    assert!(error.is_config() && error.to_string().contains("api-known"), "{error}");
    let infos = list_metadata_backends();
    let builtin: Vec<_> = infos.iter().filter(|info| info.builtin).map(|info| info.name.as_str()).collect();
    assert_eq!(builtin, ["sled", "memory", "json", "sqlite", "sqlite_memory", "postgresql", "redis"]);
    let mine = infos.iter().find(|info| info.name == "api-known").unwrap();
    assert_eq!((mine.builtin, mine.description.as_str()), (false, "for a test"));
}

#[test]
fn options_of_a_registered_backend_come_from_a_file_and_one_of_a_built_in_backend_is_refused() {
    let seen = Arc::new(std::sync::Mutex::new(None));
    let told = Arc::clone(&seen);
    let open = move |options: &BackendOptions| -> Result<Arc<dyn MetadataBackend>> {
        let (url, port) = (options.required_text("connection_url")?.to_owned(), options.integer("port")?);
        options.only(&["connection_url", "port"])?;
        *told.lock().unwrap() = Some((url, port, options.dir()?.exists()));
        Ok(Arc::new(MemoryMetadata::new()))
    };
    register_metadata_backend("api-options", open, "for a test").unwrap();
    let dir = scratch();
    let text = |options: &str| {
        let place = dir.path().display();
        format!("storage.cache_dir = '{place}'\nmetadata.backend = 'api-options'\n[metadata.options]\n{options}")
    };
    let open = |options: &str| Cache::new(CacheConfig::from_toml(&text(options))?);
    drop(open("connection_url = 'db://host'\nport = 5432").unwrap());
    assert_eq!(seen.lock().unwrap().take(), Some(("db://host".to_owned(), Some(5432), true)));
    let cases = [
        ("", "metadata.options.connection_url: this backend needs it"),
        ("connection_url = 5", "metadata.options.connection_url: 5 is not a string"),
        (
            "connection_url = 'x'\nprt = 1",
            "metadata.options.prt: there is no such option, choose connection_url or port",
        ),
    ];
    for (options, expected) in cases {
        assert_eq!(open(options).unwrap_err().to_string(), expected);
    }
    let config = CacheConfig::new(dir.path()).with_metadata_option("pages", OptionValue::Integer(3));
    let message = config.validate().unwrap_err().to_string();
    assert!(message.contains("metadata.options is pages = 3: the backend `sled` has no options"), "{message}");
}

#[test]
fn a_registered_blob_backend_keeps_the_values_of_a_cache() {
    let (dir, blobs) = (scratch(), MemoryBlobs::new());
    let all = blobs.clone();
    register_blob_backend("api-blobs", move |_| Ok(Arc::new(all.clone())), "for a test").unwrap();
    let config = CacheConfig::new(dir.path()).with_blob_backend("api-blobs");
    let cache = Cache::new(config.clone()).unwrap();
    cache.put("large", &noise(2, 10_000)).unwrap();
    cache.close().unwrap();
    assert_eq!(blobs.page(None, 9).unwrap().len(), 1);
    let cache = Cache::new(config).unwrap();
    assert_eq!(cache.get("large").unwrap(), Some(noise(2, 10_000)), "also after a new opening");
    cache.clear().unwrap();
    cache.close().unwrap();
    assert_eq!(blobs.page(None, 9).unwrap(), []);
    assert!(list_blob_backends().iter().any(|info| info.name == "api-blobs"));
    assert!(get_blob_backend("api-blobs", &BackendOptions::new()).is_ok());
    assert!(unregister_blob_backend("api-blobs").unwrap());
    assert!(get_blob_backend("api-blobs", &BackendOptions::new()).unwrap_err().is_config());
}

#[test]
fn the_rows_of_a_closed_cache_can_be_opened_by_their_backend_alone() {
    for backend in ["sled", "json"] {
        let dir = scratch();
        let cache = Cache::new(CacheConfig::new(dir.path()).with_backend(backend)).unwrap();
        cache.put("one", &1u32).unwrap();
        let options = BackendOptions::new().with_dir(dir.path());
        assert!(get_metadata_backend(backend, &options).unwrap_err().is_locked(), "{backend}: a cache has it open");
        cache.close().unwrap();
        let rows = get_metadata_backend(backend, &options).unwrap();
        assert_eq!(rows.totals().unwrap().entries, 1, "{backend}");
        assert!(Cache::open(dir.path()).is_err(), "{backend}: the rows are in use");
        rows.close().unwrap();
        let cache = Cache::new(CacheConfig::new(dir.path()).with_backend(backend)).unwrap();
        assert_eq!(cache.get("one").unwrap(), Some(1u32), "{backend}");
    }
}

#[test]
fn a_cache_and_a_blob_store_on_json_are_there_after_a_new_opening() {
    #[cached(cache = cache, skip(cache))]
    fn square(cache: &Cache, n: u64) -> u64 {
        n * n
    }

    let dir = scratch();
    let cache = Cache::new(json(dir.path())).unwrap();
    assert_eq!(square(&cache, 7), 49);
    cache.put("large", &noise(3, 50_000)).unwrap();
    cache.put("gone", &1u8).unwrap();
    cache.invalidate("gone").unwrap();
    cache.close().unwrap();
    let text = fs::read_to_string(dir.path().join("index.json")).unwrap();
    assert!(text.contains("square") && !dir.path().join("index").exists(), "{text}");

    let cache = Cache::new(json(dir.path())).unwrap();
    assert_eq!(square(&cache, 7), 49);
    let stats = cache.get_stats().unwrap();
    assert_eq!((stats.hits, stats.backend), (1, "json"));
    assert_eq!(cache.get("large").unwrap(), Some(noise(3, 50_000)));
    assert_eq!(cache.get::<u8>("gone").unwrap(), None);

    let dir = scratch();
    let store = || BlobStore::builder().dir(dir.path()).backend("json").open().unwrap();
    store().put_with("blob", &noise(4, 9_000)).unwrap();
    assert_eq!(store().get("blob").unwrap(), Some(noise(4, 9_000)));
}

#[test]
fn a_cache_and_a_blob_store_on_sqlite_are_there_after_a_new_opening() {
    let dir = scratch();
    let config = || CacheConfig::new(dir.path()).with_backend("sqlite");
    let cache = Cache::new(config()).unwrap();
    cache.put("small", &1u32).unwrap();
    cache.put("large", &noise(3, 50_000)).unwrap();
    cache.put("gone", &1u8).unwrap();
    cache.invalidate("gone").unwrap();
    cache.close().unwrap();
    assert!(dir.path().join("index.sqlite3").exists() && !dir.path().join("index").exists());

    let cache = Cache::new(config()).unwrap();
    assert_eq!((cache.get("small").unwrap(), cache.get("large").unwrap()), (Some(1u32), Some(noise(3, 50_000))));
    assert_eq!(cache.get::<u8>("gone").unwrap(), None);
    assert_eq!(cache.get_stats().unwrap().backend, "sqlite");

    let dir = scratch();
    let store = || BlobStore::builder().dir(dir.path()).backend("sqlite").open().unwrap();
    store().put_with("blob", &noise(4, 9_000)).unwrap();
    assert_eq!(store().get("blob").unwrap(), Some(noise(4, 9_000)));
}

#[test]
fn sqlite_in_memory_writes_nothing_to_the_disk() {
    let dir = scratch();
    let place = dir.path().join("nothing");
    let cache = Cache::new(CacheConfig::new(&place).with_backend("sqlite_memory")).unwrap();
    cache.put("large", &noise(3, 50_000)).unwrap();
    assert_eq!(cache.get("large").unwrap(), Some(noise(3, 50_000)));
    assert_eq!(cache.get_stats().unwrap().backend, "sqlite_memory");
    assert!(!place.exists());
    let files = CacheConfig::new(&place).with_backend("sqlite_memory").with_blob_backend("filesystem");
    let cache = Cache::new(files.clone()).unwrap();
    cache.put("large", &noise(3, 50_000)).unwrap();
    cache.close().unwrap();
    assert_eq!(Cache::new(files).unwrap().get("large").unwrap(), Some(noise(3, 50_000)), "taken up from its file");
}

#[test]
fn a_database_is_named_by_code_and_by_a_file_and_a_bad_one_is_refused_by_its_field() {
    let dir = scratch();
    let (cache, path) = (dir.path().join("cache"), dir.path().join("rows.db"));
    let text = |rest: &str| format!("storage.cache_dir = '{}'\nmetadata.backend = 'sqlite'\n{rest}", cache.display());
    let open = |rest: &str| Cache::new(CacheConfig::from_toml(&text(rest))?);
    let named =
        format!("metadata.database_url = 'sqlite:///{}'\nmetadata.options.busy_timeout_ms = 100", path.display());
    open(&named).unwrap().put("one", &1u32).unwrap();
    assert!(path.exists() && !cache.join("index.sqlite3").exists());
    assert_eq!(open(&named).unwrap().get("one").unwrap(), Some(1u32));
    for (rest, expected) in [
        (
            "metadata.database_url = 'postgresql://h/d'",
            "metadata.database_url is \"postgresql://h/d\": \"postgresql\" is",
        ),
        ("metadata.options.busy_timeout = 1", "metadata.options.busy_timeout: there is no such option, choose"),
        ("metadata.options.page_cache_mb = 0", "metadata.options.page_cache_mb: 0 is not from 1 to 16384"),
        ("metadata.database_url = 'a'\nmetadata.options.database_url = 'b'", "leave one of them out"),
    ] {
        let error = open(rest).unwrap_err();
        assert!(error.is_config() && error.to_string().contains(expected), "{error}");
    }
    let sled = CacheConfig::new(&cache).with_database_url("rows.db").validate().unwrap_err().to_string();
    assert!(sled.contains("metadata.database_url is \"rows.db\": the backend `sled` has no such database"), "{sled}");
}

#[test]
fn a_database_is_not_used_by_two_directories_whose_blobs_it_would_mix_up() {
    let dir = scratch();
    let url = format!("sqlite:///{}", dir.path().join("rows.db").display());
    let config =
        |name: &str| CacheConfig::new(dir.path().join(name)).with_backend("sqlite").with_database_url(url.as_str());
    let first = Cache::new(config("first")).unwrap();
    first.put("large", &noise(3, 50_000)).unwrap();
    let error = Cache::new(config("second")).unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("another cache directory"), "{error}");
    first.close().unwrap();
    assert!(Cache::new(config("second")).unwrap_err().is_conflict());
    assert_eq!(Cache::new(config("first")).unwrap().get("large").unwrap(), Some(noise(3, 50_000)));
}

#[test]
fn a_damaged_json_index_costs_the_values_in_it_and_none_in_a_file() {
    let dir = scratch();
    let cache = Cache::new(json(dir.path())).unwrap();
    cache.put("small", &1u32).unwrap();
    cache.put("large", &noise(5, 50_000)).unwrap();
    cache.close().unwrap();
    let file = dir.path().join("index.json");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let cache = Cache::new(json(dir.path())).unwrap();
    assert_eq!(cache.get::<u32>("small").unwrap(), None);
    assert_eq!(cache.get("large").unwrap(), Some(noise(5, 50_000)));
    cache.close().unwrap();
    let cache = Cache::new(json(dir.path())).unwrap();
    assert_eq!(cache.get("large").unwrap(), Some(noise(5, 50_000)));
}

#[test]
fn a_directory_with_rows_of_one_backend_is_not_opened_with_another() {
    for (made, opened) in
        [("sled", "json"), ("json", "sled"), ("json", "memory"), ("sqlite", "sled"), ("sled", "sqlite")]
    {
        let dir = scratch();
        let config = |backend| CacheConfig::new(dir.path()).with_backend(backend).with_blob_backend("filesystem");
        let cache = Cache::new(config(made)).unwrap();
        cache.put("one", &1u32).unwrap();
        cache.close().unwrap();
        let error = Cache::new(config(opened)).unwrap_err();
        assert!(error.is_conflict() && error.to_string().contains(&format!("`{made}`")), "{error}");
        assert_eq!(Cache::new(config(made)).unwrap().get("one").unwrap(), Some(1u32));
    }
}

#[test]
fn rows_of_another_format_are_refused_and_stay() {
    let dir = scratch();
    let cache = Cache::new(json(dir.path())).unwrap();
    cache.put("one", &1u32).unwrap();
    cache.close().unwrap();
    let rows = get_metadata_backend("json", &BackendOptions::new().with_dir(dir.path())).unwrap();
    let swap = Swap { expected: Some(b"2"), new: Some(b"3") };
    assert_eq!(rows.state("cacheness.format", Some(swap)).unwrap().as_deref(), Some(&b"3"[..]));
    rows.close().unwrap();
    let before = fs::read(dir.path().join("index.json")).unwrap();
    let error = Cache::new(json(dir.path())).unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("format \"3\""), "{error}");
    assert_eq!(fs::read(dir.path().join("index.json")).unwrap(), before);
}

#[test]
fn values_in_memory_behind_rows_that_outlive_the_process_are_refused() {
    let dir = scratch();
    let persistent =
        |_: &BackendOptions| get_metadata_backend("json", &BackendOptions::new().with_dir(scratch().keep()));
    register_metadata_backend("api-persistent", persistent, "for a test").unwrap();
    let config = CacheConfig::new(dir.path()).with_backend("api-persistent").with_blob_backend("memory");
    let error = Cache::new(config).unwrap_err();
    assert!(error.is_config() && error.to_string().contains("list values that are gone"), "{error}");
}
