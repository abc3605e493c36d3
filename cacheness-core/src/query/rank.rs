//! One order over all values: by kind, then within the kind. Filters compare by kind alone; a list that is sorted by a
//! column, and an index over it, need a place for every value.

use std::cmp::Ordering;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::value::Value;

/// A value by its place in the order.
#[derive(Clone, Debug)]
pub(crate) struct Rank(pub(crate) Value);

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

impl Rank {
    /// The first place of the values that are comparable with this one.
    pub(crate) fn first_like(value: &Value) -> Option<Self> {
        first_of(class(value))
    }

    /// The place behind the last of the values that are comparable with this one.
    pub(crate) fn behind_like(value: &Value) -> Option<Self> {
        first_of(class(value) + 1)
    }
}

/// Kinds in their order. Numbers are one kind, whether they have a fraction or not.
const fn class(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => 2,
        Value::Text(_) => 3,
        Value::Timestamp(_) => 4,
        Value::Duration(_) => 5,
        Value::List(_) => 6,
        Value::Map(_) => 7,
    }
}

fn first_of(class: u8) -> Option<Rank> {
    Some(Rank(match class {
        0 => Value::Null,
        1 => Value::Bool(false),
        2 => Value::Float(f64::NEG_INFINITY),
        3 => Value::Text(String::new()),
        4 => Value::Timestamp(Timestamp::MIN),
        5 => Value::Duration(Duration::ZERO),
        6 => Value::List(Vec::new()),
        _ => return None,
    }))
}

/// Which of two values comes first: null, false, true, numbers (NaN behind all others), texts, points in time, lengths of
/// time, lists, maps.
pub(crate) fn compare(a: &Value, b: &Value) -> Ordering {
    let within = || match (a, b) {
        (Value::List(a), Value::List(b)) => lists(a, b),
        (Value::Map(a), Value::Map(b)) => {
            let pairs = |map: &std::collections::BTreeMap<String, Value>| -> Vec<Value> {
                map.iter().flat_map(|(name, value)| [Value::from(name), value.clone()]).collect()
            };
            lists(&pairs(a), &pairs(b))
        }
        _ => a.partial_cmp(b).unwrap_or_else(|| is_nan(a).cmp(&is_nan(b))),
    };
    class(a).cmp(&class(b)).then_with(within)
}

fn lists(a: &[Value], b: &[Value]) -> Ordering {
    let unequal = a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
    unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn is_nan(value: &Value) -> bool {
    matches!(value, Value::Float(number) if number.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_place_and_only_one() {
        let values: Vec<Value> = vec![
            Value::Null,
            false.into(),
            true.into(),
            f64::NEG_INFINITY.into(),
            i64::MIN.into(),
            0.into(),
            0.5.into(),
            u64::MAX.into(),
            f64::INFINITY.into(),
            f64::NAN.into(),
            "".into(),
            "a".into(),
            "b".into(),
            Timestamp::MIN.into(),
            Timestamp::MAX.into(),
            Duration::ZERO.into(),
            Duration::MAX.into(),
            Value::List(Vec::new()),
            vec![f64::NAN].into(),
            vec!["a"].into(),
            Value::Map([("a".to_owned(), f64::NAN.into())].into()),
            Value::Map([("b".to_owned(), 1.into())].into()),
        ];
        for (i, a) in values.iter().enumerate() {
            for (j, b) in values.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
        assert_eq!(
            (compare(&1.into(), &1.0.into()), compare(&0.0.into(), &(-0.0).into())),
            (Ordering::Equal, Ordering::Equal)
        );
    }

    #[test]
    fn the_values_of_a_kind_lie_between_its_ends() {
        for value in [true.into(), f64::NAN.into(), "\u{10ffff}".into(), Timestamp::MAX.into(), Duration::MAX.into()] {
            let value: Value = value;
            assert!(Rank::first_like(&value).unwrap() <= Rank(value.clone()), "{value:?}");
            assert!(Rank(value.clone()) < Rank::behind_like(&value).unwrap(), "{value:?}");
        }
    }
}
