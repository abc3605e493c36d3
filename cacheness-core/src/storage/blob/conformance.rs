//! What every blob backend must do.
#![allow(clippy::unwrap_used, reason = "a failing check is to panic")]
#![cfg_attr(not(feature = "testing"), allow(unreachable_pub, reason = "public under the feature `testing` only"))]

use super::{BlobBackend, BlobName};
use crate::config::Durability;
use crate::error::{CacheError, ErrorKind};

/// Checks that a backend keeps blobs as [`BlobBackend`] says. It must be empty, and is empty afterwards.
///
/// # Panics
/// When it does not.
pub fn blob_backend(blobs: &dyn BlobBackend) {
    what_was_written_is_read(blobs);
    what_was_written_in_pieces_is_read_at_any_place(blobs);
    limits_hold(blobs);
    a_start_is_read(blobs);
    what_is_missing_is_none(blobs);
    a_write_replaces(blobs);
    quarantined_blobs_are_gone(blobs);
    listing_visits_each_blob_once(blobs);
    threads_do_not_disturb_each_other(blobs);
    assert_eq!(names(blobs), [], "nothing is left over");
}

fn written(blobs: &dyn BlobBackend, parts: &[&[u8]]) -> BlobName {
    let name = BlobName::unique();
    blobs.write(&name, parts, Durability::Interval).unwrap();
    name
}

/// The names of all blobs, sorted.
pub(crate) fn names(blobs: &dyn BlobBackend) -> Vec<BlobName> {
    let mut names = Vec::new();
    let mut visit = |name| {
        names.push(name);
        Ok(())
    };
    blobs.list(&mut visit).unwrap();
    names.sort();
    names
}

fn what_was_written_is_read(blobs: &dyn BlobBackend) {
    let large = vec![7; 300_000];
    let cases: [&[&[u8]]; 5] = [&[], &[b""], &[b"one"], &[b"head", b"", b"body", b"tail"], &[b"head", &large, b"tail"]];
    for durability in [Durability::Interval, Durability::Immediate] {
        for parts in cases {
            let name = BlobName::unique();
            blobs.write(&name, parts, durability).unwrap();
            assert_eq!(blobs.read(&name, 1 << 20).unwrap(), Some(parts.concat()));
            blobs.sync().unwrap();
            assert_eq!(blobs.read(&name, 1 << 20).unwrap(), Some(parts.concat()), "after sync");
            assert!(blobs.remove(&name).unwrap());
        }
    }
}

fn what_was_written_in_pieces_is_read_at_any_place(blobs: &dyn BlobBackend) {
    for durability in [Durability::Interval, Durability::Immediate] {
        let [name, dropped] = [BlobName::unique(), BlobName::unique()];
        assert!(blobs.open(&name).unwrap().is_none());
        let mut writing = blobs.create(&name).unwrap();
        let mut given_up = blobs.create(&dropped).unwrap();
        given_up.write(b"never seen").unwrap();
        (0..100u8).for_each(|piece| writing.write(&[piece; 1000]).unwrap());
        assert_eq!(names(blobs), [], "not there before it is published");
        writing.publish(durability).unwrap();
        drop(given_up);
        assert_eq!(names(blobs), std::slice::from_ref(&name));
        let whole: Vec<u8> = (0..100).flat_map(|piece| [piece; 1000]).collect();
        assert_eq!(blobs.read(&name, 100_000).unwrap().as_ref(), Some(&whole));
        let mut reading = blobs.open(&name).unwrap().unwrap();
        assert_eq!(reading.len(), 100_000);
        let mut buf = [0; 1500];
        for (offset, len) in [(0, 1500), (1500, 1500), (98_999, 1001), (500, 1500), (100_000, 0), (u64::MAX >> 1, 0)] {
            assert_eq!(reading.read_at(offset, &mut buf).unwrap(), len, "at {offset}");
            let start = usize::try_from(offset).unwrap().min(whole.len());
            assert_eq!(buf[..len], whole[start..start + len]);
        }
        blobs.sync().unwrap();
        assert!(blobs.remove(&name).unwrap());
    }
}

fn limits_hold(blobs: &dyn BlobBackend) {
    let name = written(blobs, &[&[1; 100]]);
    assert_eq!(blobs.read(&name, 100).unwrap().map(|bytes| bytes.len()), Some(100));
    assert!(blobs.read(&name, 99).unwrap_err().is_limit());
    assert!(blobs.remove(&name).unwrap());
}

fn a_start_is_read(blobs: &dyn BlobBackend) {
    let name = written(blobs, &[b"start", b"rest"]);
    for (bytes, expected) in [(0, &b""[..]), (5, b"start"), (9, b"startrest"), (u64::MAX, b"startrest")] {
        assert_eq!(blobs.read_start(&name, bytes).unwrap().as_deref(), Some(expected));
    }
    assert!(blobs.remove(&name).unwrap());
}

fn what_is_missing_is_none(blobs: &dyn BlobBackend) {
    let name = BlobName::unique();
    assert_eq!(blobs.read(&name, 10).unwrap(), None);
    assert_eq!(blobs.read_start(&name, 10).unwrap(), None);
    assert!(!blobs.remove(&name).unwrap());
    blobs.quarantine(&name).unwrap();
    blobs.sync().unwrap();
}

fn a_write_replaces(blobs: &dyn BlobBackend) {
    let name = written(blobs, &[b"old and longer"]);
    blobs.write(&name, &[b"new"], Durability::Immediate).unwrap();
    assert_eq!(blobs.read(&name, 100).unwrap().as_deref(), Some(&b"new"[..]));
    assert!(blobs.remove(&name).unwrap());
    assert!(!blobs.remove(&name).unwrap(), "once");
}

fn quarantined_blobs_are_gone(blobs: &dyn BlobBackend) {
    let name = written(blobs, &[b"damaged"]);
    blobs.quarantine(&name).unwrap();
    assert_eq!(blobs.read(&name, 100).unwrap(), None);
    assert_eq!(names(blobs), []);
}

fn listing_visits_each_blob_once(blobs: &dyn BlobBackend) {
    let mut expected: Vec<BlobName> = (0..50).map(|_| written(blobs, &[b"x"])).collect();
    expected.sort();
    assert_eq!(names(blobs), expected);
    let stop = || CacheError::new(ErrorKind::Closed, "enough");
    let mut visits = 0;
    let stopped = blobs.list(&mut |_| {
        visits += 1;
        Err(stop())
    });
    assert_eq!((stopped.unwrap_err().kind(), visits), (ErrorKind::Closed, 1));
    blobs.list(&mut |name| blobs.remove(&name).map(drop)).unwrap();
    assert_eq!(names(blobs), [], "a visit may remove");
}

fn threads_do_not_disturb_each_other(blobs: &dyn BlobBackend) {
    std::thread::scope(|threads| {
        for thread in 0..4u8 {
            threads.spawn(move || {
                for round in 0..25u8 {
                    let name = written(blobs, &[&[thread], &[round; 100]]);
                    let expected = [&[thread][..], &[round; 100]].concat();
                    assert_eq!(blobs.read(&name, 1000).unwrap(), Some(expected));
                    if round % 10 == 0 {
                        blobs.sync().unwrap();
                    }
                    assert!(blobs.remove(&name).unwrap());
                }
            });
        }
    });
}
