//! What arguments the attribute works on.

use std::collections::BTreeMap;

use cacheness::key::KeyWriter;
use cacheness::{Cache, CacheKey, cached};
use serde::Serialize;

use super::Runs;

#[derive(Clone, Copy)]
struct Point {
    x: i32,
    y: i32,
}

impl CacheKey for Point {
    fn encode(&self, w: &mut KeyWriter) {
        (self.x, self.y).encode(w);
    }
}

#[test]
fn patterns_and_wildcards_are_part_of_the_key() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn sum((a, mut b): (i32, i32), Point { x, .. }: Point, _: u8, [first, ..]: [i32; 3], ref r: u8) -> i32 {
        RUNS.count();
        b += 1;
        a + b + x + first + i32::from(*r)
    }

    let p = Point { x: 3, y: 4 };
    assert_eq!([sum((1, 2), p, 0, [5, 0, 0], 7), sum((1, 2), p, 0, [5, 0, 0], 7)], [19, 19]);
    assert_eq!(RUNS.so_far(), 1);
    sum((1, 2), Point { y: 0, ..p }, 0, [5, 0, 0], 7);
    sum((1, 2), p, 1, [5, 0, 0], 7);
    sum((1, 2), p, 0, [5, 0, 1], 7);
    assert_eq!(RUNS.so_far(), 4, "parts that no name is bound to count too");
}

#[test]
fn a_key_may_use_the_names_of_a_pattern() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached(key(a), ttl = std::time::Duration::from_secs(b))]
    fn first((a, b): (u8, u64)) -> u64 {
        RUNS.count();
        u64::from(a) + b
    }

    assert_eq!([first((1, 2)), first((1, 3)), first((2, 3))], [3, 3, 5]);
    assert_eq!(RUNS.so_far(), 2);
}

#[test]
fn thirteen_arguments() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    #[allow(clippy::too_many_arguments)]
    fn many(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8, m: u8) -> u8 {
        RUNS.count();
        a + b + c + d + e + f + g + h + i + j + k + l + m
    }

    assert_eq!(many(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13), 91);
    assert_eq!(many(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13), 91);
    assert_eq!(many(2, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13), 91);
    assert_eq!(RUNS.so_far(), 2);
}

#[test]
fn arguments_that_are_changed_moved_and_not_clone() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[derive(Serialize)]
    struct Once(Vec<u8>);

    #[cached]
    fn grow(mut list: Vec<u8>, once: Once) -> Vec<u8> {
        RUNS.count();
        list.extend(once.0);
        list
    }

    assert_eq!([grow(vec![1], Once(vec![2])), grow(vec![1], Once(vec![2]))], [[1, 2], [1, 2]]);
    assert_eq!(RUNS.so_far(), 1);
}

#[test]
fn borrowed_optional_and_unsized_arguments() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn total<'a>(name: Option<&'a str>, parts: &'a [u32], map: &BTreeMap<String, u32>, raw: Box<str>) -> u32 {
        RUNS.count();
        let sum: u32 = parts.iter().sum();
        name.map_or(0, |name| name.len() as u32) + sum + map.len() as u32 + raw.len() as u32
    }

    let map = BTreeMap::from([("a".to_owned(), 1)]);
    assert_eq!(total(Some("ab"), &[1, 2], &map, "x".into()), 7);
    assert_eq!(total(Some("ab"), &[1, 2], &map, "x".into()), 7);
    assert_eq!(RUNS.so_far(), 1);
    assert_eq!(total(None, &[1, 2], &map, "x".into()), 5);
    assert_eq!(RUNS.so_far(), 2);
}

#[test]
fn generic_arguments_need_one_of_two_traits() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn keyed<T: CacheKey>(value: T) -> usize {
        RUNS.count();
        size_of_val(&value)
    }

    #[cached]
    fn serialized<T: Serialize + ?Sized>(value: &T) -> usize {
        RUNS.count();
        size_of_val(value)
    }

    #[cached]
    fn anonymous(value: impl Serialize + Copy, text: impl AsRef<str> + CacheKey) -> usize {
        RUNS.count();
        size_of_val(&value) + text.as_ref().len()
    }

    assert_eq!([keyed(1u8), keyed(1u8), keyed(1u16)], [1, 1, 2]);
    assert_eq!([serialized("ab"), serialized("ab"), serialized(&7u32)], [2, 2, 4]);
    assert_eq!([anonymous(1u8, "x"), anonymous(1u8, "x"), anonymous(1u32, "x")], [2, 2, 5]);
    assert_eq!(RUNS.so_far(), 6);
}

#[test]
fn a_type_with_both_traits_is_keyed_by_cache_key() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[derive(Serialize)]
    struct Both {
        id: u32,
        note: &'static str,
    }

    impl CacheKey for Both {
        fn encode(&self, w: &mut KeyWriter) {
            self.id.encode(w);
        }
    }

    #[cached]
    fn id(both: &Both) -> u32 {
        RUNS.count();
        both.id
    }

    assert_eq!([id(&Both { id: 1, note: "a" }), id(&Both { id: 1, note: "b" })], [1, 1]);
    assert_eq!(RUNS.so_far(), 1);
}

#[test]
fn arguments_under_a_cfg_and_with_attributes() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn present(
        #[cfg(test)] a: u8,
        #[cfg(not(test))] a: NoSuchType,
        #[allow(unused_variables)] b: u8,
        #[cfg(test)] (c, _): (u8, u8),
    ) -> u8 {
        RUNS.count();
        a + c
    }

    #[cached]
    fn absent(#[cfg(not(test))] a: NoSuchType) -> u32 {
        RUNS.count()
    }

    assert_eq!([present(1, 2, (3, 4)), present(1, 2, (3, 4))], [4, 4]);
    present(1, 3, (3, 4));
    assert_eq!(RUNS.so_far(), 2);
    assert_eq!([absent(), absent()], [3, 3]);
}

#[test]
fn names_that_the_expansion_uses_itself() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached(skip(cache), cache = cache, ttl = call, metadata(extras = extras))]
    fn taken(w: u32, call: std::time::Duration, cache: &Cache, extras: u32, key: u8, value: u8) -> u32 {
        RUNS.count();
        let _ = cache;
        w + extras + u32::from(key + value) + call.subsec_millis()
    }

    let (cache, time) = (Cache::in_memory(), std::time::Duration::from_secs(60));
    assert_eq!([taken(1, time, &cache, 2, 3, 4), taken(1, time, &cache, 2, 3, 4)], [10, 10]);
    assert_eq!(RUNS.so_far(), 1);
}
