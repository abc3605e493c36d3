//! What is measured, and how it is shown.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cacheness::cache::Expired;
use cacheness::entry::Entries;
use cacheness::{Cache, Entry};
use cacheness_benches::{Bench, median, timed};

use crate::subject::{Station, Subject, key};

/// Rounds of the hot paths; the middle one counts.
const ROUNDS: usize = 15;
/// Calls of one round.
const CALLS: usize = 5_000;

pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// One for each size.
    pub(crate) seconds: Vec<f64>,
    unit: Unit,
}

#[derive(Clone, Copy)]
enum Unit {
    Time,
    Megabytes,
}

/// Opening and closing, in order and not.
pub(crate) fn opening(subjects: &mut [Subject]) -> Vec<Row> {
    let close = each(subjects, |subject| timed(|| subject.close()));
    let size = each(subjects, |subject| megabytes(bytes_below(&subject.dir)));
    let first = each(subjects, |subject| timed(|| subject.open()));
    let unclean = each(subjects, open_a_copy_that_was_not_closed);
    let reopened = each(subjects, |subject| {
        median((0..5).map(|_| {
            subject.close();
            timed(|| subject.open())
        }))
    });
    let idle = each(subjects, |subject| {
        let seconds = timed(|| subject.close());
        subject.open();
        seconds
    });
    vec![
        row("close after filling", close),
        Row { name: "size on disk", seconds: size, unit: Unit::Megabytes },
        row("open after filling", first),
        row("open again", reopened),
        row("close with nothing to write", idle),
        row("open what was not closed", unclean),
    ]
}

/// A copy of the files of an open cache is what a kill leaves.
fn open_a_copy_that_was_not_closed(subject: &mut Subject) -> f64 {
    subject.cache().flush().unwrap();
    let copy = subject.dir.with_extension("copy");
    copy_dir(&subject.dir, &copy);
    let mut opened = None;
    let seconds = timed(|| opened = Some(subject.opened(&copy)));
    let opened = opened.unwrap();
    assert_eq!(opened.get_stats().unwrap().entries, subject.size as u64);
    opened.close().unwrap();
    fs::remove_dir_all(copy).unwrap();
    seconds
}

/// Calls that programs make all the time, warm, the sizes in turn.
pub(crate) fn hot_paths(subjects: &mut [Subject]) -> Vec<Row> {
    subjects.iter().for_each(Subject::warm);
    vec![
        in_turns("get", subjects, CALLS, Subject::get_a_random_one),
        in_turns("get, a miss", subjects, CALLS, Subject::miss),
        in_turns("put over an entry", subjects, CALLS, Subject::put_over_a_random_one),
        in_turns("put a new entry", subjects, 100, |subject| subject.put_a_new_one()),
        in_turns("get_stats", subjects, 100, |subject| _ = std::hint::black_box(subject.cache().get_stats().unwrap())),
        in_turns("cleanup_expired, none is", subjects, 20, |subject| {
            assert_eq!(subject.cache().cleanup_expired().unwrap(), 0);
        }),
    ]
}

/// Pages of a listing, newest first: from its beginning, and behind an entry of the middle.
pub(crate) fn listing(subjects: &mut [Subject]) -> Vec<Row> {
    let page = |entries: Entries| {
        let page: Vec<Entry> = entries.take(100).collect::<Result<_, _>>().unwrap();
        assert_eq!(page.len(), 100);
    };
    vec![
        in_turns("first page of 100 entries", subjects, 5, |subject| page(subject.cache().list_entries())),
        in_turns("page of 100 in the middle", subjects, 5, |subject| {
            let middle = subject.cache().get_metadata(key(subject.size as u64 / 2), Expired::Skip).unwrap().unwrap();
            page(subject.cache().list_entries().after(&middle));
        }),
    ]
}

/// What is done now and then, once; and how long another thread waited for a hit meanwhile.
pub(crate) fn upkeep(subjects: &mut [Subject]) -> Vec<Row> {
    let mut evicting = (Vec::new(), Vec::new());
    let mut cleanup = (Vec::new(), Vec::new());
    let mut clear = (Vec::new(), Vec::new());
    for subject in subjects {
        let (seconds, longest) = make_it_evict(subject);
        evicting.0.push(seconds);
        evicting.1.push(longest);
        let expired = subject.size as u64 / 10;
        (0..expired).for_each(|_| subject.put_a_short_lived_one());
        std::thread::sleep(Duration::from_millis(2));
        let (seconds, longest) = beside_a_reader(subject, |cache| {
            assert_eq!(cache.cleanup_expired().unwrap(), expired);
        });
        cleanup.0.push(seconds);
        cleanup.1.push(longest);
        let (seconds, longest) = beside_a_reader(subject, |cache| assert!(cache.clear().unwrap() > 0));
        clear.0.push(seconds);
        clear.1.push(longest);
    }
    vec![
        row("longest put at the limit", evicting.0),
        row("longest get beside these puts", evicting.1),
        row("cleanup_expired, a tenth is", cleanup.0),
        row("longest get beside that cleanup", cleanup.1),
        row("clear", clear.0),
        row("longest get beside that clear", clear.1),
    ]
}

/// Puts into a cache that is at its limit until entries had to go: the slowest put. One that is smaller than the least
/// limit does not evict.
fn make_it_evict(subject: &mut Subject) -> (f64, f64) {
    let megabytes = subject.cache().get_stats().unwrap().size_mb() as u64;
    if megabytes == 0 {
        return (f64::NAN, f64::NAN);
    }
    subject.close();
    subject.open_with_at_most(megabytes);
    let mut longest_put = 0f64;
    let (_, longest_get) = beside_a_reader(subject, |cache| {
        while cache.get_stats().unwrap().evictions == 0 {
            longest_put = longest_put.max(timed(|| subject.put_a_new_one()));
        }
    });
    subject.close();
    subject.open();
    (longest_put, longest_get)
}

/// The seconds of one piece of work, and of the slowest get of another thread meanwhile.
fn beside_a_reader(subject: &Subject, work: impl FnOnce(&Cache)) -> (f64, f64) {
    let (done, cache, size) = (AtomicBool::new(false), subject.cache(), subject.size as u64);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut longest = 0f64;
            for id in (0..size).cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                longest = longest.max(timed(|| drop(cache.get::<Station>(key(id)).unwrap())));
                // The machine may have few cores: the reader is not to take one for itself.
                std::thread::sleep(Duration::from_micros(100));
            }
            longest
        });
        let end = EndOf(&done);
        let seconds = timed(|| work(cache));
        drop(end);
        (seconds, reader.join().unwrap())
    })
}

/// Ends the reader, also where the work panics.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn in_turns(name: &'static str, subjects: &mut [Subject], calls: usize, call: impl Fn(&mut Subject)) -> Row {
    let mut rounds = vec![Vec::new(); subjects.len()];
    for _ in 0..ROUNDS {
        for (subject, rounds) in subjects.iter_mut().zip(&mut rounds) {
            rounds.push(timed(|| (0..calls).for_each(|_| call(subject))) / calls as f64);
        }
    }
    row(name, rounds.into_iter().map(median).collect())
}

fn each(subjects: &mut [Subject], measure: impl FnMut(&mut Subject) -> f64) -> Vec<f64> {
    subjects.iter_mut().map(measure).collect()
}

fn row(name: &'static str, seconds: Vec<f64>) -> Row {
    Row { name, seconds, unit: Unit::Time }
}

/// The table: a line for each row, a column for each size, and how many times the smallest the largest costs.
pub(crate) fn print(sizes: &[usize], rows: &[Row]) {
    print!("\n| {:32}", "entries");
    sizes.iter().for_each(|size| print!("| {size:>10} "));
    print!("|\n|{}", "-".repeat(33));
    sizes.iter().for_each(|_| print!("|{}:", "-".repeat(11)));
    println!("|");
    for row in rows {
        print!("| {:32}", row.name);
        row.seconds.iter().for_each(|value| print!("| {:>10} ", row.unit.show(*value)));
        println!("|");
    }
    println!();
}

/// The same for the report.
pub(crate) fn keep(bench: &mut Bench, sizes: &[usize], rows: &[Row]) {
    for row in rows {
        sizes.iter().zip(&row.seconds).for_each(|(size, value)| bench.cell(row.name, *size, &row.unit.show(*value)));
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            _ if value.is_nan() => "-".to_owned(),
            Self::Megabytes => format!("{value:.1} MB"),
            Self::Time if value < 1e-3 => format!("{:.2} us", value * 1e6),
            Self::Time if value < 1.0 => format!("{:.2} ms", value * 1e3),
            Self::Time => format!("{value:.2} s"),
        }
    }
}

/// What the process holds in memory; 0 where that cannot be read.
pub(crate) fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn bytes_below(dir: &Path) -> u64 {
    let items = fs::read_dir(dir).unwrap().map(Result::unwrap);
    items
        .map(|item| if item.path().is_dir() { bytes_below(&item.path()) } else { item.metadata().unwrap().len() })
        .sum()
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for item in fs::read_dir(from).unwrap().map(Result::unwrap) {
        match item.path().is_dir() {
            true => copy_dir(&item.path(), &to.join(item.file_name())),
            false => drop(fs::copy(item.path(), to.join(item.file_name())).unwrap()),
        }
    }
}
