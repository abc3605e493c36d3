//! Arguments that are only `Serialize`: what tells them apart beside what serde shows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use cacheness::{CacheKey, cached};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Runs, in_memory_by_default};

/// A map that keeps the order of insertion, as `IndexMap` does.
#[derive(Clone, Debug)]
struct InOrder(Vec<(String, u8)>);

impl InOrder {
    fn of(names: &[&str]) -> Self {
        Self(names.iter().map(|name| ((*name).to_owned(), 1)).collect())
    }
}

impl Serialize for InOrder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

#[test]
fn the_order_of_a_map_that_has_one_counts() {
    in_memory_by_default();

    #[derive(Serialize)]
    struct Query {
        columns: InOrder,
        #[serde(flatten)]
        rest: InOrder,
    }

    #[cached]
    fn first(columns: InOrder) -> String {
        columns.0[0].0.clone()
    }

    #[cached]
    fn firsts(query: &Query) -> (String, String) {
        (query.columns.0[0].0.clone(), query.rest.0[0].0.clone())
    }

    let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    let query = |columns: &[&str], rest: &[&str]| Query { columns: InOrder::of(columns), rest: InOrder::of(rest) };
    assert_eq!((first(InOrder::of(&["a", "b"])), first(InOrder::of(&["b", "a"]))), pair("a", "b"));
    assert_eq!(firsts(&query(&["a", "b"], &["x", "y"])), pair("a", "x"));
    assert_eq!(firsts(&query(&["b", "a"], &["x", "y"])), pair("b", "x"));
    assert_eq!(firsts(&query(&["a", "b"], &["y", "x"])), pair("a", "y"));
}

#[test]
fn hash_maps_and_sets_inside_of_an_argument_are_found_again_whatever_their_order() {
    in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[derive(Serialize)]
    struct Query<'a> {
        words: HashSet<String>,
        counts: Option<Vec<HashMap<u32, String>>>,
        shared: &'a HashMap<String, HashSet<u32>>,
    }

    #[cached]
    fn ask(query: &Query<'_>) -> usize {
        RUNS.count();
        query.words.len()
    }

    // Each map and set has hash keys of its own, as in another process.
    for _ in 0..4 {
        let shared = HashMap::from([("a".to_owned(), (0..20).collect()), ("b".to_owned(), (5..30).collect())]);
        let counts = (0..50).map(|n| (n, n.to_string())).collect();
        let words = (0..50).map(|n| n.to_string()).collect();
        assert_eq!(ask(&Query { words, counts: Some(vec![counts]), shared: &shared }), 50);
    }
    assert_eq!(RUNS.so_far(), 1);
}

#[test]
fn variants_of_an_untagged_enum_with_equal_fields_are_told_apart() {
    in_memory_by_default();

    #[derive(Serialize)]
    #[serde(untagged)]
    enum Length {
        Metres { value: f64 },
        Feet { value: f64 },
    }

    #[derive(Clone, Serialize, Hash)]
    #[serde(untagged)]
    enum Id {
        User(u32),
        Order(u32),
    }

    #[derive(Serialize, Hash)]
    struct Request {
        ids: Vec<Id>,
    }

    fn name(length: &Length) -> &'static str {
        match length {
            Length::Metres { .. } => "metres",
            Length::Feet { .. } => "feet",
        }
    }

    #[cached]
    fn by_value(length: Length) -> String {
        name(&length).to_owned()
    }

    #[cached]
    fn by_reference(length: &Length) -> String {
        name(length).to_owned()
    }

    #[cached(key(length))]
    async fn by_expression(length: Length) -> String {
        name(&length).to_owned()
    }

    #[cached]
    fn users(request: &Request) -> usize {
        request.ids.iter().filter(|id| matches!(id, Id::User(_))).count()
    }

    for (length, expected) in [
        (|| Length::Metres { value: 1.0 }) as fn() -> Length,
        || Length::Feet { value: 1.0 },
        || Length::Metres { value: 1.0 },
    ]
    .into_iter()
    .zip(["metres", "feet", "metres"])
    {
        assert_eq!(by_value(length()), expected);
        assert_eq!(by_reference(&length()), expected);
        assert_eq!(super::block_on(by_expression(length())), expected);
    }
    for (ids, expected) in [
        (vec![Id::User(1), Id::Order(1)], 1),
        (vec![Id::User(1), Id::User(1)], 2),
        (vec![Id::Order(1), Id::Order(1)], 0),
    ] {
        assert_eq!(users(&Request { ids }), expected);
    }
}

#[test]
fn what_serde_leaves_out_counts_where_the_type_implements_hash_or_cache_key() {
    in_memory_by_default();

    fn is_small(n: &u32) -> bool {
        *n < 10
    }

    fn tens<S: Serializer>(n: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(n / 10)
    }

    #[derive(Serialize, Hash)]
    struct Hashed {
        #[serde(skip)]
        skipped: u32,
        #[serde(skip_serializing_if = "is_small")]
        small: u32,
        #[serde(serialize_with = "tens")]
        tens: u32,
    }

    #[derive(Serialize, CacheKey)]
    struct Derived {
        #[serde(skip)]
        skipped: u32,
    }

    #[cached]
    fn sum(hashed: &Hashed) -> u32 {
        hashed.skipped + hashed.small + hashed.tens
    }

    #[cached]
    fn generic<T: Serialize + std::hash::Hash + AsRef<[u32]>>(hashed: T) -> u32 {
        hashed.as_ref().iter().sum()
    }

    #[cached(key = (derived, other))]
    fn beside(derived: &Derived, other: &Foreign) -> u32 {
        derived.skipped + other.0.len() as u32
    }

    #[derive(Serialize, Hash)]
    struct Skipping(#[serde(skip)] [u32; 1]);

    impl AsRef<[u32]> for Skipping {
        fn as_ref(&self) -> &[u32] {
            &self.0
        }
    }

    /// Not `CacheKey`, so that the tuple is not.
    #[derive(Serialize)]
    struct Foreign(BTreeMap<String, u32>);

    for n in 1..5 {
        assert_eq!(sum(&Hashed { skipped: n, small: 0, tens: 0 }), n);
        assert_eq!(sum(&Hashed { skipped: 0, small: n, tens: 10 }), n + 10);
        assert_eq!(sum(&Hashed { skipped: 0, small: 100, tens: n }), n + 100);
        assert_eq!(generic(Skipping([n])), n);
        assert_eq!(beside(&Derived { skipped: n }, &Foreign(BTreeMap::new())), n);
    }
}

#[test]
fn a_path_inside_of_an_argument_counts_by_its_content() {
    in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[derive(Serialize)]
    struct Job<'a> {
        input: PathBuf,
        more: Option<Box<Path>>,
        by_name: HashMap<&'a str, &'a Path>,
        #[serde(flatten)]
        nested: Nested,
    }

    #[derive(Serialize)]
    struct Nested {
        last: Vec<PathBuf>,
    }

    #[cached]
    fn read(job: &Job<'_>) -> String {
        RUNS.count();
        let all = [&*job.input, job.more.as_deref().unwrap(), job.by_name["file"], &job.nested.last[0]];
        all.map(|path| fs::read_to_string(path).unwrap()).concat()
    }

    let dir = tempfile::tempdir().unwrap();
    let file = |n: usize| dir.path().join(n.to_string());
    (0..4).for_each(|n| fs::write(file(n), n.to_string()).unwrap());
    let by_name = file(2);
    let job = || Job {
        input: file(0),
        more: Some(file(1).into()),
        by_name: HashMap::from([("file", &*by_name)]),
        nested: Nested { last: vec![file(3)] },
    };
    assert_eq!((read(&job()).as_str(), read(&job()).as_str(), RUNS.so_far()), ("0123", "0123", 1));
    for (n, expected) in ["x123", "xx23", "xxx3", "xxxx"].into_iter().enumerate() {
        fs::write(file(n), "x").unwrap();
        assert_eq!(read(&job()), expected);
    }
    assert_eq!(RUNS.so_far(), 5);
}

#[test]
fn negative_zero_is_no_default_and_no_zero() {
    in_memory_by_default();

    #[cached]
    fn inverse(x: f64) -> f64 {
        1.0 / x
    }

    #[cached(include_defaults = false)]
    fn optional(x: f64, scale: f32) -> f64 {
        f64::from(scale) / x
    }

    assert_eq!([inverse(0.0), inverse(-0.0)], [f64::INFINITY, -f64::INFINITY]);
    assert_eq!([optional(0.0, 1.0), optional(-0.0, 1.0)], [f64::INFINITY, -f64::INFINITY]);
    assert_eq!([optional(1.0, 0.0), optional(1.0, -0.0)].map(f64::is_sign_negative), [false, true]);
}
