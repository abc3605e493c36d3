use proptest::prelude::*;

use super::*;

fn encode(value: &Value) -> Result<Vec<u8>, String> {
    bincode::serde::encode_to_vec(value, bincode::config::standard()).map_err(|error| error.to_string())
}

fn decode(bytes: &[u8]) -> Result<Value, String> {
    let config = bincode::config::standard().with_limit::<{ 1 << 20 }>();
    bincode::serde::decode_from_slice(bytes, config).map(|(value, _)| value).map_err(|error| error.to_string())
}

fn list_of_depth(depth: usize) -> Value {
    (1..depth).fold(Value::List(Vec::new()), |inner, _| Value::List(vec![inner]))
}

#[test]
fn every_scalar_keeps_its_value() {
    assert_eq!(Value::from(i8::MIN).as_i64(), Some(-128));
    assert_eq!(Value::from(i64::MIN).as_i64(), Some(i64::MIN));
    assert_eq!(Value::from(usize::MAX).as_u64(), Some(u64::MAX));
    assert_eq!(Value::from(-1_isize).as_i64(), Some(-1));
    assert_eq!(Value::from(0.5_f32).as_f64(), Some(0.5));
    assert_eq!(Value::from('é').as_str(), Some("é"));
    assert_eq!(Value::from(Cow::from("x")).as_str(), Some("x"));
    assert_eq!(Value::from(true).as_bool(), Some(true));
    assert!(Value::from(()).is_null() && Value::from(None::<u8>).is_null());
    assert_eq!(Value::from(Some(7)).as_i64(), Some(7));
}

#[test]
fn a_number_that_fits_is_an_int_and_only_a_larger_one_a_uint() {
    assert!(matches!(Value::from(i64::MAX as u64), Value::Int(i64::MAX)));
    assert!(matches!(Value::from(i64::MAX as u64 + 1), Value::UInt(9_223_372_036_854_775_808)));
    assert_eq!(Value::UInt(5), Value::Int(5));
    assert_eq!(Value::UInt(5).as_i64(), Some(5));
    assert_eq!((Value::from(u64::MAX).as_i64(), Value::from(-1).as_u64()), (None, None));
}

#[test]
fn accessors_do_not_convert_between_kinds() {
    let text = Value::from("1");
    assert_eq!((text.as_i64(), text.as_u64(), text.as_f64(), text.as_bool()), (None, None, None, None));
    assert_eq!((Value::from(1.0).as_i64(), Value::from(1).as_str(), Value::from(0).as_bool()), (None, None, None));
}

#[test]
fn values_of_different_kinds_are_neither_equal_nor_ordered() {
    let kinds = [
        Value::Null,
        Value::from(false),
        Value::from(0),
        Value::from(""),
        Value::List(Vec::new()),
        Value::Map(BTreeMap::new()),
    ];
    for (i, a) in kinds.iter().enumerate() {
        for (j, b) in kinds.iter().enumerate() {
            assert_eq!(a.partial_cmp(b), (i == j).then_some(Ordering::Equal), "{a:?} {b:?}");
        }
    }
}

#[test]
fn whole_numbers_and_fractions_compare_without_rounding() {
    for (smaller, larger) in [
        (Value::from(1), Value::from(1.5)),
        (Value::from(-1.5), Value::from(-1)),
        (Value::from(-0.5), Value::from(0)),
        (Value::from(0), Value::from(0.5)),
        (Value::from(9_007_199_254_740_992.0), Value::from(9_007_199_254_740_993_i64)),
        (Value::from(i64::MAX), Value::from(9_223_372_036_854_775_808.0)),
        (Value::from(i64::MAX), Value::from(u64::MAX)),
        (Value::from(u64::MAX), Value::from(f64::INFINITY)),
        (Value::from(f64::NEG_INFINITY), Value::from(i64::MIN)),
    ] {
        assert_eq!(smaller.partial_cmp(&larger), Some(Ordering::Less), "{smaller:?} {larger:?}");
        assert_eq!(larger.partial_cmp(&smaller), Some(Ordering::Greater), "{smaller:?} {larger:?}");
    }
    assert_eq!(Value::from(0), Value::from(-0.0));
    assert_eq!(Value::from(i64::MIN), Value::from(-9_223_372_036_854_775_808.0));
}

#[test]
fn nan_equals_nothing() {
    let nan = Value::from(f64::NAN);
    assert_ne!(nan, nan);
    assert_ne!(nan, Value::from(0));
    assert_eq!(nan.partial_cmp(&Value::from(u64::MAX)), None);
}

#[test]
fn lists_and_maps_compare_item_by_item() {
    assert_eq!(Value::from([1, 2]), Value::from(vec![1.0, 2.0]));
    assert!(Value::from([1, 2]) < Value::from([1, 3]));
    assert!(Value::from([1]) < Value::from([1, 0]));
    let map = |number: f64| Value::from(BTreeMap::from([("a", number)]));
    assert_eq!(Value::from(HashMap::from([("a", 1)])), map(1.0));
    assert_ne!(map(1.0), map(2.0));
}

#[test]
fn display_reads_like_notation_but_leaves_plain_text_alone() {
    let list = Value::List(vec![Value::Null, true.into(), (-3).into(), 1.0.into(), "a \"b\"".into()]);
    let map = Value::from(BTreeMap::from([("k", list)]));
    assert_eq!(map.to_string(), r#"{"k": [null, true, -3, 1.0, "a \"b\""]}"#);
    assert_eq!(Value::from("a \"b\"").to_string(), "a \"b\"");
}

/// Entries on disk hold these bytes: a change here makes the metadata of old entries unreadable, or something else.
#[test]
fn the_encoding_of_every_kind_is_pinned() {
    for (value, bytes) in [
        (Value::Null, &[0][..]),
        (true.into(), &[1, 1]),
        ((-2).into(), &[2, 3]),
        (u64::MAX.into(), &[3, 253, 255, 255, 255, 255, 255, 255, 255, 255]),
        (1.5.into(), &[4, 0, 0, 0, 0, 0, 0, 248, 63]),
        ("hé".into(), &[5, 3, 104, 195, 169]),
        ([1, 2].into(), &[6, 2, 2, 2, 2, 4]),
        (BTreeMap::from([("k", 1)]).into(), &[7, 1, 1, 107, 2, 2]),
    ] {
        assert_eq!(encode(&value).unwrap(), bytes, "{value:?}");
        assert_eq!(decode(bytes).unwrap(), value);
    }
}

#[test]
fn what_is_nested_too_deep_is_refused_on_the_way_out() {
    let deepest = list_of_depth(DEEPEST);
    assert_eq!(decode(&encode(&deepest).unwrap()).unwrap(), deepest);
    assert!(encode(&list_of_depth(DEEPEST + 1)).unwrap_err().contains("more than 32 deep"));
}

#[test]
fn a_million_levels_from_a_disk_are_an_error_and_not_the_end_of_the_process() {
    let lists: Vec<u8> = [6, 1].repeat(500_000);
    let maps: Vec<u8> = [7, 1, 1, 107].repeat(250_000);
    for bytes in [lists, maps] {
        assert!(decode(&bytes).unwrap_err().contains("more than 32 deep"));
        assert_eq!(decode(&[6, 0]).unwrap(), Value::List(Vec::new()), "the depth was not given back");
    }
}

fn values() -> impl Strategy<Value = Value> {
    let scalars = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("NaN equals nothing", |number| !number.is_nan()).prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    scalars.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..4).prop_map(Value::from),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_survives_its_encoding(value in values()) {
        prop_assert_eq!(decode(&encode(&value).unwrap()).unwrap(), value.clone());
        let named = rmp_serde::to_vec_named(&value).unwrap();
        prop_assert_eq!(rmp_serde::from_slice::<Value>(&named).unwrap(), value);
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(prop_oneof![0_u8..9, any::<u8>()], 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn order_is_the_same_from_both_sides(a in values(), b in values()) {
        prop_assert_eq!(a.partial_cmp(&b), b.partial_cmp(&a).map(Ordering::reverse));
    }
}
