use super::*;

#[test]
fn a_put_may_name_its_handler_and_a_name_that_is_not_there_is_told_with_those_that_are() {
    let cache = with_memory(false);
    cache.register_handler(text("text"), 0).unwrap();
    cache.register_handler(Text { takes: |_| false, ..text("never") }, 9).unwrap();
    let with = |name: &str| PutOptions::new().handler(name);
    for name in ["text", "bincode", "messagepack"] {
        cache.put_with("key", &reading(7), with(name)).unwrap();
        assert_eq!(wrote(&cache, "key"), name);
        assert_eq!(cache.get::<Reading>("key").unwrap(), Some(reading(7)));
        cache.put_batch_with([("a", &reading(8))], &with(name)).unwrap();
        assert_eq!((wrote(&cache, "a").as_str(), cache.get::<Reading>("a").unwrap()), (name, Some(reading(8))));
    }
    let error = cache.put_with("key", &reading(8), with("txet")).unwrap_err();
    assert!(error.is_invalid_argument());
    assert!(
        error.to_string().ends_with("Reading` is registered and enabled; there are: never, text, bincode, messagepack")
    );
    assert!(cache.put_with("byte", &1u8, with("text")).unwrap_err().is_invalid_argument(), "of another type");
    assert!(cache.put_with("key", &reading(8), with("never")).unwrap_err().is_handler(), "it does not take it");
    assert_eq!(cache.get::<Reading>("key").unwrap(), Some(reading(7)));
    let error = cache.put_by(&text("text"), "key", &reading(8), with("other")).unwrap_err();
    assert!(
        error.is_invalid_argument() && error.to_string().contains("`text` is given and handler \"other\""),
        "{error}"
    );
    cache.put_by(&text("text"), "key", &reading(9), with("text")).unwrap();
    assert_eq!(cache.get::<Reading>("key").unwrap(), Some(reading(9)));
}

#[test]
fn the_configuration_orders_handlers_and_switches_them_off() {
    let opened = |config: CacheConfig| {
        let cache = Cache::new(config.with_memory_cache(false)).unwrap();
        cache.register_handler(text("first"), 9).unwrap();
        cache.register_handler(text("second"), 5).unwrap();
        cache.put("key", &reading(7)).unwrap();
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
    assert!(cache.put_with("key", &reading(1), PutOptions::new().handler("first")).unwrap_err().is_invalid_argument());
    let error = cache.put_with("key", &reading(1), PutOptions::new().handler("bincode")).unwrap_err();
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
    cache.put("text", &reading(1)).unwrap();
    cache.put("bincode", &7u8).unwrap();
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
    let error = bincode.put("key", &Untagged::Number(7)).unwrap_err();
    assert!(error.is_serialization() && error.to_string().contains("as bincode, the one format allowed"), "{error}");
    for value in [Untagged::Number(7), Untagged::Text("x".into())] {
        named.put("key", &value).unwrap();
        assert_eq!(named.get_stored("key").unwrap(), Some(value));
    }
    let numbers = vec![0.5f64; 1000];
    named.put("numbers", &numbers).unwrap();
    assert_eq!(
        (wrote(&named, "numbers").as_str(), named.get_stored("numbers").unwrap()),
        ("messagepack", Some(numbers))
    );
    let either = Cache::in_memory();
    either.put("key", &Untagged::Number(7)).unwrap();
    assert_eq!(either.get_stored("key").unwrap(), Some(Untagged::Number(7)), "a refusal elsewhere is not remembered");
}
