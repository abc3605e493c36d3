//! An index that is written anew while it is in use.

use super::*;

fn big(key: &str, created: i64) -> (IndexKey, Record) {
    let entry = super::super::super::record::tests::entry_of(key, created, None);
    let value = vec![created as u8; 3000];
    let payload = super::super::super::Payload::Inline(&value);
    let record = Record::new(&entry, &payload, 1 << 20, Signing::off()).unwrap();
    (entry.key, record)
}

/// Leaves 100 of 1,500 entries; returns the length of the log before.
fn mostly_dead(index: &Opened, len: impl Fn() -> u64) -> u64 {
    for n in 0..1500 {
        let (key, record) = big(&format!("key {n}"), n);
        index.put(&key, &record).unwrap();
    }
    index.flush().unwrap();
    let before = len();
    for n in 0..1400 {
        index.remove(&big(&format!("key {n}"), n).0).unwrap();
    }
    before
}

#[test]
fn an_index_of_which_most_is_dead_is_written_anew_and_has_what_was_changed_meanwhile() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    let len = || fs::metadata(root.path().join("index/db")).unwrap().len();
    let before = mostly_dead(&index, len);
    let steps = std::cell::Cell::new(0);
    let meanwhile = || {
        steps.set(steps.get() + 1);
        if steps.get() == 1 {
            let (key, record) = big("key 1490", 7000);
            index.put(&key, &record).unwrap();
            index.remove(&big("key 1491", 0).0).unwrap();
            let (key, record) = big("new", 8000);
            index.put(&key, &record).unwrap();
        }
        true
    };
    index.give_back_room(&meanwhile).unwrap();
    assert!(steps.get() > 0 && len() < before / 3, "{} of {before} bytes", len());
    let look = |index: &Opened| {
        assert_eq!(index.totals().unwrap().entries, 100);
        assert_eq!(index.scan(None, 999).unwrap().len(), 100);
        assert_eq!(index.get(&big("key 1490", 0).0).unwrap(), Some(big("key 1490", 7000).1));
        assert_eq!(index.get(&big("key 1491", 0).0).unwrap(), None);
        assert_eq!(index.get(&big("new", 0).0).unwrap(), Some(big("new", 8000).1));
    };
    look(&index);
    index.close().unwrap();
    let (index, health) = open(root.path());
    assert_eq!(health, Health::Clean);
    look(&index);
    assert!(!root.path().join("index.old").exists() && !root.path().join("index.next").exists());
}

#[test]
fn a_crash_while_an_index_is_written_anew_leaves_the_old_one_or_the_new_one() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    filled(&index, 20);
    index.flush().unwrap();
    drop(index);
    let [index, next, old] = ["index", "index.next", "index.old"].map(|name| root.path().join(name));
    let there = |when: &str| {
        let (opened, health) = open(root.path());
        assert_eq!((health, opened.totals().unwrap().entries), (Health::Unclean, 20), "{when}");
        drop(opened);
        assert!(!next.exists() && !old.exists(), "{when}");
    };
    fs::create_dir(&next).unwrap();
    fs::write(next.join("db"), "half").unwrap();
    there("while the new one is built");
    fs::create_dir(&next).unwrap();
    fs::rename(&index, &old).unwrap();
    there("between the two names");
    fs::create_dir(&old).unwrap();
    there("before the old one is removed");
}

#[test]
fn an_index_that_is_always_changed_is_not_written_anew_for_ever_and_the_next_try_comes_later() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    mostly_dead(&index, || 0);
    let (steps, next) = (std::cell::Cell::new(0i64), root.path().join("index.next"));
    let meanwhile = || {
        assert!(steps.replace(steps.get() + 1) < 500, "it has no end");
        for n in 0..300 {
            let (key, record) = record_of(&format!("other {n}"), steps.get(), None);
            index.put(&key, &record).unwrap();
        }
        true
    };
    index.give_back_room(&meanwhile).unwrap();
    let tried = steps.get();
    assert!(tried > 0 && !next.exists(), "what was built in vain is removed");
    filled(&index, 500);
    index.give_back_room(&meanwhile).unwrap();
    assert_eq!(steps.get(), tried, "the pause is longer than after a success");
    for n in 0..2000 {
        index.put(&record_of("one", n, None).0, &record_of("one", n, None).1).unwrap();
    }
    index.give_back_room(&|| true).unwrap();
    assert_eq!(index.totals().unwrap().entries, 100 + 300 + 500 + 1);
    index.close().unwrap();
    assert_eq!(open(root.path()).0.totals().unwrap().entries, 901);
}

#[test]
fn a_close_waits_for_the_end_of_writing_the_index_anew() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    mostly_dead(&index, || 0);
    let (began, begins) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let index = &index;
        scope.spawn(move || {
            let go_on = || {
                began.send(()).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(50));
                true
            };
            index.give_back_room(&go_on).unwrap();
            drop(began);
        });
        begins.recv().unwrap();
        index.close().unwrap();
        drop(index.sled.rewriting.end());
        assert!(!root.path().join("index.next").exists());
        begins.iter().for_each(drop);
    });
    let (index, health) = open(root.path());
    assert_eq!((health, index.totals().unwrap().entries), (Health::Clean, 100));
}

#[test]
fn a_file_with_the_name_of_what_is_left_of_an_index_keeps_no_index_from_opening() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    filled(&index, 20);
    index.close().unwrap();
    ["index.next", "index.old"].iter().for_each(|name| fs::write(root.path().join(name), "no directory").unwrap());
    let (index, health) = open(root.path());
    assert_eq!((health, index.totals().unwrap().entries), (Health::Clean, 20));
    assert!(!root.path().join("index.old").exists());
}
