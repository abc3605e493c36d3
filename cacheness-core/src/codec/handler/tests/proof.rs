//! Every value is read back before it is stored.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::{self, Display};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::PayloadFormat::{Bincode, MessagePack, Readable};
use super::*;
use crate::codec::handler::encode_as;
use crate::codec::handler::payload::Formats;
use crate::codec::handler::proof::{ByDebug, ByEq, ByEqOrDebug, Evidence};

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
#[serde(untagged)]
enum Sign {
    Letter(char),
    Text(String),
}

fn refusal<T: Storable>(value: &T) -> String {
    let error = encode(value, &LIMITS).expect_err("must not be stored");
    assert!(error.is_serialization(), "{error}");
    error.to_string()
}

fn refusal_by<T: Storable, E: Evidence<T>>(value: &T) -> String {
    let stored = encode_as(value, E::COMPARE, Formats::DEFAULT, &LIMITS);
    stored.err().expect("must not be stored").to_string()
}

#[test]
fn a_value_that_would_be_read_as_another_variant_is_refused_also_after_others_that_would_not() {
    for _ in 0..3 {
        comes_back(vec![Sign::Text("many".into()), Sign::Letter('a')]);
        let told = refusal(&vec![Sign::Text("many".into()), Sign::Text("b".into())]);
        assert!(
            told.contains("`[_]` was Str of `&cacheness_core::codec::handler::tests::proof::Sign` and became Char"),
            "{told}"
        );
        let told = refusal(&Sign::Text("c".into()));
        assert!(told.contains("the value itself was Str"), "{told}");
    }
}

/// A day, which is written as text.
#[derive(PartialEq, Debug, Clone, Copy)]
struct Day(u16, u8, u8);

impl Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0, self.1, self.2)
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parts: Vec<u16> = text.split('-').map(str::parse).collect::<Result<_, _>>().map_err(D::Error::custom)?;
        match parts[..] {
            [year, month, day] => Ok(Self(year, month as u8, day as u8)),
            _ => Err(D::Error::custom("not a day")),
        }
    }
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
#[serde(untagged)]
enum When {
    Day(Day),
    Text(String),
}

#[test]
fn a_text_that_looks_like_a_day_is_refused_and_days_and_other_texts_are_stored() {
    comes_back_as(MessagePack, vec![When::Day(Day(2024, 5, 6)), When::Text("tomorrow".into())]);
    let told = refusal(&BTreeMap::from([(1, vec![When::Text("2024-05-06".into())])]));
    assert!(told.contains("`[_][_]` was Str of") && told.contains("became Displayed of"), "{told}");
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
#[serde(untagged)]
enum Twin {
    First(String),
    Second(String),
}

#[test]
fn a_variant_that_serde_does_not_show_is_seen_at_the_top_and_by_the_traits_of_the_type() {
    comes_back(Twin::First("x".into()));
    assert!(refusal(&Twin::Second("x".into())).contains("became another variant"));
    let nested = (1, vec![Twin::Second("x".into())]);
    for told in
        [refusal_by::<_, ByEq>(&nested), refusal_by::<_, ByEqOrDebug>(&nested), refusal_by::<_, ByDebug>(&nested)]
    {
        assert!(told.contains("two variants of an untagged enum look the same"), "{told}");
    }
    let first = (1, vec![Twin::First("x".into())]);
    assert!(encode_as(&first, ByDebug::COMPARE, Formats::DEFAULT, &LIMITS).is_ok());
}

#[test]
fn what_serde_leaves_out_is_found_by_the_traits_of_the_type_unless_it_is_the_default() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Page {
        text: String,
        #[serde(skip)]
        seconds: u32,
        #[serde(with = "whole")]
        size: f64,
    }
    mod whole {
        use super::*;
        pub(super) fn serialize<S: Serializer>(size: &f64, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            serializer.serialize_i64(*size as i64)
        }
        pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<f64, D::Error> {
            i64::deserialize(deserializer).map(|size| size as f64)
        }
    }
    let page = |seconds, size| Page { text: "x".into(), seconds, size };
    let stored = |page: &Page| encode_as(page, ByEqOrDebug::COMPARE, Formats::DEFAULT, &LIMITS).map(drop);
    assert!(stored(&page(0, 2.0)).is_ok());
    for lost in [page(5, 2.0), page(0, 2.5)] {
        let told = stored(&lost).unwrap_err().to_string();
        assert!(told.contains("as its `PartialEq` says") && told.contains("skipped or rounded"), "{told}");
    }
}

#[test]
fn nan_does_not_keep_a_value_from_being_stored() {
    let value = (f64::NAN, "x".to_owned());
    assert!(encode_as(&value, ByEqOrDebug::COMPARE, Formats::DEFAULT, &LIMITS).is_ok());
}

#[test]
fn addresses_are_stored_in_types_that_read_them_as_text() {
    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    #[serde(untagged)]
    enum Host {
        Number(u64),
        Address(IpAddr),
        Name(String),
    }
    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    struct Server {
        name: String,
        #[serde(flatten)]
        at: At,
    }
    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    struct At {
        address: IpAddr,
    }
    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    #[serde(tag = "kind")]
    enum Peer {
        Near { address: SocketAddr },
        Far,
    }
    let address: IpAddr = Ipv4Addr::new(127, 0, 0, 1).into();
    comes_back_as(Readable, Host::Address(address));
    comes_back(vec![Host::Name("localhost".into()), Host::Number(1)]);
    comes_back_as(Readable, Server { name: "a".into(), at: At { address } });
    comes_back_as(Readable, vec![Peer::Near { address: SocketAddr::new(address, 80) }, Peer::Far]);
    comes_back_as(Bincode, address);
    assert!(refusal(&Host::Name("127.0.0.1".into())).contains("became another value"));
}

thread_local! {
    static READS: Cell<u32> = const { Cell::new(0) };
}

/// Counts how often it is read.
#[derive(Serialize, PartialEq, Debug)]
struct Counted(u32);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Number;
        impl<'de> serde::de::Visitor<'de> for Number {
            type Value = u32;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> std::result::Result<u32, D::Error> {
                u32::deserialize(inner)
            }
        }
        READS.set(READS.get() + 1);
        deserializer.deserialize_newtype_struct("Counted", Number).map(Self)
    }
}

#[test]
fn each_value_is_read_back_before_it_is_written() {
    (0..5).for_each(|n| drop(put(&vec![Counted(n)])));
    assert_eq!(READS.get(), 5);
}

#[test]
fn a_value_that_another_format_keeps_is_stored_also_after_that_format_lost_one() {
    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    enum Reply {
        Json(serde_json::Value),
        Nothing(Option<Option<u8>>),
    }
    comes_back_as(MessagePack, Reply::Json(serde_json::json!([1])));
    comes_back_as(Bincode, Reply::Nothing(Some(None)));
}

/// Panics when it is dropped, if it was read.
#[derive(Serialize)]
struct Heavy {
    number: u32,
    #[serde(skip)]
    written: bool,
}

impl<'de> Deserialize<'de> for Heavy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Heavy")]
        struct Read {
            number: u32,
        }
        Read::deserialize(deserializer).map(|read| Self { number: read.number, written: false })
    }
}

impl Drop for Heavy {
    fn drop(&mut self) {
        assert!(self.written, "a drop that panics");
    }
}

#[test]
fn a_panic_of_the_drop_of_what_was_read_back_ends_there() {
    assert!(encode(&Heavy { number: 1, written: true }, &LIMITS).is_ok());
}

/// `PartialEq` and `Debug` that panic.
#[derive(Serialize, Deserialize)]
struct Touchy(u8);

impl PartialEq for Touchy {
    fn eq(&self, _: &Self) -> bool {
        panic!("do not compare")
    }
}

impl fmt::Debug for Touchy {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("do not print")
    }
}

#[test]
fn a_panic_of_partial_eq_or_debug_is_an_error_that_names_the_type() {
    for told in [refusal_by::<_, ByEq>(&Touchy(1)), refusal_by::<_, ByDebug>(&Touchy(1))] {
        assert!(told.contains("Touchy` panicked in `PartialEq` or `Debug`: do not "), "{told}");
    }
}

/// A list that is written as a map and read through a sorted one.
mod as_map {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        rows: &[(String, u32)],
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(rows.iter().map(|(name, points)| (name, points)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Vec<(String, u32)>, D::Error> {
        BTreeMap::deserialize(deserializer).map(|rows| rows.into_iter().collect())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Ranking {
    #[serde(with = "as_map")]
    rows: Vec<(String, u32)>,
}

fn ranking(names: [&str; 2]) -> Ranking {
    Ranking { rows: names.map(|name| (name.to_owned(), 1)).to_vec() }
}

fn is_stored_by<T: Storable, E: Evidence<T>>(value: &T) -> bool {
    encode_as(value, E::COMPARE, Formats::DEFAULT, &LIMITS).is_ok()
}

#[test]
fn a_list_that_would_come_back_in_another_order_is_refused_also_beside_maps() {
    assert!(put(&ranking(["ann", "bob"])).bytes.len() > 1);
    let (value, map) = (ranking(["bob", "ann"]), HashMap::from([(1, ranking(["bob", "ann"]))]));
    for told in [refusal(&value), refusal_by::<_, ByDebug>(&value), refusal(&map), refusal_by::<_, ByDebug>(&map)] {
        assert!(told.contains("came back in another order"), "{told}");
    }
    let fixed: HashMap<u32, u32, BuildHasherDefault<DefaultHasher>> = (0..50).map(|n| (n, n)).collect();
    assert!(refusal(&(fixed, value)).contains("came back in another order"));
}

#[test]
fn a_skipped_list_of_another_order_than_the_default_is_refused_where_debug_shows_it() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Page {
        #[serde(skip, default = "ascending")]
        order: Vec<u32>,
        names: HashMap<u32, u32, BuildHasherDefault<DefaultHasher>>,
    }
    fn ascending() -> Vec<u32> {
        vec![0, 1]
    }
    let page = |order| Page { order, names: HashMap::from_iter([(1, 2)]) };
    assert_eq!(page(ascending()).order, [0, 1]);
    assert!(is_stored_by::<_, ByDebug>(&page(vec![0, 1])));
    assert!(refusal_by::<_, ByDebug>(&page(vec![1, 0])).contains("came back in another order"));
}

#[test]
fn maps_and_sets_without_an_order_are_stored_wherever_they_are() {
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(transparent)]
    struct Hidden(HashMap<u32, String>);
    #[derive(Debug, Serialize, Deserialize)]
    struct Wide {
        set: Option<HashSet<u32>>,
        hidden: Hidden,
        #[serde(flatten)]
        rest: HashMap<String, u32>,
    }
    for many in [1, 2, 3, 50] {
        for _ in 0..50 {
            let wide = Wide {
                set: Some((0..many).collect()),
                hidden: Hidden((0..many).map(|n| (n, n.to_string())).collect()),
                rest: (0..many).map(|n| (n.to_string(), n)).collect(),
            };
            assert!(is_stored_by::<_, ByDebug>(&wide));
            put(&vec![wide]);
        }
    }
}

#[test]
fn a_map_of_a_fixed_hasher_is_known_by_its_name() {
    type Fixed = HashMap<u32, u32, BuildHasherDefault<DefaultHasher>>;
    let mut map = Fixed::with_capacity_and_hasher(10_000, BuildHasherDefault::new());
    map.extend((0..50).map(|n| (n, n)));
    put(&map);
    assert!(is_stored_by::<_, ByDebug>(&vec![map]));
}

#[test]
fn partial_eq_decides_whether_another_order_is_another_value() {
    #[derive(Serialize, Deserialize)]
    struct Bag(#[serde(with = "as_map")] Vec<(String, u32)>);
    impl PartialEq for Bag {
        fn eq(&self, other: &Self) -> bool {
            let [mut one, mut other] = [self.0.clone(), other.0.clone()];
            one.sort();
            other.sort();
            one == other
        }
    }
    let bag = Bag(ranking(["bob", "ann"]).rows);
    assert!(is_stored_by::<_, ByEq>(&bag));
    assert!(refusal(&bag).contains("came back in another order"));
}
