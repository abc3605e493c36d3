//! The other clouds: Azure by an emulator that is not installed everywhere (`npm install azurite`).

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cacheness::backend::{BackendOptions, BlobName, get_blob_backend};
use cacheness::config::Durability;
use cacheness::testing::check_blob_backend;
use cacheness_tests::noise;

use super::server::{BUCKET, free_port, listens};

struct Emulator(Child);

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts an emulator that listens on a port. That it is not there is no failure anywhere.
fn start(program: &str, arguments: &[&str], port: u16) -> Option<Emulator> {
    let mut command = Command::new(program);
    let process = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(process) = process else {
        println!("SKIPPED: {program} is not installed");
        return None;
    };
    let emulator = Emulator(process);
    let begun = Instant::now();
    while !listens(port) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{program} does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(emulator)
}

/// The suite, a blob in parts, and what a place says that is not there.
fn check(kind: &str, options: &BackendOptions, place: &str) {
    let blobs = get_blob_backend(kind, options).unwrap();
    check_blob_backend(&*blobs);
    let value = noise(1, 20 << 20);
    let name = BlobName::unique();
    blobs.write(&name, &[&value], Durability::Interval).unwrap();
    assert!(blobs.read(&name, u64::MAX).unwrap().unwrap() == value);
    assert!(blobs.remove(&name).unwrap());
    let elsewhere = get_blob_backend(kind, &options.clone().with(place, "elsewhere")).unwrap();
    for error in [elsewhere.read(&name, 10).unwrap_err(), elsewhere.page(None, 1).unwrap_err()] {
        let expected = format!("there is no {place} \"elsewhere\"");
        assert!(error.is_config() && error.to_string().contains(&expected), "{error}");
    }
}

#[test]
fn a_container_of_azure_is_a_blob_backend() {
    let port = free_port();
    let listen = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--blobHost", "127.0.0.1"];
    let text = port.to_string();
    let arguments = [&listen[..], &["--blobPort", &text]].concat();
    let Some(_azurite) = start("azurite-blob", &arguments, port) else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/azure_container.py");
    let made = Command::new("python3").args([script, &text, BUCKET]).status().unwrap();
    assert!(made.success());
    // As every emulator has it.
    let key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    let endpoint = format!("http://127.0.0.1:{port}/devstoreaccount1");
    let options = BackendOptions::new().with("container", BUCKET).with("endpoint", endpoint).with("allow_http", true);
    check("azure", &options.clone().with("account", "devstoreaccount1").with("access_key", key), "container");
    let stranger = options.with("account", "devstoreaccount1").with("access_key", "TUFSS0VE");
    let error = get_blob_backend("azure", &stranger).unwrap().read(&BlobName::unique(), 10).unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(error.is_config() && told.contains("check the credentials") && !told.contains("TUFSS0VE"), "{told}");
}

#[test]
fn each_cloud_that_is_out_of_reach_is_named_with_its_place_and_without_a_secret() {
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let credentials = [
        ("s3", "bucket", vec![("access_key_id", "somebody"), ("secret_access_key", "TUFSS0VE")]),
        ("gcs", "bucket", vec![("bearer_token", "TUFSS0VE")]),
        ("azure", "container", vec![("account", "somebody"), ("access_key", "TUFSS0VE")]),
        ("azure", "container", vec![("account", "somebody"), ("sas_token", "sig=TUFSS0VE")]),
    ];
    for (kind, place, credentials) in credentials {
        let options = BackendOptions::new().with(place, BUCKET).with("endpoint", endpoint.as_str());
        let options = options.with("allow_http", true).with("timeout_ms", 500);
        let options = credentials.into_iter().fold(options, |all, (name, value)| all.with(name, value));
        let blobs = get_blob_backend(kind, &options).unwrap();
        for error in [
            blobs.read(&BlobName::unique(), 10).unwrap_err(),
            blobs.write(&BlobName::unique(), &[b"x"], Durability::Interval).unwrap_err(),
            blobs.page(None, 1).unwrap_err(),
        ] {
            let told = format!("{error} {error:?} {blobs:?} {options:?}");
            assert!(error.is_unavailable() && told.contains(&format!("in {place} \"{BUCKET}\" of {kind}")), "{told}");
            assert!(!told.contains("TUFSS0VE"), "{told}");
        }
    }
}
