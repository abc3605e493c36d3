//! Lengths of time as people write them: `90s`, `24h`, `1h30m`, or a plain number of seconds.

use std::time::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// Points in time are kept in microseconds: anything shorter would be no time at all.
const SHORTEST: Duration = Duration::from_micros(1);
/// Points in time are kept in 64 bits of microseconds, 292,000 years around 1970.
pub(crate) const LONGEST: Duration = Duration::from_secs(100_000 * 36_525 * 864);
const FORMS: &str =
    "write a number of seconds, or numbers with the units d, h, m, s, ms, us, largest first, like 24h, 1h30m or 1.5s";

/// Reads a length of time, exactly; the error is half a sentence to put behind the name of what was read.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = to_duration(nanos_of(text.trim())?)?;
    if duration < SHORTEST {
        return Err(format!("must be at least a microsecond; {FORMS}"));
    }
    if duration > LONGEST {
        return Err(too_long());
    }
    Ok(duration)
}

fn nanos_of(text: &str) -> Result<u128, String> {
    if is_plain_number(text) {
        return scaled(text, NANOS_PER_SECOND);
    }
    let (mut rest, mut total, mut previous_unit) = (text, 0_u128, u128::MAX);
    loop {
        let (number, behind) = split_where(rest, |c| !is_of_number(c));
        let (name, next) = split_where(behind, is_of_number);
        let unit = unit_nanos(name)?;
        if unit >= previous_unit {
            return Err(format!("has the unit {name:?} out of order; {FORMS}"));
        }
        total = total.checked_add(scaled(number, unit)?).ok_or_else(too_long)?;
        if next.is_empty() {
            return Ok(total);
        }
        (rest, previous_unit) = (next, unit);
    }
}

/// `number` times `unit`: exact, whatever stands behind the point.
fn scaled(number: &str, unit: u128) -> Result<u128, String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let places = u32::try_from(fraction.len()).map_err(|_| too_long())?;
    let denominator = 10_u128.checked_pow(places).ok_or_else(too_long)?;
    let fraction = digits(fraction)?.checked_mul(unit).ok_or_else(too_long)? / denominator;
    digits(whole)?.checked_mul(unit).and_then(|whole| whole.checked_add(fraction)).ok_or_else(too_long)
}

fn digits(text: &str) -> Result<u128, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("is not a length of time; {FORMS}"));
    }
    text.parse().map_err(|_| too_long())
}

fn unit_nanos(name: &str) -> Result<u128, String> {
    Ok(match name {
        "d" => 86_400 * NANOS_PER_SECOND,
        "h" => 3_600 * NANOS_PER_SECOND,
        "m" => 60 * NANOS_PER_SECOND,
        "s" => NANOS_PER_SECOND,
        "ms" => 1_000_000,
        "us" => 1_000,
        "" => return Err(format!("is not a length of time; {FORMS}")),
        _ => return Err(format!("has an unknown unit {name:?}; {FORMS}")),
    })
}

fn to_duration(nanos: u128) -> Result<Duration, String> {
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND).map_err(|_| too_long())?;
    let rest = u32::try_from(nanos % NANOS_PER_SECOND).map_err(|_| too_long())?;
    Ok(Duration::new(seconds, rest))
}

fn too_long() -> String {
    "is longer than 100,000 years: leave it out for no end at all".to_owned()
}

fn is_of_number(c: char) -> bool {
    c.is_ascii_digit() || c == '.'
}

fn is_plain_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_of_number)
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(value: f64) -> Duration {
        Duration::from_secs_f64(value)
    }

    #[test]
    fn every_unit_and_their_combinations_are_read() {
        for (text, expected) in [
            ("90s", seconds(90.0)),
            ("24h", seconds(86_400.0)),
            ("7d", seconds(604_800.0)),
            ("500ms", Duration::from_millis(500)),
            ("250us", Duration::from_micros(250)),
            ("1us", Duration::from_micros(1)),
            ("1h30m", seconds(5_400.0)),
            ("1d2h3m4s5ms6us", Duration::from_micros(93_784_005_006)),
            ("1.5h", seconds(5_400.0)),
            (" 2m ", seconds(120.0)),
            ("90", seconds(90.0)),
            ("0.25", seconds(0.25)),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_length_of_time_is_refused_and_the_units_are_shown() {
        for text in [
            "", " ", "-5", "-5s", "s", "h1", "5 s", "1w", "5S", "1.s", ".5", "1..5s", "1.2.3", "1m1m", "30m1h", "1h30",
            "1e3", "inf", "NaN", "５s",
        ] {
            let message = parse_duration(text).expect_err(text);
            assert!(message.contains("d, h, m, s, ms, us"), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_number_that_lacks_its_unit_is_not_told_of_an_unknown_one() {
        assert!(parse_duration("1h30").expect_err("no unit").starts_with("is not a length of time"));
    }

    #[test]
    fn zero_and_less_than_a_microsecond_are_refused() {
        for text in ["0", "0s", "0h0m", "0.0000009", "0.9us"] {
            assert!(parse_duration(text).expect_err(text).contains("at least a microsecond"), "{text}");
        }
    }

    #[test]
    fn more_than_time_can_tell_is_refused_not_wrapped() {
        for text in [
            "3155760000001",
            "18446744073709551616",
            "300000000000000d",
            "1.00000000000000000000000000000000000000000001s",
        ] {
            assert!(parse_duration(text).expect_err(text).contains("longer"), "{text}");
        }
        assert_eq!(parse_duration("3155760000000"), Ok(LONGEST));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn no_text_of_the_right_letters_makes_it_panic(text in "[0-9.]{0,45}(d|h|m|s|ms|us)?([0-9]{0,40}s)?") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn whole_microseconds_are_read_exactly(micros in 1_u64..3_155_760_000_000_000_000) {
            prop_assert_eq!(parse_duration(&format!("{micros}us")), Ok(Duration::from_micros(micros)));
            let plain = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
            prop_assert_eq!(parse_duration(&plain), Ok(Duration::from_micros(micros)));
        }
    }
}
