//! Many processes on one cache: what they are told, and whether what they say they did can be true.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

pub use log::Log;

use crate::{errors_of, probe};

mod log;

/// A directory for a cache, and a file beside it in which each run of a body is noted.
#[derive(Debug)]
pub struct Place {
    _dir: tempfile::TempDir,
    pub cache: PathBuf,
    bodies: PathBuf,
    program: &'static str,
    /// Over how many directories the processes are spread, as over machines that share no files.
    machines: usize,
    /// Says all that the environment has no variables for.
    config: PathBuf,
}

impl Place {
    /// A new place for processes of this program, with a configuration.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new(program: &'static str, config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (cache, bodies) = (dir.path().join("cache"), dir.path().join("bodies"));
        let file = dir.path().join("config.toml");
        fs::write(&file, config).unwrap();
        Self { _dir: dir, cache, bodies, program, machines: 1, config: file }
    }

    /// The same, with the processes of random work on so many machines.
    #[must_use]
    pub fn on_machines(self, machines: usize) -> Self {
        Self { machines, ..self }
    }

    pub fn command(&self, story: &[&str]) -> Command {
        self.command_on(0, story)
    }

    /// A process that sees none of the files of those on another machine.
    pub fn command_on(&self, machine: usize, story: &[&str]) -> Command {
        let dir = match machine {
            0 => self.cache.clone(),
            other => self.cache.with_extension(format!("on-{other}")),
        };
        let mut command = probe(self.program, &dir, story);
        command
            .env("BODIES", &self.bodies)
            .env("CACHENESS_CONFIG", &self.config)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn start(&self, story: &[&str]) -> Child {
        self.command(story).spawn().unwrap()
    }

    /// How often each body has run.
    pub fn runs(&self) -> HashMap<String, usize> {
        let mut runs = HashMap::new();
        for line in fs::read_to_string(&self.bodies).unwrap_or_default().lines() {
            *runs.entry(line.to_owned()).or_default() += 1;
        }
        runs
    }

    pub fn servant(&self) -> Servant {
        Servant::of(self.command(&["obey"]))
    }
}

/// A process that does what it is told.
#[derive(Debug)]
pub struct Servant {
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

    pub fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    pub fn does(&mut self, order: &str) -> String {
        self.order(order);
        self.answer()
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub fn kill(mut self) {
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
pub fn took(output: &Output) -> u64 {
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

pub fn ended(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", errors_of(&output));
    output
}

/// Random work by several processes, of which one is killed each second and started again.
pub fn random_work(place: &Place, processes: usize, seconds: u64) -> Log {
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
        let machine = usize::try_from(seed).unwrap() % place.machines;
        let mut command = place.command_on(machine, &["random", &seed.to_string(), "3600"]);
        command.stdout(file).stderr(Stdio::inherit()).spawn().unwrap()
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
pub fn seconds() -> u64 {
    std::env::var("CACHENESS_RANDOM_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

pub fn is_right(least: usize, mut log: Log) {
    let wrong = log.wrong();
    println!("{} done, {} reads, {} errors", log.done, log.reads.len(), log.errors.len());
    assert!(wrong.is_empty(), "{} of {}: {:#?}", wrong.len(), log.reads.len(), &wrong[..wrong.len().min(5)]);
    // Where the machine has other things to do, an answer may come too late.
    assert!(log.errors.len() * 100 <= log.done, "{:#?}", &log.errors[..log.errors.len().min(5)]);
    assert!(log.done > least, "{}", log.done);
}
