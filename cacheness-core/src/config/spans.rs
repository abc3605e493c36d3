//! Lengths of time as numbers with units: everything that the crate `humantime` reads, with one meaning everywhere.
//!
//! Configurations and attributes read times by this grammar. The macro crate cannot depend on the engine, so this file
//! is in both crates, and a test holds the two copies equal.

const SECOND: u128 = 1_000_000_000;
const DAY: u128 = 86_400 * SECOND;

/// What may stand behind a number, and how many nanoseconds it is. A month is 30.44 days, a year 365.25.
const UNITS: [(&[&str], u128); 10] = [
    (&["ns", "nsec", "nanos"], 1),
    (&["us", "usec", "µs"], 1_000),
    (&["ms", "msec", "millis"], 1_000_000),
    (&["s", "sec", "secs", "second", "seconds"], SECOND),
    (&["m", "min", "mins", "minute", "minutes"], 60 * SECOND),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600 * SECOND),
    (&["d", "day", "days"], DAY),
    (&["w", "wk", "wks", "week", "weeks"], 7 * DAY),
    (&["M", "month", "months"], 2_630_016 * SECOND),
    (&["y", "yr", "yrs", "year", "years"], 31_557_600 * SECOND),
];

/// Why a text is no length of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It does not have the form of numbers and units in turns.
    Form,
    /// The last number has no unit.
    NoUnit,
    /// This is no unit.
    Unit(String),
    /// More than the arithmetic holds.
    TooLong,
}

/// The nanoseconds of numbers with units, which are added up: `90s`, `1h30m`, `1 hour 30 min`, `1.5 days`. Less than a
/// nanosecond is cut off.
pub(super) fn nanos(text: &str) -> Result<u128, Wrong> {
    let (mut rest, mut total) = (text.trim(), 0_u128);
    loop {
        let (number, behind) = split_where(rest, |c| !is_of_number(c));
        let (unit, next) = split_where(behind.trim_start(), |c| is_of_number(c) || c.is_whitespace());
        total = total.checked_add(scaled(number, unit_nanos(unit)?)?).ok_or(Wrong::TooLong)?;
        rest = next.trim_start();
        if rest.is_empty() {
            return Ok(total);
        }
    }
}

/// `number` times `unit`: exact, whatever stands behind the point.
fn scaled(number: &str, unit: u128) -> Result<u128, Wrong> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let places = u32::try_from(fraction.len()).map_err(|_| Wrong::TooLong)?;
    let denominator = 10_u128.checked_pow(places).ok_or(Wrong::TooLong)?;
    let fraction = digits(fraction)?.checked_mul(unit).ok_or(Wrong::TooLong)? / denominator;
    digits(whole)?.checked_mul(unit).and_then(|whole| whole.checked_add(fraction)).ok_or(Wrong::TooLong)
}

fn digits(text: &str) -> Result<u128, Wrong> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::Form);
    }
    text.parse().map_err(|_| Wrong::TooLong)
}

fn unit_nanos(name: &str) -> Result<u128, Wrong> {
    match UNITS.iter().find(|(names, _)| names.contains(&name)) {
        Some((_, nanos)) => Ok(*nanos),
        None if name.is_empty() => Err(Wrong::NoUnit),
        None => Err(Wrong::Unit(name.to_owned())),
    }
}

fn is_of_number(c: char) -> bool {
    c.is_ascii_digit() || c == '.'
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}
