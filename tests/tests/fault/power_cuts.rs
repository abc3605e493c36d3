//! Power cuts of a real file system: ext4 on a loop device, whose image is copied while it is mounted and the writer is
//! stopped. The copy is what a power cut would have left.
//!
//! By default a short rehearsal of each kind of store; `CACHENESS_POWER_CUTS=100` takes so many cuts of each, half of them
//! with `data=writeback`. Needs root and loop devices.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use cacheness::{BlobStore, Cache, CacheConfig};
use cacheness_tests::power::{KEYS, Kind, Operation, THREADS, key};
use cacheness_tests::{probe, skip, syncs_library};

use crate::mount::{Mounted, run, text};

const POWER_PROBE: &str = env!("CARGO_BIN_EXE_power_probe");
const CUTS: &str = "CACHENESS_POWER_CUTS";

/// Which operations were acknowledged, up to where each thread has flushed, and which may have been done besides.
#[derive(Clone, Debug, Default)]
struct History {
    acknowledged: BTreeSet<Operation>,
    flushed: [Option<u64>; THREADS as usize],
    perhaps: BTreeSet<Operation>,
}

impl History {
    fn last_of(&self, thread: u64) -> Option<u64> {
        let range = Operation { thread, number: 0 }..Operation { thread: thread + 1, number: 0 };
        self.acknowledged.range(range).next_back().map(|operation| operation.number)
    }

    /// The operations on a key that were acknowledged, the last one first.
    fn on(&self, thread: u64, of: u64) -> impl Iterator<Item = Operation> {
        let range = Operation { thread, number: 0 }..Operation { thread: thread + 1, number: 0 };
        self.acknowledged.range(range).rev().copied().filter(move |operation| operation.of() == of)
    }

    fn is_flushed(&self, operation: Operation) -> bool {
        self.flushed[operation.thread as usize].is_some_and(|flushed| operation.number <= flushed)
    }

    /// Notes that what follows the last acknowledged operation of each thread is under way, or was when it was killed.
    fn with_those_under_way(mut self) -> Self {
        for thread in 0..THREADS {
            let number = self.last_of(thread).map_or(0, |last| last + 1);
            self.perhaps.insert(Operation { thread, number });
        }
        self
    }
}

/// The writer, which is killed when this goes.
struct Writer {
    child: Child,
    heard: Arc<Mutex<History>>,
    reader: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(kind: Kind, dir: &Path, before: History, preload: Option<&Path>) -> Self {
        // Past those that were under way when the last writer was killed.
        let first = (0..THREADS).filter_map(|thread| before.last_of(thread)).max().map_or(0, |last| last + 2);
        let mut command = probe(POWER_PROBE, dir, &[&format!("{kind:?}"), &first.to_string()]);
        if let Some(library) = preload {
            command.env("LD_PRELOAD", library).env("TEST_SYNC", "lazy");
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the probe starts");
        let (heard, output) = (Arc::new(Mutex::new(before)), child.stdout.take().expect("it is piped"));
        let mine = Arc::clone(&heard);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let mut words = line.split(' ');
                let mut number = || words.next().and_then(|number| number.parse::<u64>().ok());
                let (Some(thread), Some(number)) = (number(), number()) else { continue };
                let mut heard = mine.lock().unwrap();
                heard.acknowledged.insert(Operation { thread, number });
                if words.next().is_some() {
                    heard.flushed[thread as usize] = Some(number);
                }
            }
        });
        Self { child, heard, reader: Some(reader) }
    }

    fn signal(&self, name: &str) {
        run("kill", &[name, &self.child.id().to_string()]).expect("the writer runs");
    }

    /// Kills it; what is known then.
    fn kill(mut self) -> History {
        let _ = self.child.kill();
        let _ = self.reader.take().map(JoinHandle::join);
        self.heard().with_those_under_way()
    }

    fn heard(&self) -> History {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was found after the cuts of one kind.
#[derive(Debug, Default)]
struct Found {
    cuts: u64,
    acknowledged: usize,
    hits: u64,
    /// Acknowledged, durable and not there, or older than what is to be there.
    lost: u64,
    wrong: u64,
    errors: Vec<String>,
}

/// A place for images, and what the cuts of one kind of store gave.
struct Rehearsal<'a> {
    kind: Kind,
    dir: &'a Path,
    options: &'a str,
    found: Found,
}

impl Rehearsal<'_> {
    /// Lets a writer write for so long at a time, and cuts the power so often.
    fn cut(&mut self, cuts: u64, preload: Option<&Path>) -> Result<(), String> {
        let image = self.dir.join("image");
        let _ = fs::remove_file(&image);
        run("truncate", &["-s", "128M", text(&image)])?;
        run("mkfs.ext4", &["-q", "-F", text(&image)])?;
        let mounted = Mounted::image(&image, self.dir.join("mounted"), self.options)?;
        let cache = mounted.at.join("cache");
        let mut history = History::default();
        for session in 0..cuts.div_ceil(6) {
            let writer = Writer::start(self.kind, &cache, history, preload);
            let begun = writer.heard().acknowledged.len();
            while writer.heard().acknowledged.len() < begun + 10 {
                std::thread::sleep(Duration::from_millis(5));
            }
            for n in 0..(cuts - session * 6).min(6) {
                std::thread::sleep(Duration::from_millis(20 + (n * 37 + session * 61) % 150));
                writer.signal("-STOP");
                let (copied, history) = (self.copy(&image), Self::when_silent(&writer));
                writer.signal("-CONT");
                if copied? {
                    self.look(&history.with_those_under_way())?;
                }
            }
            history = writer.kill();
            if !self.kind.is_durable() {
                // Nobody knows what the kill took.
                fs::remove_dir_all(&cache).map_err(|error| error.to_string())?;
                history = History::default();
            }
        }
        Ok(())
    }

    /// What the stopped writer had said: the reader may be a moment behind.
    fn when_silent(writer: &Writer) -> History {
        let mut before = writer.heard();
        loop {
            std::thread::sleep(Duration::from_millis(5));
            let now = writer.heard();
            if now.acknowledged.len() == before.acknowledged.len() {
                return now;
            }
            before = now;
        }
    }

    /// Copies the image; says whether nothing was written meanwhile, so that there was such a moment.
    fn copy(&self, image: &Path) -> Result<bool, String> {
        let copy = self.dir.join("copy");
        for _ in 0..10 {
            run("cp", &["--sparse=always", text(image), text(&copy)])?;
            if run("cmp", &["-s", text(image), text(&copy)]).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks at every key of the copy.
    fn look(&mut self, history: &History) -> Result<(), String> {
        let mounted = Mounted::image(&self.dir.join("copy"), self.dir.join("after"), self.options)?;
        let dir = mounted.at.join("cache");
        self.found.cuts += 1;
        self.found.acknowledged = self.found.acknowledged.max(history.acknowledged.len());
        if matches!(self.kind, Kind::Store | Kind::Contents) {
            let content_addressable = self.kind == Kind::Contents;
            match BlobStore::builder().dir(dir).content_addressable(content_addressable).open() {
                Ok(store) => self.compare(history, |key| store.get(key)),
                Err(error) => self.found.errors.push(format!("cannot open: {error}")),
            }
        } else {
            match Cache::new(self.kind.config(CacheConfig::new(dir))) {
                Ok(cache) => self.compare(history, |key| cache.get(key)),
                Err(error) => self.found.errors.push(format!("cannot open: {error}")),
            }
        }
        Ok(())
    }

    fn compare(&mut self, history: &History, get: impl Fn(&str) -> cacheness::Result<Option<Vec<u8>>>) {
        for (thread, of) in (0..THREADS).flat_map(|thread| (0..KEYS).map(move |of| (thread, of))) {
            let found = match get(&key(thread, of)) {
                Ok(found) => found,
                Err(error) => {
                    self.found.errors.push(format!("{}: {error}", key(thread, of)));
                    continue;
                }
            };
            self.found.hits += u64::from(found.is_some());
            if !self.may_be_newest(history, thread, of, found.as_ref()) {
                let last = history.on(thread, of).next();
                let promised = self.kind.is_durable() || last.is_some_and(|last| history.is_flushed(last));
                self.found.lost += u64::from(promised);
                let is_right = found.is_none_or(|found| self.is_recent(history, thread, of, &found));
                self.found.wrong += u64::from(!is_right);
            }
        }
    }

    /// Whether this is what the last operation left, or one that was under way.
    fn may_be_newest(&self, history: &History, thread: u64, of: u64, found: Option<&Vec<u8>>) -> bool {
        let acknowledged = history.on(thread, of).next();
        let later = history.perhaps.iter().filter(|operation| (operation.thread, operation.of()) == (thread, of));
        let later = later.filter(|later| acknowledged.is_none_or(|last| later.number > last.number));
        let newest = acknowledged.and_then(|operation| operation.value(self.kind));
        newest.as_ref() == found || later.into_iter().any(|operation| operation.value(self.kind).as_ref() == found)
    }

    /// Whether a value that is not the newest one may be there: without durability, what was replaced after a flush.
    fn is_recent(&self, history: &History, thread: u64, of: u64, found: &Vec<u8>) -> bool {
        let flushed = history.on(thread, of).find(|operation| history.is_flushed(*operation));
        let mut recent =
            history.on(thread, of).take_while(|operation| flushed.is_none_or(|flushed| *operation >= flushed));
        !self.kind.is_durable() && recent.any(|operation| operation.value(self.kind).as_ref() == Some(found))
    }
}

/// Why no power cut can be rehearsed here, if so.
fn cannot(dir: &Path) -> Option<String> {
    let image = dir.join("image");
    let tried = run("truncate", &["-s", "8M", text(&image)])
        .and_then(|()| run("mkfs.ext4", &["-q", "-F", text(&image)]))
        .and_then(|()| Mounted::image(&image, dir.join("mounted"), "rw").map(drop));
    tried.err()
}

/// The cuts of one kind.
fn rehearsed(kind: Kind, dir: &Path, cuts: u64, preload: Option<&Path>) -> Found {
    let mut found = Found::default();
    for options in ["data=ordered", "data=writeback"] {
        if options == "data=ordered" || cuts > 20 {
            let mut rehearsal = Rehearsal { kind, dir, options, found };
            rehearsal.cut(if cuts > 20 { cuts / 2 } else { cuts }, preload).unwrap();
            found = rehearsal.found;
        }
    }
    println!("{kind:?}: {found:?}");
    assert!(found.cuts > 0 && found.acknowledged > 0, "{kind:?}: {found:?}");
    found
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged_as_durable_and_leaves_no_wrong_value() {
    let place = tempfile::tempdir().unwrap();
    if let Some(why) = cannot(place.path()) {
        return skip(&format!("no power cut can be rehearsed: {why}"));
    }
    let cuts = std::env::var(CUTS).ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(3);
    for kind in Kind::ALL {
        let found = rehearsed(kind, place.path(), cuts, None);
        assert_eq!((found.lost, found.wrong, found.errors.len()), (0, 0, 0), "{kind:?}: {found:?}");
        // Files that nobody syncs are not there for half a minute: all misses are right.
        assert!(found.hits > 0 || kind == Kind::IntervalFiles, "{kind:?}: {found:?}");
    }
    // Were it blind, the same would hold without a sync of the index.
    let lazy = syncs_library(place.path()).unwrap();
    let found = rehearsed(Kind::Inline, place.path(), cuts, Some(&lazy));
    assert!(found.lost > 0, "{found:?}");
}
