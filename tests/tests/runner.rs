//! A test suite as users have them: two hundred tests, most of which call the same cached function. A test runner that gives
//! each test a process of its own starts many of them at once, all with the same default cache.
//!
//! `cargo nextest run -p cacheness-tests --test runner`

use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use cacheness::{Cache, cached, set_default_cache};

/// The default cache, away from the sources.
fn set_cache() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        let dir = std::env::var_os("CACHENESS_DIR").map(PathBuf::from);
        let dir = dir.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("runner"));
        set_default_cache(Cache::open(dir).expect("every process may have it open"));
    });
}

#[cached]
fn table(of: u64) -> Vec<u64> {
    std::thread::sleep(Duration::from_millis(20));
    (1..=10).map(|factor| of * factor).collect()
}

fn check(n: u64) {
    set_cache();
    // The second call is a hit, in memory or by way of the process that has the cache open.
    for _ in 0..2 {
        let found = table(n % 7);
        assert_eq!(found, (1..=10).map(|factor| n % 7 * factor).collect::<Vec<_>>());
    }
}

/// Tests with the numbers 0 to 9 behind a digit.
macro_rules! ten {
    ($($name:ident = $first:literal),* $(,)?) => {
        $(mod $name {
            use super::check;

            #[test]
            fn n0() { check($first) }
            #[test]
            fn n1() { check($first + 1) }
            #[test]
            fn n2() { check($first + 2) }
            #[test]
            fn n3() { check($first + 3) }
            #[test]
            fn n4() { check($first + 4) }
            #[test]
            fn n5() { check($first + 5) }
            #[test]
            fn n6() { check($first + 6) }
            #[test]
            fn n7() { check($first + 7) }
            #[test]
            fn n8() { check($first + 8) }
            #[test]
            fn n9() { check($first + 9) }
        })*
    };
}

ten! {
    a = 0, b = 10, c = 20, d = 30, e = 40, f = 50, g = 60, h = 70, i = 80, j = 90,
    k = 100, l = 110, m = 120, n = 130, o = 140, p = 150, q = 160, r = 170, s = 180, t = 190,
}
