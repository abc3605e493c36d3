//! Contestants that do the same work in turns.

use crate::bench::Bench;
use crate::clock::Stopwatch;
use crate::line::{Bar, Line, Unit};
use crate::python::Python;

/// How long one contestant's turn should take.
const TURN: f64 = 0.025;
const ROUNDS: usize = 15;

/// Does so many calls, and says how many seconds that took.
type Run<'w> = Box<dyn FnMut(u64) -> f64 + 'w>;

/// Work that several contestants do. The first is cacheness.
pub struct Work<'w> {
    bench: &'w mut Bench,
    what: String,
    unit: Unit,
    rounds: usize,
    calls: Option<u64>,
    contestants: Vec<Contestant<'w>>,
}

struct Contestant<'w> {
    name: String,
    bar: Option<Bar>,
    /// None if it is not there.
    run: Option<Run<'w>>,
    calls: u64,
    /// Seconds of a call, by round.
    seconds: Vec<f64>,
}

impl<'w> Work<'w> {
    pub(crate) fn new(bench: &'w mut Bench, what: &str) -> Self {
        let rounds = bench.full_or(ROUNDS, 1);
        Self { bench, what: what.to_owned(), unit: Unit::Time, rounds, calls: None, contestants: Vec::new() }
    }

    /// Shows figures as the rate at which so many bytes pass.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.unit = Unit::Passing(bytes);
        self
    }

    /// So many calls in a turn, instead of as many as fill it.
    #[must_use]
    pub fn calls(mut self, calls: u64) -> Self {
        self.calls = Some(calls);
        self
    }

    /// So many rounds; one in a smoke run.
    #[must_use]
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.rounds = self.bench.full_or(rounds, 1);
        self
    }

    /// How cacheness does it.
    #[must_use]
    pub fn ours(self, run: impl FnMut(u64) -> f64 + 'w) -> Self {
        self.contestant("cacheness", run)
    }

    /// How someone does it, by name.
    #[must_use]
    pub fn contestant(self, name: &str, run: impl FnMut(u64) -> f64 + 'w) -> Self {
        self.with(name, None, Some(Box::new(run)))
    }

    /// How a peer does it, and how many times its cost cacheness may take.
    #[must_use]
    pub fn peer(self, name: &str, bar: impl Into<Option<f64>>, run: impl FnMut(u64) -> f64 + 'w) -> Self {
        self.with(name, bar.into(), Some(Box::new(run)))
    }

    /// How a peer in Python does it, under this name there.
    #[must_use]
    pub fn python(self, name: &str, bar: impl Into<Option<f64>>, python: &Python, work: &str) -> Self {
        let (python, work) = (python.clone(), work.to_owned());
        let run: Option<Run<'w>> =
            python.is_there().then(|| Box::new(move |calls| python.run(&work, calls)) as Run<'w>);
        self.with(name, bar.into(), run)
    }

    fn with(mut self, name: &str, bar: Option<f64>, run: Option<Run<'w>>) -> Self {
        let bar = bar.map(Bar::AtMost);
        self.contestants.push(Contestant { name: name.to_owned(), bar, run, calls: 1, seconds: Vec::new() });
        self
    }

    /// Measures and tells a line for each peer.
    pub fn run(mut self) {
        self.take_turns();
        let Self { bench, what, unit, contestants, .. } = self;
        let [ours, peers @ ..] = contestants.as_slice() else { return };
        for peer in peers {
            let ratios = ours.seconds.iter().zip(&peer.seconds).map(|(ours, theirs)| ours / theirs);
            bench.tell(&Line {
                what: what.clone(),
                unit,
                ours: median(ours.seconds.iter().copied()),
                peer: peer.name.clone(),
                theirs: peer.run.is_some().then(|| median(peer.seconds.iter().copied())),
                ratio: peer.run.is_some().then(|| quartiles(ratios)),
                bar: peer.bar,
            });
        }
    }

    /// Measures and keeps a point for everyone who is there: seconds of a call, or bytes a second.
    pub fn plot(mut self, plot: &str, x: f64) {
        self.take_turns();
        let Self { bench, unit, contestants, .. } = self;
        for one in contestants.iter().filter(|one| one.run.is_some()) {
            let seconds = median(one.seconds.iter().copied());
            let y = if let Unit::Passing(bytes) = unit { bytes as f64 / seconds } else { seconds };
            bench.point(plot, &one.name, x, y);
        }
    }

    fn take_turns(&mut self) {
        let (calls, smoke) = (self.calls, self.bench.is_smoke());
        self.contestants.iter_mut().for_each(|contestant| contestant.warm_up(calls, smoke));
        let count = self.contestants.len();
        for round in 0..self.rounds {
            // Nobody always goes first, or always behind the same one.
            (0..count).for_each(|turn| self.contestants[(turn + round) % count].take_a_turn());
        }
    }
}

impl Contestant<'_> {
    /// Does the work until it is known how many calls fill a turn.
    fn warm_up(&mut self, calls: Option<u64>, smoke: bool) {
        let Some(run) = &mut self.run else { return };
        if let Some(calls) = calls {
            self.calls = calls;
            run(calls);
            return;
        }
        let turn = if smoke { TURN / 25.0 } else { TURN };
        loop {
            let seconds = run(self.calls);
            if seconds > turn / 4.0 {
                self.calls = ((self.calls as f64 * turn / seconds) as u64).max(1);
                return;
            }
            self.calls *= 2;
        }
    }

    fn take_a_turn(&mut self) {
        if let Some(run) = &mut self.run {
            self.seconds.push(run(self.calls) / self.calls as f64);
        }
    }
}

/// Calls with 0, 1, 2 and so on, from turn to turn, and takes the time of each turn.
pub fn repeat(mut call: impl FnMut(u64)) -> impl FnMut(u64) -> f64 {
    let mut next = 0;
    move |calls| {
        let from = next;
        next += calls;
        timed(|| (from..from + calls).for_each(&mut call))
    }
}

/// The seconds that something takes, less those for which the thread waited for a core that others had.
pub fn timed(work: impl FnOnce()) -> f64 {
    let watch = Stopwatch::start();
    work();
    watch.seconds()
}

/// Waits until all that was written lies on the disk, so that nobody has to wait for what another wrote.
pub fn settle() {
    // Where there is no such program, the figures are less steady.
    drop(std::process::Command::new("sync").status());
}

/// The middle one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quartiles(values)[0]
}

/// The median, the first and the third quartile.
pub fn quartiles(values: impl IntoIterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let at = |quarters: usize| values.get((values.len() * quarters / 4).min(values.len().saturating_sub(1)));
    [2, 1, 3].map(|quarters| at(quarters).copied().unwrap_or(f64::NAN))
}
