mod damage;
mod orders;
mod rewriting;

use std::fs;
use std::path::Path;

use super::super::record::tests::record_of;
use super::*;
use crate::clock::Timestamp;
use crate::engine::index::Index;
use crate::index::backend::Totals;
use crate::index::{Group, MemoryMetadata};
use crate::security::Signing;

/// An index over sled.
struct Opened {
    index: Index,
    sled: Arc<SledIndex>,
}

impl Opened {
    fn over(sled: SledIndex, signing: &Arc<Signing>) -> Self {
        let sled = Arc::new(sled);
        let rows = Arc::clone(&sled) as Arc<dyn MetadataBackend>;
        Self { index: Index::new(rows, Arc::clone(signing), None), sled }
    }
}

impl std::ops::Deref for Opened {
    type Target = Index;

    fn deref(&self) -> &Index {
        &self.index
    }
}

fn in_memory() -> Index {
    Index::new(Arc::new(MemoryMetadata::new()), Arc::default(), None)
}

fn options(root: &Path) -> SledOptions {
    SledOptions { root: root.to_path_buf(), page_cache_bytes: 16 << 20, signing: Default::default() }
}

fn open(root: &Path) -> (Opened, Health) {
    let (sled, health) = SledIndex::open(options(root)).unwrap();
    sled.begin_use(true).unwrap();
    (Opened::over(sled, &Arc::default()), health)
}

fn filled(index: &Index, count: i64) {
    for n in 0..count {
        let (key, record) = record_of(&format!("key {n}"), n, (n % 2 == 0).then_some(1000));
        assert_eq!(index.put(&key, &record).unwrap(), None);
    }
}

fn behaves(index: &Index) {
    filled(index, 20);
    let (key, first) = record_of("key 4", 4, Some(1000));
    assert_eq!(index.get(&key).unwrap(), Some(first.clone()));
    let (_, second) = record_of("key 4", 100, None);
    assert_eq!(index.put(&key, &second).unwrap(), Some(first.clone()));
    assert!(!index.remove_expected(&key, &first).unwrap(), "another record has taken its place");
    assert!(!index.put_new(&key, &first).unwrap(), "there is one");
    let (fresh, new) = record_of("fresh", 1, None);
    assert!(index.put_new(&fresh, &new).unwrap() && index.remove_expected(&fresh, &new).unwrap());
    let one = index.footprint(&record_of("key 4", 100, None).1);
    assert_eq!(index.totals().unwrap().entries, 20);
    assert!(index.totals().unwrap().bytes.abs_diff(20 * one) < 200, "{:?}", index.totals().unwrap());

    let expired: Vec<_> = index.expired(Timestamp::from_micros(1008), 100).unwrap();
    let times: Vec<_> = expired.iter().map(|(_, record)| record.core().unwrap().created_at.as_micros()).collect();
    assert_eq!(times, [0, 2, 6, 8], "in order of expiry, and the replaced one never expires");

    let (oldest, _) = record_of("key 0", 0, Some(1000));
    index.accessed(&oldest, Timestamp::from_micros(5000));
    let used: Vec<_> = index.least_recently_used(2).unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(used, [record_of("key 1", 0, None).0, record_of("key 2", 0, None).0], "a used entry goes to the end");
    assert_eq!(index.last_access(&oldest).unwrap(), Some(Timestamp::from_micros(5000)));

    let newest = index.newest(None, 3).unwrap();
    let created = |page: &[(IndexKey, Record)]| -> Vec<_> {
        page.iter().map(|(_, record)| record.core().unwrap().created_at.as_micros()).collect()
    };
    assert_eq!(created(&newest), [100, 19, 18], "newest first");
    let (last, record) = newest.last().unwrap();
    let behind = index.newest(Some((record.core().unwrap().created_at, last)), 100).unwrap();
    assert_eq!((created(&behind)[0], behind.len()), (17, 17), "the next page begins behind the last entry of this one");
    let bounds = index.totals().unwrap().created.map(|(oldest, newest)| (oldest.as_micros(), newest.as_micros()));
    assert_eq!(bounds, Some((0, 100)));
    let (other, before) = record_of("key 6", 6, Some(1000));
    let longer = record_of("key 6", 6, Some(9000)).1;
    index.accessed(&other, Timestamp::from_micros(7000));
    assert!(!index.replace_expected(&other, &longer, &before).unwrap(), "another record is there");
    assert!(index.replace_expected(&other, &before, &longer).unwrap());
    assert_eq!(index.last_access(&other).unwrap(), Some(Timestamp::from_micros(7000)), "it is the same value");
    assert_eq!(index.expired(Timestamp::from_micros(1008), 100).unwrap().len(), 3);
    assert!(index.replace_expected(&other, &longer, &before).unwrap());

    assert_eq!(index.with_hash(key.hash()).unwrap(), [(key.clone(), second.clone())]);
    assert!(index.with_hash(key.hash() + 1).unwrap().is_empty());

    let first_page = index.group(Group::function("f"), None, 15).unwrap();
    let second_page = index.group(Group::function("f"), first_page.last().map(|(key, _)| key), 15).unwrap();
    assert_eq!((first_page.len(), second_page.len()), (15, 5));
    assert!(index.group(Group::prefix("f"), None, 15).unwrap().is_empty());
    let scanned = index.scan(None, 12).unwrap();
    assert_eq!(index.scan(scanned.last().map(|(key, _)| key), 12).unwrap().len(), 8);

    assert!(index.remove_expected(&key, &second).unwrap());
    assert_eq!(index.remove(&oldest).unwrap(), Some(record_of("key 0", 0, Some(1000)).1));
    assert_eq!(index.remove(&oldest).unwrap(), None);
    assert_eq!(index.totals().unwrap().entries, 18);
    assert!(index.totals().unwrap().bytes.abs_diff(18 * one) < 200, "{:?}", index.totals().unwrap());
    assert_eq!(index.group(Group::function("f"), None, 100).unwrap().len(), 18);
}

#[test]
fn sled_and_memory_behave_alike() {
    let root = tempfile::tempdir().unwrap();
    behaves(&open(root.path()).0);
    behaves(&in_memory());
}

#[test]
fn a_closed_index_is_found_clean_with_its_counts_and_order() {
    let root = tempfile::tempdir().unwrap();
    let (index, health) = open(root.path());
    assert_eq!(health, Health::New);
    filled(&index, 50);
    let totals = index.totals().unwrap();
    index.close().unwrap();
    assert!(index.get(&record_of("key 1", 1, None).0).unwrap_err().is_closed());
    for _ in 0..20 {
        let (index, health) = open(root.path());
        assert_eq!(health, Health::Clean);
        assert_eq!(index.totals().unwrap(), totals);
        assert_eq!(index.expired(Timestamp::MAX, 100).unwrap().len(), 25);
        index.close().unwrap();
    }
}

#[test]
fn an_index_that_was_only_flushed_is_found_with_everything_and_its_order_made_anew() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    filled(&index, 50);
    let totals = index.totals().unwrap();
    shielded("flush", || index.sled.slot().trees.as_ref().unwrap().db.flush()).unwrap();
    drop(index);
    let (index, health) = open(root.path());
    assert_eq!(health, Health::Unclean);
    assert_eq!(index.totals().unwrap(), totals);
    assert_eq!(index.expired(Timestamp::MAX, 100).unwrap().len(), 25);
    assert_eq!(index.least_recently_used(100).unwrap().len(), 50);
}

/// sled forgets what it had not written when the disk fails: here it is told to.
#[test]
fn an_error_of_the_disk_undoes_nothing_that_was_acknowledged() {
    for closes in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let (index, _) = open(root.path());
        filled(&index, 20);
        index.flush().unwrap();
        let ((replaced, old), (removed, gone)) = (record_of("key 3", 3, None), record_of("key 5", 5, None));
        let (new, first) = record_of("new", 50, None);
        let newer = record_of("key 3", 60, None).1;
        index.put(&replaced, &newer).unwrap();
        index.remove(&removed).unwrap();
        index.put(&new, &first).unwrap();
        let error = index.sled.with("write the index", |trees| {
            trees.entries.insert(replaced.as_bytes(), old.as_bytes())?;
            trees.entries.insert(removed.as_bytes(), gone.as_bytes())?;
            trees.entries.remove(new.as_bytes())?;
            Err::<(), _>(sled::Error::Io(std::io::Error::from_raw_os_error(libc::EIO)))
        });
        assert!(error.unwrap_err().is_metadata());
        let index = if closes {
            index.close().unwrap();
            open(root.path()).0
        } else {
            index
        };
        assert_eq!(index.get(&replaced).unwrap(), Some(newer));
        assert_eq!(index.get(&removed).unwrap(), None, "what was removed stays so");
        assert_eq!(index.get(&new).unwrap(), Some(first));
        assert_eq!((index.totals().unwrap().entries, index.totals().unwrap().lost), (20, 0));
        assert_eq!(index.group(Group::function("f"), None, 99).unwrap().len(), 20);
    }
}

#[test]
fn an_index_that_may_have_blobs_too_many_is_looked_at_when_it_is_opened_again() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    filled(&index, 5);
    index.doubt_blobs();
    index.close().unwrap();
    let (index, health) = open(root.path());
    assert_eq!((health, index.totals().unwrap().entries), (Health::Unclean, 5));
}

/// Closes an index, and says whether the next opening finds it as it should be.
fn is_found_clean(index: &Opened, root: &Path) -> bool {
    index.close().unwrap();
    open(root).1 == Health::Clean
}

#[test]
fn a_change_that_fails_may_be_in_and_blobs_are_looked_for_at_the_next_opening() {
    for fails in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let (index, _) = open(root.path());
        filled(&index, 5);
        let key = record_of("key 3", 3, None).0;
        let changed = index.sled.change(Change::Less, &key, |_| match fails {
            true => Err(sled::Error::Io(std::io::Error::from_raw_os_error(libc::EIO))),
            false => Ok(()),
        });
        assert_eq!(changed.is_err(), fails);
        assert_eq!(is_found_clean(&index, root.path()), !fails);
    }
}

#[test]
fn whoever_met_a_damaged_record_does_not_remove_the_sound_one_that_took_its_place() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    let (key, record) = record_of("k", 1, None);
    index.put(&key, &record).unwrap();
    assert!(!index.remove_damaged(&key).unwrap());
    assert_eq!(index.get(&key).unwrap(), Some(record));
    damage(&index, &key);
    assert!(index.get(&key).unwrap_err().is_integrity());
    assert!(index.remove_damaged(&key).unwrap());
    assert_eq!(index.get(&key).unwrap(), None);
    assert!(!index.remove_damaged(&key).unwrap());
}

fn damage(index: &Opened, key: &IndexKey) {
    index.sled.with("damage", |trees| trees.entries.insert(key.as_bytes(), b"rot")).unwrap();
}

#[test]
fn the_blob_of_a_damaged_record_that_goes_is_looked_for_at_the_next_opening() {
    let changes: [fn(&Opened, &IndexKey, &Record); 3] = [
        |index, key, record| assert_eq!(index.put(key, record).unwrap(), None),
        |index, key, _| assert_eq!(index.remove(key).unwrap(), None),
        |index, key, _| assert!(index.remove_damaged(key).unwrap()),
    ];
    for change in changes {
        let root = tempfile::tempdir().unwrap();
        let (index, _) = open(root.path());
        let (key, record) = record_of("k", 1, None);
        damage(&index, &key);
        change(&index, &key, &record);
        assert!(!is_found_clean(&index, root.path()));
    }
}

#[test]
fn a_panic_inside_sled_rebuilds_the_index_and_the_next_call_works() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    filled(&index, 50);
    index.flush().unwrap();
    let error = index.sled.with("try", |_| -> sled::Result<()> { panic!("as sled does on rot") }).unwrap_err();
    assert!(error.is_integrity());
    let (key, record) = record_of("key 3", 3, None);
    assert_eq!(index.get(&key).unwrap(), Some(record));
    assert_eq!(index.totals().unwrap().entries, 50);
    index.close().unwrap();
    assert_eq!(open(root.path()).1, Health::Damaged, "blobs whose records were lost are still to be taken up");
    assert_eq!(open(root.path()).1, Health::Unclean);
}

#[test]
fn puts_and_removals_of_one_key_side_by_side_leave_a_record_with_its_rows_or_neither() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    let (key, _) = record_of("k", 0, None);
    for burst in 0..400 {
        std::thread::scope(|scope| {
            for thread in 0..4i64 {
                let (index, key) = (&index, &key);
                scope.spawn(move || {
                    for n in 0..20 {
                        match thread % 2 {
                            0 => {
                                drop(index.put(key, &record_of("k", burst * 1000 + n * 4 + thread, Some(7)).1).unwrap())
                            }
                            _ => drop(index.remove(key).unwrap()),
                        }
                    }
                });
            }
        });
        let live = usize::from(index.get(&key).unwrap().is_some());
        let rows = [
            index.group(Group::function("f"), None, 9).unwrap().len(),
            index.least_recently_used(9).unwrap().len(),
            index.expired(Timestamp::MAX, 9).unwrap().len(),
        ];
        assert_eq!(rows, [live; 3], "burst {burst}");
        index.remove(&key).unwrap();
        assert_eq!(index.totals().unwrap(), Totals::default());
    }
}

#[test]
fn an_error_of_the_database_is_one_of_the_index_and_keeps_its_cause() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    let full = || std::io::Error::new(std::io::ErrorKind::StorageFull, "no space");
    let error = index.sled.with("read the index", |_| Err::<(), _>(sled::Error::Io(full()))).unwrap_err();
    assert!(error.is_metadata() && error.to_string().contains("cannot read the index"), "{error}");
    assert!(std::error::Error::source(&error).is_some());
    assert!(index.get(&record_of("k", 0, None).0).unwrap().is_none(), "and the next call works");
}

#[test]
fn totals_of_a_marker_that_counts_otherwise_are_not_believed() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    filled(&index, 10);
    let totals = index.totals().unwrap();
    index.close().unwrap();
    let marker = marker::Marker::read(root.path()).unwrap();
    marker.of_version_3(Sums { entries: totals.entries, bytes: 7, ..Sums::default() }).write(root.path()).unwrap();
    let (index, health) = open(root.path());
    assert_eq!((health, index.totals().unwrap()), (Health::Clean, totals));
}

#[test]
fn a_record_that_tells_the_largest_size_keeps_no_index_from_opening() {
    let root = tempfile::tempdir().unwrap();
    let (index, _) = open(root.path());
    filled(&index, 3);
    let totals = index.totals().unwrap();
    let mut entry = super::super::record::tests::entry_of("huge", 1, None);
    entry.core.stored_size = u64::MAX;
    let payload = super::super::Payload::Blob(crate::storage::BlobName::unique());
    let record = Record::new(&entry, &payload, 1 << 20, Signing::off()).unwrap();
    index.put(&entry.key, &record).unwrap();
    index.flush().unwrap();
    drop(index);
    let (index, health) = open(root.path());
    assert_eq!((health, index.totals().unwrap().entries), (Health::Unclean, 4));
    index.remove(&entry.key).unwrap();
    assert_eq!((index.totals().unwrap().entries, index.totals().unwrap().bytes), (3, totals.bytes));
}

#[cfg(target_os = "linux")]
#[test]
fn a_message_names_the_directory_that_a_handle_leads_to() {
    use std::os::fd::AsRawFd;
    let root = tempfile::tempdir().unwrap();
    let handle = fs::File::open(root.path()).unwrap();
    let way = Path::new("/proc/self/fd").join(handle.as_raw_fd().to_string());
    let dir = root.path().canonicalize().unwrap();
    assert_eq!((crate::index::shown(&way), crate::index::shown(&way.join("index"))), (dir.clone(), dir.join("index")));
    assert_eq!(crate::index::shown(root.path()), root.path());
}
