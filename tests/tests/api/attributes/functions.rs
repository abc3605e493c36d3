//! What kinds of functions the attribute works on.

use std::marker::PhantomData;
use std::sync::Arc;

use cacheness::{CacheKey, cached};
use serde::{Deserialize, Serialize};

use super::Runs;

#[test]
fn a_free_function_with_equal_arguments_runs_once() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn length(text: &str, times: usize) -> usize {
        RUNS.count();
        text.len() * times
    }

    assert_eq!([length("abc", 2), length("abc", 2), length(&String::from("abc"), 2)], [6, 6, 6]);
    assert_eq!(RUNS.so_far(), 1);
    assert_eq!([length("ab", 3), length("abc", 3)], [6, 9]);
    assert_eq!(RUNS.so_far(), 3);
}

#[test]
fn a_function_without_arguments_and_without_result() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn prepare() {
        RUNS.count();
    }

    prepare();
    prepare();
    assert_eq!(RUNS.so_far(), 1);
}

#[derive(Serialize)]
struct Repo<T> {
    tenant: u32,
    #[serde(skip)]
    of: PhantomData<T>,
}

static LOADS: Runs = Runs::new();

impl<T: Default + 'static> Repo<T> {
    fn of(tenant: u32) -> Self {
        Self { tenant, of: PhantomData }
    }

    #[cached]
    fn load<const N: usize>(&self, id: u32) -> Vec<u32> {
        LOADS.count();
        vec![self.tenant * id + u32::try_from(size_of::<T>()).unwrap(); N]
    }
}

#[test]
fn a_method_of_a_generic_type_is_keyed_by_self_types_and_consts() {
    super::in_memory_by_default();
    let repo = Repo::<u8>::of(7);
    assert_eq!([repo.load::<2>(3), repo.load::<2>(3)], [[22, 22], [22, 22]]);
    assert_eq!(LOADS.so_far(), 1);
    assert_eq!(repo.load::<1>(3), [22], "another const argument");
    assert_eq!(Repo::<u16>::of(7).load::<2>(3), [23, 23], "another type argument");
    assert_eq!(Repo::<u8>::of(8).load::<2>(3), [25, 25], "another self");
    assert_eq!(LOADS.so_far(), 4);
    assert_eq!(cacheness::function(Repo::<u8>::load::<2>).info().unwrap().entries, 2);
}

trait Shape {
    fn area(&self) -> u64;

    #[cached(skip(self))]
    fn sides(&self) -> u32
    where
        Self: Sized,
    {
        SIDES.count();
        4
    }
}

static AREAS: Runs = Runs::new();
static SIDES: Runs = Runs::new();

#[derive(Serialize, Clone, Copy)]
struct Square(u64);

#[derive(Serialize)]
struct Field(u64);

impl Shape for Square {
    #[cached]
    fn area(&self) -> u64 {
        AREAS.count();
        self.0 * self.0
    }
}

impl Shape for Field {
    #[cached]
    fn area(&self) -> u64 {
        AREAS.count();
        self.0
    }
}

#[test]
fn trait_methods_are_kept_apart_by_their_type() {
    super::in_memory_by_default();
    assert_eq!([Square(3).area(), Square(3).area(), Field(3).area()], [9, 9, 3]);
    assert_eq!(AREAS.so_far(), 2);
}

#[test]
fn a_default_method_of_a_trait() {
    super::in_memory_by_default();
    assert_eq!([Square(1).sides(), Square(2).sides(), Field(1).sides()], [4, 4, 4]);
    assert_eq!(SIDES.so_far(), 2, "one run for each implementing type");
}

static RECEIVERS: Runs = Runs::new();

impl Square {
    #[cached]
    fn by_value(self, n: u64) -> u64 {
        RECEIVERS.count();
        self.0 + n
    }

    #[cached(key(self.0))]
    fn by_arc(self: Arc<Self>) -> Self2 {
        RECEIVERS.count();
        Self2(self.0)
    }

    #[cached]
    fn associated(n: u64) -> u64 {
        RECEIVERS.count();
        Self(n).0
    }

    #[cached(skip(self))]
    fn changing(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

impl CacheKey for Self2 {
    fn encode(&self, w: &mut cacheness::key::KeyWriter) {
        self.0.encode(w);
    }
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Self2(u64);

#[test]
fn every_kind_of_receiver() {
    super::in_memory_by_default();
    assert_eq!([Square(1).by_value(2), Square(1).by_value(2)], [3, 3]);
    let square = Arc::new(Square(5));
    assert_eq!([square.clone().by_arc(), square.by_arc()], [Self2(5), Self2(5)]);
    assert_eq!([Square::associated(9), Square::associated(9)], [9, 9]);
    assert_eq!(RECEIVERS.so_far(), 3);
    let mut square = Square(1);
    assert_eq!([square.changing(), square.changing(), square.0], [2, 2, 2]);
}

#[test]
fn recursion() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn fib(n: u32) -> u64 {
        RUNS.count();
        if n < 2 { n.into() } else { fib(n - 1) + fib(n - 2) }
    }

    assert_eq!(fib(80), 23_416_728_348_467_685);
    assert_eq!(RUNS.so_far(), 81);
}

macro_rules! define {
    ($name:ident, $arg:ident: $ty:ty, $ttl:expr, $body:expr) => {
        #[cached(ttl = $ttl, prefix = "from a macro")]
        fn $name($arg: $ty, other: $ty) -> $ty {
            COUNTED.count();
            let w = other;
            $body + w
        }
    };
}

static COUNTED: Runs = Runs::new();

define!(sum, w: u64, 60 * 60, w);

#[test]
fn a_function_made_by_a_macro_whose_names_are_also_those_of_the_expansion() {
    super::in_memory_by_default();
    assert_eq!([sum(1, 2), sum(1, 2), sum(2, 1)], [3, 3, 3]);
    assert_eq!(COUNTED.so_far(), 2);
}

#[test]
fn raw_identifiers() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached(skip(r#match), include_defaults = false, metadata(r#type = r#type))]
    fn r#loop(r#type: u32, r#match: u32) -> u32 {
        RUNS.count();
        r#type + r#match
    }

    assert_eq!([r#loop(1, 2), r#loop(1, 3)], [3, 3]);
    assert_eq!(RUNS.so_far(), 1);
    assert_eq!(cacheness::function(r#loop).info().unwrap().entries, 1);
}

#[test]
fn early_returns_and_question_marks() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached]
    fn parse(text: &str) -> Result<i32, std::num::ParseIntError> {
        RUNS.count();
        if text.is_empty() {
            return Ok(0);
        }
        let number: i32 = text.parse()?;
        Ok(number + 1)
    }

    assert_eq!([parse(""), parse(""), parse("3"), parse("3")], [Ok(0), Ok(0), Ok(4), Ok(4)]);
    assert_eq!(RUNS.so_far(), 2);
    assert!(parse("x").is_err());
}

#[test]
fn inner_attributes_and_unsafe_functions() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    /// # Safety
    /// None needed.
    #[cached]
    #[allow(unsafe_code)]
    unsafe fn risky(n: u32) -> u32 {
        #![allow(unused_variables)]
        let unused = RUNS.count();
        n
    }

    #[allow(unsafe_code)]
    let both = unsafe { [risky(3), risky(3)] };
    assert_eq!(both, [3, 3]);
    assert_eq!(RUNS.so_far(), 1);
}

mod one {
    #[cacheness::cached]
    pub(super) fn name() -> String {
        "one".to_owned()
    }
}

mod two {
    #[cacheness::cached]
    pub(super) fn name() -> String {
        "two".to_owned()
    }
}

#[test]
fn functions_of_one_name_in_two_modules_never_share() {
    super::in_memory_by_default();
    assert_eq!([one::name(), two::name(), one::name(), two::name()], ["one", "two", "one", "two"]);
    assert_eq!(cacheness::function(one::name).info().unwrap().hits, 1);
}
