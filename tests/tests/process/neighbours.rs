use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use cacheness::Cache;
use cacheness_tests::{bodies, errors_of, probe, run, warnings};

use crate::PROBE;

struct Holder(Child);

impl Holder {
    fn of(dir: &Path) -> Self {
        let mut child = probe(PROBE, dir, &["hold"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("open"), "{line}");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_second_process_is_told_that_the_directory_is_in_use_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::of(dir.path());
    let error = Cache::open(dir.path()).unwrap_err();
    assert!(error.is_locked(), "{error:?}");
    let message = error.to_string();
    assert!(message.contains(dir.path().to_str().unwrap()) && message.contains("directory of its own"), "{message}");
    drop(holder);
    Cache::open(dir.path()).expect("a killed process leaves no lock");
}

#[test]
fn the_default_cache_of_a_second_process_goes_on_in_memory_with_one_warning() {
    let dir = tempfile::tempdir().unwrap();
    let _holder = Holder::of(dir.path());
    let second = run(PROBE, dir.path(), &["call", "20"]);
    assert!(second.status.success(), "{}", errors_of(&second));
    assert_eq!(bodies(&second), 20);
    let warnings = warnings(&second);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("another process"), "{warnings:?}");
}

/// Two builds of a program whose type has the same name and the same fields in another order.
#[test]
fn a_type_whose_fields_changed_places_between_two_builds_is_a_miss_and_not_garbage() {
    let dir = tempfile::tempdir().unwrap();
    cacheness::set_default_cache(Cache::open(dir.path()).unwrap());
    assert_eq!(std::any::type_name::<shapes_v1::Point>(), std::any::type_name::<shapes_v2::Point>());
    let first = shapes_v1::origin(3);
    assert_eq!((first.x, first.y), (3.0, 4.0));
    let second = shapes_v2::origin(3);
    assert_eq!((second.x, second.y), (3.0, 4.0));
    let stats = cacheness::default_cache().unwrap().get_stats().unwrap();
    assert_eq!((stats.hits, stats.puts, stats.entries), (0, 2, 1), "one key, stored twice");
}
