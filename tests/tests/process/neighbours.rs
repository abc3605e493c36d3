use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cacheness::config::SecondProcess;
use cacheness::{Cache, CacheConfig};
use cacheness_tests::{bodies, errors_of, probe, warnings};

use crate::PROBE;

pub(crate) struct Holder(Child);

impl Holder {
    fn of(dir: &Path) -> Self {
        Self::by(PROBE, dir)
    }

    /// One that is another program.
    pub(crate) fn by(program: &str, dir: &Path) -> Self {
        let mut child = probe(program, dir, &["hold"]).stdout(Stdio::piped()).spawn().unwrap();
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

/// The configuration that says what a second process does.
fn second_process(dir: &Path, what: SecondProcess) -> CacheConfig {
    CacheConfig::new(dir).with_second_process(what)
}

#[test]
fn a_second_process_is_told_that_the_directory_is_in_use_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::of(dir.path());
    let error = Cache::new(second_process(dir.path(), SecondProcess::Refuse)).unwrap_err();
    assert!(error.is_locked(), "{error:?}");
    let message = error.to_string();
    assert!(message.contains(dir.path().to_str().unwrap()) && message.contains("directory of its own"), "{message}");
    drop(holder);
    Cache::open(dir.path()).expect("a killed process leaves no lock");
}

#[test]
fn the_default_cache_of_a_second_process_goes_on_in_memory_with_one_warning_where_that_is_wanted() {
    let (dir, settings) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _holder = Holder::of(dir.path());
    for what in ["memory", "refuse"] {
        let file = settings.path().join(format!("{what}.toml"));
        std::fs::write(&file, format!("[metadata]\nsecond_process = \"{what}\"\n")).unwrap();
        let second = probe(PROBE, dir.path(), &["call", "20"]).env("CACHENESS_CONFIG", &file).output().unwrap();
        assert!(second.status.success(), "{}", errors_of(&second));
        assert_eq!(bodies(&second), 20);
        let warnings = warnings(&second);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("another process") && warnings[0].contains("memory"), "{warnings:?}");
    }
}

#[test]
fn a_cache_that_a_second_process_opens_by_hand_is_in_memory_where_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let _holder = Holder::of(dir.path());
    let cache = Cache::new(second_process(dir.path(), SecondProcess::Memory)).unwrap();
    cache.put("one", &1u8).unwrap();
    assert_eq!((cache.get("one").unwrap(), cache.directory()), (Some(1u8), None));
}

/// Says to a test that it is the earlier build, and where the cache is.
const EARLIER: &str = "CACHE_OF_THE_EARLIER_BUILD";

/// A cache in which `earlier` has put its results, in another process. None in that other process.
fn after(test: &str, earlier: impl FnOnce(&Cache)) -> Option<(Cache, tempfile::TempDir)> {
    if let Some(dir) = std::env::var_os(EARLIER) {
        let cache = Cache::open(dir).unwrap();
        earlier(&cache);
        cache.close().unwrap();
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut process = Command::new(std::env::current_exe().unwrap());
    let output = process.args(["--exact", &format!("neighbours::{test}")]).env(EARLIER, dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Some((Cache::open(dir.path()).unwrap(), dir))
}

/// Two builds of a program whose type has the same name and the same fields in another order.
#[test]
fn a_type_whose_fields_changed_places_between_two_builds_is_a_miss_and_not_garbage() {
    let test = "a_type_whose_fields_changed_places_between_two_builds_is_a_miss_and_not_garbage";
    let Some((cache, _dir)) = after(test, |cache| {
        let first = shapes_v1::origin(cache, 3);
        assert_eq!((first.x, first.y), (3.0, 4.0));
    }) else {
        return;
    };
    assert_eq!(std::any::type_name::<shapes_v1::Point>(), std::any::type_name::<shapes_v2::Point>());
    assert_eq!(cache.get_stats().unwrap().entries, 1);
    let second = shapes_v2::origin(&cache, 3);
    assert_eq!((second.x, second.y), (3.0, 4.0));
    let stats = cache.get_stats().unwrap();
    assert_eq!((stats.hits, stats.puts, stats.entries), (0, 1, 1), "one key, stored twice");
}

/// Bodies of the two builds return different numbers, so that a hit shows.
#[test]
fn functions_of_modules_and_methods_hit_after_a_change_of_their_bodies_and_nested_ones_miss() {
    let test = "functions_of_modules_and_methods_hit_after_a_change_of_their_bodies_and_nested_ones_miss";
    let Some((cache, _dir)) = after(test, |cache| {
        let results = [shapes_v1::plain(cache), shapes_v1::Scale.method(cache), shapes_v1::nested(cache)];
        assert_eq!(results, [1; 3]);
    }) else {
        return;
    };
    let results = [shapes_v2::plain(&cache), shapes_v2::Scale.method(&cache), shapes_v2::nested(&cache)];
    assert_eq!(results, [1, 1, 2]);
}

#[test]
fn two_versions_of_a_crate_in_one_program_do_not_share_results() {
    let cache = Cache::in_memory();
    assert_eq!([shapes_v1::in_both(&cache), shapes_v2::in_both(&cache), shapes_v1::in_both(&cache)], [1, 2, 1]);
    assert_eq!(cache.get_stats().unwrap().hits, 0);
}
