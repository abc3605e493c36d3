//! A result: two figures, their ratio, and the bar it should clear.

use serde_json::{Value, json};

/// What is asked of a result.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// A ratio of at most so much.
    AtMost(f64),
    /// A ratio of at least so much.
    AtLeast(f64),
    /// At most so much for cacheness, whatever the peer's figure.
    Within(f64),
}

impl Bar {
    fn show(self, unit: Unit) -> String {
        match self {
            Self::AtMost(most) => format!("<= {most}"),
            Self::AtLeast(least) => format!(">= {least}"),
            Self::Within(most) => format!("<= {}", unit.show(most)),
        }
    }
}

/// What a figure is.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    /// Seconds of one call.
    Time,
    /// Seconds in which so many bytes pass.
    Passing(u64),
    /// Calls each second.
    Rate,
    /// A part of a whole.
    Share,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Time if value < 1e-6 => format!("{:.0} ns", value * 1e9),
            Self::Time if value < 1e-4 => format!("{:.2} us", value * 1e6),
            Self::Time if value < 1e-3 => format!("{:.0} us", value * 1e6),
            Self::Time if value < 1.0 => format!("{:.2} ms", value * 1e3),
            Self::Time => format!("{value:.2} s"),
            Self::Passing(bytes) => format!("{:.2} GB/s", bytes as f64 / value / 1e9),
            Self::Rate if value < 1e6 => format!("{:.1} k/s", value / 1e3),
            Self::Rate => format!("{:.2} M/s", value / 1e6),
            Self::Share => format!("{:.2} %", value * 100.0),
        }
    }
}

/// A result: cacheness beside one peer. The ratio is that of costs: below 1, cacheness costs less.
#[derive(Clone, Debug)]
pub struct Line {
    /// The work.
    pub what: String,
    /// What both figures are.
    pub unit: Unit,
    /// The figure of cacheness.
    pub ours: f64,
    /// Whom it is compared with.
    pub peer: String,
    /// The peer's figure; none if it was not measured.
    pub theirs: Option<f64>,
    /// What the bar is about, with its first and third quartile over the rounds.
    pub ratio: Option<[f64; 3]>,
    /// What is asked of the ratio.
    pub bar: Option<Bar>,
}

impl Line {
    pub(crate) fn print_head() {
        println!(
            "\n| {:62} | {:>11} | {:25} | {:>11} | {:>6} | {:7} | bar met |",
            "work", "cacheness", "peer", "", "ratio", "bar"
        );
        println!(
            "|{}|{}:|{}|{}:|{}:|{}|{}|",
            "-".repeat(64),
            "-".repeat(12),
            "-".repeat(27),
            "-".repeat(12),
            "-".repeat(7),
            "-".repeat(9),
            "-".repeat(9)
        );
    }

    pub(crate) fn print(&self) {
        let theirs = self.theirs.map_or_else(|| "not there".to_owned(), |theirs| self.unit.show(theirs));
        let ratio = self.ratio.map_or_else(|| "-".to_owned(), |[ratio, ..]| format!("{ratio:.3}"));
        let bar = self.bar.map_or_else(|| "-".to_owned(), |bar| bar.show(self.unit));
        let met = match self.met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "-",
        };
        let (what, ours, peer) = (&self.what, self.unit.show(self.ours), &self.peer);
        println!("| {what:62} | {ours:>11} | {peer:25} | {theirs:>11} | {ratio:>6} | {bar:7} | {met:7} |");
    }

    fn met(&self) -> Option<bool> {
        match self.bar? {
            Bar::AtMost(most) => Some(self.ratio?[0] <= most),
            Bar::AtLeast(least) => Some(self.ratio?[0] >= least),
            Bar::Within(most) => Some(self.ours <= most),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "work": self.what,
            "ours": self.ours,
            "ours_shown": self.unit.show(self.ours),
            "peer": self.peer,
            "theirs": self.theirs,
            "theirs_shown": self.theirs.map(|theirs| self.unit.show(theirs)),
            "ratio": self.ratio.map(|[ratio, ..]| ratio),
            "quartiles": self.ratio.map(|[_, low, high]| [low, high]),
            "bar": self.bar.map(|bar| bar.show(self.unit)),
            "met": self.met(),
        })
    }
}
