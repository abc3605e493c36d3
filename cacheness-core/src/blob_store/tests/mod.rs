mod contents;
mod faults;
mod opening;
mod streams;
mod values;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::*;
use crate::util::digest::checksum;

/// A store in a directory of its own, which goes with it.
struct Fixture {
    store: BlobStore,
    dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    fixture_with(|builder| builder)
}

fn fixture_with(settings: impl FnOnce(BlobStoreBuilder) -> BlobStoreBuilder) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = settings(BlobStore::builder().dir(dir.path())).open().unwrap();
    Fixture { store, dir }
}

impl Fixture {
    /// Closes the store and opens it again, with a step between the two.
    fn reopened_after(
        self,
        settings: impl FnOnce(BlobStoreBuilder) -> BlobStoreBuilder,
        between: impl FnOnce(&Path),
    ) -> Self {
        self.store.close().unwrap();
        between(self.dir.path());
        let store = settings(BlobStore::builder().dir(self.dir.path())).open().unwrap();
        Self { store, dir: self.dir }
    }

    fn reopened(self) -> Self {
        self.reopened_after(|builder| builder, |_| ())
    }

    /// The files of all blobs, in no order.
    fn blobs(&self) -> Vec<PathBuf> {
        let shards = fs::read_dir(self.dir.path().join("blobs")).unwrap().map(|shard| shard.unwrap().path());
        shards.flat_map(|shard| fs::read_dir(shard).unwrap().map(|file| file.unwrap().path())).collect()
    }

    /// The file of the one blob that was added by `step`.
    fn blob_of(&self, step: impl FnOnce(&BlobStore)) -> PathBuf {
        let before = self.blobs();
        step(&self.store);
        self.blobs().into_iter().find(|file| !before.contains(file)).unwrap()
    }

    fn count(&self, dir: &str) -> usize {
        fs::read_dir(self.dir.path().join(dir)).unwrap().count()
    }
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    static NOISE: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..200_000u64).flat_map(|n| checksum(&n.to_le_bytes()).to_le_bytes()).collect());
    NOISE[..len].to_vec()
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    change(&mut bytes);
    fs::write(file, bytes).unwrap();
}

fn write(store: &BlobStore, key: &str, bytes: &[u8]) -> Result<Entry> {
    let mut writer = store.writer(key)?;
    std::io::Write::write_all(&mut writer, bytes).map_err(inner)?;
    writer.commit()
}

/// The error of the store in one of `std::io`.
fn inner(error: std::io::Error) -> crate::CacheError {
    error.into_inner().unwrap().downcast_ref::<crate::CacheError>().unwrap().clone()
}

/// Copies a closed store.
fn copy_dir(from: &Path, to: &Path) {
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        match item.file_type().unwrap().is_dir() {
            true => {
                fs::create_dir_all(&target).unwrap();
                copy_dir(&item.path(), &target);
            }
            false => drop(fs::copy(item.path(), target).unwrap()),
        }
    }
}
