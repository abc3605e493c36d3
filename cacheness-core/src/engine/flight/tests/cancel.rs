use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use super::*;

/// Awaited five times by the bodies here, so that there are several places to be cancelled at.
async fn five_steps() {
    for _ in 0..5 {
        tokio::task::yield_now().await;
    }
}

fn poll_once(future: Pin<&mut impl Future>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

fn on_both_runtimes<F: Future<Output = ()> + Send + 'static>(test: impl Fn() -> F + Send + 'static) {
    within_ten_seconds(move || {
        current_thread().block_on(test());
        let runtime = multi_thread();
        let task = runtime.spawn(test());
        runtime.block_on(task).unwrap();
    });
}

#[test]
fn a_leader_dropped_after_any_number_of_polls_leaves_nothing_behind() {
    on_both_runtimes(|| async {
        let mut cancelled = 0;
        loop {
            let harness = Harness::new();
            {
                let mut leader = Box::pin(harness.call_async(1, five_steps()));
                if (0..cancelled).any(|_| poll_once(leader.as_mut())) {
                    break;
                }
            }
            assert_eq!(harness.in_flight.len(), 0);
            harness.call_async(1, five_steps()).await;
            assert!(harness.computes() <= 2);
            cancelled += 1;
        }
        assert!(cancelled > 5, "cancelled at {cancelled} places");
    });
}

#[test]
fn a_leader_dropped_after_any_number_of_polls_hands_over_to_one_of_its_followers() {
    on_both_runtimes(|| async {
        for polls in 1..5 {
            let harness = Harness::new();
            let mut leader = Box::pin(harness.call_async(1, five_steps()));
            (0..polls).for_each(|_| assert!(!poll_once(leader.as_mut())));
            let followers: Vec<_> = (0..20)
                .map(|_| {
                    let harness = Arc::clone(&harness);
                    tokio::spawn(async move { harness.call_async(1, five_steps()).await })
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert_eq!(harness.computes(), 1);
            drop(leader);
            for follower in followers {
                follower.await.unwrap();
            }
            assert_eq!(harness.computes(), 2);
        }
    });
}

#[test]
fn a_follower_dropped_after_any_number_of_polls_disturbs_nobody() {
    on_both_runtimes(|| async {
        for polls in 0..8 {
            let harness = Harness::new();
            let mut leader = pin!(harness.call_async(1, five_steps()));
            assert!(!poll_once(leader.as_mut()));
            {
                let mut follower = pin!(harness.call_async(1, five_steps()));
                let mut steps = 0;
                while steps < polls && !poll_once(follower.as_mut()) {
                    poll_once(leader.as_mut());
                    steps += 1;
                    if harness.computes() == 1 && harness.has(1) {
                        break;
                    }
                }
            }
            if !harness.has(1) {
                leader.await;
            }
            assert_eq!(harness.computes(), 1);
        }
    });
}

#[test]
fn a_follower_that_was_called_to_lead_and_is_dropped_before_it_comes_passes_the_call_on() {
    on_both_runtimes(|| async {
        let harness = Harness::new();
        let mut leader = Box::pin(harness.call_async(1, five_steps()));
        assert!(!poll_once(leader.as_mut()));
        let mut sleepers: Vec<_> = (0..20).map(|_| Box::pin(harness.call_async(1, five_steps()))).collect();
        for sleeper in &mut sleepers {
            assert!(!poll_once(sleeper.as_mut()));
        }
        let last = Arc::clone(&harness);
        let last = tokio::spawn(async move { last.call_async(1, five_steps()).await });
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(leader);
        drop(sleepers);
        last.await.unwrap();
        assert_eq!(harness.computes(), 2);
    });
}

#[test]
fn a_follower_that_is_never_polled_again_keeps_no_other_from_leading() {
    on_both_runtimes(|| async {
        let harness = Harness::new();
        let mut leader = Box::pin(harness.call_async(1, five_steps()));
        assert!(!poll_once(leader.as_mut()));
        let mut asleep = Box::pin(harness.call_async(1, five_steps()));
        assert!(!poll_once(asleep.as_mut()));
        let other = Arc::clone(&harness);
        let other = tokio::spawn(async move { other.call_async(1, five_steps()).await });
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(leader);
        other.await.unwrap();
        harness.call_async(1, five_steps()).await;
        assert_eq!(harness.computes(), 2);
    });
}

#[test]
fn an_abandoned_flight_that_a_newcomer_takes_over_is_still_the_one_its_followers_wait_for() {
    on_both_runtimes(|| async {
        let harness = Harness::new();
        let mut leader = Box::pin(harness.call_async(1, five_steps()));
        let mut follower = Box::pin(harness.call_async(1, five_steps()));
        assert!(!poll_once(leader.as_mut()) && !poll_once(follower.as_mut()));
        drop(leader);
        let mut newcomer = Box::pin(harness.call_async(1, five_steps()));
        assert!(!poll_once(newcomer.as_mut()) && !poll_once(follower.as_mut()));
        newcomer.await;
        follower.await;
        assert_eq!(harness.computes(), 2);
    });
}

#[test]
fn a_flight_that_leader_and_followers_leave_is_gone() {
    on_both_runtimes(|| async {
        let harness = Harness::new();
        let mut leader = Box::pin(harness.call_async(1, five_steps()));
        let mut follower = Box::pin(harness.call_async(1, five_steps()));
        assert!(!poll_once(leader.as_mut()) && !poll_once(follower.as_mut()));
        drop(leader);
        assert_eq!(harness.in_flight.len(), 1);
        drop(follower);
        assert_eq!(harness.in_flight.len(), 0);
    });
}

#[test]
fn a_body_that_panics_at_any_await_leaves_nothing_behind() {
    on_both_runtimes(|| async {
        for step in 0..5 {
            let harness = Harness::new();
            let failing = Arc::clone(&harness);
            let failing = tokio::spawn(async move {
                let body = async {
                    for at in 0..5 {
                        assert_ne!(at, step);
                        tokio::task::yield_now().await;
                    }
                };
                failing.call_async(1, body).await;
            });
            assert!(failing.await.unwrap_err().is_panic());
            assert_eq!(harness.in_flight.len(), 0);
            harness.call_async(1, five_steps()).await;
            assert_eq!(harness.computes(), 2);
        }
    });
}

#[test]
fn a_lead_may_end_on_another_thread_than_it_began() {
    within_ten_seconds(|| {
        let harness = Harness::new();
        let Joined::Leader(leader) = harness.in_flight.join(&1, None) else { panic!("nobody else leads") };
        std::thread::spawn(move || leader.run(|| ())).join().unwrap();
        assert_eq!(harness.in_flight.len(), 0, "dropped there without outcome");
    });
}

#[test]
fn the_futures_are_send_and_small() {
    fn send<T: Send>(future: T) -> usize {
        size_of_val(&future)
    }
    let harness = Harness::new();
    assert!(send(harness.in_flight.join_async(1, None)) <= 128);
    let Joined::Leader(leader) = harness.in_flight.join(&1, None) else { panic!("nobody else leads") };
    let large_body = async {
        let buffer = [0u8; 4096];
        tokio::task::yield_now().await;
        assert_eq!(buffer[0], 0);
    };
    assert!(send(leader.run_async(large_body)) <= 32);
}

#[test]
fn a_future_that_is_polled_by_nobody_in_particular_is_woken() {
    struct Flag(AtomicUsize);
    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (harness, flag) = (Harness::new(), Arc::new(Flag(AtomicUsize::new(0))));
    let waker = Waker::from(Arc::clone(&flag));
    let mut cx = Context::from_waker(&waker);
    let Joined::Leader(leader) = harness.in_flight.join(&1, None) else { panic!("nobody else leads") };
    let mut follower = pin!(harness.in_flight.join_async(1, None));
    assert!(follower.as_mut().poll(&mut cx).is_pending());
    assert_eq!(flag.0.load(Ordering::SeqCst), 0);
    leader.complete(Outcome::Stored);
    assert_eq!(flag.0.load(Ordering::SeqCst), 1);
    assert!(matches!(follower.poll(&mut cx), Poll::Ready(Joined::Completed(Outcome::Stored))));
}
