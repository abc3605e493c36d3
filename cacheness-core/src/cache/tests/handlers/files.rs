use super::*;
use crate::codec::handler::{ByFile, FileHandler};

/// Saves as a library would, and notes where.
#[derive(Clone)]
struct Saved {
    extension: &'static str,
    save: fn(&Path) -> Outcome<()>,
    load: fn(&Path) -> Outcome<Opaque>,
    paths: Arc<std::sync::Mutex<Vec<std::path::PathBuf>>>,
}

impl Saved {
    fn new() -> Self {
        let save = |path: &Path| Ok(fs::write(path, b"seven")?);
        let load = |path: &Path| Ok(Opaque(if fs::read(path)? == b"seven" { 7 } else { 0 }));
        Self { extension: "tar.gz", save, load, paths: Arc::default() }
    }

    /// The file and its directory are gone, wherever they were.
    fn left_nothing(&self, calls: usize) {
        let paths = self.paths.lock().unwrap();
        assert_eq!(paths.len(), calls);
        assert!(paths.iter().all(|path| !path.exists() && !path.parent().unwrap().exists()));
        assert!(paths.iter().all(|path| path.file_name().unwrap() == "value.tar.gz"));
    }
}

impl FileHandler for Saved {
    type Value = Opaque;

    fn name(&self) -> &str {
        "saved"
    }

    fn extension(&self) -> &str {
        self.extension
    }

    fn save(&self, _: &Opaque, path: &Path) -> Outcome<()> {
        self.paths.lock().unwrap().push(path.to_owned());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
            assert_eq!((mode(path), mode(path.parent().unwrap())), (0o600, 0o700));
        }
        (self.save)(path)
    }

    fn load(&self, path: &Path) -> Outcome<Opaque> {
        self.paths.lock().unwrap().push(path.to_owned());
        (self.load)(path)
    }
}

#[test]
fn a_handler_of_files_passes_through_a_private_file_and_leaves_none() {
    let (cache, saved) = (Cache::in_memory(), Saved::new());
    let handler = ByFile(saved.clone());
    cache.put_by(&handler, "key", &Opaque(7), PutOptions::new()).unwrap();
    assert_eq!(cache.get_by(&handler, "key").unwrap(), Some(Opaque(7)));
    assert_eq!((wrote(&cache, "key").as_str(), entry(&cache, "key").raw_size()), ("saved", 5));
    saved.left_nothing(2);

    cache.register_handler(ByFile(saved.clone()), 0).unwrap();
    assert_eq!(&*cache.list_handlers().unwrap()[0].name, "saved");
}

#[test]
fn a_handler_of_files_that_fails_or_panics_leaves_no_file() {
    let fails: [fn(&Path) -> Outcome<()>; 4] = [
        |_| Err("the disk is full".into()),
        |path| {
            fs::write(path.with_extension("part"), "half")?;
            panic!("half way")
        },
        |path| Ok(fs::remove_file(path)?),
        |path| {
            fs::remove_file(path)?;
            Ok(fs::create_dir(path)?)
        },
    ];
    let cache = Cache::in_memory();
    for save in fails {
        let saved = Saved { save, ..Saved::new() };
        let error = cache.put_by(&ByFile(saved.clone()), "key", &Opaque(7), PutOptions::new()).unwrap_err();
        assert!(error.is_handler() && error.to_string().starts_with("handler `saved` failed in `write`: "), "{error}");
        saved.left_nothing(1);
    }
    assert!(!cache.exists("key").unwrap());
    cache.put_by(&ByFile(Saved::new()), "key", &Opaque(7), PutOptions::new()).unwrap();
    let loads: [fn(&Path) -> Outcome<Opaque>; 2] = [|_| Err("not mine".into()), |_| panic!("torn")];
    for load in loads {
        let saved = Saved { load, ..Saved::new() };
        assert_eq!(cache.get_by(&ByFile(saved.clone()), "key").unwrap(), None);
        saved.left_nothing(1);
    }
    assert_eq!(cache.get_by(&ByFile(Saved::new()), "key").unwrap(), Some(Opaque(7)), "it stays");
}

#[test]
fn a_file_over_the_limit_and_an_extension_that_leads_elsewhere_are_refused() {
    let limits = Limits { max_value_bytes: 1000, ..Limits::DEFAULT };
    let cache = Cache::new(CacheConfig::in_memory().with_limits(limits)).unwrap();
    let saved = Saved { save: |path| Ok(fs::write(path, [7; 1001])?), ..Saved::new() };
    let error = cache.put_by(&ByFile(saved.clone()), "key", &Opaque(7), PutOptions::new()).unwrap_err();
    assert!(error.is_limit(), "{error}");
    saved.left_nothing(1);
    for extension in ["/../../x", ".hidden", "a b", "seventeen.letters", "\0"] {
        let saved = Saved { extension, ..Saved::new() };
        let error = cache.put_by(&ByFile(saved.clone()), "key", &Opaque(7), PutOptions::new()).unwrap_err();
        assert!(error.is_handler() && error.to_string().contains("no file can have the extension"), "{error}");
        assert!(saved.paths.lock().unwrap().is_empty());
    }
}
