use proptest::prelude::*;

use super::*;

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

fn innermost_id() -> Option<u64> {
    innermost().unwrap().map(|execution| execution.flight.id)
}

#[test]
fn a_body_is_inside_its_flight_and_nothing_is_afterwards_even_if_it_panics() {
    let (outer, inner) = (Execution::begin(Flight::led()), Execution::begin(Flight::led()));
    outer.run(|| {
        assert_eq!(innermost_id(), Some(outer.flight.id));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| inner.run(|| panic!("boom"))));
        assert!(panic.is_err());
        assert_eq!(innermost_id(), Some(outer.flight.id));
    });
    assert_eq!(innermost_id(), None);
}

#[test]
fn a_leg_knows_the_body_that_began_it() {
    let outer = Execution::begin(Flight::led());
    let inner = outer.run(|| Execution::begin(Flight::led()));
    assert_eq!(inner.inside.as_ref().map(|execution| execution.flight.id), Some(outer.flight.id));
}

fn execution() -> Arc<Execution> {
    Execution::begin(Flight::led())
}

fn wait(by: &Arc<Execution>, of: &Arc<Execution>) -> Option<Wait> {
    Wait::begin(Arc::clone(by), of.flight.id)
}

#[test]
fn a_body_does_not_wait_for_itself_nor_for_the_bodies_around_it() {
    let _quiet = lock(&QUIET);
    let outer = execution();
    let inner = outer.run(execution);
    assert!(wait(&outer, &outer).is_none());
    assert!(wait(&inner, &outer).is_none());
}

#[test]
fn the_wait_that_would_close_a_circle_of_three_is_refused_until_another_ends() {
    let _quiet = lock(&QUIET);
    let (a, b, c) = (execution(), execution(), execution());
    let ab = wait(&a, &b).expect("no circle");
    let bc = wait(&b, &c).expect("no circle");
    assert!(wait(&c, &a).is_none());
    drop(ab);
    assert!(wait(&c, &a).is_some());
    drop(bc);
    assert_eq!(waits(), 0);
}

#[test]
fn waits_inside_inner_bodies_hold_up_the_outer_ones() {
    let _quiet = lock(&QUIET);
    let (outer, other) = (execution(), execution());
    let inner = outer.run(execution);
    let _wait = wait(&inner, &other).expect("no circle");
    assert!(wait(&other, &outer).is_none(), "outer waits for inner, which waits for other");
}

#[test]
fn bodies_that_run_side_by_side_in_one_body_do_not_hold_up_each_other() {
    let _quiet = lock(&QUIET);
    let (outer, other) = (execution(), execution());
    let beside = outer.run(execution);
    let _wait = wait(&outer, &other).expect("no circle");
    assert!(wait(&other, &beside).is_some(), "beside completes without the rest of outer");
}
