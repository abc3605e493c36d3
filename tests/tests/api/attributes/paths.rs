//! Files and directories as arguments: which content a result belongs to, and when it is not stored.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cacheness::{AsyncCache, Cache, CacheConfig, cached, params};

use super::{Runs, block_on, in_memory_by_default};

/// Files of their own for one test.
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("input");
    fs::write(&file, "old").unwrap();
    (dir, file)
}

#[test]
fn a_result_made_while_its_file_changed_is_told_and_not_stored() {
    in_memory_by_default();
    static RUNS: Runs = Runs::new();
    static NEXT: Mutex<Option<&str>> = Mutex::new(None);

    #[cached]
    fn read(path: &Path) -> String {
        RUNS.count();
        // Somebody else, between the digest and the reading.
        if let Some(next) = NEXT.lock().unwrap().take() {
            fs::write(path, next).unwrap();
        }
        fs::read_to_string(path).unwrap()
    }

    let (_dir, file) = place();
    *NEXT.lock().unwrap() = Some("new");
    assert_eq!(read(&file), "new");
    fs::write(&file, "old").unwrap();
    assert_eq!((read(&file).as_str(), RUNS.so_far()), ("old", 2), "nothing was stored for the old content");
    fs::write(&file, "new").unwrap();
    assert_eq!((read(&file).as_str(), RUNS.so_far()), ("new", 3));
    assert_eq!((read(&file).as_str(), RUNS.so_far()), ("new", 3));
}

#[test]
fn a_result_made_while_its_file_was_made_or_removed_is_not_stored() {
    in_memory_by_default();
    static RUNS: Runs = Runs::new();
    static OTHER: Mutex<Option<fn(&Path)>> = Mutex::new(None);

    #[cached]
    fn is_there(paths: &[PathBuf]) -> bool {
        RUNS.count();
        if let Some(other) = OTHER.lock().unwrap().take() {
            other(&paths[0]);
        }
        paths[0].exists()
    }

    let (_dir, file) = place();
    let paths = [file.clone()];
    *OTHER.lock().unwrap() = Some(|path| fs::remove_file(path).unwrap());
    assert!(!is_there(&paths));
    fs::write(&file, "old").unwrap();
    assert!(is_there(&paths), "the file is there again, with the content it had");
    fs::remove_file(&file).unwrap();
    *OTHER.lock().unwrap() = Some(|path| fs::write(path, "made").unwrap());
    assert!(is_there(&paths));
    fs::remove_file(&file).unwrap();
    assert!(!is_there(&paths), "it is missing again");
    assert_eq!(RUNS.so_far(), 4);
}

#[test]
fn a_future_whose_directory_changed_meanwhile_is_not_stored() {
    in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached(call = count_call)]
    async fn count(dir: PathBuf, skipped: bool) -> usize {
        RUNS.count();
        if skipped {
            tokio::task::yield_now().await;
            fs::write(dir.join("another"), "").unwrap();
        }
        fs::read_dir(&dir).unwrap().count()
    }

    let (dir, _file) = place();
    let place = || dir.path().to_owned();
    block_on(async {
        assert_eq!(count_call(place(), true).get().await, 2);
        assert!(!count_call(place(), true).is_cached().unwrap());
        fs::remove_file(dir.path().join("another")).unwrap();
        assert!(!count_call(place(), true).is_cached().unwrap());
        assert_eq!(count_call(place(), false).refresh().await, 1);
        assert!(count_call(place(), false).is_cached().unwrap());
        assert_eq!((count(place(), false).await, RUNS.so_far()), (1, 2));
    });
}

#[test]
fn a_strict_call_whose_file_changed_meanwhile_is_no_error() {
    in_memory_by_default();

    #[cached(ignore_errors = false)]
    fn read(path: &Path) -> Result<String, Box<dyn std::error::Error>> {
        fs::write(path, "new")?;
        Ok(fs::read_to_string(path)?)
    }

    let (_dir, file) = place();
    assert_eq!(read(&file).unwrap(), "new");
}

#[test]
fn a_value_inserted_while_its_file_changed_is_not_stored() {
    let (_dir, file) = place();
    let change = || {
        fs::write(&file, "new").unwrap();
        1
    };
    let restore = || fs::write(&file, "old").unwrap();

    let cache = Cache::in_memory();
    assert_eq!(cache.get_or_insert_with(params! { input: file }, change).unwrap(), 1);
    restore();
    assert_eq!(cache.get_or_insert_with(params! { input: file }, || 2).unwrap(), 2);
    assert_eq!(cache.get_or_insert_with(params! { input: file }, || 3).unwrap(), 2);
    assert_eq!(cache.get_stats().unwrap().errors, 1, "it is counted");

    let cache = AsyncCache::in_memory();
    block_on(async {
        assert_eq!(cache.get_or_insert_with(file.as_path(), || async { change() }).await.unwrap(), 1);
        restore();
        assert_eq!(cache.get_or_insert_with(file.as_path(), || async { 2 }).await.unwrap(), 2);
        assert_eq!(cache.get_or_insert_with(file.as_path(), || async { 3 }).await.unwrap(), 2);
    });
}

#[test]
fn a_cache_inside_of_the_argument_does_not_change_the_key() {
    static RUNS: Runs = Runs::new();

    #[cached(cache = cache, skip(cache))]
    fn lines(cache: &Cache, project: &Path, n: u32) -> u32 {
        RUNS.count();
        let _ = project;
        n
    }

    let (dir, file) = place();
    for _ in 0..2 {
        let cache = Cache::open(dir.path().join("cache")).unwrap();
        for n in 0..5 {
            assert_eq!(lines(&cache, dir.path(), n), n);
            assert_eq!(lines(&cache, dir.path(), n), n);
        }
        cache.close().unwrap();
    }
    assert_eq!(RUNS.so_far(), 5);
    let cache = Cache::open(dir.path().join("cache")).unwrap();
    fs::write(&file, "new").unwrap();
    lines(&cache, dir.path(), 0);
    assert_eq!(RUNS.so_far(), 6);
}

#[test]
fn a_bound_call_keys_paths_as_its_cache_does() {
    #[cached(cache = cache, skip(cache), call = length_call)]
    fn length(cache: &Cache, path: &Path) -> usize {
        fs::read(path).unwrap().len()
    }

    let (_dir, file) = place();
    let by_text = Cache::new(CacheConfig::in_memory().with_hashed_path_content(false)).unwrap();
    assert_eq!(length(&by_text, &file), 3);
    fs::write(&file, "longer").unwrap();
    assert!(length_call(&by_text, &file).is_cached().unwrap(), "it counts by its text");
    assert!(length_call(&by_text, &file).invalidate().unwrap());
    assert_eq!(length(&by_text, &file), 6);
}

#[test]
fn an_error_made_while_its_file_changed_is_not_told_to_those_who_asked_for_another_file_of_the_same_content() {
    in_memory_by_default();
    static CHANGES: Mutex<Option<std::sync::mpsc::Sender<()>>> = Mutex::new(None);

    fn refuse(path: &Path) -> Result<u32, String> {
        let changes = CHANGES.lock().unwrap().take();
        if let Some(begun) = changes {
            begun.send(()).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(200));
            fs::write(path, "new").unwrap();
        }
        Err(fs::read_to_string(path).unwrap())
    }

    #[cached]
    fn read(path: &Path) -> Result<u32, String> {
        refuse(path)
    }

    #[cached]
    async fn read_later(path: &Path) -> Result<u32, String> {
        refuse(path)
    }

    for read in [|path: &Path| read(path), |path: &Path| block_on(read_later(path))] {
        let ((_ours, ours), (_theirs, theirs)) = (place(), place());
        let (begun, begins) = std::sync::mpsc::channel();
        *CHANGES.lock().unwrap() = Some(begun);
        std::thread::scope(|threads| {
            threads.spawn(|| assert_eq!(read(&ours), Err("new".to_owned())));
            begins.recv().unwrap();
            assert_eq!(read(&theirs), Err("old".to_owned()));
        });
    }
}
