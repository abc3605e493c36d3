use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::thread::{scope, sleep, spawn};

use super::*;

const PAUSE: Duration = Duration::from_millis(50);

#[test]
fn thirty_two_threads_on_one_cold_key_run_the_body_once() {
    within_ten_seconds(|| {
        let (harness, gate) = (Harness::new(), Barrier::new(32));
        scope(|threads| {
            for _ in 0..32 {
                threads.spawn(|| {
                    gate.wait();
                    harness.call(1, || sleep(PAUSE));
                });
            }
        });
        assert_eq!(harness.computes(), 1);
    });
}

async fn herd_of_tasks(size: usize) {
    let harness = Harness::new();
    let tasks: Vec<_> = (0..size)
        .map(|_| {
            let harness = Arc::clone(&harness);
            tokio::spawn(async move { harness.call_async(1, tokio::time::sleep(PAUSE)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(harness.computes(), 1);
}

#[test]
fn ten_thousand_tasks_on_one_cold_key_run_the_body_once() {
    within_ten_seconds(|| {
        current_thread().block_on(herd_of_tasks(10_000));
        multi_thread().block_on(herd_of_tasks(10_000));
    });
}

#[test]
fn threads_and_tasks_wait_for_each_other() {
    within_ten_seconds(|| {
        for thread_first in [false, true] {
            let (harness, runtime) = (Harness::new(), multi_thread());
            let from_task =
                |harness: Arc<Harness>| async move { harness.call_async(1, tokio::time::sleep(PAUSE)).await };
            let from_thread = |harness: Arc<Harness>| spawn(move || harness.call(1, || sleep(PAUSE)));
            let (mut tasks, mut threads) = (Vec::new(), Vec::new());
            for n in 0..32 {
                if (n % 2 == 0) == thread_first {
                    threads.push(from_thread(Arc::clone(&harness)));
                } else {
                    tasks.push(runtime.spawn(from_task(Arc::clone(&harness))));
                }
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            runtime.block_on(async {
                for task in tasks {
                    task.await.unwrap();
                }
            });
            assert_eq!(harness.computes(), 1);
        }
    });
}

#[test]
fn different_keys_do_not_wait_for_each_other() {
    within_ten_seconds(|| {
        let (harness, both) = (Harness::new(), Barrier::new(2));
        scope(|threads| {
            for key in [1, 2] {
                let (harness, both) = (&harness, &both);
                threads.spawn(move || {
                    harness.call(key, || {
                        both.wait();
                    });
                });
            }
        });
        assert_eq!(harness.computes(), 2);
    });
}

#[test]
fn a_panic_of_the_leading_thread_goes_to_its_caller_alone_and_those_who_wait_run_the_body_themselves() {
    within_ten_seconds(|| {
        let (harness, first, gate) = (Harness::new(), AtomicUsize::new(0), Barrier::new(32));
        let body = || {
            sleep(PAUSE);
            assert_ne!(first.fetch_add(1, Ordering::SeqCst), 0, "the first body fails");
        };
        let panics = AtomicUsize::new(0);
        scope(|threads| {
            for _ in 0..32 {
                threads.spawn(|| {
                    gate.wait();
                    if catch_unwind(AssertUnwindSafe(|| harness.call(1, body))).is_err() {
                        panics.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(harness.computes() > 1);
        assert_eq!(panics.into_inner(), 1);
    });
}

#[test]
fn a_panic_of_the_leading_task_goes_to_its_caller_alone_and_those_who_wait_run_the_body_themselves() {
    within_ten_seconds(|| {
        multi_thread().block_on(async {
            let (harness, first) = (Harness::new(), Arc::new(AtomicUsize::new(0)));
            let call = |harness: Arc<Harness>, first: Arc<AtomicUsize>| async move {
                let body = async {
                    tokio::time::sleep(PAUSE).await;
                    assert_ne!(first.fetch_add(1, Ordering::SeqCst), 0, "the first body fails");
                };
                harness.call_async(1, body).await;
            };
            let tasks: Vec<_> = (0..32).map(|_| tokio::spawn(call(harness.clone(), first.clone()))).collect();
            let mut panics = 0;
            for task in tasks {
                panics += usize::from(task.await.is_err());
            }
            assert!(harness.computes() > 1);
            assert_eq!(panics, 1);
        });
    });
}

#[test]
fn a_body_that_always_panics_keeps_nobody_waiting() {
    within_ten_seconds(|| {
        let harness = Harness::new();
        scope(|threads| {
            for _ in 0..32 {
                threads.spawn(|| {
                    assert!(catch_unwind(AssertUnwindSafe(|| harness.call(1, || panic!("always")))).is_err());
                });
            }
        });
        assert_eq!(harness.computes(), 32);
    });
}

#[test]
fn a_value_that_was_not_stored_is_made_by_each_caller() {
    within_ten_seconds(|| {
        let harness = Harness::new();
        let Joined::Leader(leader) = harness.in_flight.join(&1, None) else { panic!("nobody else leads") };
        scope(|threads| {
            let others: Vec<_> = (0..4).map(|_| threads.spawn(|| harness.call(1, || ()))).collect();
            sleep(PAUSE);
            leader.complete(Outcome::NotStored(None));
            others.into_iter().for_each(|other| other.join().unwrap());
        });
        assert_eq!(harness.computes(), 4);
    });
}

#[test]
fn a_thread_that_waits_leaves_the_park_token_of_the_program_alone() {
    within_ten_seconds(|| {
        let harness = Harness::new();
        let Joined::Leader(leader) = harness.in_flight.join(&1, None) else { panic!("nobody else leads") };
        scope(|threads| {
            let waiter = threads.spawn(|| {
                harness.call(1, || ());
                std::thread::park();
            });
            sleep(PAUSE);
            waiter.thread().unpark();
            sleep(PAUSE);
            harness.store(1);
            leader.complete(Outcome::Stored);
        });
    });
}
