//! The orders of an index, also where they are made anew.

use super::*;

fn times_and_keys(index: &Index) -> [Vec<IndexKey>; 4] {
    let keys = |found: Result<Vec<(IndexKey, Record)>>| found.unwrap().into_iter().map(|(key, _)| key).collect();
    [
        keys(index.expired(Timestamp::MAX, 100)),
        keys(index.least_recently_used(100)),
        keys(index.newest(None, 100)),
        keys(index.group(Group::function("f"), None, 100)),
    ]
}

#[test]
fn an_entry_that_was_used_between_others_stands_between_them() {
    let root = tempfile::tempdir().unwrap();
    for index in [&*open(root.path()).0, &in_memory()] {
        filled(index, 10);
        index.accessed(&record_of("key 0", 0, None).0, Timestamp::from_micros(4));
        let order: Vec<_> = index.least_recently_used(10).unwrap().into_iter().map(|(key, _)| key).collect();
        let place = |n: i64| order.iter().position(|key| *key == record_of(&format!("key {n}"), n, None).0).unwrap();
        assert!(place(3) < place(0) && place(0) < place(5), "{order:?}");
    }
}

/// The row of an entry in use moves on while it is looked at; following it must end.
#[test]
fn an_entry_that_is_read_all_the_time_does_not_keep_the_eviction_from_ending() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    filled(&index, 10);
    let (hot, _) = record_of("key 3", 3, None);
    let done = AtomicBool::new(false);
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut time = 1000;
            while !done.load(Ordering::Relaxed) && start.elapsed().as_secs() < 10 {
                time += 1;
                index.accessed(&hot, Timestamp::from_micros(time));
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(index.least_recently_used(64).unwrap().len(), 10);
        done.store(true, Ordering::Relaxed);
    });
    assert!(start.elapsed().as_secs() < 10, "it ended when the reader did");
}

#[test]
fn orders_that_were_not_saved_or_are_damaged_are_made_anew_and_are_the_same() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    filled(&index, 50);
    index.accessed(&record_of("key 3", 3, None).0, Timestamp::from_micros(900));
    let before = times_and_keys(&index);
    assert_eq!(before[1].last(), Some(&record_of("key 3", 3, None).0), "the one that was used goes last");
    index.close().unwrap();
    let file = root.path().join("index.orders");
    let whole = fs::read(&file).unwrap();
    let reopened = |bytes: Option<&[u8]>| {
        match bytes {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let (index, health) = open(root.path());
        assert_eq!(health, Health::Clean);
        assert_eq!(times_and_keys(&index), before);
        index.close().unwrap();
    };
    reopened(Some(&whole));
    reopened(None);
    for step in 0..20 {
        let mut flipped = whole.clone();
        flipped[whole.len() * step / 20] ^= 1 << (step % 8);
        reopened(Some(&flipped));
    }
}

#[test]
fn the_orders_of_an_earlier_close_are_not_believed() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    filled(&index, 10);
    index.close().unwrap();
    let old = fs::read(root.path().join("index.orders")).unwrap();
    let (index, _) = open(root.path());
    let (key, record) = record_of("another", 999, Some(5));
    index.put(&key, &record).unwrap();
    index.close().unwrap();
    fs::write(root.path().join("index.orders"), old).unwrap();
    let (index, _) = open(root.path());
    assert_eq!(index.newest(None, 1).unwrap()[0].0, key);
    assert_eq!(index.group(Group::function("f"), None, 100).unwrap().len(), 11);
}

#[test]
fn a_use_is_known_after_a_kill_if_it_was_flushed() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    filled(&index, 10);
    let (used, _) = record_of("key 0", 0, None);
    index.accessed(&used, Timestamp::from_micros(700));
    index.flush().unwrap();
    drop(index);
    let (index, health) = open(root.path());
    assert_eq!(health, Health::Unclean);
    assert_eq!(index.last_access(&used).unwrap(), Some(Timestamp::from_micros(700)));
    assert_eq!(index.least_recently_used(10).unwrap()[9].0, used);
}

#[test]
fn of_two_keys_with_one_hash_either_can_go_and_the_other_stays_in_every_order() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    let twins: [(IndexKey, Record); 2] = [b'a', b'b'].map(|last| {
        let mut entry = crate::index::record::tests::entry_of("k", 10, Some(20));
        let mut bytes = entry.key.as_bytes().to_vec();
        bytes.push(last);
        entry.key = IndexKey::from_stored(&bytes).unwrap();
        (entry.key.clone(), Record::new(&entry, &crate::index::Payload::Inline(b"v"), 1 << 20, Signing::off()).unwrap())
    });
    for gone in [0, 1] {
        twins.iter().for_each(|(key, record)| drop(index.put(key, record).unwrap()));
        index.remove(&twins[gone].0).unwrap();
        for found in times_and_keys(&index) {
            assert_eq!(found, [twins[1 - gone].0.clone()], "without {gone}");
        }
        index.remove(&twins[1 - gone].0).unwrap();
        assert_eq!((times_and_keys(&index), index.totals().unwrap().created), (Default::default(), None));
    }
}

#[test]
fn orders_that_somebody_without_the_key_wrote_keep_no_entry_from_being_found_by_its_function() {
    let root = tempfile::tempdir().unwrap();
    let signing = Arc::new(Signing::with(crate::security::SigningKey::from_bytes([1; 32]), []));
    let options = SledOptions { signing: Arc::clone(&signing), ..options(root.path()) };
    let (sled, _) = SledIndex::open(options.clone()).unwrap();
    sled.begin_use(true).unwrap();
    let index = Opened::over(sled, &signing);
    let entry = crate::index::record::tests::entry_of("key", 1, None);
    let record = Record::new(&entry, &crate::index::Payload::Inline(b"value"), 1 << 16, &signing).unwrap();
    index.put(&entry.key, &record).unwrap();
    index.close().unwrap();

    let mut marker = marker::Marker::read(root.path()).unwrap();
    marker.orders = saved::write(root.path(), &Tables::default()).unwrap();
    marker.write(root.path()).unwrap();

    let (sled, health) = SledIndex::open(options).unwrap();
    let index = Opened::over(sled, &signing);
    assert_eq!(health, Health::Clean);
    assert!(index.get(&entry.key).unwrap().unwrap().is_believed());
    assert_eq!(index.group(Group::function("f"), None, 9).unwrap().len(), 1, "clearing the function leaves its value");
    assert_eq!(index.newest(None, 9).unwrap().len(), 1, "a listing leaves it out");
    assert_eq!(index.least_recently_used(9).unwrap().len(), 1, "it is never evicted");
}
