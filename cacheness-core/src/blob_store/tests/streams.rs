use std::io::{Read, Seek, SeekFrom, Write};

use super::*;
use crate::config::Limits;
use crate::error::{CacheError, ErrorKind};
use crate::format::CHUNK_LEN;

/// What follows the bytes of a chunk.
const SUM_LEN: usize = 8;

fn read_all(store: &BlobStore, key: &str) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    store.reader(key).unwrap().unwrap().read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn what_was_written_in_pieces_is_read_as_a_stream_and_as_a_whole() {
    let f = fixture();
    for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 3 * CHUNK_LEN, 3 * CHUNK_LEN + 77] {
        let bytes = noise(len);
        for piece in [1 + len / 3, 10_007, 2 * CHUNK_LEN] {
            let mut writer = f.store.writer("k").unwrap();
            bytes.chunks(piece).for_each(|piece| writer.write_all(piece).unwrap());
            let entry = writer.commit().unwrap();
            assert_eq!((entry.raw_size(), entry.name(), entry.codec()), (len as u64, Some("k"), "none"));
            assert_eq!(f.store.get_metadata("k").unwrap(), Some(entry));
            assert!(f.store.verify_integrity("k").unwrap().unwrap().valid);
            assert!(read_all(&f.store, "k").unwrap() == bytes, "{len} in pieces of {piece}");
            assert!(f.store.get::<Vec<u8>>("k").unwrap().as_ref() == Some(&bytes), "{len} in pieces of {piece}");
        }
    }
    assert_eq!(f.blobs().len(), 1);
}

#[test]
fn a_reader_finds_any_place_and_nothing_behind_the_end() {
    let f = fixture();
    let bytes = noise(3 * CHUNK_LEN + 77);
    write(&f.store, "stream", &bytes).unwrap();
    f.store.put_with("put", &bytes).unwrap();
    let same = vec![9u8; bytes.len()];
    f.store.put_with("compressed", &same).unwrap();
    assert_eq!(f.store.get_metadata("compressed").unwrap().unwrap().codec(), "lz4");
    for (key, bytes) in [("stream", &bytes), ("put", &bytes), ("compressed", &same)] {
        let mut reader = f.store.reader(key).unwrap().unwrap();
        let len = bytes.len();
        assert_eq!((reader.len(), reader.is_empty(), reader.entry().name()), (len as u64, false, Some(key)));
        let mut buf = [0; 1000];
        for n in 0..200u64 {
            let at = (checksum(&n.to_le_bytes()) as usize) % len;
            let end = len.min(at + buf.len());
            let seek = if n % 2 == 0 { SeekFrom::Start(at as u64) } else { SeekFrom::End(at as i64 - len as i64) };
            assert_eq!(reader.seek(seek).unwrap(), at as u64);
            reader.read_exact(&mut buf[..end - at]).unwrap();
            assert!(buf[..end - at] == bytes[at..end], "{key} at {at}");
        }
        let position = reader.stream_position().unwrap();
        assert_eq!(reader.seek(SeekFrom::Current(-1)).unwrap(), position - 1);
        for behind in [len as u64, len as u64 + 1, u64::MAX] {
            reader.seek(SeekFrom::Start(behind)).unwrap();
            assert_eq!(reader.read(&mut buf).unwrap(), 0);
        }
        assert!(reader.seek(SeekFrom::Current(i64::MAX)).is_err(), "no such place");
        assert!(reader.seek(SeekFrom::End(-(len as i64) - 1)).is_err(), "before the start");
    }
}

#[test]
fn what_is_not_committed_is_never_seen_and_leaves_nothing() {
    let f = fixture();
    write(&f.store, "k", b"old").unwrap();
    let mut writer = f.store.writer("k").unwrap();
    writer.write_all(&noise(3 * CHUNK_LEN)).unwrap();
    writer.flush().unwrap();
    assert_eq!((read_all(&f.store, "k").unwrap(), f.count("staging"), f.blobs().len()), (b"old".to_vec(), 1, 1));
    drop(writer);
    assert_eq!((read_all(&f.store, "k").unwrap(), f.count("staging"), f.blobs().len()), (b"old".to_vec(), 0, 1));
    let mut writer = f.store.writer("k").unwrap();
    writer.write_all(b"new").unwrap();
    writer.commit().unwrap();
    assert_eq!((read_all(&f.store, "k").unwrap(), f.count("staging"), f.blobs().len()), (b"new".to_vec(), 0, 1));
}

#[test]
fn of_two_writers_of_one_key_the_last_to_commit_counts() {
    let f = fixture();
    let (mut first, mut second) = (f.store.writer("k").unwrap(), f.store.writer("k").unwrap());
    first.write_all(b"first").unwrap();
    second.write_all(b"second").unwrap();
    second.commit().unwrap();
    first.commit().unwrap();
    assert_eq!((read_all(&f.store, "k").unwrap(), f.blobs().len()), (b"first".to_vec(), 1));
}

#[test]
fn a_stream_with_options_has_them_in_its_entry() {
    let f = fixture();
    let writer = f.store.writer(BlobOptions::key("k").metadata("epoch", 3).tag("t")).unwrap();
    writer.commit().unwrap();
    let own = f.store.writer(BlobOptions::new()).unwrap().commit().unwrap();
    let entry = f.store.get_metadata("k").unwrap().unwrap();
    assert_eq!((&entry.metadata()["epoch"], entry.tags()), (&3.into(), &["t".to_owned()][..]));
    assert_eq!(own.name().unwrap().len(), 32);
    assert_eq!(f.store.get::<Vec<u8>>(own.name().unwrap()).unwrap(), Some(Vec::new()));
}

#[cfg(unix)]
#[test]
fn a_reader_reads_on_when_its_value_is_replaced_deleted_or_the_store_closed() {
    let f = fixture();
    let bytes = noise(5 * CHUNK_LEN);
    write(&f.store, "k", &bytes).unwrap();
    let mut readers: Vec<BlobReader> = (0..2).map(|_| f.store.reader("k").unwrap().unwrap()).collect();
    write(&f.store, "k", b"other").unwrap();
    f.store.delete("k").unwrap();
    f.store.close().unwrap();
    for reader in &mut readers {
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == bytes);
    }
}

#[test]
fn a_stream_over_the_limit_fails_for_good_and_leaves_nothing() {
    let limits = Limits { max_value_bytes: 1000, ..Limits::DEFAULT };
    let f = fixture_with(|builder| builder.limits(limits));
    assert_eq!(write(&f.store, "exact", &noise(1000)).unwrap().raw_size(), 1000);
    assert_eq!(read_all(&f.store, "exact").unwrap(), noise(1000));
    let mut writer = f.store.writer("k").unwrap();
    writer.write_all(&noise(1000)).unwrap();
    for _ in 0..2 {
        let error = writer.write(b"x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
        let error = inner(error);
        assert!(error.is_limit() && error.to_string().contains("\"k\" is longer than 1000"), "{error}");
    }
    assert!(writer.commit().unwrap_err().is_limit());
    assert!(!f.store.exists("k").unwrap());
    assert_eq!((f.count("staging"), f.blobs().len()), (0, 1));
}

#[test]
fn a_value_that_is_no_bytes_has_no_reader() {
    let store = BlobStore::in_memory();
    store.put_with("k", &"text".to_owned()).unwrap();
    let error = store.reader("k").unwrap_err();
    assert!(error.is_serialization() && error.to_string().contains("String"), "{error}");
    assert!(store.reader("absent").unwrap().is_none());
}

/// The bytes that a reader gives, part by part: right ones or an error, from beginning to end.
fn right_parts(store: &BlobStore, bytes: &[u8]) -> (usize, usize) {
    let mut reader = match store.reader("k") {
        Ok(reader) => reader.unwrap(),
        Err(error) => {
            assert!(error.is_integrity(), "{error:?}");
            return (0, 0);
        }
    };
    let (mut right, mut damaged) = (0, 0);
    for (n, expected) in bytes.chunks(CHUNK_LEN).enumerate() {
        reader.seek(SeekFrom::Start((n * CHUNK_LEN) as u64)).unwrap();
        let mut part = vec![0; expected.len()];
        match reader.read_exact(&mut part) {
            Ok(()) => {
                assert!(part == expected, "wrong bytes in part {n}");
                right += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
                assert!(inner(error).is_integrity());
                damaged += 1;
            }
        }
    }
    (right, damaged)
}

#[test]
fn damage_at_any_place_is_an_error_there_and_never_wrong_bytes() {
    let f = fixture();
    let bytes = noise(4 * CHUNK_LEN + 500);
    let file = f.blob_of(|store| drop(write(store, "k", &bytes).unwrap()));
    let good = fs::read(&file).unwrap();
    let overhead = good.len() - bytes.len();
    let payload = good.len() - 24 - (bytes.len() + 5 * SUM_LEN);
    let places =
        (0..payload).step_by(3).chain((payload..good.len()).step_by(20_011)).chain(good.len() - 30..good.len());
    for (n, place) in places.enumerate() {
        change(&file, |bytes| bytes[place] ^= 1 << (n % 8));
        let (right, damaged) = right_parts(&f.store, &bytes);
        let in_payload = (payload..good.len() - 24).contains(&place);
        assert_eq!((right, damaged), if in_payload { (4, 1) } else { (0, 0) }, "byte {place} of {overhead} more");
        let error = f.store.get::<Vec<u8>>("k").unwrap_err();
        assert!(error.is_integrity() && error.to_string().contains("\"k\""), "{error:?}");
        fs::write(&file, &good).unwrap();
    }
    assert_eq!(right_parts(&f.store, &bytes), (5, 0), "damage that was mended is forgotten");
}

#[test]
fn a_stream_that_was_cut_lengthened_swapped_in_itself_or_for_another_is_no_stream() {
    let f = fixture();
    let bytes = noise(3 * CHUNK_LEN);
    let other_file = f.blob_of(|store| drop(write(store, "other", &bytes).unwrap()));
    let file = f.blob_of(|store| drop(write(store, "k", &bytes).unwrap()));
    let good = fs::read(&file).unwrap();
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let damage: [Damage<'_>; 6] = [
        &|bytes| bytes.truncate(bytes.len() - 1),
        &|bytes| bytes.truncate(CHUNK_LEN),
        &|bytes| bytes.clear(),
        &|bytes| bytes.push(0),
        &|bytes| bytes.extend_from_slice(&good),
        &|bytes| *bytes = fs::read(&other_file).unwrap(),
    ];
    for (n, damage) in damage.iter().enumerate() {
        change(&file, damage);
        assert_eq!(right_parts(&f.store, &bytes), (0, 0), "damage {n}");
        fs::write(&file, &good).unwrap();
    }
    let payload = good.len() - 24 - 3 * (CHUNK_LEN + SUM_LEN);
    change(&file, |bytes| {
        let (first, second) = bytes[payload..].split_at_mut(CHUNK_LEN + SUM_LEN);
        first.swap_with_slice(&mut second[..CHUNK_LEN + SUM_LEN]);
    });
    assert_eq!(right_parts(&f.store, &bytes), (1, 2));
}

#[test]
fn a_file_that_is_gone_is_an_error_and_the_entry_stays() {
    let f = fixture();
    let file = f.blob_of(|store| drop(write(store, "k", b"bytes").unwrap()));
    fs::remove_file(file).unwrap();
    let errors: [CacheError; 2] = [f.store.get::<Vec<u8>>("k").unwrap_err(), f.store.reader("k").unwrap_err()];
    for error in errors {
        assert!(error.kind() == ErrorKind::Integrity && error.to_string().contains("\"k\" is gone"), "{error}");
    }
    assert!(f.store.exists("k").unwrap());
}

/// The reader has looked up the record when the writer replaces the value and removes the old file.
#[test]
fn readers_that_are_overtaken_by_writers_always_find_a_whole_value() {
    let f = fixture();
    let value = |n: u8| vec![n; 1000 + usize::from(n)];
    write(&f.store, "k", &value(0)).unwrap();
    std::thread::scope(|threads| {
        let store = f.store.clone();
        let writing = threads.spawn(move || (0..60).for_each(|n| drop(write(&store, "k", &value(n)).unwrap())));
        while !writing.is_finished() {
            let found = f.store.get::<Vec<u8>>("k").unwrap().unwrap();
            assert!(found == value(found[0]));
        }
    });
}

fn signed(builder: BlobStoreBuilder) -> BlobStoreBuilder {
    let config = crate::CacheConfig::default().with_signing_key(crate::SigningKey::from_bytes([1; 32]));
    builder.security(config.security).content_addressable(true)
}

/// The bytes before the trailer of a signed blob, how many of them are no payload, and its trailer.
fn taken_apart(bytes: &[u8]) -> (Vec<u8>, usize, Vec<u8>) {
    let header_len = u32::from_le_bytes(*bytes[10..].first_chunk().unwrap()) as usize;
    let (rest, trailer) = bytes.split_at(bytes.len() - 88);
    (rest.to_vec(), 14 + header_len + 8 + 40, trailer.to_vec())
}

/// Puts a trailer behind a signed blob as somebody can who has no key.
fn forged(rest: &[u8], start: usize, payload_checksum: [u8; 8], tag: &[u8]) -> Vec<u8> {
    let len = ((rest.len() - start) as u64).to_le_bytes();
    let trailer = [&len, &payload_checksum, tag].concat();
    let sum = checksum(&[&rest[start - 48..start - 40], &trailer].concat());
    [rest, &trailer, &sum.to_le_bytes()].concat()
}

#[test]
fn a_signed_stream_is_not_read_under_the_key_of_another_by_who_has_changed_the_files() {
    let f = fixture_with(signed);
    let (ours, theirs) = (noise(1000), vec![b'!'; 1000]);
    let mine = f.blob_of(|store| drop(write(store, "mine", &ours).unwrap()));
    let upload = f.blob_of(|store| drop(write(store, "upload", &theirs).unwrap()));
    let f = f.reopened_after(signed, |_| {
        let (_, _, trailer) = taken_apart(&fs::read(&mine).unwrap());
        let (rest, start, theirs) = taken_apart(&fs::read(&upload).unwrap());
        fs::write(&mine, forged(&rest, start, *trailer[8..].first_chunk().unwrap(), &theirs[16..80])).unwrap();
    });
    let read = f.store.reader("mine").map(|reader| {
        let mut bytes = Vec::new();
        reader.unwrap().read_to_end(&mut bytes).map(|_| bytes == theirs)
    });
    assert!(!matches!(read, Ok(Ok(true))), "the value of another key was read");
}

#[test]
fn a_signed_stream_that_was_cut_off_is_not_taken_up_as_a_shorter_one() {
    let f = fixture_with(|builder| signed(builder).content_addressable(false));
    let bytes = noise(3 * CHUNK_LEN);
    let file = f.blob_of(|store| drop(write(store, "stream", &bytes).unwrap()));
    let f = f.reopened_after(
        |builder| signed(builder).content_addressable(false),
        |dir| {
            let (rest, start, trailer) = taken_apart(&fs::read(&file).unwrap());
            let rest = &rest[..start + CHUNK_LEN + SUM_LEN + 32];
            fs::write(&file, forged(rest, start, *trailer[8..].first_chunk().unwrap(), &trailer[16..80])).unwrap();
            fs::remove_dir_all(dir.join("index")).unwrap();
            fs::remove_file(dir.join("index.clean")).unwrap();
        },
    );
    let read = f.store.reader("stream").map(|reader| {
        reader.map(|mut reader| {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes.len())
        })
    });
    assert!(!matches!(read, Ok(Some(Ok(_)))), "it ends in silence: {read:?}");
}
