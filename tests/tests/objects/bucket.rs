//! The bucket itself: rounds, failures, refusals.

use std::time::{Duration, Instant};

use cacheness::backend::{BackendOptions, BlobBackend, BlobName, get_blob_backend, list_blob_backends};
use cacheness::config::Durability;
use cacheness::testing::check_blob_backend;
use cacheness_tests::noise;
use cacheness_tests::proxy::{Network, Proxy};

use super::server::{BUCKET, Server, TIMEOUT, bucket, free_port, options};

const MIB: usize = 1 << 20;
/// What a machine with other work may add to a deadline.
const A_LITTLE: Duration = Duration::from_millis(1500);

type Call<'a> = &'a dyn Fn() -> cacheness::Result<()>;

fn put(blobs: &dyn BlobBackend, bytes: &[u8]) -> BlobName {
    let name = BlobName::unique();
    blobs.write(&name, &[bytes], Durability::Interval).unwrap();
    name
}

#[test]
fn a_bucket_of_a_real_server_is_a_blob_backend() {
    let Some(server) = Server::start() else { return };
    check_blob_backend(&*bucket(server.port));
    let prefixed =
        options(server.port).into_iter().fold(BackendOptions::new(), |all, (name, value)| all.with(name, value));
    check_blob_backend(&*get_blob_backend("s3", &prefixed.with("prefix", "some/where")).unwrap());
}

#[test]
fn a_blob_up_to_8_mib_is_one_request_each_way() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::before(server.port);
    let blobs = bucket(proxy.port);
    let value = noise(1, MIB);
    let name = put(&*blobs, &value);
    assert_eq!(proxy.requests(), [format!("PUT /{BUCKET}/blobs/{name}")]);
    proxy.forget();
    assert!(blobs.read(&name, u64::MAX).unwrap().unwrap() == value);
    assert_eq!(proxy.requests(), [format!("GET /{BUCKET}/blobs/{name}")]);
    proxy.forget();
    let mut reading = blobs.open(&name).unwrap().unwrap();
    let mut buf = vec![0; MIB];
    assert_eq!((reading.len(), reading.read_at(0, &mut buf).unwrap()), (MIB as u64, MIB));
    assert_eq!(reading.read_at(MIB as u64 - 10, &mut buf).unwrap(), 10);
    assert_eq!(proxy.requests().len(), 1, "the length, the bytes and the end of them");
}

#[test]
fn a_longer_blob_moves_in_parts_and_nothing_is_left_of_one_that_was_given_up() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::before(server.port);
    let blobs = bucket(proxy.port);
    let value = noise(2, 20 * MIB);
    let name = put(&*blobs, &value);
    let asked = proxy.requests();
    let count = |method: &str| asked.iter().filter(|asked| asked.starts_with(method)).count();
    assert_eq!((count("POST"), count("PUT")), (2, 3), "{asked:?}");
    proxy.forget();
    assert!(blobs.read(&name, u64::MAX).unwrap().unwrap() == value);
    assert_eq!(proxy.requests().len(), 3, "{:?}", proxy.requests());
    assert!(blobs.remove(&name).unwrap());

    let given_up = BlobName::unique();
    let mut writing = blobs.create(&given_up).unwrap();
    writing.write(&value).unwrap();
    assert!(server.ask(&format!("GET /{BUCKET}?uploads")).contains(given_up.as_str()));
    drop(writing);
    let begun = Instant::now();
    while server.ask(&format!("GET /{BUCKET}?uploads")).contains(given_up.as_str()) {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is paid for until it is given up");
    }
    assert_eq!(server.objects(), [] as [String; 0]);
}

#[test]
fn many_blobs_are_removed_by_one_request() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::before(server.port);
    let blobs = bucket(proxy.port);
    let names: Vec<_> = (0..20).map(|n| put(&*blobs, &[n])).collect();
    proxy.forget();
    assert_eq!(blobs.remove_many(&names).unwrap(), 20);
    let asked = proxy.requests();
    assert_eq!(asked.iter().filter(|asked| !asked.starts_with("HEAD")).count(), 1, "{asked:?}");
    assert_eq!(server.objects(), [] as [String; 0]);
}

#[test]
fn on_a_network_that_fails_each_call_ends_in_time_and_tells_why_and_works_again_afterwards() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::before(server.port);
    let blobs = bucket(proxy.port);
    let (small, large) = (noise(3, MIB), noise(4, 20 * MIB));
    let [name, long] = [put(&*blobs, &small), put(&*blobs, &large)];
    for network in [Network::BlackHole, Network::Refuses, Network::Cut(100), Network::Slow(2 * TIMEOUT)] {
        proxy.becomes(network);
        // Bytes that are sent may take a second for each MiB.
        let calls: [(&str, u64, Call<'_>); 7] = [
            ("read", 0, &|| blobs.read(&name, u64::MAX).map(drop)),
            ("open", 0, &|| blobs.open(&name).map(drop)),
            ("range", 0, &|| blobs.read_range(&name, 5, 10).map(drop)),
            ("write", 1, &|| blobs.write(&BlobName::unique(), &[&small], Durability::Interval)),
            ("write long", 1, &|| blobs.write(&BlobName::unique(), &[&large], Durability::Interval)),
            ("remove", 1, &|| blobs.remove(&name).map(drop)),
            ("page", 0, &|| blobs.page(None, 10).map(drop)),
        ];
        for (call, seconds, run) in calls {
            let begun = Instant::now();
            let outcome = run();
            let took = begun.elapsed();
            assert!(took < TIMEOUT + Duration::from_secs(seconds) + A_LITTLE, "{call}, {network:?}: {took:?}");
            let error = outcome.expect_err(&format!("{call}, {network:?}"));
            assert!(error.is_unavailable() && error.to_string().contains(BUCKET), "{call}, {network:?}: {error}");
        }
        proxy.becomes(Network::Works);
        // It is not asked again at once.
        let begun = Instant::now();
        while blobs.read(&name, u64::MAX).is_err() {
            assert!(begun.elapsed() < 10 * TIMEOUT, "{network:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(blobs.read(&name, u64::MAX).unwrap().unwrap() == small, "{network:?}");
        assert!(blobs.read(&long, u64::MAX).unwrap().unwrap() == large, "{network:?}");
    }
}

#[test]
fn an_answer_that_is_cut_once_is_asked_for_again_and_a_long_read_that_is_cut_for_good_ends() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::before(server.port);
    let blobs = bucket(proxy.port);
    let value = noise(5, 30 * MIB);
    let [small, long] = [put(&*blobs, &value[..MIB]), put(&*blobs, &value)];
    for bytes in [0, 10, 700, 100_000] {
        proxy.becomes(Network::CutOnce(bytes));
        assert!(blobs.read(&small, u64::MAX).unwrap().unwrap() == value[..MIB], "cut at {bytes}");
        proxy.becomes(Network::CutOnce(bytes));
        let name = put(&*blobs, &value[..MIB]);
        assert!(blobs.read(&name, u64::MAX).unwrap().unwrap() == value[..MIB], "cut at {bytes}");
    }
    let mut reading = blobs.open(&long).unwrap().unwrap();
    proxy.becomes(Network::Cut(5 * MIB));
    let mut whole = Vec::new();
    let begun = Instant::now();
    let outcome = reading.append_to(0, value.len(), &mut whole);
    assert!(begun.elapsed() < 3 * TIMEOUT + A_LITTLE, "{:?}", begun.elapsed());
    assert!(value.starts_with(&whole), "what was read is what was written");
    if outcome.is_err() {
        proxy.becomes(Network::Works);
        let at = whole.len();
        reading.append_to(at as u64, value.len() - at, &mut whole).unwrap();
    }
    assert!(whole == value);
}

#[test]
fn who_is_not_let_in_is_told_so_and_it_is_no_miss() {
    let Some(server) = Server::start_closed() else { return };
    let blobs = bucket(server.port);
    let name = BlobName::unique();
    for error in [
        blobs.read(&name, 10).unwrap_err(),
        blobs.open(&name).unwrap_err(),
        blobs.read_range(&name, 0, 10).unwrap_err(),
        blobs.write(&name, &[b"x"], Durability::Interval).unwrap_err(),
        blobs.remove(&name).unwrap_err(),
        blobs.page(None, 1).unwrap_err(),
    ] {
        let told = format!("{error} {error:?}");
        assert!(error.is_config() && told.contains(BUCKET) && told.contains("check the credentials"), "{told}");
        assert!(!told.contains("MARKED"), "{told}");
    }
}

#[test]
fn a_bucket_that_is_not_there_is_no_miss() {
    let Some(server) = Server::start() else { return };
    let options =
        options(server.port).into_iter().fold(BackendOptions::new(), |all, (name, value)| all.with(name, value));
    let blobs = get_blob_backend("s3", &options.with("bucket", "wether")).unwrap();
    for error in [
        blobs.read(&BlobName::unique(), 10).unwrap_err(),
        blobs.write(&BlobName::unique(), &[b"x"], Durability::Interval).unwrap_err(),
        blobs.page(None, 1).unwrap_err(),
    ] {
        let expected = "there is no bucket \"wether\" of s3 (NoSuchBucket); make it, or correct blob.options.bucket";
        assert!(error.is_config() && error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_server_that_is_not_there_is_named_with_what_the_system_says() {
    let blobs = bucket(free_port());
    let begun = Instant::now();
    let error = blobs.read(&BlobName::unique(), 10).unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("refused"), "{error}");
    assert!(begun.elapsed() < TIMEOUT + A_LITTLE);
}

#[test]
fn buckets_are_listed_and_check_their_options_without_a_network() {
    let listed = list_blob_backends();
    for (name, place) in [("s3", "bucket"), ("gcs", "bucket"), ("azure", "container")] {
        assert!(listed.iter().any(|info| info.name == name && info.builtin && info.description.contains(place)));
        let error = get_blob_backend(name, &BackendOptions::new()).unwrap_err();
        assert_eq!(error.to_string(), format!("options.{place}: this backend needs it"));
        let error = get_blob_backend(name, &BackendOptions::new().with(place, "a").with("colour", "red")).unwrap_err();
        assert!(error.is_config() && error.to_string().starts_with("options.colour: there is no such option"));
    }
}
