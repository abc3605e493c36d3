//! Many processes on one directory.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cacheness::Cache;
use cacheness_tests::{errors_of, probe, servers};

use crate::NEIGHBOUR;

/// A directory for a cache, and a file beside it in which each run of a body is noted.
struct Place {
    _dir: tempfile::TempDir,
    cache: PathBuf,
    bodies: PathBuf,
    backend: &'static str,
    /// Says all that the environment has no variables for.
    config: PathBuf,
}

/// Those whose rows lie on this machine.
const LOCAL: [&str; 2] = ["sled", "sqlite"];

/// Those that several processes can use.
fn backends() -> Vec<&'static str> {
    let mut backends = LOCAL.to_vec();
    match servers::postgres() {
        Ok(_) => backends.push("postgresql"),
        Err(why) => servers::skip(&why),
    }
    match servers::redis() {
        Ok(_) => backends.push("redis"),
        Err(why) => servers::skip(&why),
    }
    backends
}

/// One namespace of the server for each place. A machine that is busy with other tests takes its time. Without values in
/// memory, of which others hear a second later, unless `memory` says so.
fn config_of(backend: &str, memory: bool) -> String {
    let (url, namespace) = match backend {
        "postgresql" => servers::postgres().map(|server| (server.url(), server.namespace())),
        "redis" => servers::redis().map(|server| (server.url(), server.namespace())),
        _ => return String::new(),
    }
    .unwrap();
    let options = format!("{{ namespace = '{namespace}', deadline_ms = 10000 }}");
    format!("[metadata]\nconnection_url = '{url}'\noptions = {options}\nenable_memory_cache = {memory}\n")
}

impl Place {
    fn new() -> Self {
        Self::of("sled")
    }

    fn of(backend: &'static str) -> Self {
        Self::with(backend, false)
    }

    fn with(backend: &'static str, memory: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (cache, bodies) = (dir.path().join("cache"), dir.path().join("bodies"));
        let config = dir.path().join("config.toml");
        fs::write(&config, config_of(backend, memory)).unwrap();
        Self { _dir: dir, cache, bodies, backend, config }
    }

    fn command(&self, story: &[&str]) -> Command {
        let mut command = probe(NEIGHBOUR, &self.cache, story);
        command
            .env("BODIES", &self.bodies)
            .env("CACHENESS_CONFIG", &self.config)
            .env("CACHENESS_BACKEND", self.backend)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self, story: &[&str]) -> Child {
        self.command(story).spawn().unwrap()
    }

    /// How often each body has run.
    fn runs(&self) -> HashMap<String, usize> {
        let mut runs = HashMap::new();
        for line in fs::read_to_string(&self.bodies).unwrap_or_default().lines() {
            *runs.entry(line.to_owned()).or_default() += 1;
        }
        runs
    }

    fn servant(&self) -> Servant {
        Servant::of(self.command(&["obey"]))
    }
}

/// A process that does what it is told.
struct Servant {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Servant {
    fn of(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut this = Self { child, orders, answers };
        assert_eq!(this.answer(), "open");
        this
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    fn does(&mut self, order: &str) -> String {
        self.order(order);
        self.answer()
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Servant {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The time that a process says its calls took.
fn took(output: &Output) -> u64 {
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

fn ended(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", errors_of(&output));
    output
}

#[test]
fn a_hundred_processes_at_once_run_each_body_twice_at_most_and_none_warns() {
    for backend in backends() {
        let alone = took(&ended(Place::of(backend).start(&["call", "20"])));
        let place = Place::of(backend);
        let children: Vec<_> = (0..100).map(|_| place.start(&["call", "20"])).collect();
        let longest = children.into_iter().map(|child| took(&ended(child))).max().unwrap();
        let runs = place.runs();
        assert_eq!(runs.len(), 20);
        assert!(runs.values().all(|runs| *runs <= 2), "{runs:?}");
        println!("{backend}: alone {alone} ms, the slowest of 100 {longest} ms, {} runs", runs.values().sum::<usize>());
    }
}

#[test]
fn where_the_owner_is_killed_meanwhile_each_body_still_runs_twice_at_most() {
    for backend in backends() {
        let place = Place::of(backend);
        let mut owner = place.start(&["call", "20"]);
        thread::sleep(Duration::from_millis(100));
        let children: Vec<_> = (0..40).map(|_| place.start(&["call", "20"])).collect();
        thread::sleep(Duration::from_millis(300));
        owner.kill().unwrap();
        owner.wait().unwrap();
        children.into_iter().for_each(|child| drop(ended(child)));
        let runs = place.runs();
        assert!(runs.len() == 20 && runs.values().all(|runs| *runs <= 2), "{runs:?}");
    }
}

#[test]
fn a_forked_child_of_an_owner_or_a_guest_is_one_more_process_on_the_directory() {
    for backend in backends() {
        for is_guest in [false, true] {
            let place = Place::of(backend);
            let mut owner = is_guest.then(|| place.servant());
            ended(place.start(&["fork"]));
            assert_eq!(place.runs(), HashMap::from([("1".to_owned(), 1)]), "{backend}");
            let mut after = place.servant();
            for process in owner.iter_mut().chain([&mut after]) {
                assert_eq!(process.does("get-byte parents"), "Ok(Some(1))");
            }
        }
    }
}

#[test]
fn a_forked_child_goes_on_when_its_parent_has_ended_or_was_killed_on_sled_in_memory() {
    for (backend, how) in LOCAL.into_iter().flat_map(|backend| ["ended", "killed"].map(|how| (backend, how))) {
        let place = Place::of(backend);
        // Until the child has ended, too: it writes to the same place.
        let output = place.start(&["fork-and-end", how]).wait_with_output().unwrap();
        let (goes_on, runs) = if backend == "sled" { ("memory", 2) } else { (backend, 1) };
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), goes_on, "{how}: {}", errors_of(&output));
        assert_eq!(place.runs(), HashMap::from([("1".to_owned(), runs)]), "{backend}, {how}");
        let expected = if backend == "sled" { "Ok(None)" } else { "Ok(Some(1))" };
        assert_eq!(place.servant().does("get-byte childs"), expected, "{backend}, {how}");
    }
}

#[test]
fn what_one_process_puts_changes_and_removes_the_others_see() {
    for backend in backends() {
        let place = Place::of(backend);
        let (mut first, mut second, mut third) = (place.servant(), place.servant(), place.servant());
        assert_eq!(second.does("put one 1"), "Ok(())");
        assert_eq!(second.does("put-large two 7"), "Ok(())");
        for process in [&mut first, &mut second, &mut third] {
            assert_eq!(process.does("get one"), "Ok(Some(1))");
            assert_eq!(process.does("get-large two"), "Ok(Some((100000, 7)))");
            assert_eq!(process.does("backend"), backend);
            assert_eq!(process.does("entries"), "Ok(2)");
        }
        assert_eq!(first.does("put one 2"), "Ok(())");
        assert_eq!((second.does("get one"), third.does("get one")), ("Ok(Some(2))".into(), "Ok(Some(2))".into()));
        assert_eq!(third.does("invalidate one"), "Ok(true)");
        assert_eq!((first.does("get one"), second.does("get one")), ("Ok(None)".into(), "Ok(None)".into()));
        assert_eq!(second.does("tag one"), "Ok(())");
        assert_eq!(first.does("invalidate-tag"), "Ok(1)");
        assert_eq!(third.does("clear"), "Ok(1)");
        assert_eq!((first.does("entries"), second.does("get-large two")), ("Ok(0)".into(), "Ok(None)".into()));
    }
}

#[test]
fn a_value_in_memory_where_a_server_has_the_rows_is_gone_a_second_after_another_process_has_invalidated_it() {
    for backend in backends().into_iter().filter(|backend| !LOCAL.contains(backend)) {
        let place = Place::with(backend, true);
        let (mut one, mut other) = (place.servant(), place.servant());
        one.does("call 3");
        assert_eq!(one.does("memory 3"), "1", "{backend}");
        other.does("call 3");
        assert_eq!(other.does("clear"), "Ok(1)", "{backend}");
        thread::sleep(Duration::from_millis(1100));
        let before = place.runs()["3"];
        assert_eq!(one.does("memory 3"), "0", "{backend}");
        assert_eq!(place.runs()["3"], before + 1, "{backend}");
    }
}

#[test]
fn a_value_in_the_memory_of_a_guest_is_used_there_and_gone_once_another_process_has_invalidated_it() {
    for backend in LOCAL {
        let place = Place::of(backend);
        let (mut owner, mut guest, mut other) = (place.servant(), place.servant(), place.servant());
        guest.does("call 3");
        assert_eq!(guest.does("memory 3"), "1", "it comes from memory");
        for process in [&mut owner, &mut other] {
            process.does("call 3");
            assert_eq!(process.does("clear"), "Ok(1)");
            let before = place.runs()["3"];
            assert_eq!(guest.does("memory 3"), "0");
            assert_eq!(place.runs()["3"], before + 1);
        }
    }
}

#[test]
fn when_the_owner_ends_or_is_killed_a_guest_goes_on_with_all_that_was_acknowledged() {
    for end in ["close", "kill"] {
        let place = Place::new();
        let (mut owner, mut second, mut third) = (place.servant(), place.servant(), place.servant());
        for n in 0..50 {
            assert_eq!(second.does(&format!("put key{n} {n}")), "Ok(())");
        }
        assert_eq!(owner.does("put by-owner 1"), "Ok(())");
        assert_eq!(third.does("put-large large 7"), "Ok(())");
        assert_eq!(third.does("invalidate key7"), "Ok(true)");
        match end {
            "close" => drop(owner.does("close")),
            _ => owner.kill(),
        }
        let begun = Instant::now();
        assert_eq!(second.does("get key3"), "Ok(Some(3))", "after {end}");
        println!("{end}: hit after {:?}", begun.elapsed());
        for process in [&mut second, &mut third] {
            for n in 0..50 {
                let expected = if n == 7 { "Ok(None)".to_owned() } else { format!("Ok(Some({n}))") };
                assert_eq!(process.does(&format!("get key{n}")), expected, "after {end}");
            }
            assert_eq!(process.does("get by-owner"), "Ok(Some(1))");
            assert_eq!(process.does("get-large large"), "Ok(Some((100000, 7)))");
        }
        assert_eq!(third.does("put later 1"), "Ok(())");
        assert_eq!(second.does("get later"), "Ok(Some(1))");
    }
}

#[test]
fn a_stopped_owner_costs_a_wait_and_then_neither_errors_nor_more_waits() {
    let place = Place::new();
    let (mut owner, mut guest) = (place.servant(), place.servant());
    assert_eq!(guest.does("call 1"), "4");
    owner.signal("-STOP");
    let begun = Instant::now();
    assert_eq!(guest.does("call 2"), "5", "the function answers");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(guest.does("get key").contains("does not answer"), "who asks by hand is told");
    owner.signal("-CONT");
    thread::sleep(Duration::from_millis(1600));
    assert_eq!(guest.does("call 1"), "4");
    assert_eq!((place.runs()["1"], guest.does("put one 1").as_str()), (1, "Ok(())"));
    assert_eq!(owner.does("get one"), "Ok(Some(1))");
}

#[test]
fn processes_whose_results_are_not_stored_run_side_by_side_after_the_first() {
    for backend in backends() {
        let place = Place::of(backend);
        let _owner = place.servant();
        let begun = Instant::now();
        let children: Vec<_> = (0..8).map(|_| place.start(&["never-stored"])).collect();
        children.into_iter().for_each(|child| drop(ended(child)));
        assert_eq!(place.runs()["7"], 8);
        // One after the other they would take as many times 200 ms.
        println!("{:?}", begun.elapsed());
        let names: Vec<_> =
            fs::read_dir(place.cache.join("locks")).unwrap().map(|item| item.unwrap().file_name()).collect();
        assert!(names.len() <= 2, "{names:?}");
    }
}

#[test]
fn who_is_killed_while_it_computes_keeps_nobody_waiting() {
    for backend in backends() {
        let place = Place::of(backend);
        let _owner = place.servant();
        let mut computing = place.servant();
        computing.order("call 5");
        while !place.runs().contains_key("5") {
            thread::sleep(Duration::from_millis(1));
        }
        computing.kill();
        let begun = Instant::now();
        ended(place.start(&["call", "6"]));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_socket_of_something_else_costs_memory_and_one_warning() {
    let place = Place::new();
    let _owner = place.servant();
    let socket = place.cache.join("socket");
    fs::remove_file(&socket).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(&[255; 64]);
        }
    });
    let output = place.command(&["call", "3"]).output().unwrap();
    assert!(output.status.success());
    let errors = errors_of(&output);
    assert!(errors.lines().count() == 1 && errors.contains("is not to be joined"), "{errors}");
}

#[test]
fn what_is_left_of_a_directory_of_many_processes_is_that_of_one() {
    let place = Place::new();
    let (mut owner, mut guest) = (place.servant(), place.servant());
    guest.does("put one 1");
    guest.does("call 1");
    owner.does("close");
    guest.does("close");
    let names = ["socket", "index.journal"].map(|name| place.cache.join(name).exists());
    assert_eq!(names, [false, false]);
    let cache = Cache::open(&place.cache).unwrap();
    assert_eq!(cache.get::<u64>("one").unwrap(), Some(1));
}

/// What a process did: when it began and ended, by one clock.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "shown where a read is wrong")]
struct Write {
    /// `None` for an invalidation.
    stamp: Option<u64>,
    begun: u64,
    /// `None` if it was never acknowledged.
    ended: Option<u64>,
    /// Whose it was, and whether there was something to change.
    by: u64,
    changed: bool,
}

#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "shown where it is wrong")]
struct Read {
    key: u64,
    value: Option<u64>,
    begun: u64,
    ended: u64,
    by: u64,
}

/// Everything that processes said they did, and what must follow of it.
#[derive(Default)]
struct Log {
    writes: HashMap<u64, Vec<Write>>,
    reads: Vec<Read>,
    errors: Vec<String>,
    done: usize,
}

impl Log {
    fn read(&mut self, by: u64, output: &str) {
        let mut open: HashMap<(String, u64), Write> = HashMap::new();
        for line in output.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let number = |at: usize| words.get(at).and_then(|word: &&str| word.parse::<u64>().ok());
            match words[..] {
                // Cut off by a kill.
                ["begin", "put", ..] if words.len() == 5 => {
                    let (Some(key), stamp, Some(begun)) = (number(2), number(3), number(4)) else { continue };
                    open.insert(("put".into(), key), Write { stamp, begun, ended: None, by, changed: true });
                }
                ["begin", what, ..] if words.len() == 4 => {
                    let (Some(key), Some(begun)) = (number(2), number(3)) else { continue };
                    open.insert((what.into(), key), Write { stamp: None, begun, ended: None, by, changed: true });
                }
                ["get" | "always", _, value, _, _] if value != "none" && number(2).is_none() => {
                    self.errors.push(line.into())
                }
                ["get" | "always", ..] if words.len() == 5 => {
                    let (Some(key), Some(begun), Some(ended)) = (number(1), number(3), number(4)) else { continue };
                    self.reads.push(Read { key, value: number(2), begun, ended, by });
                    self.done += 1;
                }
                [what @ ("put" | "update"), _, _, outcome, _, _] => {
                    let key = number(1).unwrap();
                    let Some(write) = open.remove(&("put".to_owned(), key)) else { continue };
                    match outcome {
                        "true" => self.note(key, Write { ended: number(5), ..write }),
                        // Nothing was there to be updated.
                        "false" => assert_eq!(what, "update"),
                        _ => {
                            self.errors.push(line.into());
                            self.note(key, write);
                        }
                    }
                }
                [what @ ("invalidate" | "clear"), _, outcome, _, _] => {
                    let key = number(1).unwrap();
                    let Some(write) = open.remove(&(what.to_owned(), key)) else { continue };
                    let failed = outcome.starts_with("error");
                    let write = Write { ended: number(4).filter(|_| !failed), changed: outcome == "true", ..write };
                    if failed {
                        self.errors.push(line.into());
                    }
                    let keys = if what == "clear" { 0..12 } else { key..key + 1 };
                    keys.for_each(|key| self.note(key, write));
                }
                _ if line.contains("error:") => self.errors.push(line.into()),
                _ => self.done += 1,
            }
        }
        for ((what, key), write) in open {
            let keys = if what == "clear" { 0..12 } else { key..key + 1 };
            keys.for_each(|key| self.note(key, write));
        }
    }

    fn note(&mut self, key: u64, write: Write) {
        self.done += 1;
        self.writes.entry(key).or_default().push(write);
    }

    /// Reads that no order of what was said explains.
    fn wrong(&mut self) -> Vec<String> {
        self.writes.values_mut().for_each(|writes| writes.sort_by_key(|write| write.begun));
        let histories: HashMap<_, _> = self.writes.iter().map(|(key, writes)| (*key, History::of(writes))).collect();
        let none = History::of(&[]);
        let fault = |read: &Read| histories.get(&read.key).unwrap_or(&none).fault(read);
        self.reads.iter().filter_map(fault).collect()
    }
}

/// The writes of a key in the order in which they began.
struct History<'l> {
    writes: &'l [Write],
    by_stamp: HashMap<u64, &'l Write>,
    /// Of all writes from a place on, the one that was acknowledged first.
    first_ended: Vec<Option<&'l Write>>,
}

impl<'l> History<'l> {
    fn of(writes: &'l [Write]) -> Self {
        let by_stamp = writes.iter().filter_map(|write| Some((write.stamp?, write))).collect();
        let mut first_ended = vec![None; writes.len() + 1];
        for (at, write) in writes.iter().enumerate().rev() {
            let others = [Some(write).filter(|write| write.ended.is_some()), first_ended[at + 1]];
            first_ended[at] = others.into_iter().flatten().min_by_key(|write| write.ended);
        }
        Self { writes, by_stamp, first_ended }
    }

    fn fault(&self, read: &Read) -> Option<String> {
        match read.value {
            Some(stamp) => {
                let Some(write) = self.by_stamp.get(&stamp) else {
                    return Some(format!("what was never put: {read:?}"));
                };
                // Surely after it was acknowledged, and acknowledged itself before the read began.
                let from = write.ended?;
                let later = self.first_ended[self.writes.partition_point(|later| later.begun <= from)];
                let over = later.filter(|later| later.ended.is_some_and(|at| at < read.begun));
                over.map(|later| format!("{write:?} after {later:?}: {read:?}"))
            }
            None => {
                let begun = self.writes.partition_point(|write| write.begun < read.begun);
                let puts = self.writes[..begun].iter().rev();
                let mut puts = puts.filter(|put| put.stamp.is_some() && put.ended.is_some_and(|at| at < read.begun));
                let put = puts.next()?;
                // Nothing says that it was invalidated since, or at the same time.
                let may_be_gone = |write: &Write| {
                    write.stamp.is_none() && write.begun < read.ended && write.ended.is_none_or(|at| at > put.begun)
                };
                let kept = !self.writes.iter().any(may_be_gone);
                kept.then(|| format!("a miss after {put:?}: {read:?}"))
            }
        }
    }
}

/// Random work by several processes, of which one is killed each second and started again.
fn random_work(backend: &'static str, processes: usize, seconds: u64) -> Log {
    let place = Place::of(backend);
    let mut log = Log::default();
    let put_always = |dir: &Path| {
        // By the story itself, so that the type is the same.
        let output = place.command(&["put-always"]).env("CACHENESS_DIR", dir).output().unwrap();
        assert!(output.status.success(), "{}", errors_of(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    log.read(u64::MAX, &put_always(&place.cache));
    let start = |seed: u64| {
        let file = fs::File::create(place.cache.with_extension(format!("{seed}.log"))).unwrap();
        place.command(&["random", &seed.to_string(), "3600"]).stdout(file).stderr(Stdio::inherit()).spawn().unwrap()
    };
    let mut seed = processes as u64;
    let mut running: Vec<_> = (0..processes as u64).map(start).collect();
    for second in 0..seconds {
        thread::sleep(Duration::from_secs(1));
        let mut killed = running.remove(second as usize * 7 % processes);
        assert!(killed.try_wait().unwrap().is_none(), "none ends by itself");
        killed.kill().unwrap();
        killed.wait().unwrap();
        running.push(start(seed));
        seed += 1;
    }
    for mut child in running {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for seed in 0..seed {
        log.read(seed, &fs::read_to_string(place.cache.with_extension(format!("{seed}.log"))).unwrap());
    }
    log
}

/// `CACHENESS_RANDOM_SECONDS` lets it work for longer than the few seconds of every day.
fn seconds() -> u64 {
    std::env::var("CACHENESS_RANDOM_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

fn is_right(backend: &str, mut log: Log) {
    let wrong = log.wrong();
    println!("{} done, {} reads, {} errors", log.done, log.reads.len(), log.errors.len());
    assert!(wrong.is_empty(), "{} of {}: {:#?}", wrong.len(), log.reads.len(), &wrong[..wrong.len().min(5)]);
    // Where the machine has other things to do, an answer may come too late.
    assert!(log.errors.len() * 100 <= log.done, "{:#?}", &log.errors[..log.errors.len().min(5)]);
    // Each change waits for a server there.
    let least = if ["postgresql", "redis"].contains(&backend) { 100 } else { 1000 };
    assert!(log.done > least, "{}", log.done);
}

#[test]
fn two_processes_at_random_work_of_which_one_is_killed_each_second_read_nothing_wrong() {
    backends().into_iter().for_each(|backend| is_right(backend, random_work(backend, 2, seconds())));
}

#[test]
fn eight_processes_at_random_work_of_which_one_is_killed_each_second_read_nothing_wrong() {
    backends().into_iter().for_each(|backend| is_right(backend, random_work(backend, 8, seconds())));
}

#[test]
fn the_check_of_random_work_finds_a_value_that_was_invalidated_and_a_miss_of_what_is_there() {
    let log = |lines: &str| {
        let mut log = Log::default();
        log.read(0, lines);
        log.wrong()
    };
    let put = "begin put 1 77 10\nput 1 77 true 10 20\n";
    assert!(log(&format!("{put}get 1 77 30 40\n")).is_empty());
    assert!(log(&format!("{put}get 1 78 30 40\n"))[0].contains("never put"));
    assert!(log(&format!("{put}get 1 none 30 40\n"))[0].contains("a miss"));
    let gone = format!("{put}begin invalidate 1 50\ninvalidate 1 true 50 60\n");
    assert!(log(&format!("{gone}get 1 77 61 70\n"))[0].contains("after"));
    assert!(log(&format!("{gone}get 1 77 55 70\n")).is_empty(), "at the same time");
    assert!(log(&format!("{gone}get 1 none 61 70\n")).is_empty());
    let killed = format!("{put}begin invalidate 1 50\n");
    assert!(log(&format!("{killed}get 1 77 61 70\nget 1 none 61 70\n")).is_empty(), "nobody knows");
}
