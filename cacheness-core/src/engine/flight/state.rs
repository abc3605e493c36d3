//! One flight as a pure state machine: no locks, no threads, no clock. What has to be woken or dropped is handed back, so
//! that it happens outside every lock.

use std::collections::BTreeMap;

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

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase<L> {
    /// By so many callers, each of whom runs the body.
    Led(usize),
    /// The leaders are gone, whoever asks next leads.
    Vacant,
    Landed(L),
}

/// What a caller is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer<L> {
    /// Lead from now on.
    Lead,
    Landed(L),
    Wait,
}

/// A flight. `W` wakes a waiter, `L` is how it lands.
///
/// Aboard is who has [boarded](Self::board) and not yet left. While the flight is vacant and somebody is aboard, at
/// least one of those aboard has been woken and has neither asked nor left since: so the flight finds its next leader.
/// There is one leader, and beside it those who [joined](Self::join) because they must not wait; the first to land
/// decides for all.
pub(super) struct State<W, L> {
    phase: Phase<L>,
    aboard: usize,
    waiting: BTreeMap<Ticket, W>,
    last_ticket: u64,
    joined: bool,
}

impl<W, L: Clone> State<W, L> {
    /// A flight that is led by the caller who made it.
    pub(super) fn led() -> Self {
        Self { phase: Phase::Led(1), aboard: 0, waiting: BTreeMap::new(), last_ticket: 0, joined: false }
    }

    /// What to do for a caller who may wait.
    pub(super) fn ask(&mut self) -> Answer<L> {
        match &self.phase {
            Phase::Led(_) => Answer::Wait,
            Phase::Landed(landing) => Answer::Landed(landing.clone()),
            Phase::Vacant => {
                self.phase = Phase::Led(1);
                Answer::Lead
            }
        }
    }

    /// What to do for a caller who must not wait: if the flight has not landed, it leads too. Never [`Answer::Wait`].
    pub(super) fn join(&mut self) -> Answer<L> {
        if let Phase::Led(leaders) = &mut self.phase {
            *leaders += 1;
            self.joined = true;
            return Answer::Lead;
        }
        self.ask()
    }

    /// A caller boards. Gives back how many were aboard before.
    pub(super) fn board(&mut self) -> usize {
        self.aboard += 1;
        self.aboard - 1
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
        (if matches!(self.phase, Phase::Vacant) { self.candidates() } else { Vec::new() }, own)
    }

    /// A leader is done. Gives back whom to wake, or the landing if another leader was first.
    pub(super) fn land(&mut self, landing: L) -> Result<Vec<W>, L> {
        if self.landed().is_some() {
            return Err(landing);
        }
        self.phase = Phase::Landed(landing);
        Ok(std::mem::take(&mut self.waiting).into_values().collect())
    }

    /// A leader is gone without having landed. Gives back whom to wake.
    pub(super) fn abandon(&mut self) -> Vec<W> {
        match &mut self.phase {
            Phase::Led(leaders) if *leaders > 1 => *leaders -= 1,
            Phase::Led(_) => {
                self.phase = Phase::Vacant;
                return self.candidates();
            }
            Phase::Vacant | Phase::Landed(_) => {}
        }
        Vec::new()
    }

    /// How the flight has landed, if it has.
    pub(super) fn landed(&self) -> Option<&L> {
        match &self.phase {
            Phase::Landed(landing) => Some(landing),
            Phase::Led(_) | Phase::Vacant => None,
        }
    }

    /// Whether several callers have led it at the same time.
    pub(super) fn was_joined(&self) -> bool {
        self.joined
    }

    /// Whether somebody waits for it.
    pub(super) fn is_awaited(&self) -> bool {
        self.aboard > 0
    }

    /// Whether nobody leads and nobody is left who could.
    pub(super) fn is_deserted(&self) -> bool {
        matches!(self.phase, Phase::Vacant) && self.aboard == 0
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
            state.board();
            assert_eq!(state.wait(Waiter::Task, &mut None, waiter), None);
        }
        assert_eq!(state.land('x'), Ok((0..20).collect::<Vec<_>>()));
        assert_eq!(state.ask(), Answer::Landed('x'));
    }

    #[test]
    fn an_abandoned_flight_wakes_threads_first_and_goes_to_the_first_who_asks() {
        let mut state = State::<_, char>::led();
        for waiter in 0..20 {
            state.board();
            let kind = if waiter == 15 { Waiter::Thread } else { Waiter::Task };
            state.wait(kind, &mut None, waiter);
        }
        assert_eq!(state.abandon(), [15, 0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(state.ask(), Answer::Lead);
        assert_eq!(state.ask(), Answer::Wait);
    }

    #[test]
    fn a_waiter_that_is_polled_again_keeps_its_place_and_changes_its_waker() {
        let (mut state, mut first, mut second) = (State::<_, char>::led(), None, None);
        state.wait(Waiter::Task, &mut first, 'a');
        state.wait(Waiter::Task, &mut second, 'b');
        assert_eq!(state.wait(Waiter::Task, &mut first, 'c'), Some('a'));
        assert_eq!(state.land('x'), Ok(vec!['c', 'b']));
    }

    #[test]
    fn of_several_leaders_the_first_to_land_decides_and_the_others_change_nothing() {
        let mut state = State::<u8, char>::led();
        assert_eq!((state.join(), state.join()), (Answer::Lead, Answer::Lead));
        assert!(state.abandon().is_empty() && state.ask() == Answer::Wait, "two are left");
        assert_eq!((state.land('x'), state.land('y')), (Ok(vec![]), Err('y')));
        assert!(state.abandon().is_empty());
        assert_eq!((state.join(), state.ask()), (Answer::Landed('x'), Answer::Landed('x')));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Board,
        Poll(usize),
        Cancel(usize),
        Join(usize),
        Abandon,
        Land,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Board),
            4 => (0..64usize).prop_map(Step::Poll),
            3 => (0..64usize).prop_map(Step::Cancel),
            1 => (0..64usize).prop_map(Step::Join),
            3 => Just(Step::Abandon),
            1 => Just(Step::Land),
        ]
    }

    /// Passengers as their shells see them: the ticket and whether they were woken since they asked last.
    #[derive(Default)]
    struct Model {
        aboard: BTreeMap<usize, (Option<Ticket>, bool)>,
        boarded: usize,
        leaders: usize,
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

        fn poll(&mut self, state: &mut State<usize, char>, passenger: usize) {
            let (mut ticket, _) = self.aboard.remove(&passenger).unwrap();
            match state.ask() {
                Answer::Wait => {
                    state.wait(Waiter::Task, &mut ticket, passenger);
                    self.aboard.insert(passenger, (ticket, false));
                    return;
                }
                Answer::Lead => {
                    assert_eq!(self.leaders, 0, "it should wait");
                    self.leaders = 1;
                }
                Answer::Landed(_) => assert!(self.landed),
            }
            let woken = state.leave(ticket).0;
            self.woken(woken);
        }

        fn cancel(&mut self, state: &mut State<usize, char>, passenger: usize) {
            let (ticket, _) = self.aboard.remove(&passenger).unwrap();
            let woken = state.leave(ticket).0;
            self.woken(woken);
        }

        fn join(&mut self, state: &mut State<usize, char>, passenger: usize) {
            let (ticket, _) = self.aboard.remove(&passenger).unwrap();
            match state.join() {
                Answer::Lead => self.leaders += 1,
                answer => assert!(self.landed && answer == Answer::Landed('x')),
            }
            let woken = state.leave(ticket).0;
            self.woken(woken);
        }

        fn board(&mut self, state: &mut State<usize, char>) {
            self.boarded += 1;
            state.board();
            self.aboard.insert(self.boarded, (None, false));
            self.poll(state, self.boarded);
        }

        fn take(&mut self, state: &mut State<usize, char>, step: Step) {
            match step {
                Step::Board => self.board(state),
                Step::Poll(n) => self.pick(n).into_iter().for_each(|passenger| self.poll(state, passenger)),
                Step::Cancel(n) => self.pick(n).into_iter().for_each(|passenger| self.cancel(state, passenger)),
                Step::Join(n) => self.pick(n).into_iter().for_each(|passenger| self.join(state, passenger)),
                Step::Abandon if self.leaders > 0 => {
                    self.leaders -= 1;
                    let woken = state.abandon();
                    self.woken(woken);
                }
                Step::Land if self.leaders > 0 => {
                    self.leaders -= 1;
                    let woken = state.land('x');
                    assert_eq!(woken.is_ok(), !std::mem::replace(&mut self.landed, true));
                    self.woken(woken.unwrap_or_default());
                }
                Step::Abandon | Step::Land => {}
            }
        }
    }

    proptest! {
        #[test]
        fn there_is_one_leader_beside_those_who_must_not_wait_and_never_a_waiter_whom_nobody_will_wake(steps in prop::collection::vec(step(), 0..200)) {
            let (mut state, mut model) = (State::led(), Model { leaders: 1, ..Model::default() });
            for step in steps {
                model.take(&mut state, step);
                if model.landed {
                    prop_assert!(model.aboard.values().all(|(_, woken)| *woken));
                } else if model.leaders == 0 {
                    prop_assert_eq!(state.is_deserted(), model.aboard.is_empty());
                    prop_assert!(model.aboard.is_empty() || model.aboard.values().any(|(_, woken)| *woken));
                }
            }
        }
    }
}
