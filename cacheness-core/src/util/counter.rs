use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Of one thread each, the first that count.
const OWN: usize = 4;
/// Of all other threads together.
const SHARED: usize = 8;
const STRIPES: usize = OWN + SHARED;

/// A counter that threads do not fight over: the first of them count in a cache line of their own, without so much as an
/// atomic addition.
#[derive(Debug, Default)]
pub(crate) struct Counter([Stripe; STRIPES]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A thread that has not counted yet.
const NONE: usize = usize::MAX;

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(NONE) };
}

/// Without a destructor, it is there until the thread ends.
fn mine() -> usize {
    match MINE.get() {
        NONE => {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let mine = if number < OWN { number } else { OWN + number % SHARED };
            MINE.set(mine);
            mine
        }
        mine => mine,
    }
}

impl Counter {
    #[inline]
    pub(crate) fn count(&self) {
        let mine = mine();
        let count = &self.0[mine].0;
        if mine >= OWN {
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            // No other thread ever has this stripe.
            count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_threads_are_in_the_sum() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..50).for_each(|_| counter.count()));
            }
        });
        assert_eq!(counter.sum(), 1000);
    }
}
