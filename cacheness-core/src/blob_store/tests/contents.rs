use std::io::Write;

use super::*;
use crate::util::digest::{hex, identity};

fn addressable() -> Fixture {
    fixture_with(|builder| builder.content_addressable(true))
}

fn stream(store: &BlobStore, options: BlobOptions, bytes: &[u8]) -> String {
    let mut writer = store.writer(options).unwrap();
    writer.write_all(bytes).unwrap();
    writer.commit().unwrap().name().unwrap().to_owned()
}

#[test]
fn equal_bytes_have_one_key_and_one_file_however_they_come_in() {
    let f = addressable();
    for bytes in [noise(300_000), vec![5u8; 300_000], b"small".to_vec(), Vec::new()] {
        let before = f.blobs().len();
        let keys = [
            f.store.put(&bytes).unwrap(),
            stream(&f.store, BlobOptions::new(), &bytes),
            f.store.put(&bytes).unwrap(),
            f.store.put_with(hex(&identity(&bytes)), &bytes).unwrap(),
        ];
        assert!(keys.iter().all(|key| *key == hex(&identity(&bytes))), "{keys:?}");
        assert_eq!(f.blobs().len(), before + 1);
        assert!(f.store.get::<Vec<u8>>(&keys[0]).unwrap().as_ref() == Some(&bytes));
    }
    assert_eq!((f.store.len().unwrap(), f.count("staging")), (4, 0));
    assert!(f.store.verify(Repair::No).unwrap().unreferenced.is_empty());
}

#[test]
fn equal_bytes_of_different_types_are_different_contents() {
    let f = addressable();
    let keys = [f.store.put(&1u64).unwrap(), f.store.put(&1i64).unwrap(), f.store.put(&(1u32, 0u32)).unwrap()];
    assert_eq!(f.store.len().unwrap(), 3);
    assert_eq!(f.store.get::<u64>(&keys[0]).unwrap(), Some(1));
    assert_eq!(f.store.get::<i64>(&keys[1]).unwrap(), Some(1));
    assert_eq!(f.store.get::<(u32, u32)>(&keys[2]).unwrap(), Some((1, 0)));
}

/// What is hashed of a value is what it is encoded to and what tells its type. As plain bytes all of that is another
/// content, so that nobody can hand in bytes that are then taken for the value.
#[test]
fn a_value_and_the_bytes_that_it_is_hashed_from_are_different_contents() {
    let f = addressable();
    let value = ("typed".to_owned(), 7u64);
    let encoded = crate::codec::handler::encode(&value, f.store.0.store().limits()).unwrap();
    let mut hashed = vec![encoded.payload_format];
    hashed.extend_from_slice(&encoded.type_fingerprint.to_le_bytes());
    hashed.extend_from_slice(&encoded.shape.to_le_bytes());
    let bytes = encoded.bytes.contiguous().into_owned();
    hashed.extend_from_slice(&bytes);
    let typed = f.store.put(&value).unwrap();
    for bytes in [&bytes, &hashed] {
        let keys = [f.store.put(bytes).unwrap(), stream(&f.store, BlobOptions::new(), bytes)];
        assert!(keys[0] == keys[1] && keys[0] != typed);
        assert_eq!(f.store.get::<Vec<u8>>(&keys[0]).unwrap().as_ref(), Some(bytes));
    }
    assert_eq!(f.store.get(&typed).unwrap(), Some(value));
    assert_eq!((f.store.len().unwrap(), f.blobs().len()), (3, 3));
}

#[test]
fn entries_of_one_content_share_its_file_until_the_last_is_gone() {
    let f = addressable();
    let value = vec![0.5f64; 1000];
    for key in ["a", "b", "c"] {
        f.store.put_with(BlobOptions::key(key).metadata("key", key), &value).unwrap();
    }
    assert_eq!((f.blobs().len(), f.store.len().unwrap()), (1, 3));
    assert_eq!(f.store.get_metadata("b").unwrap().unwrap().metadata()["key"], "b".into());
    f.store.put_with("a", &value).unwrap();
    assert!(f.store.delete("a").unwrap());
    assert_eq!((f.blobs().len(), f.store.get::<Vec<f64>>("b").unwrap()), (1, Some(value.clone())));
    f.store.put_with("b", &1u8).unwrap();
    assert_eq!((f.blobs().len(), f.store.get::<Vec<f64>>("c").unwrap()), (2, Some(value)));
    assert!(f.store.delete("c").unwrap());
    assert_eq!(f.blobs().len(), 1);
    assert_eq!(f.store.clear().unwrap(), 1);
    assert!(f.blobs().is_empty());
}

#[test]
fn references_are_counted_anew_at_every_opening_also_without_the_setting() {
    let f = addressable();
    for key in ["a", "b"] {
        f.store.put_with(key, &noise(5000)).unwrap();
    }
    let f = f.reopened();
    f.store.put_with("not shared", &noise(5000)).unwrap();
    assert_eq!(f.blobs().len(), 2);
    assert!(f.store.delete("a").unwrap());
    assert_eq!(f.store.get("b").unwrap(), Some(noise(5000)));
    let f = f.reopened_after(|builder| builder.content_addressable(true), |_| ());
    f.store.put_with("c", &noise(5000)).unwrap();
    assert!(f.store.delete("b").unwrap());
    assert_eq!((f.blobs().len(), f.store.get("c").unwrap()), (2, Some(noise(5000))));
    assert!(f.store.delete("c").unwrap());
    assert_eq!(f.blobs().len(), 1);
}

#[test]
fn updated_metadata_stays_with_its_entry_and_the_file_is_still_shared() {
    let f = addressable();
    ["a", "b"].iter().for_each(|key| drop(f.store.put_with(*key, &noise(5000)).unwrap()));
    f.store.update_metadata("a", &Metadata::from([("x".to_owned(), 1.into())])).unwrap();
    assert!(f.store.get_metadata("b").unwrap().unwrap().metadata().is_empty());
    f.store.delete("b").unwrap();
    assert_eq!(f.store.get("a").unwrap(), Some(noise(5000)));
    f.store.delete("a").unwrap();
    assert!(f.blobs().is_empty());
}

#[test]
fn a_put_does_not_share_a_file_that_is_damaged_or_gone() {
    for damage in [|file: &Path| change(file, |bytes| bytes[4000] ^= 1), |file: &Path| fs::remove_file(file).unwrap()] {
        let f = addressable();
        let file = f.blob_of(|store| drop(store.put_with("a", &noise(5000)).unwrap()));
        damage(&file);
        f.store.put_with("b", &noise(5000)).unwrap();
        assert_eq!(f.store.get("b").unwrap(), Some(noise(5000)));
        assert!(f.store.get::<Vec<u8>>("a").unwrap_err().is_integrity());
        f.store.put_with("c", &noise(5000)).unwrap();
        let report = f.store.verify(Repair::Yes).unwrap();
        assert_eq!(report.damaged.len() + report.missing.len(), 1, "{report:?}");
        assert_eq!((f.store.list("").unwrap(), f.blobs().len()), (vec!["b".to_owned(), "c".to_owned()], 1));
        let f = f.reopened();
        f.store.delete("b").unwrap();
        assert_eq!(f.store.get("c").unwrap(), Some(noise(5000)));
    }
}

#[test]
fn threads_that_put_and_delete_the_same_content_never_lose_the_file_of_another() {
    let f = addressable();
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let store = f.store.clone();
            threads.spawn(move || {
                for round in 0..40 {
                    let (key, value) = (format!("{thread}-{}", round % 3), noise(3000 + round % 2));
                    match round % 2 {
                        0 => drop(store.put_with(key.as_str(), &value).unwrap()),
                        _ => drop(write(&store, &key, &value).unwrap()),
                    }
                    assert!(store.get::<Vec<u8>>(&key).unwrap().as_ref() == Some(&value));
                    if round % 5 == 0 {
                        assert!(store.delete(&key).unwrap());
                    }
                }
            });
        }
    });
    assert!(f.blobs().len() <= 2, "{} files for two contents", f.blobs().len());
    let report = f.store.verify(Repair::No).unwrap();
    assert!(report.is_whole() && report.unreferenced.is_empty(), "{report:?}");
    f.store.clear().unwrap();
    assert!(f.blobs().is_empty());
}

/// The crash comes after a record is gone and before its file is, or after a file is there and before its record is.
#[test]
fn a_crash_between_two_steps_leaves_at_most_a_file_too_much() {
    let f = addressable();
    ["a", "b"].iter().for_each(|key| drop(f.store.put_with(*key, &noise(5000)).unwrap()));
    let shared = f.blobs().remove(0);
    let bytes = fs::read(&shared).unwrap();
    f.store.delete("a").unwrap();
    f.store.delete("b").unwrap();
    let unclean = |dir: &Path| {
        fs::create_dir_all(shared.parent().unwrap()).unwrap();
        fs::write(&shared, &bytes).unwrap();
        fs::remove_file(dir.join("index.clean")).unwrap();
    };
    let f = f.reopened_after(|builder| builder.content_addressable(true), unclean);
    assert!(f.blobs().is_empty(), "removed at the next opening");
    assert!(f.store.is_empty().unwrap());
}

/// The other put of the content begins and ends while this one writes its blob.
#[test]
fn of_two_puts_of_one_content_at_a_time_one_file_stays() {
    let f = addressable();
    let (engine, bytes) = (&f.store.0, noise(5000));
    let entry = engine.draft("a".into(), &Encoding::of_bytes(), Some(identity(&bytes))).unwrap();
    let pending = engine.pending().begin();
    let write = |entry: &mut Entry, name: &crate::BlobName| {
        f.store.put_with("b", &bytes)?;
        let mut writer = crate::blob_store::values::ChunkWriter::begin(engine.store(), entry, name)?;
        writer.write(&bytes)?;
        writer.end(&mut entry.core)?.publish(crate::Durability::Immediate)
    };
    engine.place(entry, &pending, write).unwrap();
    assert_eq!(f.blobs().len(), 1);
    f.store.delete("b").unwrap();
    assert_eq!(f.store.get("a").unwrap(), Some(bytes));
    f.store.delete("a").unwrap();
    assert!(f.blobs().is_empty());
}

/// The contents of a file that is flipped at one place after the other.
fn each_flip(file: &Path, flips: usize, mut look: impl FnMut(usize)) {
    let whole = fs::read(file).unwrap();
    for step in 0..flips {
        let mut flipped = whole.clone();
        flipped[(whole.len() * step / flips + 13 * step) % whole.len()] ^= 1 << (step % 8);
        fs::write(file, flipped).unwrap();
        look(step);
    }
    fs::write(file, whole).unwrap();
}

#[test]
fn after_one_flipped_bit_no_replaced_value_and_no_removed_key_comes_back_though_others_share_the_content() {
    for shares in [true, false] {
        let settings = |builder: BlobStoreBuilder| builder.content_addressable(shares);
        let f = fixture_with(settings);
        let (x, y) = (noise(2000), noise(2100));
        for n in 0..10 {
            ["a", "b", "c"].iter().for_each(|key| drop(f.store.put_with(format!("{key}{n}"), &x).unwrap()));
            f.store.put_with(format!("d{n}"), &y).unwrap();
        }
        for n in 0..10 {
            f.store.put_with(format!("a{n}"), &y).unwrap();
            assert!(f.store.delete(&format!("c{n}")).unwrap());
        }
        f.store.close().unwrap();
        let (mut there, mut lost) = (0, 0);
        each_flip(&f.dir.path().join("index/db"), 24, |step| {
            let copy = tempfile::tempdir().unwrap();
            copy_dir(f.dir.path(), copy.path());
            let store = settings(BlobStore::builder().dir(copy.path())).open().unwrap();
            for n in 0..10 {
                for (key, right) in [("a", &y), ("b", &x), ("d", &y)] {
                    let found = store.get::<Vec<u8>>(&format!("{key}{n}")).unwrap();
                    assert!(found.is_none() || found.as_ref() == Some(right), "{key}{n} at step {step}, {shares}");
                    there += u64::from(found.is_some());
                }
                assert_eq!(store.get::<Vec<u8>>(&format!("c{n}")).unwrap(), None, "step {step}, {shares}");
                assert_eq!(store.get_metadata(&format!("c{n}")).unwrap(), None, "step {step}, {shares}");
            }
            lost += store.verify(Repair::No).unwrap().lost;
        });
        assert_eq!(there + lost, 24 * 30, "what is lost is told");
        assert!(lost <= if shares { 24 } else { 0 }, "{lost} entries lost, {shares}");
    }
}
