//! One flight as a pure state machine: no locks, no threads, no clock. Wakers that have to be woken or dropped are
//! returned, so that it happens outside every lock.

use std::collections::BTreeMap;

/// Woken at once when a flight has lost its leader. More than one, so that a task that is never polled again cannot
/// hold up all the others; not all, so that a thousand callers who give up one after another do not wake each other a
/// million times.
const CANDIDATES: usize = 8;

/// Who waits. Threads come first: a woken thread always comes, a woken task might have to wait for its executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WaiterKind {
    Thread,
    Task,
}

/// A place in the queue of waiters, which is ordered by it.
pub(super) type QueueSlot = (WaiterKind, u64);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase<L> {
    /// By so many callers, each of whom runs the body.
    Led(usize),
    /// The leaders are gone, whoever asks next leads.
    Vacant,
    Completed(L),
}

/// What a caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer<L> {
    /// Lead from now on.
    Lead,
    Completed(L),
    Wait,
}

/// A flight. `W` wakes a waiter, `L` is the outcome.
///
/// A waiter is a caller that was [added](Self::add_waiter) and has not [left](Self::leave). While the flight is vacant and has
/// waiters, at least one of them has been woken and has neither asked nor left since: so the flight finds its next leader.
/// There is one leader, and beside it those that were [added](Self::add_leader) because they must not wait; the first to
/// complete decides for all.
pub(super) struct State<W, L> {
    phase: Phase<L>,
    waiters: usize,
    waiting: BTreeMap<QueueSlot, W>,
    last_slot: u64,
    several_leaders: bool,
}

impl<W, L: Clone> State<W, L> {
    /// A flight that is led by the caller who made it.
    pub(super) fn led() -> Self {
        Self { phase: Phase::Led(1), waiters: 0, waiting: BTreeMap::new(), last_slot: 0, several_leaders: false }
    }

    /// What to do for a caller who may wait.
    pub(super) fn ask(&mut self) -> Answer<L> {
        match &self.phase {
            Phase::Led(_) => Answer::Wait,
            Phase::Completed(outcome) => Answer::Completed(outcome.clone()),
            Phase::Vacant => {
                self.phase = Phase::Led(1);
                Answer::Lead
            }
        }
    }

    /// What to do for a caller who must not wait: if the flight is not completed, it leads too. Never [`Answer::Wait`].
    pub(super) fn add_leader(&mut self) -> Answer<L> {
        if let Phase::Led(leaders) = &mut self.phase {
            *leaders += 1;
            self.several_leaders = true;
            return Answer::Lead;
        }
        self.ask()
    }

    /// A caller joins to wait. Returns how many waiters there were before.
    pub(super) fn add_waiter(&mut self) -> usize {
        self.waiters += 1;
        self.waiters - 1
    }

    /// Queues a waiter, or replaces its waker. Returns the waker that is no longer needed.
    pub(super) fn wait(&mut self, kind: WaiterKind, slot: &mut Option<QueueSlot>, wake: W) -> Option<W> {
        if let Some(place) = slot.and_then(|slot| self.waiting.get_mut(&slot)) {
            return Some(std::mem::replace(place, wake));
        }
        self.last_slot += 1;
        let place = (kind, self.last_slot);
        *slot = Some(place);
        self.waiting.insert(place, wake)
    }

    /// A waiter leaves. Returns the wakers to wake in its place, and its own, which is no longer needed.
    pub(super) fn leave(&mut self, slot: Option<QueueSlot>) -> (Vec<W>, Option<W>) {
        self.waiters -= 1;
        let own = slot.and_then(|slot| self.waiting.remove(&slot));
        (if matches!(self.phase, Phase::Vacant) { self.candidates() } else { Vec::new() }, own)
    }

    /// A leader is done. Returns the wakers to wake, or the outcome if another leader was first.
    pub(super) fn complete(&mut self, outcome: L) -> Result<Vec<W>, L> {
        if self.completed().is_some() {
            return Err(outcome);
        }
        self.phase = Phase::Completed(outcome);
        Ok(std::mem::take(&mut self.waiting).into_values().collect())
    }

    /// A leader is gone without having completed. Returns the wakers to wake.
    pub(super) fn abandon(&mut self) -> Vec<W> {
        match &mut self.phase {
            Phase::Led(leaders) if *leaders > 1 => *leaders -= 1,
            Phase::Led(_) => {
                self.phase = Phase::Vacant;
                return self.candidates();
            }
            Phase::Vacant | Phase::Completed(_) => {}
        }
        Vec::new()
    }

    /// The outcome, if there is one.
    pub(super) fn completed(&self) -> Option<&L> {
        match &self.phase {
            Phase::Completed(outcome) => Some(outcome),
            Phase::Led(_) | Phase::Vacant => None,
        }
    }

    /// Whether several callers have led it at the same time.
    pub(super) fn had_several_leaders(&self) -> bool {
        self.several_leaders
    }

    /// Whether somebody waits for it.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiters > 0
    }

    /// Whether nobody leads and nobody is left who could.
    pub(super) fn is_deserted(&self) -> bool {
        matches!(self.phase, Phase::Vacant) && self.waiters == 0
    }

    fn candidates(&mut self) -> Vec<W> {
        std::iter::from_fn(|| self.waiting.pop_first()).take(CANDIDATES).map(|(_, wake)| wake).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_landing_wakes_everybody_and_is_told_to_everybody() {
        let mut state = State::<_, char>::led();
        for waiter in 0..20 {
            state.add_waiter();
            assert_eq!(state.wait(WaiterKind::Task, &mut None, waiter), None);
        }
        assert_eq!(state.complete('x'), Ok((0..20).collect::<Vec<_>>()));
        assert_eq!(state.ask(), Answer::Completed('x'));
    }

    #[test]
    fn an_abandoned_flight_wakes_threads_first_and_goes_to_the_first_who_asks() {
        let mut state = State::<_, char>::led();
        for waiter in 0..20 {
            state.add_waiter();
            let kind = if waiter == 15 { WaiterKind::Thread } else { WaiterKind::Task };
            state.wait(kind, &mut None, waiter);
        }
        assert_eq!(state.abandon(), [15, 0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(state.ask(), Answer::Lead);
        assert_eq!(state.ask(), Answer::Wait);
    }

    #[test]
    fn a_waiter_that_is_polled_again_keeps_its_place_and_changes_its_waker() {
        let (mut state, mut first, mut second) = (State::<_, char>::led(), None, None);
        state.wait(WaiterKind::Task, &mut first, 'a');
        state.wait(WaiterKind::Task, &mut second, 'b');
        assert_eq!(state.wait(WaiterKind::Task, &mut first, 'c'), Some('a'));
        assert_eq!(state.complete('x'), Ok(vec!['c', 'b']));
    }

    #[test]
    fn of_several_leaders_the_first_to_land_decides_and_the_others_change_nothing() {
        let mut state = State::<u8, char>::led();
        assert_eq!((state.add_leader(), state.add_leader()), (Answer::Lead, Answer::Lead));
        assert!(state.abandon().is_empty() && state.ask() == Answer::Wait, "two are left");
        assert_eq!((state.complete('x'), state.complete('y')), (Ok(vec![]), Err('y')));
        assert!(state.abandon().is_empty());
        assert_eq!((state.add_leader(), state.ask()), (Answer::Completed('x'), Answer::Completed('x')));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Arrive,
        Poll(usize),
        Cancel(usize),
        AddLeader(usize),
        Abandon,
        Complete,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Arrive),
            4 => (0..64usize).prop_map(Step::Poll),
            3 => (0..64usize).prop_map(Step::Cancel),
            1 => (0..64usize).prop_map(Step::AddLeader),
            3 => Just(Step::Abandon),
            1 => Just(Step::Complete),
        ]
    }

    /// Waiters as they see themselves: the slot and whether they were woken since they asked last.
    #[derive(Default)]
    struct Model {
        waiters: BTreeMap<usize, (Option<QueueSlot>, bool)>,
        arrived: usize,
        leaders: usize,
        completed: bool,
    }

    impl Model {
        fn woken(&mut self, whom: Vec<usize>) {
            for waiter in whom {
                self.waiters.get_mut(&waiter).expect("only waiters are woken").1 = true;
            }
        }

        fn pick(&self, n: usize) -> Option<usize> {
            let count = self.waiters.len();
            (count > 0).then(|| *self.waiters.keys().nth(n % count).unwrap())
        }

        fn poll(&mut self, state: &mut State<usize, char>, waiter: usize) {
            let (mut slot, _) = self.waiters.remove(&waiter).unwrap();
            match state.ask() {
                Answer::Wait => {
                    state.wait(WaiterKind::Task, &mut slot, waiter);
                    self.waiters.insert(waiter, (slot, false));
                    return;
                }
                Answer::Lead => {
                    assert_eq!(self.leaders, 0, "it should wait");
                    self.leaders = 1;
                }
                Answer::Completed(_) => assert!(self.completed),
            }
            let woken = state.leave(slot).0;
            self.woken(woken);
        }

        fn cancel(&mut self, state: &mut State<usize, char>, waiter: usize) {
            let (slot, _) = self.waiters.remove(&waiter).unwrap();
            let woken = state.leave(slot).0;
            self.woken(woken);
        }

        fn add_leader(&mut self, state: &mut State<usize, char>, waiter: usize) {
            let (slot, _) = self.waiters.remove(&waiter).unwrap();
            match state.add_leader() {
                Answer::Lead => self.leaders += 1,
                answer => assert!(self.completed && answer == Answer::Completed('x')),
            }
            let woken = state.leave(slot).0;
            self.woken(woken);
        }

        fn arrive(&mut self, state: &mut State<usize, char>) {
            self.arrived += 1;
            state.add_waiter();
            self.waiters.insert(self.arrived, (None, false));
            self.poll(state, self.arrived);
        }

        fn take(&mut self, state: &mut State<usize, char>, step: Step) {
            match step {
                Step::Arrive => self.arrive(state),
                Step::Poll(n) => self.pick(n).into_iter().for_each(|waiter| self.poll(state, waiter)),
                Step::Cancel(n) => self.pick(n).into_iter().for_each(|waiter| self.cancel(state, waiter)),
                Step::AddLeader(n) => self.pick(n).into_iter().for_each(|waiter| self.add_leader(state, waiter)),
                Step::Abandon if self.leaders > 0 => {
                    self.leaders -= 1;
                    let woken = state.abandon();
                    self.woken(woken);
                }
                Step::Complete if self.leaders > 0 => {
                    self.leaders -= 1;
                    let woken = state.complete('x');
                    assert_eq!(woken.is_ok(), !std::mem::replace(&mut self.completed, true));
                    self.woken(woken.unwrap_or_default());
                }
                Step::Abandon | Step::Complete => {}
            }
        }
    }

    proptest! {
        #[test]
        fn there_is_one_leader_beside_those_who_must_not_wait_and_never_a_waiter_whom_nobody_will_wake(steps in prop::collection::vec(step(), 0..200)) {
            let (mut state, mut model) = (State::led(), Model { leaders: 1, ..Model::default() });
            for step in steps {
                model.take(&mut state, step);
                if model.completed {
                    prop_assert!(model.waiters.values().all(|(_, woken)| *woken));
                } else if model.leaders == 0 {
                    prop_assert_eq!(state.is_deserted(), model.waiters.is_empty());
                    prop_assert!(model.waiters.is_empty() || model.waiters.values().any(|(_, woken)| *woken));
                }
            }
        }
    }
}
