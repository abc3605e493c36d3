//! What kinds of functions the attribute works on.

use std::path::Path;

use cacheness::cached;

use super::Runs;

#[test]
fn a_second_call_with_equal_arguments_does_not_run_the_body() {
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
fn a_function_without_arguments_and_with_options() {
    static RUNS: Runs = Runs::new();

    #[cached(ttl = "24h", prefix = "weather", version = 2)]
    fn answer() -> u32 {
        RUNS.count() + 41
    }

    assert_eq!([answer(), answer()], [42, 42]);
    assert_eq!(RUNS.so_far(), 1);
    let _ = Path::new("");
}

#[tokio::test]
async fn an_async_function() {
    static RUNS: Runs = Runs::new();

    #[cached(async, ttl = 60)]
    async fn double(n: u32) -> u32 {
        RUNS.count();
        tokio::task::yield_now().await;
        n * 2
    }

    assert_eq!([double(4).await, double(4).await], [8, 8]);
    assert_eq!(RUNS.so_far(), 1);
}
