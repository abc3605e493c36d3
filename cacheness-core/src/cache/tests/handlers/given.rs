use super::*;

#[test]
fn a_type_that_serde_does_not_know_is_put_and_fetched_by_a_handler() {
    let dir = tempfile::tempdir().unwrap();
    for inline in [0, 4096] {
        let config = CacheConfig::new(dir.path()).with_inline_bytes(inline);
        let (handler, large) = (Bytes("bytes-again", 3), Bytes("many-bytes", 3 << 20));
        let cache = Cache::new(config.clone()).unwrap();
        let key = cache.put_by(&handler, "small", &Opaque(7), PutOptions::new().tag("t")).unwrap();
        cache.put_by(&&large, "large", &Opaque(8), PutOptions::new()).unwrap();
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
    cache.unregister_handler("text").unwrap();
    assert_eq!(cache.get::<Reading>("key").unwrap(), Some(reading(1)), "it is in memory");
    cache.register_handler(text("text"), 0).unwrap();
    cache.put_by(&text("text"), "key", &reading(2), PutOptions::new()).unwrap();
    assert_eq!(cache.get::<Reading>("key").unwrap(), Some(reading(2)));
    cache.put_by(&Bytes("opaque", 1), "key", &Opaque(1), PutOptions::new()).unwrap();
    assert_eq!(cache.get::<Reading>("key").unwrap(), None);
}

#[test]
fn copies_updates_batches_and_migrations_keep_or_choose_the_handler() {
    let cache = with_memory(false);
    cache.register_handler(text("text"), 0).unwrap();
    cache.put_batch([("one", &reading(1)), ("two", &reading(2))]).unwrap();
    cache.put_by(&Bytes("opaque", 1), "opaque", &Opaque(1), PutOptions::new().tag("kept")).unwrap();
    assert!(cache.copy("one", "copy").unwrap() && cache.rename("two", "renamed").unwrap());
    assert!(cache.touch("copy").unwrap());
    for (key, value) in [("one", 1), ("copy", 1), ("renamed", 2)] {
        assert_eq!((wrote(&cache, key).as_str(), cache.get(key).unwrap()), ("text", Some(reading(value))), "{key}");
    }
    assert!(cache.update_data("opaque", &reading(3)).unwrap(), "by what is chosen for the new value");
    assert_eq!((wrote(&cache, "opaque").as_str(), entry(&cache, "opaque").tags()[0].as_str()), ("text", "kept"));
    assert!(cache.update_data("copy", &3u8).unwrap());
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
    cache.put_by(&text("text"), "one", &reading(1), PutOptions::new()).unwrap();
    let mut archive = Vec::new();
    cache.export(&mut archive).unwrap();
    other.import(archive.as_slice()).unwrap();
    assert_eq!(
        (wrote(&other, "one").as_str(), other.get_by(&text("text"), "one").unwrap()),
        ("text", Some(reading(1)))
    );
}

#[tokio::test]
async fn futures_use_handlers_as_threads_do() {
    let dir = tempfile::tempdir().unwrap();
    for inline in [0, 4096] {
        let config = CacheConfig::new(dir.path()).with_inline_bytes(inline).with_memory_cache(false);
        let cache = AsyncCache::new(config).await.unwrap();
        cache.register_handler(text("text"), 3).unwrap();
        cache.put("chosen", &reading(1)).await.unwrap();
        cache.put_with("named", &reading(2), PutOptions::new().handler("bincode")).await.unwrap();
        cache.put_by(&Bytes("given", 70_000), "given", &Opaque(3), PutOptions::new()).await.unwrap();
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
        assert!(cache.update_data("given", &reading(6)).await.unwrap());
        assert_eq!(cache.get::<Reading>("given").await.unwrap(), Some(reading(6)));
        assert_eq!(&*cache.list_handlers().unwrap()[0].name, "text");
        assert!(cache.unregister_handler("text").unwrap());
        assert_eq!(cache.get_stored::<Reading>("chosen").await.unwrap(), None);
        cache.clear().await.unwrap();
        cache.close().await.unwrap();
        let error = cache.put_by(&Bytes("given", 1), "given", &Opaque(3), PutOptions::new()).await.unwrap_err();
        assert!(error.is_closed() && cache.register_handler(text("text"), 3).unwrap_err().is_closed());
    }
}

#[test]
fn a_handler_never_reads_what_another_one_wrote_while_the_value_was_looked_for() {
    use crate::cache::ValueCodec;
    let cache = Cache::new(CacheConfig::in_memory().with_inline_bytes(0)).unwrap();
    let (mine, other) = (Bytes("mine", 3), Bytes("other", 3));
    cache.put_by(&mine, "key", &Opaque(7), PutOptions::new()).unwrap();
    let (engine, key) = (cache.engine().unwrap(), cache.index_key("key").unwrap());
    let mut found = engine.find(&key, None, ValueCodec::by_handler(&mine)).unwrap().unwrap();
    cache.put_by(&other, "key", &Opaque(9), PutOptions::new()).unwrap();
    let raw = engine.load(&key, &mut found, |_| None).unwrap();
    assert_eq!(engine.decode(raw, &found, ValueCodec::by_handler(&mine)).unwrap(), None, "`other` wrote it");
}

#[test]
fn a_registered_handler_never_reads_what_one_of_its_name_wrote_of_another_type_while_it_was_looked_for() {
    use crate::cache::ValueCodec;
    let cache = Cache::new(CacheConfig::in_memory().with_inline_bytes(0)).unwrap();
    let reads = text("twice");
    cache.register_handler(reads.clone(), 0).unwrap();
    cache.put("key", &reading(1)).unwrap();
    let (engine, key) = (cache.engine().unwrap(), cache.index_key("key").unwrap());
    let mut found = engine.find::<Reading>(&key, None, ValueCodec::stored()).unwrap().unwrap();
    cache.put_by(&Bytes("twice", 3), "key", &Opaque(b';'), PutOptions::new()).unwrap();
    let raw = engine.load(&key, &mut found, ValueCodec::<Reading>::stored().taken()).unwrap();
    assert_eq!(engine.decode::<Reading>(raw, &found, ValueCodec::stored()).unwrap(), None);
    assert_eq!(reads.reads.load(Ordering::Relaxed), 0, "it was asked to read an `Opaque`");
}
