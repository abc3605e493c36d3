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
        let office = Office::patient(WAIT);
        office.call(1, || scope(|threads| threads.spawn(|| office.call(1, || ())).join().unwrap()));
        assert_eq!(office.computes(), 2);
        assert_eq!(office.flights.in_flight(), 0);
    });
}

#[test]
fn who_waits_no_longer_lands_for_all_and_the_first_leader_changes_nothing_any_more() {
    within_ten_seconds(|| {
        let office = Office::patient(WAIT);
        let Boarding::Lead(stuck) = office.flights.board(&1, None) else { panic!("nobody else leads") };
        let callers: Vec<_> = (0..10)
            .map(|_| {
                let office = Arc::clone(&office);
                spawn(move || office.call(1, || ()))
            })
            .collect();
        for caller in callers {
            caller.join().unwrap();
        }
        assert_eq!(office.computes(), 1, "one waited no longer, and the others had its value");
        assert!(stuck.is_over());
        stuck.land(Landing::NotStored(None));
        office.call(1, || unreachable!("it is stored"));
    });
}

#[test]
fn a_leader_whose_flight_another_one_ended_without_a_value_knows_that_it_is_over() {
    within_ten_seconds(|| {
        let flights = Flights::new(WAIT);
        let Boarding::Lead(slow) = flights.board(&1, None) else { panic!("nobody else leads") };
        let Boarding::Lead(second) = flights.board(&1, None) else { panic!("patience ends") };
        assert!(!slow.is_over());
        second.land(Landing::NotStored(None));
        let Boarding::Lead(newer) = flights.board(&1, None) else { panic!("the flight is gone") };
        assert!(slow.is_over() && !newer.is_over());
        slow.land(Landing::Stored);
        assert!(!newer.is_over(), "it is another flight");
        newer.land(Landing::Stored);
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
    let flights = Flights::new(UNHEARD_OF);
    let (sender, rung) = channel();
    for lands in [true, false] {
        let Boarding::Lead(lead) = flights.board(&1, None) else { panic!("nobody else leads") };
        let wakers = [Waker::from(Arc::new(Panics)), Waker::from(Arc::new(Rings(sender.clone())))];
        let mut waiting = [flights.board_async(1, None), flights.board_async(1, None)];
        for (board, waker) in waiting.iter_mut().zip(&wakers) {
            assert!(pin!(board).poll(&mut Context::from_waker(waker)).is_pending());
        }
        if lands {
            lead.land(Landing::Stored);
        } else {
            drop(lead);
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
    let flights = Flights::new(WAIT);
    let Boarding::Lead(stuck) = flights.board(&1, None) else { panic!("nobody else leads") };
    let (sender, rung) = channel();
    let waker = Waker::from(Arc::new(Rings(sender)));
    let mut waiting = pin!(flights.board_async(1, None));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    rung.recv_timeout(Duration::from_secs(10)).unwrap();
    let joined = waiting.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(matches!(joined, Poll::Ready(Boarding::Lead(_))));
    drop(stuck);
}

#[test]
fn a_leader_that_is_kept_and_not_polled_holds_up_no_call_beside_it() {
    within_ten_seconds(|| {
        current_thread().block_on(async {
            let office = Office::new();
            let mut kept = Box::pin(office.call_async(1, tokio::time::sleep(Duration::from_millis(10))));
            assert!(tokio::time::timeout(Duration::from_millis(1), &mut kept).await.is_err());
            office.call_async(1, async {}).await;
            assert_eq!(office.computes(), 2, "it ran beside the one that is kept");
            kept.await;
        });
    });
}

#[test]
fn a_body_that_usually_takes_long_is_waited_for_longer() {
    within_ten_seconds(|| {
        let office = Office::patient(WAIT);
        office.call(1, || sleep(Duration::from_millis(200)));
        let gate = std::sync::Barrier::new(8);
        scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    gate.wait();
                    office.call(2, || sleep(Duration::from_millis(200)));
                });
            }
        });
        assert_eq!(office.computes(), 2);
    });
}
