//! What the derive makes of types.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{HashMap, HashSet};
use std::marker::PhantomData;

use cacheness::key::{KeyFields, KeyWriter, ToKey};
use cacheness::{CacheKey, Key};

fn key(value: impl ToKey) -> Key {
    value.to_key().unwrap()
}

fn all_distinct(keys: &[Key]) -> bool {
    keys.iter().collect::<HashSet<_>>().len() == keys.len()
}

#[derive(CacheKey)]
struct Point {
    x: f64,
    y: f64,
}

#[derive(CacheKey)]
struct Swapped {
    x: f64,
    y: f64,
}

#[derive(CacheKey)]
struct Pair(f64, f64);

#[derive(CacheKey)]
struct Unit;

#[derive(CacheKey)]
struct Braces {}

#[derive(CacheKey)]
struct Parentheses();

mod elsewhere {
    #[derive(cacheness::CacheKey)]
    pub(super) struct Point {
        pub(super) x: f64,
        pub(super) y: f64,
    }
}

#[test]
fn types_with_the_same_fields_have_different_keys() {
    assert!(all_distinct(&[
        key(Point { x: 1.0, y: 2.0 }),
        key(Point { x: 2.0, y: 1.0 }),
        key(Swapped { x: 1.0, y: 2.0 }),
        key(elsewhere::Point { x: 1.0, y: 2.0 }),
        key(Pair(1.0, 2.0)),
        key((1.0, 2.0)),
        key([1.0, 2.0]),
        key(Unit),
        key(Braces {}),
        key(Parentheses()),
        key(()),
    ]));
}

#[derive(CacheKey)]
enum Shape {
    Nothing,
    Empty {},
    Circle(f64),
    Square(f64),
    Box { width: f64, height: f64 },
    Frame { width: f64, height: f64 },
    Nested(Box<Shape>),
}

#[test]
fn variants_have_different_keys() {
    assert!(all_distinct(&[
        key(Shape::Nothing),
        key(Shape::Empty {}),
        key(Shape::Circle(1.0)),
        key(Shape::Square(1.0)),
        key(Shape::Square(2.0)),
        key(Shape::Box { width: 1.0, height: 2.0 }),
        key(Shape::Box { width: 2.0, height: 1.0 }),
        key(Shape::Frame { width: 1.0, height: 2.0 }),
        key(Shape::Nested(Box::new(Shape::Nothing))),
        key(Shape::Nested(Box::new(Shape::Circle(1.0)))),
    ]));
}

#[test]
fn a_derived_key_is_the_record_of_its_path_and_fields() {
    let mut writer = KeyWriter::new();
    writer.record("cache_key::Point", None, KeyFields::Named(2), |writer| {
        writer.field("x", &1.0);
        writer.field("y", &2.0);
    });
    assert_eq!(writer.finish().resolve().unwrap(), key(Point { x: 1.0, y: 2.0 }));
}

#[derive(CacheKey)]
struct Query {
    city: &'static str,
    #[cache_key(skip)]
    #[allow(dead_code, reason = "its value must not matter")]
    connection: Option<std::thread::Thread>,
    r#type: u8,
}

#[derive(CacheKey)]
struct Positions(
    #[cache_key(skip)]
    #[allow(dead_code, reason = "its value must not matter")]
    u8,
    u8,
);

#[test]
fn skipped_fields_do_not_count_and_need_no_key() {
    let query = |connection, r#type| key(Query { city: "London", connection, r#type });
    assert_eq!(query(None, 1), query(Some(std::thread::current()), 1));
    assert_ne!(query(None, 1), query(None, 2));
    assert_eq!(key(Positions(1, 2)), key(Positions(3, 2)));
    assert_ne!(key(Positions(1, 2)), key(Positions(1, 3)));
}

#[derive(CacheKey)]
struct Tree<T> {
    value: T,
    children: Vec<Tree<T>>,
}

#[derive(CacheKey)]
struct Borrowed<'a, T: ?Sized, const N: usize> {
    value: &'a T,
    list: [u8; N],
}

#[derive(CacheKey)]
struct First<I: Iterator>
where
    I::Item: Clone,
{
    first: Option<I::Item>,
}

struct NotAKey;

#[derive(CacheKey)]
struct Id<T>(u64, PhantomData<T>);

#[derive(CacheKey)]
struct Grid<const N: usize>;

#[derive(CacheKey)]
struct Table<const N: usize> {
    name: &'static str,
}

#[test]
fn generic_types_have_keys() {
    let leaf = |value| Tree { value, children: vec![] };
    assert_ne!(key(Tree { value: 1, children: vec![leaf(2)] }), key(Tree { value: 1, children: vec![leaf(3)] }));
    assert_ne!(key(Borrowed { value: "a", list: [1] }), key(Borrowed { value: "a", list: [1, 2] }));
    assert_eq!(
        key(First::<std::ops::Range<u8>> { first: Some(1) }),
        key(First::<std::vec::IntoIter<u8>> { first: Some(1) })
    );
}

#[test]
fn marker_types_and_const_parameters_are_part_of_the_key() {
    assert_ne!(key(Id::<NotAKey>(1, PhantomData)), key(Id::<Unit>(1, PhantomData)));
    assert_ne!(key(Grid::<1>), key(Grid::<2>));
    assert_ne!(key(Table::<1> { name: "a" }), key(Table::<2> { name: "a" }));
}

#[test]
fn derived_types_are_keys_of_maps() {
    let map: HashMap<&str, Point> = [("a", Point { x: 0.0, y: 1.0 }), ("b", Point { x: 2.0, y: 0.0 })].into();
    let same: HashMap<&str, Point> = [("b", Point { x: 2.0, y: 0.0 }), ("a", Point { x: 0.0, y: 1.0 })].into();
    assert_eq!(key(map), key(same));
}

mod renamed {
    pub(super) mod engine {
        pub(crate) use ::cacheness::*;
    }

    #[derive(cacheness::CacheKey)]
    #[cache_key(crate = self::engine)]
    pub(super) struct Unit;
}

#[test]
fn the_crate_may_have_another_name() {
    assert_ne!(key(renamed::Unit), key(Unit));
}

#[derive(CacheKey)]
#[allow(dead_code, reason = "it has no values")]
enum Never {}

#[test]
fn an_enum_without_variants_has_a_key_that_nobody_asks_for() {
    assert_ne!(key(None::<Never>), key(Some(())));
}

/// Names of the prelude that mean something else here: the expansion must not care.
mod hostile {
    #![allow(nonstandard_style, dead_code, unused_macros)]

    pub(super) struct Option;
    pub(super) struct CacheKey;
    pub(super) struct KeyWriter;
    pub(super) struct u8;
    pub(super) struct usize;
    fn None() {}
    fn Some() {}
    const field_0: () = ();
    const writer: () = ();
    mod core {}
    mod std {}
    mod cacheness {}
    macro_rules! concat {
        () => {};
    }
    macro_rules! module_path {
        () => {};
    }

    #[derive(::cacheness::CacheKey)]
    pub(super) enum Word {
        None,
        Some(bool, char),
        Ok { writer: bool, field_0: char },
    }
}

#[test]
fn the_expansion_does_not_depend_on_names_around_it() {
    assert!(all_distinct(&[
        key(hostile::Word::None),
        key(hostile::Word::Some(true, 'a')),
        key(hostile::Word::Ok { writer: true, field_0: 'a' }),
    ]));
}
