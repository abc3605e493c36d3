//! Random values: equal ones have equal keys, others do not.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use proptest::prelude::*;
use serde::{Serialize, Serializer};

use super::super::{CacheKey, KeyFields, KeyWriter, SerdeKey};
use super::key;

/// Values of every shape. Integers stand for floats as well, so that the order is total.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Value {
    Unit,
    Bool(bool),
    U8(u8),
    I64(i64),
    U64(u64),
    F64(i8),
    Text(String),
    Bytes(Vec<u8>),
    Numbers(Vec<u16>),
    Option(Option<Box<Value>>),
    List(Vec<Value>),
    Pair(Box<(Value, Value)>),
    Set(BTreeSet<Value>),
    Map(BTreeMap<Value, Value>),
    Record(String, Vec<(String, Value)>),
    Variant(String, Vec<Value>),
}

impl CacheKey for Value {
    fn encode(&self, writer: &mut KeyWriter) {
        match self {
            Self::Unit => ().encode(writer),
            Self::Bool(value) => value.encode(writer),
            Self::U8(value) => value.encode(writer),
            Self::I64(value) => value.encode(writer),
            Self::U64(value) => value.encode(writer),
            Self::F64(value) => f64::from(*value).encode(writer),
            Self::Text(value) => value.encode(writer),
            Self::Bytes(value) => value.encode(writer),
            Self::Numbers(value) => value.encode(writer),
            Self::Option(value) => value.encode(writer),
            Self::List(value) => value.encode(writer),
            Self::Pair(value) => value.encode(writer),
            Self::Set(value) => value.iter().collect::<HashSet<_>>().encode(writer),
            Self::Map(value) => value.iter().collect::<HashMap<_, _>>().encode(writer),
            Self::Record(name, fields) => writer.record(name, None, KeyFields::Named(fields.len()), |writer| {
                fields.iter().for_each(|(name, value)| writer.field(name, value));
            }),
            Self::Variant(name, fields) => {
                writer.record("Value", Some(name), KeyFields::Positional(fields.len()), |writer| {
                    fields.iter().for_each(|value| value.encode(writer));
                });
            }
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unit => ().serialize(serializer),
            Self::Bool(value) => value.serialize(serializer),
            Self::U8(value) => value.serialize(serializer),
            Self::I64(value) => value.serialize(serializer),
            Self::U64(value) => value.serialize(serializer),
            Self::F64(value) => f64::from(*value).serialize(serializer),
            Self::Text(value) => value.serialize(serializer),
            Self::Bytes(value) => serializer.serialize_bytes(value),
            // Without a wrapper serde could not tell numbers from a list of values that are numbers.
            Self::Numbers(value) => serializer.serialize_newtype_struct("Numbers", value),
            Self::Option(value) => value.serialize(serializer),
            Self::List(value) => value.serialize(serializer),
            Self::Pair(value) => value.serialize(serializer),
            Self::Set(value) => serializer.serialize_newtype_struct("Set", value),
            // Handed over, so that its type is seen.
            Self::Map(value) => serializer.serialize_newtype_struct("Map", &value.iter().collect::<HashMap<_, _>>()),
            Self::Record(name, fields) => serializer.serialize_newtype_struct("Record", &(name, fields)),
            Self::Variant(name, fields) => serializer.serialize_newtype_variant("Value", 0, "Variant", &(name, fields)),
        }
    }
}

/// Texts that are short and alike, so that encodings without lengths or tags would meet.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]{0,3}", "[\\x00-\\x03a]{0,3}", Just("Q\u{1}\u{10}".into())]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Unit),
        any::<bool>().prop_map(Value::Bool),
        (0..3_u8).prop_map(Value::U8),
        (0..3_i64).prop_map(Value::I64),
        (0..3_u64).prop_map(Value::U64),
        (-1..2_i8).prop_map(Value::F64),
        text().prop_map(Value::Text),
        prop::collection::vec(0..3_u8, 0..3).prop_map(Value::Bytes),
        prop::collection::vec(0..3_u16, 0..3).prop_map(Value::Numbers),
        Just(Value::Option(None)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 24, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            inner.clone().prop_map(|value| Value::Option(Some(Box::new(value)))),
            list.clone().prop_map(Value::List),
            (inner.clone(), inner.clone()).prop_map(|pair| Value::Pair(Box::new(pair))),
            prop::collection::btree_set(inner.clone(), 0..3).prop_map(Value::Set),
            prop::collection::btree_map(inner.clone(), inner.clone(), 0..3).prop_map(Value::Map),
            (text(), prop::collection::vec((text(), inner), 0..3)).prop_map(|(name, all)| Value::Record(name, all)),
            (text(), list).prop_map(|(name, all)| Value::Variant(name, all)),
        ]
    })
}

/// The identities of the values, each with the values that have it.
fn by_identity(values: &[Value], identity: impl Fn(&Value) -> Vec<u8>) -> HashMap<Vec<u8>, BTreeSet<&Value>> {
    let mut found: HashMap<_, BTreeSet<_>> = HashMap::new();
    for value in values {
        found.entry(identity(value)).or_default().insert(value);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn distinct_values_have_distinct_identities_and_equal_ones_the_same(values in prop::collection::vec(value(), 40)) {
        let distinct: BTreeSet<_> = values.iter().collect();
        let by_key = by_identity(&values, |value| key(value).identity().to_vec());
        prop_assert_eq!(by_key.len(), distinct.len(), "{:?}", by_key.values().find(|values| values.len() > 1));
        let by_serde = by_identity(&values, |value| key(SerdeKey(value)).identity().to_vec());
        prop_assert_eq!(by_serde.len(), distinct.len(), "{:?}", by_serde.values().find(|values| values.len() > 1));
    }

    #[test]
    fn a_key_does_not_depend_on_the_order_of_insertion(
        entries in prop::collection::hash_map(text(), value(), 0..20)
    ) {
        let mut shuffled: Vec<_> = entries.clone().into_iter().collect();
        shuffled.reverse();
        let again: HashMap<_, _> = shuffled.iter().cloned().collect();
        prop_assert_eq!(key(&entries), key(&again));
        prop_assert_eq!(key(&entries), key(entries.clone().into_iter().collect::<BTreeMap<_, _>>()));
        prop_assert_eq!(key(SerdeKey(&entries)), key(SerdeKey(&again)));
        let names: HashSet<_> = entries.keys().cloned().collect();
        prop_assert_eq!(key(names), key(again.keys().cloned().collect::<HashSet<_>>()));
    }

    #[test]
    fn texts_of_any_kind_never_share_a_key(a in any::<(String, String)>(), b in any::<(String, String)>()) {
        prop_assert_eq!(a == b, key(&a) == key(&b));
        prop_assert_ne!(key(&a), key(format!("{}{}", a.0, a.1)));
    }

    #[test]
    fn floats_share_a_key_when_they_have_the_same_bits(a in any::<u64>(), other in any::<u64>(), flips_sign: bool) {
        let other = if flips_sign { a ^ (1 << 63) } else { other };
        let (a, b) = (f64::from_bits(a), f64::from_bits(other));
        prop_assert_eq!(key(a), key(a));
        let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        prop_assert_eq!(same, key(a) == key(b));
    }
}
