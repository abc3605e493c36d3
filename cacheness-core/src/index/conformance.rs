//! What every metadata backend must do.
#![allow(clippy::unwrap_used, reason = "a failing check is to panic")]
#![cfg_attr(not(feature = "testing"), allow(unreachable_pub, reason = "public under the feature `testing` only"))]

mod sample;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sample::{Sample, noise, time};

use super::backend::{Applied, Change, Expected, MetadataBackend, Row, Scan, Swap};
use crate::error::Result;

type Backend = Arc<dyn MetadataBackend>;
type Check = fn(&dyn MetadataBackend);

/// Checks that a backend keeps rows as [`MetadataBackend`] says. `open` opens the same store at every call; it must be empty,
/// and is empty and closed afterwards.
///
/// # Panics
/// When it does not.
pub fn metadata_backend(mut open: impl FnMut() -> Result<Backend>) {
    let rows = open().unwrap();
    let checks: [(&str, Check); 10] = [
        ("rows", rows_come_back_as_they_were_put),
        ("expected", a_change_is_made_where_the_expected_row_is),
        ("many", several_changes_are_made_in_their_order),
        ("orders", each_order_has_its_rows_page_by_page),
        ("replaced", a_row_that_was_replaced_or_removed_is_in_no_order),
        ("uses", a_use_moves_a_row_and_ends_with_it),
        ("totals", totals_are_those_of_the_rows),
        ("state", a_state_changes_where_the_expected_one_is),
        ("large", large_and_odd_rows_come_back),
        ("threads", of_threads_that_expect_the_same_row_one_wins),
    ];
    for (what, check) in checks {
        check(&*rows);
        assert_eq!(all(&*rows), [], "{what}: nothing is left over");
        assert_eq!(rows.totals().unwrap().bytes, 0, "{what}: nothing is counted");
    }
    if rows.traits().persistent {
        another_handle_sees_the_rows_or_is_refused(&*rows, &mut open);
        rows.close().unwrap();
        drop(rows);
        rows_outlive_a_close_and_a_flushed_kill(&mut open);
    } else {
        closed_is_closed(&*rows);
    }
}

/// Checks that a backend loses nothing by faults from outside, as a full disk is one. `fault` begins one (`true`) and ends
/// it (`false`). Otherwise as [`metadata_backend`].
///
/// # Panics
/// When a change that was acknowledged is lost, or the backend does not work again within ten seconds.
pub fn metadata_backend_with_faults(mut open: impl FnMut() -> Result<Backend>, mut fault: impl FnMut(bool)) {
    const KEYS: u64 = 200;
    let rows = open().unwrap();
    // What each key may hold: the last state that was acknowledged, and what was refused since.
    let mut states: Vec<Vec<Option<Vec<u8>>>> = vec![vec![None]; KEYS as usize];
    let change = |n: u64, states: &mut Vec<Vec<Option<Vec<u8>>>>| {
        let at = (n % KEYS) as usize;
        let sample = Sample::new(&at.to_string()).created(n).value(&noise(n, 2000));
        let removes = n % 7 == 3;
        let row = (!removes).then_some((&sample.bytes[..], &sample.facts));
        let made = rows.apply(&[Change { key: &sample.key, expected: Expected::Anything, row }]);
        let acknowledged = made.and_then(|_| rows.flush()).is_ok();
        if acknowledged {
            states[at].clear();
        }
        states[at].push((!removes).then(|| sample.bytes.clone()));
        acknowledged
    };
    (0..KEYS).for_each(|n| assert!(change(n, &mut states), "before the fault"));
    fault(true);
    let refused = (KEYS..KEYS * 4).filter(|n| !change(*n, &mut states)).count();
    fault(false);
    assert!(refused > 0, "a fault that no change meets shows nothing");
    let start = Instant::now();
    while rows.get(b"01234567 of nobody").is_err() || rows.flush().is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "it works again when the fault is over");
        std::thread::sleep(Duration::from_millis(50));
    }
    let holds = |rows: &dyn MetadataBackend, when: &str| {
        for (n, states) in states.iter().enumerate() {
            let found = rows.get(&Sample::new(&n.to_string()).key).unwrap();
            assert!(states.contains(&found), "{when}: key {n} has none of {} states", states.len());
        }
    };
    holds(&*rows, "after the fault");
    rows.close().unwrap();
    drop(rows);
    let rows = open().unwrap();
    holds(&*rows, "opened again");
    (0..KEYS).for_each(|n| drop(remove(&*rows, &Sample::new(&n.to_string()))));
    rows.close().unwrap();
}

fn apply(rows: &dyn MetadataBackend, expected: Expected<'_>, key: &[u8], new: Option<&Sample>) -> Applied {
    let row = new.map(|new| (&new.bytes[..], &new.facts));
    let mut applied = rows.apply(&[Change { key, expected, row }]).unwrap();
    assert_eq!(applied.len(), 1, "one answer for one change");
    applied.remove(0)
}

fn put(rows: &dyn MetadataBackend, row: &Sample) -> Option<Vec<u8>> {
    let applied = apply(rows, Expected::Anything, &row.key, Some(row));
    assert!(applied.made);
    applied.previous
}

fn remove(rows: &dyn MetadataBackend, row: &Sample) -> Option<Vec<u8>> {
    let applied = apply(rows, Expected::Anything, &row.key, None);
    assert!(applied.made);
    applied.previous
}

fn all(rows: &dyn MetadataBackend) -> Vec<Row> {
    rows.page(&Scan::Keys { after: None }, usize::MAX).unwrap()
}

fn keys_of(rows: &[Row]) -> Vec<Arc<[u8]>> {
    rows.iter().map(|row| Arc::clone(&row.key)).collect()
}

fn rows_come_back_as_they_were_put(rows: &dyn MetadataBackend) {
    let [first, second] = [Sample::new("k").created(1), Sample::new("k").created(2)];
    assert_eq!(rows.get(&first.key).unwrap(), None);
    assert_eq!(put(rows, &first), None);
    assert_eq!(rows.get(&first.key).unwrap().as_ref(), Some(&first.bytes));
    assert_eq!(put(rows, &second).as_ref(), Some(&first.bytes), "what it took out");
    assert_eq!(rows.get(&first.key).unwrap().as_ref(), Some(&second.bytes));
    let other = Sample::new("other");
    put(rows, &other);
    let wanted: [&[u8]; 4] = [&other.key, b"12345678 of nobody", &first.key, &other.key];
    let found = rows.get_many(&wanted).unwrap();
    assert_eq!(found, [Some(other.bytes.clone()), None, Some(second.bytes.clone()), Some(other.bytes.clone())]);
    assert!(rows.get_many(&[]).unwrap().is_empty());
    assert_eq!(remove(rows, &first), Some(second.bytes));
    assert_eq!(remove(rows, &first), None, "it is gone");
    remove(rows, &other);
}

fn a_change_is_made_where_the_expected_row_is(rows: &dyn MetadataBackend) {
    let [first, second] = [Sample::new("k").created(1), Sample::new("k").created(2)];
    let key = &first.key;
    let bytes = |row: &Sample| row.bytes.clone();
    assert_eq!(apply(rows, Expected::Bytes(&first.bytes), key, Some(&second)), Applied::NOT_MADE);
    assert_eq!(apply(rows, Expected::Bytes(&first.bytes), key, None), Applied::NOT_MADE);
    assert_eq!(rows.get(key).unwrap(), None);
    assert_eq!(apply(rows, Expected::Absent, key, Some(&first)), Applied::made(None));
    assert_eq!(apply(rows, Expected::Absent, key, Some(&second)), Applied::NOT_MADE);
    assert_eq!(apply(rows, Expected::Absent, key, None), Applied::NOT_MADE);
    assert_eq!(rows.get(key).unwrap(), Some(bytes(&first)));
    let swapped = apply(rows, Expected::Bytes(&first.bytes), key, Some(&second));
    assert_eq!(swapped, Applied::made(Some(bytes(&first))));
    assert_eq!(apply(rows, Expected::Bytes(&first.bytes), key, None), Applied::NOT_MADE);
    assert_eq!(rows.get(key).unwrap(), Some(bytes(&second)));
    assert_eq!(apply(rows, Expected::Bytes(&second.bytes), key, None), Applied::made(Some(bytes(&second))));
    assert_eq!(rows.get(key).unwrap(), None);
    assert_eq!(rows.totals().unwrap().entries, 0);
}

fn several_changes_are_made_in_their_order(rows: &dyn MetadataBackend) {
    let [one, two] = [Sample::new("one"), Sample::new("two")];
    let put = |row: &'static str| if row == "one" { &one } else { &two };
    let change = |row: &'static str, expected, stays: bool| {
        let row = put(row);
        Change { key: &row.key, expected, row: stays.then_some((&row.bytes[..], &row.facts)) }
    };
    let changes = [
        change("one", Expected::Absent, true),
        change("one", Expected::Absent, true),
        change("two", Expected::Anything, true),
        change("one", Expected::Bytes(&one.bytes), false),
    ];
    let made: Vec<_> = rows.apply(&changes).unwrap().into_iter().map(|applied| applied.made).collect();
    assert_eq!(made, [true, false, true, true]);
    assert_eq!(keys_of(&all(rows)), [Arc::clone(&two.key)]);
    assert!(rows.apply(&[]).unwrap().is_empty());
    remove(rows, &two);
}

/// All rows of a scan, a few at a time.
fn paged<'r>(limit: usize, mut next: impl FnMut(Option<&Row>) -> Vec<Row> + 'r) -> Vec<Row> {
    let mut found: Vec<Row> = Vec::new();
    loop {
        let page = next(found.last());
        assert!(page.len() <= limit, "{} rows on a page of {limit}", page.len());
        let at_the_end = page.len() < limit;
        found.extend(page);
        if at_the_end {
            return found;
        }
    }
}

fn each_order_has_its_rows_page_by_page(rows: &dyn MetadataBackend) {
    let mut samples: Vec<Sample> = (0..20)
        .map(|n| {
            let row = Sample::new(&n.to_string()).created(100 + n).of(if n % 3 == 0 { "f" } else { "g" });
            if n % 2 == 0 { row.expires(1000 - n) } else { row }
        })
        .collect();
    samples.iter().for_each(|row| drop(put(rows, row)));
    let keys = |rows: &mut dyn Iterator<Item = &Sample>| rows.map(|row| Arc::clone(&row.key)).collect::<Vec<_>>();

    let newest = keys(&mut samples.iter().rev());
    let expiring = keys(&mut samples.iter().rev().filter(|row| row.facts.expires_at.is_some()));
    for limit in [1, 7, 20, 21] {
        let created = |row: &Row| samples.iter().find(|sample| sample.key == row.key).unwrap().facts.created_at;
        let found = paged(limit, |last| {
            let before = last.map(|row| (created(row), &*row.key));
            rows.page(&Scan::Newest { before }, limit).unwrap()
        });
        assert_eq!(keys_of(&found), newest, "the newest first, {limit} at a time");
    }
    let expired = |now| keys_of(&rows.page(&Scan::Expired { now: time(now) }, 99).unwrap());
    assert_eq!(expired(9999), expiring, "the earliest first");
    assert_eq!(expired(984), expiring[..2], "what expires now is expired");
    assert_eq!(expired(981), []);
    assert_eq!(keys_of(&rows.page(&Scan::Expired { now: time(9999) }, 3).unwrap()), expiring[..3]);
    let least = |limit| keys_of(&rows.page(&Scan::LeastUsed, limit).unwrap());
    assert_eq!(least(99), keys(&mut samples.iter()), "what was never used was used when it was created");
    assert_eq!(least(4), keys(&mut samples.iter().take(4)));

    let group = samples[0].group();
    samples.sort_by(|one, other| one.key.cmp(&other.key));
    let members = keys(&mut samples.iter().filter(|row| row.group() == group));
    assert_eq!(members.len(), 7);
    let by_key = keys(&mut samples.iter());
    for limit in [1, 6, 7, 20, 21] {
        let found = paged(limit, |last| {
            let after = last.map(|row| &*row.key);
            rows.page(&Scan::Group { group, after }, limit).unwrap()
        });
        assert_eq!(keys_of(&found), members, "those of a group, {limit} at a time");
        let found = paged(limit, |last| {
            let after = last.map(|row| &*row.key);
            rows.page(&Scan::Keys { after }, limit).unwrap()
        });
        assert_eq!(keys_of(&found), by_key, "by key, {limit} at a time");
        assert!(found.iter().zip(&samples).all(|(row, sample)| row.bytes == sample.bytes));
    }
    assert_eq!(rows.keys(Some(&by_key[3]), 5).unwrap(), by_key[4..9]);
    assert_eq!(rows.keys(None, 99).unwrap(), by_key);
    let of_one = rows.page(&Scan::Prefix(&by_key[5][..8]), 99).unwrap();
    assert_eq!(keys_of(&of_one), by_key[5..6]);
    assert_eq!(rows.page(&Scan::Group { group: group ^ 1, after: None }, 9).unwrap(), []);
    samples.iter().for_each(|row| drop(remove(rows, row)));
}

fn a_row_that_was_replaced_or_removed_is_in_no_order(rows: &dyn MetadataBackend) {
    let before = Sample::new("k").created(5).expires(50).of("f");
    let after = Sample::new("k").created(7).of("g");
    let places = |row: &Sample| {
        let scans = [
            Scan::Expired { now: time(9999) },
            Scan::Group { group: before.group(), after: None },
            Scan::Group { group: after.group(), after: None },
            Scan::Newest { before: None },
            Scan::LeastUsed,
        ];
        scans.map(|scan| {
            let found = rows.page(&scan, 9).unwrap();
            assert!(found.iter().all(|found| found.bytes == row.bytes), "{scan:?} gives the row that is there");
            found.len()
        })
    };
    put(rows, &before);
    assert_eq!(places(&before), [1, 1, 0, 1, 1]);
    put(rows, &after);
    assert_eq!(places(&after), [0, 0, 1, 1, 1]);
    assert!(apply(rows, Expected::Bytes(&after.bytes), &after.key, Some(&before)).made);
    assert_eq!(places(&before), [1, 1, 0, 1, 1]);
    remove(rows, &before);
    assert_eq!(places(&before), [0; 5]);
}

fn a_use_moves_a_row_and_ends_with_it(rows: &dyn MetadataBackend) {
    let samples: Vec<_> = (0..5).map(|n| Sample::new(&n.to_string()).created(10 + n)).collect();
    samples.iter().for_each(|row| drop(put(rows, row)));
    let order = || keys_of(&rows.page(&Scan::LeastUsed, 9).unwrap());
    let expected = |order: [usize; 5]| order.map(|n| Arc::clone(&samples[n].key)).to_vec();
    assert_eq!(rows.last_used(&samples[0].key).unwrap(), None);
    rows.used(&[(&samples[0].key, time(100)), (&samples[2].key, time(200)), (b"12345678 nobody", time(5))]).unwrap();
    assert_eq!(order(), expected([1, 3, 4, 0, 2]));
    assert_eq!(rows.last_used(&samples[0].key).unwrap(), Some(time(100)));
    let used = rows.page(&Scan::LeastUsed, 9).unwrap().pop().unwrap().used_at;
    assert_eq!(used, Some(time(200)), "a row tells when it was used");
    rows.used(&[(&samples[0].key, time(12))]).unwrap();
    let place = order().iter().position(|key| *key == samples[0].key);
    assert!(place <= Some(3), "a use between those of others");

    let longer = samples[2].clone().expires(9999);
    assert!(apply(rows, Expected::Bytes(&samples[2].bytes), &longer.key, Some(&longer)).made);
    assert_eq!(rows.last_used(&longer.key).unwrap(), Some(time(200)), "of one creation, it is the same value");
    put(rows, &Sample::new("2").created(300));
    assert_eq!(rows.last_used(&longer.key).unwrap(), None, "of another creation, it is another one");
    rows.used(&[(&samples[2].key, time(400))]).unwrap();
    remove(rows, &samples[2]);
    assert_eq!(rows.last_used(&samples[2].key).unwrap(), None);
    put(rows, &samples[2]);
    assert_eq!(rows.last_used(&samples[2].key).unwrap(), None, "it is new");
    samples.iter().for_each(|row| drop(remove(rows, row)));
}

fn totals_are_those_of_the_rows(rows: &dyn MetadataBackend) {
    let mut samples: Vec<_> = (0..9).map(|n| Sample::new(&n.to_string()).created(10 + n)).collect();
    samples[3] = Sample::new("3").created(13).blob(5_000_000);
    let footprint = |row: &Sample| rows.footprint(row.bytes.len() as u64, row.facts.blob_bytes);
    let told = |samples: &[Sample]| {
        let totals = rows.totals().unwrap();
        assert_eq!(totals.entries, samples.len() as u64);
        assert_eq!(totals.bytes, samples.iter().map(footprint).sum::<u64>());
        totals.created
    };
    samples.iter().for_each(|row| drop(put(rows, row)));
    assert_eq!(told(&samples), Some((time(10), time(18))));
    samples[3] = Sample::new("3").created(13);
    put(rows, &samples[3]);
    remove(rows, &samples[8]);
    remove(rows, &samples[0]);
    assert_eq!(told(&samples[1..8]), Some((time(11), time(17))));
    samples.iter().for_each(|row| drop(remove(rows, row)));
    assert_eq!(rows.totals().unwrap().created, None);
}

fn a_state_changes_where_the_expected_one_is(rows: &dyn MetadataBackend) {
    let state = |name: &str| rows.state(name, None).unwrap();
    let swap = |expected, new| rows.state("one", Some(Swap { expected, new })).unwrap();
    assert_eq!(state("one"), None);
    assert_eq!(swap(Some(&b"other"[..]), Some(&b"1"[..])), None, "there is none to change");
    assert_eq!(swap(None, Some(b"1")).as_deref(), Some(&b"1"[..]));
    assert_eq!(swap(None, Some(b"2")).as_deref(), Some(&b"1"[..]), "there is one");
    assert_eq!(swap(Some(b"1"), Some(b"")).as_deref(), Some(&b""[..]), "an empty one is one");
    assert_eq!((state("one").as_deref(), state("two")), (Some(&b""[..]), None));
    assert_eq!(swap(Some(b""), None), None);
    assert_eq!(state("one"), None);
}

fn large_and_odd_rows_come_back(rows: &dyn MetadataBackend) {
    let samples = [
        Sample::new("large").value(&noise(7, 1 << 20)),
        Sample::new("zeros").value(&[0; 1000]),
        Sample::new("all").value(&(0..=255).collect::<Vec<u8>>()),
        Sample::new(&"long ".repeat(2000)),
        Sample::new("at the end of time").created(u64::MAX >> 1).expires(u64::MAX >> 1),
    ];
    samples.iter().for_each(|row| drop(put(rows, row)));
    rows.flush().unwrap();
    for row in &samples {
        assert!(rows.get(&row.key).unwrap().as_ref() == Some(&row.bytes), "{}", row.entry.key);
    }
    assert_eq!(all(rows).len(), samples.len());
    samples.iter().for_each(|row| drop(remove(rows, row)));
}

fn of_threads_that_expect_the_same_row_one_wins(rows: &dyn MetadataBackend) {
    const ROUNDS: u64 = 50;
    let wins = AtomicU64::new(0);
    put(rows, &Sample::new("k").created(0));
    std::thread::scope(|threads| {
        for thread in 0..4u64 {
            let wins = &wins;
            threads.spawn(move || {
                for round in 0..ROUNDS {
                    let [before, after] = [round, round + 1].map(|at| Sample::new("k").created(at));
                    loop {
                        if apply(rows, Expected::Bytes(&before.bytes), &before.key, Some(&after)).made {
                            wins.fetch_add(1, Ordering::SeqCst);
                        }
                        let there = rows.get(&before.key).unwrap();
                        if there.is_some_and(|there| there != before.bytes) {
                            break;
                        }
                    }
                    let own = Sample::new(&format!("{thread} {round}"));
                    put(rows, &own);
                    assert_eq!(rows.get(&own.key).unwrap().as_ref(), Some(&own.bytes));
                    assert_eq!(remove(rows, &own), Some(own.bytes));
                }
            });
        }
    });
    assert_eq!(wins.into_inner(), ROUNDS);
    assert_eq!(remove(rows, &Sample::new("k")), Some(Sample::new("k").created(ROUNDS).bytes));
}

fn another_handle_sees_the_rows_or_is_refused(rows: &dyn MetadataBackend, open: &mut dyn FnMut() -> Result<Backend>) {
    let (one, two) = (Sample::new("one"), Sample::new("two"));
    put(rows, &one);
    rows.flush().unwrap();
    match open() {
        Err(_) => assert!(!rows.traits().shared, "a shared one can be opened twice"),
        Ok(other) => {
            assert_eq!(other.get(&one.key).unwrap().as_ref(), Some(&one.bytes));
            assert_eq!(apply(&*other, Expected::Absent, &one.key, Some(&two)), Applied::NOT_MADE);
            assert!(apply(&*other, Expected::Bytes(&one.bytes), &one.key, None).made);
            put(&*other, &two);
            other.close().unwrap();
            assert_eq!(keys_of(&all(rows)), [Arc::clone(&two.key)], "what one handle changed the other sees");
        }
    }
    [&one, &two].iter().for_each(|row| drop(remove(rows, row)));
    rows.flush().unwrap();
}

fn rows_outlive_a_close_and_a_flushed_kill(open: &mut dyn FnMut() -> Result<Backend>) {
    // Later than what the other checks put under these keys: a backend may still know of a use of those.
    let sample = |n: u64| Sample::new(&n.to_string()).created(10_000 + n).expires(20_000 + n).of("f");
    let samples: Vec<_> = (0..30).map(sample).collect();
    let orders = |rows: &dyn MetadataBackend| {
        let group = samples[0].group();
        let scans = [Scan::Keys { after: None }, Scan::Expired { now: time(99_999) }, Scan::Newest { before: None }];
        let scans = scans.into_iter().chain([Scan::LeastUsed, Scan::Group { group, after: None }]);
        scans.map(|scan| keys_of(&rows.page(&scan, 99).unwrap())).collect::<Vec<_>>()
    };
    let rows = open().unwrap();
    samples.iter().for_each(|row| drop(put(&*rows, row)));
    rows.state("name", Some(Swap { expected: None, new: Some(b"state") })).unwrap();
    rows.flush().unwrap();
    let (before, totals) = (orders(&*rows), rows.totals().unwrap());
    // As a kill does: nobody closes it.
    drop(rows);
    for when in ["after a kill", "after a close"] {
        let rows = open().unwrap();
        assert!(orders(&*rows) == before, "{when}: another order");
        assert_eq!(rows.totals().unwrap(), totals, "{when}");
        assert_eq!(rows.state("name", None).unwrap().as_deref(), Some(&b"state"[..]), "{when}");
        assert_eq!(rows.get(&samples[9].key).unwrap().as_ref(), Some(&samples[9].bytes), "{when}");
        closed_is_closed(&*rows);
    }
    let rows = open().unwrap();
    samples.iter().for_each(|row| drop(remove(&*rows, row)));
    rows.state("name", Some(Swap { expected: Some(b"state"), new: None })).unwrap();
    rows.close().unwrap();
}

fn closed_is_closed(rows: &dyn MetadataBackend) {
    rows.close().unwrap();
    let row = Sample::new("k");
    let change = Change { key: &row.key, expected: Expected::Anything, row: Some((&row.bytes, &row.facts)) };
    let errors = [
        rows.get(&row.key).unwrap_err(),
        rows.apply(&[change]).unwrap_err(),
        rows.page(&Scan::LeastUsed, 1).unwrap_err(),
        rows.keys(None, 1).unwrap_err(),
        rows.totals().unwrap_err(),
        rows.state("name", None).unwrap_err(),
        rows.flush().unwrap_err(),
    ];
    assert!(errors.iter().all(crate::error::CacheError::is_closed), "{errors:?}");
    rows.close().unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::backends::BackendOptions;
    use crate::index::get_metadata_backend;

    #[test]
    fn rows_in_memory_conform() {
        metadata_backend(|| get_metadata_backend("memory", &BackendOptions::new()));
    }

    #[test]
    fn sled_conforms() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(crate::storage::vfs::publish::STAGING)).unwrap();
        metadata_backend(|| get_metadata_backend("sled", &BackendOptions::new().with_dir(dir.path())));
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn sqlite_conforms() {
        let dir = tempfile::tempdir().unwrap();
        metadata_backend(|| get_metadata_backend("sqlite", &BackendOptions::new().with_dir(dir.path())));
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn sqlite_in_memory_conforms() {
        metadata_backend(|| get_metadata_backend("sqlite_memory", &BackendOptions::new()));
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_conforms() {
        let dir = tempfile::tempdir().unwrap();
        metadata_backend(|| get_metadata_backend("json", &BackendOptions::new().with_dir(dir.path())));
    }
}
