use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cacheness::Cache;
use cacheness_tests::{probe, value_of};

use crate::PROBE;

/// The flush interval, a flush that takes its time on a busy machine, and the clock's grain.
const MAY_BE_LOST: Duration = Duration::from_millis(500 + 500);

fn millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

/// Runs the writer, kills it after `life`, and returns what it acknowledged when, and when it was killed.
fn kill_after(dir: &Path, life: Duration) -> (Vec<(u64, u128)>, u128) {
    let mut writer = probe(PROBE, dir, &["put-until-killed"]).stdout(Stdio::piped()).spawn().unwrap();
    let output = writer.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        lines
            .filter_map(|line| {
                let (n, at) = line.split_once(' ')?;
                Some((n.parse().ok()?, at.parse().ok()?))
            })
            .collect()
    });
    std::thread::sleep(life);
    writer.kill().unwrap();
    let killed_at = millis();
    writer.wait().unwrap();
    (reader.join().unwrap(), killed_at)
}

/// One directory goes through a hundred kills, so that the damage of all of them would add up.
#[test]
fn a_hundred_kills_at_any_moment_lose_at_most_the_last_interval_and_give_no_wrong_value() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = 0x2026_u64;
    let mut acknowledged_in_all = 0;
    for round in 0..100 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let long_life = if round % 20 == 19 { 1200 } else { 0 };
        let life = Duration::from_millis(1 + (state >> 33) % 120 + long_life);
        let (acknowledged, killed_at) = kill_after(dir.path(), life);
        acknowledged_in_all += acknowledged.len();
        let cache = Cache::open(dir.path()).unwrap();
        for (n, at) in &acknowledged {
            match cache.get::<Vec<u8>>(*n).unwrap() {
                Some(value) => assert_eq!(value, value_of(*n), "round {round}: key {n} has another value"),
                None => assert!(
                    killed_at.saturating_sub(*at) < MAY_BE_LOST.as_millis(),
                    "round {round}: key {n} was put {} ms before the kill and is lost",
                    killed_at - at
                ),
            }
        }
        cache.put("after", &round).unwrap();
        assert_eq!(cache.get::<i32>("after").unwrap(), Some(round));
        cache.invalidate("after").unwrap();
        if cache.get_stats().unwrap().entries > 3000 {
            cache.clear().unwrap();
        }
        cache.close().unwrap();
    }
    assert!(acknowledged_in_all > 1000, "the writer hardly wrote: {acknowledged_in_all}");
}
