//! What is left of an index after damage, and that nothing older comes back.

use super::*;

/// Rot in the database of an older value whose record is whole: only the sums can tell that it is not the live one.
#[test]
fn an_older_record_that_a_damaged_index_gives_back_is_not_believed() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    filled(&index, 50);
    index.close().unwrap();
    let old = fs::read(root.path().join("index/db")).unwrap();
    let (index, _) = open(root.path());
    let (key, newer) = record_of("key 7", 99, None);
    index.put(&key, &newer).unwrap();
    index.close().unwrap();
    fs::write(root.path().join("index/db"), old).unwrap();
    let (index, health) = open(root.path());
    assert_eq!(health, Health::Damaged);
    assert_eq!(index.get(&key).unwrap(), None, "the value before the last put must not come back");
    assert_eq!(index.totals().unwrap().entries, 49);
}

/// A closed index with what was in it at the close; before that, entries were replaced and removed.
struct Closed {
    root: tempfile::TempDir,
    files: Vec<(&'static str, Vec<u8>)>,
    current: Vec<(IndexKey, Option<Record>)>,
}

impl Closed {
    fn with(count: i64) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (index, _) = open(root.path());
        filled(&index, count);
        index.close().unwrap();
        let (index, _) = open(root.path());
        for n in (0..count).step_by(5) {
            let (key, newer) = record_of(&format!("key {n}"), 10_000 + n, None);
            index.put(&key, &newer).unwrap();
        }
        for n in (1..count).step_by(5) {
            index.remove(&record_of(&format!("key {n}"), n, None).0).unwrap();
        }
        let keys = (0..count).map(|n| record_of(&format!("key {n}"), n, None).0);
        let current = keys.map(|key| (key.clone(), index.get(&key).unwrap())).collect();
        index.close().unwrap();
        let files =
            ["index/db", "index.clean", "index.orders"].map(|name| (name, fs::read(root.path().join(name)).unwrap()));
        Self { root, files: files.to_vec(), current }
    }

    /// Opens it with another database; says how many entries are there, each of them the current one.
    fn opened_with(&self, db: &[u8]) -> u64 {
        for (name, bytes) in &self.files {
            fs::write(self.root.path().join(name), bytes).unwrap();
        }
        fs::write(self.root.path().join("index/db"), db).unwrap();
        let (index, health) = open(self.root.path());
        assert_eq!(health, Health::Damaged);
        for (key, current) in &self.current {
            let found = index.get(key).unwrap();
            assert!(found.is_none() || found == *current, "{key}: an older state came back");
        }
        index.sled.count_losses();
        let had = self.current.iter().filter(|(_, record)| record.is_some()).count() as u64;
        let Totals { entries, lost, .. } = index.totals().unwrap();
        assert_eq!(entries + lost, had, "what is lost is told");
        index.close().unwrap();
        entries
    }
}

#[test]
fn one_flipped_bit_costs_the_entry_it_hits_and_brings_no_older_state_back() {
    let closed = Closed::with(200);
    let whole = &closed.files[0].1;
    let had = closed.opened_with(&[whole.as_slice(), &[0]].concat());
    assert_eq!(had, 160, "none is lost while all bytes are there");
    for step in 0..40 {
        let mut flipped = whole.clone();
        flipped[whole.len() * step / 40 + step] ^= 1 << (step % 8);
        assert!(closed.opened_with(&flipped) >= had - 1, "step {step} of 40");
    }
}

#[test]
fn lost_pages_swapped_pages_and_a_file_cut_short_bring_no_older_state_back() {
    let closed = Closed::with(200);
    let whole = &closed.files[0].1;
    let mut seen = Vec::new();
    for step in 0..8 {
        let (page, at) = (4096, (whole.len() / 4096 * step / 8) * 4096);
        let mut zeroed = whole.clone();
        zeroed[at..at + page].fill(0);
        seen.push(closed.opened_with(&zeroed));
        let mut swapped = whole.clone();
        swapped.copy_within(at..at + page, 0);
        seen.push(closed.opened_with(&swapped));
        seen.push(closed.opened_with(&whole[..at]));
    }
    assert!(seen.iter().any(|entries| *entries > 0) && seen.iter().any(|entries| *entries < 160), "{seen:?}");
}

#[test]
fn where_nothing_proves_what_is_current_no_value_of_a_damaged_index_is_returned() {
    let closed = Closed::with(50);
    let root = closed.root.path();
    fs::remove_file(root.join("index.orders")).unwrap();
    let mut db = closed.files[0].1.clone();
    db[2000] ^= 1;
    fs::write(root.join("index/db"), db).unwrap();
    let (index, health) = open(root);
    assert_eq!((health, index.totals().unwrap().entries), (Health::Damaged, 0));
}

#[test]
fn an_older_index_beside_a_damaged_one_does_not_come_back() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    filled(&index, 20);
    index.flush().unwrap();
    let (old, kept) = (root.path().join("index.old"), record_of("key 3", 3, None).0);
    fs::create_dir(&old).unwrap();
    fs::copy(root.path().join("index/db"), old.join("db")).unwrap();
    fs::copy(root.path().join("index/conf"), old.join("conf")).unwrap();
    for n in (0..20).filter(|n| *n != 3) {
        index.remove(&record_of(&format!("key {n}"), n, None).0).unwrap();
    }
    index.flush().unwrap();
    assert!(index.sled.with("try", |_| -> sled::Result<()> { panic!("as sled does on rot") }).is_err());
    assert_eq!(index.scan(None, 99).unwrap().into_iter().map(|(key, _)| key).collect::<Vec<_>>(), [kept]);
}

/// Rot in the log of a closed index, and how many entries are left of it.
fn rotten(closed: &Closed) -> (Vec<u8>, u64) {
    let mut db = closed.files[0].1.clone();
    let middle = db.len() / 2;
    db[middle] ^= 1;
    let left = closed.opened_with(&db);
    (db, left)
}

#[test]
fn an_opening_that_ended_while_it_carried_over_takes_no_proof_from_the_next() {
    let closed = Closed::with(100);
    let (db, left) = rotten(&closed);
    assert!(left >= 79, "{left} of 80");
    let root = closed.root.path();
    let damaged = || {
        for (name, bytes) in &closed.files {
            fs::write(root.join(name), bytes).unwrap();
        }
        fs::write(root.join("index/db"), &db).unwrap();
        let _ = fs::remove_file(root.join("index.rebuilding"));
    };
    let comes_back = |when: &str| {
        let (index, health) = open(root);
        assert_eq!((health, index.totals().unwrap().entries), (Health::Damaged, left), "{when}");
        for (key, current) in &closed.current {
            let found = index.get(key).unwrap();
            assert!(found.is_none() || found == *current, "{when}, {key}: an older state came back");
        }
        index.close().unwrap();
        assert!(!root.join("index.rebuilding").exists(), "{when}");
    };

    damaged();
    let quarantine = root.join("quarantine");
    fs::rename(&quarantine, root.join("elsewhere")).unwrap();
    fs::write(&quarantine, "in the way").unwrap();
    assert!(SledIndex::open(options(root)).is_err(), "it cannot be set aside");
    fs::remove_file(&quarantine).unwrap();
    comes_back("it could not be set aside");

    damaged();
    drop(SledIndex::open(options(root)).unwrap());
    comes_back("killed before it was taken into use");

    damaged();
    fs::write(root.join("index.rebuilding"), "damaged").unwrap();
    fs::create_dir_all(quarantine.join("index.part")).unwrap();
    comes_back("killed while the copy was made");

    damaged();
    fs::create_dir_all(quarantine.join("index")).unwrap();
    fs::copy(root.join("index/db"), quarantine.join("index/db")).unwrap();
    fs::remove_dir_all(root.join("index")).unwrap();
    drop(Trees::open_at(&root.join("index"), &options(root)).unwrap());
    fs::write(root.join("index.rebuilding"), "aside").unwrap();
    comes_back("killed while the new index was filled");
}

#[test]
fn damage_met_in_use_is_not_forgotten_where_it_cannot_be_carried_over_at_once() {
    for closes_first in [false, true] {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(crate::storage::vfs::publish::STAGING)).unwrap();
        let (index, _) = open(root.path());
        filled(&index, 50);
        index.flush().unwrap();
        let (key, newer) = record_of("key 7", 99, None);
        index.put(&key, &newer).unwrap();
        index.flush().unwrap();
        let quarantine = root.path().join("quarantine");
        fs::write(&quarantine, "in the way").unwrap();
        let db = root.path().join("index/db");
        let broken = index.sled.with("break down", |_| -> sled::Result<()> {
            let mut bytes = fs::read(&db)?;
            let at = bytes.windows(newer.as_bytes().len()).rposition(|found| found == newer.as_bytes()).unwrap();
            bytes[at] ^= 1;
            fs::write(&db, bytes)?;
            panic!("as sled does on rot")
        });
        assert!(broken.is_err());
        assert!(index.get(&key).is_err(), "nothing is read from damaged files");
        if closes_first {
            assert!(index.close().is_err(), "what is left is not carried over");
            fs::remove_file(&quarantine).unwrap();
            let (index, health) = open(root.path());
            assert_eq!(
                (health, index.get(&key).unwrap()),
                (Health::Damaged, None),
                "the older value must not come back"
            );
            continue;
        }
        fs::remove_file(&quarantine).unwrap();
        *index.sled.last_reopening.lock().unwrap() = None;
        assert_eq!(index.get(&key).unwrap(), None, "this call opens it again, and the older value must not come back");
        assert_eq!((index.totals().unwrap().entries, index.totals().unwrap().lost), (49, 1));
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_place_of_the_log_is_not_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    filled(&index, 5);
    index.close().unwrap();
    let db = root.path().join("index/db");
    fs::remove_file(&db).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&db).status().unwrap().success());
    let (index, health) = open(root.path());
    assert_eq!((health, index.totals().unwrap().entries), (Health::Damaged, 0));
}
