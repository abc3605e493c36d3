//! Columns in which no two entries may have the same value.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

runs!(
    Named,
    "named runs",
    [
        ColumnSchema::of::<String>("label").unique(),
        ColumnSchema::of::<Option<u32>>("minutes").unique(),
        ColumnSchema::of::<f64>("score").unique(),
    ]
);

fn named(label: &str) -> Named {
    Named { label: label.to_owned(), minutes: None, score: f64::NAN }
}

#[test]
fn a_unique_value_of_another_entry_is_refused_by_name_and_nothing_is_stored() {
    on_each(CacheConfig::in_memory(), |cache| {
        let holder = cache.put_with("first", &1u8, PutOptions::new().custom(&named("a'b"))).unwrap().to_string();
        let error = cache.put_with("second", &2u8, PutOptions::new().custom(&named("a'b"))).unwrap_err();
        assert!(error.is_conflict(), "{error:?}");
        for part in ["\"named runs\"", "\"label\"", "\"a'b\"", holder.as_str()] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert_eq!(cache.get::<u8>("second").unwrap(), None);
        assert_eq!(cache.query::<Named>().count().unwrap(), 1);
        cache.put_with("first", &3u8, PutOptions::new().custom(&named("a'b"))).unwrap();
        assert_eq!(cache.get::<u8>("first").unwrap(), Some(3), "its own value is not in its way");
        cache.put_with("second", &2u8, PutOptions::new().custom(&named("c"))).unwrap();
        assert_eq!(cache.query::<Named>().count().unwrap(), 2, "no two nulls are equal, nor two that are no numbers");
        cache.invalidate("first").unwrap();
        cache.put_with("third", &4u8, PutOptions::new().custom(&named("a'b"))).unwrap();
    });
}

#[test]
fn a_batch_and_a_copy_keep_a_value_unique_and_a_renamed_entry_takes_it_along() {
    on_each(CacheConfig::in_memory(), |cache| {
        let options = PutOptions::new().custom(&named("one"));
        assert!(cache.put_batch_with([("a", &1u8), ("b", &2u8)], &options).unwrap_err().is_conflict());
        assert_eq!((cache.exists("a").unwrap(), cache.exists("b").unwrap()), (true, false));
        assert!(cache.copy("a", "b").unwrap_err().is_conflict());
        assert!(cache.rename("a", "b").unwrap());
        assert_eq!(cache.get_custom::<Named>("b").unwrap().map(|row| row.label), Some("one".to_owned()));
        assert!(cache.update_data("b", &3u8).unwrap() && cache.touch("b").unwrap());
        assert!(cache.put_with("a", &1u8, options).unwrap_err().is_conflict());
    });
}

#[test]
fn a_unique_value_of_an_entry_that_has_expired_is_free() {
    let (cache, clock) = with_manual_clock();
    cache.put_with("old", &1u8, PutOptions::new().custom(&named("one")).ttl(seconds(10))).unwrap();
    clock.advance(seconds(9));
    assert!(cache.put_with("new", &2u8, PutOptions::new().custom(&named("one"))).is_err());
    clock.advance(seconds(1));
    cache.put_with("new", &2u8, PutOptions::new().custom(&named("one"))).unwrap();
}

#[test]
fn of_threads_that_put_one_unique_value_one_wins() {
    on_each(CacheConfig::in_memory(), |cache| {
        for round in 0..20u32 {
            let (options, won) = (PutOptions::new().custom(&named(&format!("round {round}"))), AtomicUsize::new(0));
            let start = std::sync::Barrier::new(4);
            thread::scope(|scope| {
                for part in 0..4u32 {
                    let (cache, options, won, start) = (&cache, &options, &won, &start);
                    scope.spawn(move || {
                        start.wait();
                        match cache.put_with((round, part), &part, options.clone()) {
                            Ok(_) => drop(won.fetch_add(1, Ordering::SeqCst)),
                            Err(error) => assert!(error.is_conflict(), "{error}"),
                        }
                    });
                }
            });
            assert_eq!(won.load(Ordering::SeqCst), 1, "round {round}");
        }
        let labels: BTreeSet<_> =
            cache.query::<Named>().all().unwrap().into_iter().map(|found| found.value.label).collect();
        assert_eq!((labels.len(), cache.len().unwrap()), (20, 20));
    });
}

#[test]
fn a_put_that_fails_leaves_its_unique_value_to_others() {
    let fails = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&fails);
    let index = Watched::new(move |call| match call {
        Call::Write(_) if failing.swap(false, Ordering::SeqCst) => {
            Err(CacheError::new(ErrorKind::Metadata, "the disk is gone"))
        }
        _ => Ok(()),
    });
    let config = CacheConfig::in_memory();
    let store = Store::of_parts(Arc::new(index), Arc::new(MemoryBlobs::new()), &config);
    let cache = Cache::over(Arc::new(Engine::new(store, &config, Arc::new(SystemClock))), config);
    let options = PutOptions::new().custom(&named("one"));
    assert!(cache.put_with("a", &1u8, options.clone()).unwrap_err().is_metadata());
    cache.put_with("b", &2u8, options).unwrap();
}

/// What is done once, by another thread, when a call of the wanted sort comes; it is waited for, but not for ever: it may
/// have to wait itself.
type Between = Arc<std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>>;

fn interrupted(wanted: fn(&Call<'_>) -> bool, clock: Arc<ManualClock>) -> (Cache, Between) {
    let between: Between = Arc::default();
    let armed = Arc::clone(&between);
    let index = Watched::new(move |call| {
        let act = if wanted(&call) { armed.lock().unwrap().take() } else { None };
        if let Some(act) = act {
            let worker = std::thread::spawn(act);
            for _ in 0..30 {
                if worker.is_finished() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
        Ok(())
    });
    let config = CacheConfig::in_memory();
    let store = Store::of_parts(Arc::new(index), Arc::new(MemoryBlobs::new()), &config);
    (Cache::over(Arc::new(Engine::new(store, &config, clock)), config), between)
}

/// How many entries have the unique value in the end, when everybody is done.
fn holders(cache: &Cache, between: &Between, done: &std::sync::mpsc::Receiver<()>) -> u64 {
    assert!(between.lock().unwrap().is_none(), "nothing came between");
    done.recv().unwrap();
    cache.query::<Named>().filter(Named::LABEL.eq("one")).count().unwrap()
}

#[test]
fn an_entry_that_is_touched_while_it_is_renamed_does_not_leave_its_unique_value_with_both() {
    let clock = Arc::new(ManualClock::default());
    let (cache, between) = interrupted(|call| matches!(call, Call::Page), Arc::clone(&clock));
    cache.put_with("a", &1u8, PutOptions::new().custom(&named("one"))).unwrap();
    let (other, (done, is_done)) = (cache.clone(), std::sync::mpsc::channel());
    *between.lock().unwrap() = Some(Box::new(move || {
        clock.advance(seconds(1));
        let _ = other.touch("a").unwrap();
        done.send(()).unwrap();
    }));
    assert!(cache.rename("a", "b").unwrap());
    assert_eq!(holders(&cache, &between, &is_done), 1);
    assert_eq!((cache.get::<u8>("a").unwrap(), cache.get::<u8>("b").unwrap()), (None, Some(1)));
}

#[test]
fn an_entry_that_is_touched_while_it_is_renamed_is_moved_and_not_copied() {
    let clock = Arc::new(ManualClock::default());
    let (cache, between) = interrupted(|call| matches!(call, Call::Write(_)), Arc::clone(&clock));
    cache.put("a", &1u8).unwrap();
    let (other, moved, (touched, was_touched)) = (cache.clone(), clock.clone(), std::sync::mpsc::channel());
    *between.lock().unwrap() = Some(Box::new(move || {
        moved.advance(seconds(1));
        touched.send(other.touch("a").unwrap()).unwrap();
    }));
    assert!(cache.rename("a", "b").unwrap());
    assert!(was_touched.recv().unwrap());
    let entry = cache.get_metadata("b", crate::Expired::Skip).unwrap().unwrap();
    assert_eq!((cache.len().unwrap(), entry.created_at()), (1, clock.now()));
}

#[test]
fn an_entry_that_expires_while_it_is_touched_does_not_come_back_beside_one_with_its_unique_value() {
    let clock = Arc::new(ManualClock::default());
    let (cache, between) = interrupted(|call| matches!(call, Call::Write(_)), Arc::clone(&clock));
    let options = PutOptions::new().custom(&named("one"));
    cache.put_with("a", &1u8, options.clone().ttl(seconds(10))).unwrap();
    clock.advance(seconds(9));
    let (other, (done, is_done)) = (cache.clone(), std::sync::mpsc::channel());
    *between.lock().unwrap() = Some(Box::new(move || {
        clock.advance(seconds(2));
        // Refused, if the entry that was touched lives on.
        let _ = other.put_with("b", &2u8, options);
        done.send(()).unwrap();
    }));
    cache.touch("a").unwrap();
    assert_eq!(holders(&cache, &between, &is_done), 1);
}
