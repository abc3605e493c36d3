//! Functions of one name in the blocks and closures of one function.

use cacheness::{Cache, cached, function};

use super::{Runs, block_on};

#[test]
fn functions_of_one_name_in_two_blocks_do_not_share_results() {
    super::in_memory_by_default();
    let first = {
        #[cached]
        fn inner(n: u32) -> u32 {
            n + 1
        }
        (inner(1), std::any::type_name_of_val(&inner))
    };
    let second = {
        #[cached]
        fn inner(n: u32) -> u32 {
            n + 2
        }
        assert_eq!(function(inner).info().unwrap().entries, 1, "one name for both in listings");
        assert_eq!((inner(1), inner(1)), (3, 3));
        let info = function(inner).info().unwrap();
        assert_eq!((info.hits, info.entries), (1, 2));
        assert_eq!(function(inner).clear().unwrap(), 2, "`clear` still finds them by name");
        (inner(1), std::any::type_name_of_val(&inner))
    };
    assert_eq!((first.0, second.0), (2, 3));
    assert_eq!(first.1, second.1, "or this test is about nothing");
}

#[test]
fn functions_of_one_name_in_two_closures_do_not_share_results() {
    super::in_memory_by_default();
    let first = || {
        #[cached(call = inner_call)]
        async fn inner(n: u32) -> u32 {
            n + 1
        }
        (block_on(inner(1)), inner_call(1))
    };
    let second = || {
        #[cached(call = inner_call)]
        async fn inner(n: u32) -> u64 {
            u64::from(n) + 1
        }
        (block_on(inner(1)), inner_call(1))
    };
    let (first, second) = (first(), second());
    assert_eq!((first.0, second.0), (2, 2));
    assert_eq!(first.1.peek().unwrap(), Some(2), "the bound call has the key of its function");
    assert_eq!(second.1.peek().unwrap(), Some(2));
    assert_ne!(first.1.key().unwrap(), second.1.key().unwrap());
}

static IN_METHODS: Runs = Runs::new();

struct Plain;
struct Doubled;

trait Made {
    fn made(n: u32) -> u32;
}

impl Made for Plain {
    fn made(n: u32) -> u32 {
        #[cached]
        fn inner(n: u32) -> u32 {
            IN_METHODS.count();
            n
        }
        let plain = inner(n);
        {
            #[cached]
            fn inner(n: u32) -> u32 {
                IN_METHODS.count();
                n * 3
            }
            plain + inner(n)
        }
    }
}

impl Made for Doubled {
    #[cached]
    fn made(n: u32) -> u32 {
        Plain::made(n) * 2
    }
}

#[test]
fn functions_in_methods_of_traits_are_nested_too() {
    super::in_memory_by_default();
    assert_eq!([Plain::made(5), Plain::made(5), Doubled::made(5), Doubled::made(5)], [20, 20, 40, 40]);
    assert_eq!(IN_METHODS.so_far(), 2, "and both are cached");
}

macro_rules! twin {
    ($runs:ident, $add:expr, $($option:tt)*) => {{
        const ADD: u32 = $add;
        #[cached($($option)*)]
        fn twin(n: u32) -> u32 {
            $runs.count();
            n + ADD
        }
        twin
    }};
}

#[test]
fn twins_that_nothing_tells_apart_run_uncached() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();
    let (first, second) = (twin!(RUNS, 1,), twin!(RUNS, 2,));
    assert_eq!([first(1), first(1)], [2, 2]);
    assert_eq!(RUNS.so_far(), 1, "cached as long as it is alone");
    assert_eq!([second(1), second(1), first(1), second(1)], [3, 3, 2, 3]);
    assert_eq!(RUNS.so_far(), 5);
    assert_eq!(function(second).info().unwrap().entries, 1, "nothing more was stored");
}

#[test]
fn twins_with_prefixes_are_cached() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();
    let (first, second) = (twin!(RUNS, 1, prefix = "first"), twin!(RUNS, 2, prefix = "second"));
    assert_eq!([first(1), second(1), first(1), second(1)], [2, 3, 2, 3]);
    assert_eq!(RUNS.so_far(), 2);
}

static STRICT: std::sync::LazyLock<Cache> = std::sync::LazyLock::new(Cache::in_memory);

#[test]
fn a_strict_twin_returns_the_error_with_the_remedy() {
    fn twins() -> [fn(u32) -> cacheness::Result<u32>; 2] {
        [
            {
                #[cached(ignore_errors = false, cache = STRICT)]
                fn strict(n: u32) -> cacheness::Result<u32> {
                    Ok(n)
                }
                strict
            },
            {
                #[cached(ignore_errors = false, cache = STRICT)]
                fn strict(n: u32) -> cacheness::Result<u32> {
                    Ok(n)
                }
                strict
            },
        ]
    }
    let [first, second] = twins();
    assert_eq!(first(1).unwrap(), 1);
    for twin in [second, first] {
        let error = twin(1).unwrap_err();
        assert!(error.is_conflict(), "{error}");
        assert!(error.to_string().contains("twins::strict") && error.to_string().contains("prefix ="), "{error}");
    }
}

/// One attribute, however many types and threads there are.
#[test]
fn types_and_threads_of_one_function_are_no_twins() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached(skip(_of))]
    fn size<T: 'static>(_of: &T) -> usize {
        RUNS.count();
        size_of::<T>()
    }

    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!([size(&1_u8), size(&1_u16), size(&1_u8)], [1, 2, 1]));
        }
    });
    assert_eq!(RUNS.so_far(), 2);
}

struct Named<const N: usize>;

impl<const N: usize> Named<N> {
    const PREFIX: &str = ["a", "b"][N];

    #[cached(prefix = Self::PREFIX)]
    fn prefixed(n: u32) -> u32 {
        n + u32::try_from(N).unwrap()
    }
}

#[test]
fn a_prefix_may_depend_on_the_type() {
    super::in_memory_by_default();
    assert_eq!([Named::<0>::prefixed(1), Named::<1>::prefixed(1), Named::<0>::prefixed(1)], [1, 2, 1]);
    assert_eq!(function(Named::<1>::prefixed).info().unwrap().prefix.as_deref(), Some("b"));
}
