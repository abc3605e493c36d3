//! Leases: rights that one process has at a time, among all that use the same rows on a server.
//!
//! A lease is a [state](MetadataBackend::state) of the rows, exchanged by compare and swap. Its holder writes it anew with
//! every [`BEAT`]. Whoever wants it [watches](Watch) it, and takes it where it has not changed for [`LENGTH`] by the clock of
//! the watcher: the clocks of two machines are never compared, and no session of a server is held.
//!
//! A lease keeps no holder that was stopped for a while from going on, so what is done under one has to be harmless then.
//! The value of a call is stored only in the place of the row that was there when the lease was taken (its [`Fence`]), and
//! eviction removes only rows that are as it has read them.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::index::Record;
use crate::index::backend::{MetadataBackend, Swap};
use crate::util::digest::unique_name;
use crate::util::process::Origin;
use crate::util::threads::{each_by, lock};

/// Whoever has a lease and does not renew it for so long is gone.
const LENGTH: Duration = Duration::from_secs(3);
/// Between two renewals.
const BEAT: Duration = Duration::from_secs(1);
/// So many are renewed or given back at a time, and so many are given back before it is looked whether it is time to renew.
const AT_A_TIME: usize = 8;
const AT_ONCE: usize = 64;

/// Before the names of the states that are leases.
const PREFIX: &str = "lease.";

/// What must be in the place of a row for the value of a call to be stored there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fence {
    /// This row, or none.
    Row(Option<Record>),
    /// Nobody could tell which row was there, so that no value is stored: it could take the place of a newer one.
    Unknown,
}

impl Fence {
    /// By what was found when the row was looked up.
    pub(super) fn of(found: Result<Option<Record>>) -> Self {
        found.map_or(Self::Unknown, Self::Row)
    }
}

/// The leases of this process on some rows.
#[derive(Clone)]
pub(crate) struct Leases {
    rows: Arc<dyn MetadataBackend>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Shared {
    keeping: Mutex<Keeping>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Keeping {
    held: Vec<Held>,
    /// Whether there is a thread that renews them; it ends when there is none left.
    has_thread: bool,
}

/// A lease that this process has, or has ended and not given back yet.
#[derive(Clone, Debug)]
struct Held {
    state: String,
    token: String,
    /// How often it was renewed.
    beats: u64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Held,
    /// To be given back, or taken again by this process.
    Ended,
    /// It is being given back.
    Returning,
}

impl Keeping {
    fn any(&self, stage: Stage) -> bool {
        self.held.iter().any(|held| held.stage == stage)
    }
}

/// After a panic of the thread that renews, of a logger perhaps, the next lease starts another one.
struct OnPanic<'s>(&'s Shared);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            lock(&self.0.keeping).has_thread = false;
        }
    }
}

impl Held {
    fn bytes(&self) -> Vec<u8> {
        format!("{} {}", self.token, self.beats).into_bytes()
    }
}

/// A right that this process has until this is dropped, or until it does not go on for [`LENGTH`].
#[derive(Debug)]
pub(crate) struct Lease {
    token: String,
    shared: Arc<Shared>,
    /// Whether it was taken from a process that is gone.
    inherited: bool,
    /// A forked child has a copy of it, which is not its own.
    origin: Origin,
}

impl Lease {
    /// Whether the one who had it before went away without giving it back.
    pub(crate) fn is_inherited(&self) -> bool {
        self.inherited
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            return;
        }
        // Given back by the thread: no call waits for that, nor does an executor.
        let mut keeping = lock(&self.shared.keeping);
        keeping.held.iter_mut().filter(|held| held.token == self.token).for_each(|held| held.stage = Stage::Ended);
        self.shared.changed.notify_all();
    }
}

/// What somebody who wants a lease has seen of it.
#[derive(Debug, Default)]
pub(crate) struct Watch(Option<(Vec<u8>, Instant)>);

impl Watch {
    /// Whether the lease is as it was for so long that its holder must be gone.
    fn is_over(&mut self, seen: &[u8], now: Instant) -> bool {
        match &self.0 {
            Some((before, since)) if before == seen => now.duration_since(*since) >= LENGTH,
            _ => {
                self.0 = Some((seen.to_vec(), now));
                false
            }
        }
    }
}

impl Leases {
    pub(super) fn of(rows: Arc<dyn MetadataBackend>) -> Self {
        Self { rows, shared: Arc::default() }
    }

    /// Takes a lease; `None` while another process has it.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn try_take(&self, name: &str, watch: &mut Watch) -> Result<Option<Lease>> {
        let state = format!("{PREFIX}{name}");
        if let Some(lease) = self.take_again(&state) {
            return Ok(Some(lease));
        }
        let held = Held { state: state.clone(), token: unique_name(), beats: 0, stage: Stage::Held };
        let mine = held.bytes();
        let take = |expected: Option<&[u8]>| self.rows.state(&state, Some(Swap { expected, new: Some(&mine) }));
        let Some(there) = take(None)? else { return Ok(None) };
        if there == mine {
            return Ok(Some(self.keep(held, false)));
        }
        if !watch.is_over(&there, Instant::now()) || take(Some(&there))?.as_deref() != Some(&mine[..]) {
            return Ok(None);
        }
        Ok(Some(self.keep(held, true)))
    }

    /// Takes a lease that this process has and does not need any more.
    fn take_again(&self, state: &str) -> Option<Lease> {
        let mut keeping = lock(&self.shared.keeping);
        let held = keeping.held.iter_mut().find(|held| held.state == state && held.stage == Stage::Ended)?;
        held.stage = Stage::Held;
        Some(self.lease(held.token.clone(), false))
    }

    fn lease(&self, token: String, inherited: bool) -> Lease {
        Lease { token, shared: Arc::clone(&self.shared), inherited, origin: Origin::here() }
    }

    /// Waits until what has ended is given back, though not for long: others would wait for it.
    pub(super) fn settle(&self) {
        let keeping = lock(&self.shared.keeping);
        let owes =
            |keeping: &mut Keeping| keeping.has_thread && (keeping.any(Stage::Ended) || keeping.any(Stage::Returning));
        let _kept = self.shared.changed.wait_timeout_while(keeping, BEAT, owes).unwrap_or_else(PoisonError::into_inner);
    }

    fn keep(&self, held: Held, inherited: bool) -> Lease {
        let token = held.token.clone();
        let mut keeping = lock(&self.shared.keeping);
        keeping.held.push(held);
        if !keeping.has_thread {
            let mine = self.clone();
            let started = thread::Builder::new().name("cacheness-lease".to_owned()).spawn(move || mine.beat());
            // Without a thread it is over after its length, and others go on.
            keeping.has_thread = started.is_ok();
        }
        self.lease(token, inherited)
    }

    /// Renews what is held and gives back what has ended, until nothing is left.
    fn beat(&self) {
        let _thread = OnPanic(&self.shared);
        let mut next = Instant::now() + BEAT;
        loop {
            let (due, ended) = {
                let keeping = lock(&self.shared.keeping);
                let idle = |keeping: &mut Keeping| !keeping.held.is_empty() && !keeping.any(Stage::Ended);
                let left = next.saturating_duration_since(Instant::now());
                let (mut keeping, _) =
                    self.shared.changed.wait_timeout_while(keeping, left, idle).unwrap_or_else(PoisonError::into_inner);
                if keeping.held.is_empty() {
                    keeping.has_thread = false;
                    return;
                }
                let is_time = Instant::now() >= next;
                let due: Vec<_> =
                    keeping.held.iter().filter(|held| is_time && held.stage == Stage::Held).cloned().collect();
                let ended = keeping.held.iter_mut().filter(|held| held.stage == Stage::Ended).take(AT_ONCE);
                let ended: Vec<_> = ended
                    .map(|held| {
                        held.stage = Stage::Returning;
                        held.clone()
                    })
                    .collect();
                (due, ended)
            };
            // First: one that is given back late keeps somebody waiting, one that is renewed late is lost.
            if !due.is_empty() {
                self.for_each(&due, Self::renew);
            }
            if Instant::now() >= next {
                next = Instant::now() + BEAT;
            }
            self.for_each(&ended, Self::give_back);
        }
    }

    /// Each is a round trip, of which several can be made at a time.
    fn for_each(&self, held: &[Held], ask: impl Fn(&Self, &Held) + Sync) {
        let _all = each_by(
            held.iter(),
            AT_A_TIME,
            || (),
            |(), held| {
                ask(self, held);
                Ok(())
            },
        );
    }

    /// Where that fails, others wait until it is over.
    fn give_back(&self, held: &Held) {
        let swap = Swap { expected: Some(&held.bytes()), new: None };
        if let Err(error) = self.rows.state(&held.state, Some(swap)) {
            log::debug!("the lease {} is not given back: {error}", held.state);
        }
        lock(&self.shared.keeping).held.retain(|other| other.token != held.token);
        self.shared.changed.notify_all();
    }

    fn renew(&self, held: &Held) {
        let renewed = Held { beats: held.beats + 1, ..held.clone() };
        let swap = Swap { expected: Some(&held.bytes()), new: Some(&renewed.bytes()) };
        let there = match self.rows.state(&held.state, Some(swap)) {
            Ok(there) => there.unwrap_or_default(),
            Err(error) => return log::debug!("the lease {} is not renewed now: {error}", held.state),
        };
        let mut keeping = lock(&self.shared.keeping);
        // A renewal whose answer was lost was made all the same, and then the count is another one than was thought.
        let beats =
            std::str::from_utf8(&there).ok().and_then(|there| there.strip_prefix(&held.token)?.trim().parse().ok());
        match beats {
            Some(beats) => {
                keeping.held.iter_mut().filter(|other| other.token == held.token).for_each(|held| held.beats = beats);
            }
            None => {
                log::debug!("the lease {} is lost", held.state);
                keeping.held.retain(|other| other.token != held.token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::MemoryMetadata;

    fn two() -> (Leases, Leases) {
        let rows: Arc<dyn MetadataBackend> = Arc::new(MemoryMetadata::new());
        (Leases::of(Arc::clone(&rows)), Leases::of(rows))
    }

    fn take(leases: &Leases, watch: &mut Watch) -> Option<Lease> {
        leases.try_take("one", watch).unwrap()
    }

    #[test]
    fn one_has_a_lease_until_it_is_dropped_however_long_that_takes() {
        let (one, other) = two();
        let (lease, mut watch) = (take(&one, &mut Watch::default()).unwrap(), Watch::default());
        let until = Instant::now() + LENGTH + BEAT;
        while Instant::now() < until {
            assert!(take(&other, &mut watch).is_none());
            thread::sleep(BEAT / 10);
        }
        drop(lease);
        one.settle();
        let lease = take(&other, &mut watch).unwrap();
        assert!(!lease.is_inherited());
        assert!(take(&one, &mut Watch::default()).is_none());
    }

    #[test]
    fn the_lease_of_one_that_is_gone_is_taken_after_its_length_and_not_before() {
        let (one, other) = two();
        let gone = Swap { expected: None, new: Some(b"gone 7") };
        one.rows.state("lease.one", Some(gone)).unwrap();
        let (mut watch, start) = (Watch::default(), Instant::now());
        let lease = loop {
            match take(&other, &mut watch) {
                Some(lease) => break lease,
                None => thread::sleep(BEAT / 10),
            }
        };
        assert!(start.elapsed() >= LENGTH && lease.is_inherited());
    }

    #[test]
    fn what_is_given_back_leaves_nothing_and_the_thread_ends() {
        let (one, _) = two();
        drop((take(&one, &mut Watch::default()), one.try_take("two", &mut Watch::default()).unwrap()));
        one.settle();
        assert_eq!(["lease.one", "lease.two"].map(|name| one.rows.state(name, None).unwrap()), [None, None]);
        let until = Instant::now() + LENGTH;
        while lock(&one.shared.keeping).has_thread && Instant::now() < until {
            thread::sleep(BEAT / 100);
        }
        assert!(!lock(&one.shared.keeping).has_thread);
    }

    #[test]
    fn a_lease_that_was_not_given_back_yet_is_taken_again_at_once_by_the_same_process() {
        let (one, other) = two();
        // Without the thread, which would give it back in between.
        lock(&one.shared.keeping).has_thread = true;
        drop(take(&one, &mut Watch::default()).unwrap());
        assert!(take(&other, &mut Watch::default()).is_none());
        let again = take(&one, &mut Watch::default()).unwrap();
        assert!(take(&one, &mut Watch::default()).is_none(), "it is held");
        drop(again);
    }

    #[test]
    fn a_lease_that_another_one_has_taken_is_left_to_it() {
        let (one, _) = two();
        let lease = take(&one, &mut Watch::default()).unwrap();
        let there = one.rows.state("lease.one", None).unwrap().unwrap();
        let taken = Swap { expected: Some(&there), new: Some(b"other 0") };
        one.rows.state("lease.one", Some(taken)).unwrap();
        thread::sleep(BEAT + BEAT / 2);
        drop(lease);
        one.settle();
        assert_eq!(one.rows.state("lease.one", None).unwrap().as_deref(), Some(&b"other 0"[..]));
    }
}
