use std::time::Duration;

use object_store::memory::InMemory;

use super::*;
use crate::storage::blob::conformance;

fn options(prefix: &str) -> ObjectOptions {
    let options = BackendOptions::new().with("bucket", "weather").with("prefix", prefix).with("timeout_ms", 2000);
    ObjectOptions::of(ObjectStoreKind::S3, &options).unwrap()
}

fn blobs_of(store: &Arc<InMemory>, prefix: &str, owner: Option<&str>) -> ObjectBlobs {
    let client = Client::of_store(options(prefix), Arc::clone(store) as Arc<dyn ObjectStore>);
    ObjectBlobs::of(client, owner)
}

/// Waits for what is done aside.
fn until(mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7 % 251) as u8).collect()
}

#[test]
fn a_bucket_is_a_blob_backend() {
    conformance::blob_backend(&blobs_of(&Arc::default(), "", None));
    conformance::blob_backend(&blobs_of(&Arc::default(), "some/where", Some("me")));
}

#[test]
fn a_long_blob_is_the_same_whichever_way_it_is_written_and_read() {
    let blobs = blobs_of(&Arc::default(), "", None);
    let part = usize::try_from(PART_LEN).unwrap();
    for len in [part - 1, part, part + 1, 6 * part + 12_345] {
        let [name, streamed] = [BlobName::unique(), BlobName::unique()];
        let whole = bytes(len);
        blobs.write(&name, &[&whole[..len / 3], &whole[len / 3..]], Durability::Interval).unwrap();
        let mut writing = blobs.create(&streamed).unwrap();
        whole.chunks(1_000_003).for_each(|piece| writing.write(piece).unwrap());
        writing.publish(Durability::Interval).unwrap();
        for name in [&name, &streamed] {
            assert!(blobs.read(name, len as u64).unwrap().unwrap() == whole, "{len}");
            assert!(blobs.read(name, len as u64 - 1).unwrap_err().is_limit());
            let mut reading = blobs.open(name).unwrap().unwrap();
            let mut end = [0; 32];
            assert_eq!(reading.read_at(len as u64 - 32, &mut end).unwrap(), 32);
            assert_eq!(end, whole[len - 32..]);
            let mut again = Vec::new();
            while again.len() < len {
                let at = again.len() as u64;
                reading.append_to(at, 777_777, &mut again).unwrap();
            }
            assert!(again == whole, "in pieces, {len}");
            for at in [len / 2, 5, len - 700, part / 2] {
                let mut buf = [0; 600];
                assert_eq!(reading.read_at(at as u64, &mut buf).unwrap(), 600);
                assert_eq!(buf, whole[at..at + 600], "at {at} of {len}");
            }
            let from = len - 1000;
            assert_eq!(blobs.read_range(name, from as u64, 5000).unwrap().unwrap(), whole[from..]);
        }
        assert_eq!(blobs.remove_many(&[name, streamed]).unwrap(), 2);
    }
}

#[test]
fn a_blob_that_is_removed_while_it_is_read_is_an_integrity_error_and_what_is_there_can_be_read() {
    let blobs = blobs_of(&Arc::default(), "", None);
    let name = BlobName::unique();
    let whole = bytes(usize::try_from(3 * PART_LEN).unwrap());
    blobs.write(&name, &[&whole], Durability::Interval).unwrap();
    let mut reading = blobs.open(&name).unwrap().unwrap();
    assert!(blobs.remove(&name).unwrap());
    let mut buf = [0; 100];
    assert_eq!(reading.read_at(PART_LEN - 100, &mut buf).unwrap(), 100);
    let error = reading.read_at(PART_LEN, &mut buf).unwrap_err();
    assert!(error.is_integrity(), "{error}");
}

#[test]
fn pages_tell_when_a_blob_was_written_and_pass_over_what_is_not_ours() {
    let store: Arc<InMemory> = Arc::default();
    let blobs = blobs_of(&store, "a", None);
    let name = BlobName::unique();
    blobs.write(&name, &[b"four"], Durability::Interval).unwrap();
    blobs_of(&store, "ab", None).write(&BlobName::unique(), &[b"of others"], Durability::Interval).unwrap();
    for path in ["a/blobs/notes.txt", "a/blobs/deeper/00000000000000000000000000000000", "a/notes", "notes"] {
        let client = Client::of_store(options(""), Arc::clone(&store) as Arc<dyn ObjectStore>);
        client.run("put", 0, |store| async move { store.put(&Path::from(path), "x".into()).await.map(drop) }).unwrap();
    }
    let page = blobs.page(None, 10).unwrap();
    assert_eq!(page.iter().map(|blob| &blob.name).collect::<Vec<_>>(), [&name]);
    let now = Timestamp::from_micros(
        i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros()).unwrap(),
    );
    assert!(now.since(page[0].written_at.unwrap()) < Duration::from_secs(60));
}

#[test]
fn damaged_blobs_are_kept_under_a_prefix_of_their_own_as_long_as_there_is_room() {
    let store: Arc<InMemory> = Arc::default();
    let blobs = blobs_of(&store, "a", None);
    for _ in 0..MAX_QUARANTINED + 2 {
        let name = BlobName::unique();
        blobs.write(&name, &[b"damaged"], Durability::Interval).unwrap();
        blobs.quarantine(&name).unwrap();
    }
    let kept = blobs.client.run("list", 0, |store| async move {
        Ok(store.list(Some(&Path::from("a/quarantine"))).try_collect::<Vec<_>>().await?.len())
    });
    assert_eq!(kept.unwrap(), MAX_QUARANTINED);
    assert_eq!(blobs.page(None, 10).unwrap(), []);
}

#[test]
fn a_prefix_belongs_to_the_first_that_changes_something_and_is_given_up_by_its_object() {
    let store: Arc<InMemory> = Arc::default();
    let [mine, other] = ["mine", "other"].map(|owner| blobs_of(&store, "a", Some(owner)));
    let name = BlobName::unique();
    mine.write(&name, &[b"mine"], Durability::Interval).unwrap();
    let error = other.remove(&name).unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("remove the object \"a/owner\""), "{error}");
    for failed in [
        other.write(&BlobName::unique(), &[b"x"], Durability::Interval),
        other.create(&BlobName::unique()).map(drop),
        other.quarantine(&name),
    ] {
        assert!(failed.unwrap_err().is_conflict());
    }
    assert_eq!(blobs_of(&store, "a", Some("mine")).read(&name, 10).unwrap().as_deref(), Some(&b"mine"[..]));
    blobs_of(&store, "b", Some("other")).write(&BlobName::unique(), &[b"x"], Durability::Interval).unwrap();
    mine.client.run("give up", 0, |store| async move { store.delete(&Path::from("a/owner")).await }).unwrap();
    assert!(other.remove(&name).unwrap());
}

#[test]
fn a_blob_that_was_begun_and_dropped_leaves_nothing() {
    let blobs = blobs_of(&Arc::default(), "", None);
    let name = BlobName::unique();
    let mut writing = blobs.create(&name).unwrap();
    writing.write(&bytes(usize::try_from(2 * PART_LEN).unwrap() + 1)).unwrap();
    drop(writing);
    until(|| blobs.page(None, 1).unwrap().is_empty());
    assert!(blobs.open(&name).unwrap().is_none());
}

#[test]
fn what_a_client_says_of_a_failure_is_told_without_what_it_repeats() {
    let client = Client::of_store(options(""), Arc::new(InMemory::new()));
    let source = |text: &str| Box::<dyn std::error::Error + Send + Sync>::from(text.to_owned());
    let generic = |text: &str| StoreError::Generic { store: "S3", source: source(text) };
    let path = || "a/MARKED".to_owned();
    let denied = "status code: 403 Forbidden: <Code>AccessDenied</Code><Resource>MARKED</Resource>";
    let missing = "status code: 404 Not Found: <Code>NoSuchBucket</Code>MARKED";
    let cases = [
        (StoreError::PermissionDenied { path: path(), source: source(denied) }, ErrorKind::Config, "(AccessDenied)"),
        (StoreError::Unauthenticated { path: path(), source: source("MARKED") }, ErrorKind::Config, "refuses it"),
        (StoreError::NotFound { path: path(), source: source(missing) }, ErrorKind::Config, "there is no bucket"),
        (generic("status code: 400 Bad Request: <Code>ExpiredToken</Code>MARKED"), ErrorKind::Config, "(ExpiredToken)"),
        (
            generic("status code: 503 Slow: <Code>SlowDown</Code>?sig=MARKED"),
            ErrorKind::Unavailable,
            "status 503 (SlowDown)",
        ),
        (generic("https://host/?sig=MARKED went wrong"), ErrorKind::Unavailable, "the call failed"),
    ];
    for (error, kind, expected) in cases {
        let error = client.failed("write a blob", &error);
        assert_eq!(error.kind(), kind, "{error}");
        let told = format!("{error} {error:?}");
        assert!(told.contains(expected) && told.contains("weather") && !told.contains("MARKED"), "{told}");
    }
}

#[test]
fn secrets_of_any_store_are_in_no_error_and_no_debug_output() {
    let secrets = [
        (ObjectStoreKind::S3, "secret_access_key"),
        (ObjectStoreKind::S3, "session_token"),
        (ObjectStoreKind::Gcs, "service_account_key"),
        (ObjectStoreKind::Gcs, "bearer_token"),
        (ObjectStoreKind::Azure, "access_key"),
        (ObjectStoreKind::Azure, "sas_token"),
        (ObjectStoreKind::Azure, "client_secret"),
    ];
    for (kind, secret) in secrets {
        let options = BackendOptions::new().with(kind.bucket(), "weather").with(secret, "MARKED-SECRET");
        let opened = ObjectBlobs::open(kind, &options);
        let told = match &opened {
            Ok(blobs) => format!("{blobs:?} {blobs:#?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!told.contains("MARKED") && !format!("{options:?}").contains("MARKED"), "{kind:?} {secret}: {told}");
    }
}

#[cfg(feature = "s3")]
#[test]
fn a_forked_child_connects_anew() {
    let client = Client::of_store(options(""), Arc::new(InMemory::new()));
    let mine = client.store().unwrap();
    assert!(Arc::ptr_eq(&mine, &client.store().unwrap()));
    client.pretend_to_be_forked();
    let own = client.store().unwrap();
    assert!(!Arc::ptr_eq(&mine, &own) && Arc::ptr_eq(&own, &client.store().unwrap()));
}
