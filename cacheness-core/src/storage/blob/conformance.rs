//! What every blob backend must do.
#![allow(clippy::unwrap_used, reason = "a failing check is to panic")]
#![cfg_attr(not(feature = "testing"), allow(unreachable_pub, reason = "public under the feature `testing` only"))]

use super::{BlobBackend, BlobName};
use crate::config::Durability;

/// Checks that a backend keeps blobs as [`BlobBackend`] says. It must be empty, and is empty afterwards.
///
/// # Panics
/// When it does not.
pub fn blob_backend(blobs: &dyn BlobBackend) {
    what_was_written_is_read(blobs);
    what_was_written_in_pieces_is_read_at_any_place(blobs);
    limits_hold(blobs);
    a_range_is_read(blobs);
    what_is_missing_is_none(blobs);
    a_write_replaces(blobs);
    quarantined_blobs_are_gone(blobs);
    pages_have_each_blob_once_in_the_order_of_the_names(blobs);
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
    let mut names: Vec<_> = blobs.page(None, usize::MAX).unwrap().into_iter().map(|blob| blob.name).collect();
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

fn a_range_is_read(blobs: &dyn BlobBackend) {
    let name = written(blobs, &[b"start", b"rest"]);
    let cases = [(0, 0, &b""[..]), (0, 5, b"start"), (0, u64::MAX, b"startrest"), (5, 2, b"re"), (5, 99, b"rest")];
    for (offset, len, expected) in cases.into_iter().chain([(9, 1, &b""[..]), (u64::MAX, u64::MAX, b"")]) {
        assert_eq!(blobs.read_range(&name, offset, len).unwrap().as_deref(), Some(expected), "{len} from {offset}");
    }
    assert!(blobs.remove(&name).unwrap());
}

fn what_is_missing_is_none(blobs: &dyn BlobBackend) {
    let name = BlobName::unique();
    assert_eq!(blobs.read(&name, 10).unwrap(), None);
    assert_eq!(blobs.read_range(&name, 0, 10).unwrap(), None);
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

fn pages_have_each_blob_once_in_the_order_of_the_names(blobs: &dyn BlobBackend) {
    let mut expected: Vec<BlobName> = (0..50).map(|_| written(blobs, &[b"four"])).collect();
    expected.sort();
    for limit in [1, 7, 50, 51] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = blobs.page(after.as_ref(), limit).unwrap();
            assert!(page.iter().all(|blob| blob.len == 4) && page.len() <= limit, "{page:?}");
            found.extend(page.iter().map(|blob| blob.name.clone()));
            match page.into_iter().next_back().filter(|_| found.len().is_multiple_of(limit)) {
                Some(last) => after = Some(last.name),
                None => break,
            }
        }
        assert_eq!(found, expected, "{limit} at a time");
    }
    let missing = BlobName::unique();
    let (first, others) = expected.split_first().unwrap();
    assert_eq!(blobs.remove_many(&[first.clone(), missing]).unwrap(), 1);
    assert_eq!(names(blobs), others);
    assert_eq!(blobs.remove_many(others).unwrap(), 49);
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
