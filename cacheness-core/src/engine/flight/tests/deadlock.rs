//! Bodies that call cached functions themselves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Barrier;
use std::task::{Context, Waker};
use std::thread::scope;

use proptest::prelude::*;

use super::super::context::{QUIET, waits};
use super::*;

/// Runs a test that has the graph of waits for itself, and looks whether it is empty afterwards.
fn alone_with_the_graph(test: impl FnOnce() + Send + 'static) {
    let _quiet = lock(&QUIET);
    within_ten_seconds(test);
    assert_eq!(waits(), 0, "a wait is left behind");
}

#[test]
fn a_key_called_in_its_own_body_runs_alone() {
    alone_with_the_graph(|| {
        let harness = Harness::new();
        harness.call(1, || harness.call(2, || harness.call(1, || harness.call(2, || ()))));
        assert_eq!(harness.computes(), 4);
    });
}

#[test]
fn a_key_awaited_in_its_own_body_runs_alone() {
    alone_with_the_graph(|| {
        current_thread().block_on(async {
            let harness = Harness::new();
            let inner = harness.call_async(1, async { tokio::task::yield_now().await });
            let middle = harness.call_async(2, async {
                tokio::task::yield_now().await;
                inner.await;
            });
            harness.call_async(1, middle).await;
            assert_eq!(harness.computes(), 3);
        });
    });
}

#[test]
fn a_sync_call_inside_an_async_body_of_the_same_key_runs_alone() {
    alone_with_the_graph(|| {
        let harness = Harness::new();
        current_thread().block_on(harness.call_async(1, async { harness.call(1, || ()) }));
        assert_eq!(harness.computes(), 2);
    });
}

#[test]
fn two_threads_whose_bodies_call_each_others_keys_both_finish() {
    alone_with_the_graph(|| {
        let (one, other, both_lead) = (Harness::new(), Harness::new(), Barrier::new(2));
        scope(|threads| {
            threads.spawn(|| {
                one.call(1, || {
                    both_lead.wait();
                    other.call(2, || ());
                });
            });
            threads.spawn(|| {
                other.call(2, || {
                    both_lead.wait();
                    one.call(1, || ());
                });
            });
        });
        assert_eq!(one.computes() + other.computes(), 3, "only who would have closed the circle ran alone");
    });
}

async fn two_tasks() {
    let (harness, both_lead) = (Harness::new(), Arc::new(tokio::sync::Barrier::new(2)));
    let task = |own: u32, other: u32| {
        let (harness, both_lead) = (Arc::clone(&harness), Arc::clone(&both_lead));
        tokio::spawn(async move {
            let body = async {
                both_lead.wait().await;
                harness.call_async(other, async {}).await;
            };
            harness.call_async(own, body).await;
        })
    };
    let tasks = [task(1, 2), task(2, 1)];
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(harness.computes(), 3);
}

#[test]
fn two_tasks_whose_bodies_await_each_others_keys_both_finish() {
    alone_with_the_graph(|| {
        current_thread().block_on(two_tasks());
        multi_thread().block_on(two_tasks());
    });
}

#[test]
fn a_circle_of_five_threads_with_inner_bodies_is_cut_once() {
    alone_with_the_graph(|| {
        let (harness, all_lead) = (Harness::new(), Barrier::new(5));
        scope(|threads| {
            for n in 0..5 {
                let (harness, all_lead) = (&harness, &all_lead);
                threads.spawn(move || {
                    harness.call(n, || {
                        harness.call(10 + n, || {
                            all_lead.wait();
                            harness.call((n + 1) % 5, || ());
                        });
                    });
                });
            }
        });
        assert_eq!(harness.computes(), 11);
    });
}

#[test]
fn a_circle_through_one_of_several_calls_a_body_awaits_at_once_is_cut() {
    alone_with_the_graph(|| {
        multi_thread().block_on(async {
            let (harness, all_lead) = (Harness::new(), Arc::new(tokio::sync::Barrier::new(3)));
            let (first, second, third) = (Arc::clone(&harness), Arc::clone(&harness), Arc::clone(&harness));
            let gates: [_; 3] = std::array::from_fn(|_| Arc::clone(&all_lead));
            let [g1, g2, g3] = gates;
            let joining = tokio::spawn(async move {
                let body = async {
                    g1.wait().await;
                    tokio::join!(first.call_async(2, async {}), first.call_async(3, async {}));
                };
                first.call_async(1, body).await;
            });
            let harmless = tokio::spawn(async move {
                let body = async {
                    g2.wait().await;
                };
                second.call_async(2, body).await;
            });
            let closing = tokio::spawn(async move {
                let body = async {
                    g3.wait().await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    third.call_async(1, async {}).await;
                };
                third.call_async(3, body).await;
            });
            for task in [joining, harmless, closing] {
                task.await.unwrap();
            }
            assert_eq!(harness.computes(), 4);
        });
    });
}

#[test]
fn a_body_cancelled_while_it_waits_takes_its_wait_out_of_the_graph() {
    alone_with_the_graph(|| {
        current_thread().block_on(async {
            let harness = Harness::new();
            let Joined::Leader(leader) = harness.in_flight.join(&2, None) else { panic!("nobody else leads") };
            let nested = harness.call_async(1, harness.call_async(2, async {}));
            assert!(tokio::time::timeout(Duration::from_millis(5), nested).await.is_err());
            assert_eq!((waits(), harness.in_flight.len()), (0, 1));
            leader.complete(Outcome::NotStored(None));
        });
    });
}

/// Polls once and finds that it waits.
async fn poll(waiting: &mut Pin<Box<impl Future>>) {
    assert!(tokio::time::timeout(Duration::ZERO, waiting.as_mut()).await.is_err());
}

#[test]
fn a_wait_belongs_to_the_body_that_polls_it_now() {
    alone_with_the_graph(|| {
        current_thread().block_on(async {
            let harness = Harness::new();
            let Joined::Leader(leader) = harness.in_flight.join(&2, None) else { panic!("nobody else leads") };
            let mut moved = Box::pin(harness.call_async(2, async {}));
            poll(&mut moved).await;
            assert_eq!(waits(), 0, "no body waits");
            harness.call_async(1, poll(&mut moved)).await;
            assert_eq!(waits(), 1, "the body of 1 waited when it was polled last");
            poll(&mut moved).await;
            assert_eq!(waits(), 0, "no body waits any more");
            leader.complete(Outcome::NotStored(None));
            moved.await;
        });
    });
}

#[test]
fn a_thread_does_not_sleep_for_a_task_that_only_it_can_poll() {
    alone_with_the_graph(|| {
        let harness = Harness::new();
        current_thread().block_on(async {
            let leading = Arc::clone(&harness);
            let leader =
                tokio::spawn(async move { leading.call_async(1, tokio::time::sleep(Duration::from_millis(5))).await });
            tokio::task::yield_now().await;
            harness.call(1, || ());
            leader.await.unwrap();
        });
        assert_eq!(harness.computes(), 2);
    });
}

#[test]
fn a_thread_waits_for_another_thread_that_took_over_from_a_task_of_its_own() {
    alone_with_the_graph(|| {
        let (harness, (leads, led)) = (Harness::new(), mpsc::channel());
        let mut task = Box::pin(harness.call_async(1, std::future::pending()));
        assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        scope(|threads| {
            threads.spawn(|| {
                harness.call(1, || {
                    leads.send(()).unwrap();
                    std::thread::sleep(Duration::from_millis(20));
                });
            });
            // Long enough for it to wait; if it does not, it leads a flight of its own.
            std::thread::sleep(Duration::from_millis(20));
            drop(task);
            led.recv().unwrap();
            harness.call(1, || ());
        });
        assert_eq!(harness.computes(), 2);
    });
}

#[test]
fn a_call_in_drop_while_a_body_unwinds_neither_hangs_nor_aborts() {
    struct CallsAgain<'a>(&'a Harness);
    impl Drop for CallsAgain<'_> {
        fn drop(&mut self) {
            self.0.call(1, || ());
            self.0.call(2, || ());
        }
    }
    alone_with_the_graph(|| {
        let harness = Harness::new();
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _after = CallsAgain(&harness);
            harness.call(1, || {
                let _inside = CallsAgain(&harness);
                panic!("boom");
            });
        }));
        assert!(unwound.is_err());
        assert_eq!(harness.computes(), 4, "the panic; 1 alone and 2 inside it; 1 after it, when 2 is stored");
    });
}

#[test]
fn a_call_while_a_thread_is_torn_down_neither_hangs_nor_aborts() {
    struct CallsAtTheEnd(Arc<Harness>);
    impl Drop for CallsAtTheEnd {
        fn drop(&mut self) {
            let harness = Arc::clone(&self.0);
            self.0.call(1, || harness.call(1, || ()));
        }
    }
    thread_local! {
        static LAST: std::cell::RefCell<Option<CallsAtTheEnd>> = const { std::cell::RefCell::new(None) };
    }
    alone_with_the_graph(|| {
        let harness = Harness::new();
        let at_end = CallsAtTheEnd(Arc::clone(&harness));
        let before = Arc::clone(&harness);
        std::thread::spawn(move || {
            LAST.with(|last| *last.borrow_mut() = Some(at_end));
            // What was used later is torn down earlier.
            before.call(2, || ());
        })
        .join()
        .unwrap();
        assert_eq!(harness.computes(), 3);
    });
}

/// `calls[key]` is what the body of a key calls. Each call has less fuel, since a cached function that calls itself
/// with the same arguments would not end without a cache either.
fn wander(harness: &Harness, calls: &[Vec<u32>], key: u32, fuel: u32) {
    harness.call(key, || {
        for &next in calls[key as usize].iter().take(fuel as usize) {
            wander(harness, calls, next, fuel - 1);
        }
        std::thread::yield_now();
    });
}

fn call_graph() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(0..6u32, 0..4), 6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_bodies_call_on_however_many_threads_all_finish(calls in call_graph(), starts in prop::collection::vec(0..6u32, 1..8)) {
        alone_with_the_graph(move || {
            let (harness, gate) = (Harness::new(), Barrier::new(starts.len()));
            scope(|threads| {
                for &start in &starts {
                    let (harness, calls, gate) = (&harness, &calls, &gate);
                    threads.spawn(move || {
                        gate.wait();
                        wander(harness, calls, start, 4);
                    });
                }
            });
        });
    }

    #[test]
    fn whatever_bodies_await_at_once_in_however_many_tasks_all_finish(calls in call_graph(), starts in prop::collection::vec(0..6u32, 1..8)) {
        alone_with_the_graph(move || {
            multi_thread().block_on(async {
                let (harness, calls) = (Harness::new(), Arc::new(calls));
                let tasks: Vec<_> = starts.iter().map(|&start| tokio::spawn(wander_async(harness.clone(), calls.clone(), start, 3))).collect();
                for task in tasks {
                    task.await.unwrap();
                }
            });
        });
    }
}

type Wandering = Pin<Box<dyn Future<Output = ()> + Send>>;

fn wander_async(harness: Arc<Harness>, calls: Arc<Vec<Vec<u32>>>, key: u32, fuel: u32) -> Wandering {
    Box::pin(async move {
        let call = |n: usize| {
            let next = calls[key as usize].get(n).filter(|_| fuel > 0);
            next.map(|&next| wander_async(harness.clone(), calls.clone(), next, fuel - 1))
        };
        let go = async |called: Option<Wandering>| {
            if let Some(called) = called {
                called.await;
            }
        };
        let body = async {
            tokio::task::yield_now().await;
            tokio::join!(go(call(0)), go(call(1)));
            go(call(2)).await;
        };
        harness.call_async(key, body).await;
    })
}
