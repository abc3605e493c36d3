//! A program's logger may use the cache, also while the cache logs.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::mpsc::channel;
use std::time::Duration;

use cacheness_core::{Cache, default_cache};
use log::{LevelFilter, Log, Metadata, Record};

/// Looks up what it writes in the default cache, as one with a cached function would.
struct CachingLogger;

impl Log for CachingLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("cacheness")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let _ = default_cache().and_then(|cache: Cache| cache.get::<u8>("host name"));
        }
    }

    fn flush(&self) {}
}

#[test]
fn a_logger_that_uses_the_default_cache_while_it_is_opened_does_not_hang() {
    let dir = tempfile::tempdir().unwrap();
    std::env::set_current_dir(dir.path()).unwrap();
    std::fs::write("cache", "in the place of the directory").unwrap();
    log::set_logger(&CachingLogger).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let (done, opened) = channel();
    std::thread::spawn(move || done.send(default_cache().is_ok()));
    assert_eq!(opened.recv_timeout(Duration::from_secs(10)), Ok(true));
}
