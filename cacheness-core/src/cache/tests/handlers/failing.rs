use super::*;
use crate::config::UnsignedEntries;

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
        cache.put("key", &reading(1)).unwrap();
        cache.register_handler(handler, 0).unwrap();
        let error = cache.put("key", &reading(2)).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Handler, message));
        assert!(std::error::Error::source(&error).is_some());
        assert_eq!(cache.get_stored::<Reading>("key").unwrap(), Some(reading(1)));
        assert!(cache.put_batch([("a", &reading(2))]).is_err() && !cache.exists("a").unwrap());
        assert!(cache.update_data("key", &reading(2)).unwrap_err().is_handler());
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
        cache.put("key", &reading(7)).unwrap();
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
        let error = cache.put("key", &reading(1)).unwrap_err();
        assert!(error.is_limit() && error.to_string().contains("`endless` wrote more than 1000 bytes"), "{error}");
        assert!(!cache.exists("key").unwrap());
        cache.unregister_handler("endless").unwrap();
    }
    cache.put_by(&Bytes("most", 1000), "most", &Opaque(1), PutOptions::new()).unwrap();
    assert!(cache.put_by(&Bytes("more", 1001), "more", &Opaque(1), PutOptions::new()).unwrap_err().is_limit());
}

#[test]
fn a_handler_of_the_same_name_for_another_type_is_not_the_one_that_wrote() {
    let cache = with_memory(false);
    cache.register_handler(text("one-name"), 0).unwrap();
    cache.put("key", &reading(7)).unwrap();
    assert_eq!(cache.get_by(&Bytes("one-name", 1), "key").unwrap(), None);
    cache.unregister_handler("one-name").unwrap();
    cache.register_handler(Bytes("one-name", 1), 0).unwrap();
    assert_eq!(cache.get::<Reading>("key").unwrap(), None);
    assert_eq!(cache.get::<String>("key").unwrap(), None);
    let error = cache.register_handler(text("one-name"), 0).unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("Opaque` is registered already"), "{error}");
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
        cache.put("key", &reading(7)).unwrap();
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
    cache.put("key", &reading(7)).unwrap();
    cache.get::<Reading>("key").unwrap();
    assert_eq!(reads(), 1, "or it would not count");
}

#[test]
fn what_is_not_signed_never_reaches_a_handler() {
    let dir = tempfile::tempdir().unwrap();
    let handler = text("counts");
    let put = Cache::open(dir.path()).unwrap();
    put.put_by(&handler, "key", &reading(7), PutOptions::new()).unwrap();
    put.close().unwrap();
    let mut signed = CacheConfig::new(dir.path()).with_signing_key(crate::SigningKey::from_bytes([7; 32]));
    for (unsigned, found) in [(UnsignedEntries::Refuse, None), (UnsignedEntries::Accept, Some(reading(7)))] {
        signed.security.unsigned_entries = unsigned;
        let cache = Cache::new(signed.clone()).unwrap();
        assert_eq!(cache.get_by(&handler, "key").unwrap(), found);
        assert_eq!(handler.reads.load(Ordering::Relaxed), u64::from(found.is_some()));
        cache.close().unwrap();
    }
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
        assert!(error.is_invalid_argument() && error.to_string().contains(&format!("{name:?}")), "{error}");
        assert!(cache.put_by(&text(name), "key", &reading(1), PutOptions::new()).unwrap_err().is_invalid_argument());
        assert!(
            cache.get_by(&text(name), "key").is_ok_and(|found| found.is_none()),
            "nothing is there to be asked for"
        );
    }
    cache.register_handler(text("text"), 0).unwrap();
    assert!(cache.register_handler(text("text"), 3).unwrap_err().is_conflict());
    assert!(cache.unregister_handler("bincode").unwrap_err().is_invalid_argument());
    assert!(!cache.unregister_handler("never").unwrap());
}
