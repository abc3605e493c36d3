//! Lengths of time as people write them: `90s`, `1h30m`, `10 mins`, `1 day`, or a plain number of seconds.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};

use super::spans::{self, Wrong};

const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// Points in time are kept in microseconds: anything shorter would be no time at all.
const SHORTEST: Duration = Duration::from_micros(1);
/// Points in time are kept in 64 bits of microseconds, 292,000 years around 1970.
pub(crate) const LONGEST: Duration = Duration::from_secs(100_000 * 36_525 * 864);
const FORMS: &str = "write a number of seconds, or numbers with the units y, M, w, d, h, m, s, ms, us or their names, \
                     like 24h, 1h30m, 1.5s or 10 mins";

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

/// Reads a number of seconds from a configuration, where it may also be a text with units, or nothing.
pub(super) fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    from.deserialize_option(Seconds)
}

/// Reads a number of milliseconds in the same way.
pub(super) fn millis<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_any(Millis)
}

struct Seconds;

impl<'de> Visitor<'de> for Seconds {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds, or a text like \"10 mins\"")
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Self::Value, E> {
        Ok(Some(seconds))
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Self::Value, E> {
        Ok(Some(seconds as f64))
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Self::Value, E> {
        Ok(Some(seconds as f64))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        of_text(text).map(|duration| Some(duration.as_secs_f64()))
    }
}

struct Millis;

impl Visitor<'_> for Millis {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number of milliseconds, or a text like \"2s\"")
    }

    fn visit_u64<E: de::Error>(self, millis: u64) -> Result<u64, E> {
        Ok(millis)
    }

    fn visit_i64<E: de::Error>(self, millis: i64) -> Result<u64, E> {
        u64::try_from(millis).map_err(|_| E::invalid_value(de::Unexpected::Signed(millis), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        let duration = of_text(text)?;
        let millis = u64::try_from(duration.as_millis()).map_err(|_| E::custom(too_long()))?;
        if Duration::from_millis(millis) != duration {
            return Err(E::custom(format!("{text:?} is not a whole number of milliseconds")));
        }
        Ok(millis)
    }
}

fn of_text<E: de::Error>(text: &str) -> Result<Duration, E> {
    parse_duration(text).map_err(|wrong| E::custom(format!("{text:?} {wrong}")))
}

fn nanos_of(text: &str) -> Result<u128, String> {
    let is_plain_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let nanos = if is_plain_number { spans::nanos(&format!("{text}s")) } else { spans::nanos(text) };
    nanos.map_err(|wrong| match wrong {
        Wrong::Form | Wrong::NoUnit => format!("is not a length of time; {FORMS}"),
        Wrong::Unit(name) => format!("has an unknown unit {name:?}; {FORMS}"),
        Wrong::TooLong => too_long(),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that the documentation of `humantime` lists.
    const UNITS: &[&str] = &[
        "nsec", "ns", "usec", "us", "msec", "ms", "seconds", "second", "sec", "s", "minutes", "minute", "min", "m",
        "hours", "hour", "hr", "hrs", "h", "days", "day", "d", "weeks", "week", "wk", "wks", "w", "months", "month",
        "M", "years", "year", "yr", "yrs", "y", "nanos", "millis", "secs", "mins",
    ];

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
            ("10mins", seconds(600.0)),
            ("1 hour", seconds(3_600.0)),
            ("1 day", seconds(86_400.0)),
            ("2h 37min", seconds(9_420.0)),
            ("30m1h 1m", seconds(5_460.0)),
            ("1.5 weeks 2 secs", seconds(907_202.0)),
            ("1M", seconds(2_630_016.0)),
            ("2 years", seconds(63_115_200.0)),
            ("1500 nsec", Duration::from_nanos(1_500)),
            ("7µs", Duration::from_micros(7)),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_configuration_has_times_as_numbers_or_as_texts() {
        let read =
            |json: serde_json::Value| serde_json::from_value::<crate::CacheConfig>(json).map_err(|e| e.to_string());
        for (ttl, expected) in [
            (serde_json::json!("10 mins"), Some(600.0)),
            (serde_json::json!("1 day"), Some(86_400.0)),
            (serde_json::json!(90), Some(90.0)),
            (serde_json::json!(0.5), Some(0.5)),
            (serde_json::Value::Null, None),
        ] {
            assert_eq!(read(serde_json::json!({ "default_ttl_seconds": ttl })).unwrap().default_ttl_seconds, expected);
            let config = read(serde_json::json!({ "metadata": { "memory_cache_ttl_seconds": ttl } })).unwrap();
            assert_eq!(config.metadata.memory_cache_ttl_seconds, expected);
        }
        let flush = |value: serde_json::Value| read(serde_json::json!({ "storage": { "flush_interval_ms": value } }));
        assert_eq!(flush(serde_json::json!("2s")).unwrap().storage.flush_interval_ms, 2_000);
        assert_eq!(flush(serde_json::json!(20)).unwrap().storage.flush_interval_ms, 20);
        assert!(flush(serde_json::json!("1.5ms")).unwrap_err().contains("whole number of milliseconds"));
        let error = read(serde_json::json!({ "default_ttl_seconds": "1 fortnight" })).unwrap_err();
        assert!(error.contains("1 fortnight") && error.contains("fortnight\"; write"), "{error}");
    }

    #[test]
    fn what_is_not_a_length_of_time_is_refused_and_the_units_are_shown() {
        for text in [
            "",
            " ",
            "-5",
            "-5s",
            "s",
            "h1",
            "5S",
            "1.s",
            ".5",
            "1..5s",
            "1.2.3",
            "1h30",
            "1h 30",
            "1 2s",
            "1_000s",
            "1h, 30m",
            "1 fortnight",
            "1h and 30m",
            "h",
            "1e3",
            "1e3s",
            "inf",
            "NaN",
            "５s",
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
        for text in ["0", "0s", "0h0m", "0 days", "0.0000009", "0.9us", "999ns"] {
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
        fn what_humantime_reads_is_read_as_the_same(
            spans in proptest::collection::vec((0_u64..10_000, 0..UNITS.len(), 0..3_usize), 1..6)
        ) {
            let spaces = ["", " ", "  "];
            let text: String =
                spans.iter().map(|(n, unit, at)| format!("{n}{}{}{}", spaces[*at], UNITS[*unit], spaces[2 - *at])).collect();
            let expected = humantime::parse_duration(&text).unwrap();
            if expected >= SHORTEST {
                prop_assert_eq!(parse_duration(&text), Ok(expected), "{}", text);
            }
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
