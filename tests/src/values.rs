//! Results of every kind that serde knows, made of numbers: what the differential test of results calls with a cache and
//! without one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Debug, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cacheness::cached;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A source of numbers: equal seeds give equal values.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn any<T: Roll>(&mut self) -> T {
        T::roll(self)
    }
}

/// Made of numbers.
trait Roll {
    fn roll(dice: &mut Dice) -> Self;
}

macro_rules! rolls {
    ($($type:ty: $dice:ident => $value:expr;)*) => {
        $(impl Roll for $type {
            fn roll($dice: &mut Dice) -> Self {
                $value
            }
        })*
    };
}

rolls! {
    u8: dice => dice.next() as u8;
    u64: dice => [0, 1, dice.next(), u64::MAX][dice.below(4) as usize];
    i64: dice => [0, -1, dice.next() as i64, i64::MIN][dice.below(4) as usize];
    i128: dice => i128::from(dice.next()) << dice.below(64);
    char: dice => ['a', '7', 'é', '\0', '漢'][dice.below(5) as usize];
    String: dice => {
        let texts = ["", "a", "é", "2024-05-06", "127.0.0.1", "::1", "true", "1", "a text", "Unit", "null"];
        texts.get(dice.below(12) as usize).map_or_else(|| dice.next().to_string(), |text| (*text).to_owned())
    };
    Real: dice => Real([0.0, -0.0, 1.5, f64::NAN, f64::INFINITY, f64::from_bits(dice.next())][dice.below(6) as usize]);
    Day: dice => Day(2000 + dice.below(50) as u16, 1 + dice.below(12) as u8, 1 + dice.below(28) as u8);
    IpAddr: dice => match dice.below(2) {
        0 => Ipv4Addr::from_bits(dice.next() as u32).into(),
        _ => Ipv6Addr::from_bits(u128::from(dice.next())).into(),
    };
    SocketAddr: dice => SocketAddr::new(dice.any(), dice.next() as u16);
    Duration: dice => Duration::from_nanos(dice.next());
    SystemTime: dice => SystemTime::UNIX_EPOCH + Duration::from_nanos(dice.next() / 8);
    bool: dice => dice.below(2) == 0;
}

impl<T: Roll> Roll for Option<T> {
    fn roll(dice: &mut Dice) -> Self {
        (dice.below(3) > 0).then(|| dice.any())
    }
}

impl<T: Roll> Roll for Vec<T> {
    fn roll(dice: &mut Dice) -> Self {
        (0..dice.below(3)).map(|_| dice.any()).collect()
    }
}

impl<T: Roll> Roll for Arc<T> {
    fn roll(dice: &mut Dice) -> Self {
        Arc::new(dice.any())
    }
}

impl<T: Roll, E: Roll> Roll for Result<T, E> {
    fn roll(dice: &mut Dice) -> Self {
        if dice.any() { Ok(dice.any()) } else { Err(dice.any()) }
    }
}

impl<K: Roll + Ord, V: Roll> Roll for BTreeMap<K, V> {
    fn roll(dice: &mut Dice) -> Self {
        (0..dice.below(3)).map(|_| (dice.any(), dice.any())).collect()
    }
}

impl<T: Roll + Ord> Roll for BTreeSet<T> {
    fn roll(dice: &mut Dice) -> Self {
        (0..dice.below(4)).map(|_| dice.any()).collect()
    }
}

impl<A: Roll, B: Roll> Roll for (A, B) {
    fn roll(dice: &mut Dice) -> Self {
        (dice.any(), dice.any())
    }
}

/// A number that shows its bits: `-0.0` is not `0.0`.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
struct Real(f64);

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Debug for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0.to_bits())
    }
}

/// A day, which is written as text.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Day(u16, u8, u8);

impl Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0, self.1, self.2)
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parts: Vec<u16> = text.split('-').map(str::parse).collect::<Result<_, _>>().map_err(D::Error::custom)?;
        match parts[..] {
            [year, month, day] if text.len() == 10 => Ok(Self(year, month as u8, day as u8)),
            _ => Err(D::Error::custom("no day")),
        }
    }
}

macro_rules! structs {
    ($($(#[$attribute:meta])* $name:ident { $($(#[$of_field:meta])* $field:ident: $type:ty,)* })*) => {$(
        #[derive(Clone, Debug, Serialize, Deserialize)]
        $(#[$attribute])*
        struct $name {
            $($(#[$of_field])* $field: $type,)*
        }

        impl Roll for $name {
            fn roll(dice: &mut Dice) -> Self {
                Self { $($field: dice.any(),)* }
            }
        }
    )*};
}

macro_rules! enums {
    ($($(#[$attribute:meta])* $name:ident {
        $($unit:ident,)* ; $($one:ident($type:ty),)* ; $($named:ident { $($field:ident: $of:ty,)* },)*
    })*) => {$(
        #[derive(Clone, Debug, Serialize, Deserialize)]
        $(#[$attribute])*
        enum $name {
            $($unit,)*
            $($one($type),)*
            $($named { $($field: $of),* },)*
        }

        impl Roll for $name {
            fn roll(dice: &mut Dice) -> Self {
                let makes: &[fn(&mut Dice) -> Self] = &[
                    $(|_| Self::$unit,)*
                    $(|dice| Self::$one(dice.any()),)*
                    $(|dice| Self::$named { $($field: dice.any()),* },)*
                ];
                makes[dice.below(makes.len() as u64) as usize](dice)
            }
        }
    )*};
}

structs! {
    #[derive(PartialEq)]
    Inner { number: u64, text: Option<String>, }
    #[derive(PartialEq)]
    Nested { small: u8, wide: i128, real: Real, letter: char, maybe: Option<Option<u8>>, inner: Vec<Inner>, unit: Option<bool>, }
    #[derive(PartialEq)]
    Flat { id: u64, #[serde(flatten)] rest: BTreeMap<String, Untagged>, }
    FlatTagged { id: u64, #[serde(flatten)] kind: Internal, }
    FlatMaybe { id: u64, #[serde(flatten)] maybe: BTreeMap<String, Option<Option<u8>>>, }
    #[derive(PartialEq)]
    Lossy {
        kept: u8,
        #[serde(skip)] skipped: bool,
        #[serde(skip_serializing_if = "Option::is_none", default)] maybe: Option<u8>,
        #[serde(default)] usual: u8,
        #[serde(with = "whole")] rounded: Real,
        #[serde(rename = "kind", alias = "sort")] renamed: String,
    }
    Times { span: Duration, at: SystemTime, day: Day, }
    Addresses { ip: IpAddr, socket: Option<SocketAddr>, }
    #[allow(dead_code, reason = "`Debug` shows what serde skips")]
    OnlyDebug { twins: Vec<Twin>, #[serde(skip)] skipped: bool, }
    Maps { pairs: BTreeMap<u8, Adjacent>, set: BTreeSet<String>, of_days: Vec<(String, Untagged)>, }
    #[derive(PartialEq)]
    Optional { value: Option<Option<Option<u8>>>, text: Option<Untagged>, }
}

enums! {
    #[derive(PartialEq)]
    External { Unit,; One(Real), Deep(Vec<External>), Json(Vec<Untagged>),; Named { x: Option<u64>, y: String, }, }
    #[derive(PartialEq)]
    #[serde(tag = "type")]
    Internal { Unit,; Boxed(Inner),; Named { x: Option<u64>, y: Vec<Inner>, }, At { address: SocketAddr, }, }
    #[derive(PartialEq)]
    #[serde(tag = "t", content = "c")]
    Adjacent { Unit,; One(Real), Text(String),; Named { x: Untagged, y: u8, }, }
    #[derive(PartialEq)]
    #[serde(untagged)]
    Untagged {
        ;
        Number(i64), Real(Real), Letter(char), Day(Day), Address(IpAddr), Text(String), List(Vec<Untagged>), Same(String),;
        Pair { a: u8, b: Option<u8>, },
    }
    #[derive(PartialEq)]
    #[serde(untagged)]
    Twin { ; First(String), Second(String),; }
    #[serde(untagged)]
    OfTagged { ; Internal(Internal), Adjacent(Adjacent), External(External),; }
}

/// Some numbers under names, in the order of a `HashMap`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Bag(HashMap<String, u64>);

impl Debug for Bag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().collect::<BTreeMap<_, _>>()).finish()
    }
}

impl Roll for Bag {
    fn roll(dice: &mut Dice) -> Self {
        Self((0..dice.below(9)).map(|_| (dice.any(), dice.any())).collect())
    }
}

/// Numbers without what is behind the point.
mod whole {
    use super::{Deserialize, Deserializer, Real, Serializer};

    pub(super) fn serialize<S: Serializer>(real: &Real, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(real.0 as i64)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Real, D::Error> {
        i64::deserialize(deserializer).map(|whole| Real(whole as f64))
    }
}

/// What came of the calls of one function.
#[derive(Debug, Default)]
struct Count {
    hits: u64,
    wrong: u64,
}

macro_rules! functions {
    ($($name:ident: $type:ty;)*) => {
        mod cached_functions {
            use super::*;
            $(
                #[cached(cache_err, cache_none)]
                pub(super) fn $name(seed: u64) -> $type {
                    Dice(seed).any()
                }
            )*
        }

        /// Calls each function with these seeds, twice if `again`, compares what it returns with what it is made of, and
        /// prints one line for each: name, calls, hits, wrong results. The first wrong ones are told on standard error.
        ///
        /// # Panics
        /// If the default cache cannot be opened.
        pub fn compare(seeds: std::ops::Range<u64>, again: bool) {
            let rounds = if again { 2 } else { 1 };
            $(
                let mut count = Count::default();
                for seed in seeds.clone().chain(again.then_some(seeds.clone()).into_iter().flatten()) {
                    let plain: $type = Dice(seed).any();
                    let cached = cached_functions::$name(seed);
                    let (plain, cached) = (format!("{plain:?}"), format!("{cached:?}"));
                    if plain != cached {
                        count.wrong += 1;
                        if count.wrong <= 3 {
                            eprintln!("{} of {seed} is {cached} and should be {plain}", stringify!($name));
                        }
                    }
                }
                count.hits = cacheness::function(cached_functions::$name).info().expect("the cache is open").hits;
                let calls = (seeds.end - seeds.start) * rounds;
                println!("{} {calls} {} {}", stringify!($name), count.hits, count.wrong);
            )*
        }
    };
}

functions! {
    nested: Nested;
    external: External;
    internal: Internal;
    adjacent: Adjacent;
    untagged: Untagged;
    list_of_untagged: Vec<Untagged>;
    of_tagged: OfTagged;
    twin: Twin;
    flat: Flat;
    flat_tagged: FlatTagged;
    flat_maybe: FlatMaybe;
    lossy: Lossy;
    times: Times;
    addresses: Addresses;
    only_debug: OnlyDebug;
    maps: Maps;
    bag: Bag;
    optional: Optional;
    text: String;
    reals: Vec<Real>;
    pair: (Untagged, Option<Option<String>>);
    result: Result<Internal, Untagged>;
    maybe: Option<Adjacent>;
    shared: Arc<External>;
}

/// As [`compare`], with results stored as they are, unproven.
pub fn compare_unproven(seeds: std::ops::Range<u64>) {
    cacheness::testing::store_unproven();
    compare(seeds, false);
}
