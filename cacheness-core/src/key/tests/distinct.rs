//! What is the same key and what is another one, by example.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, LinkedList, VecDeque};
use std::ffi::{CString, OsString};
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZero, Wrapping};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::{CacheKey, KeyFields, KeyWriter, PendingKey, SerdeKey, ToKey};
use super::{function_key, key};
use crate::params;

/// Asserts that no two of the values have one key.
macro_rules! assert_all_distinct {
    ($($value:expr),+ $(,)?) => {
        let keys = [$((stringify!($value), key(&$value))),+];
        for (i, (one, key)) in keys.iter().enumerate() {
            for (other, other_key) in &keys[..i] {
                assert_ne!(key, other_key, "{one} and {other} have one key");
                assert_ne!(key.hash(), other_key.hash(), "{one} and {other} have one hash");
            }
        }
    };
}

#[test]
fn values_of_different_types_never_share_a_key() {
    assert_all_distinct!(
        1_u8,
        1_u16,
        1_u32,
        1_u64,
        1_u128,
        1_usize,
        1_i8,
        1_i16,
        1_i32,
        1_i64,
        1_i128,
        1_isize,
        1.0_f32,
        1.0_f64,
        true,
        '1',
        "1",
        CString::new("1").unwrap(),
        OsString::from("1"),
        Some(1),
        Some(Some(1)),
        Ok::<i32, i32>(1),
        Err::<i32, i32>(1),
        NonZero::<u8>::MIN,
        Wrapping(1_u8),
        vec![1_u8],
        [1_u8],
        (1_u8,),
        BTreeSet::from([1_u8]),
        BTreeMap::from([(1_u8, 1_u8)]),
        Duration::from_secs(1),
        UNIX_EPOCH + Duration::from_secs(1),
        UNIX_EPOCH - Duration::from_secs(1),
        Ipv4Addr::LOCALHOST,
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST,
        SocketAddr::from(([127, 0, 0, 1], 1)),
        0..1,
        0..=1,
        1..,
        ..1,
        ..=1,
        ..,
    );
}

#[test]
fn empty_things_are_told_apart() {
    assert_all_distinct!(
        (),
        "",
        Vec::<u8>::new(),
        Vec::<u16>::new(),
        Vec::<String>::new(),
        [0_u8; 0],
        [(); 0],
        HashSet::<u8>::new(),
        HashMap::<u8, u8>::new(),
        None::<u8>,
        Some(()),
        Some(None::<u8>),
        PhantomData::<u8>,
        PhantomData::<str>,
        0,
        false,
        '\0',
        vec![()],
        ((), ()),
        params! {},
    );
}

#[test]
fn texts_do_not_run_into_each_other() {
    assert_all_distinct!(
        ("ab", "c"),
        ("a", "bc"),
        ("abc",),
        ("a", "b", "c"),
        (("a", "b"), "c"),
        ("a", ("b", "c")),
        ["a", "bc"],
        vec!["a", "bc"],
        vec![vec!["a"], vec!["bc"]],
        vec![vec!["a", "bc"]],
        vec![vec!["a", "bc"], vec![]],
        "a\0bc",
        "a,bc",
    );
}

#[test]
fn every_position_of_a_long_list_counts() {
    let list: Vec<u64> = (0..1000).collect();
    for changed in [0, 63, 64, 65, 999] {
        let mut other = list.clone();
        other[changed] += 1;
        assert_ne!(key(&list), key(&other), "element {changed}");
    }
}

#[test]
fn borrowed_and_owned_values_share_a_key() {
    let text = key("text");
    assert_eq!(key(String::from("text")), text);
    let owned = String::from("text");
    let borrowed = &&owned;
    assert_eq!(key(borrowed), text);
    assert_eq!(key(Box::<str>::from("text")), text);
    assert_eq!(key(Rc::<str>::from("text")), text);
    assert_eq!(key(Arc::new(String::from("text"))), text);
    assert_eq!(key(Cow::Borrowed("text")), text);
    assert_eq!(key(Cow::<str>::Owned("text".into())), text);
    assert_eq!(key([1_u8, 2].as_slice()), key(vec![1_u8, 2]));
    assert_eq!(key(Some("a")), key(Some(String::from("a"))));
    assert_eq!(key(("a", &1)), key((String::from("a"), 1)));
    assert_eq!(key(["a"].as_slice()), key(vec![String::from("a")]));
}

#[test]
fn the_same_elements_have_one_key_in_every_collection() {
    let mut deque: VecDeque<u32> = [2, 3].into();
    deque.push_front(1);
    assert_eq!(key(&deque), key(vec![1_u32, 2, 3]));
    assert_eq!(key(LinkedList::from([1_u32, 2, 3])), key(&deque));
    assert_eq!(key(BTreeSet::from(["a", "b"])), key(HashSet::from(["b", "a"])));
    assert_eq!(key(BTreeMap::from([(1, "a"), (-1, "b")])), key(HashMap::from([(-1, "b"), (1, "a")])));
}

#[test]
fn a_map_is_not_its_entries_exchanged() {
    assert_all_distinct!(
        BTreeMap::from([("a", "b"), ("c", "d")]),
        BTreeMap::from([("a", "d"), ("c", "b")]),
        BTreeMap::from([("b", "a"), ("d", "c")]),
        BTreeMap::from([("a", "b")]),
        BTreeSet::from([("a", "b"), ("c", "d")]),
        vec![("a", "b"), ("c", "d")],
    );
}

#[test]
fn floats_count_by_their_bits_with_one_nan() {
    let odd_nan = f64::from_bits(0xfff8_0000_0000_0001);
    assert_ne!(key(0.0), key(-0.0));
    assert_ne!(key((1, [0.0, 1.0])), key((1, [-0.0, 1.0])));
    assert_ne!(key(SerdeKey(Some(0.0_f32))), key(SerdeKey(Some(-0.0_f32))));
    assert_ne!(key(vec![0.0_f32]), key(vec![-0.0_f32]));
    assert_ne!(params! { x: 0.0 }.to_key().unwrap(), params! { x: -0.0 }.to_key().unwrap());
    assert_eq!(key(f64::NAN), key(odd_nan));
    assert_eq!(key(vec![0.0, f64::NAN]), key(vec![0.0, odd_nan]));
    assert_ne!(key(0.0_f32), key(-0.0_f32));
    assert_eq!(key(f32::NAN), key(-f32::NAN));
    assert_all_distinct!(
        0.0,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        f64::INFINITY,
        -f64::INFINITY,
        f64::NAN,
        0.1 + 0.2,
        0.3
    );
}

#[test]
fn an_iterated_range_is_not_a_fresh_one() {
    let mut range = 1..=1;
    range.next();
    assert_ne!(key(range), key(1..=1));
}

#[test]
fn times_before_1970_have_keys() {
    // Windows counts hundreds of nanoseconds.
    let step = Duration::from_nanos(100);
    assert_all_distinct!(UNIX_EPOCH, UNIX_EPOCH - step, UNIX_EPOCH + step, SystemTime::now());
}

#[test]
fn a_record_is_its_names_and_values() {
    let record = |name, variant, field, value: i32| {
        let mut writer = KeyWriter::new();
        writer.record(name, variant, KeyFields::Named(1), |writer| writer.field(field, &value));
        writer.finish().resolve().unwrap()
    };
    let all = [
        record("Point", None, "x", 1),
        record("Point", None, "y", 1),
        record("Point", None, "x", 2),
        record("Pixel", None, "x", 1),
        record("Point", Some(""), "x", 1),
        record("Point", Some("A"), "x", 1),
        record("Point", Some("B"), "x", 1),
    ];
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
}

#[test]
fn the_key_of_a_function_is_never_that_of_a_value_or_of_another_function() {
    let weather = function_key("weather", |writer| {
        writer.argument();
        "London".encode(writer);
    });
    assert_ne!(weather, key("London"));
    assert_ne!(weather, key(("weather", "London")));
    assert_ne!(
        weather,
        function_key("forecast", |writer| {
            writer.argument();
            "London".encode(writer);
        })
    );
}

#[test]
fn prefix_and_version_set_functions_apart() {
    let scoped = |name: &str, prefix, version| {
        let mut writer = KeyWriter::new();
        writer.scope(name, prefix, version);
        writer.finish().resolve().unwrap()
    };
    let all = [
        scoped("f", None, None),
        scoped("f", Some(""), None),
        scoped("f", Some("a"), None),
        scoped("f", None, Some("a")),
        scoped("f", Some("a"), Some("a")),
        scoped("fa", None, None),
    ];
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
}

#[test]
fn a_missing_argument_is_not_none_and_not_another_one() {
    let named = |name: &str| {
        function_key("f", |writer| {
            writer.named_argument(name);
            None::<u8>.encode(writer);
        })
    };
    let positional = |count| {
        function_key("f", |writer| {
            for _ in 0..count {
                writer.argument();
                None::<u8>.encode(writer);
            }
        })
    };
    let all = [named("a"), named("b"), positional(0), positional(1), positional(2)];
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
}

#[test]
fn parameters_are_told_by_name_in_any_order() {
    let key_of = key(params! { experiment: "exp_001", run: 42 });
    assert_eq!(key(params! { run: 42, experiment: "exp_001" }), key_of);
    assert_ne!(key(params! { run: 42, trial: "exp_001" }), key_of);
    assert_ne!(key(params! { run: 42_u8, experiment: "exp_001" }), key_of);
    assert_ne!(key(params! { run: 42 }), key_of);
    assert_eq!(key_of.params(), [("experiment".into(), "exp_001".into()), ("run".into(), 42.into())]);
    assert_eq!(key(params! { r#type: 1 }).params(), [("type".into(), 1.into())]);
}

#[test]
fn a_parameter_named_twice_is_an_error_that_says_which() {
    let error = params! { run: 1, name: "a", run: 2 }.to_key().unwrap_err();
    assert!(error.is_invalid_argument());
    assert_eq!(error.to_string(), "the parameter `run` is given twice: name each parameter once");
}

#[test]
fn the_text_of_a_large_parameter_is_short() {
    let key = key(params! { list: vec!["é"; 100_000] });
    let text = key.params()[0].1.as_str().unwrap();
    assert!(text.len() <= 1024 + '…'.len_utf8() && text.ends_with('…'), "{} bytes", text.len());
}

#[test]
fn keys_keep_their_identity_as_keys() {
    let key_of = key("London");
    assert_eq!(key(&key_of), key_of);
    assert_eq!(key(key_of.clone()).hash(), key_of.hash());
}

#[test]
fn a_serialized_value_nests_like_any_other() {
    assert_eq!(key(vec![(SerdeKey("a"), 1)]), key(vec![("a", 1)]));
}

#[test]
fn keys_and_their_makers_move_between_threads() {
    fn send<T: Send>() {}
    fn send_and_sync<T: Send + Sync>() {}
    send::<KeyWriter>();
    send::<PendingKey>();
    send_and_sync::<super::Key>();
    send_and_sync::<super::super::Params>();
}

#[test]
fn any_value_can_be_keyed_through_a_reference_to_the_trait() {
    fn dynamic(value: &dyn CacheKey) -> super::Key {
        key(value)
    }
    assert_eq!(dynamic(&1), key(1));
}
