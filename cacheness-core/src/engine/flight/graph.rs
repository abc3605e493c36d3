//! Which flights cannot land before which others: the waits of callers who lead something themselves.
//!
//! A flight depends on a flight that is led inside its body, which every [`Leg`] remembers, and on a flight that its
//! body waits for, which is noted here. A wait is only begun if it closes no circle. Checking and noting happen under
//! one lock, so of several callers who would close a circle together, the last one sees the others. A flight that is
//! led anew closes no circle either, since it depends on nothing yet. One graph serves all caches of the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::context::{Leg, lock};

/// Edges by the flight that is waited for, and their own number.
struct Graph {
    waits: BTreeMap<(u64, u64), Arc<Leg>>,
    last: u64,
}

static GRAPH: Mutex<Graph> = Mutex::new(Graph { waits: BTreeMap::new(), last: 0 });

/// The right of a leg to wait for a flight, until dropped.
pub(super) struct Wait {
    edge: (u64, u64),
    by: u64,
}

impl Wait {
    /// Notes that the body of `leg` waits for a flight, unless the flight depends on `leg` already.
    pub(super) fn begin(leg: Arc<Leg>, awaited: u64) -> Option<Self> {
        let mut graph = lock(&GRAPH);
        if graph.is_needed_by(&leg, awaited) {
            return None;
        }
        graph.last += 1;
        let (edge, by) = ((awaited, graph.last), leg.flight.id);
        graph.waits.insert(edge, leg);
        Some(Self { edge, by })
    }

    /// The flight whose body waits.
    pub(super) fn by(&self) -> u64 {
        self.by
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let _leg = lock(&GRAPH).waits.remove(&self.edge);
    }
}

impl Graph {
    /// Whether `flight` cannot land before `leg` does: walks from the leg to all that depend on it.
    fn is_needed_by(&self, leg: &Arc<Leg>, flight: u64) -> bool {
        let (mut seen, mut legs) = (BTreeSet::new(), vec![Arc::clone(leg)]);
        while let Some(leg) = legs.pop() {
            if leg.flight.id == flight {
                return true;
            }
            legs.extend(leg.inside.clone());
            if seen.insert(leg.flight.id) {
                legs.extend(self.waits.range((leg.flight.id, 0)..=(leg.flight.id, u64::MAX)).map(|(_, by)| by.clone()));
            }
        }
        false
    }
}

/// How many waits are noted. Meaningful to a test that holds [`QUIET`].
#[cfg(test)]
pub(super) fn waits() -> usize {
    lock(&GRAPH).waits.len()
}

/// Held by tests whose bodies wait for flights, since they share the graph.
#[cfg(test)]
pub(super) static QUIET: Mutex<()> = Mutex::new(());

#[cfg(test)]
mod tests {
    use super::super::context::Flight;
    use super::*;

    fn leg() -> Arc<Leg> {
        Leg::begin(Flight::led())
    }

    fn wait(by: &Arc<Leg>, of: &Arc<Leg>) -> Option<Wait> {
        Wait::begin(Arc::clone(by), of.flight.id)
    }

    #[test]
    fn a_body_does_not_wait_for_itself_nor_for_the_bodies_around_it() {
        let _quiet = lock(&QUIET);
        let outer = leg();
        let inner = outer.fly(leg);
        assert!(wait(&outer, &outer).is_none());
        assert!(wait(&inner, &outer).is_none());
    }

    #[test]
    fn the_wait_that_would_close_a_circle_of_three_is_refused_until_another_ends() {
        let _quiet = lock(&QUIET);
        let (a, b, c) = (leg(), leg(), leg());
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
        let (outer, other) = (leg(), leg());
        let inner = outer.fly(leg);
        let _wait = wait(&inner, &other).expect("no circle");
        assert!(wait(&other, &outer).is_none(), "outer waits for inner, which waits for other");
    }

    #[test]
    fn bodies_that_run_side_by_side_in_one_body_do_not_hold_up_each_other() {
        let _quiet = lock(&QUIET);
        let (outer, other) = (leg(), leg());
        let beside = outer.fly(leg);
        let _wait = wait(&outer, &other).expect("no circle");
        assert!(wait(&other, &beside).is_some(), "beside lands without the rest of outer");
    }
}
