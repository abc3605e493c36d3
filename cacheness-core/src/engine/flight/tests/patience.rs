//! Waits that nobody sees the end of.

use std::pin::pin;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{scope, sleep, spawn};

use super::*;
use crate::util::threads::tests::Panics;

/// As long as a caller waits at least here.
const WAIT: Duration = Duration::from_millis(20);

#[test]
fn a_body_that_joins_a_thread_which_waits_for_it_ends_after_its_waiter_has_run_it_too() {
    within_ten_seconds(|| {
        let harness = Harness::patient(WAIT);
        harness.call(1, || scope(|threads| threads.spawn(|| harness.call(1, || ())).join().unwrap()));
        assert_eq!(harness.computes(), 2);
        assert_eq!(harness.in_flight.len(), 0);
    });
}

#[test]
fn who_waits_no_longer_lands_for_all_and_the_first_leader_changes_nothing_any_more() {
    within_ten_seconds(|| {
        let harness = Harness::patient(WAIT);
        let Joined::Leader(stuck) = harness.in_flight.join(&1, None) else { panic!("nobody else leads") };
        let callers: Vec<_> = (0..10)
            .map(|_| {
                let harness = Arc::clone(&harness);
                spawn(move || harness.call(1, || ()))
            })
            .collect();
        for caller in callers {
            caller.join().unwrap();
        }
        assert_eq!(harness.computes(), 1, "one waited no longer, and the others had its value");
        assert!(stuck.is_completed());
        stuck.complete(Outcome::NotStored(None));
        harness.call(1, || unreachable!("it is stored"));
    });
}

#[test]
fn a_leader_whose_flight_another_one_ended_without_a_value_knows_that_it_is_over() {
    within_ten_seconds(|| {
        let in_flight = InFlight::new(WAIT);
        let Joined::Leader(slow) = in_flight.join(&1, None) else { panic!("nobody else leads") };
        let Joined::Leader(second) = in_flight.join(&1, None) else { panic!("patience ends") };
        assert!(!slow.is_completed());
        second.complete(Outcome::NotStored(None));
        let Joined::Leader(newer) = in_flight.join(&1, None) else { panic!("the flight is gone") };
        assert!(slow.is_completed() && !newer.is_completed());
        slow.complete(Outcome::Stored);
        assert!(!newer.is_completed(), "it is another flight");
        newer.complete(Outcome::Stored);
    });
}

#[test]
fn a_waker_that_panics_keeps_no_other_waiter_asleep() {
    struct Rings(mpsc::Sender<()>);
    impl Wake for Rings {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }
    let in_flight = InFlight::new(UNHEARD_OF);
    let (sender, rung) = channel();
    for completes in [true, false] {
        let Joined::Leader(leader) = in_flight.join(&1, None) else { panic!("nobody else leads") };
        let wakers = [Waker::from(Arc::new(Panics)), Waker::from(Arc::new(Rings(sender.clone())))];
        let mut waiting = [in_flight.join_async(1, None), in_flight.join_async(1, None)];
        for (join, waker) in waiting.iter_mut().zip(&wakers) {
            assert!(pin!(join).poll(&mut Context::from_waker(waker)).is_pending());
        }
        if completes {
            leader.complete(Outcome::Stored);
        } else {
            drop(leader);
        }
        assert!(rung.try_recv().is_ok(), "the second waiter sleeps");
    }
}

#[test]
fn a_task_that_waits_is_woken_when_its_patience_ends_whatever_polls_it() {
    struct Rings(mpsc::Sender<()>);
    impl Wake for Rings {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }
    let in_flight = InFlight::new(WAIT);
    let Joined::Leader(stuck) = in_flight.join(&1, None) else { panic!("nobody else leads") };
    let (sender, rung) = channel();
    let waker = Waker::from(Arc::new(Rings(sender)));
    let mut waiting = pin!(in_flight.join_async(1, None));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    rung.recv_timeout(Duration::from_secs(10)).unwrap();
    let joined = waiting.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(matches!(joined, Poll::Ready(Joined::Leader(_))));
    drop(stuck);
}

#[test]
fn a_leader_that_is_kept_and_not_polled_holds_up_no_call_beside_it() {
    within_ten_seconds(|| {
        current_thread().block_on(async {
            let harness = Harness::new();
            let mut kept = Box::pin(harness.call_async(1, tokio::time::sleep(Duration::from_millis(10))));
            assert!(tokio::time::timeout(Duration::from_millis(1), &mut kept).await.is_err());
            harness.call_async(1, async {}).await;
            assert_eq!(harness.computes(), 2, "it ran beside the one that is kept");
            kept.await;
        });
    });
}

#[test]
fn a_body_that_usually_takes_long_is_waited_for_longer() {
    within_ten_seconds(|| {
        let harness = Harness::patient(WAIT);
        harness.call(1, || sleep(Duration::from_millis(200)));
        let gate = std::sync::Barrier::new(8);
        scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    gate.wait();
                    harness.call(2, || sleep(Duration::from_millis(200)));
                });
            }
        });
        assert_eq!(harness.computes(), 2);
    });
}
