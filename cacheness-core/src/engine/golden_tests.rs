//! The bytes on disk, for inputs that never change: `golden/format-N.txt` of the crate. Whoever changes one of them makes a
//! new format.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::manifest::{self, FORMAT, Kind};
use crate::clock::Timestamp;
use crate::config::{Durability, Limits, NativeFormat};
use crate::entry::{self, Core, Details, Entry, IndexKey, sample};
use crate::format::{self, Expected, Rules, Start};
use crate::index::{Payload, Record};
use crate::key::ToKey;
use crate::params;
use crate::security::{Signing, SigningKey};
use crate::storage::BlobName;
use crate::storage::blob::{BlobBackend, FilesystemBlobs};
use crate::storage::vfs::RealVfs;
use crate::util::digest::{checksum, hex};
use crate::value::Value;

/// Writes the file anew where it is missing, instead of failing.
const WRITE: &str = "CACHENESS_WRITE_GOLDEN";

const VALUE: &[u8] = b"the stored bytes of a value";

fn signing() -> Signing {
    Signing::with(SigningKey::from_bytes([7; 32]), []).for_domain(Kind::Cache.domain())
}

fn name() -> BlobName {
    BlobName::parse("00112233445566778899aabbccddeeff").unwrap()
}

/// An entry with something in every field.
fn full_entry() -> Entry {
    let created_at = Timestamp::from_micros(1_764_000_000_000_000);
    let core = Core {
        raw_size: 100,
        stored_size: VALUE.len() as u64,
        checksum: checksum(VALUE),

        ..sample::core(created_at, Some(Duration::from_secs(3600)))
    };
    let row = || [("accuracy".to_owned(), Value::from(0.5)), ("epoch".to_owned(), Value::from(7))].into();
    let details = Details {
        data_type: "alloc::string::String".into(),
        function: Some("weather::forecast".into()),
        prefix: Some("weather".into()),
        description: Some("of Oslo".into()),
        tags: vec!["north".into(), "daily".into()],
        kinds: vec!["runs".into()],
        metadata: [("source".to_owned(), Value::from("station"))].into(),
        rows: vec![row()],
        params: vec![("city".into(), Value::from("Oslo")), ("days".into(), Value::from(3))],
        name: Some("a/b".into()),
        content: Some([9; 32]),
        handler: Some("csv".into()),
    };
    let key = IndexKey::of(&params! { city: "Oslo", days: 3u8 }.to_key().unwrap());
    Entry { key, core, details, accessed_at: None, signature: None }
}

fn header() -> Vec<u8> {
    let mut header = Vec::new();
    entry::encode(&full_entry(), 1 << 16, &mut header).unwrap();
    header
}

fn record(payload: Payload<'_>, signing: &Signing) -> Vec<u8> {
    Record::new(&full_entry(), &payload, 1 << 16, signing).unwrap().as_bytes().to_vec()
}

fn envelope(signing: &Signing) -> Vec<u8> {
    let rules = Rules { limits: &Limits::DEFAULT, signing };
    format::seal_summed(&header(), &VALUE.into(), checksum(VALUE), rules).unwrap().parts().concat()
}

fn stream(signing: &Signing) -> Vec<u8> {
    let mut open = full_entry();
    open.core.leave_open();
    let mut header = Vec::new();
    entry::encode(&open, 1 << 16, &mut header).unwrap();
    let start = Start::of(&header, Rules { limits: &Limits::DEFAULT, signing }).unwrap();
    let (mut payload, mut proof) = (VALUE.to_vec(), start.proof());
    start.chunks().seal(0, &mut payload);
    proof.update(&payload);
    let found: Expected = proof.found();
    [start.bytes(), &payload, &start.trailer(found)].concat()
}

/// What stands beside a file that has a value and nothing else.
fn sidecar() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let blobs = FilesystemBlobs::open(Arc::new(RealVfs::new()), dir.path()).unwrap();
    let mut blob = blobs.create_around(&name(), b"header", NativeFormat::Parquet).unwrap();
    blob.write(VALUE).unwrap();
    blob.end_middle();
    blob.write(b"trailer").unwrap();
    blob.publish(Durability::Interval).unwrap();
    std::fs::read(blobs.file_of(&name()).unwrap().with_extension("entry")).unwrap()
}

fn golden() -> String {
    let (off, on) = (Signing::OFF, signing());
    let key = |key: &dyn Fn() -> IndexKey| key().as_bytes().to_vec();
    let all = [
        ("manifest of a cache", manifest::with_id(Kind::Cache, &name()).into_bytes()),
        ("manifest of a blob store", manifest::with_id(Kind::BlobStore, &name()).into_bytes()),
        ("key of named parameters", key(&|| full_entry().key)),
        ("key of a tuple", key(&|| IndexKey::of(&(1u8, "two", Some(-3i64), [4.5f64]).to_key().unwrap()))),
        ("key of a long text", key(&|| IndexKey::of(&"x".repeat(5000).to_key().unwrap()))),
        ("key of a blob store", key(&|| IndexKey::of_text("a/b").unwrap())),
        ("record with its value", record(Payload::Inline(VALUE), &off)),
        ("record of a blob", record(Payload::Blob(name()), &off)),
        ("signed record", record(Payload::Inline(VALUE), &on)),
        ("blob", envelope(&off)),
        ("signed blob", envelope(&on)),
        ("stream", stream(&off)),
        ("signed stream", stream(&on)),
        ("sidecar", sidecar()),
    ];
    all.iter().fold(String::new(), |mut text, (what, bytes)| {
        writeln!(text, "{what}: {}", hex(bytes)).unwrap();
        text
    })
}

#[test]
fn what_is_written_has_the_bytes_of_its_format_number() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("golden/format-{FORMAT}.txt"));
    if std::env::var_os(WRITE).is_some() && !file.exists() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, golden()).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    for (now, then) in golden().lines().zip(expected.lines()) {
        assert_eq!(now, then, "a change of bytes needs a new format number; see CONTRIBUTING.md");
    }
    assert_eq!(golden().lines().count(), expected.lines().count());
}
