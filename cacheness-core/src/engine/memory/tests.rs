use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::config::MemoryPolicy;
use crate::entry::{Core, sample};
use crate::key::ToKey;

const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn tier(policy: MemoryPolicy, max_entries: u64) -> Tier {
    Tier::new(MemoryBounds { policy, max_entries, max_bytes: 1 << 20, ttl: None })
}

fn key(n: u32) -> Key {
    n.to_key().unwrap()
}

fn core(raw_size: u64, ttl: Option<Duration>) -> Core {
    Core { raw_size, stored_size: raw_size, ..sample::core(START, ttl) }
}

fn keep_sized(tier: &Tier, n: u32, raw_size: u64) {
    let token = tier.insert_token(&key(n)).unwrap();
    tier.insert(&key(n), (token, CloneOps::cloned()), n, &core(raw_size, None), START, |_, _| ());
}

fn keep(tier: &Tier, n: u32) {
    keep_sized(tier, n, 4);
}

fn get(tier: &Tier, n: u32) -> Option<u32> {
    tier.get(key(n).identity(), CloneOps::cloned(), None, &ManualClock::new(START))
}

/// Which of the numbers are there, without a use of them.
fn present(tier: &Tier, numbers: std::ops::Range<u32>) -> Vec<u32> {
    let is_there = |n: &u32| match &tier.shards {
        Shards::Adaptive(shards) => shards.get(key(*n).identity()).is_some(),
        Shards::Ranked(shards) => shards.has(key(*n).identity()),
    };
    numbers.filter(is_there).collect()
}

/// Three values come; 2 is used twice, then 1 twice, then 3 once; then a fourth comes, which there is no room for.
fn after_the_trace(policy: MemoryPolicy) -> Vec<u32> {
    let tier = tier(policy, 3);
    [1, 2, 3].into_iter().for_each(|n| keep(&tier, n));
    [2, 2, 1, 1, 3].into_iter().for_each(|n| assert_eq!(get(&tier, n), Some(n)));
    keep(&tier, 4);
    present(&tier, 1..5)
}

#[test]
fn one_trace_tells_the_policies_apart() {
    assert_eq!(after_the_trace(MemoryPolicy::Fifo), [2, 3, 4], "1 came first");
    assert_eq!(after_the_trace(MemoryPolicy::Lru), [1, 3, 4], "2 was used longest ago");
    assert_eq!(after_the_trace(MemoryPolicy::Lfu), [1, 2, 4], "3 was used least often");
}

#[test]
fn a_random_victim_is_now_this_one_and_now_that_one() {
    let mut gone = [0; 4];
    for _ in 0..400 {
        let tier = tier(MemoryPolicy::Rr, 4);
        (0..4).for_each(|n| keep(&tier, n));
        keep(&tier, 4);
        let left = present(&tier, 0..4);
        assert_eq!(left.len(), 3);
        (0..4).filter(|n| !left.contains(n)).for_each(|n| gone[n as usize] += 1);
    }
    assert!(gone.iter().all(|times| (40..250).contains(times)), "{gone:?}, some 100 each");
}

#[test]
fn the_default_keeps_what_is_used_through_a_scan_of_what_is_not() {
    let survivors = |policy| {
        let tier = tier(policy, 100);
        (0..50).for_each(|n| keep(&tier, n));
        (0..150).for_each(|n| assert_eq!(get(&tier, n % 50), Some(n % 50)));
        (1000..1400).for_each(|n| keep(&tier, n));
        present(&tier, 0..50).len()
    };
    assert!(survivors(MemoryPolicy::Adaptive) >= 40, "{}", survivors(MemoryPolicy::Adaptive));
    assert_eq!((survivors(MemoryPolicy::Lru), survivors(MemoryPolicy::Fifo)), (0, 0));
}

#[test]
fn neither_entries_nor_bytes_go_over_their_limit() {
    for policy in ALL {
        let many = Tier::new(MemoryBounds { policy, max_entries: 100, max_bytes: 1 << 30, ttl: None });
        (0..1000).for_each(|n| keep(&many, n));
        assert!((1..=100).contains(&many.stats().entries), "{policy}: {:?}", many.stats());
        let heavy = Tier::new(MemoryBounds { policy, max_entries: 1 << 20, max_bytes: 1 << 20, ttl: None });
        (0..1000).for_each(|n| keep_sized(&heavy, n, 10_000));
        let stats = heavy.stats();
        assert!((500_000..=1 << 20).contains(&stats.bytes), "{policy}: {stats:?}");
        assert_eq!(stats.bytes, stats.entries * 10_512, "{policy}");
        heavy.clear();
        assert_eq!((heavy.stats().entries, heavy.stats().bytes), (0, 0), "{policy}");
    }
}

const ALL: [MemoryPolicy; 5] =
    [MemoryPolicy::Adaptive, MemoryPolicy::Lru, MemoryPolicy::Lfu, MemoryPolicy::Fifo, MemoryPolicy::Rr];

#[test]
fn a_value_that_would_push_out_many_is_not_kept() {
    for policy in ALL {
        let tier = tier(policy, 1000);
        (0..10).for_each(|n| keep(&tier, n));
        keep_sized(&tier, 100, 600_000);
        assert_eq!(present(&tier, 0..101), (0..10).collect::<Vec<_>>(), "{policy}");
    }
}

#[test]
fn keys_with_one_hash_and_values_of_another_type_are_misses() {
    let tier = tier(MemoryPolicy::Adaptive, 100);
    keep(&tier, 1);
    let collides = key(2).with_hash(key(1).hash());
    assert_eq!(tier.get(collides.identity(), CloneOps::<u32>::cloned(), None, &ManualClock::new(START)), None);
    assert_eq!(tier.get(key(1).identity(), CloneOps::<i32>::cloned(), None, &ManualClock::new(START)), None);
    assert_eq!(get(&tier, 1), Some(1));
}

#[test]
fn a_value_is_fresh_to_the_very_moment_its_entry_says() {
    let tier = tier(MemoryPolicy::Adaptive, 100);
    let token = tier.insert_token(&key(1)).unwrap();
    tier.insert(&key(1), (token, CloneOps::cloned()), 1_u32, &core(4, Some(SECOND)), START, |_, _| ());
    let at =
        |time, reader_ttl| tier.get(key(1).identity(), CloneOps::<u32>::cloned(), reader_ttl, &ManualClock::new(time));
    let end = START.after(SECOND);
    assert_eq!(at(end.before(Duration::from_micros(1)), None), Some(1));
    assert_eq!(at(end, None), None);
    assert_eq!(at(START.after(SECOND / 2), Some(SECOND / 2)), None, "the reader's own time to live narrows it");
    assert_eq!(at(START.after(SECOND / 4), Some(SECOND / 2)), Some(1));
    assert_eq!(at(START.before(SECOND * 3600), None), None, "from a clock that was far ahead");
}

#[test]
fn a_ttl_of_the_memory_ends_what_the_entry_would_allow() {
    let tier = Tier::new(MemoryBounds {
        policy: MemoryPolicy::Adaptive,
        max_entries: 9,
        max_bytes: 1 << 20,
        ttl: Some(SECOND),
    });
    keep(&tier, 1);
    let at = |time| tier.get(key(1).identity(), CloneOps::<u32>::cloned(), None, &ManualClock::new(time));
    assert_eq!((at(START), at(START.after(SECOND))), (Some(1), None));
}

#[test]
fn what_is_read_again_after_the_ttl_of_the_memory_takes_the_place_of_what_was_there() {
    for policy in ALL {
        let tier = Tier::new(MemoryBounds { policy, max_entries: 9, max_bytes: 1 << 20, ttl: Some(SECOND) });
        for round in [0, 1, 2] {
            let now = START.after(SECOND * round);
            let at = |time| tier.get(key(1).identity(), CloneOps::<u32>::cloned(), None, &ManualClock::new(time));
            assert_eq!(at(now), None, "{policy} {round}");
            let token = tier.insert_token(&key(1)).unwrap();
            tier.insert(&key(1), (token, CloneOps::cloned()), round, &core(4, None), now, |_, _| ());
            assert_eq!(at(now), Some(round), "{policy}");
            assert_eq!((tier.stats().entries, tier.stats().bytes), (1, 516), "{policy}");
        }
    }
}

#[test]
fn what_was_read_before_a_change_is_not_kept_after_it_began() {
    let tier = tier(MemoryPolicy::Adaptive, 100);
    let index_key = IndexKey::of(&key(1));
    let before = tier.insert_token(&key(1)).unwrap();
    let (change, _) = tier.change(&index_key);
    assert!(tier.insert_token(&key(1)).is_none(), "nobody knows yet what will be there");
    tier.insert(&key(1), (before, CloneOps::cloned()), 1_u32, &core(4, None), START, |_, _| ());
    assert_eq!(get(&tier, 1), None);
    drop(change);
    tier.insert(&key(1), (before, CloneOps::cloned()), 1_u32, &core(4, None), START, |_, _| ());
    assert_eq!(get(&tier, 1), None, "the change may have put another value there");
    keep(&tier, 1);
    assert_eq!(get(&tier, 1), Some(1));
    drop(tier.change(&index_key));
    assert_eq!(get(&tier, 1), None, "a change takes the value out");
}

#[test]
fn who_makes_the_only_change_may_keep_what_it_wrote() {
    let tier = tier(MemoryPolicy::Adaptive, 100);
    let index_key = IndexKey::of(&key(1));
    let written = |others: &dyn Fn()| {
        let token = tier.insert_token(&key(1)).unwrap();
        drop(tier.change(&index_key));
        others();
        tier.insert(&key(1), (token.after_own_change(), CloneOps::cloned()), 1_u32, &core(4, None), START, |_, _| ());
        let kept = get(&tier, 1).is_some();
        drop(tier.change(&index_key));
        kept
    };
    assert!(written(&|| ()));
    assert!(!written(&|| drop(tier.change(&index_key))));
}

#[test]
fn the_index_is_told_once_of_many_uses_and_of_the_last_of_them() {
    let tier = tier(MemoryPolicy::Adaptive, 100);
    keep(&tier, 1);
    keep(&tier, 2);
    let used_at = |time| tier.get(key(1).identity(), CloneOps::<u32>::cloned(), None, &ManualClock::new(time)).unwrap();
    assert_eq!((1..=5).map(|n| used_at(START.after(SECOND * n))).sum::<u32>(), 5);
    let told = |tier: &Tier| {
        let mut told = Vec::new();
        tier.flush_uses(|key, at| told.push((key.hash(), at)));
        told
    };
    assert_eq!(told(&tier), [(key(1).hash(), START.after(SECOND * 5))], "2 was not used");
    assert_eq!(told(&tier), [], "and not again");
    assert_eq!(get(&tier, 2), Some(2));
    let (change, last_use) = tier.change(&IndexKey::of(&key(2)));
    assert_eq!(last_use, Some(START), "whoever changes the entry is told");
    drop(change);
    assert_eq!(told(&tier), [], "and nobody else: it is another entry now");
}

/// A value whose end is user code that uses the same tier.
#[derive(Clone)]
struct Nosy(Arc<Tier>, Arc<AtomicUsize>);

impl Drop for Nosy {
    fn drop(&mut self) {
        drop(self.0.change(&IndexKey::of(&key(1))));
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn values_are_dropped_when_no_lock_is_held() {
    for policy in ALL {
        let (tier, dropped) = (Arc::new(tier(policy, 1)), Arc::new(AtomicUsize::new(0)));
        for n in [1, 2, 1, 1] {
            let token = tier.insert_token(&key(n)).unwrap();
            let value = Nosy(Arc::clone(&tier), Arc::clone(&dropped));
            tier.insert(&key(n), (token, CloneOps::cloned()), value, &core(4, None), START, |_, _| ());
        }
        drop(tier.change(&IndexKey::of(&key(1))));
        tier.clear();
        assert_eq!(dropped.load(Ordering::SeqCst), 4, "{policy}");
    }
}

/// A value whose end is a panic.
#[derive(Clone)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

#[test]
fn a_panic_in_the_drop_of_a_value_is_not_met_by_whoever_takes_it_out() {
    for policy in ALL {
        let tier = tier(policy, 3);
        let keep_bomb = |n| {
            let token = tier.insert_token(&key(n)).expect("the change before is over");
            tier.insert(&key(n), (token, CloneOps::cloned()), Bomb, &core(4, None), START, |_, _| ());
        };
        (0..20).for_each(keep_bomb);
        (0..20).for_each(|n| drop(tier.change(&IndexKey::of(&key(n)))));
        (0..20).for_each(keep_bomb);
        tier.clear();
    }
}

/// Values whose `Clone` reads the same value from the same tier, or panics.
struct Curious(Arc<Tier>, bool);

impl Clone for Curious {
    fn clone(&self) -> Self {
        assert!(!self.1, "on purpose");
        let same = self.0.get(key(1).identity(), CloneOps::<Self>::cloned(), None, &ManualClock::new(START));
        assert!(same.is_none());
        Self(Arc::clone(&self.0), self.1)
    }
}

#[test]
fn a_clone_that_reads_the_value_itself_ends_and_one_that_panics_is_a_miss() {
    for panics in [false, true] {
        let tier = Arc::new(tier(MemoryPolicy::Adaptive, 9));
        let token = tier.insert_token(&key(1)).unwrap();
        let value = Curious(Arc::clone(&tier), panics);
        tier.insert(&key(1), (token, CloneOps::cloned()), value, &core(4, None), START, |_, _| ());
        for _ in 0..2 {
            let read = tier.get(key(1).identity(), CloneOps::<Curious>::cloned(), None, &ManualClock::new(START));
            assert_eq!(read.is_some(), !panics);
        }
        keep(&tier, 2);
        assert_eq!(get(&tier, 2), Some(2), "nothing is left of it");
    }
}

#[derive(Clone, Debug)]
enum Step {
    CloneOps(u32),
    Get(u32),
    Change(u32),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..20_u32;
    prop_oneof![
        6 => n.clone().prop_map(Step::CloneOps),
        6 => n.clone().prop_map(Step::Get),
        2 => n.prop_map(Step::Change),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #[test]
    fn whatever_is_done_a_hit_is_what_was_kept_last_and_the_sums_agree(
        steps in proptest::collection::vec(step(), 0..200),
        policy in prop::sample::select(ALL.to_vec()),
    ) {
        let tier = tier(policy, 8);
        let mut kept = std::collections::HashMap::new();
        for step in steps {
            match step {
                Step::CloneOps(n) => {
                    keep(&tier, n);
                    kept.insert(n, ());
                }
                Step::Get(n) => if get(&tier, n).is_some() {
                    prop_assert!(kept.contains_key(&n), "{n} was taken out");
                },
                Step::Change(n) => {
                    drop(tier.change(&IndexKey::of(&key(n))));
                    kept.remove(&n);
                }
                Step::Clear => {
                    tier.clear();
                    kept.clear();
                }
            }
            let (stats, there) = (tier.stats(), present(&tier, 0..20));
            prop_assert_eq!(stats.entries, there.len() as u64);
            prop_assert_eq!(stats.bytes, there.len() as u64 * 516);
            prop_assert!(stats.entries <= 8);
        }
    }
}

#[test]
fn a_value_in_memory_does_not_hold_the_paths_of_its_key() {
    let tier = tier(MemoryPolicy::Adaptive, 100);
    let path = std::path::Path::new("src/lib.rs").to_key().unwrap();
    let token = tier.insert_token(&path).unwrap();
    tier.insert(&path, (token, CloneOps::cloned()), 1_u32, &core(4, None), START, |_, _| ());
    let Shards::Adaptive(shards) = &tier.shards else { panic!("another policy") };
    let held = shards.get(path.identity()).unwrap();
    assert!(path.has_sources() && !held.key.has_sources());
}
