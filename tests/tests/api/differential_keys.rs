//! Random pairs of arguments: those that a body can tell apart never share an entry, and equal ones always do.
//!
//! What a body can see of a value is its `Debug` output here: variants, bits of zero, order, fields that serde leaves out.
//! `CACHENESS_DIFFERENTIAL_PAIRS` sets how many pairs are tried (20,000).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cacheness::{CacheKey, Key, cached};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    fn make<T: Make>(&mut self) -> T {
        T::make(self)
    }
}

/// Few values of a kind, so that two are often equal or nearly so.
trait Make: Sized {
    fn make(rng: &mut Rng) -> Self;
}

macro_rules! make_one_of {
    ($($type:ty: [$($value:expr),+ $(,)?];)+) => {
        $(impl Make for $type {
            fn make(rng: &mut Rng) -> Self {
                rng.one_of(&[$($value),+])
            }
        })+
    };
}

make_one_of! {
    (): [()];
    bool: [false, true];
    u8: [0, 1, 255];
    u16: [0, 1, 256];
    u32: [0, 1, 65_536];
    u64: [0, 1, 1 << 32];
    u128: [0, 1, 1 << 64];
    i8: [0, 1, -1];
    i64: [0, -1, i64::MIN];
    i128: [0, 1, -1];
    usize: [0, 1, usize::MAX];
    char: ['a', '\0', 'é'];
    f32: [0.0, -0.0, 1.5, f32::INFINITY, f32::NAN];
    f64: [0.0, -0.0, 0.3, 0.1 + 0.2, f64::MIN_POSITIVE, -f64::INFINITY, f64::NAN];
    Duration: [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1)];
    SystemTime: [UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(1), UNIX_EPOCH + Duration::from_nanos(1)];
    IpAddr: [
        Ipv4Addr::LOCALHOST.into(),
        Ipv6Addr::LOCALHOST.into(),
        Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
        Ipv4Addr::UNSPECIFIED.into(),
    ];
}

macro_rules! make_by_parts {
    ($($type:ident { $($field:ident),* })+) => {
        $(impl Make for $type {
            fn make(rng: &mut Rng) -> Self {
                Self { $($field: rng.make()),* }
            }
        })+
    };
    (variants: $($type:ident { $($variant:expr),+ $(,)? })+) => {
        $(impl Make for $type {
            fn make(rng: &mut Rng) -> Self {
                let variants: &[fn(&mut Rng) -> Self] = &[$($variant),+];
                rng.one_of(variants)(rng)
            }
        })+
    };
}

impl Make for String {
    fn make(rng: &mut Rng) -> Self {
        rng.one_of(&["", "a", "b", "ab", "1", "\0", "None"]).to_owned()
    }
}

impl Make for SocketAddr {
    fn make(rng: &mut Rng) -> Self {
        Self::new(rng.make(), rng.make())
    }
}

impl<T: Make> Make for Option<T> {
    fn make(rng: &mut Rng) -> Self {
        rng.make::<bool>().then(|| rng.make())
    }
}

impl<T: Make, const N: usize> Make for [T; N] {
    fn make(rng: &mut Rng) -> Self {
        [(); N].map(|()| rng.make())
    }
}

macro_rules! make_collections {
    ($($type:ty where $($bound:ident: $($traits:path),+);+ => $count:literal)+) => {
        $(impl<$($bound: Make $(+ $traits)+),+> Make for $type {
            fn make(rng: &mut Rng) -> Self {
                (0..rng.below($count)).map(|_| rng.make()).collect()
            }
        })+
    };
}

make_collections! {
    Vec<T> where T: Sized => 3
    BTreeSet<T> where T: Ord => 3
    HashSet<T> where T: Eq, std::hash::Hash => 4
    BTreeMap<K, V> where K: Ord; V: Sized => 3
    HashMap<K, V> where K: Eq, std::hash::Hash; V: Sized => 4
}

macro_rules! make_tuples {
    ($(($($part:ident)+))+) => {
        $(impl<$($part: Make),+> Make for ($($part,)+) {
            fn make(rng: &mut Rng) -> Self {
                ($(rng.make::<$part>(),)+)
            }
        })+
    };
}

make_tuples! { (A) (A B) (A B C) (A B C D) }

/// A map in the order of insertion.
#[derive(Clone, Debug)]
struct InOrder(Vec<(String, u8)>);

impl Serialize for InOrder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.0.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

#[derive(Debug, CacheKey)]
struct Derived {
    id: u8,
    name: String,
    deep: Vec<Option<Option<u8>>>,
    point: (f64, f32),
    numbers: [f64; 2],
    map: BTreeMap<String, Vec<u8>>,
    when: SystemTime,
    from: SocketAddr,
    shape: Shape,
}

#[derive(Debug, CacheKey)]
enum Shape {
    Unit,
    Empty(),
    One(f64),
    Other(f64),
    Two(u8, u8),
    Named { a: u8, b: u8 },
    Swapped { b: u8, a: u8 },
}

#[derive(Debug, Serialize)]
struct Widths {
    a: (u8, u16, u32, u64),
    b: (u128, i128, usize, i64),
    c: Option<()>,
    d: Option<Option<char>>,
    e: [f32; 2],
    f: (SocketAddr, Duration),
    g: (SystemTime, IpAddr),
}

#[derive(Debug, Serialize)]
enum External {
    Unit,
    One(u8),
    Two(u8, String),
    Named { a: u8, b: Option<f64> },
    Other { a: u8, b: Option<f64> },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type")]
enum Internal {
    Unit,
    One { a: u8 },
    Other { a: u8 },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", content = "content")]
enum Adjacent {
    Unit,
    One(u8),
    Two(u8, String),
    Named { a: u8 },
}

/// Without `Hash`, and itself the argument.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Untagged {
    One { a: f64 },
    Other { a: f64 },
    Number(f64),
    Text(String),
    Name(String),
    Nothing,
    Unit(()),
    List(Vec<u8>),
    Pair(u8, u8),
}

#[derive(Debug, Serialize, Hash)]
#[serde(untagged)]
enum HashedUntagged {
    One { a: u8 },
    Other { a: u8 },
    Number(u8),
    Same(u8),
}

#[derive(Debug, Serialize, Hash)]
struct LeavesOut {
    kept: u8,
    #[serde(skip)]
    skipped: u8,
    #[serde(skip_serializing_if = "is_small")]
    small: u16,
    #[serde(serialize_with = "nothing")]
    other: String,
    untagged: Vec<HashedUntagged>,
}

fn is_small(n: &u16) -> bool {
    *n < 10
}

fn nothing<S: Serializer>(_: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_unit()
}

#[derive(Debug, Serialize)]
struct Flat {
    id: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    inner: Inner,
    #[serde(flatten)]
    rest: InOrder,
}

#[derive(Debug, Serialize)]
struct Inner {
    #[serde(skip_serializing_if = "Option::is_none")]
    inner_a: Option<u8>,
    inner_b: f64,
    external: External,
}

#[derive(Debug, Serialize)]
struct Orders {
    one: InOrder,
    other: InOrder,
    list: Vec<InOrder>,
}

#[derive(Serialize)]
struct Unordered {
    map: HashMap<u8, Option<HashSet<u16>>>,
    set: HashSet<String>,
    list: Vec<HashMap<String, u8>>,
}

/// Without the order, which no two of them have in common.
impl Debug for Unordered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let map: BTreeMap<_, _> = self.map.iter().map(|(n, set)| (n, set.as_ref().map(BTreeSet::from_iter))).collect();
        let list: Vec<_> = self.list.iter().map(BTreeMap::from_iter).collect();
        f.debug_tuple("Unordered").field(&map).field(&BTreeSet::from_iter(&self.set)).field(&list).finish()
    }
}

make_by_parts! {
    Derived { id, name, deep, point, numbers, map, when, from, shape }
    Widths { a, b, c, d, e, f, g }
    LeavesOut { kept, skipped, small, other, untagged }
    Flat { id, name, inner, rest }
    Inner { inner_a, inner_b, external }
    Orders { one, other, list }
    Unordered { map, set, list }
}

impl Make for InOrder {
    fn make(rng: &mut Rng) -> Self {
        Self(rng.make())
    }
}

make_by_parts! { variants:
    Shape {
        |_| Self::Unit,
        |_| Self::Empty(),
        |rng| Self::One(rng.make()),
        |rng| Self::Other(rng.make()),
        |rng| Self::Two(rng.make(), rng.make()),
        |rng| Self::Named { a: rng.make(), b: rng.make() },
        |rng| Self::Swapped { b: rng.make(), a: rng.make() },
    }
    External {
        |_| Self::Unit,
        |rng| Self::One(rng.make()),
        |rng| Self::Two(rng.make(), rng.make()),
        |rng| Self::Named { a: rng.make(), b: rng.make() },
        |rng| Self::Other { a: rng.make(), b: rng.make() },
    }
    Internal {
        |_| Self::Unit,
        |rng| Self::One { a: rng.make() },
        |rng| Self::Other { a: rng.make() },
    }
    Adjacent {
        |_| Self::Unit,
        |rng| Self::One(rng.make()),
        |rng| Self::Two(rng.make(), rng.make()),
        |rng| Self::Named { a: rng.make() },
    }
    Untagged {
        |rng| Self::One { a: rng.make() },
        |rng| Self::Other { a: rng.make() },
        |rng| Self::Number(rng.make()),
        |rng| Self::Text(rng.make()),
        |rng| Self::Name(rng.make()),
        |_| Self::Nothing,
        |_| Self::Unit(()),
        |rng| Self::List(rng.make()),
        |rng| Self::Pair(rng.make(), rng.make()),
    }
    HashedUntagged {
        |rng| Self::One { a: rng.make() },
        |rng| Self::Other { a: rng.make() },
        |rng| Self::Number(rng.make()),
        |rng| Self::Same(rng.make()),
    }
}

/// How many pairs are tried of one type.
fn pairs(of_types: usize) -> usize {
    let all: usize = std::env::var("CACHENESS_DIFFERENTIAL_PAIRS").map_or(20_000, |count| count.parse().unwrap());
    all.div_ceil(of_types)
}

/// A pair whose members are often equal.
fn pair<T: Make>(rng: &mut Rng) -> (T, T) {
    let seed = rng.next();
    let other = if rng.below(4) == 0 { seed } else { rng.next() };
    (Rng(seed).make(), Rng(other).make())
}

fn compare<T: Make + Debug>(count: usize, key: impl Fn(&T) -> Key) {
    let mut rng = Rng(std::any::type_name::<T>().len() as u64);
    let mut equal = 0;
    for _ in 0..count {
        let (one, other) = pair::<T>(&mut rng);
        let (seen, other_seen) = (format!("{one:?}"), format!("{other:?}"));
        let (same, same_key) = (seen == other_seen, key(&one) == key(&other));
        assert_eq!(same, same_key, "the key of\n{seen}\nand the key of\n{other_seen}");
        equal += usize::from(same);
    }
    assert!(equal * 10 > count && equal < count, "{equal} of {count} pairs are equal");
}

/// One argument of each type.
macro_rules! compare_all {
    ($count:expr; $($type:ty),+ $(,)?) => {
        $({
            #[cached(call = bound)]
            #[allow(dead_code, reason = "only the key is asked for")]
            fn function(value: &$type) -> u8 {
                let _ = value;
                0
            }

            compare::<$type>($count, |value| bound(value).key().unwrap());
        })+
    };
}

#[test]
fn arguments_share_a_key_exactly_if_no_body_can_tell_them_apart() {
    compare_all! { pairs(15);
        Derived,
        Widths,
        External,
        Internal,
        Adjacent,
        Untagged,
        HashedUntagged,
        LeavesOut,
        Flat,
        Orders,
        Unordered,
        (f64, Option<Option<()>>, Vec<f32>, [f64; 3]),
        (String, (Vec<String>, BTreeMap<String, String>)),
        Option<Vec<(Untagged2, u8)>>,
        (Vec<External>, Internal, Adjacent),
    }
}

/// With `CacheKey`, in containers that need it.
#[derive(Debug, Serialize, CacheKey)]
#[serde(untagged)]
enum Untagged2 {
    One { a: f64 },
    Other { a: f64 },
}

make_by_parts! { variants: Untagged2 { |rng| Self::One { a: rng.make() }, |rng| Self::Other { a: rng.make() } } }

#[test]
fn calls_share_a_key_exactly_if_all_arguments_are_the_same() {
    #[cached(call = several_call)]
    fn several(a: &str, b: &str, c: Option<f64>, d: &[u8], e: External) -> u8 {
        let _ = (a, b, c, d, e);
        0
    }

    #[cached(call = defaults_call, include_defaults = false)]
    fn defaults(a: f64, b: &str, c: Option<u8>, d: String, e: bool) -> u8 {
        let _ = (a, b, c, d, e);
        0
    }

    #[cached(call = chosen_call, key = (a, c), key_prefix = "p")]
    fn chosen(a: &External, b: u8, c: &LeavesOut) -> u8 {
        let _ = (a, b, c);
        0
    }

    let _ = (several, defaults, chosen);
    compare::<((String, String), Option<f64>, Vec<u8>, External)>(pairs(3), |((a, b), c, d, e)| {
        let e = match e {
            External::Unit => External::Unit,
            External::One(n) => External::One(*n),
            External::Two(n, text) => External::Two(*n, text.clone()),
            External::Named { a, b } => External::Named { a: *a, b: *b },
            External::Other { a, b } => External::Other { a: *a, b: *b },
        };
        several_call(a, b, *c, d, e).key().unwrap()
    });
    compare::<((f64, String), Option<u8>, String, bool)>(pairs(3), |((a, b), c, d, e)| {
        defaults_call(*a, b, *c, d.clone(), *e).key().unwrap()
    });
    compare::<(External, LeavesOut)>(pairs(3), |(a, c)| chosen_call(a, 0, c).key().unwrap());
}

/// A path that is seen by what lies there.
#[derive(Serialize)]
struct Lying {
    path: PathBuf,
    also: Option<Vec<PathBuf>>,
}

impl Debug for Lying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seen = |path: &PathBuf| match fs::read(path) {
            Ok(bytes) => format!("{bytes:?}"),
            Err(_) => format!("{}", path.is_dir()),
        };
        let also = self.also.as_ref().map(|also| also.iter().map(seen).collect::<Vec<_>>());
        f.debug_tuple("Lying").field(&seen(&self.path)).field(&also).finish()
    }
}

fn places() -> PathBuf {
    std::env::temp_dir().join(format!("cacheness-differential-{}", std::process::id()))
}

impl Make for PathBuf {
    fn make(rng: &mut Rng) -> Self {
        places().join(rng.one_of(&["empty", "a", "a again", "b", "directory", "missing", "also missing"]))
    }
}

make_by_parts! { Lying { path, also } }

#[test]
fn paths_share_a_key_exactly_if_the_same_lies_there() {
    let places = places();
    fs::create_dir_all(places.join("directory")).unwrap();
    for (name, content) in [("empty", ""), ("a", "a"), ("a again", "a"), ("b", "b")] {
        fs::write(places.join(name), content).unwrap();
    }
    compare_all! { pairs(10); Lying, (PathBuf2, Option<PathBuf2>) }
    fs::remove_dir_all(places).unwrap();
}

/// Seen as [`Lying`].
#[derive(CacheKey)]
struct PathBuf2(PathBuf);

impl Debug for PathBuf2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Lying { path: self.0.clone(), also: None }.fmt(f)
    }
}

impl Make for PathBuf2 {
    fn make(rng: &mut Rng) -> Self {
        Self(rng.make())
    }
}
