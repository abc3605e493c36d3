//! Who may keep a value that was read.
//!
//! A reader that was slow must not keep what somebody has replaced meanwhile. So every change of an entry begins and ends
//! here, a reader takes a ticket before it reads, and its ticket is worth nothing once a change has begun. Keys share
//! turns: a change of one key costs others a value that is not kept, never a wrong one.

use std::sync::{Mutex, MutexGuard, PoisonError};

const TURNS: usize = 256;

/// The changes of the keys that share a turn.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    under_way: u32,
    ended: u64,
}

#[derive(Debug)]
pub(super) struct Turns([Mutex<Turn>; TURNS]);

/// Permission to keep a value: for as long as no change of its entry begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    hash: u64,
    ended: u64,
}

impl Ticket {
    /// The same permission for one who makes exactly one change.
    pub(crate) fn after_own_change(self) -> Self {
        Self { ended: self.ended + 1, ..self }
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self([const { Mutex::new(Turn { under_way: 0, ended: 0 }) }; TURNS])
    }
}

impl Turns {
    /// Begins a change; `take_out` runs before anybody can put something in.
    pub(super) fn begin(&self, hash: u64, take_out: impl FnOnce()) {
        let mut turn = self.of(hash);
        turn.under_way += 1;
        take_out();
    }

    pub(super) fn end(&self, hash: u64) {
        let mut turn = self.of(hash);
        turn.under_way -= 1;
        turn.ended += 1;
    }

    /// Ends every permission that was given, for what became of the entries is not known.
    pub(super) fn revoke_all(&self) {
        for turn in &self.0 {
            turn.lock().unwrap_or_else(PoisonError::into_inner).ended += 1;
        }
    }

    pub(super) fn ticket(&self, hash: u64) -> Option<Ticket> {
        let turn = self.of(hash);
        (turn.under_way == 0).then_some(Ticket { hash, ended: turn.ended })
    }

    /// Runs `put_in` if nothing has changed since the ticket was given.
    pub(super) fn if_valid(&self, ticket: Ticket, put_in: impl FnOnce()) {
        let turn = self.of(ticket.hash);
        if turn.under_way == 0 && turn.ended == ticket.ended {
            put_in();
        }
    }

    fn of(&self, hash: u64) -> MutexGuard<'_, Turn> {
        // Nothing that can panic runs under it but the map of values, which is whole after a panic.
        self.0[hash as usize % TURNS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
