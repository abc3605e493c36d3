//! One flight as a pure state machine: no locks, no threads, no clock. What has to be woken is handed back, so that it
//! happens outside every lock.

use std::collections::BTreeMap;

use super::Landing;

/// Woken at once when a flight has lost its leader. More than one, so that a task that is never polled again cannot
/// hold up all the others; not all, so that a thousand callers who give up one after another do not wake each other a
/// million times.
const CANDIDATES: usize = 8;

/// Who waits. Threads come first: a woken thread always comes, a woken task might have to wait for its executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waiter {
    Thread,
    Task,
}

/// A place in the list of waiters; the order of the list is the order of tickets.
pub(super) type Ticket = (Waiter, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Led,
    /// The leader is gone, whoever asks next leads.
    Vacant,
    Landed(Landing),
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Lead from now on.
    TakeOver,
    Landed(Landing),
    Wait,
}

/// A flight. `W` wakes a waiter.
///
/// Aboard is who has [boarded](Self::board) and not yet left. While the flight is vacant and somebody is aboard, at
/// least one of those aboard has been woken and has neither asked nor left since: so the flight finds its next leader.
pub(super) struct State<W> {
    phase: Phase,
    aboard: usize,
    waiting: BTreeMap<Ticket, W>,
    last_ticket: u64,
}

impl<W> State<W> {
    /// A flight that is led by the caller who made it.
    pub(super) fn led() -> Self {
        Self { phase: Phase::Led, aboard: 0, waiting: BTreeMap::new(), last_ticket: 0 }
    }

    /// What to do for a caller. Told to take over, it leads.
    pub(super) fn ask(&mut self) -> Answer {
        match self.phase {
            Phase::Led => Answer::Wait,
            Phase::Landed(landing) => Answer::Landed(landing),
            Phase::Vacant => {
                self.phase = Phase::Led;
                Answer::TakeOver
            }
        }
    }

    pub(super) fn board(&mut self) {
        self.aboard += 1;
    }

    /// Queues a waiter, or renews how to wake it. Gives back the way to wake it that is no longer needed.
    pub(super) fn wait(&mut self, waiter: Waiter, ticket: &mut Option<Ticket>, wake: W) -> Option<W> {
        if let Some(place) = ticket.and_then(|ticket| self.waiting.get_mut(&ticket)) {
            return Some(std::mem::replace(place, wake));
        }
        self.last_ticket += 1;
        let place = (waiter, self.last_ticket);
        *ticket = Some(place);
        self.waiting.insert(place, wake)
    }

    /// A waiter goes. Gives back whom to wake in its place, and its own waker, which is no longer needed.
    pub(super) fn leave(&mut self, ticket: Option<Ticket>) -> (Vec<W>, Option<W>) {
        self.aboard -= 1;
        let own = ticket.and_then(|ticket| self.waiting.remove(&ticket));
        (if self.phase == Phase::Vacant { self.candidates() } else { Vec::new() }, own)
    }

    /// The leader is done. Gives back whom to wake.
    pub(super) fn land(&mut self, landing: Landing) -> Vec<W> {
        self.phase = Phase::Landed(landing);
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    /// The leader is gone without having landed. Gives back whom to wake.
    pub(super) fn abandon(&mut self) -> Vec<W> {
        self.phase = Phase::Vacant;
        self.candidates()
    }

    /// Whether nobody leads and nobody is left who could.
    pub(super) fn is_deserted(&self) -> bool {
        self.phase == Phase::Vacant && self.aboard == 0
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
        let mut state = State::led();
        for waiter in 0..20 {
            state.board();
            assert_eq!(state.wait(Waiter::Task, &mut None, waiter), None);
        }
        assert_eq!(state.land(Landing::Stored), (0..20).collect::<Vec<_>>());
        assert_eq!(state.ask(), Answer::Landed(Landing::Stored));
    }

    #[test]
    fn an_abandoned_flight_wakes_threads_first_and_goes_to_the_first_who_asks() {
        let mut state = State::led();
        for waiter in 0..20 {
            state.board();
            let kind = if waiter == 15 { Waiter::Thread } else { Waiter::Task };
            state.wait(kind, &mut None, waiter);
        }
        assert_eq!(state.abandon(), [15, 0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(state.ask(), Answer::TakeOver);
        assert_eq!(state.ask(), Answer::Wait);
    }

    #[test]
    fn a_waiter_that_is_polled_again_keeps_its_place_and_changes_its_waker() {
        let (mut state, mut first, mut second) = (State::led(), None, None);
        state.wait(Waiter::Task, &mut first, 'a');
        state.wait(Waiter::Task, &mut second, 'b');
        assert_eq!(state.wait(Waiter::Task, &mut first, 'c'), Some('a'));
        assert_eq!(state.land(Landing::NotStored), ['c', 'b']);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Board,
        Poll(usize),
        Cancel(usize),
        Abandon,
        Land,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Board),
            4 => (0..64usize).prop_map(Step::Poll),
            3 => (0..64usize).prop_map(Step::Cancel),
            3 => Just(Step::Abandon),
            1 => Just(Step::Land),
        ]
    }

    /// Passengers as their shells see them: the ticket and whether they were woken since they asked last.
    #[derive(Default)]
    struct Model {
        aboard: BTreeMap<usize, (Option<Ticket>, bool)>,
        boarded: usize,
        led: bool,
        landed: bool,
    }

    impl Model {
        fn woken(&mut self, whom: Vec<usize>) {
            for passenger in whom {
                self.aboard.get_mut(&passenger).expect("only those aboard are woken").1 = true;
            }
        }

        fn pick(&self, n: usize) -> Option<usize> {
            let count = self.aboard.len();
            (count > 0).then(|| *self.aboard.keys().nth(n % count).unwrap())
        }

        fn poll(&mut self, state: &mut State<usize>, passenger: usize) {
            let (mut ticket, _) = self.aboard.remove(&passenger).unwrap();
            match state.ask() {
                Answer::Wait => {
                    state.wait(Waiter::Task, &mut ticket, passenger);
                    self.aboard.insert(passenger, (ticket, false));
                    return;
                }
                Answer::TakeOver => {
                    assert!(!self.led, "two leaders");
                    self.led = true;
                }
                Answer::Landed(_) => assert!(self.landed),
            }
            let woken = state.leave(ticket).0;
            self.woken(woken);
        }

        fn cancel(&mut self, state: &mut State<usize>, passenger: usize) {
            let (ticket, _) = self.aboard.remove(&passenger).unwrap();
            let woken = state.leave(ticket).0;
            self.woken(woken);
        }

        fn board(&mut self, state: &mut State<usize>) {
            self.boarded += 1;
            state.board();
            self.aboard.insert(self.boarded, (None, false));
            self.poll(state, self.boarded);
        }

        fn take(&mut self, state: &mut State<usize>, step: Step) {
            match step {
                Step::Board => self.board(state),
                Step::Poll(n) => self.pick(n).into_iter().for_each(|passenger| self.poll(state, passenger)),
                Step::Cancel(n) => self.pick(n).into_iter().for_each(|passenger| self.cancel(state, passenger)),
                Step::Abandon if self.led => {
                    self.led = false;
                    let woken = state.abandon();
                    self.woken(woken);
                }
                Step::Land if self.led => {
                    (self.led, self.landed) = (false, true);
                    let woken = state.land(Landing::Stored);
                    self.woken(woken);
                }
                Step::Abandon | Step::Land => {}
            }
        }
    }

    proptest! {
        #[test]
        fn there_is_one_leader_at_most_and_never_a_waiter_whom_nobody_will_wake(steps in prop::collection::vec(step(), 0..200)) {
            let (mut state, mut model) = (State::led(), Model { led: true, ..Model::default() });
            for step in steps {
                model.take(&mut state, step);
                if model.landed {
                    prop_assert!(model.aboard.values().all(|(_, woken)| *woken));
                } else if !model.led {
                    prop_assert_eq!(state.is_deserted(), model.aboard.is_empty());
                    prop_assert!(model.aboard.is_empty() || model.aboard.values().any(|(_, woken)| *woken));
                }
            }
        }
    }
}
