//! What sled shows of values when it is traced is told before it happens.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Mutex;

use cacheness_core::Cache;
use log::{Level, LevelFilter, Log, Metadata, Record};

/// Takes everything at TRACE, but sled only when it is told to; keeps the warnings.
struct Logger {
    takes_sled: Mutex<bool>,
    warnings: Mutex<Vec<String>>,
}

static LOGGER: Logger = Logger { takes_sled: Mutex::new(false), warnings: Mutex::new(Vec::new()) };

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.target().starts_with("sled") || *self.takes_sled.lock().unwrap()
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() == Level::Warn && self.enabled(record.metadata()) {
            self.warnings.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

#[test]
fn a_logger_that_takes_the_traces_of_sled_is_warned_once_and_no_other_is() {
    log::set_logger(&LOGGER).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let open = || {
        let dir = tempfile::tempdir().unwrap();
        Cache::open(dir.path()).unwrap().close().unwrap();
        LOGGER.warnings.lock().unwrap().iter().filter(|warning| warning.contains("`sled=warn`")).count()
    };
    assert_eq!(open(), 0, "the logger leaves sled out");
    *LOGGER.takes_sled.lock().unwrap() = true;
    assert_eq!([open(), open()], [1, 1]);
}
